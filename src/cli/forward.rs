//! The command `forward`: local listeners that lead to ports behind a target, until somebody ends it.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::aws::Aws;
use crate::config::{AwsSettings, Config, Environment, RemoteEnd};
use crate::session::forward::{
    Asked, BindError, Listener, Note, Pool, PoolSettings, Pools, Prepare, Sink, Traffic,
};
use crate::session::{Failure, Interrupt, Interrupts};
use crate::target::route::Document;
use crate::target::{Destination, Name};

use super::args::ForwardArgs;
use super::connect::notes;
use super::forward_hops::Tower;
use super::forward_plan::{Leads, Planned, plan};
use super::forward_tell::{Listening, Teller, is_hopeless};
use super::ladder::{Ladder, find, request};
use super::locate::locate;
use super::ready::{self, Ready};
use super::report::{ExitKind, Report, SessionName};
use super::way::{open_aws, session_settings};

/// An application that has ended its input may wait for an answer for so long.
const LINGER: Duration = Duration::from_secs(30);
/// A session of a proxy without connections is of use to another destination.
const PROXY_IDLE: Duration = Duration::from_secs(60);
/// Ending the sessions takes at most two seconds; they do it side by side.
const LEAVE: Duration = Duration::from_millis(2200);

/// Runs the command.
pub(super) fn forward(args: &ForwardArgs, config: &Config, environment: &Environment) -> ExitCode {
    let plan = match plan(args, config) {
        Ok(plan) => plan,
        Err(report) => return report.print(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Report::new(ExitKind::Failure, format!("cannot start: {error}")).print(),
    };
    let teller = Teller::new(config.log.verbosity, args.json);
    let result = LocalSet::new().block_on(&runtime, run(args, plan, teller.clone(), environment));
    runtime.shutdown_background();
    teller.finish();
    match result {
        Ok(exit) => exit,
        Err(report) => report.print(),
    }
}

async fn run(
    args: &ForwardArgs,
    plan: Vec<Planned>,
    teller: Rc<Teller>,
    environment: &Environment,
) -> Result<ExitCode, Report> {
    let cannot_listen = |error| Report::new(ExitKind::Failure, format!("cannot listen to signals: {error}"));
    let mut interrupts = Interrupts::signals().map_err(cannot_listen)?;
    let forwards = Forwards::new(args, teller.clone());
    let mut listening = Vec::new();
    let mut listeners = Vec::new();
    for planned in &plan {
        let listener = Listener::bind(&planned.bind).await.map_err(|error| of_bind(&error))?;
        let told = Listening {
            local: listener.name().to_owned(),
            remote: planned.remote(),
            target: planned.chain.goal.label().to_owned(),
        };
        if listener.is_wide() {
            warn_of_width(&told, &teller);
        }
        listeners.push((listener, forwards.sink(planned, environment).await?));
        listening.push(told);
    }
    listening.iter().for_each(|one| teller.listening(one));
    let ports: Vec<Option<u16>> = listeners.iter().map(|(listener, _)| listener.port()).collect();
    for (listener, sink) in listeners {
        let (leave, tasks) = (forwards.leave.clone(), forwards.tasks.clone());
        forwards.tasks.spawn_local(async move { sink.serve(&listener, leave, tasks).await });
    }
    let ready = Ready { listening, ports, fd: args.ready_fd, exec: args.exec.clone() };
    let exit = tokio::select! {
        interrupt = interrupts.next() => Ok(of_interrupt(interrupt)),
        report = forwards.hopeless() => Err(report),
        exit = forwards.serve(&plan, args.eager, ready) => exit,
        () = teller.show(&forwards.traffic) => Ok(ExitKind::Done.into()),
    };
    forwards.end().await;
    exit
}

/// What all listeners of the process share.
struct Forwards {
    teller: Rc<Teller>,
    sessions: usize,
    max_sessions: usize,
    leave: CancellationToken,
    tasks: TaskTracker,
    traffic: Rc<Traffic>,
    hopeless: CancellationToken,
    report: Rc<RefCell<Option<Report>>>,
    /// One way to AWS for all that is asked for in the same name.
    ways: RefCell<Vec<(AwsSettings, Rc<Aws>)>>,
    /// One pool for each destination, however many listeners lead to it.
    pools: RefCell<Vec<Shared>>,
    /// One ladder for each target that is behind hops.
    towers: RefCell<Vec<(Planned, Rc<Tower>)>>,
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

impl Forwards {
    fn new(args: &ForwardArgs, teller: Rc<Teller>) -> Self {
        Self {
            teller,
            sessions: usize::from(args.sessions),
            max_sessions: usize::from(args.max_sessions),
            leave: CancellationToken::new(),
            tasks: TaskTracker::new(),
            traffic: Rc::default(),
            hopeless: CancellationToken::new(),
            report: Rc::default(),
            ways: RefCell::default(),
            pools: RefCell::default(),
            towers: RefCell::default(),
        }
    }

    /// Where a listener's connections go.
    async fn sink(&self, planned: &Planned, environment: &Environment) -> Result<Sink, Report> {
        let aws = self.way(&planned.chain.config).await?;
        if !planned.chain.hops.is_empty() {
            let tower = self.tower(planned, aws, environment).await?;
            let remote = match &planned.leads {
                Leads::To(remote) => Some(remote),
                Leads::Proxy => None,
            };
            return Ok(Sink::Hop(tower.dialer(remote, self.traffic.clone())));
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
            hopeless: self.hopeless.clone(),
            report: self.report.clone(),
        }
    }

    /// Gets ready, and then stays until what is to be run has ended.
    async fn serve(&self, plan: &[Planned], eager: bool, ready: Ready) -> Result<ExitCode, Report> {
        if eager {
            self.open_all().await?;
        } else {
            self.check_names(plan);
        }
        ready::announce(ready, self.leave.clone(), &self.tasks).await
    }

    /// Opens the sessions of all destinations that are known.
    async fn open_all(&self) -> Result<(), Report> {
        let pools: Vec<_> =
            self.pools.borrow().iter().map(|shared| (shared.planned.clone(), shared.pool.clone())).collect();
        let open = async |(planned, pool): (Planned, Rc<Pool>)| {
            let failed =
                |failure: Rc<Failure>| Report::of_session(&failure, &name(&planned, &place(&planned)));
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
    fn check_names(&self, plan: &[Planned]) {
        let mut checked: Vec<&Destination> = Vec::new();
        for planned in plan {
            let entry = &planned.chain.entry;
            if matches!(entry.name(), Name::Id(_)) || checked.contains(&entry) {
                continue;
            }
            checked.push(entry);
            let way = self.ways.borrow().iter().find(|(same, _)| *same == planned.chain.config.aws).cloned();
            let Some((_, aws)) = way else { continue };
            let (planned, hopeless, report) = (planned.clone(), self.hopeless.clone(), self.report.clone());
            tokio::task::spawn_local(async move {
                let config = &planned.chain.config;
                let found = locate(&aws, config, &planned.chain.entry, config.session.connect_timeout).await;
                let wrong = found.err().filter(|found| {
                    matches!(found.exit(), ExitKind::NotFound | ExitKind::Ambiguous | ExitKind::Configuration)
                });
                if let Some(wrong) = wrong {
                    report.replace(Some(wrong));
                    hopeless.cancel();
                }
            });
        }
    }

    /// Waits for the word that nothing can ever work.
    async fn hopeless(&self) -> Report {
        self.hopeless.cancelled().await;
        let report = self.report.borrow_mut().take();
        report.unwrap_or_else(|| Report::new(ExitKind::Failure, "no session can be opened"))
    }

    async fn end(&self) {
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
    hopeless: CancellationToken,
    report: Rc<RefCell<Option<Report>>>,
}

impl Maker {
    fn pool(&self, remote: &RemoteEnd, idle_limit: Option<Duration>) -> Rc<Pool> {
        let config = &self.planned.chain.config;
        let document = self.planned.document_to(remote);
        let host = document.host().map(str::to_owned);
        let mut settings = session_settings(config, Instant::now(), LINGER);
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
                let target = target.map_err(|report| Failure::Unprepared(Box::new(report)))?;
                Ok(request(target, document, &planned.chain.config))
            })
        })
    }

    fn notes(&self, remote: &RemoteEnd) -> Rc<dyn Fn(&Note)> {
        let planned = Planned { leads: Leads::To(remote.clone()), ..self.planned.clone() };
        let (teller, hopeless, report) = (self.teller.clone(), self.hopeless.clone(), self.report.clone());
        Rc::new(move |note| {
            let place = place(&planned);
            let name = name(&planned, &place);
            match note {
                Note::Failed { failure, .. } if is_hopeless(failure) => {
                    report.replace(Some(Report::of_session(failure, &name)));
                    hopeless.cancel();
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

fn of_interrupt(interrupt: Interrupt) -> ExitCode {
    match interrupt {
        Interrupt::Signal(number) => ExitKind::Signal(number).into(),
        Interrupt::ReaderGone => ExitKind::READER_GONE.into(),
    }
}

fn of_bind(error: &BindError) -> Report {
    let report = Report::new(ExitKind::Failure, error.to_string());
    let kind = error.source.kind();
    if kind == ErrorKind::AddrInUse {
        return report.hint("another program listens there; port 0 takes a free one");
    }
    if kind == ErrorKind::PermissionDenied {
        return report.hint("ports below 1024 are for root: take a higher one");
    }
    report
}

fn warn_of_width(listening: &Listening, teller: &Teller) {
    let Listening { local, remote, .. } = listening;
    let text = format!("whoever reaches {local} reaches {remote}: it is not bound to loopback");
    tracing::warn!("{text}");
    teller.say(&text);
}
