//! Asks AWS what a name needs, and nothing more: the one file of this layer that does I/O.
//!
//! EC2 and SSM are asked in parallel, by filters where the name allows them. If nothing is found, all of EC2 is asked
//! for: for addresses that no simple filter finds, and for near names to suggest. Where EC2 may not be asked, SSM alone
//! must do, and the other way round.

use futures_util::future::{join, try_join_all};
use thiserror::Error;

use crate::aws::{Access, ApiError, Filter, Instance, ManagedNode, Meaning, NodeFilter};

use super::ecs::{self, EcsError};
use super::{ContainerName, Inventory, Name, ResolveError, Target, TaskName, resolve};

/// Why a name could not be looked up.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LookupError {
    /// The answers do not lead to one machine.
    #[error("{error}")]
    Resolve {
        /// Why.
        error: ResolveError,
        /// A service that did not answer: it may know better.
        unseen: Option<Box<ApiError>>,
    },
    /// The answers do not lead to a container.
    #[error(transparent)]
    Ecs(#[from] EcsError),
    /// A call failed that cannot be done without.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Neither service may be asked: allow one of them, or write the id.
    #[error("{ec2}; {ssm}")]
    Denied {
        /// EC2's answer.
        ec2: Box<ApiError>,
        /// SSM's answer.
        ssm: Box<ApiError>,
    },
}

/// All that is visible.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The machines.
    pub inventory: Inventory,
    /// The service that did not answer, so that its half is missing.
    pub unseen: Option<ApiError>,
}

/// Finds what a name means. An id costs no call.
///
/// # Errors
/// [`LookupError`]
pub async fn find(access: &Access, name: &Name) -> Result<Target, LookupError> {
    if let Name::Container(name) = name {
        return find_container(access, name).await;
    }
    if let Name::Id(target) = name {
        return Ok(target.clone());
    }
    let filter = node_filter(name);
    let mut answers = ask(access, &instance_filters(name), Some(&filter)).await?;
    if answers.instances.is_some() {
        match resolve(name, &answers.inventory(&filter)) {
            Err(ResolveError::NotFound { .. }) => {}
            Err(error) => return Err(answers.because(error)),
            Ok(target) => return Ok(target),
        }
    }
    let inventory = answers.widen(access, name, &filter).await?;
    resolve(name, &inventory).map_err(|error| answers.because(error))
}

/// Returns the IAM actions of what [`find`] asks for a name.
pub fn actions(name: &Name) -> &'static [&'static str] {
    match name {
        Name::Id(_) => &[],
        Name::Container(ContainerName { tasks: TaskName::Service(_), .. }) => {
            &["ecs:ListTasks", "ecs:DescribeTasks"]
        }
        Name::Container(ContainerName { tasks: TaskName::Task(_), .. }) => &["ecs:DescribeTasks"],
        Name::Tag { .. } | Name::Address(_) | Name::Dns(_) | Name::Named(_) => {
            &["ec2:DescribeInstances", "ssm:DescribeInstanceInformation"]
        }
    }
}

/// Lists everything.
///
/// # Errors
/// [`LookupError`]; one service that may not be asked is none.
pub async fn list(access: &Access) -> Result<Listing, LookupError> {
    let answers = ask(access, &[Vec::new()], None).await?;
    let inventory = Inventory::merge(answers.instances, answers.nodes);
    Ok(Listing { inventory, unseen: answers.unseen })
}

async fn find_container(access: &Access, name: &ContainerName) -> Result<Target, LookupError> {
    let tasks = match &name.tasks {
        TaskName::Service(service) => access.list_tasks(&name.cluster, service).await?,
        TaskName::Task(task) => vec![task.clone()],
    };
    let tasks = access.describe_tasks(&name.cluster, &tasks).await?;
    Ok(ecs::pick(name, &tasks)?)
}

/// What the two services answered; at least one did.
#[derive(Debug)]
struct Answers {
    instances: Option<Vec<Instance>>,
    nodes: Option<Vec<ManagedNode>>,
    unseen: Option<ApiError>,
}

impl Answers {
    /// The answers to a narrow question.
    fn inventory(&self, filter: &NodeFilter) -> Inventory {
        match filter {
            NodeFilter::Activated => Inventory::merge(self.instances.clone(), self.nodes.clone()),
            NodeFilter::Tag { key, value } => {
                let mut inventory = Inventory::merge(self.instances.clone(), None);
                inventory.add_tagged(self.nodes.clone().unwrap_or_default(), key, value);
                inventory
            }
        }
    }

    /// Asks on without a filter, since with one nothing was found or not all could be asked.
    async fn widen(
        &mut self,
        access: &Access,
        name: &Name,
        filter: &NodeFilter,
    ) -> Result<Inventory, ApiError> {
        if self.instances.is_some() {
            match access.describe_instances(&[]).await {
                Ok(all) => self.instances = Some(all),
                Err(error) => tracing::debug!(%error, "there is nothing to suggest"),
            }
            return Ok(self.inventory(filter));
        }
        let tag = match name {
            Name::Named(value) | Name::Dns(value) => Some(("Name", value)),
            Name::Tag { key, value } => Some((key.as_str(), value)),
            Name::Id(_) | Name::Container(_) | Name::Address(_) => None,
        };
        let mut inventory = Inventory::merge(None, Some(access.describe_instance_information(None).await?));
        if let Some((key, value)) = tag {
            let filter = NodeFilter::Tag { key: key.to_owned(), value: value.clone() };
            let tagged = access.describe_instance_information(Some(&filter)).await?;
            inventory.add_tagged(tagged, key, value);
        }
        Ok(inventory)
    }

    fn because(&self, error: ResolveError) -> LookupError {
        LookupError::Resolve { error, unseen: self.unseen.clone().map(Box::new) }
    }
}

/// Asks both services at once; EC2 once for each set of filters.
async fn ask(
    access: &Access,
    filters: &[Vec<Filter>],
    node_filter: Option<&NodeFilter>,
) -> Result<Answers, LookupError> {
    let instances = try_join_all(filters.iter().map(|filters| access.describe_instances(filters)));
    let (instances, nodes) = join(instances, access.describe_instance_information(node_filter)).await;
    settle(instances.map(|lists| lists.into_iter().flatten().collect()), nodes)
}

/// Goes on with one answer if the other service may not be asked, or not from here.
fn settle(
    instances: Result<Vec<Instance>, ApiError>,
    nodes: Result<Vec<ManagedNode>, ApiError>,
) -> Result<Answers, LookupError> {
    let unseen = match (&instances, &nodes) {
        (Ok(_), Ok(_)) => None,
        (Err(ec2), Err(ssm)) if is_denied(ec2) && is_denied(ssm) => {
            return Err(LookupError::Denied { ec2: Box::new(ec2.clone()), ssm: Box::new(ssm.clone()) });
        }
        (Err(ec2), Err(ssm)) => {
            let cause = if is_denied(ec2) { ssm } else { ec2 };
            return Err(cause.clone().into());
        }
        (Ok(_), Err(error)) | (Err(error), Ok(_)) if is_permanent(error) => Some(error.clone()),
        (Ok(_), Err(error)) | (Err(error), Ok(_)) => return Err(error.clone().into()),
    };
    if let Some(error) = &unseen {
        tracing::info!(%error, "names are looked up without this");
    }
    Ok(Answers { instances: instances.ok(), nodes: nodes.ok(), unseen })
}

fn is_denied(error: &ApiError) -> bool {
    error.meaning() == Meaning::AccessDenied
}

/// Tells whether asking again would be no use: a network may have a way to one service only, as a subnet with VPC
/// endpoints for SSM has, and one service may refuse a tag that the other one knows.
fn is_permanent(error: &ApiError) -> bool {
    match error.meaning() {
        Meaning::AccessDenied | Meaning::Other | Meaning::DoesNotExist | Meaning::TargetNotConnected => true,
        Meaning::Transient => matches!(error, ApiError::Network { .. }),
        Meaning::Settings | Meaning::Credentials => false,
    }
}

/// The sets of filters of which an instance must pass one.
fn instance_filters(name: &Name) -> Vec<Vec<Filter>> {
    let any_of =
        |names: &[&str], value: &str| names.iter().map(|name| vec![Filter::new(*name, value)]).collect();
    match name {
        Name::Id(_) | Name::Container(_) => Vec::new(),
        Name::Tag { key, value } => vec![vec![Filter::new(format!("tag:{key}"), value)]],
        Name::Named(value) => any_of(&["tag:Name"], value),
        Name::Dns(value) => {
            let host = value.trim_end_matches('.').to_ascii_lowercase();
            let mut filters: Vec<_> = any_of(&["private-dns-name", "dns-name"], &host);
            filters.extend(any_of(&["tag:Name"], value));
            filters
        }
        Name::Address(address) if address.is_ipv4() => {
            any_of(&["private-ip-address", "ip-address"], &address.to_string())
        }
        Name::Address(address) => {
            any_of(&["network-interface.ipv6-addresses.ipv6-address"], &address.to_string())
        }
    }
}

fn node_filter(name: &Name) -> NodeFilter {
    match name {
        Name::Tag { key, value } => NodeFilter::Tag { key: key.clone(), value: value.clone() },
        Name::Id(_) | Name::Container(_) | Name::Address(_) | Name::Dns(_) | Name::Named(_) => {
            NodeFilter::Activated
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(operation: &'static str) -> ApiError {
        let code =
            if operation == "DescribeInstances" { "UnauthorizedOperation" } else { "AccessDeniedException" };
        ApiError::Service { operation, code: code.into(), message: "no".into(), status: 403 }
    }

    fn ec2() -> ApiError {
        denied("DescribeInstances")
    }

    fn ssm() -> ApiError {
        denied("DescribeInstanceInformation")
    }

    #[test]
    fn one_denied_call_is_tolerated_and_remembered() {
        let answers = settle(Ok(Vec::new()), Err(ssm())).expect("EC2 answered");
        assert_eq!((answers.nodes, answers.unseen), (None, Some(ssm())));
        let answers = settle(Err(ec2()), Ok(Vec::new())).expect("SSM answered");
        assert_eq!((answers.instances, answers.unseen), (None, Some(ec2())));
    }

    #[test]
    fn both_denied_names_both_actions() {
        let error = settle(Err(ec2()), Err(ssm())).expect_err("denied");
        let text = error.to_string();
        assert!(
            text.contains("DescribeInstances: ") && text.contains("DescribeInstanceInformation: "),
            "{text}"
        );
    }

    #[test]
    fn what_is_no_denial_is_the_cause() {
        let timeout = || ApiError::Timeout { operation: "DescribeInstances" };
        for (instances, nodes) in
            [(Err(timeout()), Ok(Vec::new())), (Err(timeout()), Err(ssm())), (Err(ec2()), Err(timeout()))]
        {
            assert_eq!(settle(instances, nodes).err(), Some(LookupError::Api(timeout())));
        }
        let network = || ApiError::Network { operation: "DescribeInstances", cause: "no route".into() };
        assert!(settle(Err(network()), Ok(Vec::new())).is_ok());
        assert_eq!(settle(Err(network()), Err(ssm())).err(), Some(LookupError::Api(network())));
    }
}
