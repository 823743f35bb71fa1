//! Access that was requested and is not given, in words: which answer it was, and what changes it.

use crate::aws::{ApiError, ApprovalError, Meaning, Refused};

use super::api::{of_api, shell_word};
use super::{ExitKind, Report};

/// What the policy of AWS for an approval's credentials allows.
const SHELL: &str =
    "by AWS's policy for approvals they start `SSM-SessionManagerRunShell` only: a shell, not a port";

const NOT_SET_UP: &str = "ask an administrator to set up just-in-time node access for this account and region, or remove `access_request`";

/// Reports why there is no access; `subject` is what `explain` takes for the route.
pub(super) fn of_approval(error: &ApprovalError, subject: &str) -> Report {
    let report = Report::new(ExitKind::AccessDenied, error.to_string());
    match error {
        ApprovalError::Own(error) => of_api(error),
        ApprovalError::NoReason => Report::new(ExitKind::Usage, error.to_string())
            .hint("give it: `--reason TEXT`, or for ssh the variable `FUMIDAI_REASON`"),
        ApprovalError::NotTaken { error, .. } => of_not_taken(report, error, subject),
        ApprovalError::Unknown { id, error } => of_unknown(report, id, error, subject),
        ApprovalError::Refused { how: Refused::Rejected, .. } => {
            report.hint("ask the approver why; a new run files a new request")
        }
        ApprovalError::Refused { how: Refused::Revoked, .. } => {
            report.hint("ask who revoked it; a new run files a new request")
        }
        ApprovalError::Refused { how: Refused::Expired, .. } => {
            report.hint("request access anew: `--access-request true`")
        }
        ApprovalError::Pending { id, .. } => report
            .hint(go_on(id))
            .hint("use `--access-request-timeout SECONDS` to wait longer"),
        ApprovalError::Document { document, .. } => report.hint(SHELL).hint(format!(
            "ask an administrator to allow `ssm:StartSession` on the node and on `document/{document}` to you \
             instead, and remove `access_request`"
        )),
    }
}

/// Returns how a request that is still pending is gone on with.
fn go_on(id: &str) -> String {
    format!("go on with it later: `--access-request {id}`, or for ssh `FUMIDAI_ACCESS_REQUEST={id}`")
}

fn of_not_taken(report: Report, error: &ApiError, subject: &str) -> Report {
    let ApiError::Service { code, message, .. } = error else { return of_api(error) };
    match error.meaning() {
        Meaning::Credentials => of_api(error),
        Meaning::AccessDenied => report.hint(format!(
            "`ssm:StartAccessRequest` on the node is needed: run `fumidai explain {} --policy`",
            shell_word(subject)
        )),
        Meaning::Transient => report.hint("four attempts failed; try again later"),
        Meaning::Settings | Meaning::TargetNotConnected | Meaning::DoesNotExist | Meaning::Other => {
            hints_of_refusal(code, message).iter().fold(report, |report, hint| report.hint(*hint))
        }
    }
}

/// Returns what changes a refusal. Only the code of some is published, so the text counts too.
fn hints_of_refusal(code: &str, message: &str) -> &'static [&'static str] {
    let message = message.to_lowercase();
    match code {
        _ if message.contains("not enabled") => &[NOT_SET_UP],
        "UnknownOperationException" => &[NOT_SET_UP],
        "ResourceNotFoundException" => &[
            "ask for an approval policy for the node: without one, no user can approve",
            "use `--region` and `--profile` of the node: access to another account or region cannot be requested",
        ],
        "ServiceQuotaExceededException" => &["wait until earlier requests are decided: there are too many"],
        "ValidationException" if message.contains("ssm:startsession") => {
            &["a policy of yours has `ssm:StartSession`: a user who requests access must not have it"]
        }
        "ValidationException" => &[
            "shorten the reason to 256 characters; the target must be an instance or a managed node",
            "ask whether two approval policies are for this node: they exclude each other",
        ],
        _ => &[],
    }
}

fn of_unknown(report: Report, id: &str, error: &ApiError, subject: &str) -> Report {
    if !matches!(error, ApiError::Service { .. }) || error.meaning() == Meaning::Credentials {
        return of_api(error).hint(go_on(id));
    }
    if error.meaning() == Meaning::AccessDenied {
        let subject = shell_word(subject);
        return report
            .hint(format!("`ssm:GetAccessToken` is needed: run `fumidai explain {subject} --policy`"))
            .hint(go_on(id));
    }
    if error.has_code("ResourceNotFoundException") {
        return report
            .hint("check the id, and use `--region` and `--profile` that the request was filed with");
    }
    report.hint(go_on(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_a_hint_of_its_own() {
        for (code, message, hint) in [
            (
                "ValidationException",
                "Just-In-Time Node Access service is not enabled in this account.",
                "set up",
            ),
            ("ValidationException", "The caller has ssm:StartSession.", "must not have it"),
            ("ValidationException", "Bad reason", "256 characters"),
            ("AccessDeniedException", "no", "`ssm:StartAccessRequest`"),
            ("ThrottlingException", "slow down", "try again later"),
            ("ServiceQuotaExceededException", "", "too many"),
            ("ResourceNotFoundException", "", "approval policy"),
        ] {
            let (code, message) = (code.to_owned(), message.to_owned());
            let error = ApiError::Service { operation: "StartAccessRequest", code, message, status: 400 };
            let error = ApprovalError::NotTaken { target: "i-1".to_owned(), error };
            let report = of_approval(&error, "web");
            assert_eq!(report.exit(), ExitKind::AccessDenied);
            assert!(report.hints().any(|text| text.contains(hint)), "{hint}: {report:?}");
        }
    }
}
