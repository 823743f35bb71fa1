//! What a session is opened to: from what was typed to a target.
//!
//! A [`Destination`] is `[USER@]NAME[--REGION]` as a type; a [`Target`] is what StartSession takes. An id is a target
//! already. Any other [`Name`] is [`resolve`]d against an [`Inventory`], or a container picked out of [`ecs`] tasks: all
//! of that is pure. Only [`lookup`] asks AWS. [`route`] has the ways on from a target to what is behind it. Whether the service knows an id is the service's to say: ids keep their
//! case and their length is not judged, since AWS has used several; [`Target::unusual_form`] words what looks odd, for the
//! moment when the service refuses.

pub mod ecs;
mod inventory;
pub mod lookup;
mod name;
mod resolve;
pub mod route;

pub use self::inventory::{Inventory, Node};
pub use self::name::{ContainerName, Destination, Name, Region, TargetError, TaskName};
pub use self::resolve::{Candidate, ResolveError, resolve};

/// Something that the service can open a session to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    id: String,
    kind: TargetKind,
    is_stopped: bool,
}

/// What a target is, by the form of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// An EC2 instance, `i-…`.
    Instance,
    /// A machine registered by hybrid activation, `mi-…`.
    ManagedInstance,
    /// A container of an ECS task, `ecs:CLUSTER_TASK_RUNTIME`.
    Container,
}

impl Target {
    fn new(id: impl Into<String>, kind: TargetKind) -> Self {
        Self { id: id.into(), kind, is_stopped: false }
    }

    /// Returns the id in the form that StartSession takes.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns what the id names.
    pub fn kind(&self) -> TargetKind {
        self.kind
    }

    /// Tells whether EC2 said that it is stopped or stopping; an id is not looked up and never is.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Words what is odd about an id that has a valid form, for a hint once the service refuses it.
    pub fn unusual_form(&self) -> Option<String> {
        let (name, digits, lengths): (&str, &str, &[usize]) = match self.kind {
            TargetKind::Instance => ("`i-`", self.id.strip_prefix("i-")?, &[8, 17]),
            TargetKind::ManagedInstance => ("`mi-`", self.id.strip_prefix("mi-")?, &[17]),
            TargetKind::Container => return None,
        };
        let usual = lengths.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ");
        if digits.chars().any(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
            return Some(format!("AWS writes {name} and {usual} digits `0-9a-f`, in lower case"));
        }
        let count = digits.len();
        (!lengths.contains(&count)).then(|| format!("AWS writes {name} and {usual} digits, here are {count}"))
    }
}
