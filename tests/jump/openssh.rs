//! OpenSSH's ssh-agent and ssh-keygen, and shell scripts that a test writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::tools::tool;

/// A real ssh-agent.
pub struct SshAgent {
    pub socket: PathBuf,
    _agent: Child,
}

impl SshAgent {
    pub async fn start(folder: &Path) -> Self {
        let socket = folder.join("agent.sock");
        let mut agent = Command::new(tool("ssh-agent"));
        agent.arg("-D").arg("-a").arg(&socket).stdout(Stdio::piped()).kill_on_drop(true);
        let mut agent = agent.spawn().unwrap();
        let mut line = String::new();
        // The agent prints its socket once it listens.
        BufReader::new(agent.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        Self { socket, _agent: agent }
    }

    pub async fn add(&self, key: &Path) {
        let mut add = Command::new(tool("ssh-add"));
        add.arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket).stdin(Stdio::null());
        assert!(add.status().await.unwrap().success());
    }
}

/// Runs ssh-keygen in a folder; the file is the last argument.
pub async fn keygen(folder: &Path, file: &str, arguments: &[&str]) {
    let mut keygen = Command::new(tool("ssh-keygen"));
    keygen.current_dir(folder).arg("-q").args(arguments);
    if arguments.contains(&"-t") {
        keygen.args(["-C", "", "-f", file]);
        if !arguments.contains(&"-N") {
            keygen.args(["-N", ""]);
        }
    } else {
        keygen.arg(file);
    }
    assert!(
        keygen.stdin(Stdio::null()).stdout(Stdio::null()).status().await.unwrap().success(),
        "{arguments:?} {file}"
    );
}

/// The current user, which the sshd of a test accepts.
pub fn user() -> String {
    let output = std::process::Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Writes an executable shell script.
pub fn script(file: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;

    fs::write(file, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o700)).unwrap();
}
