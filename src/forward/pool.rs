//! The sessions to one destination.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::aws::{Aws, SessionRequest};
use crate::clock;
use crate::names::Target;
use crate::reach::{HoldOff, ReachError, Readiness, SessionEnd};
use crate::session::{
    self, EarlyEnd, Handle, LocalStream, Notice, Outcome, Ran, RelayEnd, Released, Request, Session,
    SessionError, SessionOptions, SessionStatus, Stream, StreamError, StreamOptions, Streams,
};

use super::choice::{Choice, choose};
use super::connection::{ClientConnection, Linger, Unopened};
use super::{ForwardEvent, Traffic};

/// The agent resolves a name once for a session: an older session may connect to an address that the name no longer has.
const NAME_LIFE: Duration = Duration::from_secs(60);
/// Between two tries to start a session that may soon be had; it doubles from the one to the other.
const RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// Resetting connections takes a moment at most, unless a local client does not read.
const BREAKING_OFF: Duration = Duration::from_millis(200);

/// Returns what is to be started, anew for each session.
pub type Prepare =
    Rc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(Target, SessionRequest), ReachError>>>>>;

/// What all sessions of a pool have in common.
#[derive(Clone)]
pub struct PoolSettings {
    /// The way to AWS.
    pub aws: Rc<Aws>,
    /// What to start.
    pub prepare: Prepare,
    /// Starts the target if it is down.
    pub readiness: Rc<Readiness>,
    /// How sessions are opened and kept.
    pub settings: SessionOptions,
    /// How long the destination may be silent after a client's end of file.
    pub linger: Linger,
    /// Sessions are kept from ending for want of input while a connection is open.
    pub hold: bool,
    /// How many sessions new connections are spread over.
    pub sessions: usize,
    /// A session without connections ends itself after this time.
    pub idle_limit: Option<Duration>,
    /// The destination is a name, which may move to another address.
    pub follows_name: bool,
    /// The pause after a session could not be started, of all pools whose sessions are started in the same way.
    pub start_hold_off: Rc<HoldOff>,
    /// Receives what happens.
    pub observer: Rc<dyn Fn(&ForwardEvent)>,
    /// Counts what passes through.
    pub traffic: Rc<Traffic>,
    /// The far end of the sessions, for errors.
    pub end: SessionEnd,
}

/// What became of one attempt to run a session.
enum Attempt {
    /// There was no session: the streams can be given to another attempt.
    NotStarted(ReachError, Streams),
    /// The session has ended, or was not wanted any more.
    Ended(Result<Outcome, ReachError>, Option<Streams>),
}

/// The pool.
pub struct Pool {
    settings: PoolSettings,
    entries: RefCell<Vec<Entry>>,
    next: Cell<u64>,
    tasks: TaskTracker,
    /// The connections of local clients.
    connections: TaskTracker,
    /// Everything is to end.
    leave: CancellationToken,
    last_error: RefCell<Option<Rc<ReachError>>>,
    /// The target of the last session that was asked for.
    entry: RefCell<Option<Target>>,
    /// The pause of this destination.
    hold_off: HoldOff,
    idle_since: Cell<Option<Instant>>,
    /// Data could flow in one of its sessions.
    has_worked: Cell<bool>,
    /// Changes with every change of a session's status.
    changes: watch::Sender<()>,
}

/// A session of the pool.
struct Entry {
    number: u64,
    began: Instant,
    handle: Handle,
    status: watch::Sender<SessionStatus>,
    leave: CancellationToken,
}

impl Pool {
    /// Makes a pool without a session. Its tasks run until `leave` is cancelled and are counted by `tasks`.
    pub fn new(settings: PoolSettings, leave: CancellationToken, tasks: TaskTracker) -> Rc<Self> {
        let hold_off = HoldOff::new(settings.settings.connect_timeout);
        Rc::new(Self {
            settings,
            entries: RefCell::default(),
            next: Cell::new(0),
            tasks,
            connections: TaskTracker::new(),
            leave,
            last_error: RefCell::default(),
            entry: RefCell::default(),
            hold_off,
            idle_since: Cell::default(),
            has_worked: Cell::new(false),
            changes: watch::Sender::new(()),
        })
    }

    /// Serves a connection that was accepted at that time, in a task.
    pub(super) fn take<S: LocalStream + 'static>(
        self: &Rc<Self>,
        connection: ClientConnection<S>,
        accepted: Instant,
    ) {
        self.connections.spawn_local(self.clone().carry(connection, accepted));
    }

    async fn carry<S: LocalStream>(self: Rc<Self>, connection: ClientConnection<S>, accepted: Instant) {
        let from = connection.from.clone();
        match self.open_stream(&connection, accepted).await {
            Ok(stream) => {
                stream.set_linger(connection.linger(self.settings.linger));
                let end = connection.carry(stream, None, &self.settings.traffic).await;
                if let Some(RelayEnd::Remote(error)) = end {
                    self.report(StreamError::of(&error), from);
                }
            }
            Err(error) => {
                self.report(Some(error), from);
                let is_refusal = error == StreamError::Refused;
                connection.reject(if is_refusal { Unopened::Refused } else { Unopened::Failed }).await;
            }
        }
    }

    /// Reports why a connection was reset, unless it was the end of its session, which is reported once for all.
    fn report(&self, error: Option<StreamError>, from: String) {
        match error {
            Some(StreamError::Refused) => (self.settings.observer)(&ForwardEvent::Refused { from }),
            Some(StreamError::TimedOut(after)) => {
                (self.settings.observer)(&ForwardEvent::TimedOut { from, after })
            }
            Some(StreamError::Elsewhere | StreamError::Lost) | None => {}
        }
    }

    /// Opens a stream in a session that can carry it.
    async fn open_stream<S: LocalStream>(
        self: &Rc<Self>,
        connection: &ClientConnection<S>,
        accepted: Instant,
    ) -> Result<Stream, StreamError> {
        let (name, confirm) = (connection.from.clone(), connection.is_to_be_answered());
        let request = Request { name, asked: accepted, confirm };
        loop {
            if self.leave.is_cancelled() {
                return Err(StreamError::Lost);
            }
            match self.assign(request.clone()).await {
                Err(StreamError::Elsewhere) => {}
                result => return result,
            }
        }
    }

    /// Asks for a stream in a session, and opens one if there is none that takes it.
    async fn assign(self: &Rc<Self>, request: Request) -> Result<Stream, StreamError> {
        self.retire_outdated();
        let handle = match self.choose() {
            Choice::Existing(place) => self.entries.borrow().get(place).map(|entry| entry.handle.clone()),
            Choice::New => Some(self.launch()),
        };
        handle.ok_or(StreamError::Lost)?.open(request).await
    }

    /// Opens the sessions that connections are spread over, and waits until they work.
    ///
    /// # Errors
    /// Why one does not.
    pub async fn open(self: &Rc<Self>) -> Result<(), Rc<ReachError>> {
        let mut changes = self.changes.subscribe();
        for _ in 0..self.settings.sessions {
            self.launch();
        }
        loop {
            if let Some(error) = self.last_error.borrow().clone() {
                return Err(error);
            }
            if self.entries.borrow().iter().all(|entry| entry.status.borrow().is_up) {
                return Ok(());
            }
            // The pool has a sender itself, so there is always a next change.
            let _ = changes.changed().await;
        }
    }

    /// Returns whether no connection needs a session.
    pub fn is_idle(&self) -> bool {
        self.entries.borrow().iter().all(|entry| entry.status.borrow().is_unused())
    }

    /// Returns since when no connection has needed a session.
    pub fn idle_since(&self) -> Option<Instant> {
        self.idle_since.get()
    }

    /// Returns whether there is a session.
    pub fn is_open(&self) -> bool {
        !self.entries.borrow().is_empty()
    }

    /// Returns whether the next session has to wait, since one could not be started.
    pub fn is_held_off(&self) -> bool {
        self.hold_off.is_active(clock::now())
    }

    /// Ends the sessions that have no connection.
    pub fn close_idle(&self) {
        let entries = self.entries.borrow();
        entries
            .iter()
            .filter(|entry| entry.status.borrow().is_unused())
            .for_each(|entry| entry.leave.cancel());
    }

    /// Waits until something about its sessions may have changed.
    pub async fn changed(&self) {
        let _ = self.changes.subscribe().changed().await;
    }

    /// Takes sessions out of use that may connect to an address which the name no longer has.
    fn retire_outdated(&self) {
        if !self.settings.follows_name {
            return;
        }
        for entry in self.entries.borrow().iter() {
            let status = *entry.status.borrow();
            let is_outdated = clock::now() > entry.began + NAME_LIFE;
            if is_outdated && status.is_up && (status.live == 0 || status.was_refused) {
                entry.status.send_modify(|status| status.is_retired = true);
                if status.is_unused() {
                    entry.leave.cancel();
                }
            }
        }
    }

    fn choose(&self) -> Choice {
        let entries = self.entries.borrow();
        let open = entries.iter().enumerate().map(|(at, entry)| (at, *entry.status.borrow(), &entry.leave));
        let open: Vec<(usize, SessionStatus)> = open
            .filter(|(_, status, leave)| !status.is_retired && !status.is_ending && !leave.is_cancelled())
            .map(|(at, status, _)| (at, status))
            .collect();
        choose(&open, self.settings.sessions)
    }

    /// Starts the task of a session; returns the handle that opens its streams.
    fn launch(self: &Rc<Self>) -> Handle {
        let number = self.next.get();
        self.next.set(number + 1);
        let (began, leave) = (clock::now(), self.leave.child_token());
        let status = watch::Sender::new(SessionStatus::default());
        let (handle, streams) = Streams::new(began, self.stream_options(), status.clone(), leave.clone());
        self.tasks.spawn_local(self.clone().follow(status.subscribe()));
        let entry = Entry { number, began, handle: handle.clone(), status, leave };
        self.tasks.spawn_local(self.clone().serve(
            number,
            streams,
            entry.leave.clone(),
            entry.status.clone(),
        ));
        self.entries.borrow_mut().push(entry);
        handle
    }

    /// Passes changes of a session's status on.
    async fn follow(self: Rc<Self>, mut status: watch::Receiver<SessionStatus>) {
        let mut was_up = false;
        while status.changed().await.is_ok() {
            if status.borrow().is_up && !std::mem::replace(&mut was_up, true) {
                self.clone().confirm();
            }
            self.has_worked.set(self.has_worked.get() || status.borrow().was_up);
            let idle_since = self.idle_since.get().unwrap_or_else(clock::now);
            self.idle_since.set(self.is_idle().then_some(idle_since));
            self.changes.send_replace(());
        }
        self.changes.send_replace(());
    }

    /// Makes sure that what was done before the session was opened still holds.
    fn confirm(self: Rc<Self>) {
        self.tasks.clone().spawn_local(async move {
            let opened = tokio::select! {
                opened = self.settings.readiness.opened() => opened,
                () = self.leave.cancelled() => return,
            };
            if let Err(error) = opened {
                self.failed(error, 1);
            }
        });
    }

    /// A session from its start to its end.
    async fn serve(
        self: Rc<Self>,
        number: u64,
        streams: Streams,
        leave: CancellationToken,
        status: watch::Sender<SessionStatus>,
    ) {
        let started = Cell::default();
        let (mut result, streams) = self.run(&leave, streams, &started).await;
        if let Err(error) = &mut result {
            tokio::select! {
                () = error.locate(&self.settings.aws) => {}
                () = leave.cancelled() => {}
            }
        }
        self.entries.borrow_mut().retain(|entry| entry.number != number);
        let has_left = leave.is_cancelled() || status.borrow().is_retired;
        let worked_from = started.get().filter(|_| status.borrow().was_up);
        let may_work = self.learn(&result, worked_from);
        let released = streams.map(|streams| self.release(streams, result.is_ok() && !has_left, may_work));
        let Released { broken, turned_away } = released.unwrap_or_default();
        let error = match result {
            Err(error) => Some(error),
            Ok(_) if broken > 0 && !has_left => {
                let reason = EarlyEnd::OpenConnections;
                Some(self.session_error(SessionError::Ended { reason, suspected_size: None }))
            }
            Ok(_) => None,
        };
        self.over(error, broken + turned_away);
        if self.leave.is_cancelled() {
            // The process is about to end: local clients that take what they are sent see a reset behind it.
            self.connections.close();
            let _ = timeout(BREAKING_OFF, self.connections.wait()).await;
        }
    }

    /// Notes how a session ended; returns whether the next one may work.
    fn learn(&self, result: &Result<Outcome, ReachError>, worked_from: Option<Instant>) -> bool {
        if worked_from.is_some() {
            self.hold_off.succeeded();
            self.settings.start_hold_off.succeeded();
        }
        match (worked_from, result) {
            // A destination may end its session as soon as it works.
            (Some(_), Err(error)) if error.is_remote_port() => self.hold_off.failed(clock::now()),
            (Some(opened), Err(_)) => self.hold_off.lost(opened, clock::now()),
            (None, Err(error)) => {
                self.hold_off.failed(clock::now());
                if !error.is_remote_port() {
                    self.settings.start_hold_off.failed(clock::now());
                }
            }
            (_, Ok(_)) => {}
        }
        worked_from.is_some() || result.as_ref().err().is_some_and(|error| self.is_worth_a_retry(error))
    }

    /// Releases the streams of a session that is over. Openings try other sessions if these may work, until they have
    /// waited for too long.
    fn release(&self, streams: Streams, in_order: bool, may_work: bool) -> Released {
        let now = clock::now();
        let open_timeout = self.open_timeout();
        let is_wanted = may_work && !self.leave.is_cancelled();
        streams.release(in_order, |asked| is_wanted && now < asked + open_timeout)
    }

    fn over(&self, error: Option<ReachError>, connections: usize) {
        match &error {
            Some(error) => tracing::info!(%error, connections, "a session of the forward has ended"),
            None => tracing::info!("a session of the forward has ended"),
        }
        if let Some(error) = error {
            self.failed(error, connections);
        }
        self.changes.send_replace(());
    }

    /// Returns whether a session that cannot be started now may be started soon: one worked before, so its agent or the
    /// network is coming back.
    fn is_worth_a_retry(&self, error: &ReachError) -> bool {
        self.has_worked.get() && error.is_temporary()
    }

    /// Returns until when a session has to wait, which is no longer than until it gives up.
    fn pause_until(&self, give_up_at: Instant) -> Option<Instant> {
        let pause = self.hold_off.until().max(self.settings.start_hold_off.until())?;
        Some(pause.min(give_up_at)).filter(|end| clock::now() < *end)
    }

    /// Runs a session, and notes when it was started. If it cannot be started yet, it is tried again while connections may
    /// wait for it.
    async fn run(
        &self,
        leave: &CancellationToken,
        mut streams: Streams,
        started: &Cell<Option<Instant>>,
    ) -> (Result<Outcome, ReachError>, Option<Streams>) {
        let mut settings = SessionOptions { began: clock::now(), ..self.settings.settings.clone() };
        let mut give_up_at = settings.began + settings.connect_timeout;
        // Another session may fail during the pause, which makes it longer.
        while let Some(at) = self.pause_until(give_up_at) {
            tokio::select! {
                () = sleep_until(at.into()) => {}
                () = leave.cancelled() => return (Ok(Outcome::Done), Some(streams)),
            }
        }
        let mut delay = RETRY;
        loop {
            started.set(Some(clock::now()));
            let (error, kept) = match self.attempt(leave, &settings, streams).await {
                Attempt::NotStarted(error, kept) => (error, kept),
                Attempt::Ended(result, streams) => return (result, streams),
            };
            let recovered = tokio::select! {
                recovered = self.settings.readiness.recover(error) => recovered,
                () = leave.cancelled() => return (Ok(Outcome::Done), Some(kept)),
            };
            let error = match recovered {
                Ok(()) => {
                    settings.began = clock::now();
                    give_up_at = settings.began + settings.connect_timeout;
                    streams = kept;
                    continue;
                }
                Err(error) if self.is_worth_a_retry(&error) => error,
                Err(error) => return (Err(error), Some(kept)),
            };
            tracing::info!(%error, "a session cannot be started yet");
            tokio::select! {
                () = sleep(delay) => {}
                () = sleep_until(give_up_at.into()) => return (Err(error), Some(kept)),
                () = leave.cancelled() => return (Ok(Outcome::Done), Some(kept)),
            }
            streams = kept;
            delay = (delay * 2).min(LONGEST_RETRY);
        }
    }

    /// Resolves the target, and runs a session.
    async fn attempt(
        &self,
        leave: &CancellationToken,
        settings: &SessionOptions,
        streams: Streams,
    ) -> Attempt {
        let request = tokio::select! {
            prepared = (self.settings.prepare)() => match prepared {
                Ok((target, request)) => {
                    self.entry.replace(Some(target));
                    request
                }
                Err(error) => return Attempt::NotStarted(error, streams),
            },
            () = leave.cancelled() => return Attempt::Ended(Ok(Outcome::Done), Some(streams)),
        };
        let observer = self.settings.observer.clone();
        let on_notice = Rc::new(move |notice: &Notice| observer(&ForwardEvent::Session(notice.clone())));
        let (aws, settings, leave) = (self.settings.aws.clone(), settings.clone(), leave.clone());
        let session = Session { aws, request, settings, on_notice, leave };
        match session::run(session, streams).await {
            Ran::NotStarted(error, streams) => Attempt::NotStarted(self.session_error(error), streams),
            Ran::Ended(result, streams) => {
                Attempt::Ended(result.map_err(|error| self.session_error(error)), streams)
            }
        }
    }

    /// How long a local client waits for its stream.
    fn open_timeout(&self) -> Duration {
        let settings = &self.settings.settings;
        let approval = settings.access_request.as_ref().map(|wanted| wanted.patience).unwrap_or_default();
        settings.connect_timeout + self.settings.readiness.patience() + approval
    }

    fn session_error(&self, error: SessionError) -> ReachError {
        let entry = self.entry.borrow().clone();
        SessionEnd { entry, ..self.settings.end.clone() }.error(error)
    }

    /// Only a connection that waits makes it worth a note; an idle session is opened again, without a message, at the
    /// next connection.
    fn failed(&self, error: ReachError, connections: usize) {
        let error = Rc::new(error);
        if connections > 0 {
            (self.settings.observer)(&ForwardEvent::SessionFailed { error: error.clone(), connections });
        }
        self.last_error.replace(Some(error));
    }

    fn stream_options(&self) -> StreamOptions {
        let PoolSettings { settings, hold, idle_limit, .. } = &self.settings;
        StreamOptions {
            linger: settings.linger,
            open_timeout: Some(self.open_timeout()),
            ack_timeout: Some(StreamOptions::ACK_TIMEOUT),
            unread_limit: StreamOptions::UNREAD_LIMIT,
            hold: *hold,
            idle_limit: *idle_limit,
            is_single: false,
        }
    }
}
