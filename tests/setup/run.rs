//! A user's home folder, and fumidai run in it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

/// The program under test.
pub const FUMIDAI: &str = env!("CARGO_BIN_EXE_fumidai");

/// Where programs are; the program under test comes first.
fn path() -> String {
    let folder = PathBuf::from(FUMIDAI).parent().unwrap().display().to_string();
    format!("{folder}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
}

/// A home folder with nothing in it.
pub struct Home {
    folder: TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and the folders to it.
    pub fn write(&self, name: &str, text: &str) {
        self.write_bytes(name, text.as_bytes());
    }

    pub fn write_bytes(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn config(&self, text: &str) {
        self.write(".config/fumidai/config.toml", text);
    }

    /// A program with this home and nothing else in its environment.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.folder.path()).env("PATH", path()).env("LC_ALL", "C.UTF-8");
        command.current_dir(self.folder.path());
        command
    }

    pub fn fumidai(&self, words: &str) -> Output {
        self.command("fumidai").args(words.split_whitespace()).output().unwrap()
    }
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The exit code and the last words.
pub fn end(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), stderr(output))
}

/// Tells whether a program is installed.
pub fn has(program: &str) -> bool {
    std::env::split_paths(&path()).any(|folder| folder.join(program).is_file())
}
