//! What this process answers to `fumidai status`.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::SystemTime;

use crate::clock;
use crate::forward::plan::PlannedForward;
use crate::forward::{ForwardEvent, Traffic};
use crate::running::{self, Answer, Bytes, Connections, LastError, ListeningOn, StatusSocket};
use crate::session::{Fact, Notice};

use super::super::args::ForwardArgs;
use super::super::report::notes;
use super::reporter::Listening;

/// The facts that change while it runs; the rest of the answer stays.
pub(super) struct Status {
    fixed: RefCell<Answer>,
    sessions: Cell<usize>,
    last_error: RefCell<Option<LastError>>,
}

impl Status {
    /// Begins without listeners.
    pub fn new(args: &ForwardArgs) -> Rc<Self> {
        let is_named = args.local.is_empty() && args.dynamic.is_empty();
        let fixed = Answer {
            names: if is_named { args.words.clone() } else { Vec::new() },
            supervisor: args.supervisor.clone(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: seconds(clock::wall()),
            ..Answer::default()
        };
        let fixed = RefCell::new(fixed);
        Rc::new(Self { fixed, sessions: Cell::default(), last_error: RefCell::default() })
    }

    /// Takes the listeners, once they are bound.
    pub fn listens(&self, listening: &[Listening]) {
        let of = |one: &Listening| {
            let Listening { name, local, remote, target } = one.clone();
            (name, ListeningOn { local, remote, target })
        };
        let (names, listeners): (Vec<_>, Vec<_>) = listening.iter().map(of).unzip();
        let mut fixed = self.fixed.borrow_mut();
        fixed.names = names.into_iter().flatten().collect();
        fixed.listeners = listeners;
    }

    /// Takes what happens to a forward.
    pub fn event(&self, planned: &PlannedForward, event: &ForwardEvent) {
        if let ForwardEvent::Session(Notice::Recorded(fact)) = event {
            self.sessions.set(match fact {
                Fact::Started { .. } => self.sessions.get() + 1,
                Fact::Ended { .. } => self.sessions.get().saturating_sub(1),
                Fact::NotStarted { .. }
                | Fact::KeyPushed { .. }
                | Fact::Caller { .. }
                | Fact::Resumed { .. } => self.sessions.get(),
            });
        }
        if let Some(failure) = notes::of_forward(event, &planned.remote(), planned.target()) {
            let (cause, exit) = (failure.report.cause().to_owned(), failure.report.exit().code());
            self.last_error.replace(Some(LastError { cause, exit, at: Some(seconds(clock::wall())) }));
        }
    }

    /// Answers each client; never returns. A forward without a socket forwards all the same.
    pub async fn serve(&self, folder: Option<&Path>, traffic: &Traffic) {
        let Some(folder) = folder else { return std::future::pending().await };
        match StatusSocket::bind(&folder.join(running::FOLDER)) {
            Ok(socket) => socket.serve(|| self.answer(traffic)).await,
            Err(error) => {
                tracing::warn!(%error, "`fumidai status` will not show this forward");
                std::future::pending().await
            }
        }
    }

    fn answer(&self, traffic: &Traffic) -> Answer {
        Answer {
            sessions: self.sessions.get(),
            connections: Connections { open: traffic.connections.get(), total: traffic.accepted.get() },
            bytes: Bytes { sent: traffic.sent.get(), received: traffic.received.get() },
            last_error: self.last_error.borrow().clone(),
            ..self.fixed.borrow().clone()
        }
    }
}

/// Returns a time as seconds of Unix time.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
