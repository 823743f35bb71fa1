//! Looks a name up in AWS with as few calls as possible: the only file of this layer that does I/O.
//!
//! Calls EC2 and SSM in parallel, with filters where the name allows them. If nothing matches, lists all EC2
//! instances: to find addresses without a simple filter, and to suggest similar names. If one service denies the
//! call, the other's answer is used alone.

use futures_util::future::{join, try_join_all};
use thiserror::Error;

use crate::aws::{Access, ApiError, Filter, Instance, ManagedNode, Meaning, NodeFilter};

use super::ecs::{self, EcsError};
use super::{ContainerName, Inventory, Name, ResolveError, Target, TaskName, resolve};

/// Why a name could not be looked up.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LookupError {
    /// The name does not match exactly one machine.
    #[error("{error}")]
    Resolve {
        /// The cause.
        error: ResolveError,
        /// The error of the service that did not answer: its list may have the machine.
        unseen: Option<Box<ApiError>>,
    },
    /// The name does not match exactly one container.
    #[error(transparent)]
    Ecs(#[from] EcsError),
    /// A required call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Both services denied the call: allow one of them, or use the id.
    #[error("{ec2}; {ssm}")]
    Denied {
        /// EC2's error.
        ec2: Box<ApiError>,
        /// SSM's error.
        ssm: Box<ApiError>,
    },
}

/// All visible machines.
#[derive(Clone, Debug)]
pub struct PartialInventory {
    /// The machines.
    pub inventory: Inventory,
    /// The error of the service that did not answer, so that its machines are missing.
    pub unseen: Option<ApiError>,
}

/// Looks up a name. An id needs no call.
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
    let mut answers = query(access, &instance_filters(name), Some(&filter)).await?;
    if answers.instances.is_some() {
        match resolve(name, &answers.inventory(&filter)) {
            Err(ResolveError::NotFound { .. }) => {}
            Err(error) => return Err(answers.unresolved(error)),
            Ok(target) => return Ok(target),
        }
    }
    let inventory = answers.widen(access, name, &filter).await?;
    resolve(name, &inventory).map_err(|error| answers.unresolved(error))
}

/// Returns the IAM actions that [`find`] needs for a name.
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

/// Lists all visible machines.
///
/// # Errors
/// [`LookupError`]. A call that only one service denies is not an error.
pub async fn list(access: &Access) -> Result<PartialInventory, LookupError> {
    let answers = query(access, &[Vec::new()], None).await?;
    let inventory = Inventory::merge(answers.instances, answers.nodes);
    Ok(PartialInventory { inventory, unseen: answers.unseen })
}

async fn find_container(access: &Access, name: &ContainerName) -> Result<Target, LookupError> {
    let tasks = match &name.tasks {
        TaskName::Service(service) => access.list_tasks(&name.cluster, service).await?,
        TaskName::Task(task) => vec![task.clone()],
    };
    let tasks = access.describe_tasks(&name.cluster, &tasks).await?;
    Ok(ecs::pick(name, &tasks)?)
}

/// The answers of the two services, at least one of which is present.
#[derive(Debug)]
struct Answers {
    instances: Option<Vec<Instance>>,
    nodes: Option<Vec<ManagedNode>>,
    unseen: Option<ApiError>,
}

impl Answers {
    /// Returns the inventory of filtered answers.
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

    /// Repeats the calls without filters, after nothing matched or one service did not answer.
    async fn widen(
        &mut self,
        access: &Access,
        name: &Name,
        filter: &NodeFilter,
    ) -> Result<Inventory, ApiError> {
        if self.instances.is_some() {
            match access.describe_instances(&[]).await {
                Ok(all) => self.instances = Some(all),
                Err(error) => tracing::debug!(%error, "cannot list instances for suggestions"),
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

    fn unresolved(&self, error: ResolveError) -> LookupError {
        LookupError::Resolve { error, unseen: self.unseen.clone().map(Box::new) }
    }
}

/// Calls both services in parallel; EC2 once for each set of filters.
async fn query(
    access: &Access,
    filters: &[Vec<Filter>],
    node_filter: Option<&NodeFilter>,
) -> Result<Answers, LookupError> {
    let instances = try_join_all(filters.iter().map(|filters| access.describe_instances(filters)));
    let (instances, nodes) = join(instances, access.describe_instance_information(node_filter)).await;
    combine(instances.map(|lists| lists.into_iter().flatten().collect()), nodes)
}

/// Combines the answers. Accepts one answer alone if the other service denied the call or cannot be reached.
fn combine(
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
        tracing::info!(%error, "looking up names without this service");
    }
    Ok(Answers { instances: instances.ok(), nodes: nodes.ok(), unseen })
}

fn is_denied(error: &ApiError) -> bool {
    error.meaning() == Meaning::AccessDenied
}

/// Returns true if a retry cannot succeed. Examples: a subnet with VPC endpoints for SSM only, or a tag filter that
/// one service rejects.
fn is_permanent(error: &ApiError) -> bool {
    match error.meaning() {
        Meaning::AccessDenied | Meaning::Other | Meaning::DoesNotExist | Meaning::TargetNotConnected => true,
        Meaning::Transient => matches!(error, ApiError::Network { .. }),
        Meaning::Settings | Meaning::Credentials => false,
    }
}

/// Returns sets of filters; an instance matches if it passes one set.
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
    fn one_denied_call_is_tolerated_and_reported() {
        let answers = combine(Ok(Vec::new()), Err(ssm())).expect("EC2 answered");
        assert_eq!((answers.nodes, answers.unseen), (None, Some(ssm())));
        let answers = combine(Err(ec2()), Ok(Vec::new())).expect("SSM answered");
        assert_eq!((answers.instances, answers.unseen), (None, Some(ec2())));
    }

    #[test]
    fn two_denied_calls_name_both_actions() {
        let error = combine(Err(ec2()), Err(ssm())).expect_err("denied");
        let text = error.to_string();
        assert!(
            text.contains("DescribeInstances: ") && text.contains("DescribeInstanceInformation: "),
            "{text}"
        );
    }

    #[test]
    fn an_error_other_than_a_denial_is_the_cause() {
        let timeout = || ApiError::Timeout { operation: "DescribeInstances" };
        for (instances, nodes) in
            [(Err(timeout()), Ok(Vec::new())), (Err(timeout()), Err(ssm())), (Err(ec2()), Err(timeout()))]
        {
            assert_eq!(combine(instances, nodes).err(), Some(LookupError::Api(timeout())));
        }
        let network = || ApiError::Network { operation: "DescribeInstances", cause: "no route".into() };
        assert!(combine(Err(network()), Ok(Vec::new())).is_ok());
        assert_eq!(combine(Err(network()), Err(ssm())).err(), Some(LookupError::Api(network())));
    }
}
