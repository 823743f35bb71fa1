//! A connection that somebody has made to us and that no session has yet.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::connection::{self, NewsOf, Order, Orders, Socket};

/// The connection. Nothing has been read from it that it still needs.
pub struct Incoming {
    pub(super) start: Box<dyn FnOnce(u64, UnboundedSender<NewsOf>) -> Orders>,
    pub(super) from: String,
    pub(super) asked: Instant,
    pub(super) answer: Option<Answer>,
}

/// What an application that asked in words is told, since a reset would tell it nothing.
#[derive(Clone, Debug)]
pub struct Answer {
    /// It is connected.
    pub accepted: Bytes,
    /// The destination refused.
    pub refused: Bytes,
    /// It could not be tried.
    pub failed: Bytes,
}

impl Incoming {
    /// Takes a socket; `from` names its application to the user.
    pub(super) fn new(socket: impl Socket, from: String, now: Instant) -> Self {
        let start = Box::new(move |number, news| connection::spawn(socket, number, news));
        Self { start, from, asked: now, answer: None }
    }

    /// Has the application told in words what becomes of it.
    #[must_use]
    pub(super) fn answered_by(self, answer: Answer) -> Self {
        Self { answer: Some(answer), ..self }
    }

    /// Turns it away.
    pub(super) fn reject(self) {
        let (news, _) = unbounded_channel();
        let orders = (self.start)(0, news);
        let told = match self.answer {
            Some(answer) => orders.send(Order::Write(answer.failed)).and_then(|()| orders.send(Order::Close)),
            None => orders.send(Order::Reset),
        };
        // It has just been started, so it takes orders.
        debug_assert!(told.is_ok());
    }
}
