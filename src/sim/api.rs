//! The API: SSM's session operations and STS GetCallerIdentity.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::http::request::Parts;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::sim::access_api;
use crate::sim::access_requests::JustInTime;
use crate::sim::agent::Status;
use crate::sim::api_call::{ApiCall, ApiService};
use crate::sim::clock;
use crate::sim::exception::ApiException;
use crate::sim::faults::ApiEffect;
use crate::sim::journal::SimEvent;
use crate::sim::listing;
use crate::sim::relay::Relay;
use crate::sim::relay_handle::{Control, RelayHandle};
use crate::sim::sessions::{SessionEntry, SessionInfo, SessionState, SharedAgent};
use crate::sim::shared::{Shared, lock};
use crate::sim::sigv4::{SignatureError, Signed, verify};
use crate::sim::sts;

/// What the server does with an API call.
#[derive(Debug)]
pub(super) enum Reply {
    /// Sends a response after a delay.
    Send { response: Response<Full<Bytes>>, after: Duration },
    /// Never answers.
    Hang,
    /// Closes the connection.
    Disconnect,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct StartSession {
    target: String,
    document_name: Option<String>,
    reason: Option<String>,
    parameters: Map<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OneSession {
    session_id: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OneTarget {
    target: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OneParameter {
    name: String,
}

/// Answers an API call.
pub(super) fn answer(shared: &Arc<Shared>, head: &Parts, body: &[u8]) -> Reply {
    let call = ApiCall::read(head, body);
    let effect = shared.with_faults(|faults| faults.take_api(&call.operation));
    let result = match &effect {
        Some(ApiEffect::Error { code, message }) => authenticate(shared, call.service, head, body)
            .map(drop)
            .and(Err(ApiException::new(code, message.clone()))),
        _ => perform(shared, &call, head, body, effect.as_ref()),
    };
    let (session, operation) = (session_of(&result, body), call.operation.clone());
    let error = result.as_ref().err().map(|error| error.code.clone());
    shared.note(SimEvent::Api { operation, session, error });
    let send = |after| Reply::Send { response: call.response(result), after };
    match effect {
        Some(ApiEffect::Hang) => Reply::Hang,
        Some(ApiEffect::Disconnect) => Reply::Disconnect,
        Some(ApiEffect::Delay(after)) => send(after),
        Some(ApiEffect::Error { .. } | ApiEffect::EmptyToken | ApiEffect::NewStreamUrl) | None => {
            send(Duration::ZERO)
        }
    }
}

fn session_of(result: &Result<String, ApiException>, body: &[u8]) -> Option<String> {
    let id = |json: &[u8]| serde_json::from_slice::<OneSession>(json).ok().map(|one| one.session_id);
    let answered = result.as_ref().ok().and_then(|json| id(json.as_bytes())).filter(|id| !id.is_empty());
    answered.or_else(|| id(body)).filter(|id| !id.is_empty())
}

fn perform(
    shared: &Arc<Shared>,
    call: &ApiCall,
    head: &Parts,
    body: &[u8],
    effect: Option<&ApiEffect>,
) -> Result<String, ApiException> {
    let key = authenticate(shared, call.service, head, body)?;
    match call.service {
        ApiService::Ssm => ssm(shared, &call.operation, &key, body, effect).map(|json| json.to_string()),
        ApiService::Sts => sts::answer(shared, &call.operation),
        ApiService::Other(other) => Err(other.refusal()),
    }
}

fn authenticate(
    shared: &Shared,
    service: ApiService,
    head: &Parts,
    payload: &[u8],
) -> Result<String, ApiException> {
    let check = |service| {
        let signed = Signed { head, payload, service, region: &shared.config.region };
        verify(signed, &lock(&shared.keyring), clock::unix_s())
    };
    match service {
        ApiService::Ssm => {
            check("ssm").map_err(|error: SignatureError| ApiException::new(error.code(), error.to_string()))
        }
        ApiService::Sts => check("sts").map_err(|error| sts::refuse(&error)),
        ApiService::Other(_) => Ok(String::new()),
    }
}

fn ssm(
    shared: &Arc<Shared>,
    operation: &str,
    key: &str,
    body: &[u8],
    effect: Option<&ApiEffect>,
) -> Result<Value, ApiException> {
    let asked: StartSession = serde_json::from_slice(body).unwrap_or_default();
    let document = asked.document_name.as_deref().unwrap_or(JustInTime::SHELL);
    access_api::authorize(shared, key, operation, &asked.target, document)?;
    match operation {
        "StartAccessRequest" => access_api::start(shared, &parse(body)?),
        "GetAccessToken" => access_api::token(shared, &parse(body)?),
        "StartSession" => start_session(shared, parse(body)?),
        "ResumeSession" => resume_session(shared, &parse(body)?, effect),
        "TerminateSession" => Ok(terminate_session(shared, &parse(body)?)),
        "GetConnectionStatus" => Ok(connection_status(shared, &parse(body)?)),
        "DescribeSessions" => listing::sessions(shared, parse(body)?),
        "GetParameter" => parameter(shared, &parse(body)?),
        "DescribeInstanceInformation" => listing::instances(shared, parse(body)?),
        other => Err(ApiException::new(
            "UnknownOperationException",
            format!("fumidai-sim does not simulate {other}"),
        )),
    }
}

fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, ApiException> {
    serde_json::from_slice(body)
        .map_err(|error| ApiException::new("SerializationException", error.to_string()))
}

fn parameter(shared: &Shared, request: &OneParameter) -> Result<Value, ApiException> {
    match shared.config.parameters.get(&request.name) {
        Some(value) => Ok(json!({ "Parameter": { "Name": request.name, "Type": "String", "Value": value } })),
        None => Err(ApiException::new("ParameterNotFound", "")),
    }
}

fn start_session(shared: &Arc<Shared>, request: StartSession) -> Result<Value, ApiException> {
    let properties = properties(&request)?;
    if !is_online(shared, &request.target) {
        return Err(ApiException::new("TargetNotConnected", format!("{} is not connected.", request.target)));
    }
    let (handle, inputs) = RelayHandle::channel();
    let agent = SharedAgent::default();
    let mut rng = lock(&shared.rng);
    let id =
        format!("{}-{:017x}", shared.config.principal, u128::from(rng.next_u64()) & 0xf_ffff_ffff_ffff_ffff);
    let info = SessionInfo {
        id: id.clone(),
        target: request.target,
        document: request.document_name.unwrap_or_default(),
        reason: request.reason,
        parameters: Value::Object(request.parameters),
        state: SessionState::Connecting,
        started: clock::unix_s(),
        ended: None,
        end: None,
    };
    let mut session = SessionEntry::new(info, handle, agent.clone(), &mut rng);
    let token = session.issue_token(clock::now(), &mut rng);
    let (relay_rng, url) = (rng.fork(), stream_url(shared, &session));
    drop(rng);
    lock(&shared.sessions).insert(session);
    let mut config = lock(&shared.agent).clone();
    (config.session_id, config.properties) = (id.clone(), properties);
    shared.spawn(Relay::new(shared.clone(), config, inputs, agent, relay_rng).run());
    Ok(json!({ "SessionId": id, "TokenValue": token, "StreamUrl": url }))
}

/// Returns the properties that the document derives from the parameters.
fn properties(request: &StartSession) -> Result<Value, ApiException> {
    let document = request.document_name.as_deref().unwrap_or("SSM-SessionManagerRunShell");
    let (defaults, forwards): (&[(&str, &str)], bool) = match document {
        "AWS-StartSSHSession" => (&[("portNumber", "22")], false),
        "AWS-StartPortForwardingSession" => (&[("portNumber", "80"), ("localPortNumber", "0")], true),
        "AWS-StartPortForwardingSessionToRemoteHost" => {
            (&[("portNumber", "80"), ("localPortNumber", "0"), ("host", "")], true)
        }
        other => {
            let message =
                format!("Document with name {other} does not exist. (fumidai-sim has Port documents only)");
            return Err(ApiException::new("InvalidDocument", message));
        }
    };
    let mut properties = Map::new();
    for (name, default) in defaults {
        properties.insert((*name).to_owned(), (*default).into());
    }
    for (name, value) in &request.parameters {
        let one = value.as_array().filter(|values| values.len() == 1).and_then(|values| values[0].as_str());
        match one {
            Some(value) if properties.contains_key(name) => properties.insert(name.clone(), value.into()),
            Some(_) | None => {
                return Err(ApiException::new(
                    "InvalidParameters",
                    format!("Parameter {name} is not valid."),
                ));
            }
        };
    }
    if forwards {
        properties.insert("type".to_owned(), "LocalPortForwarding".into());
    }
    Ok(Value::Object(properties))
}

fn resume_session(
    shared: &Shared,
    request: &OneSession,
    effect: Option<&ApiEffect>,
) -> Result<Value, ApiException> {
    let mut rng = lock(&shared.rng);
    let mut sessions = lock(&shared.sessions);
    let missing = || {
        ApiException::new("DoesNotExistException", format!("Session {} does not exist.", request.session_id))
    };
    let session = sessions.find(&request.session_id).ok_or_else(missing)?;
    if let Some(ApiEffect::EmptyToken) = effect {
        return Ok(
            json!({ "SessionId": session.info.id, "TokenValue": "", "StreamUrl": stream_url(shared, session) }),
        );
    }
    if session.info.end.is_some() {
        return Err(missing());
    }
    if let Some(ApiEffect::NewStreamUrl) = effect {
        session.move_stream(&mut rng);
    }
    let token = session.issue_token(clock::now(), &mut rng);
    Ok(json!({ "SessionId": session.info.id, "TokenValue": token, "StreamUrl": stream_url(shared, session) }))
}

fn terminate_session(shared: &Shared, request: &OneSession) -> Value {
    end_session(shared, &request.session_id, "");
    json!({ "SessionId": request.session_id })
}

/// Ends a session from the service's side; `output` is the text for the client.
pub(super) fn end_session(shared: &Shared, id: &str, output: &str) {
    shared.end(id, Status::Success, output);
    if let Some(session) = lock(&shared.sessions).find(id) {
        // The send fails if the session had ended and its relay has stopped.
        let _ = session.relay.control.send(Control::Terminate { output: output.to_owned() });
    }
}

fn connection_status(shared: &Shared, request: &OneTarget) -> Value {
    let status = if is_online(shared, &request.target) { "connected" } else { "notconnected" };
    json!({ "Target": request.target, "Status": status })
}

fn is_online(shared: &Shared, id: &str) -> bool {
    shared.config.targets.iter().any(|target| target.id == id && target.online)
}

fn stream_url(shared: &Shared, session: &SessionEntry) -> String {
    format!("{}{}", shared.stream_endpoint(), session.stream_target())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(document: &str, parameters: Value) -> StartSession {
        serde_json::from_value(json!({ "Target": "i-1", "DocumentName": document, "Parameters": parameters }))
            .unwrap()
    }

    #[test]
    fn documents_have_default_parameters_and_refuse_unknown_ones() {
        let ssh = properties(&request("AWS-StartSSHSession", json!({}))).unwrap();
        assert_eq!(ssh, json!({ "portNumber": "22" }));
        let forward =
            properties(&request("AWS-StartPortForwardingSession", json!({ "portNumber": ["5432"] })))
                .unwrap();
        assert_eq!(
            forward,
            json!({ "portNumber": "5432", "localPortNumber": "0", "type": "LocalPortForwarding" })
        );
        let code = |document, parameters| properties(&request(document, parameters)).unwrap_err().code;
        assert_eq!(code("AWS-StartSSHSession", json!({ "host": ["db"] })), "InvalidParameters");
        assert_eq!(code("AWS-StartSSHSession", json!({ "portNumber": "22" })), "InvalidParameters");
        assert_eq!(code("AWS-RunShellScript", json!({})), "InvalidDocument");
    }
}
