//! Tasks of Windows' Task Scheduler, run at the user's login.
//!
//! A task has no environment of its own, so that PowerShell sets the variables.

use super::kept::{Action, Kept, MARK, Phase, Seen, Written};
use super::launchd::escaped;

/// The last result of a task that runs: `SCHED_S_TASK_RUNNING`.
const RUNNING: i64 = 0x0004_1301;
/// The last result of a task that was never run: `SCHED_S_TASK_HAS_NOT_RUN`.
const NEVER: i64 = 0x0004_1303;

fn task(name: &str) -> String {
    format!("\\fumidai\\{name}")
}

/// Returns the text of a task.
pub(super) fn xml(kept: &Kept) -> String {
    let triggers = if kept.autostart {
        "<Triggers>\n    <LogonTrigger>\n      <UserId>USER</UserId>\n    </LogonTrigger>\n  </Triggers>"
    } else {
        "<Triggers />"
    };
    let user = escaped(&kept.user);
    let triggers = triggers.replace("USER", &user);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-16\"?>\n<!-- {MARK} -->\n\
        <Task version=\"1.2\" xmlns=\"http://schemas.microsoft.com/windows/2004/02/mit/task\">\n\
        \x20 <RegistrationInfo>\n    <Description>Forward {name} through Session Manager</Description>\n  </RegistrationInfo>\n\
        \x20 {triggers}\n\
        \x20 <Principals>\n    <Principal id=\"Author\">\n      <UserId>{user}</UserId>\n      \
        <LogonType>InteractiveToken</LogonType>\n    </Principal>\n  </Principals>\n\
        \x20 <Settings>\n\
        \x20   <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>\n\
        \x20   <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>\n\
        \x20   <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>\n\
        \x20   <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>\n\
        \x20   <RestartOnFailure>\n      <Interval>PT1M</Interval>\n      <Count>255</Count>\n    </RestartOnFailure>\n\
        \x20 </Settings>\n\
        \x20 <Actions Context=\"Author\">\n    <Exec>\n      <Command>powershell.exe</Command>\n      <Arguments>{arguments}</Arguments>\n    \
        </Exec>\n  </Actions>\n</Task>\n",
        name = escaped(&kept.name),
        arguments = escaped(&arguments(kept)),
    )
}

/// Returns the arguments of PowerShell.
fn arguments(kept: &Kept) -> String {
    let variable = |(name, value): &(String, String)| format!("$env:{name}={}; ", quoted(value));
    let variables: String = kept.environment.iter().map(variable).collect();
    let words = [&kept.program].into_iter().chain(&kept.arguments).map(|word| quoted(word));
    let words: Vec<String> = words.collect();
    let script = format!("{variables}& {} *>> {}; exit $LASTEXITCODE", words.join(" "), quoted(&kept.log));
    // The rules of CommandLineToArgvW for what stands in quotes.
    format!("-NoProfile -NonInteractive -WindowStyle Hidden -Command \"{}\"", script.replace('"', "\\\""))
}

/// Quotes a word for PowerShell, which takes typographic quotes for the plain one.
fn quoted(word: &str) -> String {
    let is_quote = |c: char| c == '\'' || ('\u{2018}'..='\u{201b}').contains(&c);
    let doubled: String =
        word.chars().flat_map(|c| std::iter::repeat_n(c, 1 + usize::from(is_quote(c)))).collect();
    format!("'{doubled}'")
}

/// The Task Scheduler reads UTF-16 with a byte order mark.
pub(super) fn encode(text: &str) -> Vec<u8> {
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(contents: &[u8]) -> String {
    let units = contents.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).skip(1);
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn schtasks<const N: usize>(verb: &str, name: &str, more: [&str; N]) -> Action {
    let mut action = Action::new("schtasks", [verb, "/tn", &task(name)]);
    action.arguments.extend(more.map(str::to_owned));
    action
}

pub(super) fn pause(name: &str) -> Vec<Action> {
    vec![schtasks("/end", name, []).that_may_fail()]
}

pub(super) fn up(kept: &Kept, written: &Written) -> Vec<Action> {
    let file = written.file.display().to_string();
    vec![schtasks("/create", &kept.name, ["/xml", &file, "/f"]), schtasks("/run", &kept.name, [])]
}

pub(super) fn stop(name: &str) -> Vec<Action> {
    let actions = [schtasks("/end", name, []), schtasks("/delete", name, ["/f"])];
    actions.map(Action::that_may_fail).to_vec()
}

pub(super) fn restart(name: &str) -> Vec<Action> {
    vec![schtasks("/end", name, []).that_may_fail(), schtasks("/run", name, [])]
}

pub(super) fn logs(log: &str, lines: u32, follow: bool) -> Action {
    let wait = if follow { " -Wait" } else { "" };
    let script = format!("Get-Content -LiteralPath {} -Tail {lines}{wait}", quoted(log));
    Action::new("powershell", ["-NoProfile", "-Command", &script])
}

pub(super) fn query(name: &str) -> Action {
    schtasks("/query", name, ["/fo", "csv", "/v", "/nh"])
}

/// Reads the seventh column, the last result: the words of the others depend on the language.
pub(super) fn seen(output: &str) -> Option<Seen> {
    let line = output.lines().find(|line| line.starts_with('"'))?;
    let result: i64 = line.trim().trim_matches('"').split("\",\"").nth(6)?.parse().ok()?;
    let (phase, exit) = match result {
        RUNNING => (Phase::Running, None),
        NEVER => (Phase::Stopped, None),
        0 => (Phase::Stopped, Some(0)),
        code => (Phase::Failed, i32::try_from(code).ok()),
    };
    Some(Seen { phase, exit, autostart: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        Kept {
            name: "orders-db".into(),
            program: "C:\\Program Files\\fumidai.exe".into(),
            arguments: ["forward", "--config", "C:\\it's \"mine\".toml", "orders-db"]
                .map(str::to_owned)
                .to_vec(),
            environment: vec![("AWS_PROFILE".into(), "a&b".into())],
            user: "PC\\me".into(),
            log: "C:\\logs\\orders-db.log".into(),
            autostart: true,
        }
    }

    #[test]
    fn the_task_is_the_expected_one() {
        assert_eq!(xml(&kept()), include_str!("expected/orders-db.xml"));
        let now_only = xml(&Kept { autostart: false, ..kept() });
        assert!(now_only.contains("<Triggers />") && !now_only.contains("LogonTrigger"), "{now_only}");
    }

    #[test]
    fn a_task_is_read_as_it_was_written() {
        let contents = encode("<a>é</a>");
        assert_eq!((contents[..2].to_vec(), decode(&contents).as_str()), (vec![0xff, 0xfe], "<a>é</a>"));
    }

    #[test]
    fn the_last_result_is_the_phase_in_every_language() {
        let shown = |result: i64| {
            seen(&format!("\"PC\",\"\\fumidai\\x\",\"N/V\",\"Wird\",\"I\",\"1\",\"{result}\",\"x\"\r\n"))
        };
        let is = |phase, exit| Some(Seen { phase, exit, autostart: None });
        assert_eq!(shown(267_009), is(Phase::Running, None));
        assert_eq!(shown(267_011), is(Phase::Stopped, None));
        assert_eq!(shown(3), is(Phase::Failed, Some(3)));
        assert_eq!(shown(0), is(Phase::Stopped, Some(0)));
        assert_eq!(seen("ERROR: The system cannot find the file specified."), None);
    }
}
