//! From what the user typed to a target, for every command that opens a session.

use std::time::Duration;

use crate::aws::{Access, Aws};
use crate::clock;
use crate::config::Config;
use crate::names::lookup::{self, LookupError};
use crate::names::{Destination, Name, Target};

use super::answer_cache::AnswerCache;
use super::report::{ExitKind, Report};

/// Finds what is meant, asking AWS afresh unless it is an id; one that is stopped is a failure.
pub(super) async fn locate(
    aws: &Aws,
    config: &Config,
    destination: &Destination,
    within: Duration,
) -> Result<Target, Report> {
    if let Name::Id(target) = destination.name() {
        return Ok(target.clone());
    }
    in_time(aws, within, look_up(aws, config, destination)).await
}

/// Asks AWS what a name means, whatever is known; one that is stopped is found too.
pub(super) async fn find(
    aws: &Aws,
    access: &Access,
    destination: &Destination,
    within: Duration,
) -> Result<Target, Report> {
    let found = async {
        let found = lookup::find(access, destination.name()).await;
        found.map_err(|error: LookupError| Report::of_lookup(&error, access.region()))
    };
    in_time(aws, within, found).await
}

async fn in_time(
    aws: &Aws,
    within: Duration,
    search: impl Future<Output = Result<Target, Report>>,
) -> Result<Target, Report> {
    let deadline = clock::now() + within;
    tokio::select! {
        found = search => found,
        () = aws.human().passed(deadline) => {
            let cause = format!("timed out after {} s in step `looking up the name`", within.as_secs());
            let hint =
                "check the network, `HTTPS_PROXY` and the endpoint settings; an id needs no looking up";
            Err(Report::new(ExitKind::TimedOut, cause).hint(hint))
        }
    }
}

async fn look_up(aws: &Aws, config: &Config, destination: &Destination) -> Result<Target, Report> {
    let access = aws.access().await.map_err(|error| Report::of_api(&error, None))?;
    let cache = AnswerCache::new(config, access.region(), access.access_key_id());
    let name = destination.name().to_string();
    if let Some(target) = cache.as_ref().and_then(|cache| known(cache, &name)) {
        return Ok(target);
    }
    let found = lookup::find(&access, destination.name()).await;
    let target = found.map_err(|error: LookupError| Report::of_lookup(&error, access.region()))?;
    tracing::debug!(id = target.id(), "the name is known");
    if target.is_stopped() {
        return Err(Report::of_stopped(destination, &target, access.region()));
    }
    if let Some(cache) = cache {
        cache.store(clock::wall(), &name, target.id());
    }
    Ok(target)
}

/// What the name meant before, where the host asks for that.
fn known(cache: &AnswerCache, name: &str) -> Option<Target> {
    let destination: Destination = cache.load(clock::wall(), name)?.parse().ok()?;
    let Name::Id(target) = destination.name() else { return None };
    Some(target.clone())
}
