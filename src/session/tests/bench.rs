//! One session and everything around it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::{JoinHandle, LocalSet};
use tokio::time::timeout;

use crate::aws::StartedSession;
use crate::clock;
use crate::session::driver::{Driver, Parts};
use crate::session::path_cache::PathCache;
use crate::session::{Notice, Outcome, SessionError, SessionOptions};

use super::agent::Agent;
use super::local::{Local, Reader, TestEnd};
use super::progress::Progress;
use super::service::{Scripts, Service, stream};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// What never takes so long has failed.
const LONG: Duration = Duration::from_secs(24 * 3600);

thread_local! {
    /// How far the wall clock is ahead, since the machine has slept.
    static SLEPT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn wall() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000) + SLEPT.get()
}

/// Runs a script on paused time.
pub(super) fn scenario(script: impl AsyncFnOnce(Bench)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    SLEPT.set(Duration::ZERO);
    LocalSet::new().block_on(&runtime.unwrap(), async {
        timeout(LONG, script(Bench::new())).await.expect("the script ends");
    });
}

/// The bench.
pub(super) struct Bench {
    pub settings: SessionOptions,
    pub service: Service,
    pub agent: Agent,
    pub progress: Rc<Progress>,
    local: Rc<RefCell<Local>>,
    notices: Rc<RefCell<Vec<Notice>>>,
    session: Option<JoinHandle<Result<Outcome, SessionError>>>,
}

impl Bench {
    fn new() -> Self {
        let progress = Progress::new();
        let agent = Agent::new(progress.clone());
        let settings = SessionOptions {
            began: clock::now(),
            connect_timeout: 45 * SECOND,
            resume_window: 15 * MINUTE,
            keepalive: 20 * SECOND,
            linger: SECOND,
            max_payload: None,
            cache_dir: None,
            for_remote_host: false,
            access_request: None,
        };
        Self {
            settings,
            service: Service::new(agent.clone(), progress.clone()),
            agent,
            progress,
            local: Rc::default(),
            notices: Rc::default(),
            session: None,
        }
    }

    /// Starts the driver of a session that the service has just started.
    pub(super) fn start(&mut self) {
        let notices = self.notices.clone();
        let parts = Parts {
            control: Rc::new(self.service.clone()),
            dialer: self.service.clone(),
            settings: Rc::new(self.settings.clone()),
            on_notice: Rc::new(move |notice: &Notice| {
                // Every session that was connected ends with it.
                if !matches!(notice, Notice::Measured(_)) {
                    notices.borrow_mut().push(notice.clone());
                }
            }),
            path: PathCache::new(None, String::new()),
            tally: Rc::default(),
            read_wall: wall,
            end: TestEnd::new(self.local.clone(), self.progress.clone()),
        };
        let started = StartedSession { session_id: "alice-0123".to_owned(), stream: stream("token 0") };
        let deadline = clock::now() + self.settings.connect_timeout;
        let driver = Driver::new(parts, Rc::new(()), started, deadline);
        self.session = Some(tokio::task::spawn_local(async move { driver.run().await.0 }));
    }

    /// Starts it and waits until data can flow.
    pub(super) async fn connect(&mut self) {
        self.start();
        self.until(|bench| bench.local.borrow().connected).await;
    }

    /// Waits until something is the case.
    pub(super) async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        while !is_so(self) {
            assert!(!self.is_over(), "the session is over before");
            self.progress.changed().await;
            tokio::task::yield_now().await;
        }
    }

    /// Waits for the end of the session.
    pub(super) async fn end(&mut self) -> Result<Outcome, SessionError> {
        let session = self.session.take().expect("it was started");
        session.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    pub(super) fn is_over(&self) -> bool {
        self.session.as_ref().is_none_or(JoinHandle::is_finished)
    }

    pub(super) fn script(&self, script: impl FnOnce(&mut Scripts)) {
        script(&mut self.service.scripts.borrow_mut());
    }

    pub(super) fn local(&self, change: impl FnOnce(&mut Local)) {
        change(&mut self.local.borrow_mut());
        self.progress.event();
    }

    pub(super) fn write(&self, bytes: &[u8]) {
        self.local(|local| local.input.extend_from_slice(bytes));
    }

    pub(super) fn finish(&self) {
        self.local(|local| local.input_ended = true);
    }

    pub(super) fn read(&self, reader: Reader) {
        self.local(|local| local.reader = reader);
    }

    pub(super) fn interrupt(&self) {
        self.local(|local| local.leaves = true);
    }

    pub(super) fn written(&self) -> Vec<u8> {
        self.local.borrow().written.clone()
    }

    pub(super) fn most_unwritten(&self) -> usize {
        self.local.borrow().most_unwritten
    }

    pub(super) fn received(&self) -> Vec<u8> {
        self.agent.state.borrow().received.clone()
    }

    pub(super) fn notices(&self) -> Vec<Notice> {
        self.notices.borrow().clone()
    }

    pub(super) fn resumed(&self) -> usize {
        self.notices.borrow().iter().filter(|notice| matches!(notice, Notice::Resumed(_))).count()
    }

    /// The wall clock jumps ahead, as after a sleep.
    pub(super) fn sleep_machine(&self, time: Duration) {
        SLEPT.set(SLEPT.get() + time);
    }

    pub(super) fn is_connected(&self) -> bool {
        self.local.borrow().connected
    }

    /// Waits until an interrupt was taken, or the session ended without one.
    pub(super) async fn interrupted(&self) {
        while !self.local.borrow().interrupted && !self.is_over() {
            self.progress.changed().await;
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn is_closed_by_service(&self) -> bool {
        self.agent.state.borrow().closed
    }

    /// Returns true if the session does not go on at the service.
    pub(super) fn is_ended_at_service(&self) -> bool {
        self.service.scripts.borrow().terminated || self.agent.state.borrow().flagged
    }
}

/// Bytes that are not all the same.
pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}
