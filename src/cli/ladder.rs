//! Up a chain of hops: one session to the first, an ssh login at each that follows, and connections from the top.
//!
//! The first hop's agent may dial the second hop's sshd itself; if it cannot, its own sshd does. Whoever has a [`Ladder`]
//! climbs it as often as it is lost.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::try_join_all;
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::aws::{Aws, Meaning, SessionRequest};
use crate::channel::Refusal;
use crate::clock;
use crate::config::{Config, Environment};
use crate::forward::tunnel;
use crate::jump::{self, Hop, HopSettings, HopStream, Human, JumpError};
use crate::names::route::{Document, Edge};
use crate::session::{OnNotice, Outcome, SessionError};

use super::aim::Place;
use super::chain::Chain;
use super::locate::locate;
use super::login::{askpass, login};
use super::report::{Report, SessionName};
use super::way::session_settings;

/// Whoever closes the tunnel has heard all there is to hear.
const LINGER: Duration = Duration::from_secs(1);

/// A hop that lives answers within this time.
const ANSWER: Duration = Duration::from_secs(5);
/// A connection that nobody reads for so long is not waited for.
const STALL: Duration = Duration::from_secs(1);

/// The way up.
pub(super) struct Ladder {
    aws: Rc<Aws>,
    chain: Chain,
    /// How to log in to each hop, from the first on.
    logins: Vec<HopSettings>,
    human: Human,
    notes: OnNotice,
    /// The sessions below, which take a moment to end whoever gives up the climb.
    sessions: TaskTracker,
}

/// The top: all hops, the nearest first, and the session below them. Dropping it ends the session.
pub(super) struct Top {
    hops: Vec<Hop>,
    leave: DropGuard,
    work: JoinHandle<Result<Outcome, SessionError>>,
    /// Where the session leads to, as a number in the chain.
    to: usize,
}

/// Why somebody fell.
#[derive(Debug, Error)]
pub(super) enum Fall {
    /// The session below.
    #[error("{failure}")]
    Session {
        /// Why.
        failure: SessionError,
        /// Where it leads to, as a number in the chain: 0 is the first hop itself, 1 what its agent dials.
        to: usize,
    },
    /// A hop.
    #[error(transparent)]
    Hop(#[from] JumpError),
    /// Something before both.
    #[error(transparent)]
    Other(#[from] Report),
}

impl Ladder {
    /// Asks ssh how to log in to each hop. Whoever leaves waits for `sessions`, so that none is left open.
    ///
    /// # Errors
    /// The user's ssh_config is not understood by ssh.
    pub async fn new(
        aws: Rc<Aws>,
        mut chain: Chain,
        environment: &Environment,
        notes: OnNotice,
        sessions: TaskTracker,
    ) -> Result<Self, Report> {
        let Chain { hops, config, .. } = &mut chain;
        let logins =
            try_join_all(hops.iter_mut().map(|step| login(&mut step.place, config, environment))).await?;
        let human = Human::new(askpass(environment), crate::escape::escape);
        Ok(Self { aws, chain, logins, human, notes, sessions })
    }

    /// The chain, with the ports and addresses that ssh_config knows.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Climbs by the first way that works.
    ///
    /// # Errors
    /// Why none does.
    pub async fn climb(&self) -> Result<Top, Fall> {
        let by_agent = self.chain.hops.len() > 1 && self.first_edge() != Edge::Ssh;
        let target = find(&self.aws, &self.chain).await?;
        if !by_agent {
            return self.climb_from(0, target).await;
        }
        match self.climb_from(1, target.clone()).await {
            Err(Fall::Session { failure, .. })
                if self.first_edge().falls_back() && asks_for_sshd(&failure) =>
            {
                explain_fall_back(&failure, &self.chain);
                self.climb_from(0, target).await
            }
            result => result,
        }
    }

    fn first_edge(&self) -> Edge {
        self.chain.hops.first().map_or(Edge::Ssh, |step| step.onward)
    }

    /// Climbs with the session leading to the sshd of hop `first`: its own target's, or the next one's.
    async fn climb_from(&self, first: usize, target: String) -> Result<Top, Fall> {
        let settings = self.chain.hops.iter().map(|step| &step.place).zip(&self.logins).skip(first);
        let mut settings = settings.peekable();
        let Some((place, login)) = settings.next() else {
            unreachable!("a chain with a hop less is not climbed")
        };
        let document = match first {
            0 => Document::to_port(login.port, self.chain.config.session.document.as_deref()),
            _ => Document::to_host(address(place, login), login.port),
        };
        tracing::info!(hop = place.label(), document = document.name, "the way to the first sshd");
        let mut session = session_settings(&self.chain.config, clock::now(), LINGER);
        session.for_remote_host = document.host().is_some();
        let request = request(target, document, &self.chain.config);
        let left = CancellationToken::new();
        let leave = left.clone().drop_guard();
        let (stream, work) = tunnel(self.aws.clone(), request, session, self.notes.clone(), left);
        let work = self.sessions.spawn_local(work);
        match self.log_in(stream, login, settings).await {
            Ok(hops) => Ok(Top { hops, leave, work, to: first }),
            Err(error) => {
                drop(leave);
                Err(blame(error, work, first).await)
            }
        }
    }

    async fn log_in<'a>(
        &self,
        stream: tokio::io::DuplexStream,
        first: &HopSettings,
        rest: impl Iterator<Item = (&'a Place, &'a HopSettings)>,
    ) -> Result<Vec<Hop>, JumpError> {
        let mut hops = vec![jump::connect(stream, first, &self.human).await?];
        for (place, login) in rest {
            let next = self.next_hop(last(&hops), address(place, login), login).await;
            hops.push(next.map_err(|error| lost(&hops).unwrap_or(error))?);
        }
        Ok(hops)
    }

    async fn next_hop(&self, from: &Hop, address: &str, login: &HopSettings) -> Result<Hop, JumpError> {
        let stream = from.open(address, login.port).await?;
        jump::connect(stream, login, &self.human).await
    }
}

impl Top {
    /// Opens a connection from the last hop.
    ///
    /// # Errors
    /// The hop refuses, or is lost.
    pub async fn open(&self, host: &str, port: u16) -> Result<HopStream, JumpError> {
        let opened = last(&self.hops).open(host, port).await;
        opened.map_err(|error| self.lost().unwrap_or(error))
    }

    /// Waits until the last hop has taken what was sent through it, or is lost.
    pub async fn delivered(&self) {
        last(&self.hops).taken().await;
    }

    /// Gives the last hop up if it does not answer although the first one does, so that the link is not to blame: a
    /// connection between hops may be gone without a word.
    pub async fn examine(&self) {
        let Some(first) = self.hops.first().filter(|_| !self.is_stalled()) else { return };
        let last = last(&self.hops);
        if timeout(ANSWER, first.taken()).await.is_ok() && timeout(ANSWER, last.taken()).await.is_err() {
            last.give_up();
        }
    }

    /// Tells whether a connection that is not read keeps all others waiting.
    pub fn is_stalled(&self) -> bool {
        self.hops.iter().filter_map(Hop::stalled_for).any(|time| time >= STALL)
    }

    /// Tells which hop is lost, if one is: those behind it are lost with it.
    pub fn lost(&self) -> Option<JumpError> {
        lost(&self.hops)
    }

    /// Tells whether there is no way through any more.
    pub fn is_lost(&self) -> bool {
        self.work.is_finished() || self.lost().is_some()
    }

    /// Climbs down; tells what became of the session, if it failed by itself.
    pub async fn leave(mut self, in_order: bool) -> Result<(), Fall> {
        if in_order
            && !self.is_lost()
            && let Some(hop) = self.hops.pop()
        {
            hop.disconnect().await;
        }
        drop(self.leave);
        match self.work.await {
            Ok(Err(failure)) => Err(Fall::Session { failure, to: self.to }),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }
}

fn last(hops: &[Hop]) -> &Hop {
    hops.last().expect("a ladder has a hop")
}

fn lost(hops: &[Hop]) -> Option<JumpError> {
    hops.iter().find_map(Hop::lost)
}

/// Finds the machine that the session goes to.
pub(super) async fn find(aws: &Aws, chain: &Chain) -> Result<String, Report> {
    let within = chain.config.session.connect_timeout;
    Ok(locate(aws, &chain.config, &chain.entry, within).await?.id().to_owned())
}

/// What StartSession is asked for.
pub(super) fn request(target: String, document: Document, config: &Config) -> SessionRequest {
    let parameters = document.parameters.into_iter();
    let parameters: HashMap<String, Vec<String>> =
        parameters.map(|(name, value)| (name.to_owned(), vec![value])).collect();
    SessionRequest { target, document: document.name, parameters, reason: config.session.reason.clone() }
}

/// Tells whether a hop's sshd may do what its agent cannot, or may not.
pub(super) fn asks_for_sshd(failure: &SessionError) -> bool {
    if let SessionError::Api(error) = failure {
        let unknown = ["InvalidDocument", "BadRequest", "BadRequestException"];
        return error.meaning() == Meaning::AccessDenied || unknown.iter().any(|code| error.has_code(code));
    }
    matches!(failure, SessionError::Refused(Refusal::IgnoresHost(_)))
}

/// Says why the second way is taken.
pub(super) fn explain_fall_back(failure: &SessionError, chain: &Chain) {
    let hop = chain.hops.first().map_or("", |step| step.place.label());
    tracing::info!(%failure, hop, "the hop's agent does not lead on, its sshd is asked");
}

/// What is told of a fall.
pub(super) fn of_fall(fall: &Fall, chain: &Chain) -> Report {
    match fall {
        Fall::Other(report) => report.clone(),
        Fall::Hop(error) => Report::of_jump(error),
        Fall::Session { failure, to } => {
            let place = chain.places().nth(*to).unwrap_or(&chain.goal);
            let name = SessionName { target: None, place: place.label(), port: place.port, forward: false };
            let report = Report::of_session(failure, &name);
            match (failure, chain.hops.first()) {
                (SessionError::RemotePort(_), Some(hop)) if *to > 0 => {
                    report.hint(format!("can `{}` reach it?", hop.place.label()))
                }
                _ => report,
            }
        }
    }
}

/// An ssh connection that just broke off did so because of what is below it.
async fn blame(error: JumpError, work: JoinHandle<Result<Outcome, SessionError>>, to: usize) -> Fall {
    let result = work.await;
    match error {
        JumpError::Io { .. }
        | JumpError::Ended { .. }
        | JumpError::Protocol { .. }
        | JumpError::Timeout { .. } => match result {
            Ok(Err(failure)) => Fall::Session { failure, to },
            Ok(Ok(_)) | Err(_) => Fall::Hop(error),
        },
        JumpError::Auth(_)
        | JumpError::HostKeyUnknown { .. }
        | JumpError::HostKeyChanged { .. }
        | JumpError::HostKeyRevoked { .. }
        | JumpError::HostKeyRefused { .. }
        | JumpError::HostCertificate { .. }
        | JumpError::ChannelRefused { .. } => Fall::Hop(error),
    }
}

/// Where the hop before finds it: what our own config file says, else what ssh_config does.
fn address<'a>(place: &'a Place, login: &'a HopSettings) -> &'a str {
    match &place.host {
        Some(_) => place.address.as_deref().unwrap_or(&login.host),
        None => &login.host,
    }
}
