//! Errors of AWS's APIs in words, and what other reports have in common with them.

use crate::aws::files::FileProblem;
use crate::aws::source::{KeyOwner, LoginCommand, LoginKind};
use crate::aws::{ApiError, Meaning};

use super::network::{NETWORK, connect_hint, tls_hint};
use super::{ExitKind, Report};

pub(super) const ELSEWHERE: &str =
    "if it is in another region or account, use `NAME--REGION`, `--region` or `--profile`";
const TOO_LONG: &str = "check the endpoint settings and `HTTPS_PROXY`: AWS's answers are shorter";
pub(super) const EXPLICIT_DENY: &str = "an explicit deny overrides every permission: adding one does not help; ask who wrote the policy that denies it";
pub(super) const INSTANCE_PROFILE: &str =
    "check that its role has `AmazonSSMManagedInstanceCore` and its subnet a route to Systems Manager";

pub(super) fn of_api(error: &ApiError) -> Report {
    let whole = error.to_string();
    match error.meaning() {
        Meaning::Settings if matches!(error, ApiError::NoRegion) => {
            Report::new(ExitKind::Configuration, whole)
                .hint("set `--region`, `AWS_REGION`, or `region` in the AWS profile or the config file")
        }
        Meaning::Settings if matches!(error, ApiError::Proxy(_)) => Report::new(ExitKind::Usage, whole),
        Meaning::Settings => of_aws_settings(error, whole),
        Meaning::Credentials => Report::new(ExitKind::Credentials, whole).hint(credentials_hint(error)),
        Meaning::AccessDenied if is_explicit_deny(error) => {
            Report::new(ExitKind::AccessDenied, whole).hint(EXPLICIT_DENY)
        }
        Meaning::AccessDenied if error.is_of("AssumeRole") => Report::new(ExitKind::AccessDenied, whole)
            .hint("check the role's trust policy, and the permission `sts:AssumeRole` of the caller"),
        Meaning::AccessDenied => Report::new(ExitKind::AccessDenied, whole)
            .hint("ask for the permission that the message names; contrib/iam has the least policy"),
        Meaning::TargetNotConnected => Report::new(ExitKind::NotConnected, whole).hint(INSTANCE_PROFILE),
        Meaning::Transient => of_transient(error, whole),
        Meaning::Other if error.has_code("InvalidDocument") => Report::new(ExitKind::Failure, whole)
            .hint("`--document` must name a session document of this account and region"),
        Meaning::Other
            if error.has_code("ClusterNotFoundException") || error.has_code("ServiceNotFoundException") =>
        {
            Report::new(ExitKind::NotFound, whole).hint(ELSEWHERE)
        }
        Meaning::DoesNotExist | Meaning::Other => Report::new(ExitKind::Failure, whole),
    }
}

fn of_aws_settings(error: &ApiError, whole: String) -> Report {
    let report = Report::new(ExitKind::Configuration, whole);
    if let ApiError::File(problem) = error {
        return report.hint(file_hint(problem));
    }
    if matches!(error, ApiError::Bundle { .. }) {
        return report
            .hint("check `AWS_CA_BUNDLE`, `ca_bundle` in the AWS profile, and `REQUESTS_CA_BUNDLE`");
    }
    report.hint("correct the profile with `aws configure`, or use another `--profile`")
}

fn file_hint(problem: &FileProblem) -> &'static str {
    match problem {
        FileProblem::Utf16 { .. } => "save the file as UTF-8",
        FileProblem::Unreadable { .. } => {
            "check its permissions, `AWS_CONFIG_FILE` and `AWS_SHARED_CREDENTIALS_FILE`"
        }
        FileProblem::Line { .. } => "correct that line",
    }
}

fn of_transient(error: &ApiError, whole: String) -> Report {
    if matches!(error, ApiError::Service { .. }) {
        return Report::new(ExitKind::Failure, whole).hint("four attempts failed; try again later");
    }
    if let ApiError::Certificate { fault, .. } = error {
        return Report::new(ExitKind::Failure, whole).hint(tls_hint(*fault));
    }
    if let ApiError::Network { fault, .. } = error {
        return Report::new(ExitKind::Failure, whole).hint(connect_hint(*fault));
    }
    if matches!(error, ApiError::TooLong { .. }) {
        return Report::new(ExitKind::Failure, whole).hint(TOO_LONG);
    }
    let timed_out = matches!(error, ApiError::Timeout { .. } | ApiError::NoConnection { .. });
    Report::new(if timed_out { ExitKind::TimedOut } else { ExitKind::Failure }, whole).hint(NETWORK)
}

/// Returns the command that renews credentials, or what else is wrong.
pub(super) fn credentials_hint(error: &ApiError) -> String {
    match error {
        ApiError::NoLogin { profile, kind, .. } => login_hint(profile, *kind),
        ApiError::NoCode { profile, .. } => format!(
            "run `aws sts get-caller-identity --profile {}` in a terminal: it asks for the code, and its cache is used",
            shell_word(profile)
        ),
        ApiError::NoProfile(_) => "run `aws configure list-profiles` to see the profiles".to_owned(),
        error if is_wrong_clock(error) => {
            "set this machine's clock: it is wrong by more than 5 minutes".to_owned()
        }
        error if is_wrong_region(error) => {
            "correct the region: the endpoint is of another one; `fumidai explain TARGET` shows where it comes from".to_owned()
        }
        ApiError::Rejected { owner, .. } => owner_hint(owner),
        ApiError::Source(_) => {
            "add what is missing, with `aws configure` for instance, or use another `--profile`".to_owned()
        }
        ApiError::NoneConfigured { .. } => {
            "log in (`aws sso login`, `aws login`, `aws configure`), or name a profile by `--profile`"
                .to_owned()
        }
        ApiError::NoRegion
        | ApiError::Settings(_)
        | ApiError::File(_)
        | ApiError::Proxy(_)
        | ApiError::Bundle { .. }
        | ApiError::NotARegion { .. }
        | ApiError::NoServices { .. }
        | ApiError::NoCredentials(_)
        | ApiError::Service { .. }
        | ApiError::Timeout { .. }
        | ApiError::NoConnection { .. }
        | ApiError::TooLong { .. }
        | ApiError::Certificate { .. }
        | ApiError::Network { .. } => {
            "log in again (`aws sso login`, `aws configure`), or use another `--profile`".to_owned()
        }
    }
}

fn login_hint(profile: &str, kind: LoginKind) -> String {
    let command = LoginCommand { profile: profile.to_owned(), kind };
    format!("run `{}`", login_words(&command))
}

/// Returns the command of a login as the user types it.
pub fn login_words(command: &LoginCommand) -> String {
    command.words().into_iter().map(shell_word).collect::<Vec<_>>().join(" ")
}

/// Says whose credentials AWS rejected, and how to renew them.
fn owner_hint(owner: &KeyOwner) -> String {
    match owner {
        KeyOwner::Environment => {
            "the keys are those of the environment: renew or unset `AWS_ACCESS_KEY_ID` and its companions"
                .to_owned()
        }
        KeyOwner::Profile(profile) => {
            format!("the keys are those of profile `{profile}`: renew them, or use another `--profile`")
        }
        KeyOwner::Process(profile) => {
            format!(
                "the keys are those of `credential_process` of profile `{profile}`: run it and log in again"
            )
        }
        KeyOwner::Login(profile, kind) => login_hint(profile, *kind),
        KeyOwner::Approval(id) => {
            format!(
                "the credentials are those of access request `{id}`: its approval may have ended; try again"
            )
        }
        KeyOwner::Machine => {
            "the credentials are those of this machine's role: check the role and the clock".to_owned()
        }
    }
}

/// AWS answers with the two times that it has compared.
fn is_wrong_clock(error: &ApiError) -> bool {
    let ApiError::Service { code, message, .. } = error else { return false };
    let message = message.to_lowercase();
    let codes = ["RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"];
    let texts =
        ["signature expired", "signature not yet current", "request has expired", "request timestamp"];
    codes.contains(&code.as_str()) || texts.iter().any(|text| message.contains(text))
}

/// The keys are right, but the signature names a region that the endpoint is not in.
fn is_wrong_region(error: &ApiError) -> bool {
    if let ApiError::Rejected { error, .. } = error {
        return is_wrong_region(error);
    }
    let ApiError::Service { message, .. } = error else { return false };
    let message = message.to_lowercase();
    message.contains("credential should be scoped to") && message.contains("region")
}

/// Quotes a word for a command that the user copies.
pub(super) fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:@+=".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

pub(super) fn is_explicit_deny(error: &ApiError) -> bool {
    error.to_string().contains("explicit deny")
}
