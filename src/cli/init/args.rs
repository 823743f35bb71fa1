//! The arguments of `init`.

use clap::Args;

use crate::config::{LocalEnd, Raw, RemoteEnd, ValueError, local_end, remote_end, value};

use super::super::completers;

/// The arguments of `init`.
#[derive(Args)]
#[command(
    after_help = "On a terminal, what no flag answers is asked. Elsewhere, and with --no-input, `--target` must be given.\n\
    Nothing is overwritten: what is there stays, and `init` adds to it.\n\n  \
    fumidai init --profile prod --target i-0123456789abcdef0 --name bastion --ssh-config \\\n      \
    --database orders.cluster-abc.ap-northeast-1.rds.amazonaws.com:3306 --local 13306"
)]
pub struct InitArgs {
    /// The first machine to reach: an id, a Name tag, an address
    #[arg(long, value_name = "TARGET", add = completers::targets())]
    pub(super) target: Option<String>,
    /// Its name in the config file, for `ssh NAME` [default: its Name tag, else the target]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(super) name: Option<String>,
    /// The user to log in as there
    #[arg(long, value_name = "USER", value_parser = user)]
    pub(super) user: Option<String>,
    /// Have ssh use fumidai, as `fumidai ssh-config --install` does
    #[arg(long, overrides_with = "no_ssh_config")]
    pub(super) ssh_config: bool,
    /// Leave ~/.ssh/config as it is
    #[arg(long, overrides_with = "ssh_config")]
    pub(super) no_ssh_config: bool,
    /// Add a forward to a database that the machine reaches
    #[arg(long, value_name = "HOST:PORT", value_parser = database)]
    pub(super) database: Option<RemoteEnd>,
    /// Where the forward listens [default: the database's port + 10000, on loopback]
    #[arg(long, value_name = "[BIND:]PORT", value_parser = local, requires = "database")]
    pub(super) local: Option<LocalEnd>,
    /// The name of the forward [default: the first label of the database's host]
    #[arg(long, value_name = "NAME", value_parser = name, requires = "database")]
    pub(super) forward_name: Option<String>,
}

impl InitArgs {
    /// Returns whether ssh is to use fumidai, if a flag says it.
    pub(super) fn installs(&self) -> Option<bool> {
        (self.ssh_config || self.no_ssh_config).then_some(self.ssh_config)
    }
}

/// Accepts a name of the config file.
pub(super) fn name(word: &str) -> Result<String, String> {
    if value::is_name(word) {
        return Ok(word.to_owned());
    }
    Err("a name has letters, digits, `.`, `_`, `-`, `+` and `:`, with no `-` in front".to_owned())
}

/// Accepts a user of ssh.
pub(super) fn user(word: &str) -> Result<String, ValueError> {
    value::user(Raw::String(word))
}

/// Accepts the address of a database.
pub(super) fn database(word: &str) -> Result<RemoteEnd, ValueError> {
    remote_end(Raw::String(word))
}

/// Accepts a place to listen on.
pub(super) fn local(word: &str) -> Result<LocalEnd, ValueError> {
    local_end(Raw::String(word))
}
