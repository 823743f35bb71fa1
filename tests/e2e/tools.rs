//! The programs of others that the tests run. One that is missing fails its test: a skipped test proves nothing.

use std::path::{Path, PathBuf};

/// Where programs are looked for; sshd is in a folder that users seldom have in their path.
pub fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}

/// Finds a program.
pub fn tool(name: &str) -> PathBuf {
    let path = search_path();
    let found = path.split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("`{name}` is missing; `tests/run --install` installs what the tests need"))
}

/// Finds the Python that has the drivers.
pub fn python() -> PathBuf {
    from_venv("python")
}

/// Finds a program of Python: where the environment says, else in the tests' own virtual environment.
pub fn from_venv(name: &str) -> PathBuf {
    let own = || format!("{}/target/test-venv", env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::var("FUMIDAI_TEST_VENV").unwrap_or_else(|_| own());
    let program = Path::new(&folder).join("bin").join(name);
    assert!(program.is_file(), "{} is missing; `tests/run --install` installs it", program.display());
    program
}

/// Finds the AWS CLI: where the environment says, else in the tests' own virtual environment, else in the path.
pub fn aws_cli() -> PathBuf {
    if let Ok(path) = std::env::var("FUMIDAI_TEST_AWS") {
        return path.into();
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv/bin/aws");
    if own.is_file() { own } else { tool("aws") }
}
