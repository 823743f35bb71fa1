//! A login with a key that is pushed: whether AWS takes a key for this user, and whether the image uses it.

use std::rc::Rc;

use crate::aws::Aws;
use crate::config::AccessRequest;
use crate::jump::JumpError;
use crate::reach::{Reach, ReachError};
use crate::route::Route;

use super::Surroundings;
use super::finding::{Component, Finding, Outcome};
use super::limit::Limit;
use super::session::opening;

/// Pushes a key that is thrown away, and logs in with it; nothing if the host has no `key`. Nothing is started, unless
/// `--start` says so.
pub(super) async fn check(
    aws: Rc<Aws>,
    route: &Route,
    around: &Surroundings<'_>,
    limit: Limit,
) -> Option<Finding> {
    route.key_of(&route.goal)?;
    let name = route.goal.label().to_owned();
    let mut route = route.clone();
    route.config.start_by_flag.get_or_insert(false);
    route.config.session.access_request = AccessRequest::Off;
    let most = opening(&route);
    let (environment, tasks) = (around.environment.clone(), around.tasks.clone());
    let (on_notice, on_life) = (around.on_notice.clone(), around.on_life.clone());
    let reach = Reach::new(aws, route, environment, on_notice, on_life, tasks).only_looking();
    let outcome = match limit.at_most(most, reach.try_pushed_login()).await {
        Ok(Ok(user)) => Outcome::Good(format!("a key was pushed to `{user}`, and accepted")),
        Ok(Err(ReachError::Hop(error @ JumpError::HostKeyUnknown { .. }))) => {
            Outcome::Unknown(format!("{error}; log in by ssh once"))
        }
        Ok(Err(error)) => Outcome::failed(error),
        Err(late) => Outcome::late(late),
    };
    Some(Finding::new(Component::Login, name, outcome))
}
