//! A day in minutes: ssh, rsync and a database at once, while the network, the service and the machine fail as the scenarios
//! of `contrib/chaos` say. No byte may be lost, nothing may hang, and what is lost for good must name its cause.
//!
//! `FUMIDAI_TEST_CHAOS` names the scenarios, or `all`; `FUMIDAI_TEST_CHAOS_ROUNDS` repeats each. Where network namespaces are
//! not permitted, the steps that need one are left out, and the report says so.

mod load;
mod network;
mod report;
mod scenario;

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fumidai::sim::SimConfig;
use fumidai::sim::faults::{AgentLoss, CutKind};
use fumidai::sim::sigv4::Credentials;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Notify;
use tokio::time::{sleep_until, timeout};

use crate::bench::Bench;
use crate::forwarding::Forward;
use crate::mariadb::MariaDb;
use crate::run::{PATIENCE, Run, until};
use crate::tools::tool;

use self::load::Pulse;
use self::network::Network;
use self::report::Report;
use self::scenario::{Act, Scenario};

const DATABASE: (&str, u16) = ("db.internal", 3306);

/// All parts of a scenario.
pub struct World {
    bench: Bench,
    network: Option<Network>,
    forward: Forward,
    _database: MariaDb,
    may_lose_sessions: bool,
    is_over: Cell<bool>,
    /// What keeps new connections from being made.
    storms: Storms,
    keys: Cell<u32>,
    /// When the simulator was started, with which its journal begins.
    began: Instant,
}

/// What keeps new connections from being made: how many things do now, and how many did so far.
#[derive(Default)]
struct Storms {
    now: Cell<u32>,
    so_far: Cell<u32>,
    fair: Notify,
}

impl World {
    async fn new(may_lose_sessions: bool) -> Self {
        let database = MariaDb::start().await;
        let address = database.address;
        let known = move |config: &mut SimConfig| {
            config.hosts.insert((DATABASE.0.to_owned(), DATABASE.1), address);
            config.agent = config.agent.clone().quick_to_resend();
            config.agent.payload_size = 16 << 10;
        };
        let bench = Bench::new().sshd().configure(known).start().await;
        let began = Instant::now();
        let network = Network::new(&bench.path("")).await;
        write_credentials(&bench, &bench.simulator.credentials());
        let place = format!("0:{}:{}", DATABASE.0, DATABASE.1);
        let forward = client(&bench, network.as_ref(), Path::new(env!("CARGO_BIN_EXE_fumidai")));
        let forward = forward.args(["forward", fumidai::sim::ONLINE_TARGET, "-L", &place]);
        let forward = Forward::start(forward, 1).await;
        Self {
            bench,
            network,
            forward,
            _database: database,
            may_lose_sessions,
            is_over: Cell::new(false),
            storms: Storms::default(),
            keys: Cell::new(1),
            began,
        }
    }

    fn run(&self, program: &Path) -> Run {
        client(&self.bench, self.network.as_ref(), program)
    }

    fn ssh(&self, args: &[&str]) -> Run {
        let config = self.bench.path("ssh_config");
        self.run(&tool("ssh")).args(["-F".as_ref(), config.as_os_str()]).args(args)
    }

    fn is_over(&self) -> bool {
        self.is_over.get()
    }

    fn may_lose_sessions(&self) -> bool {
        self.may_lose_sessions
    }

    /// Returns how often new connections could not be made so far.
    fn storms(&self) -> u32 {
        self.storms.so_far.get()
    }

    /// Waits until new connections can be made.
    async fn until_fair(&self) {
        while self.storms.now.get() > 0 {
            self.storms.fair.notified().await;
        }
    }

    /// Applies the steps, then waits until every load has gone on.
    async fn play(&self, scenario: &Scenario, report: &Report, pulses: &[Pulse]) {
        let began = Instant::now();
        for step in &scenario.steps {
            sleep_until((began + step.at()).into()).await;
            if step.act.is_of_network() && self.network.is_none() {
                report.note(format!("left out, no network namespace: {:?}", step.act));
                continue;
            }
            report.note(format!("{:?}", step.act));
            self.apply(&step.act).await;
        }
        let now = Instant::now();
        for pulse in pulses {
            until(pulse.name, || pulse.last.get() > now).await;
        }
    }

    async fn apply(&self, act: &Act) {
        let simulator = &self.bench.simulator;
        if act.is_storm() {
            self.storms.begin();
        }
        match act {
            Act::Close => simulator.cut_all(CutKind::Bye),
            Act::Reset => simulator.cut_all(CutKind::Reset),
            Act::BlackHole => simulator.cut_all(CutKind::BlackHole),
            Act::RefuseResume { times, code } => {
                simulator.change_faults(|faults| faults.fail_api("ResumeSession", code, "not now", *times));
            }
            Act::RotateCredentials => {
                self.rotate();
                write_credentials(&self.bench, &simulator.credentials());
            }
            Act::ExpireCredentials => self.rotate(),
            Act::RenewCredentials => write_credentials(&self.bench, &simulator.credentials()),
            Act::RestartAgent => {
                for session in simulator.open_sessions() {
                    simulator.lose_agent(&session.id, AgentLoss::Closed);
                }
            }
            Act::Sleep => self.signal_clients(Signal::STOP),
            Act::Wake => self.signal_clients(Signal::CONT),
            Act::Loss { share } => simulator.change_faults(|faults| {
                faults.to_agent.link.loss = *share;
                faults.to_client.link.loss = *share;
            }),
            Act::LinkDown => self.network().link_down(),
            Act::LinkUp => self.network().link_up(),
            Act::NewAddress => self.network().new_address(),
            Act::ProxyStop => self.network().stop_proxy(),
            Act::ProxyStart => self.network().start_proxy().await,
            Act::NamesOff => self.network().answer_names(false),
            Act::NamesOn => self.network().answer_names(true),
        }
        if act.is_end_of_storm() {
            self.storms.end();
        }
    }

    fn network(&self) -> &Network {
        self.network.as_ref().expect("steps of the network are left out without one")
    }

    fn rotate(&self) {
        let number = self.keys.replace(self.keys.get() + 1);
        self.bench.simulator.rotate_credentials(Credentials {
            access_key_id: format!("ASIACHAOS{number:011}"),
            secret_access_key: format!("chaos-secret-{number}"),
            session_token: Some(format!("chaos-token-{number}")),
        });
    }

    /// Signals every fumidai of this world.
    fn signal_clients(&self, signal: Signal) {
        let home = format!("HOME={}", self.bench.path("home").display());
        for process in
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        {
            let path = |name: &str| PathBuf::from("/proc").join(&process).join(name);
            let is_ours = fs::read_link(path("exe")).is_ok_and(|exe| exe.ends_with("fumidai"))
                && fs::read(path("environ"))
                    .is_ok_and(|text| text.split(|byte| *byte == 0).any(|one| one == home.as_bytes()));
            if let (true, Ok(id)) = (is_ours, process.parse()) {
                // One that has just ended needs no signal.
                let _ = kill_process(Pid::from_raw(id).unwrap(), signal);
            }
        }
    }
}

impl Storms {
    fn begin(&self) {
        self.now.set(self.now.get() + 1);
        self.so_far.set(self.so_far.get() + 1);
    }

    fn end(&self) {
        self.now.set(self.now.get().saturating_sub(1));
        self.fair.notify_waiters();
    }
}

/// Prepares a program of the client's: its credentials are in a file, and a dead link is noticed within seconds.
fn client(bench: &Bench, network: Option<&Network>, program: &Path) -> Run {
    let run = match network {
        Some(network) => network.run(bench, program),
        None => bench.run(program),
    };
    run.without("AWS_ACCESS_KEY_ID")
        .without("AWS_SECRET_ACCESS_KEY")
        .env("AWS_SHARED_CREDENTIALS_FILE", bench.path("credentials"))
        .env("FUMIDAI_KEEPALIVE", "1")
}

/// Replaces the file in one step, as the AWS CLI and others do.
fn write_credentials(bench: &Bench, credentials: &Credentials) {
    let Credentials { access_key_id, secret_access_key, session_token } = credentials;
    let token =
        session_token.as_ref().map(|token| format!("aws_session_token = {token}\n")).unwrap_or_default();
    let text = format!(
        "[default]\naws_access_key_id = {access_key_id}\naws_secret_access_key = {secret_access_key}\n{token}"
    );
    let new = bench.write("credentials.new", text);
    fs::rename(new, bench.path("credentials")).unwrap();
}

/// Plays a scenario, and prints what happened.
async fn play(name: &str, rounds: u32) {
    let scenario = Scenario::read(name);
    let world = World::new(scenario.lost).await;
    let report = Report::new(name, &scenario.about, world.began);
    let pulses = ["ssh", "rsync", "database"].map(Pulse::new);
    let [ssh, rsync, database] = &pulses;
    let steps = async {
        for pulse in &pulses {
            until(pulse.name, || pulse.units.get() > 0).await;
        }
        for _ in 0..rounds {
            world.play(&scenario, &report, &pulses).await;
        }
        world.is_over.set(true);
    };
    tokio::join!(steps, load::ssh(&world, ssh), load::rsync(&world, rsync), load::database(&world, database));
    report.print(&world.bench.simulator, &pulses);
    for pulse in pulses.iter().filter(|pulse| pulse.name != "rsync") {
        assert_eq!(scenario.lost, !pulse.causes.borrow().is_empty(), "{}: {:?}", pulse.name, pulse.causes);
    }
    world.forward.running.signal(Signal::INT);
    timeout(PATIENCE, world.forward.running.finish()).await.expect("it ends").exits(130);
    world.bench.settle().await;
}

#[tokio::test]
async fn a_day_of_faults_loses_no_byte_and_what_is_lost_names_its_cause() {
    let chosen = std::env::var("FUMIDAI_TEST_CHAOS").unwrap_or_else(|_| "day agent".to_owned());
    let rounds =
        std::env::var("FUMIDAI_TEST_CHAOS_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let names =
        if chosen == "all" { Scenario::all() } else { chosen.split(' ').map(str::to_owned).collect() };
    for name in names {
        play(&name, rounds).await;
    }
}

#[test]
fn every_scenario_can_be_read() {
    let names = Scenario::all();
    assert!(names.len() > 5, "{names:?}");
    names.iter().for_each(|name| drop(Scenario::read(name)));
}
