//! PURE: from a typed word, `--via` and the config file to the [`Route`]: hops, goal, session documents.
//!
//! If the first hop of a list has hops itself, they are put in front of it; the later hops of a list are reached as the
//! list says. `reach` carries out a route, `explanation` describes it and `policy` writes the IAM policy that it needs,
//! so that what is explained is what is done.

mod document;
pub(crate) mod explanation;
mod hop;
mod key_source;
mod machine;
pub(crate) mod policy;
mod wish;

use thiserror::Error;

use crate::config::{Config, Host, HostKeySource, KeyKind, RouteKind};
use crate::names::{Destination, Region, TargetError};

pub use self::document::{Document, PORT_DOCUMENT, REMOTE_HOST_AGENT, REMOTE_HOST_DOCUMENT, SSH_DOCUMENT};
pub use self::hop::{DialedBy, Hop};
pub use self::key_source::KeySource;
pub use self::machine::Machine;
use self::policy::PushedKey;
pub use self::wish::{Loan, LoanPlace, Wish};

/// The machines to connect through, and the goal.
#[derive(Clone, Debug)]
pub struct Route {
    /// The configuration of the session; profile, region and endpoints are the first hop's.
    pub config: Config,
    /// The target of the session: the first hop, or the goal if there are no hops.
    pub entry: Destination,
    /// The hops, nearest first.
    pub hops: Vec<Hop>,
    /// The machine and port that the route ends at.
    pub goal: Machine,
}

/// Why there is no route; the user has to correct the command line or the config file.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RouteError {
    /// A word is neither a host of the config file nor a valid target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The route goes through one machine twice.
    #[error("{} contains a cycle: {}", if *by_flag { "`--via`" } else { "`via`" }, shown(cycle))]
    Cycle {
        /// The names in the order of the route, from the first to the second occurrence of the machine.
        cycle: Vec<String>,
        /// The hops come from `--via`.
        by_flag: bool,
    },
    /// `route = "remote-host"` behind a hop that is not the first.
    #[error(
        "`route = \"remote-host\"` of host `{host}` cannot be used behind hop `{hop}`: only the agent of the first hop can connect"
    )]
    NotTheFirstHop {
        /// The host with this `route`.
        host: String,
        /// The hop before it.
        hop: String,
    },
    /// The host keys of a hop come from a session to it, and it is behind another hop.
    #[error(
        "`host_keys = \"session\"` cannot be used for `{host}`: it is behind hop `{hop}`, and a path through a hop does not prove which machine answers"
    )]
    SessionBehindHop {
        /// The host with this source.
        host: String,
        /// The hop before it.
        hop: String,
    },
    /// A machine behind a hop has no address.
    #[error("hop `{hop}` cannot connect to `{word}`: it is not an address or a DNS name")]
    NoAddress {
        /// What was typed or written.
        word: String,
        /// The hop before it.
        hop: String,
    },
}

fn shown(cycle: &[String]) -> String {
    cycle.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" → ")
}

impl Route {
    /// Finds the route to `word`; `port` overrides the host's.
    ///
    /// # Errors
    /// [`RouteError`]
    pub fn new(word: &str, port: Option<u16>, config: &Config) -> Result<Self, RouteError> {
        let goal = Machine::new(word, port, config)?;
        let machines = hops(&goal, config)?;
        refuse_session_behind_hop(&machines)?;
        let dialers = dialers(&machines, &goal, !config.via.is_empty())?;
        let first = machines.first().unwrap_or(&goal);
        let entry = first.destination()?;
        let config = settings(config, first, &goal, entry.region());
        let hops = machines.into_iter().zip(dialers).map(|(machine, next)| Hop { machine, next }).collect();
        Ok(Self { config, entry, hops, goal })
    }

    /// Returns the route with its goal as the last hop, so that the goal's sshd connects to the destinations of a forward.
    #[must_use]
    pub fn through_goal(mut self) -> Self {
        self.hops.push(Hop { machine: self.goal.clone(), next: DialedBy::Sshd });
        self
    }

    /// Returns the hops in order, then the goal.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.hops.iter().map(|hop| &hop.machine).chain([&self.goal])
    }

    /// Returns the machines that the session may connect to, first choice first, by their numbers on the route: 0 is the
    /// entry itself, 1 is the machine that the entry's agent connects to.
    pub fn session_ends(&self) -> &'static [usize] {
        match self.hops.first().map(|hop| hop.next) {
            None | Some(DialedBy::Sshd) => &[0],
            Some(DialedBy::Agent) => &[1],
            Some(DialedBy::AgentElseSshd) => &[1, 0],
        }
    }

    /// Returns the document of a session to a machine. The address and the port may be those of ssh_config.
    pub fn document(&self, machine: usize, address: &str, port: u16) -> Document {
        match machine {
            0 => Document::to_port(port, self.config.session.document.as_deref()),
            _ => Document::to_host(address, port),
        }
    }

    /// Returns the documents that may be started, first choice first, with the addresses and ports of our config file.
    pub fn documents(&self) -> Vec<Document> {
        let document = |number: &usize| {
            let machine = self.machine(*number);
            self.document(*number, machine.address_or_word(), machine.port)
        };
        self.session_ends().iter().map(document).collect()
    }

    /// Returns the key that is pushed to a machine before a login, if any.
    pub fn key_of(&self, machine: &Machine) -> Option<KeyKind> {
        let own = machine.host().and_then(|host| host.key);
        if self.config.ephemeral_key { Some(KeyKind::Ephemeral) } else { own }
    }

    /// Returns the keys that are pushed on the route: to the hops whose sshd may be used, and to the goal if ssh logs in to it.
    pub fn pushed_keys(&self, ssh_logs_in: bool) -> Vec<PushedKey<'_>> {
        let is_used =
            |number: usize| self.hops.get(number).map_or(ssh_logs_in, |hop| hop.next != DialedBy::Agent);
        let machines = self.machines().enumerate().filter(|(number, _)| is_used(*number));
        machines.filter_map(|(number, machine)| self.pushed_key(number, machine)).collect()
    }

    fn pushed_key<'a>(&'a self, number: usize, machine: &'a Machine) -> Option<PushedKey<'a>> {
        let (is_target, kind) = (number == 0, self.key_of(machine)?);
        let name = match is_target {
            true => self.entry.name().clone(),
            false => machine.destination().ok()?.name().clone(),
        };
        Some(PushedKey { is_target, machine: machine.label(), kind, name, user: machine.user.as_deref() })
    }

    /// Returns a machine by its number: the hops, then the goal.
    pub fn machine(&self, number: usize) -> &Machine {
        self.hops.get(number).map_or(&self.goal, |hop| &hop.machine)
    }
}

/// Collects the hops: those of `--via`, else the goal's; in front of the first one its own hops, and so on.
fn hops(goal: &Machine, config: &Config) -> Result<Vec<Machine>, RouteError> {
    let by_flag = !config.via.is_empty();
    let own = goal.host().map(Host::hops).unwrap_or_default();
    let mut list = if by_flag { config.via.clone() } else { own.to_vec() };
    let mut machines: Vec<Machine> = Vec::new();
    while !list.is_empty() {
        let more: Result<Vec<Machine>, TargetError> =
            list.iter().map(|word| Machine::new(word, None, config)).collect();
        machines.splice(0..0, more?);
        refuse_cycle(&machines, goal, by_flag)?;
        list = machines.first().and_then(Machine::host).map(Host::hops).unwrap_or_default().to_vec();
    }
    Ok(machines)
}

/// Ends the search for hops too: no machine is added twice.
fn refuse_cycle(machines: &[Machine], goal: &Machine, by_flag: bool) -> Result<(), RouteError> {
    let all: Vec<&Machine> = machines.iter().chain([goal]).collect();
    for (start, machine) in all.iter().enumerate() {
        let again = all.iter().skip(start + 1).position(|later| later.is_same(machine));
        if let Some(distance) = again {
            let cycle = all.iter().skip(start).take(distance + 2);
            let cycle = cycle.map(|machine| machine.label().to_owned()).collect();
            return Err(RouteError::Cycle { cycle, by_flag });
        }
    }
    Ok(())
}

/// The config file is refused if its own hops are in such an order; those of `--via` are known here.
fn refuse_session_behind_hop(machines: &[Machine]) -> Result<(), RouteError> {
    let has_session =
        |machine: &Machine| machine.host().is_some_and(|host| host.host_keys == Some(HostKeySource::Session));
    let mut pairs = machines.iter().zip(machines.iter().skip(1));
    match pairs.find(|(_, machine)| has_session(machine)) {
        Some((hop, machine)) => Err(RouteError::SessionBehindHop {
            host: machine.label().to_owned(),
            hop: hop.label().to_owned(),
        }),
        None => Ok(()),
    }
}

/// Chooses who connects from each hop. The `route` of a host with hops decides for the hop in front of it, the goal's
/// `route` for all others.
fn dialers(machines: &[Machine], goal: &Machine, by_flag: bool) -> Result<Vec<DialedBy>, RouteError> {
    let next = machines.iter().skip(1).chain([goal]);
    let pairs = machines.iter().zip(next).enumerate();
    pairs.map(|(number, (hop, next))| dialer(number == 0, hop, next, goal, by_flag)).collect()
}

fn dialer(
    is_first: bool,
    hop: &Machine,
    next: &Machine,
    goal: &Machine,
    by_flag: bool,
) -> Result<DialedBy, RouteError> {
    let decides = if next.host().is_some_and(|host| !host.via.is_empty()) { next } else { goal };
    // `--via` overrides `route = "direct"`.
    let asked =
        decides.host().and_then(|host| host.route).filter(|route| !(by_flag && *route == RouteKind::Direct));
    if next.address.is_none() {
        return Err(RouteError::NoAddress { word: next.word.clone(), hop: hop.label().to_owned() });
    }
    DialedBy::choose(is_first, asked).map_err(|_| RouteError::NotTheFirstHop {
        host: decides.label().to_owned(),
        hop: hop.label().to_owned(),
    })
}

/// A region in a name overrides every other setting: the first hop's, else the goal's.
fn settings(config: &Config, first: &Machine, goal: &Machine, region: Option<&Region>) -> Config {
    let mut config = config.for_hop(first.host(), goal.host());
    config.name_life = first.host().and_then(|host| host.cache);
    match region.or(goal.region.as_ref()) {
        Some(region) => config.in_region(region),
        None => config,
    }
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

    fn route(word: &str, via: &[&str]) -> Route {
        Route::new(word, None, &config(HOSTS, via)).unwrap_or_else(|error| panic!("{word}: {error}"))
    }

    fn refuse(word: &str, text: &str, via: &[&str]) -> String {
        Route::new(word, None, &config(text, via)).expect_err(word).to_string()
    }

    /// `hop -(dialer)-> … goal`, with addresses behind the first hop.
    fn drawn(route: &Route) -> String {
        let mut text = String::new();
        for (machine, dialer) in
            route.machines().zip(route.hops.iter().map(|hop| Some(hop.next)).chain([None]))
        {
            text.push_str(if text.is_empty() {
                &machine.word
            } else {
                machine.address.as_deref().unwrap_or("?")
            });
            if let Some(dialer) = dialer {
                text.push_str(if dialer.falls_back() { " -> " } else { " => " });
                text.push_str(if dialer.name() == "ssh" { "ssh " } else { "" });
            }
        }
        text
    }

    #[test]
    fn a_target_without_hops_is_the_entry() {
        let alone = route("me@i-0123--eu-west-3", &[]);
        assert!(alone.hops.is_empty());
        assert_eq!(alone.config.aws.region.as_deref(), Some("eu-west-3"));
        assert_eq!(alone.documents(), [Document::to_port(22, None)]);
        let host = route("bastion", &[]);
        assert_eq!((host.entry.to_string().as_str(), host.goal.port), ("jump@i-0123", 2222));
        assert_eq!(host.config.aws.profile.as_deref(), Some("ops"));
    }

    #[test]
    fn the_hops_of_a_hop_are_put_in_front_of_it() {
        let app = route("app", &[]);
        assert_eq!(drawn(&app), "bastion -> 10.0.0.9 => ssh 10.0.0.115");
        assert_eq!(app.entry.to_string(), "jump@i-0123");
        assert_eq!(app.config.aws.region.as_deref(), Some("eu-west-1"));
        assert_eq!(app.config.aws.profile.as_deref(), Some("ops"));
        assert_eq!(app.config.session.resume_window.as_secs(), 3600);
        assert_eq!(app.documents(), [Document::to_host("10.0.0.9", 22), Document::to_port(2222, None)]);
        assert_eq!(route("app--eu-west-2", &[]).config.aws.region.as_deref(), Some("eu-west-2"));
    }

    #[test]
    fn the_later_hops_of_a_list_are_reached_through_the_earlier_ones() {
        let listed = route("listed", &[]);
        assert_eq!(drawn(&listed), "gate -> 10.0.0.9 => ssh 10.0.0.116");
        assert_eq!(listed.hops[1].machine.user.as_deref(), Some("me"));
    }

    #[test]
    fn via_by_flag_overrides_the_hosts_via() {
        assert_eq!(drawn(&route("app", &["gate"])), "gate -> 10.0.0.115");
        assert_eq!(drawn(&route("app", &["inner"])), "bastion -> 10.0.0.9 => ssh 10.0.0.115");
        assert_eq!(drawn(&route("10.1.1.1", &["gate", "10.9.9.9"])), "gate -> 10.9.9.9 => ssh 10.1.1.1");
        assert_eq!(drawn(&route("db.internal", &["i-0456"])), "i-0456 -> db.internal");
    }

    #[test]
    fn the_goals_route_decides_for_hosts_without_one() {
        let text = |route: &str| format!("[hosts.app]\naddress = '10.0.0.1'\nvia = 'b'\nroute = '{route}'");
        let drawn = |route: &str, via: &[&str]| {
            let route = Route::new("app", None, &config(&text(route), via));
            route.map(|route| self::drawn(&route)).map_err(|error| error.to_string())
        };
        assert_eq!(drawn("ssh", &[]).as_deref(), Ok("b => ssh 10.0.0.1"));
        assert_eq!(drawn("remote-host", &[]).as_deref(), Ok("b => 10.0.0.1"));
        assert_eq!(drawn("direct", &[]).as_deref(), Ok("app"));
        assert_eq!(drawn("direct", &["c"]).as_deref(), Ok("c -> 10.0.0.1"));
        assert_eq!(drawn("ssh", &["c", "d"]).as_deref(), Ok("c => ssh d => ssh 10.0.0.1"));
        let error = drawn("remote-host", &["c", "d"]).expect_err("d is not the first");
        let text = "`route = \"remote-host\"` of host `app` cannot be used behind hop `d`: only the agent of the first hop can connect";
        assert_eq!(error, text);
    }

    #[test]
    fn a_hop_with_hops_uses_its_own_route() {
        let text = "[hosts.b]\ntarget = 'i-0123'\n[hosts.c]\naddress = '10.0.0.2'\nvia = 'b'\nroute = 'ssh'\n\
                    [hosts.app]\naddress = '10.0.0.1'\nvia = 'c'";
        let drawn = |text: &str| drawn(&Route::new("app", None, &config(text, &[])).expect("a chain"));
        assert_eq!(drawn(text), "b => ssh 10.0.0.2 => ssh 10.0.0.1");
        assert_eq!(drawn(&text.replace("route = 'ssh'", "")), "b -> 10.0.0.2 => ssh 10.0.0.1");
        assert_eq!(drawn(&text.replace("'ssh'", "'direct'")), "c -> 10.0.0.1");
    }

    #[test]
    fn a_cycle_is_named() {
        let text = "[hosts.a]\nvia = 'b'\n[hosts.b]\n";
        assert_eq!(refuse("b", text, &["a"]), "`--via` contains a cycle: `b` → `a` → `b`");
        assert_eq!(refuse("a", text, &["x", "me@a"]), "`--via` contains a cycle: `a` → `a`");
        assert_eq!(refuse("i-0123", "", &["i-0123"]), "`--via` contains a cycle: `i-0123` → `i-0123`");
        let text = "[hosts.a]\nvia = ['i-0123', 'x', 'i-0123']";
        assert_eq!(refuse("a", text, &[]), "`via` contains a cycle: `i-0123` → `x` → `i-0123`");
    }

    #[test]
    fn a_machine_without_an_address_behind_a_hop_is_refused() {
        assert_eq!(
            refuse("i-0123", "", &["i-0456"]),
            "hop `i-0456` cannot connect to `i-0123`: it is not an address or a DNS name"
        );
        assert_eq!(
            refuse("db", "", &["a", "tag:A=b"]),
            "hop `a` cannot connect to `tag:A=b`: it is not an address or a DNS name"
        );
        assert_eq!(refuse("db", "", &["tag:"]), "\"tag:\" is not a valid tag (expected `tag:KEY=VALUE`)");
    }

    #[test]
    fn a_named_document_is_used_for_plain_sessions_only() {
        let text = "[defaults]\ndocument = 'Mine'\n[hosts.app]\naddress = '10.0.0.1'\nvia = 'b'";
        let names = |word: &str| -> Vec<String> {
            let route = Route::new(word, None, &config(text, &[])).expect("a chain");
            route.documents().into_iter().map(|document| document.name).collect()
        };
        assert_eq!(names("b"), ["Mine"]);
        assert_eq!(names("app"), ["AWS-StartPortForwardingSessionToRemoteHost", "Mine"]);
    }
}
