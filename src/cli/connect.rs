//! The command `connect`: stdin and stdout joined to a port of the target.

use std::process::ExitCode;

use crate::config::Config;
use crate::target::Target;

use super::report::{ExitKind, Report};

/// Runs the command. There is no session to open yet, so it only says so.
pub(super) fn connect(_config: Config, target: Target, port: u16) -> ExitCode {
    let cause = format!("cannot open a session to `{}`, port {port}: not built yet", target.id());
    Report::new(ExitKind::Failure, cause).print()
}
