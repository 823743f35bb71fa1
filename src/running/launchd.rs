//! Agents of launchd, in the domain of the user's login.
//!
//! launchd restarts whatever ends with another status than 0. `forward --supervisor launchd` therefore ends with 0 after a
//! failure that a restart does not mend.

use super::kept::{Action, Kept, MARK, Phase, Seen, Written};

const PREFIX: &str = "io.github.fumidai.forward.";

/// Returns the label of a forward.
pub(super) fn label(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// Returns the forward of a file.
pub(super) fn name_of(file_name: &str) -> Option<String> {
    let name = file_name.strip_prefix(PREFIX)?.strip_suffix(".plist")?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// Returns the domain of a user's login.
pub(super) fn domain(user: u32) -> String {
    format!("gui/{user}")
}

fn service(user: u32, name: &str) -> String {
    format!("gui/{user}/{}", label(name))
}

/// Returns the text of a property list.
pub(super) fn plist(kept: &Kept) -> String {
    let string = |text: &str| format!("<string>{}</string>", escaped(text));
    let words = [&kept.program].into_iter().chain(&kept.arguments);
    let words: String = words.map(|word| format!("\t\t{}\n", string(word))).collect();
    let variable = |(name, value): &(String, String)| {
        format!("\t\t<key>{}</key>\n\t\t{}\n", escaped(name), string(value))
    };
    let variables: String = kept.environment.iter().map(variable).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
        <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
        <!-- {MARK} -->\n<plist version=\"1.0\">\n<dict>\n\
        \t<key>Label</key>\n\t{label}\n\
        \t<key>ProgramArguments</key>\n\t<array>\n{words}\t</array>\n\
        \t<key>EnvironmentVariables</key>\n\t<dict>\n{variables}\t</dict>\n\
        \t<key>RunAtLoad</key>\n\t<true/>\n\
        \t<key>KeepAlive</key>\n\t<dict>\n\t\t<key>SuccessfulExit</key>\n\t\t<false/>\n\t</dict>\n\
        \t<key>ThrottleInterval</key>\n\t<integer>10</integer>\n\
        \t<key>ProcessType</key>\n\t<string>Background</string>\n\
        \t<key>Umask</key>\n\t<integer>63</integer>\n\
        \t<key>StandardOutPath</key>\n\t{log}\n\t<key>StandardErrorPath</key>\n\t{log}\n\
        </dict>\n</plist>\n",
        label = string(&label(&kept.name)),
        log = string(&kept.log),
    )
}

/// Escapes a text for XML, which has no way to write most control characters.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push_str(&format!("&#{};", u32::from(c))),
            '\0'..='\x1f' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

pub(super) fn up(user: u32, kept: &Kept, written: &Written) -> Vec<Action> {
    let service = service(user, &kept.name);
    let start = Action::new("launchctl", ["kickstart", &service]);
    if written.is_loaded {
        return vec![start];
    }
    let file = written.file.display().to_string();
    let enable = Action::new("launchctl", ["enable", &service]);
    let load = Action::new("launchctl", ["bootstrap", &domain(user), &file]);
    vec![enable, load, start]
}

pub(super) fn stop(user: u32, name: &str) -> Vec<Action> {
    vec![Action::new("launchctl", ["bootout", &service(user, name)]).that_may_fail()]
}

pub(super) fn restart(user: u32, name: &str) -> Vec<Action> {
    vec![Action::new("launchctl", ["kickstart", "-k", &service(user, name)])]
}

pub(super) fn logs(log: &str, lines: u32, follow: bool) -> Action {
    let lines = lines.to_string();
    let mut action = Action::new("tail", ["-n", &lines]);
    action.arguments.extend(follow.then(|| "-F".to_owned()));
    action.arguments.push(log.to_owned());
    action
}

pub(super) fn query(user: u32, name: &str) -> Action {
    Action::new("launchctl", ["print", &service(user, name)])
}

/// Reads the lines `state = …`, `last exit code = …` and `pid = …`.
pub(super) fn seen(output: &str) -> Option<Seen> {
    let value =
        |key: &str| output.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(" = "));
    let state = value("state")?;
    let exit = value("last exit code").and_then(|code| code.split(':').next()?.trim().parse().ok());
    let phase = match (state, exit) {
        ("running", _) => Phase::Running,
        ("spawn scheduled", _) => Phase::Restarting,
        (_, Some(code)) if code != 0 => Phase::Restarting,
        _ => Phase::Stopped,
    };
    let exit = if phase == Phase::Running { None } else { exit };
    Some(Seen { phase, exit, autostart: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        Kept {
            name: "orders-db".into(),
            program: "/Applications/my <tools>/fumidai".into(),
            arguments: ["forward", "--supervisor", "launchd", "--config", "/Users/me/a&b.toml", "orders-db"]
                .map(str::to_owned)
                .to_vec(),
            environment: vec![("AWS_PROFILE".into(), "\"prod\"\n".into())],
            user: String::new(),
            log: "/Users/me/Library/Logs/fumidai/orders-db.log".into(),
            autostart: true,
        }
    }

    fn shown(actions: &[Action]) -> Vec<String> {
        let line = |action: &Action| format!("{} {}", action.program, action.arguments.join(" "));
        actions.iter().map(line).collect()
    }

    #[test]
    fn the_property_list_is_the_expected_one() {
        assert_eq!(plist(&kept()), include_str!("expected/io.github.fumidai.forward.orders-db.plist"));
    }

    /// Python's standard library has a parser of property lists.
    #[test]
    fn a_parser_of_property_lists_reads_what_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.plist");
        std::fs::write(&file, plist(&kept())).expect("a file");
        let program = "import json, plistlib, sys; print(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
        let output = std::process::Command::new("python3").args(["-c", program]).arg(&file).output();
        let read: serde_json::Value =
            serde_json::from_slice(&output.expect("python3").stdout).expect("a property list");
        let kept = kept();
        let words: Vec<&String> = [&kept.program].into_iter().chain(&kept.arguments).collect();
        assert_eq!(read["ProgramArguments"], serde_json::json!(words));
        assert_eq!(read["EnvironmentVariables"]["AWS_PROFILE"], kept.environment[0].1);
        assert_eq!(read["KeepAlive"]["SuccessfulExit"], false);
        assert_eq!(read["Label"], "io.github.fumidai.forward.orders-db");
    }

    #[test]
    fn an_agent_that_runs_as_written_is_not_loaded_again() {
        let written = |is_loaded| Written { file: "/f.plist".into(), is_loaded };
        let start = "launchctl kickstart gui/501/io.github.fumidai.forward.orders-db";
        assert_eq!(shown(&up(501, &kept(), &written(true))), [start]);
        let all = [
            "launchctl enable gui/501/io.github.fumidai.forward.orders-db",
            "launchctl bootstrap gui/501 /f.plist",
            start,
        ];
        assert_eq!(shown(&up(501, &kept(), &written(false))), all);
    }

    #[test]
    fn what_launchd_prints_has_a_phase() {
        let shown = |state: &str, code: &str| {
            seen(&format!("gui/501/x = {{\n\tstate = {state}\n\tlast exit code = {code}\n}}"))
        };
        let is = |phase, exit| Some(Seen { phase, exit, autostart: None });
        assert_eq!(shown("running", "(never exited)"), is(Phase::Running, None));
        assert_eq!(shown("not running", "0"), is(Phase::Stopped, Some(0)));
        assert_eq!(shown("not running", "10: EX"), is(Phase::Restarting, Some(10)));
        assert_eq!(shown("spawn scheduled", "1"), is(Phase::Restarting, Some(1)));
        assert_eq!(seen("Could not find service"), None);
    }
}
