//! Targets of sessions: parses a typed name, and resolves it to a target.
//!
//! A [`Destination`] is the parsed form of `[USER@]NAME[--REGION]`. A [`Target`] is what StartSession takes. An id is
//! already a target. Any other [`Name`] is [resolved](resolve()) against an [`Inventory`], or selects a container of [`ecs`]
//! tasks; these parts are pure. Only [`lookup`] calls AWS.
//!
//! The service decides whether an id exists. Ids keep their case and may have any length, since AWS has used several
//! lengths. [`Target::unusual_form`] describes an unusual id, for a hint after the service has refused it.

pub(crate) mod cache;
pub(crate) mod ecs;
mod inventory;
pub(crate) mod listed;
pub(crate) mod lookup;
mod name;
mod near_miss;
mod region;
mod resolve;

pub(crate) use self::inventory::{Inventory, Node};
pub(crate) use self::listed::ListedMachine;
pub use self::name::{ContainerName, Destination, Name, TargetError, TaskName, split_region, split_user};
pub use self::region::Region;
pub(crate) use self::resolve::{Candidate, ResolveError, resolve};

/// An id that the service can open a session to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    id: String,
    kind: TargetKind,
    is_stopped: bool,
}

/// The kind of a target, by the form of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// An EC2 instance, `i-…`.
    Instance,
    /// A machine registered by hybrid activation, `mi-…`.
    ManagedInstance,
    /// A container of an ECS task, `ecs:CLUSTER_TASK_RUNTIME`.
    Container,
    /// A node of a SageMaker HyperPod cluster, `sagemaker-cluster:CLUSTER-ID_GROUP-i-…`.
    SageMakerNode,
}

impl Target {
    fn new(id: impl Into<String>, kind: TargetKind) -> Self {
        Self { id: id.into(), kind, is_stopped: false }
    }

    /// Returns the id in the form that StartSession takes.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the kind of the target.
    pub fn kind(&self) -> TargetKind {
        self.kind
    }

    /// Returns true if EC2 reports the instance as stopped or stopping; always false for an id, which is not looked
    /// up.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Describes what is unusual about a valid id, for a hint after the service has refused it.
    pub fn unusual_form(&self) -> Option<String> {
        let (name, digits, lengths): (&str, &str, &[usize]) = match self.kind {
            TargetKind::Instance => ("`i-`", self.id.strip_prefix("i-")?, &[8, 17]),
            TargetKind::ManagedInstance => ("`mi-`", self.id.strip_prefix("mi-")?, &[17]),
            TargetKind::Container | TargetKind::SageMakerNode => return None,
        };
        let usual = lengths.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ");
        if digits.chars().any(|c| !c.is_ascii_hexdigit()) {
            return Some(format!("if it is the value of the Name tag, use `tag:Name={}`", self.id));
        }
        if digits.chars().any(|c| c.is_ascii_uppercase()) {
            return Some(format!(
                "check the id: AWS ids are {name} and {usual} digits `0-9a-f`, in lower case"
            ));
        }
        let count = digits.len();
        (!lengths.contains(&count))
            .then(|| format!("check the id: AWS ids are {name} and {usual} digits, this one has {count}"))
    }
}
