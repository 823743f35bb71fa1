//! Errors of AWS's APIs in words, and what other reports have in common with them.

use crate::aws::{ApiError, Meaning};

use super::{ExitKind, Report};

pub(super) const ELSEWHERE: &str =
    "if it is in another region or account, use `NAME--REGION`, `--region` or `--profile`";
pub(super) const CERTIFICATE: &str =
    "if a proxy of your company intercepts TLS, set `AWS_CA_BUNDLE` to its root certificates";
pub(super) const NETWORK: &str = "check the network, `HTTPS_PROXY` and the endpoint settings";
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
        Meaning::Settings => Report::new(ExitKind::Configuration, whole)
            .hint("check `AWS_CA_BUNDLE`, and `ca_bundle` in the AWS profile"),
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

fn of_transient(error: &ApiError, whole: String) -> Report {
    if matches!(error, ApiError::Service { .. }) {
        return Report::new(ExitKind::Failure, whole).hint("four attempts failed; try again later");
    }
    if matches!(error, ApiError::Certificate { .. }) {
        return Report::new(ExitKind::Failure, whole).hint(CERTIFICATE);
    }
    let timed_out = matches!(error, ApiError::Timeout { .. });
    Report::new(if timed_out { ExitKind::TimedOut } else { ExitKind::Failure }, whole).hint(NETWORK)
}

pub(super) fn is_explicit_deny(error: &ApiError) -> bool {
    error.to_string().contains("explicit deny")
}

/// Returns the command that renews credentials, or what else is wrong.
pub(super) fn credentials_hint(error: &ApiError) -> String {
    match error {
        ApiError::NoLogin { profile, .. } => format!("run `aws sso login --profile {}`", shell_word(profile)),
        ApiError::NoCode { profile, .. } => format!(
            "run `aws sts get-caller-identity --profile {}` in a terminal: it asks for the code, and its cache is used",
            shell_word(profile)
        ),
        ApiError::NoProfile(_) => "run `aws configure list-profiles` to see the profiles".to_owned(),
        error if is_wrong_clock(error) => {
            "set this machine's clock: it is wrong by more than 5 minutes".to_owned()
        }
        ApiError::NoRegion
        | ApiError::Settings(_)
        | ApiError::NoCredentials(_)
        | ApiError::Service { .. }
        | ApiError::Timeout { .. }
        | ApiError::Certificate { .. }
        | ApiError::Network { .. } => {
            "log in again (`aws sso login`, `aws configure`), or use another `--profile`".to_owned()
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

/// Quotes a word for a command that the user copies.
pub(super) fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:@+=".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}
