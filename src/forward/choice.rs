//! Which session of a pool a new connection takes.

use crate::session::SessionStatus;

/// Sessions that carry one connection each are opened up to this number.
const MOST_SINGLES: usize = 8;

/// Where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// To the session at this place.
    Existing(usize),
    New,
}

/// Chooses among the sessions that take connections. They are spread over `sessions`; one more is opened if all of these
/// make no progress.
pub(super) fn choose(open: &[(usize, SessionStatus)], sessions: usize) -> Choice {
    let able = open.iter().filter(|(_, status)| !status.is_stalled && !status.is_full);
    // A session whose link is down comes last.
    let least = able.min_by_key(|(_, status)| (status.was_up && !status.is_up, status.live));
    let carries_one = open.iter().any(|(_, status)| status.is_full);
    let (enough, most) = if carries_one { (MOST_SINGLES, MOST_SINGLES) } else { (sessions, sessions + 1) };
    match least {
        Some((place, status)) if status.live == 0 || open.len() >= enough => Choice::Existing(*place),
        Some(_) => Choice::New,
        None if open.len() < most => Choice::New,
        None => {
            let least = open.iter().min_by_key(|(_, status)| status.live);
            least.map_or(Choice::New, |(place, _)| Choice::Existing(*place))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(live: usize) -> SessionStatus {
        SessionStatus { is_up: true, was_up: true, live, ..SessionStatus::default() }
    }

    fn choice(sessions: &[SessionStatus], spread: usize) -> Choice {
        let placed: Vec<(usize, SessionStatus)> = sessions.iter().copied().enumerate().collect();
        choose(&placed, spread)
    }

    #[test]
    fn connections_are_spread_and_an_unused_session_is_taken_first() {
        assert_eq!(choice(&[], 1), Choice::New);
        assert_eq!(choice(&[up(5)], 1), Choice::Existing(0));
        assert_eq!(choice(&[up(5)], 2), Choice::New);
        assert_eq!(choice(&[up(5), up(0)], 4), Choice::Existing(1));
        assert_eq!(choice(&[up(5), up(4)], 2), Choice::Existing(1));
    }

    #[test]
    fn a_session_whose_link_is_down_comes_last() {
        let down = SessionStatus { is_up: false, ..up(0) };
        assert_eq!(choice(&[down, up(9)], 2), Choice::Existing(1));
        assert_eq!(choice(&[down], 1), Choice::Existing(0));
    }

    #[test]
    fn one_more_session_is_opened_beside_those_without_progress() {
        let stalled = |live| SessionStatus { is_stalled: true, ..up(live) };
        assert_eq!(choice(&[stalled(1)], 1), Choice::New);
        assert_eq!(choice(&[stalled(3), stalled(2)], 1), Choice::Existing(1));
    }

    #[test]
    fn sessions_of_one_connection_each_are_opened_up_to_eight() {
        let full = SessionStatus { is_full: true, ..up(1) };
        assert_eq!(choice(&[full; 7], 1), Choice::New);
        assert_eq!(choice(&[full; 8], 1), Choice::Existing(0));
    }
}
