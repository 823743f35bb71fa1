//! The listeners of a process, and the sessions and hop connections that they share.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::aws::{Aws, Prompts};
use crate::bastion::OnLife;
use crate::clock;
use crate::config::{AwsSettings, Config, Environment, RemoteEnd};
use crate::names::{Destination, Name};
use crate::reach::{
    self, HoldOff, HopPool, Reach, ReachError, Readiness, SessionEnd, find_entry, session_request,
};
use crate::route::Document;
use crate::session::OnNotice;

use super::plan::{ForwardTo, PlannedForward};
use super::{
    Asked, DialHop, ForwardEvent, HopDialer, Linger, Listener, Pool, PoolSettings, Pools, Prepare, Traffic,
    Unopened, Upstream,
};

/// A session without connections ends after this time: that of a proxy, so that another destination can have one, and one to
/// a bastion, so that the bastion is stopped.
const IDLE: Duration = Duration::from_secs(60);
/// The same for all others: the next connection opens another one.
const UNUSED: Duration = Duration::from_secs(300);

/// Receives what happens to a forward.
pub type Observer = Rc<dyn Fn(&PlannedForward, &ForwardEvent)>;

/// Asks the user for the code of an MFA device; one for each set of AWS settings.
pub type MakePrompts = Box<dyn Fn() -> Prompts>;

/// How the forwards of a process are carried.
pub struct RegistryOptions {
    /// Sessions that the connections to one destination are spread over.
    pub sessions: usize,
    /// Destinations of a proxy with open sessions at once.
    pub max_destinations: usize,
    /// Receives events.
    pub observer: Observer,
    /// Asks for MFA codes.
    pub prompts: MakePrompts,
    /// The environment, for logins to hops.
    pub environment: Environment,
    /// Cancelled when the process is ending.
    pub leave: CancellationToken,
    /// Counts the tasks that the end of the process waits for.
    pub tasks: TaskTracker,
}

/// The registry.
pub struct Registry {
    options: RegistryOptions,
    fatal: Rc<Fatal>,
    traffic: Rc<Traffic>,
    /// One set of clients for each set of AWS settings.
    clients: RefCell<Vec<(AwsSettings, Rc<Aws>)>>,
    /// One pool for each destination, however many listeners it has.
    pools: RefCell<Vec<SharedPool>>,
    /// One pool for each target behind hops.
    hop_pools: RefCell<Vec<(PlannedForward, Rc<HopPool>)>>,
}

/// The first permanent failure, if it ends the process: the failure of one target among several does not.
struct Fatal {
    has_one_target: bool,
    happened: CancellationToken,
    failure: RefCell<Option<FatalFailure>>,
}

/// A failure that ends the process.
pub struct FatalFailure {
    /// The forward.
    pub forward: PlannedForward,
    /// The cause.
    pub error: Rc<ReachError>,
}

impl Fatal {
    fn new(plan: &[PlannedForward]) -> Self {
        let first = plan.first().map(PlannedForward::target);
        let has_one_target = plan.iter().all(|planned| Some(planned.target()) == first);
        Self { has_one_target, happened: CancellationToken::new(), failure: RefCell::default() }
    }

    fn set(&self, forward: &PlannedForward, error: Rc<ReachError>) {
        self.failure.replace(Some(FatalFailure { forward: forward.clone(), error }));
        self.happened.cancel();
    }
}

/// A pool, and the forward that it was made for.
struct SharedPool {
    planned: PlannedForward,
    document: Document,
    pool: Rc<Pool>,
}

impl SharedPool {
    /// Returns true if its sessions are what another listener needs.
    fn serves(&self, planned: &PlannedForward, document: &Document) -> bool {
        let (mine, others) = (&self.planned.route, &planned.route);
        mine.entry == others.entry
            && mine.config.aws == others.config.aws
            && mine.config.session == others.config.session
            && self.planned.hold == planned.hold
            && self.document == *document
    }
}

impl Registry {
    /// Opens nothing yet.
    pub fn new(options: RegistryOptions, plan: &[PlannedForward]) -> Self {
        Self {
            fatal: Rc::new(Fatal::new(plan)),
            options,
            traffic: Rc::default(),
            clients: RefCell::default(),
            pools: RefCell::default(),
            hop_pools: RefCell::default(),
        }
    }

    /// Accepts a listener's connections until the end.
    pub fn serve(&self, listener: Listener, upstream: Upstream) {
        let (leave, tasks) = (self.options.leave.clone(), self.options.tasks.clone());
        let traffic = self.traffic.clone();
        let work = async move { upstream.serve(&listener, &traffic, leave, tasks).await };
        self.options.tasks.spawn_local(work);
    }

    /// Returns the counters of all forwards.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Returns where a listener's connections go.
    ///
    /// # Errors
    /// The AWS settings or the ssh_config cannot be used.
    pub async fn upstream(&self, planned: &PlannedForward) -> Result<Upstream, ReachError> {
        let aws = self.aws(&planned.route.config)?;
        if !planned.route.hops.is_empty() {
            return Ok(Upstream::Hop(self.hop_dialer(planned, aws).await?));
        }
        Ok(match &planned.to {
            ForwardTo::Port(remote) => Upstream::Pool(self.pool(planned, remote, aws)),
            ForwardTo::Proxy => Upstream::Pools(self.proxy_pools(planned, aws)),
        })
    }

    fn pool(&self, planned: &PlannedForward, remote: &RemoteEnd, aws: Rc<Aws>) -> Rc<Pool> {
        let document = planned.document_to(remote);
        let mut pools = self.pools.borrow_mut();
        if let Some(known) = pools.iter().find(|known| known.serves(planned, &document)) {
            return known.pool.clone();
        }
        let pool = self.factory(planned, aws).pool(remote, None);
        pools.push(SharedPool { planned: planned.clone(), document, pool: pool.clone() });
        pool
    }

    fn proxy_pools(&self, planned: &PlannedForward, aws: Rc<Aws>) -> Rc<Pools> {
        let factory = self.factory(planned, aws);
        let timeout = planned.route.config.session.connect_timeout;
        let make = move |asked: &Asked| {
            let remote = RemoteEnd { host: Some(asked.host.clone()), port: asked.port };
            factory.pool(&remote, Some(IDLE))
        };
        Pools::new(Box::new(make), self.options.max_destinations, timeout)
    }

    async fn hop_dialer(&self, planned: &PlannedForward, aws: Rc<Aws>) -> Result<HopDialer, ReachError> {
        let pool = self.hop_pool(planned, aws);
        pool.check_settings().await?;
        let (planned_again, observer) = (planned.clone(), self.options.observer.clone());
        let dial: DialHop = Rc::new(move |asked, from| {
            let (pool, planned, observer) = (pool.clone(), planned_again.clone(), observer.clone());
            Box::pin(async move {
                let dialed = pool.dial(&asked.host, asked.port).await;
                dialed.map_err(|error| {
                    let refused = error.is_refused_by_hop();
                    observer(&planned, &ForwardEvent::DialFailed { from, to: asked, error });
                    if refused { Unopened::Refused } else { Unopened::Failed }
                })
            })
        });
        let to = match &planned.to {
            ForwardTo::Port(remote) => Some(Asked {
                host: remote.host.clone().unwrap_or_else(|| "localhost".to_owned()),
                port: remote.port,
            }),
            ForwardTo::Proxy => None,
        };
        let linger = Linger::new(planned.route.config.session.linger);
        Ok(HopDialer { dial, to, linger, traffic: self.traffic.clone() })
    }

    fn hop_pool(&self, planned: &PlannedForward, aws: Rc<Aws>) -> Rc<HopPool> {
        let same = |(known, _): &&(PlannedForward, _)| known.has_same_route(planned);
        if let Some((_, pool)) = self.hop_pools.borrow().iter().find(same) {
            return pool.clone();
        }
        let observer = self.options.observer.clone();
        let owner = planned.clone();
        let notes: OnNotice = Rc::new(move |note| observer(&owner, &ForwardEvent::Session(note.clone())));
        let route = planned.route.clone().through_goal();
        let (environment, tasks) = (self.options.environment.clone(), self.options.tasks.clone());
        let on_life = on_life(&self.options.observer, planned);
        let reach = Reach::new(aws, route, environment, notes, on_life, tasks);
        let pool = HopPool::new(reach, self.options.leave.clone());
        self.options.tasks.spawn_local(pool.clone().close_in_time());
        self.hop_pools.borrow_mut().push((planned.clone(), pool.clone()));
        pool
    }

    /// Returns the clients of AWS for these settings.
    ///
    /// # Errors
    /// The AWS settings cannot be used.
    pub fn aws(&self, config: &Config) -> Result<Rc<Aws>, ReachError> {
        if let Some(aws) = self.known_aws(config) {
            return Ok(aws);
        }
        let aws = Rc::new(reach::open_aws(config, (self.options.prompts)())?);
        self.clients.borrow_mut().push((config.aws.clone(), aws.clone()));
        Ok(aws)
    }

    fn known_aws(&self, config: &Config) -> Option<Rc<Aws>> {
        let clients = self.clients.borrow();
        clients.iter().find(|(same, _)| *same == config.aws).map(|(_, aws)| aws.clone())
    }

    fn factory(&self, planned: &PlannedForward, aws: Rc<Aws>) -> PoolFactory {
        let on_life = on_life(&self.options.observer, planned);
        PoolFactory {
            readiness: Readiness::new(aws.clone(), &planned.route, on_life),
            planned: planned.clone(),
            aws,
            sessions: self.options.sessions,
            hold_off: Rc::new(HoldOff::new(planned.route.config.session.connect_timeout)),
            leave: self.options.leave.clone(),
            tasks: self.options.tasks.clone(),
            traffic: self.traffic.clone(),
            observer: self.options.observer.clone(),
            fatal: self.fatal.clone(),
        }
    }

    /// Opens the sessions and hop connections of all known destinations.
    ///
    /// # Errors
    /// The first failure.
    pub async fn open_all(&self) -> Result<(), Rc<ReachError>> {
        let pools: Vec<Rc<Pool>> = self.pools.borrow().iter().map(|shared| shared.pool.clone()).collect();
        try_join_all(pools.iter().map(|pool| pool.open())).await?;
        let hop_pools = self.hop_pools.borrow().clone();
        for (_, pool) in hop_pools {
            pool.open().await?;
        }
        Ok(())
    }

    /// Resolves the names of all targets, so that a wrong name is reported before the first connection. Other failures may
    /// be temporary and are left to the first connection.
    pub fn check_names(&self, plan: &[PlannedForward]) -> Vec<JoinHandle<()>> {
        let mut checks = Vec::new();
        let mut checked: Vec<&Destination> = Vec::new();
        for planned in plan {
            let entry = &planned.route.entry;
            let is_task = planned.route.machine(0).host().is_some_and(|host| host.task.is_some());
            if is_task || matches!(entry.name(), Name::Id(_)) || checked.contains(&entry) {
                continue;
            }
            checked.push(entry);
            let Some(aws) = self.known_aws(&planned.route.config) else { continue };
            let (fatal, observer) = (self.fatal.clone(), self.options.observer.clone());
            checks.push(tokio::task::spawn_local(check_name(planned.clone(), aws, fatal, observer)));
        }
        checks
    }

    /// Waits until the names are checked; does not return if a wrong name ends the process.
    pub async fn checked(&self, checks: Vec<JoinHandle<()>>) {
        join_all(checks).await;
        if self.fatal.happened.is_cancelled() {
            std::future::pending().await
        }
    }

    /// Waits for a permanent failure of the only target.
    pub async fn fatal_failure(&self) -> FatalFailure {
        self.fatal.happened.cancelled().await;
        self.fatal.failure.take().expect("the failure is set before the token is cancelled")
    }
}

fn on_life(observer: &Observer, planned: &PlannedForward) -> OnLife {
    let (observer, planned) = (observer.clone(), planned.clone());
    Rc::new(move |event| observer(&planned, &ForwardEvent::Life(event.clone())))
}

async fn check_name(planned: PlannedForward, aws: Rc<Aws>, fatal: Rc<Fatal>, observer: Observer) {
    let Err(error) = find_entry(&aws, &planned.route, clock::now()).await else { return };
    if !error.is_wrong_name() {
        return;
    }
    let error = Rc::new(error);
    if fatal.has_one_target {
        fatal.set(&planned, error);
    } else {
        observer(&planned, &ForwardEvent::NameFailed { error });
    }
}

/// Makes the pools of one target.
struct PoolFactory {
    planned: PlannedForward,
    readiness: Rc<Readiness>,
    aws: Rc<Aws>,
    sessions: usize,
    hold_off: Rc<HoldOff>,
    leave: CancellationToken,
    tasks: TaskTracker,
    traffic: Rc<Traffic>,
    observer: Observer,
    fatal: Rc<Fatal>,
}

impl PoolFactory {
    fn pool(&self, remote: &RemoteEnd, idle_limit: Option<Duration>) -> Rc<Pool> {
        let document = self.planned.document_to(remote);
        let host = document.host().map(str::to_owned);
        let linger = Linger::new(self.planned.route.config.session.linger);
        let mut settings = reach::session_settings(&self.planned.route.config, clock::now(), linger.seen);
        settings.for_remote_host = host.is_some();
        // A session counts as somebody on the bastion: without one it is stopped.
        let ends_idle = self.readiness.is_guarded() && !self.planned.hold;
        let settings = PoolSettings {
            aws: self.aws.clone(),
            prepare: self.prepare(document),
            readiness: self.readiness.clone(),
            settings,
            linger,
            hold: self.planned.hold,
            sessions: if idle_limit.is_some() { 1 } else { self.sessions },
            idle_limit: self.idle_limit(idle_limit.or(ends_idle.then_some(IDLE))),
            follows_name: host.is_some_and(|host| host.parse::<IpAddr>().is_err()),
            start_hold_off: self.hold_off.clone(),
            observer: self.observer(remote),
            traffic: self.traffic.clone(),
            end: self.session_end(remote),
        };
        Pool::new(settings, self.leave.clone(), self.tasks.clone())
    }

    /// Returns when a session without connections ends: the user's setting overrides that of the kind of session.
    fn idle_limit(&self, of_kind: Option<Duration>) -> Option<Duration> {
        let usual = of_kind.or((!self.planned.hold).then_some(UNUSED));
        match self.planned.route.config.session.idle_close {
            Some(Duration::ZERO) => None,
            Some(limit) => Some(limit),
            None => usual,
        }
    }

    fn session_end(&self, remote: &RemoteEnd) -> SessionEnd {
        let target = self.planned.target().to_owned();
        SessionEnd {
            target: None,
            machine: remote.host.clone().unwrap_or_else(|| target.clone()),
            port: remote.port,
            through: remote.host.as_ref().map(|_| target.clone()),
            is_forward: true,
            subject: target,
            entry: None,
            place: None,
            is_stopped: false,
        }
    }

    /// Resolves the target for each session anew: an instance may have been replaced.
    fn prepare(&self, document: Document) -> Prepare {
        let (planned, readiness) = (self.planned.clone(), self.readiness.clone());
        Rc::new(move || {
            let (planned, readiness, document) = (planned.clone(), readiness.clone(), document.clone());
            Box::pin(async move {
                let target = readiness.target(clock::now()).await?;
                let request = session_request(&target, document, &planned.route.config)?;
                Ok((target, request))
            })
        })
    }

    fn observer(&self, remote: &RemoteEnd) -> Rc<dyn Fn(&ForwardEvent)> {
        let planned = PlannedForward { to: ForwardTo::Port(remote.clone()), ..self.planned.clone() };
        let (observer, fatal) = (self.observer.clone(), self.fatal.clone());
        Rc::new(move |event| match event {
            ForwardEvent::SessionFailed { error, .. } if fatal.has_one_target && error.is_permanent() => {
                fatal.set(&planned, error.clone());
            }
            ForwardEvent::SessionFailed { .. }
            | ForwardEvent::Refused { .. }
            | ForwardEvent::TimedOut { .. }
            | ForwardEvent::DialFailed { .. }
            | ForwardEvent::NameFailed { .. }
            | ForwardEvent::Life(_)
            | ForwardEvent::Session(_) => observer(&planned, event),
        })
    }
}
