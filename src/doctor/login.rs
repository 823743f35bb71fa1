//! A login with a key that is pushed: whether AWS takes a key for this user, and whether the image uses it.

use std::rc::Rc;

use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::aws::Aws;
use crate::bastion::OnLife;
use crate::config::Environment;
use crate::jump::JumpError;
use crate::reach::{Reach, ReachError};
use crate::route::Route;
use crate::session::OnNotice;

use super::finding::{Component, Finding, Outcome};
use super::session::limit;

/// Pushes a key that is thrown away, and logs in with it; nothing if the host has no `key`. Nothing is started, unless
/// `--start` says so.
pub(super) async fn check(
    aws: Rc<Aws>,
    route: &Route,
    environment: &Environment,
    tasks: &TaskTracker,
    on_notice: OnNotice,
    on_life: OnLife,
) -> Option<Finding> {
    route.key_of(&route.goal)?;
    let name = route.goal.label().to_owned();
    let mut route = route.clone();
    route.config.start_by_flag.get_or_insert(false);
    let limit = limit(&route);
    let reach = Reach::new(aws, route, environment.clone(), on_notice, on_life, tasks.clone());
    let outcome = match timeout(limit, reach.try_pushed_login()).await {
        Ok(Ok(user)) => Outcome::Good(format!("a key was pushed to `{user}`, and accepted")),
        Ok(Err(ReachError::Hop(error @ JumpError::HostKeyUnknown { .. }))) => {
            Outcome::Unknown(format!("{error}; log in by ssh once"))
        }
        Ok(Err(error)) => Outcome::failed(error),
        Err(_) => Outcome::Unknown(format!("no login within {} s", limit.as_secs())),
    };
    Some(Finding::new(Component::Login, name, outcome))
}
