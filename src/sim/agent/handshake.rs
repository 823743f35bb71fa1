//! The agent's half of the handshake.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const SUCCESS: i64 = 1;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    agent_version: &'a str,
    requested_client_actions: [RequestedAction<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RequestedAction<'a> {
    action_type: &'static str,
    action_parameters: SessionType<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SessionType<'a> {
    session_type: &'static str,
    properties: &'a Value,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Complete {
    handshake_time_to_complete: u64,
    customer_message: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Response {
    #[serde(default)]
    client_version: String,
    #[serde(default)]
    processed_client_actions: Option<Vec<ProcessedAction>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ProcessedAction {
    #[serde(default)]
    action_type: String,
    #[serde(default)]
    action_status: i64,
    #[serde(default)]
    error: String,
}

/// The result of the client's response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientResponse {
    /// All actions succeeded; the client's version.
    Agreed(String),
    /// An action failed; the text that the agent reports.
    Refused(String),
}

/// Encodes the request of a Port session.
pub fn request(agent_version: &str, properties: &Value) -> Bytes {
    let parameters = SessionType { session_type: "Port", properties };
    let action = RequestedAction { action_type: "SessionType", action_parameters: parameters };
    json(&Request { agent_version, requested_client_actions: [action] })
}

/// Encodes HandshakeComplete; `took` is the duration of the handshake.
pub fn complete(took: Duration) -> Bytes {
    let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    json(&Complete { handshake_time_to_complete: nanoseconds, customer_message: "" })
}

/// Parses the client's response. The agent does not acknowledge a payload that is not one.
pub fn read_response(payload: &[u8]) -> Option<ClientResponse> {
    let response: Response = serde_json::from_slice(payload).ok()?;
    let actions = response.processed_client_actions.unwrap_or_default();
    let failed = actions.iter().rfind(|action| action.action_status != SUCCESS);
    Some(match failed {
        None => ClientResponse::Agreed(response.client_version),
        Some(action) => ClientResponse::Refused(format!(
            "{} failed on client with status {} error: {}",
            action.action_type, action.action_status, action.error
        )),
    })
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("plain structs of strings and numbers serialize").into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_request_is_that_of_the_protocol_reference() {
        let request = request("3.3.987.0", &json!({ "portNumber": "22" }));
        assert_eq!(
            request,
            r#"{"AgentVersion":"3.3.987.0","RequestedClientActions":[{"ActionType":"SessionType","ActionParameters":{"SessionType":"Port","Properties":{"portNumber":"22"}}}]}"#
        );
    }

    #[test]
    fn the_duration_is_in_nanoseconds() {
        assert_eq!(
            complete(Duration::from_millis(2)),
            r#"{"HandshakeTimeToComplete":2000000,"CustomerMessage":""}"#
        );
    }

    #[test]
    fn a_status_other_than_success_is_a_refusal() {
        let result = |status: i64| {
            let text = format!(
                r#"{{"ClientVersion":"1.2.764.0","ProcessedClientActions":[{{"ActionType":"SessionType","ActionStatus":{status},"ActionResult":null,"Error":"no"}}],"Errors":null}}"#
            );
            read_response(text.as_bytes())
        };
        assert_eq!(result(1), Some(ClientResponse::Agreed("1.2.764.0".to_owned())));
        assert_eq!(
            result(3),
            Some(ClientResponse::Refused("SessionType failed on client with status 3 error: no".to_owned()))
        );
        assert_eq!(read_response(b"nonsense"), None);
    }
}
