//! A list of algorithms that ssh_config allows.

/// A list of allowed algorithm names; allows every supported one if the setting is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Option<Vec<String>>);

impl Allowed {
    /// Allows only the names in a comma-separated list.
    pub fn only(list: &str) -> Self {
        Self(Some(list.split(',').map(str::to_owned).collect()))
    }

    /// Allows every name that one of the lists allows.
    pub fn any_of(lists: impl Iterator<Item = Self>) -> Self {
        // A list that allows everything makes the result do so.
        Self(lists.map(|list| list.0).collect::<Option<Vec<_>>>().map(|lists| lists.concat()))
    }

    /// Returns true if a name is allowed.
    pub fn has(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.iter().any(|allowed| allowed == name))
    }
}
