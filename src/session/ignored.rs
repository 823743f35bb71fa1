//! The signals that the parent had us ignore, as `nohup` does with SIGHUP and a shell with SIGINT of a background job.

use std::process::{Command, Stdio};

/// What a shell is asked where the kernel's table cannot be read: a signal that was ignored when the shell started cannot be
/// trapped (POSIX, `trap`), and does not end it. It prints the numbers of these.
const QUESTION: &str =
    "for n in 1 2 3 15; do i=y; trap i=n $n; kill -$n $$; if [ $i = y ]; then echo $n; fi; done";

/// A set of signals.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ignored(u64);

impl Ignored {
    /// Reads the set of this process, before it handles signals itself. Linux tells it in a file. Elsewhere only an `unsafe`
    /// call does (sigaction(2)), and a child is asked, which inherits the set.
    pub fn inherited() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self::parse(&status).unwrap_or_else(|| Self::of_child(&mut Command::new("/bin/sh")))
    }

    /// Parses the line `SigIgn` of proc_pid_status(5): a mask in hex digits, signal 1 in the lowest bit.
    fn parse(status: &str) -> Option<Self> {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(mask.trim(), 16).ok().map(Self)
    }

    /// Asks a shell. Without an answer the set is empty.
    fn of_child(shell: &mut Command) -> Self {
        let shell = shell.args(["-c", QUESTION]).env_clear().stdin(Stdio::null()).stderr(Stdio::null());
        let answer = shell.output().map(|output| output.stdout).unwrap_or_default();
        let numbers = String::from_utf8_lossy(&answer);
        let bits = numbers.lines().filter_map(|line| line.parse().ok()).filter_map(bit);
        Self(bits.fold(0, |set, bit| set | bit))
    }

    /// Returns true if the signal is ignored.
    pub fn has(&self, number: u8) -> bool {
        bit(number).is_some_and(|bit| self.0 & bit != 0)
    }
}

fn bit(number: u8) -> Option<u64> {
    1_u64.checked_shl(u32::from(number).checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_linux_is_read() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001003\n";
        let ignored = Ignored::parse(status).unwrap();
        let found: Vec<u8> = (0..=255).filter(|number| ignored.has(*number)).collect();
        assert_eq!(found, [1, 2, 13]);
        for status in ["", "SigIgn:", "SigIgn:\tx"] {
            assert_eq!(Ignored::parse(status), None, "{status}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_shell_tells_which_signals_it_was_started_to_ignore() {
        for (ignored, mask) in [("", 0), ("1", 1), ("1 2 3", 7), ("15", 1 << 14)] {
            let line = format!("for n in {ignored}; do trap '' $n; done; exec /bin/sh \"$@\"");
            let mut shell = Command::new("/bin/sh");
            assert_eq!(Ignored::of_child(shell.args(["-c", &line, "sh"])), Ignored(mask), "{ignored:?}");
        }
        assert_eq!(Ignored::of_child(&mut Command::new("/nonexistent/sh")), Ignored(0));
    }
}
