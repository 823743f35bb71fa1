//! The setup of a test: a real sshd behind the simulated service, the stub of EC2, and a user with a config file, an
//! ssh_config and a folder of programs.

use std::fs;
use std::path::Path;

use fumidai::sim::{ONLINE_TARGET, SimConfig};

use crate::bench::Bench;
use crate::ec2::Ec2;
use crate::openssh::keygen;
use crate::run::Run;
use crate::sshd::Sshd;
use crate::tools::tool;

/// The name of the parameter.
pub const PARAMETER: &str = "/keys/web";

pub struct World {
    pub bench: Bench,
    pub ec2: Ec2,
    pub sshd: Sshd,
    folder: tempfile::TempDir,
}

impl World {
    /// Starts everything with `host_keys` of the host `web`.
    pub async fn new(source: &str) -> Self {
        Self::with(source, |_, _| {}).await
    }

    /// The same, with another simulator; the closure gets the public key of the sshd.
    pub async fn with(source: &str, change: impl FnOnce(&mut SimConfig, &str)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sshd = Sshd::start(&folder.path().join("sshd")).await;
        let key = public(&folder.path().join("sshd"), "host_key");
        let configure = |config: &mut SimConfig| {
            config.ports.insert(22, sshd.address);
            config.parameters.insert(PARAMETER.into(), format!("{key}\n"));
            change(config, &key);
        };
        let bench = Bench::new().configure(configure).start().await;
        let world = Self { bench, ec2: Ec2::start(), sshd, folder };
        world.ec2.show(&key);
        world.bench.provide_programs(&["ssh"]);
        world.config(&format!("[hosts.web]\ntarget = '{ONLINE_TARGET}'\nhost_keys = '{source}'\n"));
        world.use_fumidai("").await;
        world
    }

    /// The public host key of the sshd.
    pub fn key(&self) -> String {
        public(&self.folder.path().join("sshd"), "host_key")
    }

    /// Its fingerprint.
    pub fn fingerprint(&self) -> String {
        let file = self.folder.path().join("sshd/host_key.pub");
        let output = std::process::Command::new(tool("ssh-keygen")).arg("-lf").arg(file).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
    }

    /// Gives the sshd another host key.
    pub async fn swap_key(&self) {
        self.make_key("host_key", "ed25519").await;
    }

    /// Gives the sshd new host keys of these types alone, and returns them.
    pub async fn use_host_keys(&self, kinds: &[&str]) -> Vec<String> {
        let sshd = self.folder.path().join("sshd");
        let file = sshd.join("sshd_config");
        let config = fs::read_to_string(&file).unwrap();
        let others = config.lines().filter(|line| !line.starts_with("HostKey "));
        let mut config = others.collect::<Vec<_>>().join("\n") + "\n";
        let mut keys = Vec::new();
        for kind in kinds {
            let name = format!("host_{kind}");
            keys.push(self.make_key(&name, kind).await);
            config += &format!("HostKey {}/{name}\n", sshd.display());
        }
        fs::write(file, config).unwrap();
        keys
    }

    /// Removes the keys that fumidai keeps.
    pub fn forget(&self) {
        fs::remove_file(self.bench.path("home/fumidai/host_keys.json")).unwrap();
    }

    /// Gives the sshd a certificate of an authority that nobody trusts.
    pub async fn certify(&self) {
        let sshd = self.folder.path().join("sshd");
        if !sshd.join("ca").exists() {
            keygen(&sshd, "ca", &["-t", "ed25519"]).await;
            self.configure_sshd("HostCertificate FOLDER/host_key-cert.pub\n");
        }
        keygen(&sshd, "host_key.pub", &["-s", "ca", "-h", "-I", "web", "-V", "-1h:+1h"]).await;
    }

    /// Makes a key in the sshd's folder, and returns its public half.
    pub async fn make_key(&self, name: &str, kind: &str) -> String {
        let sshd = self.folder.path().join("sshd");
        for file in [name.to_owned(), format!("{name}.pub")] {
            let _ = fs::remove_file(sshd.join(file));
        }
        keygen(&sshd, name, &["-t", kind]).await;
        public(&sshd, name)
    }

    /// Adds lines to the sshd_config, in which `FOLDER` is its folder.
    pub fn configure_sshd(&self, lines: &str) {
        let sshd = self.folder.path().join("sshd");
        let file = sshd.join("sshd_config");
        let lines = lines.replace("FOLDER", &sshd.to_string_lossy());
        fs::write(&file, fs::read_to_string(&file).unwrap() + &lines).unwrap();
    }

    /// Writes the config file.
    pub fn config(&self, text: &str) {
        self.bench.config(text);
    }

    /// Writes the ssh_config: these lines, the output of `fumidai ssh-config`, and logins without questions.
    pub async fn use_fumidai(&self, lines: &str) {
        let printed = self.fumidai(["ssh-config"]).finish().await.exits(0);
        self.ssh_config(&format!("{lines}\n{}", printed.text()));
    }

    /// The same, printed by the program at this path with these flags.
    pub async fn use_fumidai_at(&self, program: &Path, flags: &[&str]) {
        let printed = self.dressed(self.bench.run(program)).args(["ssh-config"]).args(flags);
        self.ssh_config(printed.finish().await.exits(0).text());
    }

    fn ssh_config(&self, text: &str) {
        let Sshd { user, identity, .. } = &self.sshd;
        let logins = format!(
            "Host *\n    User {user}\n    IdentityFile {}\n    IdentitiesOnly yes\n    IdentityAgent none\n    BatchMode yes\n\
             \x20   UserKnownHostsFile {}\n    GlobalKnownHostsFile none\n",
            identity.display(),
            self.bench.path("known_hosts").display()
        );
        self.bench.write("ssh_config", format!("{text}\n{logins}"));
    }

    pub fn fumidai<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        self.dressed(self.bench.fumidai(args))
    }

    /// `ssh` with the test's ssh_config. No key is known, and none may be asked for.
    pub fn ssh<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        let strict = ["-o".as_ref(), "StrictHostKeyChecking=yes".as_ref()];
        let run = self.bench.run(&self.bench.path("bin/ssh")).args::<&std::ffi::OsStr>(strict);
        self.dressed(run.args(args))
    }

    fn dressed(&self, run: Run) -> Run {
        let run = self.bench.with_programs(run);
        run.env("AWS_ENDPOINT_URL_EC2", &self.ec2.url).env("USER", &self.sshd.user)
    }

    /// The number of sessions that were started.
    pub fn sessions(&self) -> usize {
        self.bench.simulator.sessions().len()
    }
}

/// A public key without its comment.
fn public(folder: &Path, name: &str) -> String {
    let text = fs::read_to_string(folder.join(format!("{name}.pub"))).unwrap();
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}
