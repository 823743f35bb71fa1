//! ssh on this machine: is it there, does it use fumidai for this host, does it wait long enough.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::finding::{Component, Diagnosis, Finding, Outcome, SshProblem};
use super::limit::{Late, Limit};
use super::{Subject, Surroundings};

/// The longest path of a unix socket, without its zero byte (sys/un.h of Linux; macOS has 103).
const LONGEST_SOCKET: usize = 103;

/// Looks at ssh: its version, its home folder and its settings for the host side by side.
pub(super) async fn check(subject: &Subject, around: &Surroundings<'_>, limit: Limit) -> Vec<Finding> {
    let ssh = |outcome| Finding::new(Component::Ssh, "ssh", outcome);
    let (version, doubt, of_host) =
        tokio::join!(output(&["-V"], limit), other_home(around, limit), of_host(subject, around, limit));
    let version = match version {
        Ok(Some(version)) => version.trim().to_owned(),
        Ok(None) => return vec![ssh(Outcome::Broken(Diagnosis::Ssh(SshProblem::NoSsh)))],
        Err(late) => return vec![ssh(Outcome::Unknown(format!("`ssh -V`: {late}")))],
    };
    let mut findings = vec![ssh(Outcome::Good(version))];
    findings.extend(doubt.map(|doubt| ssh(Outcome::Doubtful(Diagnosis::Ssh(doubt)))));
    findings.extend(of_host);
    findings
}

/// Looks at ssh's settings for a host that it is used for.
async fn of_host(subject: &Subject, around: &Surroundings<'_>, limit: Limit) -> Vec<Finding> {
    let word = &subject.word;
    if !subject.is_for_ssh {
        return Vec::new();
    }
    let finding = |outcome| Finding::new(Component::Ssh, word.as_str(), outcome);
    let settings = match output(&["-G", word], limit).await {
        Ok(Some(settings)) => settings,
        Ok(None) => return Vec::new(),
        Err(late) => return vec![finding(Outcome::Unknown(format!("`ssh -G`: {late}")))],
    };
    let value = |key: &str| value(&settings, key);
    let mut findings = vec![finding(proxy_command(value("proxycommand"), value("proxyjump")))];
    let route = subject.route.as_ref().map_or(around.config, |route| &route.config);
    let doubts = doubts(&settings, route.session.resume_window.as_secs());
    findings.extend(doubts.map(|doubt| finding(Outcome::Doubtful(doubt))));
    findings
}

/// ssh takes the home folder of the password file, whatever `HOME` is: its default known_hosts says which one that is.
async fn other_home(around: &Surroundings<'_>, limit: Limit) -> Option<SshProblem> {
    let home = around.environment.folders.home.as_ref()?;
    let settings = output(&["-F", "none", "-G", "x"], limit).await.ok()??;
    let files = value(&settings, "userknownhostsfile")?;
    let of_ssh = files.split(' ').next()?.strip_suffix("/.ssh/known_hosts")?;
    // Where the folder is a link, both may be written differently.
    let is_same = |one: &Path, other: &Path| match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        (_, _) => one == other,
    };
    let (of_ssh, variable) = (of_ssh.to_owned(), home.display().to_string());
    (!is_same(Path::new(&of_ssh), home)).then_some(SshProblem::OtherHome { of_ssh, variable })
}

/// Runs ssh; it prints its version to standard error and its settings to standard output. `None` if there is no ssh.
async fn output(args: &[&str], limit: Limit) -> Result<Option<String>, Late> {
    let mut command = Command::new("ssh");
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let Ok(output) = limit.check(command.output()).await? else { return Ok(None) };
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

fn value(settings: &str, key: &str) -> Option<String> {
    let lines = settings.lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned()).next()
}

fn proxy_command(command: Option<String>, jump: Option<String>) -> Outcome {
    match command.filter(|command| command != "none") {
        Some(command) if command.contains("fumidai") => {
            Outcome::Good("its ProxyCommand is fumidai".to_owned())
        }
        None if jump.is_some() => Outcome::Good("it goes through ProxyJump".to_owned()),
        // `fumidai connect` and forwards work without it.
        None => Outcome::Doubtful(Diagnosis::Ssh(SshProblem::OtherProxyCommand(None))),
        Some(other) => Outcome::Broken(Diagnosis::Ssh(SshProblem::OtherProxyCommand(Some(other)))),
    }
}

fn doubts(settings: &str, window: u64) -> impl Iterator<Item = Diagnosis> {
    let number = |key: &str| value(settings, key).and_then(|text| text.parse::<u64>().ok());
    let interval = number("serveraliveinterval").unwrap_or(0);
    let alive = interval.saturating_mul(number("serveralivecountmax").unwrap_or(3) + 1);
    let too_short = (interval > 0 && alive <= window)
        .then_some(Diagnosis::Ssh(SshProblem::AliveTooShort { alive, window }));
    let path = value(settings, "controlpath").filter(|path| path != "none");
    // ssh adds 17 characters while it creates the socket.
    let length = path.map(|path| path.len() + 17).filter(|length| *length > LONGEST_SOCKET);
    [too_short, length.map(|length| Diagnosis::Ssh(SshProblem::LongControlPath(length)))]
        .into_iter()
        .flatten()
}

/// Parses `OpenSSH_9.2p1 …` and `OpenSSH_for_Windows_8.1p1, …`.
pub fn parse_version(text: &str) -> Option<(u32, u32)> {
    let version = text.trim_start().strip_prefix("OpenSSH_")?;
    let version = version.strip_prefix("for_Windows_").unwrap_or(version);
    let (major, rest) = version.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_proxy_command_is_broken_and_none_is_a_doubt() {
        let outcome = |command: Option<&str>, jump: Option<&str>| {
            proxy_command(command.map(str::to_owned), jump.map(str::to_owned))
        };
        assert!(matches!(outcome(Some("/usr/bin/fumidai connect web 22"), None), Outcome::Good(_)));
        assert!(matches!(outcome(None, Some("bastion")), Outcome::Good(_)));
        assert!(matches!(outcome(Some("aws ssm start-session --target i-1"), None), Outcome::Broken(_)));
        assert!(matches!(outcome(None, None), Outcome::Doubtful(_)));
        assert!(matches!(outcome(Some("none"), None), Outcome::Doubtful(_)));
    }

    #[test]
    fn a_short_patience_and_a_long_socket_are_doubts() {
        let settings =
            format!("serveraliveinterval 10\nserveralivecountmax 3\ncontrolpath /{}\n", "x".repeat(100));
        let found: Vec<Diagnosis> = doubts(&settings, 900).collect();
        assert!(
            matches!(
                found[..],
                [
                    Diagnosis::Ssh(SshProblem::AliveTooShort { alive: 40, window: 900 }),
                    Diagnosis::Ssh(SshProblem::LongControlPath(118))
                ]
            ),
            "{found:?}"
        );
        assert_eq!(doubts("serveraliveinterval 30\nserveralivecountmax 30\n", 900).count(), 0);
        assert_eq!(doubts("serveraliveinterval 0\ncontrolpath none\n", 900).count(), 0);
    }
}
