//! What AWS reports without a session being opened: the facts for `explain`, and the machines for `list`.

use std::time::Duration;

use tokio::time::timeout;

use crate::aws::{Access, ApiError, Aws, Prompts};
use crate::bastion;
use crate::cache::Cached;
use crate::clock;
use crate::config::Config;
use crate::names::cache::MachineCache;
use crate::names::{ListedMachine, Name, lookup};
use crate::route::explanation::Facts;
use crate::route::{Route, Wish};

use super::ReachError;
use super::entry::find_machine;
use super::settings::{cache_scope, open_aws};

/// The caller's identity is not worth a longer wait.
const CALLER_TIMEOUT: Duration = Duration::from_secs(5);
/// A cached list that is older is asked for again: states change.
const FRESH: Duration = Duration::from_secs(60);

/// The machines of one region.
pub struct Listing {
    /// The machines.
    pub machines: Vec<ListedMachine>,
    /// The region.
    pub region: String,
    /// The service that did not answer, so that its part is missing.
    pub missing: Option<ApiError>,
    /// The time since AWS was asked.
    pub age: Duration,
}

/// Asks AWS about the entry of a route and the caller. For an id, everything that AWS does not answer is unknown.
///
/// # Errors
/// The entry's name cannot be resolved.
pub async fn inspect(route: &Route, prompts: Prompts) -> Result<Facts, ReachError> {
    let region = route.config.aws.region.clone();
    let aws = match open_aws(&route.config, prompts) {
        Ok(aws) => aws,
        Err(error) => return facts_of_id(route, region, error),
    };
    match aws.access().await {
        Ok(access) => ask(route, &aws, &access).await,
        Err(error) => {
            let facts = facts_of_id(route, aws.region().await, error.into())?;
            Ok(Facts { credentials: Some(aws.credentials_source()), ..facts })
        }
    }
}

fn facts_of_id(route: &Route, region: Option<String>, error: ReachError) -> Result<Facts, ReachError> {
    let Name::Id(target) = route.entry.name() else { return Err(error) };
    let unknown = vec![format!("the caller: {error}")];
    Ok(Facts {
        target: target.clone(),
        region,
        caller: None,
        credentials: None,
        access_key_id: None,
        unknown,
    })
}

async fn ask(route: &Route, aws: &Aws, access: &Access) -> Result<Facts, ReachError> {
    let target = match find_machine(aws, access, route).await? {
        Some(target) => target,
        None => bastion::task_target(access, &Wish::of(route)).await?,
    };
    let (caller, unknown) = match timeout(CALLER_TIMEOUT, access.caller()).await {
        Ok(Ok(caller)) => (Some(caller), Vec::new()),
        Ok(Err(error)) => (None, vec![format!("the caller: {error}")]),
        Err(_) => (None, vec![format!("the caller: no answer within {} s", CALLER_TIMEOUT.as_secs())]),
    };
    Ok(Facts {
        target,
        region: Some(access.region().to_owned()),
        caller,
        credentials: Some(aws.credentials_source()),
        access_key_id: Some(access.access_key_id().to_owned()),
        unknown,
    })
}

/// Lists all machines: from the cache if that is less than a minute old and `cached` allows it, else from AWS.
///
/// # Errors
/// Neither EC2 nor SSM can be asked.
pub async fn list(config: &Config, prompts: Prompts, cached: bool) -> Result<Listing, ReachError> {
    let aws = open_aws(config, prompts)?;
    let access = aws.access().await?;
    let region = access.region().to_owned();
    let cache = MachineCache::new(cache_scope(config, &region, access.access_key_id()));
    let now = clock::wall();
    if let Some(Cached { value: machines, age }) = cache.load(now).filter(|found| cached && found.age < FRESH)
    {
        return Ok(Listing { machines, region, missing: None, age });
    }
    let listing = match lookup::list(&access).await {
        Ok(listing) => listing,
        Err(error) => return Err(ReachError::Lookup { error, region }),
    };
    let machines: Vec<ListedMachine> = listing.inventory.nodes().map(ListedMachine::from).collect();
    if listing.unseen.is_none() {
        cache.store(now, &machines);
    }
    Ok(Listing { machines, region, missing: listing.unseen, age: Duration::ZERO })
}
