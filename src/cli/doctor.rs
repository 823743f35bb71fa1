//! The command `doctor`: the first broken link on the way to a target, and what mends it.
//!
//! Standard output gets the table or the JSON. The command asks no question. Texts of AWS and of servers are escaped.

use std::process::ExitCode;
use std::rc::Rc;

use serde::Serialize;

use crate::aws::Prompts;
use crate::bastion::LifeEvent;
use crate::config::{Config, Environment, Verbosity};
use crate::doctor::{self, Component, Finding, Outcome, Subject, Surroundings};
use crate::escape::{escape, escape_json};
use crate::forward::plan::plan_named;
use crate::reach::open_aws;
use crate::route::Route;
use crate::session::Interrupts;

use super::args::DoctorArgs;
use super::recording::{Recording, Way};
use super::report::diagnosis::{self, Row};
use super::report::{ExitKind, Report};
use super::runtime::{self, Context};
use super::stdout;

/// Runs the command.
pub(super) fn doctor(args: &DoctorArgs, config: &Config, environment: &Environment) -> ExitCode {
    let subject = match subject(args, config) {
        Ok(subject) => subject,
        Err(report) => return report.print(),
    };
    let recording = Recording::start(environment, config.log.verbosity != Verbosity::Quiet);
    let result = runtime::run(Interrupts::signals, async |context: &Context| {
        let of_target = subject.route.as_ref().map_or(config, |route| &route.config);
        let aws = open_aws(of_target, Prompts::default());
        let on_notice = recording.on_notice(subject.route.as_ref().map(Way::of_route));
        let lives = recording.clone();
        let on_life = Rc::new(move |event: &LifeEvent| lives.life(event));
        let around = Surroundings { config, environment, tasks: &context.tasks, on_notice, on_life };
        let findings = doctor::examine(&subject, aws, &around).await;
        Ok(show(&findings, &subject.word, args.json))
    });
    recording.finish();
    runtime::finish(result)
}

/// Shows a config file that cannot be used: the first link of every way.
pub(super) fn broken_config(report: &Report, json: bool) -> ExitCode {
    let finding = Finding::new(Component::Config, "", Outcome::Skipped);
    let rows = [(&finding, diagnosis::of_report(report))];
    stdout::print(&if json { self::json(&rows) } else { table(&rows) });
    report.exit().into()
}

/// Finds what is examined. A forward is examined as a way to its destination.
fn subject(args: &DoctorArgs, config: &Config) -> Result<Subject, Report> {
    let Some(word) = args.target.clone() else {
        return Ok(Subject { word: String::new(), route: None, is_for_ssh: false, is_forward: false });
    };
    if !config.forwards.contains_key(&word) || config.hosts.contains_key(&word) {
        let route = Route::new(&word, args.port, config)?;
        let is_for_ssh = route.goal.port == 22;
        return Ok(Subject { word, route: Some(route), is_for_ssh, is_forward: false });
    }
    let route = plan_named(&word, config)?.to_destination();
    Ok(Subject { word, route: Some(route), is_for_ssh: false, is_forward: true })
}

/// One link as JSON.
#[derive(Serialize)]
struct Link<'a> {
    component: &'static str,
    target: &'a str,
    status: &'static str,
    detail: &'a str,
    action: Option<&'a str>,
}

fn show(findings: &[Finding], word: &str, json: bool) -> ExitCode {
    let rows: Vec<(&Finding, Row)> =
        findings.iter().map(|finding| (finding, diagnosis::of(&finding.outcome, word))).collect();
    let text = if json { self::json(&rows) } else { table(&rows) };
    let printed = stdout::print(&text);
    let broken = rows.iter().find(|(_, row)| row.exit != ExitKind::Done);
    broken.map_or(printed, |(_, row)| row.exit.into())
}

fn json(rows: &[(&Finding, Row)]) -> String {
    let link = |(finding, row): &(&Finding, Row)| {
        serde_json::to_value(Link {
            component: finding.component.name(),
            target: &finding.target,
            status: row.status,
            detail: &row.detail,
            action: row.action.as_deref(),
        })
    };
    let links: Result<Vec<_>, _> = rows.iter().map(link).collect();
    let text = serde_json::to_string_pretty(&links.expect("text keys")).expect("text keys");
    escape_json(&text).into_owned() + "\n"
}

/// One line for each link, with a mark that needs no colour; below a broken one what mends it.
fn table(rows: &[(&Finding, Row)]) -> String {
    let width = rows.iter().map(|(finding, _)| finding.component.name().len()).max().unwrap_or_default();
    let mut text = String::new();
    for (finding, row) in rows {
        let target = if finding.target.is_empty() { String::new() } else { format!("{}: ", finding.target) };
        let line =
            format!("{} {:width$}  {target}{}", mark(row.status), finding.component.name(), row.detail);
        text += &format!("{}\n", escape(&line));
        for action in row.action.iter() {
            text += &format!("{:indent$}{}\n", "", escape(&format!("-> {action}")), indent = width + 8);
        }
    }
    text
}

fn mark(status: &str) -> &'static str {
    match status {
        "ok" => "[ok]",
        "warning" => "[! ]",
        "broken" => "[XX]",
        "noted" => "[..]",
        _ => "[--]",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Diagnosis, MachineProblem};

    #[test]
    fn the_first_broken_link_has_its_mark_its_action_and_the_exit_code() {
        let findings = [
            Finding::new(Component::Ssh, "ssh", Outcome::Good("OpenSSH_9.2".into())),
            Finding::new(
                Component::Machine,
                "i-0123",
                Outcome::Broken(Diagnosis::Machine(MachineProblem::NotRunning("stopped".into()))),
            ),
            Finding::new(Component::Session, "", Outcome::Skipped),
        ];
        let rows: Vec<_> = findings.iter().map(|one| (one, diagnosis::of(&one.outcome, "web"))).collect();
        assert_eq!(
            table(&rows),
            "[ok] ssh      ssh: OpenSSH_9.2\n\
             [XX] machine  i-0123: the instance is stopped\n\
             \u{20}              -> run `fumidai bastion start web`, or set `start = true` for it\n\
             [--] session  an earlier link is broken\n"
        );
        assert_eq!(rows[1].1.exit, ExitKind::NotConnected);
    }
}
