//! The last failures of the log file that are about the subject.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::private_file;

use super::finding::{Component, Finding, Outcome};

/// How much of the end of the file is read.
const TAIL: u64 = 256 << 10;
/// How many failures are shown.
const MOST: usize = 3;

/// Reads the end of the log file.
pub(super) fn check(file: Option<&Path>, word: &str) -> Vec<Finding> {
    let Some(file) = file else { return Vec::new() };
    let name = file.display().to_string();
    match tail(file) {
        Ok(text) => failures(&text, word)
            .into_iter()
            .map(|failure| Finding::new(Component::Log, name.as_str(), Outcome::Noted(failure)))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => vec![Finding::new(Component::Log, name, Outcome::Unknown(error.to_string()))],
    }
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = private_file::open_to_read(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the last failures, the earliest first. A line is `TIME PID LEVEL TARGET: TEXT exit=N subject="WORD"`.
fn failures(text: &str, word: &str) -> Vec<String> {
    let about = format!(" subject={word:?}");
    let failure = |line: &str| {
        let (head, text) = line.strip_suffix(&about)?.split_once(" ERROR ")?;
        let time = head.split(' ').next()?;
        let (_, cause) = text.split_once(": ")?;
        let (cause, _) = cause.rsplit_once(" exit=")?;
        Some(format!("{time} {cause}"))
    };
    let mut last: Vec<String> = text.lines().rev().filter_map(failure).take(MOST).collect();
    last.reverse();
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_three_failures_of_the_subject_are_found() {
        let line = |number: u32, level: &str, word: &str| {
            format!(
                "2026-11-28T10:00:0{number}Z 77 {level} fumidai::cli::report: cause {number} exit=14 subject={word:?}\n"
            )
        };
        let text: String = (1..6).map(|number| line(number, "ERROR", "web")).collect();
        let text = text + &line(6, "ERROR", "db") + &line(7, " INFO", "web") + "a line that was cut";
        let causes = [3, 4, 5].map(|number| format!("2026-11-28T10:00:0{number}Z cause {number}"));
        assert_eq!(failures(&text, "web"), causes);
        assert_eq!(failures(&text, "app"), [""; 0]);
    }

    #[cfg(unix)]
    #[test]
    fn a_named_pipe_in_the_place_of_the_log_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("fumidai.log");
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
        assert!(made.success());
        let found = check(Some(&path), "web");
        assert!(matches!(&found[..], [Finding { outcome: Outcome::Unknown(_), .. }]), "{found:?}");
    }
}
