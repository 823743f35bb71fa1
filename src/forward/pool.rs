//! The sessions to one destination.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::aws::{Aws, SessionRequest};
use crate::reach::{HoldOff, ReachError, SessionEnd};

use super::streams::{Manners, Streams, Ties};
use super::{ForwardEvent, Incoming, Status, Traffic};
use crate::session::Interrupt;
use crate::session::{Outcome, SessionError, Settings};
use crate::session::{Start, start};

/// The agent resolves a name once for a session: an older one may lead to where the name no longer does.
const NAME_LIFE: Duration = Duration::from_secs(60);
/// Sessions that carry one connection each are opened up to this number.
const MOST_SINGLES: usize = 8;
/// Between two tries to start a session that may soon be had; it doubles from the one to the other.
const RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// Breaking connections off takes a moment at most, unless an application does not read.
const BREAKING_OFF: Duration = Duration::from_millis(200);

/// Finds out what is to be started, anew for each session.
pub type Prepare = Rc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<SessionRequest, ReachError>>>>>;

/// What all sessions of a pool have in common.
#[derive(Clone)]
pub struct PoolSettings {
    /// The way to AWS.
    pub aws: Rc<Aws>,
    /// What to start.
    pub prepare: Prepare,
    /// How sessions are opened and kept.
    pub settings: Settings,
    /// Sessions are kept from ending for want of input while a connection is open.
    pub hold: bool,
    /// How many sessions new connections are spread over.
    pub sessions: usize,
    /// A session without connections ends itself after so long.
    pub idle_limit: Option<Duration>,
    /// The destination is a name, which may move to another address.
    pub follows_name: bool,
    /// Who is told what happens.
    pub notes: Rc<dyn Fn(&ForwardEvent)>,
    /// What is counted.
    pub traffic: Rc<Traffic>,
    /// The far end of the sessions, for errors.
    pub end: SessionEnd,
}

/// The pool.
pub struct Pool {
    settings: PoolSettings,
    entries: RefCell<Vec<Entry>>,
    next: Cell<u64>,
    tasks: TaskTracker,
    /// Everything is to end.
    leave: CancellationToken,
    last_failure: RefCell<Option<Rc<ReachError>>>,
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
    inbox: UnboundedSender<Incoming>,
    status: watch::Sender<Status>,
    leave: CancellationToken,
}

/// Where a connection goes.
enum Choice {
    Existing(usize),
    New,
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
            leave,
            last_failure: RefCell::default(),
            hold_off,
            idle_since: Cell::default(),
            has_worked: Cell::new(false),
            changes: watch::Sender::new(()),
        })
    }

    /// Finds a session for a connection, or opens one.
    pub fn assign(self: &Rc<Self>, incoming: Incoming) {
        if self.leave.is_cancelled() {
            return incoming.reject();
        }
        self.retire_outdated();
        let number = match self.choose() {
            Choice::Existing(number) => number,
            Choice::New => self.launch(),
        };
        let mut entries = self.entries.borrow_mut();
        let Some(entry) = entries.get_mut(number) else { return incoming.reject() };
        entry.status.send_modify(|status| status.live += 1);
        if let Err(unsent) = entry.inbox.send(incoming) {
            // Its task has just ended and takes its entry away in a moment.
            entry.status.send_modify(|status| status.is_ending = true);
            drop(entries);
            self.assign(unsent.0);
        }
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
            if let Some(failure) = self.last_failure.borrow().clone() {
                return Err(failure);
            }
            if self.entries.borrow().iter().all(|entry| entry.status.borrow().is_up) {
                return Ok(());
            }
            // The pool has a sender itself, so there is always a next change.
            let _ = changes.changed().await;
        }
    }

    /// Tells whether no connection needs a session.
    pub fn is_idle(&self) -> bool {
        self.entries.borrow().iter().all(|entry| entry.status.borrow().is_unused())
    }

    /// Tells since when no connection has needed a session.
    pub fn idle_since(&self) -> Option<Instant> {
        self.idle_since.get()
    }

    /// Tells whether there is a session.
    pub fn is_open(&self) -> bool {
        !self.entries.borrow().is_empty()
    }

    /// Tells whether no session is to be started yet, after one that could not be.
    pub fn is_held_off(&self) -> bool {
        self.hold_off.is_active(Instant::now().into_std())
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

    /// Takes sessions out of use that may lead to where a name no longer does.
    fn retire_outdated(&self) {
        if !self.settings.follows_name {
            return;
        }
        for entry in self.entries.borrow().iter() {
            let status = *entry.status.borrow();
            let is_outdated = entry.began.elapsed() > NAME_LIFE;
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
        let open: Vec<(usize, Status)> = open
            .filter(|(_, status, leave)| !status.is_retired && !status.is_ending && !leave.is_cancelled())
            .map(|(at, status, _)| (at, status))
            .collect();
        let able = open.iter().filter(|(_, status)| !status.is_stalled && !status.is_full);
        // One whose link is being mended comes last.
        let least = able.min_by_key(|(_, status)| (status.was_up && !status.is_up, status.live));
        let carries_one = open.iter().any(|(_, status)| status.is_full);
        let (enough, most) = match self.settings.sessions {
            _ if carries_one => (MOST_SINGLES, MOST_SINGLES),
            sessions => (sessions, sessions + 1),
        };
        match least {
            Some((at, status)) if status.live == 0 || open.len() >= enough => Choice::Existing(*at),
            Some(_) => Choice::New,
            None if open.len() < most => Choice::New,
            None => open
                .iter()
                .min_by_key(|(_, status)| status.live)
                .map_or(Choice::New, |(at, _)| Choice::Existing(*at)),
        }
    }

    /// Starts the task of a session; returns the place of its entry.
    fn launch(self: &Rc<Self>) -> usize {
        let number = self.next.get();
        self.next.set(number + 1);
        let (inbox, taken) = unbounded_channel();
        let status = watch::Sender::new(Status::default());
        let leave = self.leave.child_token();
        let (notes, pool) = (self.settings.notes.clone(), self.clone());
        let ties = Ties {
            inbox: taken,
            leave: leave.clone(),
            status: status.clone(),
            tell: Box::new(move |note| notes(note)),
            hand_back: Box::new(move |incoming| pool.assign(incoming)),
            traffic: self.settings.traffic.clone(),
        };
        self.tasks.spawn_local(self.clone().follow(status.subscribe()));
        self.tasks.spawn_local(self.clone().serve(number, ties));
        let mut entries = self.entries.borrow_mut();
        entries.push(Entry { number, began: Instant::now(), inbox, status, leave });
        entries.len() - 1
    }

    /// Passes changes of a session's status on.
    async fn follow(self: Rc<Self>, mut status: watch::Receiver<Status>) {
        while status.changed().await.is_ok() {
            self.has_worked.set(self.has_worked.get() || status.borrow().was_up);
            let idle_since = self.idle_since.get().unwrap_or_else(Instant::now);
            self.idle_since.set(self.is_idle().then_some(idle_since));
            self.changes.send_replace(());
        }
        self.changes.send_replace(());
    }

    /// A session from its start to its end.
    async fn serve(self: Rc<Self>, number: u64, ties: Ties) {
        let (leave, status) = (ties.leave.clone(), ties.status.clone());
        let streams = Streams::new(Instant::now().into_std(), self.manners(), ties);
        let (result, streams) = self.run(&leave, streams).await;
        self.entries.borrow_mut().retain(|entry| entry.number != number);
        let was_up = status.borrow().was_up;
        if was_up {
            self.hold_off.succeeded();
        }
        // A destination may end its session as soon as it works.
        if result.as_ref().is_err_and(|failure| !was_up || failure.is_remote_port()) {
            self.hold_off.failed(Instant::now().into_std());
        }
        let has_left = leave.is_cancelled() || status.borrow().is_retired;
        let Some(mut released) = streams.map(|streams| streams.release(result.is_ok() && !has_left)) else {
            return self.over(result.err(), 0);
        };
        let may_work = was_up || result.as_ref().err().is_some_and(|failure| self.may_pass(failure));
        let turned_away = self.find_other_sessions(std::mem::take(&mut released.waiting), may_work);
        let broken = released.broken;
        let failure = match result {
            Err(failure) => Some(failure),
            Ok(_) if broken > 0 && !has_left => {
                let reason = "it was closed, with connections open".to_owned();
                Some(self.session_error(SessionError::Ended { reason, suspected_size: None }))
            }
            Ok(_) => None,
        };
        self.over(failure, broken + turned_away);
        if self.leave.is_cancelled() {
            // The process is about to end: applications that take what they are given see a reset behind it.
            let _ = timeout(BREAKING_OFF, released.gone()).await;
        }
    }

    /// Gives connections to other sessions as long as that may be of use and their time is not over; returns how many
    /// were turned away.
    fn find_other_sessions(self: &Rc<Self>, waiting: Vec<Incoming>, may_work: bool) -> usize {
        let now = Instant::now().into_std();
        let is_wanted = may_work && !self.leave.is_cancelled();
        let patience = self.settings.settings.connect_timeout;
        let (wanted, late): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|incoming| is_wanted && now < incoming.asked + patience);
        let turned_away = late.len();
        late.into_iter().for_each(Incoming::reject);
        wanted.into_iter().for_each(|incoming| self.assign(incoming));
        turned_away
    }

    fn over(&self, failure: Option<ReachError>, connections: usize) {
        match &failure {
            Some(failure) => tracing::info!(%failure, connections, "a session of the forward is over"),
            None => tracing::info!("a session of the forward is over"),
        }
        if let Some(failure) = failure {
            self.failed(failure, connections);
        }
        self.changes.send_replace(());
    }

    /// Tells whether a session that cannot be started now may be in a moment: one worked before, so its agent or the
    /// way to it is coming back.
    fn may_pass(&self, failure: &ReachError) -> bool {
        self.has_worked.get() && failure.is_temporary()
    }

    /// Runs a session; one that cannot be started yet is tried again while connections may wait for it.
    async fn run(
        &self,
        leave: &CancellationToken,
        streams: Streams,
    ) -> (Result<Outcome, ReachError>, Option<Streams>) {
        let settings = Settings { began: crate::clock::now(), ..self.settings.settings.clone() };
        let give_up_at = settings.began + settings.connect_timeout;
        if let Some(at) = self.hold_off.until() {
            tokio::select! {
                () = sleep_until(at.into()) => {}
                () = leave.cancelled() => return (Ok(Outcome::Done), Some(streams)),
            }
        }
        let mut delay = RETRY;
        loop {
            let session = match self.start(leave, &settings).await {
                Ok(Start::Started(session)) => session,
                Ok(Start::Left(outcome)) => return (Ok(outcome), Some(streams)),
                Err(failure) if self.may_pass(&failure) => {
                    tracing::info!(%failure, "a session cannot be started yet");
                    tokio::select! {
                        () = sleep(delay) => {}
                        () = sleep_until(give_up_at.into()) => return (Err(failure), Some(streams)),
                        () = leave.cancelled() => return (Ok(Outcome::Done), Some(streams)),
                    }
                    delay = (delay * 2).min(LONGEST_RETRY);
                    continue;
                }
                Err(failure) => return (Err(failure), Some(streams)),
            };
            let notes = self.settings.notes.clone();
            let notes =
                Rc::new(move |note: &crate::session::Notice| notes(&ForwardEvent::Session(note.clone())));
            let (result, streams) =
                session.run(self.settings.aws.clone(), Rc::new(settings), notes, || Ok(streams)).await;
            return (result.map_err(|error| self.session_error(error)), streams);
        }
    }

    async fn start(&self, leave: &CancellationToken, settings: &Settings) -> Result<Start, ReachError> {
        let request = tokio::select! {
            prepared = (self.settings.prepare)() => prepared?,
            () = leave.cancelled() => return Ok(Start::Left(Outcome::Done)),
        };
        let interrupt = async {
            leave.cancelled().await;
            Interrupt::ReaderGone
        };
        let started = start(&self.settings.aws, &request, settings, interrupt).await;
        started.map_err(|error| self.session_error(error))
    }

    fn session_error(&self, error: SessionError) -> ReachError {
        ReachError::Session { error, to: Box::new(self.settings.end.clone()) }
    }

    /// Only somebody who waits needs to know; an idle session is opened again at the next connection, in silence.
    fn failed(&self, failure: ReachError, connections: usize) {
        let failure = Rc::new(failure);
        if connections > 0 {
            (self.settings.notes)(&ForwardEvent::SessionFailed { error: failure.clone(), connections });
        }
        self.last_failure.replace(Some(failure));
    }

    fn manners(&self) -> Manners {
        let PoolSettings { settings, hold, idle_limit, .. } = &self.settings;
        Manners {
            linger: settings.linger,
            connect_timeout: settings.connect_timeout,
            hold: *hold,
            idle_limit: *idle_limit,
        }
    }
}
