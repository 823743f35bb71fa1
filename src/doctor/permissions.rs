//! What IAM allows, by its own simulation: the caller's actions on sessions, and those of an instance's role.
//!
//! The simulation needs a permission of its own. Without it, the calls that are made anyway are the evidence.

use futures_util::future::join;

use crate::aws::{Access, ApiError, Caller, Simulated};
use crate::names::{Target, TargetKind};

use super::finding::{Component, Diagnosis, Finding, MachineProblem, Outcome};
use super::limit::{Late, Limit};

/// What an agent calls (the policy `AmazonSSMManagedInstanceCore`).
const OF_AGENT: [&str; 5] = [
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
];
/// What a client calls about its own session.
const OF_SESSION: [&str; 2] = ["ssm:ResumeSession", "ssm:TerminateSession"];
/// What a client calls about the target.
const OF_TARGET: [&str; 1] = ["ssm:StartSession"];

/// Simulates what the caller does with sessions.
pub(super) async fn of_caller(access: &Access, target: &Target, limit: Limit) -> Option<Finding> {
    let caller = match limit.check(access.caller()).await {
        Ok(caller) => caller.ok()?,
        Err(late) => return Some(Finding::new(Component::Permissions, "", Outcome::late(late))),
    };
    let principal = principal(&caller.arn)?;
    let arn = Resources { region: access.region(), caller: &caller };
    let (session, machine) = (arn.session()?, arn.target(target)?);
    let ask = join(
        simulate(access, &principal, &OF_SESSION, &session),
        simulate(access, &principal, &OF_TARGET, &machine),
    );
    let outcome = match limit.check(ask).await {
        Ok((Ok(session), Ok(target))) => of_denied(session.into_iter().chain(target).collect()),
        Ok((Err(error), _) | (_, Err(error))) => Outcome::Unknown(not_asked(&error)),
        Err(late) => of_late(late),
    };
    Some(Finding::new(Component::Permissions, principal, outcome))
}

fn of_denied(denied: Vec<String>) -> Outcome {
    match denied.is_empty() {
        true => Outcome::Good("no action on sessions is denied".to_owned()),
        false => Outcome::Doubtful(Diagnosis::NotAllowed(denied)),
    }
}

/// Simulates what an agent does with the role of its instance profile.
pub(super) async fn of_role(access: &Access, profile: &str, limit: Limit) -> Finding {
    let name = profile.rsplit('/').next().unwrap_or(profile);
    let finding = |outcome| Finding::new(Component::Role, name, outcome);
    let ask = async {
        let Some(role) = access.role_of_profile(name).await? else { return Ok((None, Vec::new())) };
        let denied = simulate(access, &role, &OF_AGENT, "*").await?;
        Ok::<_, ApiError>((Some(role), denied))
    };
    finding(match limit.check(ask).await {
        Ok(Ok((Some(role), denied))) if denied.is_empty() => {
            Outcome::Good(format!("{role} allows what an agent does"))
        }
        Ok(Ok((role, denied))) => Outcome::Broken(Diagnosis::Machine(MachineProblem::Role { role, denied })),
        Ok(Err(error)) => Outcome::Unknown(not_asked(&error)),
        Err(late) => of_late(late),
    })
}

fn of_late(late: Late) -> Outcome {
    Outcome::Unknown(format!("IAM was not asked to the end: {late}"))
}

fn not_asked(error: &ApiError) -> String {
    format!("IAM was not asked: {error}")
}

/// Returns the actions that are denied whatever the circumstances.
async fn simulate(
    access: &Access,
    principal: &str,
    actions: &[&str],
    resource: &str,
) -> Result<Vec<String>, ApiError> {
    let actions: Vec<String> = actions.iter().map(|action| (*action).to_owned()).collect();
    let verdicts = access.simulate_principal_policy(principal, &actions, resource).await?;
    let is_denied = |verdict: &Simulated| matches!(verdict, Simulated::Denied | Simulated::ExplicitlyDenied);
    Ok(verdicts.into_iter().filter(|(_, verdict)| is_denied(verdict)).map(|(action, _)| action).collect())
}

/// Returns the user or role of a caller; the path of a role is not in the ARN of its sessions.
fn principal(arn: &str) -> Option<String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, partition, service, _, account, resource] = parts.as_slice() else { return None };
    match (*service, resource.split('/').collect::<Vec<_>>().as_slice()) {
        ("iam", ["user", ..]) => Some(arn.to_owned()),
        ("sts", ["assumed-role", role, _]) => Some(format!("arn:{partition}:iam::{account}:role/{role}")),
        _ => None,
    }
}

/// The resources of a session, for one caller.
struct Resources<'a> {
    region: &'a str,
    caller: &'a Caller,
}

impl Resources<'_> {
    fn arn(&self, service: &str, resource: &str) -> Option<String> {
        let partition = self.caller.arn.split(':').nth(1)?;
        Some(format!("arn:{partition}:{service}:{}:{}:{resource}", self.region, self.caller.account))
    }

    /// The id of a session begins with the name of the user or of the role session.
    fn session(&self) -> Option<String> {
        let name = self.caller.arn.rsplit('/').next()?;
        self.arn("ssm", &format!("session/{name}-0123456789abcdef0"))
    }

    fn target(&self, target: &Target) -> Option<String> {
        match target.kind() {
            TargetKind::Instance => self.arn("ec2", &format!("instance/{}", target.id())),
            TargetKind::ManagedInstance => self.arn("ssm", &format!("managed-instance/{}", target.id())),
            TargetKind::Container | TargetKind::SageMakerNode => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_principal_of_a_role_session_is_its_role() {
        let role = "arn:aws:sts::123456789012:assumed-role/ops/alice";
        assert_eq!(principal(role).as_deref(), Some("arn:aws:iam::123456789012:role/ops"));
        let user = "arn:aws-cn:iam::123456789012:user/team/alice";
        assert_eq!(principal(user).as_deref(), Some(user));
        assert_eq!(principal("arn:aws:iam::123456789012:root"), None);
        assert_eq!(principal("x"), None);
    }
}
