//! Why a key could not be made, kept or pushed, in words.

use crate::aws::{ApiError, Meaning};
use crate::jump::KeyProblem;
use crate::keys::KeyError;

use super::api::{ELSEWHERE, is_explicit_deny, of_api, shell_word};
use super::lookup::of_lookup;
use super::{ExitKind, Report};

/// Returns the report of a key.
pub(super) fn of_key(error: &KeyError) -> Report {
    let whole = error.to_string();
    match error {
        KeyError::Aws(error) => of_api(error),
        KeyError::Lookup { error, region } => of_lookup(error, region),
        KeyError::Push { error, machine, user, .. } => of_push(error, whole, machine, user),
        KeyError::NoUser { machine } => Report::new(ExitKind::Usage, whole)
            .hint(format!("name the user: `USER@{machine}`, or `user` in the config file"))
            .hint("in ssh_config, write `ProxyCommand fumidai connect '%r@%h' %p`"),
        KeyError::NotAnInstance { .. } => Report::new(ExitKind::Configuration, whole)
            .hint("remove `key` from its table of the config file, or leave out `--ephemeral-key`"),
        KeyError::NoKeeper { .. } => Report::new(ExitKind::Configuration, whole)
            .hint("run `fumidai ssh-config --install`: it names the file")
            .hint("or start an ssh-agent, and check `SSH_AUTH_SOCK`"),
        KeyError::Agent(_) => Report::new(ExitKind::Failure, whole)
            .hint("check the agent with `ssh-add -l`; unlock it with `ssh-add -X`")
            .hint("run `fumidai ssh-config --install`: ssh reads the key from a file then"),
        KeyError::File { .. } => Report::new(ExitKind::Failure, whole)
            .hint("check the permissions of its folder; `--key-file` names another file"),
        KeyError::Generate(_) => Report::new(ExitKind::Failure, whole),
        KeyError::NoOwnKey { problems, .. } => problems_of(Report::new(ExitKind::SshAuth, whole), problems)
            .hint("run `ssh-keygen -t ed25519`, or load your key with `ssh-add`")
            .hint("or set `key = \"ephemeral\"`: it needs no key of yours"),
        KeyError::LoginRefused { failure } => {
            problems_of(Report::new(ExitKind::SshAuth, whole), &failure.problems)
                .hint(format!("check that the user `{}` exists there", failure.user))
                .hint("check that its image has EC2 Instance Connect: package `ec2-instance-connect`")
        }
    }
}

fn problems_of(report: Report, problems: &[KeyProblem]) -> Report {
    problems.iter().fold(report, |report, one| report.detail(one.to_string()))
}

/// Why EC2 Instance Connect did not take the key.
fn of_push(error: &ApiError, whole: String, machine: &str, user: &str) -> Report {
    let ApiError::Service { code, .. } = error else { return of_api(error).map_cause(|_| whole) };
    let policy = || format!("run `fumidai explain {} --policy` to see the permissions", shell_word(machine));
    match code.as_str() {
        "AuthException" => Report::new(ExitKind::AccessDenied, whole).hint(policy()),
        "InvalidArgsException" => Report::new(ExitKind::Failure, whole)
            .hint(format!("check the user name `{user}`: it is a user of the instance, such as `ec2-user`"))
            .hint("with `key = \"push\"`, the key must be ed25519 or RSA"),
        "EC2InstanceNotFoundException" => Report::new(ExitKind::NotFound, whole).hint(ELSEWHERE),
        "EC2InstanceStateInvalidException" => Report::new(ExitKind::NotConnected, whole).hint(format!(
            "run `fumidai bastion start {}`: only a running instance takes keys",
            shell_word(machine)
        )),
        "EC2InstanceUnavailableException" => Report::new(ExitKind::NotConnected, whole)
            .hint("try again in a minute: the instance has just been started, or is being stopped"),
        _ if error.meaning() == Meaning::AccessDenied && !is_explicit_deny(error) => {
            Report::new(ExitKind::AccessDenied, whole).hint(policy()).hint(format!(
                "the policy needs `ec2-instance-connect:SendSSHPublicKey`, with `ec2:osuser` = `{user}`"
            ))
        }
        _ => of_api(error).map_cause(|_| whole),
    }
}
