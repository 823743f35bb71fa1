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
    let tag = name_tag(name);
    let mut answers = query(access, &instance_filters(name), &node_queries(name)).await?;
    if answers.instances.is_some() {
        match resolve(name, &answers.inventory(tag)) {
            Err(ResolveError::NotFound { .. }) => {}
            Err(error) => return Err(answers.unresolved(error)),
            Ok(target) => return Ok(target),
        }
    }
    let inventory = answers.widen(access, tag).await?;
    resolve(name, &inventory).map_err(|error| answers.unresolved(error))
}

/// Lists all visible machines.
///
/// # Errors
/// [`LookupError`]. A call that only one service denies is not an error.
pub async fn list(access: &Access) -> Result<PartialInventory, LookupError> {
    let answers = query(access, &[Vec::new()], &[NodeQuery::All]).await?;
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
    /// The machines that SSM found by the tag that the name means.
    tagged: Vec<ManagedNode>,
    unseen: Option<ApiError>,
}

impl Answers {
    /// Returns the inventory of filtered answers; `tag` is what SSM was asked for.
    fn inventory(&self, tag: Option<(&str, &str)>) -> Inventory {
        let mut inventory = Inventory::merge(self.instances.clone(), self.nodes.clone());
        if let Some((key, value)) = tag {
            inventory.add_tagged(self.tagged.clone(), key, value);
        }
        inventory
    }

    /// Repeats the calls without filters, after nothing matched or one service did not answer.
    async fn widen(&mut self, access: &Access, tag: Option<(&str, &str)>) -> Result<Inventory, ApiError> {
        if self.instances.is_none() {
            self.nodes = Some(access.describe_instance_information(None).await?);
            return Ok(self.inventory(tag));
        }
        match access.describe_instances(&[]).await {
            Ok(all) => self.instances = Some(all),
            Err(error) => tracing::debug!(%error, "cannot list instances for suggestions"),
        }
        Ok(self.inventory(tag))
    }

    fn unresolved(&self, error: ResolveError) -> LookupError {
        LookupError::Resolve { error, unseen: self.unseen.clone().map(Box::new) }
    }
}

/// Calls both services in parallel, each once for each set of filters.
async fn query(
    access: &Access,
    filters: &[Vec<Filter>],
    node_queries: &[NodeQuery],
) -> Result<Answers, LookupError> {
    let instances = try_join_all(filters.iter().map(|filters| access.describe_instances(filters)));
    let nodes = try_join_all(node_queries.iter().map(|query| async {
        let found = access.describe_instance_information(query.filter()).await?;
        Ok((query.is_by_tag(), found))
    }));
    let (instances, nodes) = join(instances, nodes).await;
    combine(instances.map(|lists| lists.into_iter().flatten().collect()), nodes.map(Nodes::of))
}

/// One call of SSM.
enum NodeQuery {
    All,
    Filtered(NodeFilter),
}

impl NodeQuery {
    fn filter(&self) -> Option<&NodeFilter> {
        if let Self::Filtered(filter) = self { Some(filter) } else { None }
    }

    fn is_by_tag(&self) -> bool {
        matches!(self, Self::Filtered(NodeFilter::Tag { .. }))
    }
}

/// The machines that SSM returned.
#[derive(Debug, Default)]
struct Nodes {
    all: Vec<ManagedNode>,
    tagged: Vec<ManagedNode>,
}

impl Nodes {
    fn of(answers: Vec<(bool, Vec<ManagedNode>)>) -> Self {
        let mut nodes = Self::default();
        for (is_by_tag, found) in answers {
            if is_by_tag { nodes.tagged.extend(found) } else { nodes.all.extend(found) }
        }
        nodes
    }
}

/// Combines the answers. Accepts one answer alone if the other service denied the call or cannot be reached.
fn combine(
    instances: Result<Vec<Instance>, ApiError>,
    nodes: Result<Nodes, ApiError>,
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
    let (nodes, tagged) = nodes.map_or((None, Vec::new()), |nodes| (Some(nodes.all), nodes.tagged));
    Ok(Answers { instances: instances.ok(), nodes, tagged, unseen })
}

fn is_denied(error: &ApiError) -> bool {
    error.meaning() == Meaning::AccessDenied
}

/// Returns true if a retry cannot succeed. Examples: a subnet with VPC endpoints for SSM only, or a tag filter that
/// one service rejects.
fn is_permanent(error: &ApiError) -> bool {
    match error.meaning() {
        Meaning::AccessDenied | Meaning::Other | Meaning::DoesNotExist | Meaning::TargetNotConnected => true,
        Meaning::Transient => matches!(error, ApiError::Network { .. } | ApiError::TooLong { .. }),
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

/// Returns the tag that a name means: SSM does not return tags, so it is asked for the machines with that one.
fn name_tag(name: &Name) -> Option<(&str, &str)> {
    match name {
        Name::Tag { key, value } => Some((key, value)),
        Name::Named(value) | Name::Dns(value) => Some(("Name", value)),
        Name::Id(_) | Name::Container(_) | Name::Address(_) => None,
    }
}

/// Returns the calls of SSM for a name. Only machines outside of EC2 are known by other names than their tags.
fn node_queries(name: &Name) -> Vec<NodeQuery> {
    let tag = name_tag(name).map(|(key, value)| NodeFilter::Tag { key: key.into(), value: value.into() });
    let activated = (!matches!(name, Name::Tag { .. })).then_some(NodeFilter::Activated);
    activated.into_iter().chain(tag).map(NodeQuery::Filtered).collect()
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
        let answers = combine(Err(ec2()), Ok(Nodes::default())).expect("SSM answered");
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
        for (instances, nodes) in [
            (Err(timeout()), Ok(Nodes::default())),
            (Err(timeout()), Err(ssm())),
            (Err(ec2()), Err(timeout())),
        ] {
            assert_eq!(combine(instances, nodes).err(), Some(LookupError::Api(timeout())));
        }
        let network = || ApiError::Network {
            operation: "DescribeInstances",
            place: None,
            cause: "no route".into(),
            fault: crate::transport::ConnectFault::Network,
        };
        assert!(combine(Err(network()), Ok(Nodes::default())).is_ok());
        assert_eq!(combine(Err(network()), Err(ssm())).err(), Some(LookupError::Api(network())));
    }
}
