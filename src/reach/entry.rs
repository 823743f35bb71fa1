//! From the entry of a route to the target that a session is opened to.

use std::time::Instant;

use crate::aws::{Access, Aws};
use crate::clock;
use crate::config::Config;
use crate::names::cache::ResolvedCache;
use crate::names::lookup;
use crate::names::{Destination, Name, Target};
use crate::route::Route;

use super::error::{ReachError, StoppedTarget};
use super::settings::cache_scope;

/// Finds the target of a route within `connect_timeout` from `began`. AWS is not asked for an id.
///
/// # Errors
/// The name cannot be resolved, or its instance is stopped.
pub async fn find_entry(aws: &Aws, route: &Route, began: Instant) -> Result<Target, ReachError> {
    find_target(aws, route, &route.entry, began).await
}

/// Finds the target that a destination of a route is, as [`find_entry`] does.
///
/// # Errors
/// The name cannot be resolved, or its instance is stopped.
pub(super) async fn find_target(
    aws: &Aws,
    route: &Route,
    destination: &Destination,
    began: Instant,
) -> Result<Target, ReachError> {
    if let Name::Id(target) = destination.name() {
        return Ok(target.clone());
    }
    in_time(aws, route, began, resolve(aws, &route.config, destination)).await
}

/// Finds the first machine of a route, stopped or not; a task has no target until it runs.
///
/// # Errors
/// The name cannot be resolved.
pub async fn find_machine(aws: &Aws, access: &Access, route: &Route) -> Result<Option<Target>, ReachError> {
    if route.machine(0).host().is_some_and(|host| host.task.is_some()) {
        return Ok(None);
    }
    match route.entry.name() {
        Name::Id(target) => Ok(Some(target.clone())),
        Name::Container(_) | Name::Tag { .. } | Name::Address(_) | Name::Dns(_) | Name::Named(_) => {
            inspect_entry(aws, access, route).await.map(Some)
        }
    }
}

/// Asks AWS what the entry of a route is, whatever the cache holds; a stopped instance is found too.
///
/// # Errors
/// The name cannot be resolved.
pub(super) async fn inspect_entry(aws: &Aws, access: &Access, route: &Route) -> Result<Target, ReachError> {
    let found = async {
        let found = lookup::find(access, route.entry.name()).await;
        found.map_err(|error| ReachError::Lookup { error, region: access.region().to_owned() })
    };
    in_time(aws, route, clock::now(), found).await
}

pub(super) async fn in_time(
    aws: &Aws,
    route: &Route,
    began: Instant,
    search: impl Future<Output = Result<Target, ReachError>>,
) -> Result<Target, ReachError> {
    let after = route.config.session.connect_timeout;
    tokio::select! {
        found = search => found,
        () = aws.human_time().wait_until(began, after) => Err(ReachError::LookupTimedOut { after }),
    }
}

async fn resolve(aws: &Aws, config: &Config, destination: &Destination) -> Result<Target, ReachError> {
    let access = aws.access().await?;
    let scope = cache_scope(config, access.region(), access.access_key_id());
    let cache = ResolvedCache::new(scope, config.name_life);
    let name = destination.name().to_string();
    if let Some(target) = cache.as_ref().and_then(|cache| cached(cache, &name)) {
        return Ok(target);
    }
    let region = || access.region().to_owned();
    let found = lookup::find(&access, destination.name()).await;
    let target = found.map_err(|error| ReachError::Lookup { error, region: region() })?;
    tracing::debug!(id = target.id(), "the name is resolved");
    if target.is_stopped() {
        let stopped = StoppedTarget { destination: destination.clone(), target, region: region() };
        return Err(ReachError::Stopped(Box::new(stopped)));
    }
    if let Some(cache) = cache {
        cache.store(clock::wall(), &name, target.id());
    }
    Ok(target)
}

fn cached(cache: &ResolvedCache, name: &str) -> Option<Target> {
    let destination: Destination = cache.load(clock::wall(), name)?.parse().ok()?;
    let Name::Id(target) = destination.name() else { return None };
    Some(target.clone())
}
