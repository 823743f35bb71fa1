//! Where the listeners of a process lead: the pools and ladders that they share, and how a pool is made of a plan.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::aws::Aws;
use crate::clock;
use crate::config::{AwsSettings, Config, Environment, RemoteEnd};
use crate::forward::{Asked, Listener, Note, Pool, PoolSettings, Pools, Prepare, Sink, Traffic};
use crate::names::route::Document;
use crate::names::{Destination, Name};
use crate::session::SessionError;

use super::super::args::ForwardArgs;
use super::super::connect::notes;
use super::super::ladder::{Ladder, find, request};
use super::super::locate::locate;
use super::super::report::{ExitKind, Report, SessionName};
use super::super::way::{open_aws, session_settings};
use super::plan::{Leads, Planned};
use super::tell::{Teller, is_hopeless};
use super::tower::Tower;

/// An application that has ended its input may wait for an answer for so long.
const LINGER: Duration = Duration::from_secs(30);
/// A session of a proxy without connections is of use to another destination.
const PROXY_IDLE: Duration = Duration::from_secs(60);
/// Ending the sessions takes two seconds at most, or a little more for one that was just to be started; they do it side by
/// side.
const LEAVE: Duration = Duration::from_millis(2500);

/// What all listeners of the process share.
pub(super) struct Sinks {
    teller: Rc<Teller>,
    hope: Rc<Hope>,
    sessions: usize,
    max_sessions: usize,
    leave: CancellationToken,
    tasks: TaskTracker,
    traffic: Rc<Traffic>,
    /// One way to AWS for all that is asked for in the same name.
    ways: RefCell<Vec<(AwsSettings, Rc<Aws>)>>,
    /// One pool for each destination, however many listeners lead to it.
    pools: RefCell<Vec<Shared>>,
    /// One ladder for each target that is behind hops.
    towers: RefCell<Vec<(Planned, Rc<Tower>)>>,
}

/// Whether a session may ever work. One target's failure says nothing of another's.
struct Hope {
    /// All listeners lead through the same machine.
    is_alone: bool,
    lost: CancellationToken,
    report: RefCell<Option<Report>>,
}

impl Hope {
    fn new(plan: &[Planned]) -> Self {
        let goal = |planned: &Planned| planned.chain.goal.label().to_owned();
        let is_alone = plan.iter().all(|planned| plan.first().map(goal) == Some(goal(planned)));
        Self { is_alone, lost: CancellationToken::new(), report: RefCell::default() }
    }

    fn lose(&self, report: Report) {
        self.report.replace(Some(report));
        self.lost.cancel();
    }
}

/// A pool, and for whom it was made.
struct Shared {
    planned: Planned,
    document: Document,
    pool: Rc<Pool>,
}

impl Shared {
    /// Tells whether another listener's connections may go here too: nothing that makes a session may differ.
    fn serves(&self, planned: &Planned, document: &Document) -> bool {
        let (mine, others) = (&self.planned.chain, &planned.chain);
        let is_same_place = mine.entry == others.entry && mine.config.aws == others.config.aws;
        let is_same_way = mine.config.session == others.config.session && self.planned.hold == planned.hold;
        is_same_place && is_same_way && self.document == *document
    }
}

impl Sinks {
    /// Nothing is opened yet.
    pub fn new(args: &ForwardArgs, plan: &[Planned], teller: Rc<Teller>) -> Self {
        Self {
            teller,
            hope: Rc::new(Hope::new(plan)),
            sessions: usize::from(args.sessions),
            max_sessions: usize::from(args.max_sessions),
            leave: CancellationToken::new(),
            tasks: TaskTracker::new(),
            traffic: Rc::default(),
            ways: RefCell::default(),
            pools: RefCell::default(),
            towers: RefCell::default(),
        }
    }

    /// Takes a listener's connections until the end.
    pub fn serve(&self, listener: Listener, sink: Sink) {
        let (leave, tasks) = (self.leave.clone(), self.tasks.clone());
        self.tasks.spawn_local(async move { sink.serve(&listener, leave, tasks).await });
    }

    /// What passes through.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Cancelled at the end.
    pub fn leave(&self) -> CancellationToken {
        self.leave.clone()
    }

    /// What the end waits for.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Where a listener's connections go.
    pub async fn sink(&self, planned: &Planned, environment: &Environment) -> Result<Sink, Report> {
        let aws = self.way(&planned.chain.config).await?;
        if !planned.chain.hops.is_empty() {
            let tower = self.tower(planned, aws, environment).await?;
            let remote = match &planned.leads {
                Leads::To(remote) => Some(remote),
                Leads::Proxy => None,
            };
            let linger = planned.chain.config.session.linger.unwrap_or(LINGER);
            return Ok(Sink::Hop(tower.dialer(remote, linger, self.traffic.clone())));
        }
        match &planned.leads {
            Leads::To(remote) => {
                let document = planned.document_to(remote);
                let mut pools = self.pools.borrow_mut();
                if let Some(known) = pools.iter().find(|known| known.serves(planned, &document)) {
                    return Ok(Sink::Pool(known.pool.clone()));
                }
                let pool = self.maker(planned, aws).pool(remote, None);
                pools.push(Shared { planned: planned.clone(), document, pool: pool.clone() });
                Ok(Sink::Pool(pool))
            }
            Leads::Proxy => {
                let maker = self.maker(planned, aws);
                let patience = planned.chain.config.session.connect_timeout;
                let make = move |asked: &Asked| {
                    let remote = RemoteEnd { host: Some(asked.host.clone()), port: asked.port };
                    maker.pool(&remote, Some(PROXY_IDLE))
                };
                Ok(Sink::Pools(Pools::new(Box::new(make), self.max_sessions, patience)))
            }
        }
    }

    /// The way up to a target that is behind hops.
    async fn tower(
        &self,
        planned: &Planned,
        aws: Rc<Aws>,
        environment: &Environment,
    ) -> Result<Rc<Tower>, Report> {
        let same = |(known, _): &&(Planned, _)| known.goes_the_same_way_as(planned);
        if let Some((_, tower)) = self.towers.borrow().iter().find(same) {
            return Ok(tower.clone());
        }
        let verbosity = planned.chain.config.log.verbosity;
        let notes = notes(verbosity, planned.chain.goal.port);
        let chain = planned.chain.clone().through_goal();
        let ladder = Ladder::new(aws, chain, environment, notes, self.tasks.clone()).await?;
        let tower = Tower::new(ladder, self.teller.clone());
        self.tasks.spawn_local(tower.clone().close_after(self.leave.clone()));
        self.towers.borrow_mut().push((planned.clone(), tower.clone()));
        Ok(tower)
    }

    async fn way(&self, config: &Config) -> Result<Rc<Aws>, Report> {
        let known =
            self.ways.borrow().iter().find(|(same, _)| *same == config.aws).map(|(_, aws)| aws.clone());
        if let Some(aws) = known {
            return Ok(aws);
        }
        let aws = Rc::new(open_aws(config).await?);
        self.ways.borrow_mut().push((config.aws.clone(), aws.clone()));
        Ok(aws)
    }

    fn maker(&self, planned: &Planned, aws: Rc<Aws>) -> Maker {
        Maker {
            planned: planned.clone(),
            aws,
            sessions: self.sessions,
            leave: self.leave.clone(),
            tasks: self.tasks.clone(),
            traffic: self.traffic.clone(),
            teller: self.teller.clone(),
            hope: self.hope.clone(),
        }
    }

    /// Opens the sessions of all destinations that are known.
    pub async fn open_all(&self) -> Result<(), Report> {
        let pools: Vec<_> =
            self.pools.borrow().iter().map(|shared| (shared.planned.clone(), shared.pool.clone())).collect();
        let open = async |(planned, pool): (Planned, Rc<Pool>)| {
            let failed =
                |failure: Rc<SessionError>| Report::of_session(&failure, &name(&planned, &place(&planned)));
            pool.open().await.map_err(failed)
        };
        futures_util::future::try_join_all(pools.into_iter().map(open)).await?;
        let towers = self.towers.borrow().clone();
        for (_, tower) in towers {
            tower.open().await?;
        }
        Ok(())
    }

    /// A name that is wrong is better told now than at the first connection; what else fails may pass.
    pub fn check_names(&self, plan: &[Planned]) -> Vec<JoinHandle<()>> {
        let mut checks = Vec::new();
        let mut checked: Vec<&Destination> = Vec::new();
        for planned in plan {
            let entry = &planned.chain.entry;
            if matches!(entry.name(), Name::Id(_)) || checked.contains(&entry) {
                continue;
            }
            checked.push(entry);
            let way = self.ways.borrow().iter().find(|(same, _)| *same == planned.chain.config.aws).cloned();
            let Some((_, aws)) = way else { continue };
            let (planned, hope, teller) = (planned.clone(), self.hope.clone(), self.teller.clone());
            checks.push(tokio::task::spawn_local(async move {
                let config = &planned.chain.config;
                let found = locate(&aws, config, &planned.chain.entry, config.session.connect_timeout).await;
                let wrong = found.err().filter(|found| {
                    matches!(found.exit(), ExitKind::NotFound | ExitKind::Ambiguous | ExitKind::Configuration)
                });
                match wrong {
                    Some(wrong) if hope.is_alone => hope.lose(wrong),
                    Some(wrong) => {
                        let text = format!("{}: {}", planned.chain.goal.label(), wrong.cause());
                        teller.failed(&text, &wrong, &planned.remote());
                    }
                    None => {}
                }
            }));
        }
        checks
    }

    /// Waits until names are checked; for ever, if that is the end of everything.
    pub async fn checked(&self, checks: Vec<JoinHandle<()>>) {
        futures_util::future::join_all(checks).await;
        if self.hope.lost.is_cancelled() {
            std::future::pending().await
        }
    }

    /// Waits for the word that nothing can ever work.
    pub async fn hopeless(&self) -> Report {
        self.hope.lost.cancelled().await;
        let report = self.hope.report.take();
        report.unwrap_or_else(|| Report::new(ExitKind::Failure, "no session can be opened"))
    }

    /// Ends all sessions, side by side.
    pub async fn end(&self) {
        self.leave.cancel();
        self.tasks.close();
        // Whatever has not ended by then cannot be reached.
        let _ = timeout(LEAVE, self.tasks.wait()).await;
    }
}

/// Makes the pools of one target.
struct Maker {
    planned: Planned,
    aws: Rc<Aws>,
    sessions: usize,
    leave: CancellationToken,
    tasks: TaskTracker,
    traffic: Rc<Traffic>,
    teller: Rc<Teller>,
    hope: Rc<Hope>,
}

impl Maker {
    fn pool(&self, remote: &RemoteEnd, idle_limit: Option<Duration>) -> Rc<Pool> {
        let config = &self.planned.chain.config;
        let document = self.planned.document_to(remote);
        let host = document.host().map(str::to_owned);
        let mut settings = session_settings(config, clock::now(), LINGER);
        settings.for_remote_host = host.is_some();
        let settings = PoolSettings {
            aws: self.aws.clone(),
            prepare: self.prepare(document),
            settings,
            hold: self.planned.hold,
            sessions: if idle_limit.is_some() { 1 } else { self.sessions },
            idle_limit,
            follows_name: host.is_some_and(|host| host.parse::<IpAddr>().is_err()),
            notes: self.notes(remote),
            traffic: self.traffic.clone(),
        };
        Pool::new(settings, self.leave.clone(), self.tasks.clone())
    }

    /// A name is looked up for each session: what it means may have been replaced.
    fn prepare(&self, document: Document) -> Prepare {
        let (planned, aws) = (self.planned.clone(), self.aws.clone());
        Rc::new(move || {
            let (planned, aws, document) = (planned.clone(), aws.clone(), document.clone());
            Box::pin(async move {
                let target = find(&aws, &planned.chain).await;
                let target = target.map_err(|report| {
                    let may_pass = matches!(report.exit(), ExitKind::NotConnected | ExitKind::NotFound);
                    SessionError::Unprepared { error: Box::new(report), may_pass }
                })?;
                Ok(request(target, document, &planned.chain.config))
            })
        })
    }

    fn notes(&self, remote: &RemoteEnd) -> Rc<dyn Fn(&Note)> {
        let planned = Planned { leads: Leads::To(remote.clone()), ..self.planned.clone() };
        let (teller, hope) = (self.teller.clone(), self.hope.clone());
        Rc::new(move |note| {
            let place = place(&planned);
            let name = name(&planned, &place);
            match note {
                Note::Failed { failure, .. } if hope.is_alone && is_hopeless(failure) => {
                    hope.lose(Report::of_session(failure, &name));
                }
                Note::Failed { .. } | Note::Refused { .. } | Note::TimedOut { .. } | Note::Session(_) => {
                    teller.note(note, &name, &planned.remote());
                }
            }
        })
    }
}

/// The machine behind which the destination is, in the user's words.
fn place(planned: &Planned) -> String {
    planned.chain.goal.label().to_owned()
}

fn name<'a>(planned: &Planned, place: &'a str) -> SessionName<'a> {
    let port = match &planned.leads {
        Leads::To(remote) => remote.port,
        Leads::Proxy => 0,
    };
    SessionName { target: None, place, port, forward: true }
}
