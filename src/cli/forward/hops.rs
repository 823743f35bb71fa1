//! Forwards from a target that is behind hops: an ssh login to the target itself, and a connection of its sshd for each
//! of ours. One ladder serves all listeners of a target, and is climbed anew when it is lost.

use std::rc::Rc;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::RemoteEnd;
use crate::jump::{HopStream, JumpError};
use crate::session::forward::{Asked, Dial, Dialer, NotDialed, Traffic};

use super::super::ladder::{Fall, Ladder, Top, of_fall};
use super::super::report::Report;
use super::tell::Teller;

/// The ladder of a target, and its top while it stands.
pub(super) struct Tower {
    ladder: Ladder,
    climbed: Mutex<Climbed>,
    teller: Rc<Teller>,
}

/// What became of the last climb.
#[derive(Default)]
struct Climbed {
    top: Option<Rc<Top>>,
    /// When it failed, and why.
    failed: Option<(Instant, Rc<Fall>)>,
}

impl Tower {
    /// Nothing is climbed yet.
    pub fn new(ladder: Ladder, teller: Rc<Teller>) -> Rc<Self> {
        Rc::new(Self { ladder, climbed: Mutex::default(), teller })
    }

    /// Where connections to `remote` go, or wherever each asks for.
    pub fn dialer(self: &Rc<Self>, remote: Option<&RemoteEnd>, traffic: Rc<Traffic>) -> Dialer {
        let tower = self.clone();
        let dial: Dial = Rc::new(move |asked, from| Box::pin(tower.clone().dial(asked, from)));
        let to = remote.map(|remote| Asked {
            host: remote.host.clone().unwrap_or_else(|| "localhost".to_owned()),
            port: remote.port,
        });
        Dialer { dial, to, traffic }
    }

    /// Climbs, if nobody has.
    ///
    /// # Errors
    /// Why there is no way up.
    pub async fn open(&self) -> Result<(), Report> {
        self.top().await.map(drop).map_err(|fall| of_fall(&fall, self.ladder.chain()))
    }

    /// Climbs down once `leave` is cancelled.
    pub async fn close_after(self: Rc<Self>, leave: CancellationToken) {
        leave.cancelled().await;
        let top = self.climbed.lock().await.top.take();
        if let Some(top) = top.and_then(|top| Rc::try_unwrap(top).ok()) {
            // Nobody is there to be told.
            let _ = top.leave(true).await;
        }
    }

    async fn dial(self: Rc<Self>, to: Asked, from: String) -> Result<HopStream, NotDialed> {
        match self.try_dial(&to).await {
            Ok(stream) => Ok(stream),
            Err(fall) => {
                let report = of_fall(&fall, self.ladder.chain());
                self.teller.failed(&format!("connection from {from}: {}", report.cause()), &report, &to);
                let is_refusal = matches!(*fall, Fall::Hop(JumpError::ChannelRefused { .. }));
                Err(if is_refusal { NotDialed::Refused } else { NotDialed::Failed })
            }
        }
    }

    /// A top that turns out to be lost is climbed to once more.
    async fn try_dial(&self, to: &Asked) -> Result<HopStream, Rc<Fall>> {
        let mut opened = self.top().await?.open(&to.host, to.port).await;
        if let Err(JumpError::Ended { .. }) = opened {
            opened = self.top().await?.open(&to.host, to.port).await;
        }
        opened.map_err(|error| Rc::new(Fall::Hop(error)))
    }

    /// One climbs, and others wait for it; they share its failure, too.
    async fn top(&self) -> Result<Rc<Top>, Rc<Fall>> {
        let asked = Instant::now();
        let mut climbed = self.climbed.lock().await;
        if let Some(top) = climbed.top.as_ref().filter(|top| !top.is_lost()) {
            return Ok(top.clone());
        }
        if let Some((_, fall)) = climbed.failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(fall.clone());
        }
        match self.ladder.climb().await {
            Ok(top) => {
                let top = Rc::new(top);
                climbed.top = Some(top.clone());
                Ok(top)
            }
            Err(fall) => {
                let fall = Rc::new(fall);
                climbed.failed = Some((Instant::now(), fall.clone()));
                Err(fall)
            }
        }
    }
}
