//! PURE: which machines of a route have host keys from a source.

use crate::config::HostKeySource;
use crate::names::Name;

use super::{Machine, Route};

/// The source of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    /// The source.
    pub source: HostKeySource,
    /// What the machine is looked up by; `None` is the entry of the route, which is looked up anyway.
    pub name: Option<Name>,
}

impl KeySource {
    /// Returns the sources of a route, in its order.
    pub fn of(route: &Route) -> Vec<Self> {
        route.machines().enumerate().filter_map(|(number, machine)| of_machine(number, machine)).collect()
    }
}

fn of_machine(number: usize, machine: &Machine) -> Option<KeySource> {
    let source = machine.host()?.host_keys.clone()?;
    let name = || machine.destination().ok().map(|destination| destination.name().clone());
    Some(KeySource { source, name: if number == 0 { None } else { name() } })
}
