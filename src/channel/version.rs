//! Version gates: the features that an agent supports, by its version.
//!
//! Owns the comparison and the gates that a client checks. Source: the official client's `versionutil.go` and
//! `config.go`, the agent's history (docs/protocol.md).

use std::fmt;

/// The client version that we send. The service and the agent gate features by it; from 1.2.764.0 on the upgrade is
/// signed.
pub(crate) const CLIENT_VERSION: &str = "1.2.764.0";

/// An agent's version: four numbers. A version of another form is treated as older than all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentVersion([u32; 4]);

impl AgentVersion {
    /// Reads `a.b.c.d`.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let mut next = || parts.next().flatten();
        let numbers = (|| Some([next()?, next()?, next()?, next()?]))();
        Self(numbers.unwrap_or_default())
    }

    /// Returns true if the agent supports the TerminateSession flag; older ones need the API.
    pub fn supports_terminate_flag(&self) -> bool {
        self.0 > [2, 3, 722, 0]
    }

    /// Returns true if the agent carries many connections in one session of a forward; older ones carry one at a time.
    pub fn supports_smux(&self) -> bool {
        self.0 > [3, 0, 196, 0]
    }

    /// Returns true if the agent may end a multiplexed session in which it receives nothing for 30 s.
    pub fn wants_keepalive(&self) -> bool {
        self.0 <= [3, 1, 1511, 0]
    }

    /// Returns true if the agent connects to the host that a document names; older ones connect to themselves.
    pub fn supports_remote_host(&self) -> bool {
        self.0 >= [3, 1, 1188, 0]
    }

    /// Returns true if the agent acknowledges duplicates, so that a lost acknowledgement is replaced.
    pub fn acknowledges_duplicates(&self) -> bool {
        self.0 >= [3, 2, 1041, 0]
    }
}

impl fmt::Display for AgentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a}.{b}.{c}.{d}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_compare_number_by_number() {
        assert!(AgentVersion::parse("3.3.987.0").supports_terminate_flag());
        assert!(!AgentVersion::parse("2.3.722.0").supports_terminate_flag());
        assert!(AgentVersion::parse("2.3.756.0").supports_terminate_flag());
        assert!(AgentVersion::parse("3.2.1041.0").acknowledges_duplicates());
        assert!(!AgentVersion::parse("3.2.985.0").acknowledges_duplicates());
        assert!(
            !AgentVersion::parse("3.0.196.0").supports_smux()
                && AgentVersion::parse("3.0.222.0").supports_smux()
        );
        assert!(AgentVersion::parse("3.1.1511.0").wants_keepalive());
        assert!(!AgentVersion::parse("3.1.1575.0").wants_keepalive());
        assert!(
            !AgentVersion::parse("3.1.1080.0").supports_remote_host()
                && AgentVersion::parse("3.1.1188.0").supports_remote_host()
        );
        assert!(AgentVersion::parse("10.0.0.0") > AgentVersion::parse("9.9.9.9"));
    }

    #[test]
    fn versions_of_another_form_are_older_than_all_others() {
        for odd in ["", "3.3", "3.3.x.0", "latest"] {
            assert!(!AgentVersion::parse(odd).supports_terminate_flag(), "{odd}");
            assert!(!AgentVersion::parse(odd).supports_remote_host(), "{odd}");
        }
    }
}
