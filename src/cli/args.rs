//! The command line, as clap parses it.
//!
//! Every option is an `Option`, so that "given" and "default" stay apart until [`Config`](crate::config::Config) is
//! resolved. clap does not read the environment: the help names each variable, `config` reads it. Global and session
//! options are accepted before and after the command word. `setting_flags` has those that are settings.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::styling::Styles;
use clap::{Arg, ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::{self, Flags, HostKeySource, Key, ValueError, Verbosity, value};

use super::audit::args::AuditArgs;
use super::init::args::InitArgs;
use super::running::args::{LogsArgs, NamesArgs, RunningArgs, UpArgs};
use super::sessions::SessionsArgs;
use super::setting_flags::{self, SettingFlags};
use super::token::TokenArgs;
use super::{completers, ssh_config};

/// SSH through AWS Systems Manager, with no open port 22
#[derive(Parser)]
#[command(name = "fumidai", version, long_version = env!("FUMIDAI_VERSION"), subcommand_required = true)]
#[command(arg_required_else_help = true)]
#[command(disable_help_flag = true, disable_version_flag = true, styles = Styles::plain())]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    settings: SettingFlags,
    #[command(flatten)]
    global: GlobalOptions,
    #[command(flatten)]
    session: SessionOptions,
    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = "Global options")]
    version: Option<bool>,
}

/// The commands; each is one variant with its own arguments.
#[derive(Subcommand)]
pub enum Command {
    /// Set up the first machine: config file, ssh_config, a database's port; asks on a terminal
    Init(InitArgs),
    /// Join stdin and stdout to a port of TARGET, as ssh's ProxyCommand
    Connect(ConnectArgs),
    /// Forward local ports to ports that TARGET reaches
    Forward(Box<ForwardArgs>),
    /// Have forwards of the config file run by the system's supervisor, now and after each login
    Up(UpArgs),
    /// End forwards that `up` has started, and start them no more
    Down(NamesArgs),
    /// Show the forwards that run: listeners, sessions, connections, bytes, the last error
    Status(RunningArgs),
    /// Print what a forward that `up` has started wrote
    Logs(LogsArgs),
    /// End forwards that `up` has started, and start them again
    Restart(NamesArgs),
    /// Start and stop bastions by hand, show their open sessions, set them up
    Bastion(BastionArgs),
    /// Find the first broken link on the way to TARGET, and say how to fix it
    Doctor(DoctorArgs),
    /// List what can be reached, and its state
    List(ListArgs),
    /// Explain what TARGET means, how it is reached, and what must be allowed for that; nothing is started
    Explain(ExplainArgs),
    /// Print a password for a database that logs in by IAM
    Token(TokenArgs),
    /// List my open sessions, and end those that were left behind
    Sessions(SessionsArgs),
    /// Show the record of sessions, check it, make a page of it
    Audit(AuditArgs),
    /// Print the host keys of TARGET from a source that AWS authenticates, as lines of known_hosts
    HostKeys(HostKeysArgs),
    /// Print the ssh_config that makes ssh use fumidai, or install it
    SshConfig(SshConfigArgs),
    /// Print the script that completes commands and targets in SHELL
    Completions(CompletionsArgs),
    /// Print the manual, or the page of COMMAND alone
    Man(ManArgs),
}

impl Command {
    /// Returns whether its output is for programs.
    pub(super) fn is_json(&self) -> bool {
        match self {
            Self::Forward(args) => args.json,
            Self::Status(args) => args.json,
            Self::Bastion(args) => matches!(&args.command, BastionCommand::Status(args) if args.json),
            Self::Doctor(args) => args.json,
            Self::List(args) => args.json,
            Self::Explain(args) => args.json,
            Self::Token(args) => args.command.is_json(),
            Self::Sessions(args) => args.is_json(),
            Self::Audit(args) => args.command.is_json(),
            Self::Init(_)
            | Self::Connect(_)
            | Self::Up(_)
            | Self::Down(_)
            | Self::Logs(_)
            | Self::Restart(_)
            | Self::HostKeys(_)
            | Self::SshConfig(_)
            | Self::Completions(_)
            | Self::Man(_) => false,
        }
    }
}

/// The arguments of `connect`.
#[derive(Args)]
#[command(override_usage = "fumidai connect [OPTIONS] [USER@]TARGET [PORT]", args = session_flags())]
#[command(after_help = "In ~/.ssh/config:\n  \
    Host i-* mi-*\n      \
        ProxyCommand fumidai connect '%h' %p\n      \
        ServerAliveInterval 30\n      \
        ServerAliveCountMax 30")]
pub struct ConnectArgs {
    /// A host of the config file, an id (`i-…`, `mi-…`), a Name tag, `tag:KEY=VALUE`, an address, a DNS name or
    /// `ecs:CLUSTER/SERVICE[/CONTAINER]`; `TARGET--REGION` names the region too
    #[arg(value_name = "[USER@]TARGET", add = completers::targets())]
    pub target: String,
    /// The TCP port on the target [default: the host's in the config file, else 22]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
}

/// The arguments of `forward`.
#[derive(Args)]
#[command(args = session_flags())]
#[command(override_usage = "fumidai forward [OPTIONS] [USER@]TARGET -L SPEC... [-D [BIND:]PORT]...\n       \
    fumidai forward [OPTIONS] NAME...\n       fumidai forward [OPTIONS] --all")]
#[command(
    after_help = "SPEC is OpenSSH's [BIND:]PORT:HOST:HOSTPORT, also [BIND:]PORT:HOSTPORT for a port of TARGET itself;\n\
    port 0 is one that is free; a path in the place of [BIND:]PORT makes a unix socket.\n\n  \
    fumidai forward i-0123456789abcdef0 -L 13306:orders.cluster-abc.ap-northeast-1.rds.amazonaws.com:3306\n  \
    fumidai forward orders-db       # [forwards.orders-db] of the config file"
)]
pub struct ForwardArgs {
    /// With -L or -D a target; without, names of forwards in the config file
    #[arg(value_name = "TARGET|NAME", add = completers::forwards())]
    pub words: Vec<String>,
    /// Forward a local port or unix socket to HOST:HOSTPORT, as TARGET reaches it
    #[arg(short = 'L', value_name = "SPEC", value_parser = config::local_forward)]
    pub local: Vec<config::LocalForward>,
    /// Listen for SOCKS4, SOCKS5 and HTTP CONNECT; each destination gets a session of its own
    #[arg(short = 'D', value_name = "[BIND:]PORT", value_parser = config::dynamic_forward)]
    pub dynamic: Vec<config::LocalEnd>,
    /// Open every forward of the config file
    #[arg(long, conflicts_with_all = ["words", "local", "dynamic"])]
    pub all: bool,
    /// Open sessions at once instead of at the first connection, and fail if one cannot be opened
    #[arg(long)]
    pub eager: bool,
    /// Keep a session with open connections from being ended for want of input
    #[arg(long)]
    pub hold: bool,
    /// Spread connections to one destination over so many sessions, 1 to 8
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub sessions: u8,
    /// Destinations of -D that have sessions at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_sessions: u16,
    /// Print one JSON object a line on stdout for programs
    #[arg(long)]
    pub json: bool,
    /// When ready, write the listeners to this file descriptor as JSON lines, and close it
    #[arg(long, value_name = "FD", value_parser = clap::value_parser!(i32).range(3..))]
    pub ready_fd: Option<i32>,
    /// When ready, run this by the shell, and end with its exit status; without COMMAND, `exec` of the forward in the
    /// config file
    #[arg(long, value_name = "COMMAND", num_args = 0..=1)]
    pub exec: Option<Option<String>>,
    /// The supervisor that runs this process; in the definitions that `up` writes
    #[arg(long, hide = true, value_name = "NAME")]
    pub(super) supervisor: Option<String>,
}

/// The arguments of `bastion`.
#[derive(Args)]
pub struct BastionArgs {
    #[command(subcommand)]
    pub(super) command: BastionCommand,
}

/// The commands of `bastion`.
#[derive(Subcommand)]
pub enum BastionCommand {
    /// Show what is needed once, and what is missing; with --apply, do it
    Setup(SetupArgs),
    /// Show how to remove the guardian and the tags; with --apply, do it
    Teardown(TeardownArgs),
    /// Start a bastion, and wait until it can be connected to
    Start(OneBastion),
    /// Stop a bastion, unless others have open sessions on it
    Stop(StopArgs),
    /// Let a bastion run longer than its limit
    Extend(ExtendArgs),
    /// Show the state of bastions: their open sessions, when they stop, which groups are lent
    Status(StatusArgs),
}

/// A bastion, and whether to change it.
#[derive(Args)]
#[command(args = [Key::StartTimeout, Key::Guardian].map(setting_flags::shown))]
pub struct OneBastion {
    /// A host of the config file, or a target
    #[arg(value_name = "NAME", add = completers::targets())]
    pub(super) name: String,
    /// Only print what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// The arguments of `bastion stop`.
#[derive(Args)]
pub struct StopArgs {
    #[command(flatten)]
    pub(super) bastion: OneBastion,
    /// Stop it even if others are on it
    #[arg(long)]
    pub(super) force: bool,
}

/// The arguments of `bastion extend`.
#[derive(Args)]
pub struct ExtendArgs {
    #[command(flatten)]
    pub(super) bastion: OneBastion,
    /// How much longer, such as `30m` or `1h`
    #[arg(value_name = "TIME", value_parser = life_time)]
    pub(super) time: Duration,
}

/// The arguments of `bastion status`.
#[derive(Args)]
#[command(args = [Key::Guardian].map(setting_flags::shown))]
pub struct StatusArgs {
    /// A host of the config file, or a target [default: all bastions of the config file]
    #[arg(value_name = "NAME", add = completers::targets())]
    pub(super) name: Option<String>,
    /// Print one JSON array with all that is known
    #[arg(long)]
    pub(super) json: bool,
    /// Take back security groups that were left behind
    #[arg(long)]
    pub(super) fix: bool,
    /// With --fix, only print what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// The arguments of `bastion setup`.
#[derive(Args)]
#[command(args = [Key::Guardian].map(setting_flags::shown))]
pub struct SetupArgs {
    /// A host of the config file, or a target
    #[arg(value_name = "NAME", add = completers::targets())]
    pub(super) name: Option<String>,
    /// Print the CloudFormation template of the guardian
    #[arg(long, conflicts_with_all = ["name", "apply"])]
    pub(super) template: bool,
    #[command(flatten)]
    pub(super) change: Change,
}

/// The arguments of `bastion teardown`.
#[derive(Args)]
#[command(args = [Key::Guardian].map(setting_flags::shown))]
pub struct TeardownArgs {
    /// A host of the config file, or a target: only its tags are removed
    #[arg(value_name = "NAME", add = completers::targets())]
    pub(super) name: Option<String>,
    #[command(flatten)]
    pub(super) change: Change,
}

/// Whether AWS is changed.
#[derive(Args)]
pub struct Change {
    /// Do what is printed, after a question
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) apply: bool,
    /// With --apply, do not ask
    #[arg(long, requires = "apply")]
    pub(super) yes: bool,
    /// Only print what would be done; this is the default
    #[arg(long)]
    pub(super) dry_run: bool,
}

fn life_time(word: &str) -> Result<Duration, ValueError> {
    value::stop_after(word.into())
}

/// The arguments of `doctor`.
#[derive(Args)]
#[command(args = session_flags())]
pub struct DoctorArgs {
    /// What `connect` would get, or the name of a forward in the config file [default: what all targets have in common]
    #[arg(value_name = "[USER@]TARGET|FORWARD", add = completers::forwards())]
    pub(super) target: Option<String>,
    /// The TCP port on the target [default: the host's in the config file, else 22]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// Print one JSON array with all that is known
    #[arg(long)]
    pub(super) json: bool,
}

impl DoctorArgs {
    /// What `fumidai doctor TARGET` is.
    pub(super) fn of_target(target: &str) -> Self {
        Self { target: Some(target.to_owned()), port: None, json: false }
    }
}

/// The arguments of `explain`.
#[derive(Args)]
#[command(override_usage = "fumidai explain [OPTIONS] [USER@]TARGET [PORT]\n       \
    fumidai explain [OPTIONS] FORWARD")]
#[command(args = route_flags())]
pub struct ExplainArgs {
    /// What `connect` would get, or the name of a forward in the config file
    #[arg(value_name = "[USER@]TARGET|FORWARD", add = completers::forwards())]
    pub target: String,
    /// The TCP port on the target [default: the host's in the config file, else 22]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Print one JSON object with all that is known
    #[arg(long)]
    pub json: bool,
    /// Print the least IAM policy for exactly that
    #[arg(long, conflicts_with = "json")]
    pub policy: bool,
}

/// The arguments of `host-keys`.
#[derive(Args)]
#[command(override_usage = "fumidai host-keys [OPTIONS] [[USER@]TARGET [PORT]]", args = session_flags())]
#[command(
    after_help = "`fumidai ssh-config` writes this command as KnownHostsCommand for each host of the config file\n\
    that has `host_keys`. The keys are kept in the cache folder; a key that differs from them is refused."
)]
pub struct HostKeysArgs {
    /// What `connect` would get [default: every host of the config file that has `host_keys`]
    #[arg(value_name = "[USER@]TARGET", add = completers::targets())]
    pub(super) target: Option<String>,
    /// The TCP port of sshd on the target [default: the host's in the config file, else 22]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// Ask there: `console`, `session` or `parameter:NAME` [default: the host's in the config file, else `session`]
    #[arg(long, value_name = "SOURCE", value_parser = host_key_source)]
    pub(super) source: Option<HostKeySource>,
    /// Ask the source even if keys are kept, and replace these
    #[arg(long)]
    pub(super) renew: bool,
    /// Write this name into the lines; ssh's `%H` [default: the name that ssh looks for]
    #[arg(long, value_name = "NAME", value_parser = known_hosts_name, requires = "target")]
    pub(super) name: Option<String>,
    /// Fail unless this is one of the keys: the key that was offered, in base64; ssh's `%K`
    #[arg(long, value_name = "KEY", requires = "target")]
    pub(super) offered: Option<String>,
}

fn host_key_source(word: &str) -> Result<HostKeySource, ValueError> {
    HostKeySource::read(word.into())
}

/// Accepts a name that is one field of a line.
fn known_hosts_name(word: &str) -> Result<String, &'static str> {
    let is_field = |c: char| !c.is_whitespace() && !c.is_control();
    let is_name = !word.is_empty() && !word.starts_with(['@', '#', '|']) && word.chars().all(is_field);
    if is_name { Ok(word.to_owned()) } else { Err("not a name of known_hosts") }
}

/// The arguments of `ssh-config`.
#[derive(Args)]
#[command(args = setting_flags::of_sessions().map(setting_flags::shown))]
pub struct SshConfigArgs {
    /// Write it to ~/.ssh/fumidai.config, and include that at the top of ~/.ssh/config
    #[arg(long)]
    install: bool,
    /// Take both away again
    #[arg(long, conflicts_with = "install")]
    uninstall: bool,
    /// Write the whole path of this program: programs with windows may have another PATH
    #[arg(long)]
    pub(super) whole_path: bool,
}

impl SshConfigArgs {
    /// Returns what is to be done.
    pub(super) fn action(&self) -> ssh_config::SshConfigAction {
        match (self.install, self.uninstall) {
            (true, _) => ssh_config::SshConfigAction::Install,
            (false, true) => ssh_config::SshConfigAction::Uninstall,
            (false, false) => ssh_config::SshConfigAction::Print,
        }
    }
}

/// A shell with completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Shell {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Elvish => "elvish",
            Self::Fish => "fish",
            Self::Powershell => "powershell",
            Self::Zsh => "zsh",
        }
    }
}

/// The arguments of `completions`.
#[derive(Args)]
#[command(after_help = "bash:        mkdir -p ~/.local/share/bash-completion/completions\n             \
    fumidai completions bash > ~/.local/share/bash-completion/completions/fumidai\n\
    zsh:         fumidai completions zsh > a folder of $fpath/_fumidai\n\
    fish:        fumidai completions fish > ~/.config/fish/completions/fumidai.fish\n\
    powershell:  fumidai completions powershell | Out-String | Invoke-Expression   in $PROFILE\n\
    elvish:      eval (fumidai completions elvish | slurp)   in rc.elv")]
pub struct CompletionsArgs {
    /// The shell
    pub(super) shell: Shell,
}

/// The arguments of `man`.
#[derive(Args)]
#[command(after_help = "To read it: fumidai man | man -l -")]
pub struct ManArgs {
    /// The command, or `fumidai` for the first page
    #[arg(value_parser = manual_page)]
    pub(super) command: Option<String>,
    /// A command of that command, such as `start` of `bastion`
    pub(super) subcommand: Option<String>,
}

/// Accepts the name of a command, or of the program.
fn manual_page(word: &str) -> Result<String, String> {
    let commands = command_names();
    if word == "fumidai" || commands.iter().any(|name| name == word) {
        return Ok(word.to_owned());
    }
    Err(format!("the commands are {}", commands.join(", ")))
}

/// Returns the names of all commands.
pub(super) fn command_names() -> Vec<String> {
    let line = CommandLine::command();
    line.get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

/// The arguments of `list`.
#[derive(Args)]
pub struct ListArgs {
    /// Show only what has this text in a column, this `tag:KEY=VALUE` or this `state:STATE`; all of several
    #[arg(value_name = "FILTER")]
    pub filters: Vec<String>,
    /// Print one JSON array with all that is known
    #[arg(long)]
    pub json: bool,
    /// Ask AWS even if it was asked within the last minute
    #[arg(long)]
    pub no_cache: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Global options")]
struct GlobalOptions {
    /// Read this config file [env: FUMIDAI_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log to stderr too; -vv for more, -vvv for all [env: FUMIDAI_VERBOSE]
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// No notes on stderr, only the cause of a failure [env: FUMIDAI_QUIET]
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Never ask: fail where a question would be asked [env: FUMIDAI_NO_INPUT]
    #[arg(long, global = true)]
    no_input: bool,
    /// Print this help
    #[arg(short, long, global = true, action = ArgAction::Help)]
    help: Option<bool>,
}

/// Accepted by every command, and shown in the help of those that open sessions.
#[derive(Args)]
struct SessionOptions {
    #[arg(long, global = true, hide = true, value_name = "HOP", value_parser = hop)]
    via: Vec<String>,
    #[arg(long, global = true, hide = true, overrides_with = "no_start")]
    start: bool,
    #[arg(long, global = true, hide = true, overrides_with = "start")]
    no_start: bool,
    #[arg(long, global = true, hide = true)]
    ephemeral_key: bool,
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl SessionOptions {
    fn start(&self) -> Option<bool> {
        (self.start || self.no_start).then_some(self.start)
    }
}

/// The flags of a route, for the help of a command.
fn route_flags() -> Vec<Arg> {
    let via = Arg::new("via")
        .long("via")
        .global(true)
        .action(ArgAction::Append)
        .value_name("HOP")
        .value_parser(hop)
        .add(completers::targets())
        .help("Go through that host; several, the nearest first [env: FUMIDAI_VIA] [default: the host's in the config file]")
        .help_heading("Session options");
    vec![via, setting_flags::shown(Key::Document)]
}

/// All flags of sessions, for the help of a command that opens some.
fn session_flags() -> Vec<Arg> {
    let settings = setting_flags::of_sessions().map(setting_flags::shown);
    let [via, _] = route_flags().try_into().expect("there are two");
    let start = switch(
        "start",
        "Start the target, or the first hop, if it is stopped [env: FUMIDAI_START] [default: the host's in the config file]",
    );
    let no_start = switch("no_start", "Start nothing [env: FUMIDAI_START]");
    let start = [start.overrides_with("no_start"), no_start.overrides_with("start")];
    settings.chain([via]).chain(start).chain(key_flags()).collect()
}

/// The flags about keys that are pushed.
fn key_flags() -> [Arg; 2] {
    let file = Arg::new("key_file")
        .long("key-file")
        .global(true)
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("Keep the ephemeral key in FILE, which ssh has as IdentityFile [env: FUMIDAI_KEY_FILE] [default: in the ssh-agent]")
        .help_heading("Session options");
    let ephemeral = switch(
        "ephemeral_key",
        "Log in with a key that is made for the connection and pushed by EC2 Instance Connect [env: FUMIDAI_EPHEMERAL_KEY]",
    );
    [ephemeral, file]
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    let flag = Arg::new(name).long(name.replace('_', "-")).global(true).action(ArgAction::SetTrue);
    flag.help(help).help_heading("Session options")
}

impl CommandLine {
    /// Parses the arguments, the program's name first.
    ///
    /// # Errors
    ///
    /// clap's own: a usage error, or the text of `--help` and `--version`.
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(args)
    }

    /// Separates what was typed for every command from the command itself.
    pub fn into_parts(self) -> (Command, Flags) {
        let Self { command, settings, global, session, version: _ } = self;
        let verbosity = global.verbosity();
        let flags = Flags {
            settings: settings.0,
            config_file: global.config,
            verbosity,
            start: session.start(),
            ephemeral_key: session.ephemeral_key,
            key_file: session.key_file,
            via: session.via,
            makes_config_file: matches!(command, Command::Init(_)),
            no_input: global.no_input,
        };
        (command, flags)
    }
}

impl GlobalOptions {
    fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, 1) => Verbosity::Info,
            (false, 2) => Verbosity::Debug,
            (false, 3..) => Verbosity::Trace,
        }
    }
}

fn hop(word: &str) -> Result<String, ValueError> {
    value::hop(word.into())
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;
    use crate::config::{Environment, Settings};

    fn read(words: &str) -> Result<CommandLine, clap::Error> {
        CommandLine::read(words.split_whitespace().map(OsString::from))
    }

    fn flags(words: &str) -> Flags {
        read(words).unwrap_or_else(|error| panic!("{error}")).into_parts().1
    }

    fn refuse(words: &str) -> (ErrorKind, String) {
        let error = read(words).err().expect(words);
        (error.kind(), error.to_string())
    }

    #[test]
    fn the_definition_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn connect_has_a_target_and_a_port() {
        for (words, target, port) in [
            ("fumidai connect i-0123", "i-0123", None),
            ("fumidai connect me@i-0123 2222", "me@i-0123", Some(2222)),
            ("fumidai connect i-0123 65535 -v", "i-0123", Some(65535)),
        ] {
            let (Command::Connect(args), _) = read(words).expect(words).into_parts() else {
                panic!("{words}");
            };
            assert_eq!((args.target.as_str(), args.port), (target, port));
        }
    }

    #[test]
    fn every_option_stands_before_or_after_the_command() {
        let options = "--profile p --region eu-west-1 --endpoint-url http://e --reason r --require-reason true --color never \
                       --access-request oi-0123456789ab --access-request-timeout 60 \
                       --log-file l --connect-timeout 1 --resume-window 15m --keepalive 3 --linger 0 --idle-close 4 \
                       --max-payload 1024 --document d --start-timeout 2 --guardian g --via a --via b";
        let before = flags(&format!("fumidai {options} --config c -vv connect i-0123"));
        let after = flags(&format!("fumidai connect i-0123 {options} --config c -vv"));
        let expected = Settings {
            profile: Some("p".into()),
            region: Some("eu-west-1".into()),
            endpoint_url: Some("http://e".into()),
            reason: Some("r".into()),
            require_reason: Some(true),
            access_request: Some(config::AccessRequest::Known("oi-0123456789ab".into())),
            access_request_timeout: Some(Duration::from_secs(60)),
            color: Some(config::Color::Never),
            log_file: Some("l".into()),
            connect_timeout: Some(Duration::from_secs(1)),
            resume_window: Some(Duration::from_secs(900)),
            keepalive: Some(Duration::from_secs(3)),
            linger: Some(Duration::ZERO),
            idle_close: Some(Duration::from_secs(4)),
            max_payload: Some(1024),
            document: Some("d".into()),
            start_timeout: Some(Duration::from_secs(2)),
            guardian: Some("g".into()),
        };
        for flags in [before, after] {
            assert!(flags.settings == expected);
            assert_eq!(flags.config_file, Some("c".into()));
            assert_eq!(flags.via, ["a", "b"]);
            assert_eq!(flags.verbosity, Verbosity::Debug);
        }
    }

    #[test]
    fn what_is_not_given_stays_open() {
        let flags = flags("fumidai connect i-0123");
        assert!(flags.settings == Settings::default());
        assert_eq!((flags.config_file, flags.verbosity), (None, Verbosity::Normal));
    }

    #[test]
    fn the_last_of_start_and_no_start_counts() {
        for (words, start) in [
            ("", None),
            ("--start", Some(true)),
            ("--no-start", Some(false)),
            ("--start --no-start", Some(false)),
            ("--no-start --start", Some(true)),
        ] {
            assert_eq!(flags(&format!("fumidai connect i-0123 {words}")).start, start, "{words}");
        }
    }

    #[test]
    fn verbosity_is_counted() {
        for (words, verbosity) in [
            ("-q", Verbosity::Quiet),
            ("-v", Verbosity::Info),
            ("-v -v", Verbosity::Debug),
            ("-vvv", Verbosity::Trace),
            ("-vvvvv", Verbosity::Trace),
        ] {
            assert_eq!(flags(&format!("fumidai connect i-0123 {words}")).verbosity, verbosity);
        }
    }

    #[test]
    fn what_is_wrong_is_a_usage_error() {
        for (words, kind, text) in [
            ("fumidai", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, "Usage: fumidai"),
            ("fumidai -v", ErrorKind::MissingSubcommand, "connect"),
            ("fumidai conect i-0123", ErrorKind::InvalidSubcommand, "'connect'"),
            ("fumidai forward i-0123 -L 80", ErrorKind::ValueValidation, "the form is `[BIND:]PORT:HOST"),
            ("fumidai forward i-0123 -D x", ErrorKind::ValueValidation, "the form is `[BIND:]PORT`"),
            ("fumidai forward i-0123 --sessions 9", ErrorKind::ValueValidation, "1..=8"),
            ("fumidai connect", ErrorKind::MissingRequiredArgument, "[USER@]TARGET"),
            ("fumidai connect i-0123 22 x", ErrorKind::UnknownArgument, "'x'"),
            ("fumidai connect i-0123 --regoin x", ErrorKind::UnknownArgument, "'--region'"),
            ("fumidai connect i-0123 0", ErrorKind::ValueValidation, "1..=65535"),
            ("fumidai connect i-0123 65536", ErrorKind::ValueValidation, "1..=65535"),
            ("fumidai connect i-0123 ssh", ErrorKind::ValueValidation, "ssh"),
            ("fumidai connect i-0123 --keepalive 0", ErrorKind::ValueValidation, "at least 1 second"),
            ("fumidai connect i-0123 --max-payload 255", ErrorKind::ValueValidation, "256 to 32768"),
            ("fumidai connect i-0123 --color red", ErrorKind::InvalidValue, "always"),
            ("fumidai connect i-0123 -q -v", ErrorKind::ArgumentConflict, "--quiet"),
            ("fumidai ssh-config --install --uninstall", ErrorKind::ArgumentConflict, "--uninstall"),
            ("fumidai explain i-0123 --json --policy", ErrorKind::ArgumentConflict, "--policy"),
            ("fumidai connect i-0123 --via", ErrorKind::InvalidValue, "--via <HOP>"),
            (
                "fumidai host-keys web --source file",
                ErrorKind::ValueValidation,
                "must be `console`, `session`",
            ),
            ("fumidai host-keys web --name @a", ErrorKind::ValueValidation, "not a name"),
            ("fumidai host-keys --name a", ErrorKind::MissingRequiredArgument, "TARGET"),
            ("fumidai completions", ErrorKind::MissingRequiredArgument, "<SHELL>"),
            (
                "fumidai man conect",
                ErrorKind::ValueValidation,
                "init, connect, forward, up, down, status, logs, restart, bastion, doctor, list, explain, token, sessions, audit, host-keys, ssh-config",
            ),
            ("fumidai completions csh", ErrorKind::InvalidValue, "bash, elvish, fish, powershell, zsh"),
        ] {
            let (found, message) = refuse(words);
            assert_eq!(found, kind, "{words}: {message}");
            assert!(message.contains(text), "{words}: {message}");
            assert_eq!(read(words).err().map(|error| error.exit_code()), Some(2));
        }
    }

    #[test]
    fn version_is_the_packages() {
        for (words, version) in
            [("fumidai -V", env!("CARGO_PKG_VERSION")), ("fumidai --version", env!("FUMIDAI_VERSION"))]
        {
            let (kind, text) = refuse(words);
            assert_eq!(kind, ErrorKind::DisplayVersion);
            assert_eq!(text, format!("fumidai {version}\n"));
        }
    }

    #[test]
    fn help_names_every_variable_and_every_default() {
        for words in ["fumidai forward -h", "fumidai connect -h", "fumidai connect --help"] {
            let (kind, help) = refuse(words);
            assert_eq!(kind, ErrorKind::DisplayHelp);
            let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
            for row in Key::ALL.iter().map(|key| key.row()) {
                assert!(
                    help.contains(&format!("--{} <{}> {}", row.flag(), row.value_name, row.help.trim())),
                    "{row:?}"
                );
                assert!(row.variables.iter().all(|name| help.contains(name)), "{row:?}");
                let default = row.default.or(row.otherwise);
                assert!(
                    default.is_none_or(|default| help.contains(&format!("[default: {default}]"))),
                    "{row:?}"
                );
            }
            assert!(help.contains("Global options:") && help.contains("Session options:"));
            assert!(help.contains("FUMIDAI_CONFIG") && help.contains("NO_COLOR"));
        }
    }

    #[test]
    fn options_of_sessions_are_in_the_help_of_commands_that_open_some_and_accepted_by_all() {
        for (command, is_shown) in [
            ("", false),
            ("list", false),
            ("completions", false),
            ("man", false),
            ("explain", false),
            ("ssh-config", true),
            ("connect", true),
            ("forward", true),
            ("host-keys", true),
        ] {
            let (_, help) = refuse(&format!("fumidai {command} --help"));
            assert_eq!(help.contains("--resume-window"), is_shown, "{command}: {help}");
            assert!(help.contains("--region"), "{command}");
        }
        assert!(refuse("fumidai explain --help").1.contains("--via <HOP>"));
        for command in ["list", "explain web", "ssh-config", "completions bash"] {
            for words in
                [format!("--keepalive 7 --via a {command}"), format!("{command} --keepalive 7 --via a")]
            {
                let flags = flags(&format!("fumidai {words}"));
                assert_eq!(flags.settings.keepalive, Some(Duration::from_secs(7)), "{words}");
                assert_eq!(flags.via, ["a"], "{words}");
            }
        }
    }

    #[test]
    fn help_names_no_command_of_a_later_version() {
        let line = CommandLine::command();
        let names: Vec<&str> = line.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(
            names,
            [
                "init",
                "connect",
                "forward",
                "up",
                "down",
                "status",
                "logs",
                "restart",
                "bastion",
                "doctor",
                "list",
                "explain",
                "token",
                "sessions",
                "audit",
                "host-keys",
                "ssh-config",
                "completions",
                "man"
            ]
        );
        let (_, help) = refuse("fumidai --help");
        assert!(!help.contains("shell TARGET"));
    }

    /// Flags without a variable: each belongs to one command, and is typed with it. A variable would change every run.
    const TYPED: [&str; 43] = [
        "all",
        "apply",
        "cloudtrail",
        "database",
        "dry-run",
        "eager",
        "env",
        "exec",
        "failed",
        "fix",
        "follow",
        "force",
        "forward-name",
        "hold",
        "html",
        "install",
        "json",
        "leaked",
        "lines",
        "local",
        "max-sessions",
        "name",
        "no-cache",
        "no-ssh-config",
        "now-only",
        "offered",
        "policy",
        "ready-fd",
        "renew",
        "serverless",
        "sessions",
        "since",
        "source",
        "ssh-config",
        "supervisor",
        "target",
        "template",
        "uninstall",
        "user",
        "whole-path",
        "yes",
        // They print and end.
        "help",
        "version",
    ];

    #[test]
    fn every_flag_has_a_variable_or_belongs_to_one_command() {
        fn all(command: &clap::Command, found: &mut Vec<(String, String)>) {
            let args = command.get_arguments().filter_map(|arg| {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                Some((arg.get_long()?.to_owned(), help))
            });
            found.extend(args);
            command.get_subcommands().for_each(|sub| all(sub, found));
        }
        let mut found = Vec::new();
        all(&CommandLine::command(), &mut found);
        let has_variable =
            |name: &String| found.iter().any(|(other, help)| other == name && help.contains("FUMIDAI_"));
        let mut without: Vec<&str> = found
            .iter()
            .map(|(name, _)| name)
            .filter(|name| !has_variable(name))
            .map(String::as_str)
            .collect();
        without.sort_unstable();
        without.dedup();
        let mut typed = TYPED.to_vec();
        typed.sort_unstable();
        assert_eq!(without, typed);
    }

    #[test]
    fn flags_resolve_before_the_environment() {
        let flags = flags("fumidai connect i-0123 --region eu-west-1");
        let environment = Environment::of([("AWS_REGION", "us-east-1"), ("AWS_PROFILE", "p")]);
        let config = config::Config::resolve(flags, &environment).expect("valid");
        assert_eq!(config.aws.region.as_deref(), Some("eu-west-1"));
        assert_eq!((config.aws.profile.as_deref(), config.aws.profile_overrides_keys), (Some("p"), false));
    }
}
