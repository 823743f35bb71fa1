//! The arguments of `up`, `down`, `status`, `logs` and `restart`.

use clap::Args;

use super::super::completers;

/// The arguments of `up`.
#[derive(Args)]
#[command(
    after_help = "The forwards run under systemd's user instance on Linux, launchd on macOS, the Task Scheduler on Windows.\n\
    Flags and variables that were given now hold for them later too; credentials in variables do not: name a profile.\n\n  \
    fumidai up orders-db && fumidai status"
)]
pub struct UpArgs {
    /// Forwards of the config file [default: all]
    #[arg(value_name = "NAME", add = completers::named_forwards())]
    pub(super) names: Vec<String>,
    /// Start them now, and not at each login
    #[arg(long)]
    pub(super) now_only: bool,
}

/// The arguments of `down` and `restart`.
#[derive(Args)]
pub struct NamesArgs {
    /// Forwards that `up` has started [default: all]
    #[arg(value_name = "NAME", add = completers::named_forwards())]
    pub(super) names: Vec<String>,
}

/// The arguments of `status`.
#[derive(Args)]
pub struct RunningArgs {
    /// Forwards of the config file, or that run [default: all]
    #[arg(value_name = "NAME", add = completers::named_forwards())]
    pub(super) names: Vec<String>,
    /// Print one JSON array with all that is known
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// The arguments of `logs`.
#[derive(Args)]
pub struct LogsArgs {
    /// A forward that `up` has started
    #[arg(value_name = "NAME", add = completers::named_forwards())]
    pub(super) name: String,
    /// Wait for further lines
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Print so many of the last lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub(super) lines: u32,
}
