//! What `explain` tells, as JSON with stable keys and as lines for people.
//!
//! Pure. The JSON keeps every text as it is; in the lines, what a terminal would act upon is shown as code.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::Host;
use crate::names::route::REMOTE_HOST_AGENT;
use crate::names::{Name, TargetKind, TaskName};

use super::aim::Place;
use super::chain::Chain;
use super::explain::Seen;
use crate::escape::escape;

/// All that is told; `null` is unknown, or does not apply.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    /// What was typed.
    typed: String,
    /// How it became a target, step by step.
    steps: Vec<String>,
    /// Its host in the config file.
    host: Option<String>,
    /// Where the last hop finds it.
    address: Option<String>,
    port: u16,
    user: Option<String>,
    /// `direct`, `remote-host` or `ssh`: the way out of the last hop that is tried first.
    route: &'static str,
    hops: Vec<HopRow>,
    session: Session,
    /// What the config file asks for beside the way.
    asked: Vec<Asked>,
    unknown: Vec<String>,
}

/// One hop, the nearest first.
#[derive(Debug, Serialize)]
struct HopRow {
    typed: String,
    host: Option<String>,
    /// Where the hop before it finds it; `null` for the first, which Session Manager finds.
    address: Option<String>,
    /// The port of its sshd, where that is used.
    port: u16,
    user: Option<String>,
    /// The way out of it that is tried first.
    onward: &'static str,
    /// Its sshd is used if its agent cannot dial.
    falls_back_to_ssh: bool,
}

/// The session that would be started.
#[derive(Debug, Serialize)]
struct Session {
    target: String,
    kind: &'static str,
    /// EC2 says so; `false` if nobody was asked.
    is_stopped: bool,
    profile: Option<String>,
    region: Option<String>,
    account: Option<String>,
    caller: Option<String>,
    /// The first choice first; the others are fall-backs.
    documents: Vec<DocumentRow>,
}

#[derive(Debug, Serialize)]
struct DocumentRow {
    name: String,
    parameters: BTreeMap<&'static str, String>,
}

/// What the config file asks to be started and stopped, which is only told.
#[derive(Debug, Serialize)]
struct Asked {
    host: String,
    start: bool,
    stop_after_seconds: Option<u64>,
    security_group: Option<String>,
}

impl Explanation {
    /// Puts together what the chain and AWS say.
    pub fn new(chain: &Chain, seen: &Seen) -> Self {
        let goal = &chain.goal;
        let name_of = |place: &Place| place.host.as_ref().map(|(name, _)| name.clone());
        let hops = chain.hops.iter().enumerate().map(|(number, hop)| HopRow {
            typed: hop.place.word.clone(),
            host: name_of(&hop.place),
            address: hop.place.address.clone().filter(|_| number > 0),
            port: hop.place.port,
            user: hop.place.user.clone(),
            onward: hop.onward.name(),
            falls_back_to_ssh: hop.onward.falls_back(),
        });
        Self {
            typed: goal.word.clone(),
            steps: steps(chain, seen),
            host: name_of(goal),
            address: goal.address.clone().filter(|_| !chain.hops.is_empty()),
            port: goal.port,
            user: goal.user.clone(),
            route: chain.hops.last().map_or("direct", |hop| hop.onward.name()),
            hops: hops.collect(),
            session: Session::new(chain, seen),
            asked: chain.places().filter_map(Asked::of).collect(),
            unknown: seen.unknown.clone(),
        }
    }

    /// Returns the names of the documents that may be started.
    pub fn documents(&self) -> Vec<&str> {
        self.session.documents.iter().map(|document| document.name.as_str()).collect()
    }

    /// Writes the lines for people.
    pub fn text(&self) -> String {
        let mut rows = vec![("target", self.typed.clone())];
        rows.extend(self.steps.iter().map(|step| ("", step.clone())));
        rows.extend(self.address.iter().map(|address| ("address", address.clone())));
        rows.push(("port", self.port.to_string()));
        rows.extend(self.user.iter().map(|user| ("user", user.clone())));
        rows.extend(self.hops.iter().map(|hop| ("hop", hop.line())));
        rows.push(("route", self.route.to_owned()));
        rows.extend(self.session.rows());
        rows.extend(self.fall_back().map(|line| ("fall-back", line)));
        rows.extend(self.asked.iter().map(|asked| ("asked for", asked.line())));
        rows.extend(self.unknown.iter().map(|text| ("unknown", text.clone())));
        aligned(&rows)
    }

    fn fall_back(&self) -> Option<String> {
        let hop = self.hops.first().filter(|hop| hop.falls_back_to_ssh)?;
        let second = self.session.documents.get(1)?;
        let hop = hop.host.as_ref().unwrap_or(&hop.typed);
        let why =
            format!("its agent is older than {REMOTE_HOST_AGENT}, or the document is denied or unknown");
        Some(format!("the sshd of `{hop}` by {}, if {why}", second.line()))
    }
}

impl HopRow {
    fn line(&self) -> String {
        let name = self.host.as_ref().unwrap_or(&self.typed);
        let at = self.address.as_ref().map(|address| format!(" at {address}")).unwrap_or_default();
        let user = self.user.as_ref().map(|user| format!(", user {user}")).unwrap_or_default();
        let onward = match (self.onward, self.falls_back_to_ssh) {
            ("ssh", _) => "its sshd leads on",
            (_, true) => "its agent leads on, else its sshd",
            (_, false) => "its agent leads on",
        };
        format!("{name}{at}, sshd at port {}{user}: {onward}", self.port)
    }
}

impl Session {
    fn new(chain: &Chain, seen: &Seen) -> Self {
        let documents = chain.documents().into_iter();
        Self {
            target: seen.target.id().to_owned(),
            kind: match seen.target.kind() {
                TargetKind::Instance => "instance",
                TargetKind::ManagedInstance => "managed_instance",
                TargetKind::Container => "container",
            },
            is_stopped: seen.target.is_stopped(),
            profile: chain.config.aws.profile.clone(),
            region: seen.region.clone(),
            account: seen.caller.as_ref().map(|caller| caller.account.clone()),
            caller: seen.caller.as_ref().map(|caller| caller.arn.clone()),
            documents: documents
                .map(|document| DocumentRow { name: document.name, parameters: document.parameters })
                .collect(),
        }
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
        let stopped = if self.is_stopped { ", which is stopped" } else { "" };
        let mut rows = vec![
            ("session to", format!("{}{stopped}", self.target)),
            ("profile", self.profile.clone().unwrap_or_else(|| "none named".to_owned())),
            ("region", known(&self.region)),
            ("caller", known(&self.caller)),
        ];
        rows.extend(self.documents.first().map(|document| ("document", document.line())));
        rows
    }
}

impl DocumentRow {
    fn line(&self) -> String {
        let parameters = self.parameters.iter().map(|(name, value)| format!("{name}={value}"));
        format!("{} ({})", self.name, parameters.collect::<Vec<_>>().join(", "))
    }
}

impl Asked {
    fn of(place: &Place) -> Option<Self> {
        let (name, host) = place.host.as_ref()?;
        let Host { start, stop_after, security_group, .. } = host;
        let asks = *start || stop_after.is_some() || security_group.is_some();
        asks.then(|| Self {
            host: name.clone(),
            start: *start,
            stop_after_seconds: stop_after.map(|time| time.as_secs()),
            security_group: security_group.clone(),
        })
    }

    fn line(&self) -> String {
        let mut wishes = Vec::new();
        if self.start {
            wishes.push("start it when it is stopped".to_owned());
        }
        wishes.extend(self.stop_after_seconds.map(|seconds| format!("stop it after {seconds} s")));
        let group = |group: &String| format!("give it security group {group} meanwhile");
        wishes.extend(self.security_group.as_ref().map(group));
        format!("{}: {}; this version cannot do that yet", self.host, wishes.join(", "))
    }
}

/// From the word to the target of the session.
fn steps(chain: &Chain, seen: &Seen) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    if !chain.hops.is_empty() {
        let goal = of_file(&chain.goal);
        let hops: Vec<String> = chain.hops.iter().map(|hop| format!("`{}`", hop.place.label())).collect();
        steps.push(format!("`{}` is {goal}, behind {}", chain.goal.label(), hops.join(" → ")));
    }
    let first = chain.hops.first().map_or(&chain.goal, |hop| &hop.place);
    let name = chain.entry.name();
    if first.host.is_some() {
        steps.push(format!("`{}` is {}: `{name}`", first.label(), of_file(first)));
    }
    steps.push(match asked_where(name) {
        None => format!("`{name}` is an id and is not looked up"),
        Some(place) => format!("`{name}` was looked up in {place}: {}", seen.target.id()),
    });
    steps
}

fn of_file(place: &Place) -> &'static str {
    if place.host.is_some() { "a host of the config file" } else { "no host of the config file" }
}

fn asked_where(name: &Name) -> Option<&'static str> {
    match name {
        Name::Id(_) => None,
        Name::Container(container) => Some(match container.tasks {
            TaskName::Service(_) => "ECS, as a service",
            TaskName::Task(_) => "ECS, as a task",
        }),
        Name::Tag { .. } => Some("EC2 and SSM, as a tag"),
        Name::Address(_) => Some("EC2 and SSM, as an address"),
        Name::Dns(_) => Some("EC2 and SSM, as a DNS name or name"),
        Name::Named(_) => Some("EC2 and SSM, as a name"),
    }
}

/// Lays out two columns; a row without a label goes on with the one before.
fn aligned(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
    rows.iter().map(|(label, text)| format!("{label:width$}  {}\n", escape(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Caller;
    use crate::config::{Config, Environment, Flags};

    const HOSTS: &str = "
        [hosts.bastion]
        target = 'i-0123'
        profile = 'ops'
        user = 'jump'
        start = true
        stop_after = '2h'
        [hosts.inner]
        address = '10.0.0.9'
        via = 'bastion'
        port = 2222
        [hosts.appserver]
        address = '10.0.0.115'
        via = 'inner'
        user = 'ec2-user'
    ";

    fn explanation(word: &str, port: Option<u16>) -> Explanation {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        std::fs::write(&file, HOSTS).expect("a file");
        let flags = Flags { config_file: Some(file), ..Flags::default() };
        let config = Config::resolve(flags, &Environment::default()).expect("valid");
        let chain = Chain::new(word, port, &config).expect(word);
        let Name::Id(target) = chain.entry.name() else { panic!("{word}") };
        let arn = "arn:aws:iam::123456789012:user/alice".to_owned();
        let seen = Seen {
            target: target.clone(),
            region: Some("eu-west-1".into()),
            caller: Some(Caller { account: "123456789012".into(), arn }),
            unknown: Vec::new(),
        };
        Explanation::new(&chain, &seen)
    }

    #[test]
    fn an_id_is_short() {
        let expected = "\
target      me@i-0123
            `i-0123` is an id and is not looked up
port        2222
user        me
route       direct
session to  i-0123
profile     none named
region      eu-west-1
caller      arn:aws:iam::123456789012:user/alice
document    AWS-StartSSHSession (portNumber=2222)
";
        assert_eq!(explanation("me@i-0123", Some(2222)).text(), expected);
    }

    #[test]
    fn a_chain_names_every_hop_and_fall_back() {
        let expected = "\
target      appserver
            `appserver` is a host of the config file, behind `bastion` → `inner`
            `bastion` is a host of the config file: `i-0123`
            `i-0123` is an id and is not looked up
address     10.0.0.115
port        22
user        ec2-user
hop         bastion, sshd at port 22, user jump: its agent leads on, else its sshd
hop         inner at 10.0.0.9, sshd at port 2222: its sshd leads on
route       ssh
session to  i-0123
profile     ops
region      eu-west-1
caller      arn:aws:iam::123456789012:user/alice
document    AWS-StartPortForwardingSessionToRemoteHost (host=10.0.0.9, portNumber=2222)
fall-back   the sshd of `bastion` by AWS-StartSSHSession (portNumber=22), if its agent is older than 3.1.1188.0, or the document is denied or unknown
asked for   bastion: start it when it is stopped, stop it after 7200 s; this version cannot do that yet
";
        assert_eq!(explanation("appserver", None).text(), expected);
    }

    #[test]
    fn the_json_has_stable_keys() {
        let json = serde_json::to_value(explanation("appserver", None)).expect("JSON");
        assert_eq!(json["typed"], "appserver");
        assert_eq!((&json["route"], &json["port"]), (&"ssh".into(), &22.into()));
        assert_eq!(json["hops"][0]["onward"], "remote-host");
        assert_eq!(json["hops"][0]["falls_back_to_ssh"], true);
        assert_eq!(
            (&json["hops"][0]["address"], &json["hops"][1]["address"]),
            (&().into(), &"10.0.0.9".into())
        );
        assert_eq!(json["session"]["documents"][0]["parameters"]["host"], "10.0.0.9");
        assert_eq!(json["session"]["account"], "123456789012");
        assert_eq!(json["asked"][0]["stop_after_seconds"], 7200);
        assert_eq!(json["unknown"], serde_json::json!([]));
    }

    #[test]
    fn lines_are_escaped() {
        assert_eq!(
            aligned(&[("a", "x\x1b[2J\ny".to_owned()), ("", "z".to_owned())]),
            "a  x\\x1b[2J y\n   z\n"
        );
    }
}
