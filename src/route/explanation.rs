//! A route as data: what `explain` prints, as JSON with stable keys.
//!
//! Texts are not escaped here; `cli::explain` escapes them for a terminal.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::aws::{Caller, CredentialsSource};
use crate::config::{AccessRequest, ResolvedSetting, Settings, Source, TaskSettings};
use crate::names::{Name, Target, TargetKind, TaskName};

use super::policy::PushedKey;
use super::{Document, Machine, Route, Wish};

/// What AWS reports of the entry of a route.
pub struct Facts {
    /// The target that the session would be opened to.
    pub target: Target,
    /// The region of the calls; `None` is unknown.
    pub region: Option<String>,
    /// The identity that signs the calls; `None` is unknown.
    pub caller: Option<Caller>,
    /// Where the credentials come from; `None` is unknown.
    pub credentials: Option<CredentialsSource>,
    /// The id of the key that signs the calls; `None` is unknown.
    pub access_key_id: Option<String>,
    /// What is unknown, and why.
    pub unknown: Vec<String>,
}

/// The whole explanation; `null` is unknown, or does not apply.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// The word of the command line.
    pub typed: String,
    /// How the word became a target, step by step.
    pub steps: Vec<String>,
    /// The host of the config file.
    pub host: Option<String>,
    /// The address that the last hop connects to.
    pub address: Option<String>,
    pub port: u16,
    pub user: Option<String>,
    /// Where the host keys of the goal come from; `null` is known_hosts.
    pub host_keys: Option<String>,
    /// `direct`, `remote-host` or `ssh`: how the last hop connects to the goal; first choice.
    pub route: &'static str,
    pub hops: Vec<HopRow>,
    pub session: SessionRow,
    /// The keys that are pushed before logins.
    pub keys: Vec<KeyRow>,
    /// What the config file asks for besides the route.
    pub asked: Vec<AskedRow>,
    /// What is requested when StartSession is denied: `true`, or the id of a request; `null` is nothing.
    pub access_request: Option<String>,
    /// The forward of the config file, if that was asked for.
    pub forward: Option<ForwardRow>,
    /// Every setting with its source.
    pub settings: Vec<SettingRow>,
    pub unknown: Vec<String>,
}

/// A key that EC2 Instance Connect gives to a machine.
#[derive(Debug, Serialize)]
pub struct KeyRow {
    pub host: String,
    /// `ephemeral` or `push`.
    pub kind: &'static str,
    pub user: Option<String>,
}

/// A forward of the config file.
#[derive(Debug, Serialize)]
pub struct ForwardRow {
    pub name: String,
    /// Where it listens.
    pub local: String,
    /// What it connects to.
    pub remote: String,
    /// The kind of token that is signed for its clients, such as `rds`.
    pub token: Option<&'static str>,
    pub db_user: Option<String>,
    /// The command of `--exec`, with its placeholders.
    pub exec: Option<String>,
}

/// A setting of the session.
#[derive(Debug, Serialize)]
pub struct SettingRow {
    pub name: &'static str,
    /// `null` depends on something else, such as AWS's own default.
    pub value: Option<String>,
    /// The flag, variable or table that gives it, `AWS profile` or `default`.
    pub source: String,
}

/// One hop, the nearest first.
#[derive(Debug, Serialize)]
pub struct HopRow {
    pub typed: String,
    pub host: Option<String>,
    /// The address that the hop before it connects to; `null` for the first hop, which Session Manager reaches by id.
    pub address: Option<String>,
    /// The port of its sshd, if that is used.
    pub port: u16,
    pub user: Option<String>,
    /// Where its host keys come from; `null` is known_hosts.
    pub host_keys: Option<String>,
    /// How it connects to the next machine; first choice.
    pub onward: &'static str,
    /// Its sshd is used if its agent cannot connect.
    pub falls_back_to_ssh: bool,
}

/// The session that would be started.
#[derive(Debug, Serialize)]
pub struct SessionRow {
    pub target: String,
    pub kind: &'static str,
    /// EC2 reports it as stopped; `false` if EC2 was not asked.
    pub is_stopped: bool,
    pub profile: Option<String>,
    pub region: Option<String>,
    pub account: Option<String>,
    pub caller: Option<String>,
    /// Whose credentials sign: `environment`, `profile NAME`, or `default chain`.
    pub credentials: Option<String>,
    /// The id of the key that signs.
    pub access_key_id: Option<String>,
    /// First choice first; the others are fall-backs.
    pub documents: Vec<DocumentRow>,
}

#[derive(Debug, Serialize)]
pub struct DocumentRow {
    pub name: String,
    pub parameters: BTreeMap<&'static str, String>,
}

/// What is asked for about the life of a machine of the route. Only the first one can be started.
#[derive(Debug, Serialize)]
pub struct AskedRow {
    pub host: String,
    /// It is started when it is stopped.
    pub start: bool,
    /// The state machine that starts, watches and stops it; `null` is none.
    pub guardian: Option<String>,
    /// It is stopped even if it ran before.
    pub stop_always: bool,
    /// It is stopped when no session was open on it for so long.
    pub stop_grace_seconds: u64,
    /// It is stopped at the latest so long after its start.
    pub stop_after_seconds: u64,
    /// How long a start is waited for.
    pub start_timeout_seconds: u64,
    /// The task that it is.
    pub task: Option<TaskRow>,
    /// The group that it has while somebody is on the first machine.
    pub security_group: Option<String>,
}

/// A Fargate task.
#[derive(Debug, Serialize)]
pub struct TaskRow {
    pub cluster: String,
    pub definition: String,
}

impl Explanation {
    /// Combines the route with what AWS reports.
    pub fn new(route: &Route, facts: &Facts) -> Self {
        let goal = &route.goal;
        Self {
            typed: goal.word.clone(),
            steps: steps(route, facts),
            host: name_of(goal),
            address: goal.address.clone().filter(|_| !route.hops.is_empty()),
            port: goal.port,
            user: goal.user.clone(),
            host_keys: host_keys(goal),
            route: route.hops.last().map_or("direct", |hop| hop.next.name()),
            hops: HopRow::all(route),
            session: SessionRow::new(route, facts),
            keys: KeyRow::all(route, true),
            asked: AskedRow::all(route),
            access_request: access_request(&route.config.session.access_request),
            forward: None,
            settings: settings(route, facts),
            unknown: facts.unknown.clone(),
        }
    }

    /// The same for a forward of the config file, whose sessions start other documents; `through` is the route to its
    /// destination.
    pub fn of_forward(
        route: &Route,
        through: &Route,
        facts: &Facts,
        forward: ForwardRow,
        port: u16,
        documents: Vec<Document>,
    ) -> Self {
        let mut explanation = Self::new(route, facts);
        explanation.typed.clone_from(&forward.name);
        explanation.port = port;
        explanation.session.documents = documents.into_iter().map(DocumentRow::from).collect();
        explanation.forward = Some(forward);
        explanation.keys = KeyRow::all(through, false);
        explanation.hops = HopRow::all(through);
        explanation
    }

    /// Returns the names of the documents that may be started.
    pub fn documents(&self) -> Vec<&str> {
        self.session.documents.iter().map(|document| document.name.as_str()).collect()
    }
}

fn access_request(setting: &AccessRequest) -> Option<String> {
    (*setting != AccessRequest::Off).then(|| setting.to_string())
}

/// Returns the name in the config file.
fn name_of(machine: &Machine) -> Option<String> {
    machine.named_host.as_ref().map(|(name, _)| name.clone())
}

/// Returns the source as the config file has it.
fn host_keys(machine: &Machine) -> Option<String> {
    machine.host()?.host_keys.as_ref().map(ToString::to_string)
}

impl HopRow {
    fn all(route: &Route) -> Vec<Self> {
        route
            .hops
            .iter()
            .enumerate()
            .map(|(number, hop)| HopRow {
                typed: hop.machine.word.clone(),
                host: name_of(&hop.machine),
                address: hop.machine.address.clone().filter(|_| number > 0),
                port: hop.machine.port,
                user: hop.machine.user.clone(),
                host_keys: host_keys(&hop.machine),
                onward: hop.next.name(),
                falls_back_to_ssh: hop.next.falls_back(),
            })
            .collect()
    }
}

impl KeyRow {
    fn all(route: &Route, ssh_logs_in: bool) -> Vec<Self> {
        let keys = route.pushed_keys(ssh_logs_in).into_iter();
        let row = |key: PushedKey<'_>| Self {
            host: key.machine.to_owned(),
            kind: key.kind.name(),
            user: key.user.map(str::to_owned),
        };
        keys.map(row).collect()
    }
}

impl SessionRow {
    fn new(route: &Route, facts: &Facts) -> Self {
        let documents = route.documents().into_iter();
        Self {
            target: facts.target.id().to_owned(),
            kind: match facts.target.kind() {
                TargetKind::Instance => "instance",
                TargetKind::ManagedInstance => "managed_instance",
                TargetKind::Container => "container",
                TargetKind::SageMakerNode => "sagemaker_node",
            },
            is_stopped: facts.target.is_stopped(),
            profile: route.config.aws.profile.clone(),
            region: facts.region.clone(),
            account: facts.caller.as_ref().map(|caller| caller.account.clone()),
            caller: facts.caller.as_ref().map(|caller| caller.arn.clone()),
            credentials: facts.credentials.as_ref().map(|source| match source {
                CredentialsSource::Environment => "environment".to_owned(),
                CredentialsSource::Profile(name) => format!("profile {name}"),
                CredentialsSource::Chain => "default chain".to_owned(),
            }),
            access_key_id: facts.access_key_id.clone(),
            documents: documents.map(DocumentRow::from).collect(),
        }
    }
}

impl From<Document> for DocumentRow {
    fn from(document: Document) -> Self {
        Self { name: document.name, parameters: document.parameters }
    }
}

/// The region that no setting gives is the AWS profile's.
fn settings(route: &Route, facts: &Facts) -> Vec<SettingRow> {
    let of_profile = Settings { region: facts.region.clone(), ..Settings::default() };
    let resolved = route.config.resolved(of_profile).into_iter();
    let row =
        |ResolvedSetting { name, value, source }| SettingRow { name, value, source: shown(&source, name) };
    resolved.map(row).collect()
}

fn shown(source: &Source, setting: &str) -> String {
    match source {
        Source::Target => "target".to_owned(),
        Source::Flag => format!("--{}", setting.replace('_', "-")),
        Source::Variable(name) => (*name).to_owned(),
        Source::Forward(name) => format!("[forwards.{name}]"),
        Source::Host(name) => format!("[hosts.{name}]"),
        Source::Defaults => "[defaults]".to_owned(),
        Source::AwsProfile => "AWS profile".to_owned(),
        Source::Default => "default".to_owned(),
    }
}

impl AskedRow {
    fn all(route: &Route) -> Vec<Self> {
        let wish = Wish::of(route);
        let rows =
            route.machines().enumerate().map(|(number, machine)| Self::of(&wish, number == 0, machine));
        rows.filter(|row| row.start || row.stop_always || row.security_group.is_some()).collect()
    }

    fn of(wish: &Wish, is_first: bool, machine: &Machine) -> Self {
        Self {
            host: machine.label().to_owned(),
            start: is_first && wish.start,
            guardian: wish.guardian.clone(),
            stop_always: is_first && wish.always,
            stop_grace_seconds: wish.grace.as_secs(),
            stop_after_seconds: wish.limit.as_secs(),
            start_timeout_seconds: wish.timeout.as_secs(),
            task: wish.task.clone().filter(|_| is_first).map(TaskRow::from),
            security_group: machine.host().and_then(|host| host.security_group.clone()),
        }
    }
}

impl From<TaskSettings> for TaskRow {
    fn from(task: TaskSettings) -> Self {
        Self { cluster: task.cluster, definition: task.definition }
    }
}

/// From the word to the target of the session.
fn steps(route: &Route, facts: &Facts) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    if !route.hops.is_empty() {
        let goal = of_file(&route.goal);
        let hops: Vec<String> = route.hops.iter().map(|hop| format!("`{}`", hop.machine.label())).collect();
        steps.push(format!("`{}` is {goal}, behind {}", route.goal.label(), hops.join(" → ")));
    }
    let first = route.hops.first().map_or(&route.goal, |hop| &hop.machine);
    let name = route.entry.name();
    if first.host().is_some_and(|host| host.task.is_some()) {
        steps.push(format!("`{}` is a Fargate task: {}", first.label(), facts.target.id()));
        return steps;
    }
    if first.named_host.is_some() {
        steps.push(format!("`{}` is {}: `{name}`", first.label(), of_file(first)));
    }
    steps.push(match asked_where(name) {
        None => format!("`{name}` is an id and is not looked up"),
        Some(place) => format!("`{name}` was looked up in {place}: {}", facts.target.id()),
    });
    steps
}

fn of_file(machine: &Machine) -> &'static str {
    if machine.named_host.is_some() { "a host of the config file" } else { "no host of the config file" }
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

    fn explanation(word: &str) -> Explanation {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        std::fs::write(&file, HOSTS).expect("a file");
        let flags = Flags { config_file: Some(file), ..Flags::default() };
        let config = Config::resolve(flags, &Environment::default()).expect("valid");
        let route = Route::new(word, None, &config).expect(word);
        let Name::Id(target) = route.entry.name() else { panic!("{word}") };
        let arn = "arn:aws:iam::123456789012:user/alice".to_owned();
        let facts = Facts {
            target: target.clone(),
            region: Some("eu-west-1".into()),
            caller: Some(Caller { account: "123456789012".into(), arn }),
            credentials: Some(CredentialsSource::Profile("ops".into())),
            access_key_id: Some("AKIAOPS".into()),
            unknown: Vec::new(),
        };
        Explanation::new(&route, &facts)
    }

    #[test]
    fn the_json_has_stable_keys() {
        let json = serde_json::to_value(explanation("appserver")).expect("JSON");
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
        assert_eq!(json["session"]["credentials"], "profile ops");
        assert_eq!(
            json["settings"][0],
            serde_json::json!({ "name": "profile", "value": "ops", "source": "[hosts.bastion]" })
        );
        assert_eq!(json["settings"][1]["source"], "AWS profile");
        let keepalive = serde_json::json!({ "name": "keepalive", "value": "20 s", "source": "default" });
        assert!(json["settings"].as_array().is_some_and(|rows| rows.contains(&keepalive)));
    }
}
