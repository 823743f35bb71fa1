//! What is needed once before a bastion can be started: the guardian, tags, the instance's own way to Systems Manager.

use std::time::Duration;

use tokio::time::sleep;

use crate::aws::{Access, ApiError, Filter, Meaning};
use crate::names::{Target, TargetKind};
use crate::route::Wish;

use super::egress::Egress;
use super::error::StartError;
use super::guardian::Guardian;
use super::loan::{GUARDED, find_group, find_interface, guarded};

/// Pause between two looks at a stack.
const POLL: Duration = Duration::from_secs(2);

/// The template with the guardian, its role and the users' policies.
pub const TEMPLATE: &str = include_str!("../../contrib/cloudformation/fumidai.yaml");
/// The name of the stack that is made from it.
pub const STACK: &str = "fumidai";

/// What is there, and what is missing.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The guardian's name.
    pub guardian: Option<String>,
    /// The guardian exists; `None` is unknown.
    pub has_guardian: Option<bool>,
    /// The resources that need the tag and have it.
    pub tagged: Vec<String>,
    /// The resources that need the tag and lack it.
    pub untagged: Vec<String>,
    /// The instance.
    pub instance: Option<SetupInstance>,
    /// What could not be asked, and why.
    pub unknown: Vec<String>,
}

/// The instance of a bastion, as far as its agent depends on it.
#[derive(Clone, Debug)]
pub struct SetupInstance {
    /// The id.
    pub id: String,
    /// The ARN of the instance profile.
    pub profile: Option<String>,
    /// The subnet.
    pub subnet: Option<String>,
    /// How packets get from its subnet to Systems Manager; `None` is unknown.
    pub egress: Option<Egress>,
    /// It has a public address.
    pub is_public: bool,
    /// Its agent is connected; `None` is unknown.
    pub is_connected: Option<bool>,
    /// Its state.
    pub state: String,
}

/// Looks at what a host needs; `target` is `None` without a host, or for a task.
///
/// # Errors
/// No credentials, or no region.
pub async fn check(access: &Access, wish: &Wish, target: Option<&Target>) -> Result<Setup, StartError> {
    let mut setup = Setup { guardian: wish.guardian.clone(), ..Setup::default() };
    if let Some(name) = &wish.guardian {
        setup.check_guardian(access, name).await?;
    }
    let Some(target) = target else { return Ok(setup) };
    if target.kind() == TargetKind::Instance
        && let Err(error) = setup.check_instance(access, target, wish).await
    {
        setup.unknown.push(error.to_string());
    }
    for loan in &wish.loans {
        if let Err(error) = setup.check_loan(access, loan, target).await {
            setup.unknown.push(error.to_string());
        }
    }
    setup.untagged.dedup();
    Ok(setup)
}

impl Setup {
    /// Returns true if there is nothing to install or to tag.
    pub fn is_complete(&self) -> bool {
        self.has_guardian != Some(false) && self.untagged.is_empty()
    }

    /// Returns true if the machine lacks what only the user can give it: a profile, or a way to Systems Manager.
    pub fn needs_user(&self) -> bool {
        let lacks = |one: &SetupInstance| {
            one.profile.is_none() || (one.state == "running" && one.is_connected == Some(false))
        };
        self.instance.as_ref().is_some_and(lacks)
    }

    async fn check_guardian(&mut self, access: &Access, name: &str) -> Result<(), StartError> {
        match Guardian::named(access, name).await?.all().await {
            Ok(_) => self.has_guardian = Some(true),
            Err(StartError::NoGuardian { .. }) => self.has_guardian = Some(false),
            Err(error) => self.unknown.push(error.to_string()),
        }
        Ok(())
    }

    async fn check_instance(
        &mut self,
        access: &Access,
        target: &Target,
        wish: &Wish,
    ) -> Result<(), ApiError> {
        let found = access.describe_instances(&[Filter::new("instance-id", target.id())]).await?;
        let Some(instance) = found.into_iter().next() else { return Ok(()) };
        let is_guarded = guarded(&instance.tags);
        if wish.start || wish.always || is_guarded {
            self.tag(&instance.id, is_guarded);
        }
        let connected = access.is_connected(target.id()).await;
        let egress = match connected {
            Ok(true) => None,
            Ok(false) | Err(_) => Egress::of(access, &instance).await.unwrap_or_else(|error| {
                self.unknown.push(error.to_string());
                None
            }),
        };
        self.instance = Some(SetupInstance {
            id: instance.id,
            egress,
            is_public: !instance.public_addresses.is_empty(),
            profile: instance.profile,
            subnet: instance.subnet,
            is_connected: connected.ok(),
            state: instance.state,
        });
        Ok(())
    }

    async fn check_loan(
        &mut self,
        access: &Access,
        loan: &crate::route::Loan,
        target: &Target,
    ) -> Result<(), StartError> {
        let interface = find_interface(access, loan, target).await?;
        self.tag(&interface.id, guarded(&interface.tags));
        let group = find_group(access, loan, &interface).await?;
        self.tag(&group.id, guarded(&group.tags));
        Ok(())
    }

    fn tag(&mut self, resource: &str, is_tagged: bool) {
        let list = if is_tagged { &mut self.tagged } else { &mut self.untagged };
        if !list.iter().any(|known| known == resource) {
            list.push(resource.to_owned());
        }
    }
}

/// Tags resources, so that the guardian may change them.
///
/// # Errors
/// [`StartError::Api`]
pub async fn tag(access: &Access, resources: &[String]) -> Result<(), StartError> {
    Ok(access.create_tag(resources, GUARDED, "true").await?)
}

/// Removes the tag.
///
/// # Errors
/// [`StartError::Api`]
pub async fn untag(access: &Access, resources: &[String]) -> Result<(), StartError> {
    Ok(access.delete_tag(resources, GUARDED, "true").await?)
}

/// Creates the stack with the guardian, and waits for it.
///
/// # Errors
/// [`StartError`]
pub async fn install(access: &Access) -> Result<(), StartError> {
    access.create_stack(STACK, TEMPLATE).await?;
    loop {
        match access.stack_status(STACK).await?.as_str() {
            "CREATE_COMPLETE" => return Ok(()),
            "CREATE_IN_PROGRESS" => sleep(POLL).await,
            other => return Err(StartError::StackFailed { status: other.to_owned() }),
        }
    }
}

/// Deletes the stack with the guardian, and waits until it is gone.
///
/// # Errors
/// [`StartError`]
pub async fn uninstall(access: &Access) -> Result<(), StartError> {
    access.delete_stack(STACK).await?;
    loop {
        match access.stack_status(STACK).await {
            // A stack that is gone is a ValidationError.
            Err(error) if error.meaning() == Meaning::Other => return Ok(()),
            Ok(status) if status == "DELETE_COMPLETE" || status.is_empty() => return Ok(()),
            Ok(status) if status == "DELETE_IN_PROGRESS" => sleep(POLL).await,
            Ok(status) => return Err(StartError::StackFailed { status }),
            Err(error) => return Err(error.into()),
        }
    }
}
