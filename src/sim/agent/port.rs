//! The decisions of the Port plugin: the mode of a session, and what it dials.
//!
//! They depend on both versions: an old client gets a basic forward from every agent, and an old agent has no other
//! forward. Agents also differ in the hosts to which they forward.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use crate::sim::agent::AgentConfig;
use crate::sim::agent::version::{
    FIRST_MULTIPLEXING_CLIENT, FIRST_REFUSING_LOOPBACK, FIRST_REMOTE_HOST, LAST_AGENT_WITHOUT_SMUX, compare,
};

const MULTIPLEXED_TYPE: &str = "LocalPortForwarding";

/// The meaning of data in a Port session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortMode {
    /// Payloads are the bytes of one connection.
    Plain(ForwardTarget),
    /// Payloads are those of one connection at a time, redialled on demand.
    Basic(ForwardTarget),
    /// Payloads are one smux byte stream.
    Multiplexed(ForwardTarget),
}

/// The destination of a forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardTarget {
    /// The remote host; `None` is the target.
    pub host: Option<String>,
    /// The TCP port.
    pub port: u16,
}

/// Selects the mode as the agent does.
///
/// # Errors
/// The output with which the agent fails the session.
pub fn select(config: &AgentConfig, client_version: &str) -> Result<PortMode, String> {
    let properties = &config.properties;
    let property = |name: &str| properties.get(name).and_then(Value::as_str).unwrap_or_default();
    let is_agent_from = |version| compare(&config.agent_version, version).is_ge();
    let port = property("portNumber");
    if port.is_empty() {
        return Err(format!("Port number is empty in session properties. {properties}"));
    }
    let host = Some(property("host")).filter(|host| !host.is_empty() && is_agent_from(FIRST_REMOTE_HOST));
    if let Some(output) = host.and_then(address).and_then(|address| forbidden(config, address)) {
        return Err(output);
    }
    let Ok(port) = port.parse() else {
        return Err(unreachable_port(&format!("dial tcp: address {port}: invalid port")));
    };
    let target = ForwardTarget { host: host.map(str::to_owned), port };
    let has_smux = compare(&config.agent_version, LAST_AGENT_WITHOUT_SMUX).is_gt();
    Ok(if property("type") != MULTIPLEXED_TYPE {
        PortMode::Plain(target)
    } else if has_smux && compare(client_version, FIRST_MULTIPLEXING_CLIENT).is_ge() {
        PortMode::Multiplexed(target)
    } else {
        PortMode::Basic(target)
    })
}

/// Returns the output of a session to an address to which the agent does not forward.
pub fn forbidden(config: &AgentConfig, address: IpAddr) -> Option<String> {
    let address = address.to_canonical();
    let is_denied = config.denied_hosts.iter().any(|denied| denied.parse() == Ok(address));
    let refuses_loopback = compare(&config.agent_version, FIRST_REFUSING_LOOPBACK).is_ge();
    let is_refused = is_denied || refuses_loopback && address.is_loopback();
    is_refused.then(|| format!("Forwarding to IP address {address} is forbidden."))
}

/// Parses a host that needs no lookup.
fn address(host: &str) -> Option<IpAddr> {
    match host {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        host => host.parse().ok(),
    }
}

/// Returns the output of a session whose destination could not be dialled.
pub fn unreachable_port(why: &str) -> String {
    format!("Unable to connect to specified port: {why}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn choose(agent_version: &str, properties: Value, client_version: &str) -> Result<PortMode, String> {
        let agent_version = agent_version.to_owned();
        select(&AgentConfig { agent_version, properties, ..AgentConfig::default() }, client_version)
    }

    fn forward(host: &str) -> Value {
        json!({ "portNumber": "80", "localPortNumber": "0", "type": "LocalPortForwarding", "host": host })
    }

    #[test]
    fn the_type_and_both_versions_select_the_mode() {
        let target = || ForwardTarget { host: None, port: 80 };
        let plain = json!({ "portNumber": "80", "type": "localportforwarding" });
        assert_eq!(choose("3.3.987.0", forward(""), "1.2.764.0"), Ok(PortMode::Multiplexed(target())));
        assert_eq!(choose("3.3.987.0", forward(""), "0.0.1"), Ok(PortMode::Basic(target())));
        assert_eq!(choose("3.0.222.0", forward(""), "1.2.764.0"), Ok(PortMode::Multiplexed(target())));
        assert_eq!(choose("3.0.196.0", forward(""), "1.2.764.0"), Ok(PortMode::Basic(target())));
        assert_eq!(choose("3.3.987.0", plain, "1.2.764.0"), Ok(PortMode::Plain(target())));
    }

    #[test]
    fn bad_properties_fail_the_session() {
        let fails = |properties| choose("3.3.987.0", properties, "1.2.764.0").unwrap_err();
        assert!(fails(json!({ "portNumber": "" })).starts_with("Port number is empty"));
        assert!(fails(json!({ "portNumber": "ssh!" })).starts_with("Unable to connect to specified port: "));
        for host in ["169.254.169.254", "::ffff:169.254.169.254"] {
            assert_eq!(fails(forward(host)), "Forwarding to IP address 169.254.169.254 is forbidden.");
        }
    }

    #[test]
    fn agents_differ_in_the_hosts_to_which_they_forward() {
        let at = |host: Option<&str>| {
            Ok(PortMode::Multiplexed(ForwardTarget { host: host.map(str::to_owned), port: 80 }))
        };
        assert_eq!(choose("3.1.1187.0", forward("db"), "1.2.764.0"), at(None));
        assert_eq!(choose("3.1.1188.0", forward("db"), "1.2.764.0"), at(Some("db")));
        for host in ["127.0.0.1", "::ffff:127.0.0.1", "localhost"] {
            assert_eq!(choose("3.3.987.0", forward(host), "1.2.764.0"), at(Some(host)));
            let refused = choose("3.3.4851.0", forward(host), "1.2.764.0").unwrap_err();
            assert_eq!(refused, "Forwarding to IP address 127.0.0.1 is forbidden.");
        }
    }
}
