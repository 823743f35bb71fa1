//! The end of a session that the service has closed: what its close message means, and how long to wait after it.

use std::time::{Duration, Instant};

use super::{EarlyEnd, Outcome, SessionError};

/// The close message may overtake the last data: read for so long after the last message.
const GRACE: Duration = Duration::from_millis(150);
/// If data is known to be missing, it gets this long.
const GAP_GRACE: Duration = Duration::from_secs(2);

/// A session that the service has closed, while what is under way still arrives.
#[derive(Debug)]
pub(super) struct Closing {
    output: String,
    /// A probe of this size was unanswered while bulk data was waiting.
    suspected_size: Option<usize>,
    since: Instant,
    heard: Instant,
    /// The websocket is lost too: nothing more can arrive.
    link_lost: bool,
}

/// What was going on when the session was closed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Circumstances {
    /// The handshake was complete.
    pub connected: bool,
    /// The port has sent something.
    pub port_answered: bool,
    /// Data behind a missing message is waiting.
    pub gap: bool,
}

impl Closing {
    pub(super) fn new(now: Instant, output: String, suspected_size: Option<usize>) -> Self {
        Self { output, suspected_size, since: now, heard: now, link_lost: false }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    pub(super) fn link_lost(&mut self) {
        self.link_lost = true;
    }

    /// When nothing more is to be expected.
    pub(super) fn deadline(&self, gap: bool) -> Instant {
        match (self.link_lost, gap) {
            (true, _) => self.since,
            (false, true) => self.since + GAP_GRACE,
            (false, false) => (self.heard + GRACE).min(self.since + GAP_GRACE),
        }
    }

    /// What the end means. Refused ports have several texts: the plugin's own, those of a host that the agent may not dial or
    /// does not know, and, since a real agent's worker may die of the failed dial, what its parent reports a minute later.
    pub(super) fn verdict(&self, was: Circumstances) -> Result<Outcome, SessionError> {
        let text = self.output.trim().to_owned();
        let died =
            text.contains("document process failed unexpectedly") && was.connected && !was.port_answered;
        let forbidden = text.contains("Forwarding to IP address") && text.contains("forbidden");
        let unknown = text.contains("no such host");
        if died || forbidden || unknown || text.contains("Unable to connect to specified port") {
            return Err(SessionError::RemotePort(text));
        }
        let ended = |reason| SessionError::Ended { reason, suspected_size: self.suspected_size };
        if !text.is_empty() {
            return Err(ended(EarlyEnd::Message(text)));
        }
        if !was.connected {
            return Err(ended(EarlyEnd::BeforeData));
        }
        if was.gap {
            return Err(ended(EarlyEnd::Incomplete));
        }
        if self.suspected_size.is_some() {
            return Err(ended(EarlyEnd::MidTransfer));
        }
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::start;

    const OPEN: Circumstances = Circumstances { connected: true, port_answered: true, gap: false };

    fn verdict(output: &str, was: Circumstances) -> Result<Outcome, SessionError> {
        Closing::new(start().instant, output.to_owned(), None).verdict(was)
    }

    #[test]
    fn an_empty_close_message_after_the_handshake_is_a_normal_end() {
        assert!(matches!(verdict("", OPEN), Ok(Outcome::Done)));
    }

    #[test]
    fn an_empty_close_message_does_not_excuse_missing_data() {
        for was in [Circumstances { connected: false, ..OPEN }, Circumstances { gap: true, ..OPEN }] {
            assert!(matches!(verdict("", was), Err(SessionError::Ended { .. })), "{was:?}");
        }
        let suspected = Closing::new(start().instant, String::new(), Some(4096)).verdict(OPEN);
        assert!(matches!(suspected, Err(SessionError::Ended { suspected_size: Some(4096), .. })));
    }

    #[test]
    fn the_texts_of_a_refused_port_are_known() {
        let silent = Circumstances { port_answered: false, ..OPEN };
        let worker =
            "document process failed unexpectedly: ipc messaging received timeout signal , check log";
        for text in [
            "Unable to connect to specified port: dial tcp 127.0.0.1:2: connect: connection refused",
            "Forwarding to IP address 169.254.169.254 is forbidden.",
            "lookup nosuch.invalid on 10.0.0.2:53: no such host",
            worker,
        ] {
            assert!(matches!(verdict(text, silent), Err(SessionError::RemotePort(_))), "{text}");
        }
        assert!(
            matches!(verdict(worker, OPEN), Err(SessionError::Ended { .. })),
            "a port that answered was open"
        );
    }

    #[test]
    fn any_other_close_message_is_an_early_end() {
        let text = "Your session timed out due to inactivity and has been terminated.";
        assert!(
            matches!(verdict(text, OPEN), Err(SessionError::Ended { reason, .. }) if reason == EarlyEnd::Message(text.to_owned()))
        );
    }

    #[test]
    fn what_the_close_message_overtook_is_waited_for() {
        let now = start().instant;
        let mut closing = Closing::new(now, String::new(), None);
        assert_eq!(closing.deadline(false), now + GRACE);
        assert_eq!(closing.deadline(true), now + GAP_GRACE);
        closing.heard(now + GRACE);
        assert_eq!(closing.deadline(false), now + GRACE * 2);
        closing.heard(now + GAP_GRACE);
        assert_eq!(closing.deadline(false), now + GAP_GRACE);
        closing.link_lost();
        assert_eq!(closing.deadline(true), now);
    }
}
