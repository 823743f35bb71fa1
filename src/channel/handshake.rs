//! The handshake: the agent's request, the client's one response, the agent's HandshakeComplete.
//!
//! Owns the JSON and decides the response. A Port session is accepted, plain or as a forward. Everything else is
//! refused with a reason, and the agent cancels the session: it does so for any status but success. Agents do not ask
//! for encryption of Port sessions; such a request is refused, and plaintext is never sent after it.
//! Source: `handshakemessage.go`, `datachannel.go` (docs/protocol.md).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::message::{clip, clip_name};
use super::version::{AgentVersion, CLIENT_VERSION};

/// Why we refused the agent's request. The agent receives the reason and cancels the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The session document asks for encryption with a KMS key.
    Encryption {
        /// ARN of the key.
        key: String,
    },
    /// The document does not open a port.
    SessionType(String),
    /// The session is for a host behind the agent, but this agent is too old: it would connect to itself.
    IgnoresHost(AgentVersion),
    /// The agent requests an unknown action.
    UnknownAction(String),
    /// The agent requests this many actions.
    TooManyActions(usize),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Encryption { .. } => write!(f, "KMS encryption of a Port session is not supported"),
            Self::SessionType(kind) => write!(f, "the document opens a `{kind}` session, not a port"),
            Self::IgnoresHost(agent) => {
                write!(f, "agent {agent} cannot dial another host: it would connect to itself instead")
            }
            Self::UnknownAction(action) => write!(f, "unknown handshake action `{action}`"),
            Self::TooManyActions(count) => {
                write!(f, "the agent requests {count} handshake actions, more than {MOST_ACTIONS}")
            }
        }
    }
}

/// The format of a Port session's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One connection to the port: a plain session, or a forward of an agent without smux. Such an agent can carry a
    /// second connection after the first, but it connects only after the client sends, and the end of a connection is
    /// not marked. We use a separate session instead.
    Single,
    /// smux frames of many connections.
    Multiplexed,
}

/// The response to a request, and what the request says about the agent.
pub(crate) struct Answer {
    pub agent_version: AgentVersion,
    pub mode: Mode,
    pub response: String,
    pub refusal: Option<Refusal>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    #[serde(default)]
    agent_version: String,
    #[serde(default)]
    requested_client_actions: Option<Vec<RequestedAction>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RequestedAction {
    action_type: String,
    #[serde(default)]
    action_parameters: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Response {
    client_version: &'static str,
    processed_client_actions: Vec<ProcessedAction>,
    errors: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ProcessedAction {
    action_type: String,
    action_status: u8,
    action_result: Option<Value>,
    error: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Complete {
    #[serde(default)]
    customer_message: String,
}

/// Agents request two actions at most. Each is answered, so their number bounds the answer.
const MOST_ACTIONS: usize = 16;
const SESSION_TYPE: &str = "SessionType";
const SUCCESS: u8 = 1;
const FAILED: u8 = 2;
const UNSUPPORTED: u8 = 3;

/// Decides the response to a HandshakeRequest. `for_remote_host`: the session is for a host behind the agent.
///
/// # Errors
/// If the payload is not a HandshakeRequest.
pub(crate) fn answer(payload: &[u8], for_remote_host: bool) -> Result<Answer, serde_json::Error> {
    let request: Request = serde_json::from_slice(payload)?;
    let agent_version = AgentVersion::parse(&request.agent_version);
    let mut errors = Vec::new();
    let mut forwards = false;
    let actions = request.requested_client_actions.unwrap_or_default();
    let mut refusal = (actions.len() > MOST_ACTIONS).then_some(Refusal::TooManyActions(actions.len()));
    errors.extend(refusal.as_ref().map(Refusal::to_string));
    let processed = actions.into_iter().take(MOST_ACTIONS).map(|action| {
        forwards |= is_forward(&action);
        let ignores_host =
            for_remote_host && action.action_type == SESSION_TYPE && !agent_version.supports_remote_host();
        let ignores_host = ignores_host.then(|| Refusal::IgnoresHost(agent_version.clone()));
        let refused = refusal_for(&action).or(ignores_host);
        let error = refused.as_ref().map(Refusal::to_string).unwrap_or_default();
        let status = match refused {
            None => SUCCESS,
            Some(Refusal::UnknownAction(_) | Refusal::TooManyActions(_)) => UNSUPPORTED,
            Some(Refusal::Encryption { .. } | Refusal::SessionType(_) | Refusal::IgnoresHost(_)) => FAILED,
        };
        if let Some(refused) = refused {
            errors.push(error.clone());
            refusal.get_or_insert(refused);
        }
        ProcessedAction {
            action_type: clip_name(&action.action_type),
            action_status: status,
            action_result: None,
            error,
        }
    });
    let processed_client_actions = processed.collect();
    let multiplexes = forwards && agent_version.supports_smux();
    let mode = if multiplexes { Mode::Multiplexed } else { Mode::Single };
    let errors = (!errors.is_empty()).then_some(errors);
    let response = Response { client_version: CLIENT_VERSION, processed_client_actions, errors };
    Ok(Answer { agent_version, mode, response: super::message::json(&response), refusal })
}

/// Agents compare the type exactly and use smux only for this one.
fn is_forward(action: &RequestedAction) -> bool {
    action.action_type == SESSION_TYPE
        && action.action_parameters["Properties"]["type"] == "LocalPortForwarding"
}

fn refusal_for(action: &RequestedAction) -> Option<Refusal> {
    let text = |value: &Value| clip(value.as_str().unwrap_or_default().to_owned());
    let parameters = &action.action_parameters;
    match action.action_type.as_str() {
        SESSION_TYPE => match parameters["SessionType"].as_str().unwrap_or_default() {
            "Port" => None,
            other => Some(Refusal::SessionType(clip_name(other))),
        },
        "KMSEncryption" => Some(Refusal::Encryption { key: text(&parameters["KMSKeyId"]) }),
        other => Some(Refusal::UnknownAction(clip_name(other))),
    }
}

/// Reads the customer message of a HandshakeComplete: untrusted text, empty if there is none.
pub(crate) fn customer_message(payload: &[u8]) -> String {
    let complete = serde_json::from_slice::<Complete>(payload);
    complete.map(|complete| clip(complete.customer_message)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(actions: &str) -> String {
        format!(r#"{{"AgentVersion":"3.3.987.0","RequestedClientActions":[{actions}]}}"#)
    }

    const PORT: &str = r#"{"ActionType":"SessionType","ActionParameters":{"SessionType":"Port","Properties":{"portNumber":"22"}}}"#;

    #[test]
    fn a_plain_port_session_gets_the_official_clients_response() {
        let answer = answer(request(PORT).as_bytes(), false).unwrap();
        assert_eq!((answer.refusal, answer.mode), (None, Mode::Single));
        assert_eq!(answer.agent_version, AgentVersion::parse("3.3.987.0"));
        assert_eq!(
            answer.response,
            r#"{"ClientVersion":"1.2.764.0","ProcessedClientActions":[{"ActionType":"SessionType","ActionStatus":1,"ActionResult":null,"Error":""}],"Errors":null}"#
        );
    }

    #[test]
    fn a_request_to_encrypt_is_refused_with_a_reason() {
        let kms =
            r#"{"ActionType":"KMSEncryption","ActionParameters":{"KMSKeyId":"arn:k","Challenge":"AAAA"}}"#;
        let answer = answer(request(&format!("{PORT},{kms}")).as_bytes(), false).unwrap();
        assert_eq!(answer.refusal, Some(Refusal::Encryption { key: "arn:k".to_owned() }));
        let response: Value = serde_json::from_str(&answer.response).unwrap();
        assert_eq!(response["ProcessedClientActions"][0]["ActionStatus"], 1);
        assert_eq!(response["ProcessedClientActions"][1]["ActionStatus"], 2);
        assert!(response["Errors"][0].as_str().unwrap().contains("KMS"));
    }

    #[test]
    fn a_forward_is_multiplexed_if_the_agent_supports_it() {
        let forward = session("Port", r#"{"portNumber":"80","type":"LocalPortForwarding"}"#);
        assert_eq!(answer(request(&forward).as_bytes(), false).unwrap().mode, Mode::Multiplexed);
        let old = request(&forward).replace("3.3.987.0", "3.0.196.0");
        assert_eq!(answer(old.as_bytes(), false).unwrap().mode, Mode::Single);
        let other = session("Port", r#"{"portNumber":"80","type":"localportforwarding"}"#);
        assert_eq!(answer(request(&other).as_bytes(), false).unwrap().mode, Mode::Single);
    }

    #[test]
    fn an_agent_that_would_connect_to_itself_is_refused_in_the_handshake() {
        let forward = request(&session("Port", r#"{"host":"db","type":"LocalPortForwarding"}"#));
        let old = forward.replace("3.3.987.0", "3.1.1080.0");
        let refused = answer(old.as_bytes(), true).unwrap();
        assert_eq!(refused.refusal, Some(Refusal::IgnoresHost(AgentVersion::parse("3.1.1080.0"))));
        assert!(refused.response.contains(r#""ActionStatus":2"#));
        assert_eq!(answer(old.as_bytes(), false).unwrap().refusal, None);
        assert_eq!(answer(forward.as_bytes(), true).unwrap().refusal, None);
    }

    fn session(kind: &str, properties: &str) -> String {
        format!(
            r#"{{"ActionType":"SessionType","ActionParameters":{{"SessionType":"{kind}","Properties":{properties}}}}}"#
        )
    }

    #[test]
    fn a_session_without_a_port_is_refused() {
        let shell = answer(request(&session("Standard_Stream", "null")).as_bytes(), false).unwrap();
        assert_eq!(shell.refusal, Some(Refusal::SessionType("Standard_Stream".to_owned())));
        let unknown =
            answer(request(r#"{"ActionType":"Dance","ActionParameters":{}}"#).as_bytes(), false).unwrap();
        assert_eq!(unknown.refusal, Some(Refusal::UnknownAction("Dance".to_owned())));
        assert!(unknown.response.contains(r#""ActionStatus":3"#));
    }

    #[test]
    fn a_flood_of_actions_is_refused_with_a_short_response() {
        let action = r#"{"ActionType":"Dance"}"#;
        let flood = answer(request(&vec![action; 40_000].join(",")).as_bytes(), false).unwrap();
        assert_eq!(flood.refusal, Some(Refusal::TooManyActions(40_000)));
        assert!(flood.response.len() < 4096, "{}", flood.response.len());
        let long = format!(r#"{{"ActionType":"{}"}}"#, "x".repeat(50_000));
        let long = answer(request(&vec![&*long; MOST_ACTIONS].join(",")).as_bytes(), false).unwrap();
        assert!(long.response.len() < 32_768, "{}", long.response.len());
    }

    #[test]
    fn a_request_without_actions_is_answered() {
        for actions in [r#""RequestedClientActions":null"#, r#""Else":1"#] {
            let text = format!(r#"{{"AgentVersion":"3.3.987.0",{actions}}}"#);
            assert_eq!(answer(text.as_bytes(), false).unwrap().refusal, None);
        }
        assert!(answer(b"not json", false).is_err());
    }
}
