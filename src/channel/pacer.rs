//! A token bucket over messages, not bytes.
//!
//! A third party reports that the service punishes more than 1,000 messages a second; this is not verified. Urgent
//! messages (acknowledgements, flags) are sent at once and charged. Data and resends wait for a token, but ten a second
//! always pass, so that the acknowledgements of a full-rate download cannot stop an upload.

use std::time::{Duration, Instant};

/// The limit on messages a second.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Messages a second.
    pub rate: f64,
    /// Messages in a burst.
    pub depth: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { rate: 900.0, depth: 90.0 }
    }
}

/// Whether a message carries the largest payload that is allowed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Full,
    Partial,
}

/// Data passes at least this often, whatever was charged.
const GUARANTEED: Duration = Duration::from_millis(100);

/// The token bucket.
#[derive(Debug)]
pub(crate) struct Pacer {
    pace: Pace,
    tokens: f64,
    filled: Instant,
    last_data: Option<Instant>,
}

impl Pacer {
    pub(crate) fn new(now: Instant, pace: Pace) -> Self {
        Self { pace, tokens: pace.depth, filled: now, last_data: None }
    }

    /// Charges an urgent message, which does not wait.
    pub(crate) fn charge(&mut self, now: Instant) {
        self.fill(now);
        self.tokens = (self.tokens - 1.0).max(-self.pace.depth);
    }

    /// Takes a token for data, or returns when to try again. A partial message needs a bucket that is half full, so
    /// that it does not use the tokens of full messages when there are few.
    pub(crate) fn take(&mut self, now: Instant, load: Load) -> Result<(), Instant> {
        self.fill(now);
        let wanted = match load {
            Load::Full => 1.0,
            Load::Partial => (self.pace.depth / 2.0).max(1.0),
        };
        let guaranteed = self.last_data.map_or(now, |last| last + GUARANTEED);
        // Rounding may lose a millionth of a token; a wait for it could never end.
        if self.tokens < wanted - 1e-6 && now < guaranteed {
            let wait = Duration::from_secs_f64((wanted - self.tokens) / self.pace.rate);
            return Err((now + wait.max(Duration::from_micros(10))).min(guaranteed));
        }
        self.charge(now);
        self.last_data = Some(now);
        Ok(())
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.pace.rate).min(self.pace.depth);
        self.filled = self.filled.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::start;

    fn data_sent_in(pacer: &mut Pacer, from: Instant, acks_per_ms: usize, seconds: u64) -> usize {
        let mut sent = 0;
        for tick in 0..seconds * 1000 {
            let now = from + Duration::from_millis(tick);
            (0..acks_per_ms).for_each(|_| pacer.charge(now));
            while pacer.take(now, Load::Full).is_ok() {
                sent += 1;
            }
        }
        sent
    }

    #[test]
    fn data_leaves_at_the_rate_after_the_burst() {
        let now = start().instant;
        let sent = data_sent_in(&mut Pacer::new(now, Pace::default()), now, 0, 10);
        assert!((9_000..=9_095).contains(&sent), "{sent}");
    }

    #[test]
    fn a_partial_message_waits_only_if_tokens_are_few() {
        let now = start().instant;
        let mut pacer = Pacer::new(now, Pace::default());
        assert!(pacer.take(now, Load::Partial).is_ok());
        while pacer.take(now, Load::Full).is_ok() {}
        let at = pacer.take(now, Load::Partial).unwrap_err();
        assert!(
            at > now + Duration::from_millis(40) && at <= now + Duration::from_millis(51),
            "{:?}",
            at - now
        );
        assert!(pacer.take(at, Load::Partial).is_ok());
    }

    #[test]
    fn ten_messages_a_second_pass_however_many_acknowledgements() {
        let now = start().instant;
        let mut pacer = Pacer::new(now, Pace::default());
        let sent = data_sent_in(&mut pacer, now, 2, 10);
        assert!((95..=300).contains(&sent), "{sent}");
    }

    #[test]
    fn the_debt_of_acknowledgements_is_bounded() {
        let now = start().instant;
        let mut pacer = Pacer::new(now, Pace::default());
        (0..100_000).for_each(|_| pacer.charge(now));
        assert!(pacer.take(now, Load::Full).is_ok(), "the first data message always passes");
        let again = pacer.take(now, Load::Full).unwrap_err();
        assert!(again <= now + GUARANTEED);
        let mut later = now + Duration::from_millis(250);
        for _ in 0..10 {
            while let Err(next) = pacer.take(later, Load::Full) {
                later = next;
            }
        }
        assert!(later < now + Duration::from_millis(400));
    }
}
