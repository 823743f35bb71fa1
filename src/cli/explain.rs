//! The command `explain`: what a target means, how it is reached, and which permissions that needs.
//!
//! It asks AWS what a name means and who the caller is, starts nothing, and needs no permission for an id. What AWS does
//! not answer is printed as unknown; only a name that cannot be resolved is a failure. Control and
//! invisible characters are escaped, in JSON as `\uXXXX`.

use std::process::ExitCode;

use serde::Serialize;

use crate::config::{Config, TokenKind};
use crate::escape::{escape, escape_json};
use crate::forward::plan::{ForwardTo, PlannedForward, plan_named};
use crate::reach;
use crate::route::explanation::{
    AskedRow, DocumentRow, Explanation, Facts, ForwardRow, HopRow, KeyRow, SessionRow, SettingRow,
};
use crate::route::policy::Needs;
use crate::route::{KeySource, REMOTE_HOST_AGENT, Route, Wish};
use crate::session::Interrupts;

use super::args::ExplainArgs;
use super::prompt::prompts;
use super::report::{Report, UsageError};
use super::runtime::{self, Context};
use super::stdout;

/// Runs the command.
pub(super) fn explain(config: &Config, args: &ExplainArgs) -> ExitCode {
    let subject = match Subject::find(config, args) {
        Ok(subject) => subject,
        Err(report) => return report.print(),
    };
    runtime::finish(runtime::run(Interrupts::signals, async |_: &Context| {
        let facts = reach::inspect(subject.route(), prompts(config)).await?;
        Ok(show(&subject, &facts, args))
    }))
}

/// What is explained.
enum Subject {
    Route(Box<Route>),
    Forward(String, Box<PlannedForward>),
}

impl Subject {
    /// Finds the forward of that name, unless a host has it too, or the route to a target.
    fn find(config: &Config, args: &ExplainArgs) -> Result<Self, Report> {
        let name = &args.target;
        if !config.forwards.contains_key(name) || config.hosts.contains_key(name) {
            return Ok(Self::Route(Box::new(Route::new(name, args.port, config)?)));
        }
        if args.port.is_some() {
            return Err(UsageError::PortOfForward { name: name.clone() }.into());
        }
        Ok(Self::Forward(name.clone(), Box::new(plan_named(name, config)?)))
    }

    fn route(&self) -> &Route {
        match self {
            Self::Route(route) => route,
            Self::Forward(_, planned) => &planned.route,
        }
    }

    /// Returns the database user that a token is signed for.
    fn db_user(&self) -> Option<&str> {
        match self {
            Self::Route(_) => None,
            Self::Forward(_, planned) => {
                planned.client.db_user.as_deref().filter(|_| planned.client.token == Some(TokenKind::Rds))
            }
        }
    }

    /// Returns the route with the target of a forward as the last hop.
    fn through(&self) -> Route {
        match self {
            Self::Route(route) => (**route).clone(),
            Self::Forward(_, planned) => planned.to_destination(),
        }
    }

    fn explain(&self, facts: &Facts) -> Explanation {
        let (name, planned) = match self {
            Self::Route(route) => return Explanation::new(route, facts),
            Self::Forward(name, planned) => (name.clone(), planned),
        };
        let port =
            if let ForwardTo::Port(remote) = &planned.to { remote.port } else { planned.route.goal.port };
        let client = &planned.client;
        let forward = ForwardRow {
            name,
            local: planned.bind.to_string(),
            remote: planned.remote(),
            token: client.token.map(TokenKind::name),
            db_user: client.db_user.clone(),
            exec: client.exec.as_ref().map(ToString::to_string),
        };
        let through = planned.to_destination();
        Explanation::of_forward(&planned.route, &through, facts, forward, port, planned.documents())
    }
}

fn show(subject: &Subject, facts: &Facts, args: &ExplainArgs) -> ExitCode {
    let explanation = subject.explain(facts);
    if args.policy {
        let through = subject.through();
        let needs = Needs {
            target: &facts.target,
            name: subject.route().entry.name(),
            documents: explanation.documents(),
            region: facts.region.as_deref(),
            caller: facts.caller.as_ref(),
            wish: &Wish::of(subject.route()),
            key_sources: &KeySource::of(subject.route()),
            keys: through.pushed_keys(matches!(subject, Subject::Route(_))),
            requests_access: explanation.access_request.is_some(),
            db_user: subject.db_user(),
        };
        return stdout::print(&json(&needs.policy()));
    }
    if args.json {
        return stdout::print(&json(&explanation));
    }
    stdout::print(&text(&explanation))
}

fn json(value: &impl Serialize) -> String {
    let document = serde_json::to_string_pretty(value).expect("all keys are texts");
    escape_json(&document).into_owned() + "\n"
}

/// Returns the lines for people.
fn text(explanation: &Explanation) -> String {
    let label = if explanation.forward.is_some() { "forward" } else { "target" };
    let mut rows = vec![(label, explanation.typed.clone())];
    rows.extend(explanation.forward.iter().flat_map(forward_rows));
    rows.extend(explanation.steps.iter().map(|step| ("", step.clone())));
    rows.extend(explanation.address.iter().map(|address| ("address", address.clone())));
    rows.push(("port", explanation.port.to_string()));
    rows.extend(explanation.user.iter().map(|user| ("user", user.clone())));
    rows.extend(explanation.host_keys.iter().map(|source| ("host keys", source.clone())));
    rows.extend(explanation.hops.iter().map(|hop| ("hop", hop_line(hop))));
    rows.push(("route", explanation.route.to_owned()));
    rows.extend(session_rows(&explanation.session));
    rows.extend(fall_back(explanation).map(|line| ("fall-back", line)));
    rows.extend(access_line(explanation).map(|line| ("access", line)));
    rows.extend(explanation.keys.iter().map(|key| ("key", key_line(key))));
    rows.extend(explanation.asked.iter().flat_map(life_rows));
    rows.extend(explanation.unknown.iter().map(|text| ("unknown", text.clone())));
    let settings = explanation.settings.iter().map(setting_line).enumerate();
    rows.extend(settings.map(|(number, line)| (if number == 0 { "settings" } else { "" }, line)));
    aligned(&rows)
}

fn forward_rows(forward: &ForwardRow) -> Vec<(&'static str, String)> {
    let ForwardRow { local, remote, token, db_user, exec, .. } = forward;
    let mut rows = vec![("", format!("listens on {local}, forwards to {remote}"))];
    rows.extend(db_user.iter().map(|user| ("db user", user.clone())));
    rows.extend(token.iter().map(|kind| ("token", format!("of {kind}, signed for {remote}"))));
    rows.extend(exec.iter().map(|command| ("exec", command.clone())));
    rows
}

/// Says what follows from `access_request`, and what an approval is not for.
fn access_line(explanation: &Explanation) -> Option<String> {
    let what = match explanation.access_request.as_deref()? {
        "true" => "requested when StartSession is denied".to_owned(),
        id => format!("by access request {id}"),
    };
    let shell = "SSM-SessionManagerRunShell";
    let denied = explanation.documents().into_iter().find(|name| *name != shell);
    let limit = denied.map(|name| {
        format!("; by AWS's policy its approval is for {shell} only, so {name} will be denied unless that has changed")
    });
    Some(what + &limit.unwrap_or_default())
}

fn setting_line(setting: &SettingRow) -> String {
    let SettingRow { name, value, source } = setting;
    match value {
        Some(value) => format!("{name} = {value}, from {source}"),
        None => format!("{name}: default"),
    }
}

fn key_line(key: &KeyRow) -> String {
    let what = match key.kind {
        "push" => "your own public key",
        _ => "a key made for the connection",
    };
    let user = key.user.as_ref().map(|user| format!(" for user {user}")).unwrap_or_default();
    format!("{what} is pushed to {}{user} by EC2 Instance Connect", key.host)
}

fn fall_back(explanation: &Explanation) -> Option<String> {
    let hop = explanation.hops.first().filter(|hop| hop.falls_back_to_ssh)?;
    let second = explanation.session.documents.get(1)?;
    let hop = hop.host.as_ref().unwrap_or(&hop.typed);
    let why = format!("its agent is older than {REMOTE_HOST_AGENT}, or the document is denied or unknown");
    Some(format!("the sshd of `{hop}` by {}, if {why}", document_line(second)))
}

fn hop_line(hop: &HopRow) -> String {
    let name = hop.host.as_ref().unwrap_or(&hop.typed);
    let at = hop.address.as_ref().map(|address| format!(" at {address}")).unwrap_or_default();
    let user = hop.user.as_ref().map(|user| format!(", user {user}")).unwrap_or_default();
    let keys = hop.host_keys.as_ref().map(|source| format!(", host keys by {source}")).unwrap_or_default();
    let onward = match (hop.onward, hop.falls_back_to_ssh) {
        ("ssh", _) => "its sshd leads on",
        (_, true) => "its agent leads on, else its sshd",
        (_, false) => "its agent leads on",
    };
    format!("{name}{at}, sshd at port {}{user}{keys}: {onward}", hop.port)
}

fn session_rows(session: &SessionRow) -> Vec<(&'static str, String)> {
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let stopped = if session.is_stopped { ", which is stopped" } else { "" };
    let mut rows = vec![
        ("session to", format!("{}{stopped}", session.target)),
        ("profile", session.profile.clone().unwrap_or_else(|| "none named".to_owned())),
        ("region", known(&session.region)),
        ("caller", known(&session.caller)),
        ("signed by", signer(session)),
    ];
    rows.extend(session.documents.first().map(|document| ("document", document_line(document))));
    rows
}

fn signer(session: &SessionRow) -> String {
    let key = session.access_key_id.as_ref().map(|key| format!("{key}, ")).unwrap_or_default();
    let whose = match session.credentials.as_deref() {
        Some("environment") => "the keys in the environment".to_owned(),
        Some("default chain") => "what AWS's default chain finds first".to_owned(),
        Some(profile) => profile.to_owned(),
        None => "unknown".to_owned(),
    };
    format!("{key}{whose}")
}

fn document_line(document: &DocumentRow) -> String {
    let parameters = document.parameters.iter().map(|(name, value)| format!("{name}={value}"));
    format!("{} ({})", document.name, parameters.collect::<Vec<_>>().join(", "))
}

fn life_rows(asked: &AskedRow) -> Vec<(&'static str, String)> {
    let mut rows: Vec<(&'static str, String)> = Vec::new();
    if asked.start || asked.stop_always {
        rows.push(("life", start_line(asked)));
        rows.push(("", stop_line(asked)));
    }
    if let Some(group) = &asked.security_group {
        let by = asked.guardian.as_deref().unwrap_or("none, so this fails");
        let text =
            format!("{}: has {group} while any session to that target is open (guardian: {by})", asked.host);
        rows.push(("group", text));
    }
    rows
}

fn start_line(asked: &AskedRow) -> String {
    let AskedRow { host, start_timeout_seconds: timeout, .. } = asked;
    let what = match &asked.task {
        Some(task) => format!("is a task of {} in cluster {}, run", task.definition, task.cluster),
        None => "started".to_owned(),
    };
    let who = match &asked.guardian {
        Some(guardian) => format!("by the guardian {guardian}"),
        None => "by ec2:StartInstances".to_owned(),
    };
    if asked.start {
        return format!("{host}: {what} {who} when it is down; it is waited for {timeout} s");
    }
    format!("{host}: not started, but watched {who}")
}

fn stop_line(asked: &AskedRow) -> String {
    if asked.guardian.is_none() {
        return "nothing stops it: `guardian` is `none`".to_owned();
    }
    let only = if asked.stop_always { "" } else { ", unless it ran before" };
    format!(
        "stopped when no session was open on it for {} s, at the latest {} s after its start{only}",
        asked.stop_grace_seconds, asked.stop_after_seconds
    )
}

/// Lays out two columns; a row without a label continues the row before.
fn aligned(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
    rows.iter().map(|(label, text)| format!("{label:width$}  {}\n", escape(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::{Caller, CredentialsSource};
    use crate::config::{Environment, Flags};
    use crate::names::Name;

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
        let route = Route::new(word, port, &config).expect(word);
        let Name::Id(target) = route.entry.name() else { panic!("{word}") };
        let arn = "arn:aws:iam::123456789012:user/alice".to_owned();
        let facts = Facts {
            target: target.clone(),
            region: Some("eu-west-1".into()),
            caller: Some(Caller { account: "123456789012".into(), arn }),
            credentials: Some(CredentialsSource::Environment),
            access_key_id: Some("AKIAENV".into()),
            unknown: Vec::new(),
        };
        Explanation::new(&route, &facts)
    }

    fn without_settings(explanation: &Explanation) -> String {
        let text = text(explanation);
        let (before, _) = text.split_once("settings    ").expect("settings come last");
        before.to_owned()
    }

    #[test]
    fn every_setting_has_its_source() {
        let text = text(&explanation("bastion", None));
        for line in [
            "settings    profile = ops, from [hosts.bastion]\n",
            "            region = eu-west-1, from AWS profile\n",
            "            endpoint_url: default\n",
            "            keepalive = 20 s, from default\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
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
signed by   AKIAENV, the keys in the environment
document    AWS-StartSSHSession (portNumber=2222)
";
        assert_eq!(without_settings(&explanation("me@i-0123", Some(2222))), expected);
    }

    #[test]
    fn a_route_names_every_hop_and_fall_back() {
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
signed by   AKIAENV, the keys in the environment
document    AWS-StartPortForwardingSessionToRemoteHost (host=10.0.0.9, portNumber=2222)
fall-back   the sshd of `bastion` by AWS-StartSSHSession (portNumber=22), if its agent is older than 3.1.1188.0, or the document is denied or unknown
life        bastion: started by the guardian fumidai-guardian when it is down; it is waited for 300 s
            stopped when no session was open on it for 120 s, at the latest 7200 s after its start, unless it ran before
";
        assert_eq!(without_settings(&explanation("appserver", None)), expected);
    }

    #[test]
    fn a_request_for_access_is_explained_with_what_its_approval_is_not_for() {
        let mut explanation = explanation("me@i-0123", None);
        assert_eq!(access_line(&explanation), None);
        explanation.access_request = Some("true".to_owned());
        let line = access_line(&explanation).expect("a line");
        assert!(
            line.starts_with("requested when StartSession is denied; by AWS's policy its approval"),
            "{line}"
        );
        assert!(line.contains("so AWS-StartSSHSession will be denied"), "{line}");
    }

    #[test]
    fn lines_are_escaped() {
        assert_eq!(
            aligned(&[("a", "x\x1b[2J\ny".to_owned()), ("", "z".to_owned())]),
            "a  x\\x1b[2J y\n   z\n"
        );
    }
}
