//! The signals that the parent had us ignore, as `nohup` does with SIGHUP and a shell with SIGINT of a background job.

/// A set of signals.
pub(super) struct Ignored(u64);

impl Ignored {
    /// Reads the set of this process, before it handles signals itself. Only Linux tells it without `unsafe`; elsewhere the
    /// set is empty.
    pub fn inherited() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    /// Parses the line `SigIgn` of proc_pid_status(5): a mask in hex digits, signal 1 in the lowest bit.
    fn parse(status: &str) -> Self {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        Self(mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default())
    }

    /// Returns true if the signal is ignored.
    pub fn has(&self, number: u8) -> bool {
        number > 0 && self.0.checked_shr(u32::from(number) - 1).is_some_and(|mask| mask & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_linux_is_read() {
        let ignored = Ignored::parse("Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001003\n");
        let found: Vec<u8> = (0..=255).filter(|number| ignored.has(*number)).collect();
        assert_eq!(found, [1, 2, 13]);
        for status in ["", "SigIgn:", "SigIgn:\tx"] {
            assert!(!(0..=255).any(|number| Ignored::parse(status).has(number)), "{status}");
        }
    }
}
