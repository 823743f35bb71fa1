//! `fumidai-sim demo`: a real ssh and a real scp through the real fumidai, in a temporary folder.

use std::io;
use std::path::Path;
use std::process::{ExitCode, Output, Stdio};
use std::time::Duration;

use crate::sim::agent::message::sha256;
use crate::sim::cli::{print, print_error};
use crate::sim::config::{ONLINE_TARGET, SimConfig};
use crate::sim::faults::{CutKind, CutWhen};
use crate::sim::journal::{Detach, SimEvent};
use crate::sim::rng::Rng;
use crate::sim::sandbox::{NAME, Sandbox};
use crate::sim::sigv4::hex;

/// The time limit of one step.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a session may outlive its ssh process.
const SETTLING: Duration = Duration::from_secs(5);
const SMALL: usize = 512 * 1024;
const LARGE: usize = 2 * 1024 * 1024;
/// The transfer is cut after this number of bytes, frame headers included.
const CUT_AT: u64 = 900_000;

/// Runs all steps; a failed step is a failing exit code.
pub(super) async fn run() -> io::Result<ExitCode> {
    if !has("ssh").await || !has("scp").await {
        print_error("fumidai-sim: `ssh` and `scp` are not installed");
        print_error(
            "fumidai-sim: hint: install the OpenSSH client (on Debian: run `apt-get install openssh-client`)",
        );
        return Ok(ExitCode::FAILURE);
    }
    let sandbox = Sandbox::start(SimConfig::default(), None).await?;
    tokio::select! {
        shown = show(&sandbox) => match shown {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(Failure::System(error)) if error.kind() == io::ErrorKind::BrokenPipe => Err(error),
            Err(why) => {
                print_error(&format!("fumidai-sim: the demo failed: {why}"));
                Ok(ExitCode::FAILURE)
            }
        },
        interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| ExitCode::from(130)),
    }
}

async fn has(program: &str) -> bool {
    let mut probe = tokio::process::Command::new(program);
    probe.arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // The exit status does not matter: older versions of scp have no -V.
    probe.status().await.is_ok()
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    SessionStep(String),
    #[error(transparent)]
    System(#[from] io::Error),
}

async fn show(sandbox: &Sandbox) -> Result<(), Failure> {
    introduce(sandbox)?;
    run_a_command(sandbox).await?;
    copy_both_ways(sandbox).await?;
    cut_a_transfer(sandbox).await?;
    settle(sandbox).await?;
    Ok(conclude(sandbox)?)
}

fn introduce(sandbox: &Sandbox) -> io::Result<()> {
    print(&format!(
        "fumidai demo. Everything runs on this machine: a simulated Session Manager on\n\
         {}, an instance {ONLINE_TARGET} that can be reached\n\
         through it only, and the installed ssh and scp. No AWS account is used, and all files\n\
         are in {}.",
        sandbox.simulator.endpoint(),
        sandbox.folder().display()
    ))
}

async fn run_a_command(sandbox: &Sandbox) -> Result<(), Failure> {
    let command = "echo \"hello from the instance\"; uname -sm; exit 3";
    print(&format!("\n1. A command, with its output and its exit status\n\n   $ ssh {NAME} '{command}'"))?;
    let output = finish("ssh", ssh(sandbox, &[NAME, command])).await?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        print(&format!("   {line}"))?;
    }
    expect(output.status.code() == Some(3), || failed("ssh", &output))?;
    Ok(print("   (exit status 3, as requested)")?)
}

async fn copy_both_ways(sandbox: &Sandbox) -> Result<(), Failure> {
    print("\n2. A file copied to the instance and back\n")?;
    let original = sandbox.folder().join("original");
    std::fs::write(&original, noise(1, SMALL))?;
    let there = sandbox.files.join("copied");
    let back = sandbox.folder().join("returned");
    copy(sandbox, "original", &format!("{NAME}:copied")).await?;
    copy(sandbox, &format!("{NAME}:copied"), "returned").await?;
    let digests = [digest(&original)?, digest(&there)?, digest(&back)?];
    for (digest, name) in digests.iter().zip(["local", "on the instance", "copied back"]) {
        print(&format!("   sha256 {digest}  {name}"))?;
    }
    expect(digests[0] == digests[1] && digests[0] == digests[2], || "the copies differ".to_owned())
}

async fn cut_a_transfer(sandbox: &Sandbox) -> Result<(), Failure> {
    print("\n3. A download whose connection the service resets half-way\n")?;
    let original = sandbox.files.join("large");
    std::fs::write(&original, noise(2, LARGE))?;
    let simulator = &sandbox.simulator;
    simulator.change_faults(|faults| faults.cut(CutWhen::Bytes(CUT_AT), CutKind::Reset, 1));
    copy(sandbox, &format!("{NAME}:large"), "large").await?;
    let cuts =
        simulator.journal().count(|event| matches!(event, SimEvent::Detached { why: Detach::Cut(_), .. }));
    let resumes = simulator.journal().calls("ResumeSession");
    let (here, there) = (digest(&sandbox.folder().join("large"))?, digest(&original)?);
    print(&format!("   sha256 {there}  on the instance\n   sha256 {here}  local"))?;
    expect(here == there, || "the copies differ".to_owned())?;
    expect(cuts == 1 && resumes > 0, || format!("there were {cuts} cuts and {resumes} resumes"))?;
    Ok(print("   The websocket was reset after 900 kB and the session resumed; scp did not fail.")?)
}

/// Waits until every session has ended: ssh does not wait for its ProxyCommand.
async fn settle(sandbox: &Sandbox) -> Result<(), Failure> {
    let simulator = &sandbox.simulator;
    for open in simulator.open_sessions() {
        let ended = simulator
            .wait_for(|event| matches!(event, SimEvent::Ended { session, .. } if *session == open.id));
        let ended = tokio::time::timeout(SETTLING, ended).await;
        expect(ended.is_ok(), || format!("session {} is still open", open.id))?;
    }
    Ok(print(&format!("\n   {} sessions were started; all of them have ended.", simulator.sessions().len()))?)
}

fn conclude(sandbox: &Sandbox) -> io::Result<()> {
    print(&format!(
        "\nTo use a real instance, add to ~/.ssh/config:\n\n\
         \x20   Host i-* mi-*\n\
         \x20       ProxyCommand fumidai connect '%h' %p\n\
         \x20       ServerAliveInterval 30\n\
         \x20       ServerAliveCountMax 30\n\n\
         then, with the credentials and region of the AWS CLI:\n\n\
         \x20   AWS_PROFILE=work AWS_REGION=eu-central-1 ssh ec2-user@i-0123456789abcdef0\n\n\
         Your AWS identity needs ssm:StartSession on the instance and on the document\n\
         AWS-StartSSHSession, ssm:ResumeSession and ssm:TerminateSession on its sessions, and\n\
         ssmmessages:OpenDataChannel; the instance needs the SSM agent with its usual role\n\
         (AmazonSSMManagedInstanceCore). `fumidai-sim serve` runs a simulator for more tests.\n\
         {} is now removed.",
        sandbox.folder().display()
    ))
}

async fn copy(sandbox: &Sandbox, from: &str, to: &str) -> Result<(), Failure> {
    print(&format!("   $ scp {from} {to}"))?;
    let mut scp = sandbox.command("scp");
    scp.arg("-q").arg("-F").arg(&sandbox.ssh_config).args([from, to]);
    let output = finish("scp", scp).await?;
    expect(output.status.success(), || failed("scp", &output))
}

fn ssh(sandbox: &Sandbox, arguments: &[&str]) -> tokio::process::Command {
    let mut ssh = sandbox.command("ssh");
    ssh.arg("-F").arg(&sandbox.ssh_config).args(arguments);
    ssh
}

async fn finish(name: &str, mut command: tokio::process::Command) -> Result<Output, Failure> {
    let output = command.stdin(Stdio::null()).output();
    match tokio::time::timeout(PATIENCE, output).await {
        Ok(output) => Ok(output?),
        Err(_) => Err(Failure::SessionStep(format!("{name} did not exit within {} s", PATIENCE.as_secs()))),
    }
}

fn expect(holds: bool, why: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::SessionStep(why())) }
}

fn failed(name: &str, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    format!("{name} exited with {}:\n{}", output.status, said.trim_end())
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..length / 8).flat_map(|_| rng.next_u64().to_be_bytes()).collect()
}

fn digest(path: &Path) -> io::Result<String> {
    Ok(hex(&sha256(&std::fs::read(path)?)))
}
