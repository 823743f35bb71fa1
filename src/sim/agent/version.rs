//! The agent's comparison of versions, by which it selects the features of a session.

use std::cmp::Ordering;

/// The first client version that an agent multiplexes for.
pub const FIRST_MULTIPLEXING_CLIENT: &str = "1.1.70";
/// The last client version to which an agent sends smux keep-alives.
pub const LAST_CLIENT_KEPT_ALIVE: &str = "1.2.331.0";
/// The last agent without smux.
pub const LAST_AGENT_WITHOUT_SMUX: &str = "3.0.196.0";
/// The first agent that forwards to another host.
pub const FIRST_REMOTE_HOST: &str = "3.1.1188.0";
/// The first agent that looks a host up once, at the start of the session.
pub const FIRST_RESOLVING_ONCE: &str = "3.2.1041.0";
/// The first agent that refuses to forward to loopback as a remote host.
pub const FIRST_REFUSING_LOOPBACK: &str = "3.3.4851.0";

/// Compares versions as the agent does: three-part versions by semantic versioning, others part by part, as numbers or
/// as text. A version that is a prefix of the other is lower.
pub fn compare(this: &str, other: &str) -> Ordering {
    match (semantic(this), semantic(other)) {
        (Some(this), Some(other)) => this.cmp(&other),
        _ => by_parts(this, other),
    }
}

fn by_parts(this: &str, other: &str) -> Ordering {
    let (these, others): (Vec<_>, Vec<_>) = (this.split('.').collect(), other.split('.').collect());
    let differing = these.iter().zip(&others).map(|(a, b)| part(a, b)).find(|order| order.is_ne());
    differing.unwrap_or_else(|| these.len().cmp(&others.len()))
}

fn part(this: &str, other: &str) -> Ordering {
    match (this.parse::<i64>(), other.parse::<i64>()) {
        (Ok(this), Ok(other)) => this.cmp(&other),
        _ => this.cmp(other),
    }
}

/// Returns the three numbers and whether it is a release, which is higher than its pre-releases.
fn semantic(version: &str) -> Option<(u64, u64, u64, bool)> {
    let version = version.split('+').next()?;
    let (core, release) = version.split_once('-').map_or((version, true), |(core, _)| (core, false));
    let mut numbers = core.split('.').map(|part| part.parse().ok());
    let parsed = (numbers.next()??, numbers.next()??, numbers.next()??, release);
    numbers.next().is_none().then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_compare_as_numbers_and_a_prefix_is_lower() {
        for (this, other, order) in [
            ("1.2.764.0", "1.1.70", Ordering::Greater),
            ("1.1.70", "1.1.70", Ordering::Equal),
            ("1.1.9", "1.1.70", Ordering::Less),
            ("1.1.70.0", "1.1.70", Ordering::Greater),
            ("0.0.1", "1.1.70", Ordering::Less),
            ("", "1.1.70", Ordering::Less),
            ("1.1.70-beta", "1.1.70", Ordering::Less),
            ("x.1", "1.1.70", Ordering::Greater),
        ] {
            assert_eq!(compare(this, other), order, "{this} against {other}");
        }
    }
}
