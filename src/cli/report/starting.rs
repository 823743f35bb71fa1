//! Why a machine could not be started, or a group not be lent, in words.

use crate::aws::{ApiError, Meaning};
use crate::bastion::{LoanError, StartError, Step};

use super::api::{INSTANCE_PROFILE, of_api, shell_word};
use super::{ExitKind, Report};

/// Returns the report of a machine that could not be started.
pub(super) fn of_start(error: &StartError) -> Report {
    let whole = error.to_string();
    let not_started = || Report::new(ExitKind::NotStarted, whole.clone());
    match error {
        StartError::Api(error) => of_call(error),
        StartError::NoGuardian { .. } => Report::new(ExitKind::Configuration, whole)
            .hint("run `fumidai bastion setup` to see how it is installed")
            .hint("if it has another name, set `guardian` in the config file"),
        StartError::WithoutGuardian { .. } => Report::new(ExitKind::Configuration, whole)
            .hint("set `guardian` to the name of the state machine"),
        StartError::LifeFailed { error, cause, host } => of_life(not_started(), error, cause, host),
        StartError::Gone { .. } => not_started().hint("correct `target` in the config file"),
        StartError::NoAgent { .. } => Report::new(ExitKind::NotConnected, whole)
            .hint("check that its agent runs: it was started more than 5 minutes ago")
            .hint(INSTANCE_PROFILE),
        StartError::TimedOut { step, host, .. } => of_time_out(not_started(), *step, host),
        StartError::InUse { others, .. } => others
            .iter()
            .fold(Report::new(ExitKind::Failure, whole), |report, one| {
                report.detail(format!("{}  {}", one.session, one.owner))
            })
            .hint("use `--force` to stop it all the same: their sessions end"),
        StartError::NoLife { host } => Report::new(ExitKind::Failure, whole)
            .hint(format!("run `fumidai bastion start {}`", shell_word(host))),
        StartError::TaskEndsItself { host } => Report::new(ExitKind::Failure, whole).hint(format!(
            "set a longer `stop_after` in `[hosts.{host}]` before its next start, or leave `container` out of its `task`"
        )),
        StartError::StackFailed { .. } => {
            Report::new(ExitKind::Failure, whole).hint("look at the events of the stack in CloudFormation")
        }
        StartError::NoTarget => not_started(),
        StartError::Loan(error) => of_loan(error),
    }
}

fn of_call(error: &ApiError) -> Report {
    if error.meaning() != Meaning::AccessDenied || !error.is_of("StartExecution") {
        return of_api(error);
    }
    Report::new(ExitKind::AccessDenied, error.to_string()).hint(
        "ask for `states:StartExecution` on the guardian, or ask a colleague who has it to start it: you can join then",
    )
}

fn of_life(report: Report, error: &str, cause: &str, host: &str) -> Report {
    let is_denied =
        ["not authorized", "UnauthorizedOperation", "AccessDenied"].iter().any(|text| cause.contains(text));
    let host = shell_word(host);
    match error {
        "fumidai.NotAllowed" => report.hint("the guardian's template does not allow successors"),
        _ if is_denied => report
            .hint(format!("run `fumidai bastion setup {host}`: the guardian may only change what is tagged `fumidai:guarded = true`")),
        _ if ["PerInterface", "exceeded limit", "maximum number"].iter().any(|text| cause.contains(text)) => {
            report.hint("take another group off the interface, or ask AWS for a higher limit of groups per interface")
        }
        _ => report.hint(format!("run `fumidai bastion status {host}`, and look at the execution in Step Functions")),
    }
}

fn of_time_out(report: Report, step: Step, host: &str) -> Report {
    let host = shell_word(host);
    match step {
        Step::Agent => report
            .hint(INSTANCE_PROFILE)
            .hint("if its agent only takes long, set `start_timeout` to a longer time"),
        Step::Stop | Step::Begin | Step::Boot | Step::Group | Step::TakeBack => report
            .hint(format!("run `fumidai bastion status {host}` to see how far it is"))
            .hint("set `start_timeout` to a longer time"),
    }
}

fn of_loan(error: &LoanError) -> Report {
    let report = Report::new(ExitKind::Configuration, error.to_string());
    match error {
        LoanError::NoInterface { .. } => report.hint(
            "`address` must be the private address or DNS name of an interface of this region and account",
        ),
        LoanError::NoGroup { .. } => report.hint("correct `security_group`, or name the group by its id"),
        LoanError::OtherVpc { .. } => report.hint("use a group of the VPC of the machine"),
        LoanError::NotGuarded { resource } => report.hint(format!(
            "run `aws ec2 create-tags --resources {resource} --tags Key=fumidai:guarded,Value=true`"
        )),
    }
}
