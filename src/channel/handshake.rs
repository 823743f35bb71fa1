//! The agent's three-message opening: request, our one response, complete.
//!
//! Owns the JSON and the decision what to answer. A Port session that is plain is accepted; whatever cannot be
//! honoured is refused in words, since any status but success makes the agent cancel. Encryption is never part of
//! a Port session at a real agent; a request for it is refused, never answered by sending plaintext.
//! Source: `handshakemessage.go`, `datachannel.go` (docs/protocol.md).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::version::{AgentVersion, CLIENT_VERSION};

/// Why we refused the agent's request. It is told so, and cancels the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The session's document asks for encryption with this KMS key.
    Encryption {
        /// ARN of the key.
        key: String,
    },
    /// The document opens something else than a port.
    SessionType(String),
    /// The document opens a multiplexed forward, not one byte stream.
    Multiplexed,
    /// The agent wants something that we do not know.
    UnknownAction(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Encryption { .. } => write!(f, "KMS encryption of a Port session is not supported"),
            Self::SessionType(kind) => write!(f, "the document opens a `{kind}` session, not a port"),
            Self::Multiplexed => write!(f, "the document opens a multiplexed forward, not one stream"),
            Self::UnknownAction(action) => write!(f, "unknown handshake action `{action}`"),
        }
    }
}

/// What is answered to a request, and what it told about the agent.
pub(crate) struct Answer {
    pub agent_version: AgentVersion,
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

const SUCCESS: u8 = 1;
const FAILED: u8 = 2;
const UNSUPPORTED: u8 = 3;

/// Decides the answer to a HandshakeRequest.
///
/// # Errors
/// When the payload is not a request at all.
pub(crate) fn answer(payload: &[u8]) -> Result<Answer, serde_json::Error> {
    let request: Request = serde_json::from_slice(payload)?;
    let mut refusal = None;
    let mut errors = Vec::new();
    let actions = request.requested_client_actions.unwrap_or_default();
    let processed = actions.into_iter().map(|action| {
        let refused = judge(&action);
        let error = refused.as_ref().map(Refusal::to_string).unwrap_or_default();
        let status = match refused {
            None => SUCCESS,
            Some(Refusal::UnknownAction(_)) => UNSUPPORTED,
            Some(Refusal::Encryption { .. } | Refusal::SessionType(_) | Refusal::Multiplexed) => FAILED,
        };
        if let Some(refused) = refused {
            errors.push(error.clone());
            refusal.get_or_insert(refused);
        }
        ProcessedAction { action_type: action.action_type, action_status: status, action_result: None, error }
    });
    let processed_client_actions = processed.collect();
    let errors = (!errors.is_empty()).then_some(errors);
    let response = Response { client_version: CLIENT_VERSION, processed_client_actions, errors };
    Ok(Answer {
        agent_version: AgentVersion::parse(&request.agent_version),
        response: super::message::json(&response),
        refusal,
    })
}

fn judge(action: &RequestedAction) -> Option<Refusal> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let parameters = &action.action_parameters;
    match action.action_type.as_str() {
        "SessionType" => match parameters["SessionType"].as_str().unwrap_or_default() {
            "Port" if parameters["Properties"]["type"] == "LocalPortForwarding" => Some(Refusal::Multiplexed),
            "Port" => None,
            other => Some(Refusal::SessionType(other.to_owned())),
        },
        "KMSEncryption" => Some(Refusal::Encryption { key: text(&parameters["KMSKeyId"]) }),
        other => Some(Refusal::UnknownAction(other.to_owned())),
    }
}

/// Reads the customer's message of a HandshakeComplete, untrusted text; empty when there is none.
pub(crate) fn customer_message(payload: &[u8]) -> String {
    serde_json::from_slice::<Complete>(payload).map(|complete| complete.customer_message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(actions: &str) -> String {
        format!(r#"{{"AgentVersion":"3.3.987.0","RequestedClientActions":[{actions}]}}"#)
    }

    const PORT: &str = r#"{"ActionType":"SessionType","ActionParameters":{"SessionType":"Port","Properties":{"portNumber":"22"}}}"#;

    #[test]
    fn a_plain_port_is_accepted_in_the_official_words() {
        let answer = answer(request(PORT).as_bytes()).unwrap();
        assert_eq!(answer.refusal, None);
        assert_eq!(answer.agent_version, AgentVersion::parse("3.3.987.0"));
        assert_eq!(
            answer.response,
            r#"{"ClientVersion":"1.2.764.0","ProcessedClientActions":[{"ActionType":"SessionType","ActionStatus":1,"ActionResult":null,"Error":""}],"Errors":null}"#
        );
    }

    #[test]
    fn a_request_to_encrypt_is_refused_in_words() {
        let kms =
            r#"{"ActionType":"KMSEncryption","ActionParameters":{"KMSKeyId":"arn:k","Challenge":"AAAA"}}"#;
        let answer = answer(request(&format!("{PORT},{kms}")).as_bytes()).unwrap();
        assert_eq!(answer.refusal, Some(Refusal::Encryption { key: "arn:k".to_owned() }));
        let response: Value = serde_json::from_str(&answer.response).unwrap();
        assert_eq!(response["ProcessedClientActions"][0]["ActionStatus"], 1);
        assert_eq!(response["ProcessedClientActions"][1]["ActionStatus"], 2);
        assert!(response["Errors"][0].as_str().unwrap().contains("KMS"));
    }

    #[test]
    fn what_is_not_one_stream_is_refused() {
        let action = |kind: &str, extra: &str| {
            format!(
                r#"{{"ActionType":"SessionType","ActionParameters":{{"SessionType":"{kind}","Properties":{extra}}}}}"#
            )
        };
        let shell = answer(request(&action("Standard_Stream", "null")).as_bytes()).unwrap();
        assert_eq!(shell.refusal, Some(Refusal::SessionType("Standard_Stream".to_owned())));
        let mux = action("Port", r#"{"portNumber":"80","type":"LocalPortForwarding"}"#);
        assert_eq!(answer(request(&mux).as_bytes()).unwrap().refusal, Some(Refusal::Multiplexed));
        let unknown = answer(request(r#"{"ActionType":"Dance","ActionParameters":{}}"#).as_bytes()).unwrap();
        assert_eq!(unknown.refusal, Some(Refusal::UnknownAction("Dance".to_owned())));
        assert!(unknown.response.contains(r#""ActionStatus":3"#));
    }

    #[test]
    fn a_request_without_actions_is_answered() {
        for actions in [r#""RequestedClientActions":null"#, r#""Else":1"#] {
            let text = format!(r#"{{"AgentVersion":"3.3.987.0",{actions}}}"#);
            assert_eq!(answer(text.as_bytes()).unwrap().refusal, None);
        }
        assert!(answer(b"not json").is_err());
    }
}
