//! Access that was requested and is not given, in words: which answer it was, and what changes it.

use crate::aws::{ApiError, ApprovalError, Meaning, Refused};

use super::api::{of_api, shell_word};
use super::{ExitKind, Report};

/// What the policy of AWS for an approval's credentials allows.
const SHELL: &str =
    "by AWS's policy for approvals they start `SSM-SessionManagerRunShell` only: a shell, not a port";

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
    let is_of = |name: &str| error.has_code(name);
    let text = error.to_string().to_lowercase();
    if !matches!(error, ApiError::Service { .. }) {
        return of_api(error);
    }
    if text.contains("not enabled") || is_of("UnknownOperationException") {
        return report.hint(
            "ask an administrator to set up just-in-time node access for this account and region, or remove \
             `access_request`",
        );
    }
    if text.contains("ssm:startsession") && is_of("ValidationException") {
        return report
            .hint("a policy of yours has `ssm:StartSession`: whoever requests access must not have it");
    }
    match error.meaning() {
        Meaning::AccessDenied => report.hint(format!(
            "`ssm:StartAccessRequest` on the node is needed: run `fumidai explain {} --policy`",
            shell_word(subject)
        )),
        Meaning::Transient => report.hint("four attempts failed; try again later"),
        Meaning::Credentials => of_api(error),
        _ if is_of("ResourceNotFoundException") => report
            .hint("ask for an approval policy for the node: without one, nobody can approve")
            .hint("use `--region` and `--profile` of the node: access to another account or region cannot be requested"),
        _ if is_of("ServiceQuotaExceededException") => {
            report.hint("wait until earlier requests are decided: there are too many")
        }
        _ if is_of("ValidationException") => report
            .hint("shorten the reason to 256 characters; the target must be an instance or a managed node")
            .hint("ask whether two approval policies are for this node: they exclude each other"),
        _ => report,
    }
}

fn of_unknown(report: Report, id: &str, error: &ApiError, subject: &str) -> Report {
    if !matches!(error, ApiError::Service { .. }) {
        return of_api(error).hint(go_on(id));
    }
    match error.meaning() {
        Meaning::AccessDenied => report
            .hint(format!(
                "`ssm:GetAccessToken` is needed: run `fumidai explain {} --policy`",
                shell_word(subject)
            ))
            .hint(go_on(id)),
        Meaning::Credentials => of_api(error).hint(go_on(id)),
        _ if error.has_code("ResourceNotFoundException") => {
            report.hint("check the id, and use `--region` and `--profile` that the request was filed with")
        }
        _ => report.hint(go_on(id)),
    }
}
