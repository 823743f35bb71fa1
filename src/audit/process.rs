//! Whether the process that wrote a line still runs.

/// Returns true if a process with that number lives and began at that time.
pub fn is_living(pid: u32, began: Option<u64>) -> bool {
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
