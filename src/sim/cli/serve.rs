//! `fumidai-sim serve`: a simulator for programs that use Session Manager.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::names::{Destination, Name};
use crate::region::is_region;
use crate::sim::access_requests::{Decision, JustInTime};
use crate::sim::cli::{print, print_error};
use crate::sim::config::{SimConfig, SimTarget};
use crate::sim::faults::{CutKind, CutWhen};
use crate::sim::sandbox::{NAME, Sandbox};
use crate::sim::simulator::CLEARED_VARIABLES;

/// The count of a fault without a limit.
const ALWAYS: u32 = u32::MAX;
/// What the shell knows of the simulator beside the variables of AWS.
const SANDBOX_VARIABLES: [&str; 2] = ["FUMIDAI_SIM_PID", "FUMIDAI_SIM_SSH_CONFIG"];
/// The operations that can be made to fail.
const OPERATIONS: [&str; 8] = [
    "StartSession",
    "ResumeSession",
    "TerminateSession",
    "GetConnectionStatus",
    "DescribeSessions",
    "DescribeInstanceInformation",
    "GetParameter",
    "GetCallerIdentity",
];

const AFTER_HELP: &str = "\
The environment is printed to stdout once the simulator accepts connections, and then stdout is closed.
To wait for the start, read stdout to its end:

    eval \"$(fumidai-sim serve &)\"            # sets FUMIDAI_SIM_PID, FUMIDAI_SIM_SSH_CONFIG and AWS_*
    ssh -F \"$FUMIDAI_SIM_SSH_CONFIG\" demo    # or: fumidai connect i-0123456789abcdef0
    kill \"$FUMIDAI_SIM_PID\"

If the simulator could not start, FUMIDAI_SIM_PID is unset.

It answers SSM's session operations, STS GetCallerIdentity and the websockets. It does not simulate EC2, ECS, KMS or
EC2 Instance Connect: it refuses EC2 and ECS calls, so that targets are instance ids and names from the configuration
file. To resolve other names, run moto's server beside it and, after the eval, set its address:

    moto_server -p 5000 &
    export AWS_ENDPOINT_URL_EC2=http://127.0.0.1:5000 AWS_ENDPOINT_URL_ECS=http://127.0.0.1:5000";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Options {
    /// Listen on this loopback port; 0 takes a free one.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    port: u16,
    /// Forward port 22 of the target to this address, not to the built-in ssh server.
    #[arg(long, value_name = "ADDRESS:PORT")]
    sshd: Option<SocketAddr>,
    /// Forward a port of the target to this address; other ports are dialled on loopback.
    #[arg(long = "map", value_name = "PORT=ADDRESS:PORT")]
    maps: Vec<PortMap>,
    /// Forward a remote host's port to this address; other hosts are looked up and dialled.
    #[arg(long = "map-host", value_name = "HOST:PORT=ADDRESS:PORT")]
    host_maps: Vec<HostMap>,
    /// The version that agents send; it also decides how they forward.
    #[arg(long, value_name = "VERSION")]
    agent_version: Option<String>,
    /// End sessions whose client has sent nothing for this time.
    #[arg(long, value_name = "SECONDS")]
    idle_timeout: Option<f64>,
    /// Add a target that is online.
    #[arg(long = "target", value_name = "ID", value_parser = target)]
    targets: Vec<String>,
    /// The region that signatures must name.
    #[arg(long, default_value = "eu-central-1", value_parser = region)]
    region: String,
    /// Seed of all random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Do not pause between two reads of the destination; the real agent pauses for 1 ms.
    #[arg(long)]
    unpaced: bool,
    /// Resend all overdue messages every 10 ms; the real agent resends one message every 100 ms.
    #[arg(long)]
    quick_resend: bool,
    /// Delay of each direction.
    #[arg(long, default_value_t = 0, value_name = "MILLISECONDS")]
    delay: u64,
    /// Random extra delay of each direction.
    #[arg(long, default_value_t = 0, value_name = "MILLISECONDS")]
    jitter: u64,
    /// Share of messages that are lost, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    loss: f64,
    /// Share of messages that are duplicated, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    duplicate: f64,
    /// Share of messages that are reordered, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    reorder: f64,
    /// Share of acknowledgements that are lost, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    lost_acks: f64,
    /// Bytes per second of each direction.
    #[arg(long, value_name = "BYTES")]
    bandwidth: Option<u64>,
    /// Cut every websocket after this number of bytes.
    #[arg(long, value_name = "BYTES")]
    cut_after: Option<u64>,
    /// Cut every websocket at this age.
    #[arg(long, value_name = "SECONDS")]
    cut_every: Option<f64>,
    /// How a websocket is cut.
    #[arg(long, value_enum, default_value_t = How::Reset)]
    cut_how: How,
    /// Answer API calls with an error: `StartSession=AccessDeniedException` or `ResumeSession=ThrottlingException:3`.
    #[arg(long = "fail", value_name = "OPERATION=ERROR[:TIMES]")]
    fails: Vec<Fail>,
    /// Deny StartSession until access is approved; decide a request after it was pending so often.
    #[arg(long, value_name = "DECISION[:TIMES]")]
    just_in_time: Option<Script>,
    /// A document that the credentials of an approval may start [default: SSM-SessionManagerRunShell]
    #[arg(long = "approved-document", value_name = "NAME", requires = "just_in_time")]
    approved_documents: Vec<String>,
    /// Close the websocket of a client that sends more messages per second for 2 s.
    #[arg(long, value_name = "MESSAGES")]
    max_per_second: Option<u32>,
    /// Close the websocket of a client that sends a longer message.
    #[arg(long, value_name = "BYTES")]
    max_message: Option<usize>,
    /// Print the events to stderr.
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum How {
    Reset,
    Bye,
    BlackHole,
}

/// How access requests are decided: `approve`, `reject`, `revoke`, `expire` or `never`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Script(JustInTime);

impl FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (word, times) = text.split_once(':').unwrap_or((text, "1"));
        let decision = match word {
            "approve" => Some(Decision::Approve),
            "reject" => Some(Decision::Reject),
            "revoke" => Some(Decision::Revoke),
            "expire" => Some(Decision::Expire),
            "never" => None,
            _ => return Err("expected approve, reject, revoke, expire or never".to_owned()),
        };
        let times = times.parse().map_err(|_| format!("`{times}` is not a number"))?;
        Ok(Self(JustInTime::new(decision, times)))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PortMap(u16, SocketAddr);

impl FromStr for PortMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (port, address) = text.split_once('=').ok_or("expected PORT=ADDRESS:PORT")?;
        let port = port.parse().map_err(|_| format!("`{port}` is not a valid port"))?;
        let address = address.parse().map_err(|_| format!("`{address}` is not an address with a port"))?;
        Ok(Self(port, address))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct HostMap(String, u16, SocketAddr);

impl FromStr for HostMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "expected HOST:PORT=ADDRESS:PORT";
        let (host, map) = text
            .split_once('=')
            .and_then(|(host, address)| {
                let (host, port) = host.rsplit_once(':')?;
                Some((host.trim_start_matches('[').trim_end_matches(']'), format!("{port}={address}")))
            })
            .ok_or(FORM)?;
        let PortMap(port, address) = map.parse()?;
        if host.is_empty() { Err(FORM.to_owned()) } else { Ok(Self(host.to_owned(), port, address)) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fail {
    operation: String,
    code: String,
    times: u32,
}

impl FromStr for Fail {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (operation, error) =
            text.split_once('=').ok_or("expected OPERATION=ERROR or OPERATION=ERROR:TIMES")?;
        let (code, times) = match error.split_once(':') {
            Some((code, times)) => (code, times.parse().map_err(|_| format!("`{times}` is not a number"))?),
            None => (error, ALWAYS),
        };
        if !OPERATIONS.contains(&operation) {
            return Err(format!("`{operation}` is not an operation of the simulator{}", nearest(operation)));
        }
        Ok(Self { operation: operation.to_owned(), code: code.to_owned(), times })
    }
}

/// Names the operation that may have been meant.
fn nearest(word: &str) -> String {
    let likeness = |name: &str| strsim::jaro_winkler(word, name);
    let nearest = OPERATIONS.into_iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    nearest.map(|name| format!(", the nearest is `{name}`")).unwrap_or_default()
}

fn target(text: &str) -> Result<String, String> {
    let name = Destination::of_name(text).map_err(|error| error.to_string())?;
    let Name::Id(target) = name.name() else {
        return Err("not the id of a target, such as `i-0123456789abcdef0`, `mi-…` or `ecs:…`".to_owned());
    };
    Ok(target.id().to_owned())
}

fn region(text: &str) -> Result<String, String> {
    if is_region(text) { Ok(text.to_owned()) } else { Err("not a region such as `eu-central-1`".to_owned()) }
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("not between 0 and 1".to_owned()) }
}

/// Runs the simulator until SIGINT, SIGTERM or SIGHUP.
pub(super) async fn run(options: &Options) -> io::Result<ExitCode> {
    if options.verbose {
        let filter = tracing_subscriber::EnvFilter::new("fumidai::sim=debug");
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    }
    let sandbox = Sandbox::start(config(options), options.sshd).await.map_err(with_flag)?;
    print_summary(&sandbox, options);
    print_environment(&sandbox)?;
    stop_signal().await?;
    Ok(ExitCode::SUCCESS)
}

/// Names the flag that gives another port.
fn with_flag(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::AddrInUse {
        return error;
    }
    io::Error::new(error.kind(), format!("{error}; use another `--port`, or 0 for a free one"))
}

/// Lets a shell forget the simulator that it used before: `eval` runs this if none could be started.
pub(super) fn forget() {
    // Standard output may be closed.
    let _ = print(&format!("unset {};", SANDBOX_VARIABLES.join(" ")));
}

fn config(options: &Options) -> SimConfig {
    let mut config = SimConfig {
        seed: options.seed,
        port: options.port,
        region: options.region.clone(),
        ports: options.maps.iter().map(|PortMap(port, address)| (*port, *address)).collect(),
        hosts: options.host_maps.iter().map(|HostMap(host, port, to)| ((host.clone(), *port), *to)).collect(),
        ..SimConfig::default()
    };
    if let Some(version) = &options.agent_version {
        config.agent.agent_version.clone_from(version);
    }
    config.faults.idle_timeout =
        options.idle_timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    config.targets.extend(options.targets.iter().map(|id| SimTarget::new(id, id, true)));
    if options.unpaced {
        config.agent = config.agent.unpaced();
    }
    if options.quick_resend {
        config.agent = config.agent.quick_to_resend();
    }
    for path in [&mut config.faults.to_agent, &mut config.faults.to_client] {
        path.link.delay = Duration::from_millis(options.delay);
        path.link.jitter = Duration::from_millis(options.jitter);
        path.link.loss = options.loss;
        path.link.duplicate = options.duplicate;
        path.link.reorder = options.reorder;
        path.link.reorder_depth = 50;
        path.link.bandwidth = options.bandwidth;
        path.lost_acks = options.lost_acks;
    }
    let how = match options.cut_how {
        How::Reset => CutKind::Reset,
        How::Bye => CutKind::Bye,
        How::BlackHole => CutKind::BlackHole,
    };
    if let Some(bytes) = options.cut_after {
        config.faults.cut(CutWhen::Bytes(bytes), how, ALWAYS);
    }
    if let Some(age) = options.cut_every.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        config.faults.cut(CutWhen::After(age), how, ALWAYS);
    }
    for fail in &options.fails {
        config.faults.fail_api(&fail.operation, &fail.code, "scripted by fumidai-sim", fail.times);
    }
    config.just_in_time = options.just_in_time.clone().map(|Script(mut script)| {
        if !options.approved_documents.is_empty() {
            script.documents.clone_from(&options.approved_documents);
        }
        script
    });
    config.faults.limits.messages_per_second = options.max_per_second;
    config.faults.limits.message_size = options.max_message;
    config
}

fn print_summary(sandbox: &Sandbox, options: &Options) {
    print_error(&format!("fumidai-sim: serving on {}; press Ctrl-C to stop", sandbox.simulator.endpoint()));
    for target in config(options).targets {
        print_error(&format!(
            "  target {} ({})",
            target.id,
            if target.online { "online" } else { "not connected" }
        ));
    }
    match &sandbox.identity {
        Some(identity) => {
            print_error(&format!("  port 22: the built-in ssh server; identity file: {}", identity.display()))
        }
        None => print_error("  port 22: the address of --sshd"),
    }
    print_error(&format!(
        "  with the printed environment, run: ssh -F {} {NAME}",
        sandbox.ssh_config.display()
    ));
}

fn print_environment(sandbox: &Sandbox) -> io::Result<()> {
    let mut lines = vec![format!("unset {};", CLEARED_VARIABLES.join(" "))];
    let mut environment = sandbox.simulator.environment();
    let values = [std::process::id().to_string(), sandbox.ssh_config.display().to_string()];
    environment.extend(SANDBOX_VARIABLES.map(str::to_owned).into_iter().zip(values));
    lines.extend(environment.iter().map(|(name, value)| format!("export {name}='{value}';")));
    print(&lines.join("\n"))?;
    release_stdout()
}

/// Closes stdout, so that its reader gets EOF while the simulator runs on.
#[cfg(unix)]
fn release_stdout() -> io::Result<()> {
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdout(null)?)
}

#[cfg(not(unix))]
fn release_stdout() -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
async fn stop_signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut hangup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn stop_signal() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripted_errors_are_parsed_with_and_without_a_count() {
        let fail =
            |code: &str, times| Fail { operation: "StartSession".to_owned(), code: code.to_owned(), times };
        assert_eq!("StartSession=Throttling:3".parse(), Ok(fail("Throttling", 3)));
        assert_eq!("StartSession=Throttling".parse(), Ok(fail("Throttling", ALWAYS)));
        assert!("StartSession".parse::<Fail>().is_err());
        let error = "StartSesion=Throttling".parse::<Fail>().unwrap_err();
        assert_eq!(
            error,
            "`StartSesion` is not an operation of the simulator, the nearest is `StartSession`"
        );
    }

    #[test]
    fn targets_and_regions_have_their_form() {
        assert!(target("i-0123456789abcdef0").is_ok() && target("mi-0123456789abcdef0").is_ok());
        assert!(target("web").is_err() && target("i-0!").is_err());
        assert!(region("eu-west-1").is_ok() && region("foo").is_err());
    }

    #[test]
    fn decisions_about_access_are_parsed_with_and_without_a_count() {
        let script = |decision, polls| Ok(Script(JustInTime::new(decision, polls)));
        assert_eq!("approve:3".parse(), script(Some(Decision::Approve), 3));
        assert_eq!("never".parse(), script(None, 1));
        assert!("perhaps".parse::<Script>().is_err() && "reject:x".parse::<Script>().is_err());
    }

    #[test]
    fn port_maps_and_shares_are_checked() {
        assert!("5432=127.0.0.1:15432".parse::<PortMap>().is_ok());
        assert!("x=127.0.0.1:1".parse::<PortMap>().is_err());
        let database = HostMap("db".to_owned(), 5432, "127.0.0.1:15432".parse().unwrap());
        assert_eq!("db:5432=127.0.0.1:15432".parse(), Ok(database));
        assert!("[fd00::1]:1=[::1]:2".parse::<HostMap>().is_ok_and(|HostMap(host, ..)| host == "fd00::1"));
        assert!(":1=127.0.0.1:1".parse::<HostMap>().is_err() && "db=127.0.0.1:1".parse::<HostMap>().is_err());
        assert!(share("0.5").is_ok() && share("1.5").is_err() && share("x").is_err());
    }
}
