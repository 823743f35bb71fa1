//! The task that holds a key for one connection.

use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::error::KeyError;
use super::held_stream::Banner;
use super::keeper::Keeper;
use super::push::KeyPush;

/// The task. Dropping this takes the key away.
pub struct KeyTask {
    leave: DropGuard,
    start: oneshot::Sender<(KeyPush, Banner)>,
    work: JoinHandle<Result<(), KeyError>>,
}

impl KeyTask {
    /// Holds the key. The end of the process must wait for `tasks`, so that no key is left.
    pub fn hold(keeper: Keeper, tasks: &TaskTracker) -> Self {
        let left = CancellationToken::new();
        let leave = left.clone().drop_guard();
        let (start, orders) = oneshot::channel();
        Self { leave, start, work: tasks.spawn_local(work(keeper, orders, left)) }
    }

    /// Pushes the key when the banner comes.
    pub fn push(self, push: KeyPush, banner: Banner) -> PushingKey {
        let Self { leave, start, work } = self;
        // The task waits for this, or has left.
        let _ = start.send((push, banner));
        PushingKey { leave, work }
    }
}

/// A key that is pushed for a login. Dropping this takes the key away.
pub struct PushingKey {
    leave: DropGuard,
    work: JoinHandle<Result<(), KeyError>>,
}

impl PushingKey {
    /// Takes the key away, and returns why it could not be pushed, if so.
    ///
    /// # Errors
    /// [`KeyError`]
    pub async fn close(self) -> Result<(), KeyError> {
        drop(self.leave);
        self.work.await.unwrap_or(Ok(()))
    }
}

async fn work(
    keeper: Keeper,
    orders: oneshot::Receiver<(KeyPush, Banner)>,
    left: CancellationToken,
) -> Result<(), KeyError> {
    let order = tokio::select! {
        biased;
        order = orders => order.ok(),
        () = left.cancelled() => None,
    };
    let result = match order {
        Some((push, banner)) => push_for_login(&keeper, &push, banner, &left).await,
        None => Ok(()),
    };
    keeper.release().await;
    result
}

/// Pushes the key when the banner comes, until the connection ends, and says if that was a login that was refused.
async fn push_for_login(
    keeper: &Keeper,
    push: &KeyPush,
    banner: Banner,
    left: &CancellationToken,
) -> Result<(), KeyError> {
    let Banner { came, pushed, is_refused } = banner;
    let pushing = async {
        came.cancelled().await;
        keeper.renew().await;
        push.push_for_login(pushed).await
    };
    let result = tokio::select! {
        biased;
        result = pushing => result,
        () = left.cancelled() => Ok(()),
    };
    if is_refused.load(Ordering::Relaxed) {
        push.login_refused();
    }
    result
}
