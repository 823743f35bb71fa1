//! Forwards from a target that is behind hops: an ssh login to the target itself, and a connection of its sshd for each
//! of ours. One ladder serves all listeners of a target. It is climbed anew when it is lost, and once more, at most, while
//! a connection that is not read keeps all others of the first climb waiting.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::RemoteEnd;
use crate::forward::{Asked, Dial, Dialer, NotDialed, Traffic};
use crate::jump::{HopStream, JumpError};

use super::super::ladder::{Fall, Ladder, Top, of_fall};
use super::super::report::Report;
use super::tell::Teller;

/// How often the ladder may be climbed at once.
const MOST_TOPS: usize = 2;

/// The ladder of a target, and its tops while they stand.
pub(super) struct Tower {
    ladder: Ladder,
    climbed: Mutex<Climbed>,
    teller: Rc<Teller>,
}

/// What became of the climbs.
#[derive(Default)]
struct Climbed {
    tops: Vec<Rc<Top>>,
    /// When the last one failed, and why.
    failed: Option<(Instant, Rc<Fall>)>,
}

impl Tower {
    /// Nothing is climbed yet.
    pub fn new(ladder: Ladder, teller: Rc<Teller>) -> Rc<Self> {
        Rc::new(Self { ladder, climbed: Mutex::default(), teller })
    }

    /// Where connections to `remote` go, or wherever each asks for.
    pub fn dialer(
        self: &Rc<Self>,
        remote: Option<&RemoteEnd>,
        linger: Duration,
        traffic: Rc<Traffic>,
    ) -> Dialer {
        let tower = self.clone();
        let dial: Dial = Rc::new(move |asked, from| Box::pin(tower.clone().dial(asked, from)));
        let to = remote.map(|remote| Asked {
            host: remote.host.clone().unwrap_or_else(|| "localhost".to_owned()),
            port: remote.port,
        });
        Dialer { dial, to, linger, traffic }
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
        let tops = std::mem::take(&mut self.climbed.lock().await.tops);
        // Nobody is there to be told.
        join_all(tops.into_iter().filter_map(Rc::into_inner).map(|top| top.leave(true))).await;
    }

    async fn dial(self: Rc<Self>, to: Asked, from: String) -> Result<HopStream, NotDialed> {
        match self.try_dial(&to).await {
            Ok(stream) => Ok(stream),
            Err(fall) => {
                let report = of_fall(&fall, self.ladder.chain());
                self.teller.failed(
                    &format!("connection from {from}: {}", report.cause()),
                    &report,
                    &format!("{}:{}", to.host, to.port),
                );
                let is_refusal = matches!(*fall, Fall::Hop(JumpError::ChannelRefused { .. }));
                Err(if is_refusal { NotDialed::Refused } else { NotDialed::Failed })
            }
        }
    }

    /// A top that turns out to be lost is climbed to once more.
    async fn try_dial(&self, to: &Asked) -> Result<HopStream, Rc<Fall>> {
        let mut top = self.top().await?;
        let mut opened = top.open(&to.host, to.port).await;
        if let Err(JumpError::Ended { .. }) = opened {
            top = self.top().await?;
            opened = top.open(&to.host, to.port).await;
        }
        if let Err(JumpError::Timeout { .. }) = opened {
            top.examine().await;
        }
        opened.map_err(|error| Rc::new(Fall::Hop(error)))
    }

    /// One climbs, and others wait for it; they share its failure, too.
    async fn top(&self) -> Result<Rc<Top>, Rc<Fall>> {
        let asked = clock::now();
        let mut climbed = self.climbed.lock().await;
        climbed.tops.retain(|top| !top.is_lost());
        let free = climbed.tops.iter().find(|top| !top.is_stalled());
        let any = climbed.tops.first().filter(|_| climbed.tops.len() >= MOST_TOPS);
        if let Some(top) = free.or(any) {
            return Ok(top.clone());
        }
        if let Some((_, fall)) = climbed.failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(fall.clone());
        }
        match self.ladder.climb().await {
            Ok(top) => {
                let top = Rc::new(top);
                climbed.tops.push(top.clone());
                Ok(top)
            }
            Err(fall) => {
                let fall = Rc::new(fall);
                climbed.failed = Some((clock::now(), fall.clone()));
                Err(fall)
            }
        }
    }
}
