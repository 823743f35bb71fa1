//! The command `token`: a password for a database that logs in by IAM, printed, or given to a command as a variable.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::aws::{DatabaseLogin, RedshiftAt, TokenFor};
use crate::clock;
use crate::config::{Config, RemoteEnd, Verbosity};
use crate::escape::escape_json;
use crate::forward::plan::{ForwardTo, PlanError, plan_named};
use crate::reach::{ReachError, open_aws};
use crate::session::Interrupts;

use super::child::ChildCommand;
use super::prompt::prompts;
use super::report::{Report, UsageError, notes};
use super::runtime::{self, Context};
use super::stderr::print_note;
use super::stdout;

/// The arguments of `token`.
#[derive(Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    pub(super) command: TokenCommand,
}

/// The databases that take a token.
#[derive(Subcommand)]
pub enum TokenCommand {
    /// RDS and Aurora: a token for 15 minutes, signed here
    Rds(RdsArgs),
    /// ElastiCache for Valkey and Redis: a token for 15 minutes, signed here
    Elasticache(ElastiCacheArgs),
    /// Redshift: a user and its password, which Redshift makes
    Redshift(RedshiftArgs),
}

impl TokenCommand {
    /// Returns whether the output is for programs.
    pub(super) fn is_json(&self) -> bool {
        match self {
            Self::Rds(_) | Self::Elasticache(_) => false,
            Self::Redshift(args) => args.json,
        }
    }
}

/// The arguments of `token rds`.
#[derive(Args)]
#[command(
    after_help = "  fumidai token rds orders.cluster-abc.ap-northeast-1.rds.amazonaws.com:3306 --user orders\n  \
    fumidai token rds orders-db     # `remote` and `db_user` of [forwards.orders-db]"
)]
pub struct RdsArgs {
    /// The database's own name and port, also if it is reached through a forward; or a forward of the config file
    #[arg(value_name = "HOST:PORT|FORWARD")]
    database: String,
    /// The database user [default: `db_user` of the forward]
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// The arguments of `token elasticache`.
#[derive(Args)]
pub struct ElastiCacheArgs {
    /// The replication group's id, or the name of a serverless cache; not its host name
    #[arg(value_name = "CACHE")]
    cache: String,
    /// The cache user's id
    #[arg(long, value_name = "USER")]
    user: String,
    /// The cache is serverless
    #[arg(long)]
    serverless: bool,
    #[command(flatten)]
    output: Output,
}

/// The arguments of `token redshift`.
#[derive(Args)]
pub struct RedshiftArgs {
    /// The cluster's identifier, or with --serverless the workgroup
    #[arg(value_name = "CLUSTER|WORKGROUP")]
    cluster: String,
    /// The database user
    #[arg(long, value_name = "USER", required_unless_present = "serverless", conflicts_with = "serverless")]
    user: Option<String>,
    /// The database [default: all that the user may use]
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// It is a workgroup; the database user is made from the caller's IAM identity
    #[arg(long)]
    serverless: bool,
    /// Print one JSON object with `user` and `password`
    #[arg(long, conflicts_with = "exec")]
    json: bool,
    #[command(flatten)]
    output: Output,
}

/// Where the password goes.
#[derive(Args)]
struct Output {
    /// Do not print it: run this by the shell with the password in a variable, and end with its exit status
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// The variable of --exec, such as `PGPASSWORD`
    #[arg(long, value_name = "NAME", requires = "exec", default_value = "FUMIDAI_TOKEN", value_parser = variable)]
    env: String,
}

fn variable(word: &str) -> Result<String, String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = word.chars().all(is_word) && !word.starts_with(|c: char| c.is_ascii_digit());
    if is_name && !word.is_empty() {
        return Ok(word.to_owned());
    }
    Err("the name of a variable has letters, digits and `_`".to_owned())
}

/// Runs the command.
pub(super) fn run(command: &TokenCommand, config: &Config) -> ExitCode {
    runtime::finish(runtime::run(Interrupts::signals, async |context: &Context| match command {
        TokenCommand::Rds(args) => rds(args, config, context).await,
        TokenCommand::Elasticache(args) => elasticache(args, config, context).await,
        TokenCommand::Redshift(args) => redshift(args, config, context).await,
    }))
}

async fn rds(args: &RdsArgs, config: &Config, context: &Context) -> Result<ExitCode, Report> {
    let (what, config) = database(args, config)?;
    print_token(&what, &config, &args.output, context).await
}

/// Returns what to sign for, and the settings of the forward if it is one.
fn database(args: &RdsArgs, config: &Config) -> Result<(TokenFor, Config), Report> {
    let name = &args.database;
    if !config.forwards.contains_key(name) {
        let (host, port) = host_and_port(name, config)?;
        let user = args.user.clone().ok_or(UsageError::NoUser)?;
        return Ok((TokenFor::Rds { host, port, user }, config.clone()));
    }
    let planned = plan_named(name, config)?;
    let missing = |missing| UsageError::NotForToken { name: name.clone(), missing };
    let ForwardTo::Port(RemoteEnd { host: Some(host), port }) = planned.to else {
        return Err(missing("remote").into());
    };
    let user = args.user.clone().or(planned.client.db_user).ok_or(missing("db_user"))?;
    Ok((TokenFor::Rds { host, port, user }, planned.route.config))
}

/// Reads `HOST:PORT`.
fn host_and_port(word: &str, config: &Config) -> Result<(String, u16), UsageError> {
    let Some((host, port)) = word.rsplit_once(':') else {
        // The name of an endpoint has dots, that of a forward has none.
        if word.contains('.') {
            return Err(UsageError::NoPort { host: word.to_owned() });
        }
        return Err(UsageError::NotADatabase { name: word.to_owned(), nearest: nearest(word, config) });
    };
    let host = host.trim_matches(['[', ']']).to_owned();
    match port.parse() {
        Ok(port) if port > 0 => Ok((host, port)),
        Ok(_) | Err(_) => Err(UsageError::NotAPort { host, port: port.to_owned() }),
    }
}

/// Returns the forward whose name was meant.
fn nearest(word: &str, config: &Config) -> Option<String> {
    match plan_named(word, config) {
        Err(PlanError::Unknown { nearest, .. }) => nearest,
        Err(
            PlanError::Route(_)
            | PlanError::TargetCount(_)
            | PlanError::NoForwards
            | PlanError::Nothing { .. },
        )
        | Ok(_) => None,
    }
}

async fn elasticache(args: &ElastiCacheArgs, config: &Config, context: &Context) -> Result<ExitCode, Report> {
    let what = TokenFor::ElastiCache {
        cache: args.cache.clone(),
        user: args.user.clone(),
        serverless: args.serverless,
    };
    print_token(&what, config, &args.output, context).await
}

async fn print_token(
    what: &TokenFor,
    config: &Config,
    output: &Output,
    context: &Context,
) -> Result<ExitCode, Report> {
    let aws = open_aws(config, prompts(config))?;
    let access = aws.access().await.map_err(ReachError::from)?;
    let token = access.token(what, clock::wall()).map_err(ReachError::from)?;
    output.give(token.reveal(), config, context).await
}

async fn redshift(args: &RedshiftArgs, config: &Config, context: &Context) -> Result<ExitCode, Report> {
    let at = match &args.user {
        Some(user) => RedshiftAt::Cluster { id: args.cluster.clone(), user: user.clone() },
        None => RedshiftAt::Workgroup(args.cluster.clone()),
    };
    let aws = open_aws(config, prompts(config))?;
    let access = aws.access().await.map_err(ReachError::from)?;
    let login = access.redshift_login(&at, args.database.as_deref()).await.map_err(ReachError::from)?;
    let DatabaseLogin { user, password } = &login;
    if args.json {
        let json = json!({ "user": user, "password": password.reveal() }).to_string();
        return Ok(stdout::print(&(escape_json(&json) + "\n")));
    }
    if config.log.verbosity != Verbosity::Quiet {
        print_note(&notes::of_database_user(user));
    }
    args.output.give(password.reveal(), config, context).await
}

impl Output {
    async fn give(&self, password: &str, config: &Config, context: &Context) -> Result<ExitCode, Report> {
        let Some(command) = &self.exec else { return Ok(stdout::print(&format!("{password}\n"))) };
        if self.env == "MYSQL_PWD" && config.log.verbosity != Verbosity::Quiet {
            print_note(&notes::of_mysql_pwd());
        }
        let variables = vec![(self.env.clone(), password.to_owned())];
        ChildCommand { command: command.clone(), variables }.run(context).await
    }
}
