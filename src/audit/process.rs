//! Where the process that wrote a line runs, and whether it still does.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::hash::hash;

/// The machine of a process, and what its number counts in. Several machines and containers may share a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// A hash of the machine's id, on Linux: the id itself is not to be shown. Containers may share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its hostname.
    pub name: String,
    /// The id of its boot, on Linux.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// The namespace of its process numbers, on Linux: each container has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<String>,
}

/// The namespace outside containers. Others may have the same name after the next boot by chance.
const OUTSIDE: &str = "pid:[4026531836]";

impl Machine {
    /// Returns the machine of this process, if it is known.
    pub fn here() -> Option<&'static Self> {
        static HERE: LazyLock<Option<Machine>> = LazyLock::new(here);
        HERE.as_ref()
    }
}

#[cfg(target_os = "linux")]
fn here() -> Option<Machine> {
    let read = |path| Some(std::fs::read_to_string(path).ok()?.trim().to_owned());
    // Images have an empty file, or `uninitialized`.
    let id = read("/etc/machine-id").filter(|id| id.len() == 32);
    Some(Machine {
        id: id.map(|id| hash(&format!("fumidai {id}"))[..32].to_owned()),
        name: read("/proc/sys/kernel/hostname")?,
        boot: Some(read("/proc/sys/kernel/random/boot_id")?),
        pids: Some(std::fs::read_link("/proc/self/ns/pid").ok()?.to_str()?.to_owned()),
    })
}

#[cfg(all(unix, not(target_os = "linux")))]
fn here() -> Option<Machine> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    Some(Machine { name, ..Machine::default() })
}

/// Unknown here.
#[cfg(not(unix))]
fn here() -> Option<Machine> {
    None
}

/// What has become of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It runs on this machine.
    Living,
    /// It ran on this machine and is gone.
    Gone,
    /// It is of another machine or container, or that is not known: it may run there.
    Elsewhere,
}

/// Returns what has become of the process `pid` of the machine `there` that began at that time.
pub fn fate(pid: u32, began: Option<u64>, there: Option<&Machine>, here: Option<&Machine>) -> Fate {
    let (Some(there), Some(here)) = (there, here) else { return Fate::Elsewhere };
    if there.id != here.id || there.name != here.name || there.pids != here.pids {
        return Fate::Elsewhere;
    }
    if there.boot == here.boot {
        return if is_living(pid, began) { Fate::Living } else { Fate::Gone };
    }
    // No process outlives a boot, if it was this machine's: a container's name and namespace do not tell.
    let is_earlier_boot = here.id.is_some() && here.pids.as_deref() == Some(OUTSIDE);
    if is_earlier_boot { Fate::Gone } else { Fate::Elsewhere }
}

/// Returns true if a process with that number lives and began at that time.
fn is_living(pid: u32, began: Option<u64>) -> bool {
    exists(pid) && (began.is_none() || began == process_began(pid))
}

#[cfg(unix)]
fn exists(pid: u32) -> bool {
    use rustix::process::{Pid, test_kill_process};

    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Unknown here: nothing is taken for leaked.
#[cfg(not(unix))]
fn exists(_pid: u32) -> bool {
    true
}

/// Returns when a process began, in ticks since the start of the system.
#[cfg(target_os = "linux")]
pub fn process_began(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// Only Linux tells.
#[cfg(not(target_os = "linux"))]
pub fn process_began(_pid: u32) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        let text = |text: &str| Some(text.to_owned());
        Machine { id: text("m"), name: "ws".to_owned(), boot: text("b"), pids: text(OUTSIDE) }
    }

    fn judged(there: Option<&Machine>, here: &Machine) -> Fate {
        // No process has this number.
        fate(0, None, there, Some(here))
    }

    #[test]
    fn only_a_process_of_this_machine_is_gone() {
        let here = machine();
        let other = || Some("other".to_owned());
        assert_eq!(judged(Some(&here), &here), Fate::Gone);
        assert_eq!(fate(std::process::id(), None, Some(&here), Some(&here)), Fate::Living);
        let earlier = Machine { boot: other(), ..machine() };
        assert_eq!(judged(Some(&earlier), &here), Fate::Gone);
        assert_eq!(judged(None, &here), Fate::Elsewhere);
        assert_eq!(fate(0, None, Some(&here), None), Fate::Elsewhere);
        for boot in [machine().boot, other()] {
            for there in [
                Machine { id: other(), ..machine() },
                Machine { id: None, ..machine() },
                Machine { name: "other".to_owned(), ..machine() },
                Machine { pids: other(), ..machine() },
            ] {
                let there = Machine { boot: boot.clone(), ..there };
                assert_eq!(judged(Some(&there), &here), Fate::Elsewhere, "{there:?}");
            }
        }
    }

    #[test]
    fn another_boot_tells_nothing_of_a_container_or_without_an_id() {
        for here in [
            Machine { pids: Some("pid:[4026532200]".to_owned()), ..machine() },
            Machine { id: None, ..machine() },
        ] {
            let earlier = Machine { boot: Some("other".to_owned()), ..here.clone() };
            assert_eq!(judged(Some(&earlier), &here), Fate::Elsewhere);
            assert_eq!(judged(Some(&here), &here), Fate::Gone);
        }
    }

    #[test]
    #[cfg(unix)]
    fn this_machine_is_known() {
        let here = Machine::here();
        assert!(here.is_some_and(|here| !here.name.is_empty()), "{here:?}");
    }
}
