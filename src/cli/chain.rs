//! From the typed word, `--via` and the config file to the chain of hops that leads to the goal.
//!
//! Pure. A first hop that has hops of its own comes after them; the later hops of a list are reached as the list says.
//! `connect` and `explain` act on the same [`Chain`], so that what is explained is what is done.

use thiserror::Error;

use crate::config::{Config, Host, RouteKind};
use crate::names::route::{Document, Edge, Route};
use crate::names::{Destination, Region, TargetError};

use super::aim::Place;

/// The way to the goal.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// The configuration that holds for the session: calls to AWS are the first hop's.
    pub config: Config,
    /// What the session is opened to: the first hop, without hops the goal.
    pub entry: Destination,
    /// The hops, the nearest to us first.
    pub hops: Vec<Hop>,
    /// Where it ends.
    pub goal: Place,
}

/// A hop, and the way out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    /// The hop.
    pub place: Place,
    /// The way to the next hop, or from the last one to the goal.
    pub onward: Edge,
}

/// Why there is no chain; every one is the user's to correct.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum ChainError {
    /// A word is neither a host nor a target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The way leads through one machine twice: name other hops.
    #[error("{} goes round in a circle: {}", if *by_flag { "`--via`" } else { "`via`" }, shown(circle))]
    Circle {
        /// From the first to the second time, as the way goes.
        circle: Vec<String>,
        /// A flag is what made the circle.
        by_flag: bool,
    },
    /// The agent of a hop that is not the first was to dial.
    #[error(
        "`route = \"remote-host\"` of host `{host}` cannot lead on from hop `{hop}`, which is not the first"
    )]
    NotTheFirstHop {
        /// Whose route it is.
        host: String,
        /// The hop that it was to lead out of.
        hop: String,
    },
    /// A hop has no way to find the next place by.
    #[error("hop `{hop}` cannot find `{word}`, which is no address")]
    NoAddress {
        /// What was typed or written.
        word: String,
        /// The hop before it.
        hop: String,
    },
    /// A host on the way needs what this version lacks.
    #[error("host `{host}` has `{}` in the config file, which this version cannot do yet", key)]
    Lacking {
        /// The host.
        host: String,
        /// The key of what is lacking.
        key: &'static str,
    },
}

fn shown(circle: &[String]) -> String {
    circle.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" → ")
}

impl Chain {
    /// Finds the way to `word`; a port that was typed goes before the host's.
    ///
    /// # Errors
    /// [`ChainError`], but for [`ChainError::Lacking`].
    pub fn new(word: &str, port: Option<u16>, config: &Config) -> Result<Self, ChainError> {
        let goal = Place::new(word, port, config)?;
        let places = places(&goal, config)?;
        let edges = edges(&places, &goal, !config.via.is_empty())?;
        let first = places.first().unwrap_or(&goal);
        let entry: Destination = first.target.parse()?;
        let config = settings(config, first, &goal, entry.region());
        let hops = places.into_iter().zip(edges).map(|(place, onward)| Hop { place, onward }).collect();
        Ok(Self { config, entry, hops, goal })
    }

    /// Refuses a chain with a host that needs what this version lacks.
    ///
    /// # Errors
    /// [`ChainError::Lacking`]
    pub fn refuse_lacking(&self) -> Result<(), ChainError> {
        for place in self.places() {
            if let Some((host, key)) =
                place.host.as_ref().and_then(|(name, host)| Some((name, host.lacking()?)))
            {
                return Err(ChainError::Lacking { host: host.clone(), key });
            }
        }
        Ok(())
    }

    /// Returns the chain with its goal as the last hop, whose sshd leads on: that is how a forward from there begins.
    #[must_use]
    pub fn through_goal(mut self) -> Self {
        self.hops.push(Hop { place: self.goal.clone(), onward: Edge::Ssh });
        self
    }

    /// Returns the hops in their order, and then the goal.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.hops.iter().map(|hop| &hop.place).chain([&self.goal])
    }

    /// Returns the sessions that may be started, the first choice first.
    pub fn documents(&self) -> Vec<Document> {
        let own = self.config.session.document.as_deref();
        let Some(first) = self.hops.first() else { return vec![Document::to_port(self.goal.port, own)] };
        let by_sshd = || Document::to_port(first.place.port, own);
        let by_agent = || {
            let next = self.hops.get(1).map_or(&self.goal, |hop| &hop.place);
            Document::to_host(next.dialled(), next.port)
        };
        match first.onward {
            Edge::RemoteHost => vec![by_agent()],
            Edge::RemoteHostElseSsh => vec![by_agent(), by_sshd()],
            Edge::Ssh => vec![by_sshd()],
        }
    }
}

/// The hops to the goal: those of the flag, else its own, and before the first one that hop's own, and so on.
fn places(goal: &Place, config: &Config) -> Result<Vec<Place>, ChainError> {
    let by_flag = !config.via.is_empty();
    let own = goal.table().map(Host::hops).unwrap_or_default();
    let mut list = if by_flag { config.via.clone() } else { own.to_vec() };
    let mut places: Vec<Place> = Vec::new();
    while !list.is_empty() {
        let more: Result<Vec<Place>, TargetError> =
            list.iter().map(|word| Place::new(word, None, config)).collect();
        places.splice(0..0, more?);
        refuse_circle(&places, goal, by_flag)?;
        list = places.first().and_then(Place::table).map(Host::hops).unwrap_or_default().to_vec();
    }
    Ok(places)
}

/// Also what ends the search: no place is added twice.
fn refuse_circle(places: &[Place], goal: &Place, by_flag: bool) -> Result<(), ChainError> {
    let all: Vec<&Place> = places.iter().chain([goal]).collect();
    for (start, place) in all.iter().enumerate() {
        let again = all.iter().skip(start + 1).position(|later| later.is_same(place));
        if let Some(distance) = again {
            let circle = all.iter().skip(start).take(distance + 2);
            let circle = circle.map(|place| place.label().to_owned()).collect();
            return Err(ChainError::Circle { circle, by_flag });
        }
    }
    Ok(())
}

/// The way out of each hop. A host with hops of its own says how it is reached; the goal says it for all others.
fn edges(places: &[Place], goal: &Place, by_flag: bool) -> Result<Vec<Edge>, ChainError> {
    let next = places.iter().skip(1).chain([goal]);
    let pairs = places.iter().zip(next).enumerate();
    pairs.map(|(number, (hop, next))| edge(number == 0, hop, next, goal, by_flag)).collect()
}

fn edge(is_first: bool, hop: &Place, next: &Place, goal: &Place, by_flag: bool) -> Result<Edge, ChainError> {
    let says = if next.table().is_some_and(|host| !host.via.is_empty()) { next } else { goal };
    // Whoever types a hop does not want to go without one.
    let asked = says.table().and_then(|host| host.route);
    let asked = asked.filter(|route| !(by_flag && *route == RouteKind::Direct)).map(route);
    if next.address.is_none() {
        return Err(ChainError::NoAddress { word: next.word.clone(), hop: hop.label().to_owned() });
    }
    Edge::out_of(is_first, asked).map_err(|_| ChainError::NotTheFirstHop {
        host: says.label().to_owned(),
        hop: hop.label().to_owned(),
    })
}

fn route(kind: RouteKind) -> Route {
    match kind {
        RouteKind::Direct => Route::Direct,
        RouteKind::RemoteHost => Route::RemoteHost,
        RouteKind::Ssh => Route::Ssh,
    }
}

/// The region in a name goes before every other: the first hop's, else the one that was typed with the goal.
fn settings(config: &Config, first: &Place, goal: &Place, region: Option<&Region>) -> Config {
    let mut config = config.for_hop(first.table(), goal.table());
    config.name_life = first.table().and_then(|host| host.cache);
    super::in_region(config, region.or(goal.region.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags};

    const HOSTS: &str = "
        [defaults]
        region = 'us-east-1'
        [hosts.bastion]
        target = 'i-0123'
        region = 'eu-west-1'
        profile = 'ops'
        user = 'jump'
        port = 2222
        [hosts.inner]
        address = '10.0.0.9'
        via = 'bastion'
        profile = 'never'
        [hosts.app]
        address = '10.0.0.115'
        via = 'inner'
        resume_window = '1h'
        [hosts.listed]
        address = '10.0.0.116'
        via = ['gate', 'me@inner']
        [hosts.gate]
        target = 'i-0777'
    ";

    fn config(text: &str, via: &[&str]) -> Config {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        std::fs::write(&file, text).expect("a file");
        let via = via.iter().map(|&hop| hop.to_owned()).collect();
        let flags = Flags { config_file: Some(file), via, ..Flags::default() };
        Config::resolve(flags, &Environment::default()).expect(text)
    }

    fn chain(word: &str, via: &[&str]) -> Chain {
        Chain::new(word, None, &config(HOSTS, via)).unwrap_or_else(|error| panic!("{word}: {error}"))
    }

    fn refuse(word: &str, text: &str, via: &[&str]) -> String {
        Chain::new(word, None, &config(text, via)).expect_err(word).to_string()
    }

    /// `hop -(edge)-> … goal`, with addresses behind the first hop.
    fn drawn(chain: &Chain) -> String {
        let mut text = String::new();
        for (place, edge) in chain.places().zip(chain.hops.iter().map(|hop| Some(hop.onward)).chain([None])) {
            text.push_str(if text.is_empty() {
                &place.word
            } else {
                place.address.as_deref().unwrap_or("?")
            });
            if let Some(edge) = edge {
                text.push_str(if edge.falls_back() { " -> " } else { " => " });
                text.push_str(if edge.name() == "ssh" { "ssh " } else { "" });
            }
        }
        text
    }

    #[test]
    fn a_target_without_hops_is_its_own_entry() {
        let alone = chain("me@i-0123--eu-west-3", &[]);
        assert!(alone.hops.is_empty());
        assert_eq!(alone.config.aws.region.as_deref(), Some("eu-west-3"));
        assert_eq!(alone.documents(), [Document::to_port(22, None)]);
        let host = chain("bastion", &[]);
        assert_eq!((host.entry.to_string().as_str(), host.goal.port), ("jump@i-0123", 2222));
        assert_eq!(host.config.aws.profile.as_deref(), Some("ops"));
    }

    #[test]
    fn a_hops_own_hops_go_before_it() {
        let app = chain("app", &[]);
        assert_eq!(drawn(&app), "bastion -> 10.0.0.9 => ssh 10.0.0.115");
        assert_eq!(app.entry.to_string(), "jump@i-0123");
        assert_eq!(app.config.aws.region.as_deref(), Some("eu-west-1"));
        assert_eq!(app.config.aws.profile.as_deref(), Some("ops"));
        assert_eq!(app.config.session.resume_window.as_secs(), 3600);
        assert_eq!(app.documents(), [Document::to_host("10.0.0.9", 22), Document::to_port(2222, None)]);
        assert_eq!(chain("app--eu-west-2", &[]).config.aws.region.as_deref(), Some("eu-west-2"));
    }

    #[test]
    fn a_list_says_how_its_later_hops_are_reached() {
        let listed = chain("listed", &[]);
        assert_eq!(drawn(&listed), "gate -> 10.0.0.9 => ssh 10.0.0.116");
        assert_eq!(listed.hops[1].place.user.as_deref(), Some("me"));
    }

    #[test]
    fn a_flag_goes_before_the_hosts_own_hops() {
        assert_eq!(drawn(&chain("app", &["gate"])), "gate -> 10.0.0.115");
        assert_eq!(drawn(&chain("app", &["inner"])), "bastion -> 10.0.0.9 => ssh 10.0.0.115");
        assert_eq!(drawn(&chain("10.1.1.1", &["gate", "10.9.9.9"])), "gate -> 10.9.9.9 => ssh 10.1.1.1");
        assert_eq!(drawn(&chain("db.internal", &["i-0456"])), "i-0456 -> db.internal");
    }

    #[test]
    fn the_goals_route_holds_where_no_other_host_says_its_own() {
        let text = |route: &str| format!("[hosts.app]\naddress = '10.0.0.1'\nvia = 'b'\nroute = '{route}'");
        let drawn = |route: &str, via: &[&str]| {
            let chain = Chain::new("app", None, &config(&text(route), via));
            chain.map(|chain| self::drawn(&chain)).map_err(|error| error.to_string())
        };
        assert_eq!(drawn("ssh", &[]).as_deref(), Ok("b => ssh 10.0.0.1"));
        assert_eq!(drawn("remote-host", &[]).as_deref(), Ok("b => 10.0.0.1"));
        assert_eq!(drawn("direct", &[]).as_deref(), Ok("app"));
        assert_eq!(drawn("direct", &["c"]).as_deref(), Ok("c -> 10.0.0.1"));
        assert_eq!(drawn("ssh", &["c", "d"]).as_deref(), Ok("c => ssh d => ssh 10.0.0.1"));
        let error = drawn("remote-host", &["c", "d"]).expect_err("d is not the first");
        let text =
            "`route = \"remote-host\"` of host `app` cannot lead on from hop `d`, which is not the first";
        assert_eq!(error, text);
    }

    #[test]
    fn a_hop_with_hops_of_its_own_says_its_own_route() {
        let text = "[hosts.b]\ntarget = 'i-0123'\n[hosts.c]\naddress = '10.0.0.2'\nvia = 'b'\nroute = 'ssh'\n\
                    [hosts.app]\naddress = '10.0.0.1'\nvia = 'c'";
        let drawn = |text: &str| drawn(&Chain::new("app", None, &config(text, &[])).expect("a chain"));
        assert_eq!(drawn(text), "b => ssh 10.0.0.2 => ssh 10.0.0.1");
        assert_eq!(drawn(&text.replace("route = 'ssh'", "")), "b -> 10.0.0.2 => ssh 10.0.0.1");
        assert_eq!(drawn(&text.replace("'ssh'", "'direct'")), "c -> 10.0.0.1");
    }

    #[test]
    fn a_circle_is_named() {
        let text = "[hosts.a]\nvia = 'b'\n[hosts.b]\n";
        assert_eq!(refuse("b", text, &["a"]), "`--via` goes round in a circle: `b` → `a` → `b`");
        assert_eq!(refuse("a", text, &["x", "me@a"]), "`--via` goes round in a circle: `a` → `a`");
        assert_eq!(refuse("i-0123", "", &["i-0123"]), "`--via` goes round in a circle: `i-0123` → `i-0123`");
        let text = "[hosts.a]\nvia = ['i-0123', 'x', 'i-0123']";
        assert_eq!(refuse("a", text, &[]), "`via` goes round in a circle: `i-0123` → `x` → `i-0123`");
    }

    #[test]
    fn what_no_hop_can_find_is_refused() {
        assert_eq!(
            refuse("i-0123", "", &["i-0456"]),
            "hop `i-0456` cannot find `i-0123`, which is no address"
        );
        assert_eq!(refuse("db", "", &["a", "tag:A=b"]), "hop `a` cannot find `tag:A=b`, which is no address");
        assert_eq!(refuse("db", "", &["tag:"]), "`tag:` is no tag: the form is `tag:KEY=VALUE`");
    }

    #[test]
    fn what_this_version_lacks_is_told_of_every_place() {
        let text = "[hosts.app]\nvia = 'b'\n[hosts.b]\nstop_after = '1h'";
        let error = |word: &str, via: &[&str]| {
            let chain = Chain::new(word, None, &config(text, via)).expect("a chain");
            chain.refuse_lacking().map_err(|error| error.to_string())
        };
        let expected = "host `b` has `stop_after` in the config file, which this version cannot do yet";
        assert_eq!(error("app", &[]), Err(expected.to_owned()));
        assert_eq!(error("app", &["c"]), Ok(()));
    }

    #[test]
    fn a_document_of_ones_own_is_for_plain_sessions() {
        let text = "[defaults]\ndocument = 'Mine'\n[hosts.app]\naddress = '10.0.0.1'\nvia = 'b'";
        let names = |word: &str| -> Vec<String> {
            let chain = Chain::new(word, None, &config(text, &[])).expect("a chain");
            chain.documents().into_iter().map(|document| document.name).collect()
        };
        assert_eq!(names("b"), ["Mine"]);
        assert_eq!(names("app"), ["AWS-StartPortForwardingSessionToRemoteHost", "Mine"]);
    }
}
