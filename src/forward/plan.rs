//! What `forward` was asked for: from the command line and the config file to listeners, and where each connects to. Pure.

use thiserror::Error;

use crate::config::{ClientSettings, Config, Forward, LocalEnd, LocalForward, RemoteEnd};
use crate::names::Name;
use crate::route::{DialedBy, Document, Hop, Machine, Route, RouteError};

use super::Bind;

/// The arguments of `forward` that decide about listeners.
#[derive(Clone, Copy, Debug)]
pub struct ForwardRequest<'a> {
    /// A target if there is a `-L` or `-D`, else names of forwards.
    pub words: &'a [String],
    /// Each `-L`.
    pub local: &'a [LocalForward],
    /// Each `-D`.
    pub dynamic: &'a [LocalEnd],
    /// `--all`
    pub all: bool,
    /// `--hold`
    pub hold: bool,
}

/// One listener.
#[derive(Clone, Debug)]
pub struct PlannedForward {
    /// Its name in the config file.
    pub name: Option<String>,
    /// The address or path to listen on.
    pub bind: Bind,
    /// The destination of its connections.
    pub to: ForwardTo,
    /// The route to the target.
    pub route: Route,
    /// The session document to start instead of AWS's.
    pub document: Option<String>,
    /// Sessions are kept from being idle.
    pub hold: bool,
    /// How a client of the destination logs in.
    pub client: ClientSettings,
}

/// The destination of a listener's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardTo {
    /// A port.
    Port(RemoteEnd),
    /// What each client asks for by SOCKS or HTTP CONNECT.
    Proxy,
}

/// Why there is no plan; the user has to correct the command line or the config file.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PlanError {
    /// `-L` or `-D` without exactly one target.
    #[error("`-L` and `-D` need one target, not {0}")]
    TargetCount(usize),
    /// `--all` without a forward in the config file.
    #[error("the config file has no forwards")]
    NoForwards,
    /// Neither a name nor `-L` nor `-D`.
    #[error("no forward given")]
    Nothing {
        /// The forwards of the config file, one a line.
        known: Vec<String>,
    },
    /// The config file has no forward of that name.
    #[error("the config file has no `[forwards.{name}]`")]
    Unknown {
        /// What was typed.
        name: String,
        /// A similar name that exists.
        nearest: Option<String>,
    },
    /// There is no route to the target.
    #[error(transparent)]
    Route(#[from] RouteError),
}

impl PlannedForward {
    /// Returns true if both go through the same machines in the same way.
    pub fn has_same_route(&self, other: &Self) -> bool {
        let (this, other) = (&self.route, &other.route);
        (&this.config, &this.hops, &this.goal) == (&other.config, &other.hops, &other.goal)
    }

    /// Returns the target, as the user names it.
    pub fn target(&self) -> &str {
        self.route.goal.label()
    }

    /// Returns the route of a connection to the destination: the target is a hop unless it is the destination itself. Without
    /// hops its agent connects, behind hops its sshd. The route of a proxy ends at the target.
    pub fn to_destination(&self) -> Route {
        let ForwardTo::Port(RemoteEnd { host, port }) = &self.to else { return self.route.clone() };
        let at = |host: &str| Machine {
            word: host.to_owned(),
            named_host: None,
            address: Some(host.to_owned()),
            port: *port,
            user: None,
            region: None,
        };
        let mut route = self.route.clone();
        match (host, route.hops.is_empty()) {
            (None, true) => route.goal.port = *port,
            (Some(host), true) => {
                route.hops.push(Hop { machine: route.goal.clone(), next: DialedBy::Agent });
                route.goal = at(host);
            }
            (host, false) => {
                route = route.through_goal();
                route.goal = at(host.as_deref().unwrap_or("localhost"));
            }
        }
        route
    }

    /// Returns the destination in the form of messages and of `--json`.
    pub fn remote(&self) -> String {
        match &self.to {
            ForwardTo::Port(RemoteEnd { host: None, port }) => format!("localhost:{port}"),
            ForwardTo::Port(RemoteEnd { host: Some(host), port }) if host.contains(':') => {
                format!("[{host}]:{port}")
            }
            ForwardTo::Port(RemoteEnd { host: Some(host), port }) => format!("{host}:{port}"),
            ForwardTo::Proxy => "socks5".to_owned(),
        }
    }

    /// Returns the documents that its sessions may start, first choice first. Behind hops, the goal's sshd connects.
    pub fn documents(&self) -> Vec<Document> {
        match &self.to {
            ForwardTo::Port(remote) if self.route.hops.is_empty() => vec![self.document_to(remote)],
            ForwardTo::Port(_) | ForwardTo::Proxy => self.route.clone().through_goal().documents(),
        }
    }

    /// Returns the document of a session to `remote`.
    pub fn document_to(&self, remote: &RemoteEnd) -> Document {
        Document::to_destination(remote.host.as_deref(), remote.port, self.document.as_deref())
    }
}

/// Plans the listeners.
///
/// # Errors
/// [`PlanError`]
pub fn plan(request: &ForwardRequest<'_>, config: &Config) -> Result<Vec<PlannedForward>, PlanError> {
    let plan = plan_all(request, config)?;
    Ok(plan)
}

/// Plans the forward of that name in the config file, also if its route needs what this version lacks.
///
/// # Errors
/// [`PlanError`]
pub fn plan_named(name: &str, config: &Config) -> Result<PlannedForward, PlanError> {
    let request = ForwardRequest { words: &[], local: &[], dynamic: &[], all: false, hold: false };
    of_name(&request, name, config)
}

fn plan_all(request: &ForwardRequest<'_>, config: &Config) -> Result<Vec<PlannedForward>, PlanError> {
    if !request.local.is_empty() || !request.dynamic.is_empty() {
        let [target] = request.words else { return Err(PlanError::TargetCount(request.words.len())) };
        return of_target(request, target, config);
    }
    let names: Vec<&String> =
        if request.all { config.forwards.keys().collect() } else { request.words.iter().collect() };
    if names.is_empty() {
        return Err(if request.all {
            PlanError::NoForwards
        } else {
            PlanError::Nothing { known: known(config) }
        });
    }
    names.into_iter().map(|name| of_name(request, name, config)).collect()
}

fn of_target(
    request: &ForwardRequest<'_>,
    target: &str,
    config: &Config,
) -> Result<Vec<PlannedForward>, PlanError> {
    let route = Route::new(target, None, config)?;
    let document = config.forward_document().map(str::to_owned);
    let planned = |local: &LocalEnd, to| PlannedForward {
        name: None,
        bind: bind(local),
        to,
        route: route.clone(),
        document: document.clone(),
        hold: request.hold,
        client: ClientSettings::default(),
    };
    let to_port = |spec: &LocalForward| ForwardTo::Port(own_port(&spec.remote, &route));
    let local = request.local.iter().map(|spec| planned(&spec.local, to_port(spec)));
    let dynamic = request.dynamic.iter().map(|local| planned(local, ForwardTo::Proxy));
    Ok(local.chain(dynamic).collect())
}

fn of_name(request: &ForwardRequest<'_>, name: &str, config: &Config) -> Result<PlannedForward, PlanError> {
    let Some(forward) = config.forwards.get(name) else { return Err(unknown(name, config)) };
    let Forward { target, local, remote, hold, client, .. } = forward;
    let config = config.for_forward(forward);
    let route = Route::new(target, None, &config)?;
    Ok(PlannedForward {
        name: Some(name.to_owned()),
        bind: bind(local),
        to: ForwardTo::Port(own_port(remote, &route)),
        document: config.forward_document().map(str::to_owned),
        hold: *hold || request.hold,
        client: client.clone(),
        route,
    })
}

/// Lists the forwards of the config file.
fn known(config: &Config) -> Vec<String> {
    let line = |forward: &Forward| {
        let Forward { name, local, remote, target, .. } = forward;
        let host = remote.host.as_deref().unwrap_or("localhost");
        format!("{name}  {}  to {host}:{}  through {target}", bind(local), remote.port)
    };
    config.forwards.values().map(line).collect()
}

/// A destination with the name or id of the target is a port of the target itself.
fn own_port(remote: &RemoteEnd, route: &Route) -> RemoteEnd {
    let label = Machine::label(&route.goal);
    let id = match route.entry.name() {
        Name::Id(target) if route.hops.is_empty() => target.id(),
        Name::Id(_)
        | Name::Container(_)
        | Name::Tag { .. }
        | Name::Address(_)
        | Name::Dns(_)
        | Name::Named(_) => label,
    };
    let is_other = |host: &String| host != id && host != label;
    RemoteEnd { host: remote.host.clone().filter(is_other), port: remote.port }
}

fn bind(local: &LocalEnd) -> Bind {
    match local {
        LocalEnd::Socket(path) => Bind::Socket(path.clone()),
        LocalEnd::Tcp { bind, port } => match bind.as_deref() {
            None | Some("localhost") => Bind::Loopback(*port),
            Some("" | "*") => Bind::Everywhere(*port),
            Some(host) => Bind::Host(host.to_owned(), *port),
        },
    }
}

fn unknown(name: &str, config: &Config) -> PlanError {
    let distances = config.forwards.keys().map(|known| (strsim::damerau_levenshtein(known, name), known));
    let nearest = distances.filter(|(distance, _)| *distance <= 3).min();
    PlanError::Unknown { name: name.to_owned(), nearest: nearest.map(|(_, known)| known.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags, dynamic_forward, local_forward};

    const FILE: &str = "[hosts.bastion]\ntarget = 'i-0123'\nregion = 'eu-west-1'\nkeepalive = 7\n\
        [forwards.orders]\ntarget = 'bastion'\nlocal = '127.0.0.1:13306'\nremote = 'orders.example:3306'\n\
        hold = true\nkeepalive = 5\n[forwards.own]\ntarget = 'i-0456'\nlocal = '/tmp/s'\nremote = 80";

    /// Words as on the command line.
    fn planned(words: &str, flags: Flags) -> Result<Vec<PlannedForward>, PlanError> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        std::fs::write(&file, FILE).expect("a file");
        let config = Config::resolve(Flags { config_file: Some(file), ..flags }, &Environment::default());
        let (mut names, mut local, mut dynamic, mut all) = (Vec::new(), Vec::new(), Vec::new(), false);
        let mut words = words.split_whitespace();
        while let Some(word) = words.next() {
            let mut next = || words.next().expect("a value");
            match word {
                "-L" => local.push(local_forward(next()).expect(word)),
                "-D" => dynamic.push(dynamic_forward(next()).expect(word)),
                "--all" => all = true,
                name => names.push(name.to_owned()),
            }
        }
        let request = ForwardRequest { words: &names, local: &local, dynamic: &dynamic, all, hold: false };
        plan(&request, &config.expect("valid"))
    }

    fn plan_of(words: &str) -> Result<Vec<PlannedForward>, PlanError> {
        planned(words, Flags::default())
    }

    #[test]
    fn a_spec_forwards_to_a_port_that_the_target_reaches() {
        let plan = plan_of("bastion -L 13306:db:3306 -L *:0:80 -D 1080").expect("valid");
        let shown: Vec<String> = plan.iter().map(|one| format!("{} {}", one.bind, one.remote())).collect();
        assert_eq!(shown, ["127.0.0.1:13306 db:3306", "*:0 localhost:80", "127.0.0.1:1080 socks5"]);
        assert_eq!(plan[0].route.config.aws.region.as_deref(), Some("eu-west-1"));
        assert!(!plan[0].hold);
    }

    #[test]
    fn the_name_and_the_id_of_the_target_mean_the_target_itself() {
        let plan = plan_of("bastion -L 1:bastion:80 -L 2:i-0123:80 -L 3:i-0123x:80");
        let remotes: Vec<String> = plan.expect("valid").iter().map(PlannedForward::remote).collect();
        assert_eq!(remotes, ["localhost:80", "localhost:80", "i-0123x:80"]);
    }

    #[test]
    fn names_are_those_of_the_config_file() {
        let plan = plan_of("orders own").expect("valid");
        assert_eq!((plan[0].remote().as_str(), plan[0].hold), ("orders.example:3306", true));
        let keepalive = plan[0].route.config.session.keepalive;
        assert_eq!(keepalive.as_secs(), 5, "the forward's key overrides the host's");
        assert_eq!(plan[1].bind, Bind::Socket("/tmp/s".into()));
        assert_eq!(plan_of("--all").expect("valid").len(), 2);
        let settings = crate::config::Settings {
            keepalive: Some(std::time::Duration::from_secs(3)),
            document: Some("D".into()),
            ..Default::default()
        };
        let flagged = planned("orders", Flags { settings, ..Flags::default() }).expect("valid");
        assert_eq!(flagged[0].route.config.session.keepalive.as_secs(), 3);
        assert_eq!(flagged[0].document.as_deref(), Some("D"));
    }

    #[test]
    fn an_incomplete_request_is_refused() {
        let unknown = |name: &str, nearest: Option<&str>| PlanError::Unknown {
            name: name.to_owned(),
            nearest: nearest.map(str::to_owned),
        };
        for (words, error) in [
            (
                "",
                PlanError::Nothing {
                    known: vec![
                        "orders  127.0.0.1:13306  to orders.example:3306  through bastion".into(),
                        "own  /tmp/s  to localhost:80  through i-0456".into(),
                    ],
                },
            ),
            ("a b -L 1:c:2", PlanError::TargetCount(2)),
            ("-D 0", PlanError::TargetCount(0)),
            ("order", unknown("order", Some("orders"))),
            ("something-else", unknown("something-else", None)),
        ] {
            assert_eq!(plan_of(words).expect_err(words), error);
        }
    }
}
