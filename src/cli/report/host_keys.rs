//! Why a source has no host keys, in words.

use crate::aws::{ApiError, Meaning};
use crate::reach::HostKeysError;

use super::api::{is_explicit_deny, of_api, shell_word};
use super::{ExitKind, Report};

/// The sources for a machine behind a hop.
pub(super) const SOURCES_BEHIND_HOP: &str =
    "use `host_keys = \"console\"` or `host_keys = \"parameter:NAME\"`";

/// Returns the report of a source of host keys.
pub(super) fn of_host_keys(error: &HostKeysError) -> Report {
    let report = |exit| Report::new(exit, error.to_string());
    match error {
        HostKeysError::BehindHop { .. } => report(ExitKind::Configuration).hint(SOURCES_BEHIND_HOP),
        HostKeysError::NotAnInstance { .. } => report(ExitKind::Configuration)
            .hint("use `host_keys = \"session\"` or `host_keys = \"parameter:NAME\"`"),
        HostKeysError::NoConsole { .. } => report(ExitKind::SshAuth)
            .hint("wait a few minutes after its start, and try again")
            .hint("use `host_keys = \"session\"`: it needs no console output"),
        HostKeysError::NoKeysOnConsole { .. } => report(ExitKind::SshAuth)
            .hint("cloud-init prints them at the first boot only: use `host_keys = \"session\"`")
            .hint("keep them in a parameter, and use `host_keys = \"parameter:NAME\"`"),
        HostKeysError::NoParameter { .. } => report(ExitKind::Configuration)
            .hint("correct the name in `host_keys`; it is looked for in the region of the session"),
        HostKeysError::NoKeysInParameter { .. } => report(ExitKind::Configuration)
            .hint("its value must be lines as in `/etc/ssh/ssh_host_*_key.pub`, not encrypted"),
        HostKeysError::Call { error, host, action } => of_call(error, host, action),
        HostKeysError::Target(error) => Report::from(error.clone()),
    }
}

/// A call that AWS did not answer.
fn of_call(error: &ApiError, host: &str, action: &str) -> Report {
    if error.meaning() != Meaning::AccessDenied || is_explicit_deny(error) || error.is_of("AssumeRole") {
        return of_api(error);
    }
    Report::new(ExitKind::AccessDenied, error.to_string())
        .hint(format!("run `fumidai explain {} --policy` to see the permissions", shell_word(host)))
        .hint(format!("`host_keys` needs `{action}`: contrib/iam/host-keys.json has the policy"))
}
