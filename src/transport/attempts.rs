//! Connections to a host with several addresses: each attempt begins a little after the last one, and the first that
//! succeeds is used (Happy Eyeballs, RFC 8305). So an address that does not answer costs a quarter of a second.

use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;

/// The time for an attempt alone, before the next one begins beside it (RFC 8305, section 5).
const DELAY: Duration = Duration::from_millis(250);

/// Orders addresses so that the families alternate, the family of the first one in front (RFC 8305, section 4).
pub(super) fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let starts_with_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == starts_with_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::new();
    loop {
        let pair = (first.next(), second.next());
        if pair == (None, None) {
            return ordered;
        }
        ordered.extend(pair.0);
        ordered.extend(pair.1);
    }
}

/// Returns the result of the first attempt that succeeds, else the first error; `None` if there is no attempt.
pub(super) async fn first<T, E, F>(attempts: impl IntoIterator<Item = F>) -> Option<Result<T, E>>
where
    F: Future<Output = Result<T, E>>,
{
    let (mut attempts, mut running) = (attempts.into_iter(), FuturesUnordered::new());
    let mut first_error = None;
    loop {
        let next = attempts.next();
        let has_next = next.is_some();
        running.extend(next);
        if running.is_empty() {
            return first_error.map(Err);
        }
        tokio::select! {
            Some(result) = running.next() => match result {
                Ok(opened) => return Some(Ok(opened)),
                Err(error) => first_error = first_error.or(Some(error)),
            },
            () = delay(has_next) => {}
        }
    }
}

async fn delay(has_next: bool) {
    if has_next {
        sleep(DELAY).await;
    } else {
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// Ends so many milliseconds after its start; `None` never does.
    async fn attempt(name: &str, end: Option<(u64, bool)>) -> Result<&str, &str> {
        let Some((after, succeeds)) = end else { return pending().await };
        sleep(Duration::from_millis(after)).await;
        if succeeds { Ok(name) } else { Err(name) }
    }

    /// Returns the result, and the milliseconds that it took.
    #[expect(clippy::disallowed_methods, reason = "the clock of the tests is paused")]
    async fn outcome(
        ends: &[(&'static str, Option<(u64, bool)>)],
    ) -> (Option<Result<&'static str, &'static str>>, u128) {
        let begun = Instant::now();
        let result = first(ends.iter().map(|(name, end)| attempt(name, *end))).await;
        (result, begun.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_does_not_answer_costs_a_quarter_of_a_second() {
        for (ends, expected) in [
            (&[("a", Some((40, true))), ("b", Some((0, true)))][..], (Some(Ok("a")), 40)),
            (&[("dead", None), ("b", Some((5, true)))], (Some(Ok("b")), 255)),
            (&[("dead", None), ("dead", None), ("c", Some((5, true)))], (Some(Ok("c")), 505)),
            // A slow address is not given up when the next one begins.
            (&[("slow", Some((300, true))), ("dead", None)], (Some(Ok("slow")), 300)),
        ] {
            assert_eq!(outcome(ends).await, expected, "{ends:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_costs_nothing_and_the_first_error_is_returned() {
        let (refused, works) = (Some((1, false)), Some((1, true)));
        assert_eq!(outcome(&[("a", refused), ("b", works)]).await, (Some(Ok("b")), 2));
        assert_eq!(outcome(&[("a", refused), ("b", refused)]).await, (Some(Err("a")), 2));
        assert_eq!(outcome(&[]).await, (None, 0));
    }

    #[test]
    fn the_families_alternate() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        for (given, ordered) in [
            (
                &["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1"][..],
                &["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"][..],
            ),
            (&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"], &["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]),
            (&[], &[]),
        ] {
            let given = given.iter().map(|text| address(text)).collect();
            assert_eq!(alternate(given), ordered.iter().map(|text| address(text)).collect::<Vec<_>>());
        }
    }
}
