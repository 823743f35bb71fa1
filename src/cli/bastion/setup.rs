//! `bastion setup` and `bastion teardown`: what is needed once, as commands to copy, or done here after a question.

use std::fmt::Write;
use std::process::ExitCode;
use std::rc::Rc;

use crate::aws::Access;
use crate::bastion::{self, STACK, Setup, SetupInstance, TEMPLATE};
use crate::config::Config;
use crate::escape::escape;
use crate::reach::ReachError;
use crate::route::Wish;

use super::super::args::{Change, SetupArgs, TeardownArgs};
use super::super::prompt;
use super::super::recording::Recording;
use super::super::report::diagnosis::of_egress;
use super::super::report::{Report, UsageError};
use super::super::stdout;
use super::{Subject, exit_of, note_unknown, open};

/// The permissions of an agent.
const AGENT_POLICY: &str = "AmazonSSMManagedInstanceCore";

/// Runs `setup`.
pub(super) async fn setup(
    args: &SetupArgs,
    config: &Config,
    recording: &Rc<Recording>,
) -> Result<ExitCode, Report> {
    if args.template {
        return Ok(stdout::print(TEMPLATE));
    }
    let (access, setup) = check(args.name.as_deref(), config, recording).await?;
    note_unknown(&setup.unknown, config.log.verbosity);
    let exit = stdout::print(&escape_lines(&setup_text(&setup, config)));
    if !args.change.apply {
        return Ok(if setup.is_complete() { exit } else { exit_of(false) });
    }
    if setup.is_complete() {
        return Ok(exit);
    }
    agree(&args.change, &format!("Do this now: {}?", plan(&setup))).await?;
    if setup.has_guardian == Some(false) {
        bastion::install(&access).await.map_err(ReachError::from)?;
    }
    if !setup.untagged.is_empty() {
        bastion::tag(&access, &setup.untagged).await.map_err(ReachError::from)?;
    }
    let left =
        if setup.needs_user() { "; left for you: the instance profile and the agent, see above" } else { "" };
    Ok(stdout::print(&escape_lines(&format!("done: {}{left}\n", plan(&setup)))))
}

/// Names what `--apply` does.
fn plan(setup: &Setup) -> String {
    let installs = setup.has_guardian == Some(false);
    let install =
        installs.then(|| format!("install {}", setup.guardian.as_deref().unwrap_or("the guardian")));
    let tag = (!setup.untagged.is_empty()).then(|| format!("tag {}", setup.untagged.join(" ")));
    [install, tag].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Runs `teardown`.
pub(super) async fn teardown(
    args: &TeardownArgs,
    config: &Config,
    recording: &Rc<Recording>,
) -> Result<ExitCode, Report> {
    let (access, setup) = check(args.name.as_deref(), config, recording).await?;
    note_unknown(&setup.unknown, config.log.verbosity);
    let is_named = args.name.is_some();
    let exit = stdout::print(&escape_lines(&teardown_text(&setup, is_named, config)));
    if !args.change.apply {
        return Ok(exit);
    }
    agree(&args.change, "Do this now?").await?;
    if is_named && !setup.tagged.is_empty() {
        bastion::untag(&access, &setup.tagged).await.map_err(ReachError::from)?;
    }
    if !is_named {
        bastion::uninstall(&access).await.map_err(ReachError::from)?;
    }
    Ok(stdout::print("done\n"))
}

async fn check(
    name: Option<&str>,
    config: &Config,
    recording: &Rc<Recording>,
) -> Result<(Access, Setup), Report> {
    let Some(name) = name else {
        let (_, access) = open(config).await?;
        let setup = bastion::check(&access, &Wish::of_guardian(config), None).await;
        return Ok((access, setup.map_err(ReachError::from)?));
    };
    let subject = Subject::find(name, config, recording).await?;
    let setup = bastion::check(&subject.access, subject.wish(), subject.target.as_ref()).await;
    let setup = setup.map_err(ReachError::from)?;
    Ok((subject.access, setup))
}

async fn agree(change: &Change, question: &str) -> Result<(), Report> {
    if change.yes || prompt::confirm(question).await { Ok(()) } else { Err(UsageError::NotConfirmed.into()) }
}

/// Escapes each line: names and ids come from AWS.
fn escape_lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", escape(line))).collect()
}

fn setup_text(setup: &Setup, config: &Config) -> String {
    let mut text = String::new();
    let _ = match (&setup.guardian, setup.has_guardian) {
        (None, _) => writeln!(
            text,
            "guardian    none: instances are started by ec2:StartInstances, and nothing stops them"
        ),
        (Some(name), Some(true)) => writeln!(text, "guardian    {name} is installed"),
        (Some(name), None) => writeln!(text, "guardian    {name}: unknown whether it is installed"),
        (Some(name), Some(false)) => {
            writeln!(text, "guardian    {name} is missing; to install it:\n{}", install_lines(config))
        }
    };
    if !setup.tagged.is_empty() {
        let _ = writeln!(text, "tags        {} may be changed by the guardian", setup.tagged.join(" "));
    }
    if !setup.untagged.is_empty() {
        let _ = writeln!(
            text,
            "tags        the guardian may not change {}; to allow it:\n{}",
            setup.untagged.join(" "),
            tag_line("create-tags", &setup.untagged, config)
        );
    }
    if let Some(instance) = &setup.instance {
        text += &instance_text(instance);
    }
    text
}

fn teardown_text(setup: &Setup, is_named: bool, config: &Config) -> String {
    if is_named {
        return match setup.tagged.is_empty() {
            true => "nothing is tagged\n".to_owned(),
            false => format!(
                "to forbid the guardian to change it:\n{}\n",
                tag_line("delete-tags", &setup.tagged, config)
            ),
        };
    }
    format!(
        "to remove the guardian, its role and the users' policies, when no life runs:\n  \
         aws cloudformation delete-stack --stack-name {STACK}{}\n",
        flags(config)
    )
}

fn install_lines(config: &Config) -> String {
    let flags = flags(config);
    format!(
        "  fumidai bastion setup --template > fumidai.yaml\n  \
         aws cloudformation deploy --stack-name {STACK} --template-file fumidai.yaml --capabilities CAPABILITY_IAM{flags}\n  \
         (or: fumidai bastion setup --apply)"
    )
}

fn tag_line(command: &str, resources: &[String], config: &Config) -> String {
    format!(
        "  aws ec2 {command} --resources {} --tags Key=fumidai:guarded,Value=true{}",
        resources.join(" "),
        flags(config)
    )
}

/// Returns the flags that give the AWS CLI the same region and profile.
fn flags(config: &Config) -> String {
    let region = config.aws.region.as_ref().map(|region| format!(" --region {region}"));
    let profile = config.aws.profile.as_ref().map(|profile| format!(" --profile {profile}"));
    format!("{}{}", region.unwrap_or_default(), profile.unwrap_or_default())
}

fn instance_text(instance: &SetupInstance) -> String {
    let SetupInstance { id, profile, subnet, egress, is_public, is_connected, state } = instance;
    let mut text = match profile {
        Some(profile) => {
            format!("profile     {id} has {profile}; its role must allow what {AGENT_POLICY} allows\n")
        }
        None => format!(
            "profile     {id} has no instance profile: make a role with {AGENT_POLICY}, and attach it\n  \
             aws ec2 associate-iam-instance-profile --instance-id {id} --iam-instance-profile Name=NAME\n"
        ),
    };
    let _ = match is_connected {
        Some(true) => writeln!(text, "agent       connected: it has a way to Systems Manager"),
        Some(false) | None if state != "running" => {
            writeln!(text, "agent       {id} is {state}: start it to see whether its agent connects")
        }
        Some(false) | None => {
            let found = egress.as_ref().map(|egress| format!(": {}", of_egress(egress)));
            let ways = network_text(subnet.as_deref(), *is_public);
            writeln!(text, "agent       not connected{}\n{ways}", found.unwrap_or_default())
        }
    };
    text
}

/// The ways to Systems Manager and what each costs (prices of us-east-1, November 2026; they differ by region).
fn network_text(subnet: Option<&str>, is_public: bool) -> String {
    let subnet = subnet.unwrap_or("its subnet");
    if is_public {
        return format!(
            "  it has a public address: {subnet} needs a route to an internet gateway, its groups must allow port 443 outwards"
        );
    }
    format!(
        "  it has no public address: {subnet} needs one of\n  \
         - interface endpoints for ssm and ssmmessages: 0.02 $ an hour for both, in each zone\n  \
         - a NAT gateway: 0.045 $ an hour and 0.045 $ a GB\n  \
         - a public address and an internet gateway: 0.005 $ an hour"
    )
}
