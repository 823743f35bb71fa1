//! Records on a real disk: appended by several at once, put aside, tampered with, full.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use super::entry::EventKind;
use super::rows::RowEnd;
use super::verify::Verified;
use super::*;

struct Folder {
    _temporary: tempfile::TempDir,
    path: PathBuf,
}

impl Folder {
    fn new() -> Self {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let path = temporary.path().join("fumidai");
        Self { path, _temporary: temporary }
    }

    fn store(&self) -> Store {
        Store::new(self.path.clone())
    }

    /// A record of so many lines.
    fn with_lines(lines: usize) -> Self {
        let folder = Self::new();
        (1..=lines).for_each(|number| folder.store().append(&entry(number)).expect("appended"));
        folder
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.store().file()).expect("a record");
        text.lines().map(str::to_owned).collect()
    }

    fn write(&self, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(self.store().file(), text).expect("written");
    }

    fn verify(&self) -> Result<Verified, Touched> {
        verify(&self.store().read().expect("read"))
    }

    fn touched(&self) -> (usize, Fault) {
        let touched = self.verify().expect_err("touched");
        (touched.line, touched.fault)
    }
}

fn entry(number: usize) -> Entry {
    Entry {
        time: stamp(std::time::UNIX_EPOCH),
        event: EventKind::Started,
        session: Some(format!("ann-{number}")),
        reason: Some("a \"quoted\" reason,\"hash\":\"".to_owned()),
        ..Entry::default()
    }
}

#[test]
fn a_record_that_nobody_touched_is_verified() {
    for lines in [0, 1, 2, 50] {
        let files = usize::from(lines > 0);
        let lines_found = u64::try_from(lines).expect("small");
        assert_eq!(Folder::with_lines(lines).verify(), Ok(Verified { lines: lines_found, files }));
    }
}

#[test]
fn every_change_of_a_byte_names_its_line() {
    let folder = Folder::with_lines(3);
    let original = fs::read(folder.store().file()).expect("a record");
    for at in 0..original.len() {
        let mut changed = original.clone();
        changed[at] ^= 1;
        fs::write(folder.store().file(), &changed).expect("written");
        let line = 1 + original[..at].iter().filter(|byte| **byte == b'\n').count();
        let (found, fault) = folder.touched();
        assert_eq!(found, line, "byte {at}: {fault}");
    }
}

#[test]
fn removed_lines_are_missed() {
    let missing = |first, last| Fault::Missing { first, last };
    for (removed, line, fault) in [
        (0..1, 1, missing(1, 1)),
        (1..2, 2, missing(2, 2)),
        (1..4, 2, missing(2, 4)),
        (4..5, 4, Fault::CutOff { first: 5, last: 5 }),
        (1..5, 1, Fault::CutOff { first: 2, last: 5 }),
        (0..5, 0, Fault::CutOff { first: 1, last: 5 }),
    ] {
        let folder = Folder::with_lines(5);
        let mut lines = folder.lines();
        lines.drain(removed.clone());
        folder.write(&lines);
        assert_eq!(folder.touched(), (line, fault), "{removed:?}");
    }
}

#[test]
fn a_line_that_was_removed_at_the_end_is_missed_after_the_next_one_too() {
    let folder = Folder::with_lines(3);
    folder.write(&folder.lines()[..2]);
    folder.store().append(&entry(4)).expect("appended");
    assert_eq!(folder.touched(), (3, Fault::Missing { first: 3, last: 3 }));
}

#[test]
fn lines_that_were_put_in_moved_or_sealed_again_are_found() {
    let folder = Folder::with_lines(4);
    let lines = folder.lines();
    let mut doubled = lines.clone();
    doubled.insert(2, lines[1].clone());
    folder.write(&doubled);
    assert_eq!(folder.touched(), (3, Fault::OutOfPlace { seq: 2, before: 2 }));
    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    folder.write(&swapped);
    assert_eq!(folder.touched(), (2, Fault::Missing { first: 2, last: 2 }));
    let mut foreign = lines.clone();
    foreign.insert(1, "not a line".to_owned());
    folder.write(&foreign);
    assert_eq!(folder.touched(), (2, Fault::NotALine));
    let mut sealed = lines.clone();
    sealed[1] = super::chain::Line::parse(&lines[0]).expect("a line").link.seal(&entry(99)).0;
    folder.write(&sealed);
    assert_eq!(folder.touched(), (2, Fault::Replaced));
    let mut last_sealed = lines.clone();
    last_sealed[3] = super::chain::Line::parse(&lines[2]).expect("a line").link.seal(&entry(99)).0;
    folder.write(&last_sealed);
    assert_eq!(folder.touched(), (4, Fault::OtherHead));
}

#[test]
fn a_missing_file_or_head_is_found() {
    let folder = Folder::with_lines(3);
    fs::remove_file(folder.path.join("audit.head")).expect("removed");
    assert_eq!(folder.touched(), (3, Fault::OtherHead));
    let folder = Folder::with_lines(3);
    fs::remove_file(folder.store().file()).expect("removed");
    assert_eq!(folder.touched(), (0, Fault::CutOff { first: 1, last: 3 }));
}

#[test]
fn a_file_that_is_put_aside_keeps_the_chain() {
    let folder = Folder::new();
    let store = folder.store().rotating_at(1000);
    (1..=20).for_each(|number| store.append(&entry(number)).expect("appended"));
    let verified = folder.verify().expect("not touched");
    assert_eq!(verified.lines, 20);
    assert!(verified.files > 3, "{verified:?}");
    let contents = folder.store().read().expect("read");
    let sessions: Vec<String> = contents.entries().filter_map(|entry| entry.session).collect();
    assert_eq!(sessions, (1..=20).map(|number| format!("ann-{number}")).collect::<Vec<_>>());
    let (second, _) = &contents.files[1];
    fs::remove_file(second).expect("removed");
    let touched = folder.verify().expect_err("a file is missing");
    assert!(matches!(touched.fault, Fault::Missing { .. }), "{touched:?}");
    assert_eq!(touched.file, contents.files[2].0);
}

#[test]
fn a_file_that_was_put_aside_before_is_not_overwritten() {
    let folder = Folder::new();
    let store = folder.store().rotating_at(1);
    for number in 1..=12 {
        // Each pair begins a new record; the second line puts the first one aside.
        (0..2).for_each(|line| store.append(&entry(number * 10 + line)).expect("appended"));
        fs::remove_file(store.file()).expect("removed");
        fs::remove_file(folder.path.join("audit.head")).expect("removed");
    }
    let contents = store.read().expect("read");
    let sessions: Vec<String> = contents.entries().filter_map(|entry| entry.session).collect();
    assert_eq!(sessions, (1..=12).map(|number| format!("ann-{}", number * 10)).collect::<Vec<_>>());
    let touched = folder.verify().expect_err("there are several records");
    assert_eq!(touched.fault, Fault::OutOfPlace { seq: 1, before: 1 });
    assert_eq!(touched.file, folder.path.join("audit-000000000001-2.jsonl"));
}

#[test]
fn a_byte_that_is_no_text_does_not_stop_the_record() {
    let folder = Folder::with_lines(2);
    for name in ["audit.jsonl", "audit.head"] {
        let path = folder.path.join(name);
        let mut bytes = fs::read(&path).expect("a file");
        bytes[20] = 0xff;
        fs::write(&path, bytes).expect("written");
    }
    folder.store().rotating_at(1).append(&entry(3)).expect("appended");
    assert_eq!(folder.store().read().expect("read").files.len(), 2);
    assert_eq!(folder.touched().0, 1);
}

#[test]
fn a_line_of_an_earlier_version_is_verified() {
    let (line, _) = super::chain::Link::root().seal(&entry(1));
    assert!(!line.contains("machine"), "{line}");
    assert!(super::chain::Line::parse(&line).expect("a line").is_intact);
}

#[test]
fn several_append_at_once() {
    let folder = Folder::new();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let store = folder.store().rotating_at(4000);
            scope.spawn(move || {
                (0..50).for_each(|number| store.append(&entry(writer * 100 + number)).expect("appended"));
            });
        }
    });
    assert_eq!(folder.verify().expect("not touched").lines, 200);
}

#[test]
fn a_line_that_was_cut_off_by_a_crash_is_removed_by_the_next_one() {
    let folder = Folder::with_lines(2);
    let mut text = fs::read_to_string(folder.store().file()).expect("a record");
    let third = folder.lines()[1].clone();
    text.push_str(&third[..third.len() / 2]);
    fs::write(folder.store().file(), text).expect("written");
    assert_eq!(folder.verify().map(|verified| verified.lines), Ok(2));
    folder.store().append(&entry(3)).expect("appended");
    assert_eq!(folder.verify().map(|verified| verified.lines), Ok(3));
}

#[cfg(unix)]
#[test]
fn files_are_the_users_alone() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::with_lines(1);
    let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode(&folder.store().file()), 0o600);
    assert_eq!(mode(&folder.path.join("audit.head")), 0o600);
    assert_eq!(mode(&folder.path), 0o700);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported_once_and_leaves_the_record_as_it_was() {
    let folder = Folder::new();
    fs::create_dir_all(&folder.path).expect("a folder");
    std::os::unix::fs::symlink("/dev/full", folder.store().file()).expect("a link");
    let (failures, reported) = channel();
    let on_failure =
        Box::new(move |error: &StoreError| failures.send(error.to_string()).expect("the test waits"));
    let recorder = Recorder::start(folder.store(), on_failure);
    (1..=3).for_each(|number| recorder.record(entry(number)));
    let reports: Vec<String> = reported.iter().collect();
    assert!(recorder.finish());
    assert!(matches!(&reports[..], [one] if one.contains("No space left")), "{reports:?}");
    fs::remove_file(folder.store().file()).expect("removed");
    folder.store().append(&entry(4)).expect("the disk has room again");
    assert_eq!(folder.verify().map(|verified| verified.lines), Ok(1));
}

#[test]
fn a_session_is_one_row() {
    let pid = std::process::id();
    let at = |seconds| stamp(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
    let start = |session: &str, pid| Entry {
        time: at(10),
        event: EventKind::Started,
        session: Some(session.to_owned()),
        pid,
        machine: super::process::Machine::here().cloned(),
        ..Entry::default()
    };
    let end = Entry {
        time: at(15),
        event: EventKind::Ended,
        session: Some("ann-b-1".to_owned()),
        sent: Some(7),
        end: Some("done".to_owned()),
        ..Entry::default()
    };
    let unnamed = Entry { machine: None, ..start("old-4", 0) };
    let lines = [start("ann-b-1", pid), start("bob-2", pid), start("eve-3", 0), unnamed, end];
    let found = rows(lines.into_iter());
    let shown: Vec<_> =
        found.iter().map(|row| (row.person(), row.state, row.seconds, row.start.sent)).collect();
    assert_eq!(
        shown,
        [
            ("ann-b", RowEnd::Done, Some(5), Some(7)),
            ("bob", RowEnd::Open, None, None),
            ("eve", RowEnd::Unknown, None, None),
            ("old", RowEnd::Elsewhere, None, None),
        ]
    );
    assert!(found[2].is_failure() && !found[0].is_failure());
}

#[test]
#[cfg(unix)]
fn a_pipe_in_the_place_of_a_file_holds_nothing_up() {
    for name in ["audit.jsonl", "audit.head"] {
        let folder = Folder::new();
        fs::create_dir_all(&folder.path).expect("its folder");
        let made = std::process::Command::new("mkfifo").arg(folder.path.join(name)).status().expect("mkfifo");
        assert!(made.success());
        // Either is fine: it is empty, or an error.
        let _ = folder.store().read();
        let _ = folder.store().append(&entry(1));
    }
}
