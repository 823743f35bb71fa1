//! Arguments that contradict each other or the config file.

use thiserror::Error;

/// Why a command cannot be run as it was typed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UsageError {
    /// `ssh-config` would lead each host through the same hops.
    #[error("`--via` cannot be written for every host")]
    ViaForEveryHost,
    /// `ssh-config` would copy a password to a file that others may read.
    #[error("a password of `--endpoint-url` must not be in an ssh_config")]
    PasswordForEveryHost,
    /// A change of AWS was not agreed to.
    #[error("nothing was changed: it was not confirmed")]
    NotConfirmed,
    /// clap's own, for a program that wants JSON.
    #[error("{}", first_line(text))]
    CommandLine {
        /// clap's text.
        text: String,
    },
    /// A question was not answered.
    #[error("a question was not answered: nothing was written")]
    Dismissed,
    /// There is no terminal, and no flag that answers.
    #[error("there is no terminal to ask on, and `{flag}` is missing")]
    NothingToAskOn {
        /// The flag.
        flag: &'static str,
    },
    /// `--no-input` forbids questions, and there is no flag that answers.
    #[error("`--no-input` is set, and `{flag}` is missing")]
    NoInput {
        /// The flag.
        flag: &'static str,
    },
    /// A page is asked for that does not exist.
    #[error("`fumidai {command}` has no command `{word}`")]
    NoPage {
        /// The command.
        command: String,
        /// What follows it.
        word: String,
    },
    /// A name of the config file is that of something else.
    #[error("the config file has another `[{table}.{name}]`")]
    Taken {
        /// `hosts` or `forwards`.
        table: &'static str,
        /// The name.
        name: String,
    },
    /// A token is asked for a database without a user.
    #[error("a token is signed for a database user")]
    NoUser,
    /// `--exec` has neither a command nor one in the config file.
    #[error("`--exec` without a command needs one forward with `exec`")]
    NoExec,
    /// A token is asked for a forward that names no user or no host.
    #[error("forward `{name}` has no `{missing}` to sign a token for")]
    NotForToken {
        /// The forward.
        name: String,
        /// The key.
        missing: &'static str,
    },
    /// `explain` of a forward needs no port.
    #[error("forward `{name}` has a port of its own")]
    PortOfForward {
        /// The forward.
        name: String,
    },
    /// `sessions end` without an id.
    #[error("no session is named")]
    NoSession,
    /// `--exec` has taken the name of a forward for its command.
    #[error("`--exec {name}` takes `{name}` as its command, and no forward is named")]
    ExecBeforeName {
        /// The forward.
        name: String,
    },
    /// A token is asked for a host without its port.
    #[error("`{host}` has no port, for which a token is signed too")]
    NoPort {
        /// The host.
        host: String,
    },
    /// A token is asked for a host with a port that is none.
    #[error("`{port}` is not a port of `{host}`")]
    NotAPort {
        /// The host.
        host: String,
        /// What stands for the port.
        port: String,
    },
    /// A token is asked for neither.
    #[error("`{name}` is neither a forward of the config file nor HOST:PORT")]
    NotADatabase {
        /// The word.
        name: String,
        /// The most similar forward.
        nearest: Option<String>,
    },
}

/// Returns what clap says first, without its prefix.
fn first_line(text: &str) -> &str {
    let first = text.lines().next().unwrap_or_default().trim();
    first.strip_prefix("error: ").unwrap_or(first)
}
