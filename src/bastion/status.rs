//! The state of a bastion: is it there, who is on it, when will it stop, which groups are lent.

use crate::aws::{Access, Filter};
use crate::names::Target;
use crate::route::Wish;

use super::error::StartError;
use super::guardian::Guardian;
use super::life::{Key, Life};
use super::loan::{find_group, find_interface};
use super::person::Person;
use super::starter::Starter;
use super::task;

/// The state.
#[derive(Clone, Debug)]
pub struct BastionStatus {
    /// The machine, as the user names it.
    pub host: String,
    /// The target; `None` is a task that does not run.
    pub target: Option<String>,
    /// EC2's word for the state; `None` is unknown.
    pub state: Option<String>,
    /// When it was started last, in Unix seconds.
    pub since: Option<i64>,
    /// The lives that watch it, the youngest first.
    pub lives: Vec<Life>,
    /// Who started them, as CloudTrail has it, in the same order; empty until [`BastionStatus::find_starters`].
    pub starters: Vec<Option<Starter>>,
    /// Who is on it.
    pub people: Vec<Person>,
    /// The groups of machines of the route.
    pub groups: Vec<Lending>,
    /// What could not be asked, and why.
    pub unknown: Vec<String>,
}

/// A group that is lent, or that was left behind.
#[derive(Clone, Debug)]
pub struct Lending {
    /// The machine, as the user names it.
    pub host: String,
    /// The group's id.
    pub group: String,
    /// The interface's id.
    pub interface: String,
    /// The interface has it.
    pub is_there: bool,
    /// The life that will take it back.
    pub life: Option<Life>,
}

impl Lending {
    /// Returns true if nothing will take it back.
    pub fn is_left(&self) -> bool {
        self.is_there && self.life.is_none()
    }
}

/// Asks AWS about the bastion of a wish. `target` is `None` for a task.
///
/// # Errors
/// The guardian cannot be asked.
pub async fn inspect(
    access: &Access,
    wish: &Wish,
    target: Option<&Target>,
) -> Result<BastionStatus, StartError> {
    let mut status = BastionStatus {
        host: wish.host.clone(),
        target: None,
        state: None,
        since: None,
        lives: Vec::new(),
        starters: Vec::new(),
        people: Vec::new(),
        groups: Vec::new(),
        unknown: Vec::new(),
    };
    let found = match (&wish.task, target) {
        (Some(task), _) => status.of_task(access, task, wish).await,
        (None, Some(target)) => Some(target.clone()),
        (None, None) => None,
    };
    if let Some(target) = &found {
        status.of_target(access, target, wish.task.is_none()).await;
    }
    if let Some(name) = &wish.guardian {
        let guardian = Guardian::named(access, name).await?;
        status.of_guardian(access, &guardian, wish, found.as_ref()).await?;
    }
    Ok(status)
}

impl BastionStatus {
    /// Returns true if it is stopped or being stopped.
    pub fn is_stopped(&self) -> bool {
        matches!(self.state.as_deref(), Some("stopped" | "stopping" | "terminated" | "shutting-down"))
    }

    /// Asks CloudTrail who started the lives.
    pub async fn find_starters(&mut self, access: &Access) {
        for life in &self.lives {
            let starter = Starter::of(access, life).await;
            let starter = starter.unwrap_or_else(|error| {
                self.unknown.push(error.to_string());
                None
            });
            self.starters.push(starter);
        }
    }

    async fn of_task(
        &mut self,
        access: &Access,
        settings: &crate::config::TaskSettings,
        wish: &Wish,
    ) -> Option<Target> {
        match task::find(access, settings, &wish.host).await {
            Ok(found) => {
                let state = match (&found.target, found.exists) {
                    (Some(_), _) => "running",
                    (None, true) => "pending",
                    (None, false) => "stopped",
                };
                self.state = Some(state.to_owned());
                found.target
            }
            Err(error) => {
                self.unknown.push(error.to_string());
                None
            }
        }
    }

    async fn of_target(&mut self, access: &Access, target: &Target, is_instance: bool) {
        self.target = Some(target.id().to_owned());
        if is_instance {
            match access.describe_instances(&[Filter::new("instance-id", target.id())]).await {
                Ok(found) => {
                    let instance = found.into_iter().next();
                    self.since = instance.as_ref().and_then(|one| one.launched);
                    self.state = instance.map(|one| one.state);
                }
                Err(error) => self.unknown.push(error.to_string()),
            }
        }
        match access.active_sessions(target.id()).await {
            Ok(sessions) => self.people = sessions.into_iter().map(Person::of).collect(),
            Err(error) => self.unknown.push(error.to_string()),
        }
    }

    async fn of_guardian(
        &mut self,
        access: &Access,
        guardian: &Guardian<'_>,
        wish: &Wish,
        target: Option<&Target>,
    ) -> Result<(), StartError> {
        let key = match (&wish.task, target) {
            (Some(task), _) => Key::of_task(&task.cluster, &wish.host),
            (None, Some(target)) => Key::of_instance(target.id()),
            (None, None) => return Ok(()),
        };
        self.lives = guardian.lives(&key).await?;
        let Some(target) = target else { return Ok(()) };
        for loan in &wish.loans {
            match lending(access, guardian, loan, target).await {
                Ok(lending) => self.groups.push(lending),
                Err(error) => self.unknown.push(error.to_string()),
            }
        }
        Ok(())
    }
}

async fn lending(
    access: &Access,
    guardian: &Guardian<'_>,
    loan: &crate::route::Loan,
    target: &Target,
) -> Result<Lending, StartError> {
    let interface = find_interface(access, loan, target).await?;
    let group = find_group(access, loan, &interface).await?;
    let lives = guardian.lives(&Key::of_group(&interface.id, &group.id)).await?;
    Ok(Lending {
        host: loan.host.clone(),
        is_there: interface.groups.contains(&group.id),
        group: group.id,
        interface: interface.id,
        life: lives.into_iter().next(),
    })
}
