//! The session documents that a route can start, with their parameters.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// The document whose sessions carry one plain stream to a port of the target.
pub const SSH_DOCUMENT: &str = "AWS-StartSSHSession";
/// The document of a forward to a port of the target.
pub const PORT_DOCUMENT: &str = "AWS-StartPortForwardingSession";
/// The document of a forward to a port of a host that the target reaches.
pub const REMOTE_HOST_DOCUMENT: &str = "AWS-StartPortForwardingSessionToRemoteHost";

/// The first agent that dials another host; earlier ones ignore the host and dial their own port (agent's history).
pub const REMOTE_HOST_AGENT: &str = "3.1.1188.0";

/// A session document with its parameters, as StartSession takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its name.
    pub name: String,
    /// Its parameters; each has one value.
    pub parameters: BTreeMap<&'static str, String>,
}

impl Document {
    /// A plain stream to a port of the target; `own` is a document to start instead of AWS's.
    pub fn to_port(port: u16, own: Option<&str>) -> Self {
        Self {
            name: own.unwrap_or(SSH_DOCUMENT).to_owned(),
            parameters: BTreeMap::from([("portNumber", port.to_string())]),
        }
    }

    /// A forward to a port of the target itself.
    fn to_own_port(port: u16) -> Self {
        Self {
            name: PORT_DOCUMENT.to_owned(),
            parameters: BTreeMap::from([("portNumber", port.to_string())]),
        }
    }

    /// The document of a forward to a port of the target, or of a host that the target reaches; `own` is a document to
    /// start instead of AWS's.
    pub fn to_destination(host: Option<&str>, port: u16, own: Option<&str>) -> Self {
        host.map_or_else(|| Self::to_own_port(port), |host| Self::to_host(host, port)).named(own)
    }

    /// The same with another document.
    #[must_use]
    fn named(self, name: Option<&str>) -> Self {
        Self { name: name.map_or(self.name, str::to_owned), ..self }
    }

    /// The host that the agent dials; none is the agent's own.
    pub fn host(&self) -> Option<&str> {
        self.parameters.get("host").map(String::as_str)
    }

    /// A forward to a port of a host that the target's agent dials. The target's own loopback needs no remote host.
    pub fn to_host(address: &str, port: u16) -> Self {
        if is_loopback(address) {
            return Self::to_own_port(port);
        }
        let parameters = BTreeMap::from([("portNumber", port.to_string()), ("host", address.to_owned())]);
        Self { name: REMOTE_HOST_DOCUMENT.to_owned(), parameters }
    }
}

fn is_loopback(address: &str) -> bool {
    let name = address.trim_end_matches('.');
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_behind_a_hop_is_the_hops_own_port() {
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "LocalHost", "localhost."] {
            let document = Document::to_host(address, 3306);
            assert_eq!(document.name, PORT_DOCUMENT, "{address}");
            assert_eq!(document.parameters, BTreeMap::from([("portNumber", "3306".to_owned())]));
        }
        let document = Document::to_host("10.0.0.115", 22);
        assert_eq!(document.name, REMOTE_HOST_DOCUMENT);
        let expected = [("host", "10.0.0.115".to_owned()), ("portNumber", "22".to_owned())];
        assert_eq!(document.parameters, BTreeMap::from(expected));
    }

    #[test]
    fn a_document_of_ones_own_stands_for_the_plain_one() {
        assert_eq!(Document::to_port(22, None).name, SSH_DOCUMENT);
        assert_eq!(Document::to_port(22, Some("Mine")).name, "Mine");
    }
}
