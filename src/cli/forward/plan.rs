//! What `forward` is to do: from its arguments and the config file to listeners and where each leads. Pure.

use crate::config::{Config, Forward, LocalEnd, RemoteEnd};
use crate::forward::Bind;
use crate::names::Name;
use crate::names::route::Document;

use super::super::args::ForwardArgs;
use super::super::chain::Chain;
use super::super::report::{ExitKind, Report};

/// One listener.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// Where it listens.
    pub bind: Bind,
    /// Where its connections go.
    pub leads: Leads,
    /// The way to the machine that reaches it.
    pub chain: Chain,
    /// The session document to start instead of AWS's own.
    pub document: Option<String>,
    /// Sessions are kept from ending for want of input.
    pub hold: bool,
}

/// Where connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// To a port.
    To(RemoteEnd),
    /// Wherever each asks for.
    Proxy,
}

impl Planned {
    /// Tells whether both go through the same machines in the same way.
    pub fn goes_the_same_way_as(&self, other: &Self) -> bool {
        let (this, other) = (&self.chain, &other.chain);
        (&this.config, &this.hops, &this.goal) == (&other.config, &other.hops, &other.goal)
    }

    /// What the far end is called.
    pub fn remote(&self) -> String {
        match &self.leads {
            Leads::To(RemoteEnd { host: None, port }) => format!("localhost:{port}"),
            Leads::To(RemoteEnd { host: Some(host), port }) if host.contains(':') => {
                format!("[{host}]:{port}")
            }
            Leads::To(RemoteEnd { host: Some(host), port }) => format!("{host}:{port}"),
            Leads::Proxy => "socks5".to_owned(),
        }
    }

    /// What a session to a port is started with.
    pub fn document_to(&self, remote: &RemoteEnd) -> Document {
        let document = match &remote.host {
            None => Document::to_own_port(remote.port),
            Some(host) => Document::to_host(host, remote.port),
        };
        document.named(self.document.as_deref())
    }
}

/// Finds out what is to be done.
///
/// # Errors
/// What the user has to correct.
pub(super) fn plan(args: &ForwardArgs, config: &Config) -> Result<Vec<Planned>, Report> {
    if !args.local.is_empty() || !args.dynamic.is_empty() {
        let [target] = args.words.as_slice() else {
            let text = format!("`-L` and `-D` go with one target, here are {}", args.words.len());
            return Err(Report::new(ExitKind::Usage, text));
        };
        return of_target(args, target, config);
    }
    let names: Vec<&String> =
        if args.all { config.forwards.keys().collect() } else { args.words.iter().collect() };
    if names.is_empty() {
        let text = if args.all { "the config file has no forwards" } else { "nothing is to be forwarded" };
        return Err(Report::new(ExitKind::Usage, text).hint("`-L PORT:HOST:HOSTPORT` says what"));
    }
    names.into_iter().map(|name| of_name(args, name, config)).collect()
}

fn of_target(args: &ForwardArgs, target: &str, config: &Config) -> Result<Vec<Planned>, Report> {
    let chain = chain(target, config)?;
    let document = config.forward_document().map(str::to_owned);
    let planned = |local: &LocalEnd, leads| Planned {
        bind: bind(local),
        leads,
        chain: chain.clone(),
        document: document.clone(),
        hold: args.hold,
    };
    let local = args.local.iter().map(|spec| planned(&spec.local, Leads::To(own_port(&spec.remote, &chain))));
    let dynamic = args.dynamic.iter().map(|local| planned(local, Leads::Proxy));
    Ok(local.chain(dynamic).collect())
}

fn of_name(args: &ForwardArgs, name: &str, config: &Config) -> Result<Planned, Report> {
    let Some(forward) = config.forwards.get(name) else { return Err(unknown(name, config)) };
    let Forward { target, local, remote, hold, .. } = forward;
    let config = config.for_forward(forward);
    let chain = chain(target, &config)?;
    Ok(Planned {
        bind: bind(local),
        leads: Leads::To(own_port(remote, &chain)),
        document: config.forward_document().map(str::to_owned),
        hold: *hold || args.hold,
        chain,
    })
}

fn chain(target: &str, config: &Config) -> Result<Chain, Report> {
    let chain = Chain::new(target, None, config)?;
    chain.refuse_lacking()?;
    Ok(chain)
}

/// The target under its own name is the target itself.
fn own_port(remote: &RemoteEnd, chain: &Chain) -> RemoteEnd {
    let goal = &chain.goal;
    let target = match chain.entry.name() {
        Name::Id(target) if chain.hops.is_empty() => target.id(),
        Name::Id(_)
        | Name::Container(_)
        | Name::Tag { .. }
        | Name::Address(_)
        | Name::Dns(_)
        | Name::Named(_) => goal.label(),
    };
    let own = |host: &String| host == target || host == goal.label();
    RemoteEnd { host: remote.host.clone().filter(|host| !own(host)), port: remote.port }
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

fn unknown(name: &str, config: &Config) -> Report {
    let report = Report::new(ExitKind::Configuration, format!("the config file has no `[forwards.{name}]`"));
    let nearest = config.forwards.keys().map(|known| (strsim::damerau_levenshtein(known, name), known));
    match nearest.filter(|(distance, _)| *distance <= 3).min() {
        Some((_, known)) => report.hint(format!("did you mean `{known}`?")),
        None => report.hint("for a target, say what to forward: `-L PORT:HOST:HOSTPORT`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Command, CommandLine};
    use crate::config::{Environment, Flags};

    const FILE: &str = "[hosts.bastion]\ntarget = 'i-0123'\nregion = 'eu-west-1'\nkeepalive = 7\n\
        [forwards.orders]\ntarget = 'bastion'\nlocal = '127.0.0.1:13306'\nremote = 'orders.example:3306'\n\
        hold = true\nkeepalive = 5\n[forwards.own]\ntarget = 'i-0456'\nlocal = '/tmp/s'\nremote = 80";

    fn planned(words: &str) -> Result<Vec<Planned>, Report> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        std::fs::write(&file, FILE).expect("a file");
        let line = CommandLine::read(words.split_whitespace().map(Into::into)).expect(words);
        let (command, flags) = line.into_parts();
        let Command::Forward(args) = command else { panic!("{words}") };
        let flags = Flags { config_file: Some(file), ..flags };
        plan(&args, &Config::resolve(flags, &Environment::default()).expect("valid"))
    }

    #[test]
    fn specs_lead_from_a_target() {
        let plan = planned("fumidai forward bastion -L 13306:db:3306 -L *:0:80 -D 1080").expect("valid");
        let shown: Vec<String> = plan.iter().map(|one| format!("{} {}", one.bind, one.remote())).collect();
        assert_eq!(shown, ["127.0.0.1:13306 db:3306", "*:0 localhost:80", "127.0.0.1:1080 socks5"]);
        assert_eq!(plan[0].chain.config.aws.region.as_deref(), Some("eu-west-1"));
        assert!(!plan[0].hold);
    }

    #[test]
    fn the_target_itself_has_many_names() {
        let plan = planned("fumidai forward bastion -L 1:bastion:80 -L 2:i-0123:80 -L 3:i-0123x:80");
        let remotes: Vec<String> = plan.expect("valid").iter().map(Planned::remote).collect();
        assert_eq!(remotes, ["localhost:80", "localhost:80", "i-0123x:80"]);
    }

    #[test]
    fn names_are_those_of_the_config_file() {
        let plan = planned("fumidai forward orders own").expect("valid");
        assert_eq!((plan[0].remote().as_str(), plan[0].hold), ("orders.example:3306", true));
        assert_eq!(plan[0].chain.config.session.keepalive.as_secs(), 5, "the forward's own goes first");
        assert_eq!(plan[1].bind, Bind::Socket("/tmp/s".into()));
        assert_eq!(planned("fumidai forward --all").expect("valid").len(), 2);
        let flagged = planned("fumidai forward orders --keepalive 3 --document D").expect("valid");
        assert_eq!(flagged[0].chain.config.session.keepalive.as_secs(), 3);
        assert_eq!(flagged[0].document.as_deref(), Some("D"));
    }

    #[test]
    fn what_is_missing_is_told() {
        for (words, exit, text) in [
            ("fumidai forward", ExitKind::Usage, "nothing is to be forwarded"),
            ("fumidai forward a b -L 1:c:2", ExitKind::Usage, "`-L` and `-D` go with one target, here are 2"),
            ("fumidai forward -D 0", ExitKind::Usage, "`-L` and `-D` go with one target, here are 0"),
            ("fumidai forward order", ExitKind::Configuration, "the config file has no `[forwards.order]`"),
        ] {
            let report = planned(words).expect_err(words);
            assert_eq!((report.exit(), report.cause()), (exit, text), "{words}");
        }
        let report = planned("fumidai forward order").expect_err("unknown");
        assert_eq!(report.hints().next(), Some("did you mean `orders`?"));
    }
}
