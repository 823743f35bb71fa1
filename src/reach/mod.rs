//! Carries out a route: resolves the entry, opens the session, logs in to the hops, hands out a stream.
//!
//! `connect` asks for a [`Connection`] to the goal, `forward` for a [`HopPool`] or for the sessions of its own pools. The
//! fall-back from a hop's agent to its sshd is here and nowhere else. Errors are typed ([`ReachError`]); only `cli`
//! words them.

mod entry;
mod error;
mod hold_off;
mod hop_connection;
mod hop_pool;
mod hop_settings;
mod inspect;
mod session_task;
mod settings;

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_util::task::TaskTracker;

use crate::aws::Aws;
use crate::clock;
use crate::config::Environment;
use crate::escape::escape;
use crate::jump::{self, Askpass, HopSettings, JumpError, SshConnection};
use crate::names::Target;
use crate::route::{DialedBy, Document, Machine, Route};
use crate::session::{OnNotice, Stream};

pub use self::entry::find_entry;
pub use self::error::{ReachError, SessionEnd};
pub use self::hold_off::HoldOff;
pub use self::hop_connection::{Connection, HopConnection};
pub use self::hop_pool::HopPool;
pub use self::inspect::{Listing, inspect, list};
pub use self::session_task::session_request;
pub use self::settings::{open_aws, session_settings};

use self::hop_settings::{askpass, hop_settings};
use self::session_task::{OneStream, SessionTask};

/// The default of `--linger`: ssh has exited when its input ends, and its server answers within this time.
const LINGER: Duration = Duration::from_secs(1);

/// A stream of bytes to a port, through whatever is in between.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// One route, and what is needed to carry it out as often as necessary.
pub struct Reach {
    aws: Rc<Aws>,
    route: Route,
    environment: Environment,
    prompter: Askpass,
    on_notice: OnNotice,
    /// Counts the sessions, which take a moment to end.
    tasks: TaskTracker,
    /// How to log in to each hop; asked for when the first hop is logged in to.
    logins: OnceCell<Vec<HopSettings>>,
}

impl Reach {
    /// Opens nothing yet. The end of the process must wait for `tasks`, so that no session is left open.
    pub fn new(
        aws: Rc<Aws>,
        route: Route,
        environment: Environment,
        on_notice: OnNotice,
        tasks: TaskTracker,
    ) -> Self {
        let prompter = Askpass::new(askpass(&environment), escape);
        Self { aws, route, environment, prompter, on_notice, tasks, logins: OnceCell::new() }
    }

    /// Returns the route.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// Connects to the goal.
    ///
    /// # Errors
    /// [`ReachError`]
    pub async fn connect(&self) -> Result<Connection, ReachError> {
        self.with_fall_back(async |first, target| {
            let (stream, session) = self.open_session(first, target).await?;
            if first == self.route.hops.len() {
                return Ok(Connection::of_session(stream, session));
            }
            let hops = self.log_in(stream, session, first).await?;
            hops.connect(&self.route.goal).await
        })
        .await
    }

    /// Logs in to all hops of a route that has some.
    ///
    /// # Errors
    /// [`ReachError`]
    pub async fn connect_hops(&self) -> Result<HopConnection, ReachError> {
        self.with_fall_back(async |first, target| {
            let (stream, session) = self.open_session(first, target).await?;
            self.log_in(stream, session, first).await
        })
        .await
    }

    /// Opens by the first hop's agent if the route allows it, else, or if the agent cannot connect, by the first hop's
    /// sshd. `open` gets the machine that the session connects to, by its number on the route.
    async fn with_fall_back<T>(
        &self,
        open: impl AsyncFn(usize, Target) -> Result<T, ReachError>,
    ) -> Result<T, ReachError> {
        // Reading the system's certificates takes as long as a round trip: it is done beside the first call to AWS.
        let roots = self.aws.roots();
        tokio::task::spawn_blocking(move || roots.preload());
        let target = find_entry(&self.aws, &self.route).await?;
        let next = self.route.hops.first().map_or(DialedBy::Sshd, |hop| hop.next);
        if next == DialedBy::Sshd {
            return open(0, target).await;
        }
        match open(1, target.clone()).await {
            Err(error) if next.falls_back() && error.asks_for_sshd() => {
                let hop = self.route.hops.first().map_or("", |hop| hop.machine.label());
                tracing::info!(%error, hop, "the hop's agent cannot connect, trying its sshd");
                open(0, target).await
            }
            result => result,
        }
    }

    /// Opens a session to machine number `first` of the route: 0 is the target's own sshd or port, 1 is what the target's
    /// agent connects to.
    async fn open_session(&self, first: usize, target: Target) -> Result<(Stream, SessionTask), ReachError> {
        let end = self.session_end(first, &target).await?;
        let document = match first {
            0 => Document::to_port(end.port, self.route.config.session.document.as_deref()),
            _ => Document::to_host(&self.address(first).await?, end.port),
        };
        tracing::debug!(machine = end.machine, document = document.name, "opening a session");
        let mut settings = session_settings(&self.route.config, clock::now(), LINGER);
        settings.for_remote_host = document.host().is_some();
        let request = session_request(&target, document, &self.route.config);
        let session = OneStream {
            aws: self.aws.clone(),
            request,
            settings,
            on_notice: self.on_notice.clone(),
            is_for_hop: first < self.route.hops.len(),
        };
        SessionTask::open(session, &self.tasks, end).await
    }

    async fn session_end(&self, first: usize, target: &Target) -> Result<SessionEnd, ReachError> {
        let machine = self.machine(first);
        let is_hop = first < self.route.hops.len();
        let port = if is_hop { self.login(first).await?.port } else { machine.port };
        Ok(SessionEnd {
            target: (first == 0).then(|| target.clone()),
            machine: machine.label().to_owned(),
            port,
            through: self.route.hops.first().filter(|_| first > 0).map(|hop| hop.machine.label().to_owned()),
            is_forward: false,
        })
    }

    /// Logs in to hop number `first` through the stream, and from there to all later hops.
    async fn log_in(
        &self,
        stream: impl ByteStream + 'static,
        session: SessionTask,
        first: usize,
    ) -> Result<HopConnection, ReachError> {
        match self.log_in_to_each(stream, first).await {
            Ok(hops) => Ok(HopConnection::new(hops, session)),
            Err(error) => Err(session.cause_of(error).await),
        }
    }

    async fn log_in_to_each(
        &self,
        stream: impl ByteStream + 'static,
        first: usize,
    ) -> Result<Vec<SshConnection>, ReachError> {
        let login = self.login(first).await?;
        let mut hops = vec![jump::connect(stream, login, &self.prompter).await?];
        for number in first + 1..self.route.hops.len() {
            let (login, address) = (self.login(number).await?, self.address(number).await?);
            let next = self.log_in_from(&hops, &address, login).await;
            let lost = || hops.iter().find_map(SshConnection::lost);
            hops.push(match next {
                Ok(hop) => hop,
                Err(error) => return Err(lost().unwrap_or(error).into()),
            });
        }
        Ok(hops)
    }

    async fn log_in_from(
        &self,
        hops: &[SshConnection],
        address: &str,
        login: &HopSettings,
    ) -> Result<SshConnection, JumpError> {
        let last = hops.last().expect("the first hop is logged in to");
        let stream = last.open(address, login.port).await?;
        jump::connect(stream, login, &self.prompter).await
    }

    fn machine(&self, number: usize) -> &Machine {
        self.route.machines().nth(number).unwrap_or(&self.route.goal)
    }

    /// Returns the address that the hop before a machine connects to: our config file's, else, for a hop, ssh_config's.
    async fn address(&self, number: usize) -> Result<String, ReachError> {
        let machine = self.machine(number);
        let is_hop = number < self.route.hops.len();
        let address = match (&machine.named_host, &machine.address) {
            (Some(_), Some(address)) => address,
            _ if is_hop => &self.login(number).await?.host,
            _ => return Ok(machine.address_or_word().to_owned()),
        };
        Ok(address.clone())
    }

    async fn login(&self, number: usize) -> Result<&HopSettings, ReachError> {
        let ask = || try_join_all(self.route.hops.iter().map(|hop| self.ask_login(&hop.machine)));
        let logins = self.logins.get_or_try_init(ask).await?;
        Ok(logins.get(number).expect("each hop has its settings"))
    }

    async fn ask_login(&self, hop: &Machine) -> Result<HopSettings, ReachError> {
        hop_settings(hop, &self.route, &self.environment).await
    }
}
