//! User units of systemd. A unit of `up` is an instance of the template that packages install, with its own text.

use super::IN_VAIN;
use super::kept::{Action, Kept, MARK, Phase, Seen};

/// What all unit names begin with.
const PREFIX: &str = "fumidai-forward@";
const SUFFIX: &str = ".service";

/// What differs from unit to unit.
#[derive(Clone, Debug)]
pub struct Unit<'a> {
    /// The first line.
    pub comment: &'a str,
    /// What it is.
    pub description: &'a str,
    /// Lines before the command.
    pub environment: String,
    /// The command.
    pub command: String,
    /// The pauses between restarts grow.
    pub has_steps: bool,
}

/// Returns the text of a unit.
pub fn unit(unit: &Unit<'_>) -> String {
    let Unit { comment, description, environment, command, has_steps } = unit;
    let in_vain = IN_VAIN.map(|code| code.to_string()).join(" ");
    let steps = if *has_steps { "RestartSteps=5\nRestartMaxDelaySec=300\n" } else { "" };
    format!(
        "# {comment}\n\n\
        [Unit]\nDescription={description}\nDocumentation=https://github.com/fumidai/fumidai\n\
        # It is never given up; the pause between two starts is RestartSec.\nStartLimitIntervalSec=0\n\n\
        [Service]\nType=notify\n{environment}ExecStart={command}\nRestart=always\nRestartSec=10\n{steps}\
        # The exit status after SIGTERM.\nSuccessExitStatus=143\n\
        # Usage, configuration, access denied, name not found, ambiguous name, remote port, encryption: a restart does not help.\n\
        RestartPreventExitStatus={in_vain}\n\
        # Ending the sessions takes up to 2 s.\nTimeoutStopSec=10\n\n\
        {RESTRICTIONS}\n[Install]\nWantedBy=default.target\n"
    )
}

/// What needs no privileges to be restricted.
const RESTRICTIONS: &str = "UMask=0077\nLimitCORE=0\nNoNewPrivileges=yes\nLockPersonality=yes\n\
    RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK\nRestrictNamespaces=yes\nRestrictRealtime=yes\n\
    RestrictSUIDSGID=yes\nSystemCallArchitectures=native\nSystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM\n";

/// Returns the text of the unit of a forward.
pub(super) fn unit_of(kept: &Kept, has_steps: bool) -> String {
    let variable =
        |(name, value): &(String, String)| format!("Environment={}\n", quoted(&format!("{name}={value}")));
    let words = [&kept.program].into_iter().chain(&kept.arguments);
    // In a command, but not in a variable, `$` starts a substitution.
    let command: Vec<String> = words.map(|word| quoted(word).replace('$', "$$")).collect();
    unit(&Unit {
        comment: MARK,
        description: &format!("Forward {} through Session Manager", kept.name.replace('%', "%%")),
        environment: kept.environment.iter().map(variable).collect(),
        command: command.join(" "),
        has_steps,
    })
}

/// Quotes a word; `%` would start a specifier.
fn quoted(word: &str) -> String {
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '%' => text.push_str("%%"),
            '\0'..='\x1f' | '\x7f' => text.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text + "\""
}

/// Returns the name of the unit of a forward.
pub(super) fn unit_name(name: &str) -> String {
    let shown = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' | b'-' => char::from(byte).to_string(),
        other => format!("\\x{other:02x}"),
    };
    let name: String = name.bytes().map(shown).collect();
    format!("{PREFIX}{name}{SUFFIX}")
}

/// Returns the forward of a unit.
pub(super) fn name_of(unit: &str) -> Option<String> {
    let mut rest = unit.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let mut bytes = Vec::new();
    while let Some(first) = rest.bytes().next() {
        let code = rest.strip_prefix("\\x").and_then(|code| code.get(..2));
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => (bytes.push(byte), rest = &rest[4..]),
            None => (bytes.push(first), rest = rest.get(1..)?),
        };
    }
    String::from_utf8(bytes).ok().filter(|name| !name.is_empty())
}

fn systemctl(verb: &str, name: &str) -> Action {
    Action::new("systemctl", ["--user", verb, &unit_name(name)])
}

pub(super) fn pause(name: &str) -> Vec<Action> {
    vec![systemctl("stop", name).that_may_fail()]
}

pub(super) fn up(kept: &Kept) -> Vec<Action> {
    let reload = Action::new("systemctl", ["--user", "daemon-reload"]);
    let enabled = if kept.autostart { "enable" } else { "disable" };
    vec![reload, systemctl(enabled, &kept.name), systemctl("start", &kept.name)]
}

pub(super) fn stop(name: &str) -> Vec<Action> {
    let disable = Action::new("systemctl", ["--user", "disable", "--now", &unit_name(name)]);
    // A unit that has failed stays listed otherwise.
    vec![disable, systemctl("reset-failed", name).that_may_fail()]
}

pub(super) fn restart(name: &str) -> Vec<Action> {
    vec![systemctl("restart", name)]
}

pub(super) fn logs(name: &str, lines: u32, follow: bool) -> Action {
    let lines = lines.to_string();
    let mut action =
        Action::new("journalctl", ["--user-unit", &unit_name(name), "--no-pager", "--lines", &lines]);
    action.arguments.extend(follow.then(|| "--follow".to_owned()));
    action
}

pub(super) fn query(name: &str) -> Action {
    const PROPERTIES: &str =
        "--property=LoadState,ActiveState,SubState,ExecMainCode,ExecMainStatus,UnitFileState";
    Action::new("systemctl", ["--user", "show", PROPERTIES, &unit_name(name)])
}

pub(super) fn seen(output: &str) -> Option<Seen> {
    let value = |key: &str| {
        output.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default()
    };
    let phase = match (value("ActiveState"), value("SubState")) {
        ("active" | "reloading" | "deactivating", _) => Phase::Running,
        (_, "auto-restart") => Phase::Restarting,
        ("activating", _) => Phase::Starting,
        ("failed", _) => Phase::Failed,
        ("inactive", _) if value("LoadState") == "not-found" => return None,
        ("inactive", _) => Phase::Stopped,
        _ => return None,
    };
    // CLD_EXITED of waitid(2); 0 is a process that has not ended.
    let has_exited = value("ExecMainCode") == "1";
    let exit = value("ExecMainStatus").parse().ok().filter(|_| has_exited);
    let autostart = match value("UnitFileState") {
        "enabled" | "enabled-runtime" => Some(true),
        "" => None,
        _ => Some(false),
    };
    Some(Seen { phase, exit, autostart })
}

/// Returns true if the answer of `systemctl --version` is that of a systemd whose pauses between restarts can grow.
pub fn has_steps(version: &str) -> bool {
    let number = version.split_whitespace().nth(1).map(|word| word.split('.').next().unwrap_or_default());
    number.and_then(|number| number.parse::<u32>().ok()).is_some_and(|number| number >= 254)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn kept() -> Kept {
        Kept {
            name: "orders-db".into(),
            program: "/opt/my tools/fumidai".into(),
            arguments: ["forward", "--config", "/home/me/50% \"$x\"\\.toml", "orders-db"]
                .map(str::to_owned)
                .to_vec(),
            environment: vec![
                ("AWS_PROFILE".into(), "prod".into()),
                ("AWS_CONFIG_FILE".into(), "/home/me/a $b\n%".into()),
            ],
            user: String::new(),
            log: String::new(),
            autostart: true,
        }
    }

    #[test]
    fn the_unit_is_the_expected_one() {
        let expected = include_str!("expected/fumidai-forward@orders-db.service");
        assert_eq!(unit_of(&kept(), true), expected);
        let older = unit_of(&kept(), false);
        assert_eq!(older, expected.replace("RestartSteps=5\nRestartMaxDelaySec=300\n", ""));
    }

    #[test]
    fn the_units_of_packages_are_made_from_the_same_text() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/systemd/");
        let path = "# systemd does not look in cargo's folder, so env finds the program; a credential_process uses this PATH too.\n\
            Environment=PATH=%h/.cargo/bin:%h/.local/bin:/usr/local/bin:/usr/bin:/bin\n";
        for (name, comment, description, word) in [
            (
                "fumidai-forward@.service",
                "One forward of the config file: systemctl --user enable --now fumidai-forward@orders-db",
                "Forward %i through Session Manager",
                "%i",
            ),
            (
                "fumidai-forward-all.service",
                "Every forward of the config file: systemctl --user enable --now fumidai-forward-all",
                "All forwards through Session Manager",
                "--all",
            ),
        ] {
            let command = format!("/usr/bin/env fumidai forward {word}");
            let of_code =
                unit(&Unit { comment, description, environment: path.into(), command, has_steps: false });
            assert_eq!(fs::read_to_string(format!("{folder}{name}")).expect(name), of_code, "{name}");
        }
    }

    #[test]
    fn the_name_of_a_unit_is_that_of_its_forward() {
        for (name, unit) in [
            ("orders-db", "fumidai-forward@orders-db.service"),
            ("a.b_c:1", "fumidai-forward@a.b_c:1.service"),
            ("c++", "fumidai-forward@c\\x2b\\x2b.service"),
        ] {
            assert_eq!(unit_name(name), unit);
            assert_eq!(name_of(unit).as_deref(), Some(name));
        }
        for other in ["fumidai-forward@.service", "fumidai-forward-all.service", "x.service"] {
            assert_eq!(name_of(other), None, "{other}");
        }
    }

    #[test]
    fn only_a_forward_with_autostart_is_enabled() {
        let words = |autostart| -> Vec<String> {
            let actions = up(&Kept { autostart, ..kept() });
            actions.iter().map(|action| action.arguments[1].clone()).collect()
        };
        assert_eq!(words(true), ["daemon-reload", "enable", "start"]);
        assert_eq!(words(false), ["daemon-reload", "disable", "start"]);
    }

    #[test]
    fn what_systemd_says_has_a_phase() {
        let shown = |active: &str, sub: &str, code: &str, status: &str, file: &str| {
            seen(&format!(
                "LoadState=loaded\nActiveState={active}\nSubState={sub}\nExecMainCode={code}\n\
                ExecMainStatus={status}\nUnitFileState={file}\n"
            ))
        };
        let is = |phase, exit, autostart| Some(Seen { phase, exit, autostart });
        assert_eq!(shown("active", "running", "0", "0", "enabled"), is(Phase::Running, None, Some(true)));
        assert_eq!(
            shown("activating", "auto-restart", "1", "10", "disabled"),
            is(Phase::Restarting, Some(10), Some(false))
        );
        assert_eq!(shown("activating", "start", "0", "0", ""), is(Phase::Starting, None, None));
        assert_eq!(shown("failed", "failed", "1", "3", "enabled"), is(Phase::Failed, Some(3), Some(true)));
        assert_eq!(shown("failed", "failed", "2", "9", "enabled"), is(Phase::Failed, None, Some(true)));
        assert_eq!(shown("inactive", "dead", "0", "0", "enabled"), is(Phase::Stopped, None, Some(true)));
        assert_eq!(seen("LoadState=not-found\nActiveState=inactive\nSubState=dead\n"), None);
        assert_eq!(seen(""), None);
    }

    #[test]
    fn growing_pauses_need_254() {
        for (text, has) in
            [("systemd 252 (252.38-1~deb12u1)", false), ("systemd 257 (257.9)", true), ("", false)]
        {
            assert_eq!(has_steps(text), has, "{text}");
        }
    }
}
