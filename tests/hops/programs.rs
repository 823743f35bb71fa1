//! The user of a test: a config file, an ssh_config and a folder of programs that use it.

use std::fs;

use crate::bench::Bench;
use crate::openssh::script;
use crate::run::Run;
use crate::tools::{search_path, tool};

impl Bench {
    /// Writes the config file.
    pub fn config(&self, text: &str) {
        fs::create_dir_all(self.path("home/fumidai")).unwrap();
        self.write("home/fumidai/config.toml", text);
    }

    /// Wraps OpenSSH's programs to use the test's ssh_config: OpenSSH finds the home folder in the password file and ignores
    /// HOME.
    pub fn provide_programs(&self, names: &[&str]) {
        let (bin, config) = (self.path("bin"), self.path("ssh_config"));
        fs::create_dir(&bin).unwrap();
        for name in names {
            let command = format!("exec {} -F {} \"$@\"", tool(name).display(), config.display());
            script(&bin.join(name), &command);
        }
        fs::write(config, "").unwrap();
    }

    /// Lets a program find these programs first.
    pub fn with_programs(&self, run: Run) -> Run {
        run.env("PATH", format!("{}:{}", self.path("bin").display(), search_path()))
    }
}
