//! The limit of a life: when a user has to know that the machine will be stopped.

use std::time::{Duration, SystemTime};

use tokio::time::sleep_until;

use crate::aws::Aws;
use crate::clock;
use crate::names::Target;
use crate::route::Wish;

use super::error::StartError;
use super::guardian::Guardian;
use super::life::{Key, Life};

/// Users are warned this long before the limit.
const WARNING: Duration = Duration::from_secs(10 * 60);

/// Waits until the warning is due, and returns the time that is left; `None` if no life watches the machine. A life that was
/// extended meanwhile is waited for again.
pub(super) async fn warning(aws: &Aws, wish: &Wish, target: &Target) -> Result<Option<Duration>, StartError> {
    let key = match &wish.task {
        Some(task) => Key::of_task(&task.cluster, &wish.host),
        None => Key::of_instance(target.id()),
    };
    let Some(name) = &wish.guardian else { return Ok(None) };
    loop {
        let access = aws.access().await?;
        let lives = Guardian::named(&access, name).await?.lives(&key).await?;
        let Some(left) = left(&lives, clock::wall()) else { return Ok(None) };
        if left <= WARNING {
            return Ok(Some(left));
        }
        sleep_until((clock::now() + left - WARNING).into()).await;
    }
}

/// Returns the time until the last of the lives ends.
fn left(lives: &[Life], now: SystemTime) -> Option<Duration> {
    let ends = lives.iter().map(Life::ends).max()?;
    let ends = SystemTime::UNIX_EPOCH + Duration::from_secs(ends.try_into().ok()?);
    Some(ends.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bastion::LifeInput;

    #[test]
    fn the_last_life_counts() {
        let life = |started, limit_seconds| Life {
            arn: String::new(),
            name: String::new(),
            started,
            input: LifeInput { limit_seconds, ..LifeInput::default() },
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(left(&[life(900, 600), life(950, 7200)], now), Some(Duration::from_secs(7150)));
        assert_eq!(left(&[life(100, 600)], now), Some(Duration::ZERO));
        assert_eq!(left(&[], now), None);
    }
}
