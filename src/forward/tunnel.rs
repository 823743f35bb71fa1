//! One session as one byte stream within the process: what a built-in ssh hop stands on.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::aws::{Aws, SessionRequest};
use crate::clock;

use super::streams::{Manners, Streams, Ties};
use super::{ForwardEvent, Incoming, Status};
use crate::session::Interrupt;
use crate::session::{OnNotice, Outcome, SessionError, Settings};
use crate::session::{Start, start};

/// What the stream keeps of each direction.
const KEPT: usize = 64 << 10;
/// Whoever closes the stream has heard all there is to hear.
const LINGER: Duration = Duration::from_secs(1);

/// Starts a session whose only connection is the stream that is returned. The work has to be driven; it ends with the
/// stream, or when `leave` is cancelled, and ends the session at the service.
pub fn tunnel(
    aws: Rc<Aws>,
    request: SessionRequest,
    settings: Settings,
    notes: OnNotice,
    leave: CancellationToken,
) -> (DuplexStream, impl Future<Output = Result<Outcome, SessionError>>) {
    let (near, far) = duplex(KEPT);
    let work = async move {
        let (inbox, taken) = unbounded_channel();
        let socket = Incoming::new(far, "ssh".to_owned(), clock::now());
        // Its other end is in this very function.
        let _ = inbox.send(socket);
        let refused = Rc::new(Cell::new(false));
        let seen = refused.clone();
        let ties = Ties {
            inbox: taken,
            leave: leave.clone(),
            status: watch::Sender::new(Status { is_retired: true, ..Status::default() }),
            tell: Box::new(move |note| seen.set(seen.get() || matches!(note, ForwardEvent::Refused { .. }))),
            hand_back: Box::new(Incoming::reject),
            traffic: Rc::default(),
        };
        let manners = Manners {
            linger: LINGER,
            connect_timeout: settings.connect_timeout,
            hold: false,
            idle_limit: None,
        };
        let interrupt = async {
            leave.cancelled().await;
            Interrupt::ReaderGone
        };
        let session = match start(&aws, &request, &settings, interrupt).await? {
            Start::Started(session) => session,
            Start::Left(outcome) => return Ok(outcome),
        };
        let open = || Ok(Streams::new(clock::now(), manners, ties));
        let (result, streams) = session.run(aws, Rc::new(settings), notes, open).await;
        if let Some(streams) = streams {
            streams.release(result.is_ok());
        }
        if refused.get() {
            return Err(SessionError::RemotePort("the agent could not connect to it".to_owned()));
        }
        result
    };
    (near, work)
}
