//! Carries out a route: resolves the entry, opens the session, logs in to the hops, hands out a stream.
//!
//! `connect` asks for a [`Connection`] to the goal, `forward` for a [`HopPool`] or for the sessions of its own pools. The
//! fall-back from a hop's agent to its sshd is here and nowhere else. Errors are typed ([`ReachError`]); only `cli`
//! words them.

mod connection;
mod entry;
mod error;
mod fall_back;
mod hold_off;
mod hop_connection;
mod hop_pool;
mod hop_settings;
mod host_key_cache;
mod host_keys;
mod host_keys_error;
mod inspect;
mod login_keys;
mod pushed_login;
mod readiness;
mod session_task;
mod settings;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::aws::Aws;
use crate::bastion::OnLife;
use crate::config::Environment;
use crate::escape::escape;
use crate::jump::{Askpass, HopSettings, LoginFacts, SshConnection};
use crate::names::Target;
use crate::route::{Machine, Route};
use crate::session::{OnNotice, Stream};

pub use self::connection::{Connection, Greeting, Relayed};
pub use self::entry::{find_entry, find_machine};
pub use self::error::{ReachError, SessionEnd, StoppedTarget};
pub use self::hold_off::HoldOff;
pub use self::hop_connection::HopConnection;
pub use self::hop_pool::{HopPool, PooledStream};
pub use self::host_keys::HostKeyQuery;
pub use self::host_keys_error::HostKeysError;
pub use self::inspect::{Listing, inspect, list};
pub use self::readiness::Readiness;
pub use self::session_task::session_request;
pub use self::settings::{open_aws, profile_names, session_settings};

use self::fall_back::Attempt;
use self::hop_settings::{askpass, hop_settings};
use self::session_task::{OneStream, SessionTask};

/// The default of `--linger`: ssh has exited when its input ends, and its server answers within this time.
const LINGER: Duration = Duration::from_secs(1);

/// How far an attempt to connect came.
#[derive(Clone, Debug, Default)]
pub struct ReachedSoFar {
    /// The machine that a session was opened to, by its number on the route; `None` if none was opened.
    pub session_end: Option<usize>,
    /// The hops that were logged in to, from that machine on.
    pub logged_in: Vec<LoginFacts>,
}

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
    readiness: Rc<Readiness>,
    /// Counts the sessions, which take a moment to end.
    tasks: TaskTracker,
    /// The machine that the last session was opened to.
    session_end: Cell<Option<usize>>,
    /// The hops that have been logged in to.
    logged_in: RefCell<Vec<LoginFacts>>,
    /// No question is asked, and no host is added to known_hosts.
    only_looks: bool,
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
        on_life: OnLife,
        tasks: TaskTracker,
    ) -> Self {
        let readiness = Readiness::new(aws.clone(), &route, on_life);
        let prompter = Askpass::new(askpass(&environment), escape);
        let (session_end, logged_in, only_looks, logins) = Default::default();
        Self {
            aws,
            route,
            environment,
            prompter,
            on_notice,
            readiness,
            tasks,
            session_end,
            logged_in,
            only_looks,
            logins,
        }
    }

    /// Returns the route.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// Asks the user nothing, and adds no host to known_hosts.
    #[must_use]
    pub fn only_looking(self) -> Self {
        Self { only_looks: true, ..self }
    }

    /// Returns how far the last attempt came.
    pub fn progress(&self) -> ReachedSoFar {
        ReachedSoFar { session_end: self.session_end.get(), logged_in: self.logged_in.borrow().clone() }
    }

    fn aws(&self) -> &Aws {
        &self.aws
    }

    /// Asks ssh how to log in to each hop, if there are hops.
    ///
    /// # Errors
    /// [`ReachError::HopSettings`]
    pub async fn check_settings(&self) -> Result<(), ReachError> {
        self.logins().await.map(drop)
    }

    /// Connects to the goal.
    ///
    /// # Errors
    /// [`ReachError`]
    pub async fn connect(&self) -> Result<Connection, ReachError> {
        let key = self.goal_key().await?;
        let (connection, entry) = self.connect_without_key().await?;
        let Some(key) = key else { return Ok(connection) };
        let (goal, user) = (self.route.hops.len(), self.route.goal.user.clone());
        Ok(connection.with_key(key, self.push_to(goal, user, &entry)?))
    }

    /// Connects to the goal, to which no key is pushed, and tells which machine the session was opened to.
    ///
    /// # Errors
    /// [`ReachError`]
    pub async fn connect_without_key(&self) -> Result<(Connection, Target), ReachError> {
        let connected = self.with_fall_back(async |attempt| {
            let (first, entry) = (attempt.machine, attempt.target.clone());
            let (stream, session) = self.open_session(attempt).await?;
            if first == self.route.hops.len() {
                return Ok((Connection::of_session(stream, session), entry));
            }
            let hops = self.log_in(stream, session, first, &entry).await?;
            let linger = self.route.config.session.linger.unwrap_or(LINGER);
            Ok((Connection::through_hops(hops, &self.route.goal, linger).await?, entry))
        });
        self.located(connected.await).await
    }

    /// Logs in to all hops of a route that has some.
    ///
    /// # Errors
    /// [`ReachError`]
    pub async fn connect_hops(&self) -> Result<HopConnection, ReachError> {
        let connected = self.with_fall_back(async |attempt| {
            let (first, entry) = (attempt.machine, attempt.target.clone());
            let (stream, session) = self.open_session(attempt).await?;
            self.log_in(stream, session, first, &entry).await
        });
        self.located(connected.await).await
    }

    async fn located<T>(&self, mut result: Result<T, ReachError>) -> Result<T, ReachError> {
        if let Err(error) = &mut result {
            error.locate(&self.aws).await;
        }
        result
    }

    async fn open_session(&self, attempt: Attempt) -> Result<(Stream, SessionTask), ReachError> {
        let Attempt { machine: first, target, began, is_last } = attempt;
        self.session_end.set(None);
        self.logged_in.take();
        let end = self.session_end(first, &target).await?;
        let document = self.route.document(first, &self.address(first).await?, end.port);
        tracing::debug!(machine = end.machine, document = document.name, "opening a session");
        let mut settings = session_settings(&self.route.config, began, LINGER);
        settings.for_remote_host = document.host().is_some();
        settings.access_request = settings.access_request.filter(|_| is_last);
        let request = session_request(&target, document, &self.route.config)?;
        let session = OneStream {
            aws: self.aws.clone(),
            request,
            settings,
            on_notice: self.on_notice.clone(),
            is_for_hop: first < self.route.hops.len(),
        };
        let opened = SessionTask::open(session, &self.tasks, end).await?;
        self.session_end.set(Some(first));
        self.readiness.opened().await?;
        Ok(opened)
    }

    /// Runs a task that the end of the process waits for.
    fn spawn<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        self.tasks.spawn_local(work)
    }

    /// Returns whether a session without streams has to end, so that the machine is stopped.
    pub fn is_guarded(&self) -> bool {
        self.readiness.is_guarded()
    }

    async fn session_end(&self, first: usize, target: &Target) -> Result<SessionEnd, ReachError> {
        let machine = self.route.machine(first);
        let is_hop = first < self.route.hops.len();
        let port = if is_hop { self.login(first).await?.port } else { machine.port };
        Ok(SessionEnd {
            target: (first == 0).then(|| target.clone()),
            machine: machine.label().to_owned(),
            port,
            through: self.route.hops.first().filter(|_| first > 0).map(|hop| hop.machine.label().to_owned()),
            is_forward: false,
            subject: self.route.goal.label().to_owned(),
            entry: Some(target.clone()),
            place: None,
            is_stopped: false,
        })
    }

    /// Logs in to hop number `first` through the stream, and from there to all later hops.
    async fn log_in(
        &self,
        stream: impl ByteStream + 'static,
        session: SessionTask,
        first: usize,
        entry: &Target,
    ) -> Result<HopConnection, ReachError> {
        match self.log_in_to_each(stream, first, entry).await {
            Ok(hops) => Ok(HopConnection::new(hops, session)),
            Err(error) => Err(session.cause_of(error).await),
        }
    }

    async fn log_in_to_each(
        &self,
        stream: impl ByteStream + 'static,
        first: usize,
        entry: &Target,
    ) -> Result<Vec<SshConnection>, ReachError> {
        let mut hops = vec![self.log_in_to(first, entry, stream).await?];
        for number in first + 1..self.route.hops.len() {
            let next = self.log_in_from(&hops, number, entry).await;
            let lost = || hops.iter().find_map(SshConnection::lost);
            hops.push(match next {
                Ok(hop) => hop,
                Err(error) => return Err(lost().map_or(error, ReachError::from)),
            });
        }
        Ok(hops)
    }

    async fn log_in_from(
        &self,
        hops: &[SshConnection],
        number: usize,
        entry: &Target,
    ) -> Result<SshConnection, ReachError> {
        let (port, address) = (self.login(number).await?.port, self.address(number).await?);
        let last = hops.last().expect("the first hop is logged in to");
        let stream = last.open(&address, port).await?;
        self.log_in_to(number, entry, stream).await
    }

    /// Returns the address that the hop before a machine connects to: our config file's, else, for a hop, ssh_config's.
    async fn address(&self, number: usize) -> Result<String, ReachError> {
        let machine = self.route.machine(number);
        let is_hop = number < self.route.hops.len();
        let address = match (&machine.named_host, &machine.address) {
            (Some(_), Some(address)) => address,
            _ if is_hop => &self.login(number).await?.host,
            _ => return Ok(machine.address_or_word().to_owned()),
        };
        Ok(address.clone())
    }

    async fn login(&self, number: usize) -> Result<&HopSettings, ReachError> {
        Ok(self.logins().await?.get(number).expect("each hop has its settings"))
    }

    async fn logins(&self) -> Result<&Vec<HopSettings>, ReachError> {
        let ask = || try_join_all(self.route.hops.iter().map(|hop| self.ask_login(&hop.machine)));
        self.logins.get_or_try_init(ask).await
    }

    async fn ask_login(&self, hop: &Machine) -> Result<HopSettings, ReachError> {
        let mut settings = hop_settings(hop, &self.route, &self.environment).await?;
        settings.batch_mode |= self.only_looks;
        settings.keeps_new_hosts = !self.only_looks;
        Ok(settings)
    }
}
