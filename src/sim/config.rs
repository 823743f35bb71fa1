//! The configuration of a simulator.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::sim::access_requests::JustInTime;
use crate::sim::agent::AgentConfig;
use crate::sim::faults::Faults;
use crate::sim::sigv4::Credentials;
use crate::sim::tcp_destination::Address;

/// The configuration of a simulator; the default has one online and one offline target.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// The seed of faults, tokens and identifiers.
    pub seed: u64,
    /// The loopback port to listen on; 0 takes a free one.
    pub port: u16,
    /// The region that signatures must name.
    pub region: String,
    /// The credentials at the start.
    pub credentials: Credentials,
    /// Whether unsigned upgrades are accepted, as the official plugin sent them before 2025-11.
    pub unsigned_upgrades: bool,
    /// The session name of the caller; session identifiers begin with it.
    pub principal: String,
    /// The managed nodes.
    pub targets: Vec<SimTarget>,
    /// The addresses of ports of the target; other ports are dialled on loopback.
    pub ports: HashMap<u16, SocketAddr>,
    /// The addresses of remote hosts and ports; others are looked up and dialled.
    pub hosts: HashMap<(String, u16), SocketAddr>,
    /// The values of parameters by their names.
    pub parameters: HashMap<String, String>,
    /// Just-in-time node access; `None` is not set up, and the caller may start sessions.
    pub just_in_time: Option<JustInTime>,
    /// The configuration of agents; a session sets its identifier and properties.
    pub agent: AgentConfig,
    /// Whether the agent starts at StartSession, not at the client's first websocket.
    pub agent_starts_early: bool,
    /// The interval between pings to a client.
    pub ping_interval: Duration,
    /// The faults at the start.
    pub faults: Faults,
    /// The identity for `https` and `wss`; without it the simulator serves `http` and `ws`.
    pub tls: Option<TlsIdentity>,
    /// The host in endpoints and stream URLs; it must resolve to loopback.
    pub hostname: String,
}

/// A managed node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimTarget {
    /// The identifier, such as `i-0123456789abcdef0`.
    pub id: String,
    /// The Name tag.
    pub name: String,
    /// Whether the agent is connected.
    pub online: bool,
}

/// A certificate chain and its private key, in PEM.
#[derive(Clone, Debug)]
pub struct TlsIdentity {
    /// The certificates.
    pub certificates_pem: String,
    /// The private key.
    pub key_pem: String,
}

/// The online target of the default configuration.
pub const ONLINE_TARGET: &str = "i-0123456789abcdef0";
/// The offline target of the default configuration.
pub const OFFLINE_TARGET: &str = "i-0fedcba9876543210";

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            port: 0,
            region: "eu-central-1".to_owned(),
            credentials: dummy_credentials(1),
            unsigned_upgrades: false,
            principal: "alice@example.com".to_owned(),
            targets: vec![
                SimTarget::new(ONLINE_TARGET, "simulated", true),
                SimTarget::new(OFFLINE_TARGET, "offline", false),
            ],
            ports: HashMap::new(),
            hosts: HashMap::new(),
            parameters: HashMap::new(),
            just_in_time: None,
            agent: AgentConfig::default(),
            agent_starts_early: false,
            ping_interval: Duration::from_secs(54),
            faults: Faults::default(),
            tls: None,
            hostname: "127.0.0.1".to_owned(),
        }
    }
}

impl SimConfig {
    /// Returns the address to which the agent connects.
    pub(super) fn address_of(&self, host: Option<&str>, port: u16) -> Address {
        let mapped = match host {
            None | Some("localhost" | "127.0.0.1") => self.ports.get(&port),
            Some(host) => self.hosts.get(&(host.to_owned(), port)),
        };
        match (mapped, host) {
            (Some(address), _) => Address::Mapped(*address),
            (None, Some(host)) => Address::Named(host.to_owned(), port),
            (None, None) => Address::Mapped(SocketAddr::from(([127, 0, 0, 1], port))),
        }
    }
}

impl SimTarget {
    /// Makes a target.
    pub fn new(id: &str, name: &str, online: bool) -> Self {
        Self { id: id.to_owned(), name: name.to_owned(), online }
    }
}

/// Makes credentials for a simulator; each number gives different ones.
pub fn dummy_credentials(number: u32) -> Credentials {
    Credentials {
        access_key_id: format!("AKIDFUMIDAISIM{number:06}"),
        secret_access_key: format!("simulated/secret+key{number:020}"),
        session_token: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_the_target_can_be_mapped_and_others_are_on_loopback() {
        let sshd = SocketAddr::from(([127, 0, 0, 1], 2222));
        let config = SimConfig { ports: HashMap::from([(22, sshd)]), ..SimConfig::default() };
        assert!(matches!(config.address_of(None, 22), Address::Mapped(address) if address == sshd));
        assert!(matches!(config.address_of(None, 23), Address::Mapped(address) if address.port() == 23));
        assert!(matches!(config.address_of(Some("db"), 22), Address::Named(host, 22) if host == "db"));
    }
}
