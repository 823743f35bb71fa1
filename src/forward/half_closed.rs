//! The connections whose clients have ended their output. The oldest ones are closed when descriptors run short.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

/// The connections, the oldest first.
#[derive(Debug, Default)]
pub(super) struct HalfClosed {
    places: RefCell<BTreeMap<u64, Place>>,
    next: Cell<u64>,
}

#[derive(Clone, Debug, Default)]
struct Place {
    /// The connection is to be closed.
    dismissed: CancellationToken,
    /// The connection is closed.
    left: CancellationToken,
}

impl HalfClosed {
    /// Waits until a connection that is half-closed from now on is to be closed. Dropping this reports that it is closed.
    pub async fn dismissed(&self) {
        let entry = Entry::new(self);
        entry.place.dismissed.cancelled().await;
    }

    /// Closes the oldest connection, and waits until its descriptor is free; returns false if there is none.
    pub async fn close_oldest(&self) -> bool {
        let oldest = self.places.borrow().first_key_value().map(|(_, place)| place.clone());
        let Some(oldest) = oldest else { return false };
        oldest.dismissed.cancel();
        oldest.left.cancelled().await;
        true
    }
}

struct Entry<'a> {
    all: &'a HalfClosed,
    number: u64,
    place: Place,
}

impl<'a> Entry<'a> {
    fn new(all: &'a HalfClosed) -> Self {
        let (number, place) = (all.next.get(), Place::default());
        all.next.set(number + 1);
        all.places.borrow_mut().insert(number, place.clone());
        Self { all, number, place }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.all.places.borrow_mut().remove(&self.number);
        self.place.left.cancel();
    }
}

#[cfg(test)]
mod tests {
    use tokio::join;

    use super::*;

    #[tokio::test]
    async fn the_oldest_is_closed_first() {
        let all = HalfClosed::default();
        assert!(!all.close_oldest().await);
        let order = RefCell::new(Vec::new());
        let connection = async |number| {
            all.dismissed().await;
            order.borrow_mut().push(number);
        };
        let close = async { (all.close_oldest().await, all.close_oldest().await, all.close_oldest().await) };
        let ((), (), closed) = join!(connection(1), connection(2), close);
        assert_eq!((order.into_inner(), closed), (vec![1, 2], (true, true, false)));
    }

    #[tokio::test]
    async fn a_connection_that_ends_by_itself_is_forgotten() {
        let all = HalfClosed::default();
        tokio::select! {
            biased;
            () = all.dismissed() => panic!("it was not closed"),
            () = tokio::task::yield_now() => {}
        }
        assert!(!all.close_oldest().await);
    }
}
