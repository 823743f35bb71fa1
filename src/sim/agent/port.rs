//! The Port plugin's decisions: which mode a session has, and what it dials.
//!
//! Plain sessions are complete. A multiplexed or basic forward has its variant here and no code behind it yet.

use serde_json::Value;

use crate::sim::agent::version::{FIRST_MULTIPLEXING_CLIENT, compare};

const MULTIPLEXED_TYPE: &str = "LocalPortForwarding";

/// How data of a Port session is to be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Payloads are the bytes of one connection.
    Plain(Target),
    /// Payloads are those of one connection at a time, redialled on demand.
    Basic(Target),
    /// Payloads are one smux byte stream.
    Multiplexed(Target),
}

/// The other end of the forwarded connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The remote host; the target itself if there is none.
    pub host: Option<String>,
    /// The TCP port.
    pub port: u16,
}

/// Chooses the mode as the agent does.
///
/// # Errors
/// The Output with which the agent fails the session.
pub fn select(properties: &Value, client_version: &str, denied: &[String]) -> Result<Mode, String> {
    let property = |name: &str| properties.get(name).and_then(Value::as_str).unwrap_or_default();
    let port = property("portNumber");
    if port.is_empty() {
        return Err(format!("Port number is empty in session properties. {properties}"));
    }
    let host = property("host");
    if denied.iter().any(|address| address == host) {
        return Err(format!("Forwarding to IP address {host} is forbidden."));
    }
    let Ok(port) = port.parse() else {
        return Err(unreachable_port(&format!("dial tcp: address {port}: invalid port")));
    };
    let target = Target { host: (!host.is_empty()).then(|| host.to_owned()), port };
    Ok(if property("type") != MULTIPLEXED_TYPE {
        Mode::Plain(target)
    } else if compare(client_version, FIRST_MULTIPLEXING_CLIENT).is_ge() {
        Mode::Multiplexed(target)
    } else {
        Mode::Basic(target)
    })
}

/// Returns the Output of a session whose destination could not be dialled.
pub fn unreachable_port(why: &str) -> String {
    format!("Unable to connect to specified port: {why}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_type_and_the_clients_version_choose_the_mode() {
        let target = || Target { host: None, port: 80 };
        let forward = json!({ "portNumber": "80", "localPortNumber": "0", "type": "LocalPortForwarding" });
        let plain = json!({ "portNumber": "80", "type": "localportforwarding" });
        assert_eq!(select(&forward, "1.2.764.0", &[]), Ok(Mode::Multiplexed(target())));
        assert_eq!(select(&forward, "0.0.1", &[]), Ok(Mode::Basic(target())));
        assert_eq!(select(&plain, "1.2.764.0", &[]), Ok(Mode::Plain(target())));
    }

    #[test]
    fn bad_properties_fail_the_session() {
        let fails =
            |properties| select(&properties, "1.2.764.0", &["169.254.169.254".to_owned()]).unwrap_err();
        assert!(fails(json!({ "portNumber": "" })).starts_with("Port number is empty"));
        assert!(fails(json!({ "portNumber": "ssh!" })).starts_with("Unable to connect to specified port: "));
        assert_eq!(
            fails(json!({ "portNumber": "80", "host": "169.254.169.254" })),
            "Forwarding to IP address 169.254.169.254 is forbidden."
        );
    }
}
