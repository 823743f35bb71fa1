//! The SSM API: AWS JSON 1.1 over the operations that a Session Manager client needs.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::sim::agent::Status;
use crate::sim::clock;
use crate::sim::faults::ApiEffect;
use crate::sim::http::Request;
use crate::sim::journal::Event;
use crate::sim::listing;
use crate::sim::mailbox::{Control, RelayHandle};
use crate::sim::relay::Relay;
use crate::sim::sessions::{Session, SessionInfo, SessionState, SharedAgent};
use crate::sim::shared::{Shared, lock};
use crate::sim::sigv4::{Signed, verify};

const SIGNING_NAME: &str = "ssm";

/// What the connection does with an API call.
#[derive(Debug)]
pub(super) enum Answer {
    /// Sends this, perhaps late.
    Send { status: u16, body: String, after: Duration },
    /// Says nothing for ever.
    Hang,
    /// Closes.
    Disconnect,
}

/// An error as the API words it.
#[derive(Debug)]
pub(super) struct ApiError {
    code: String,
    message: String,
}

impl ApiError {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }

    fn status(&self) -> u16 {
        if self.code.contains("Internal") || self.code.contains("Unavailable") { 500 } else { 400 }
    }
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

/// Answers a call.
pub(super) fn answer(shared: &Arc<Shared>, request: &Request) -> Answer {
    if request.body.starts_with(b"Action=") {
        return refuse_query(shared, &request.body);
    }
    let target = request.header("x-amz-target").unwrap_or_default();
    let operation = target.strip_prefix("AmazonSSM.").unwrap_or(&target).to_owned();
    let effect = shared.with_faults(|faults| faults.take_api(&operation));
    let result = authenticate(shared, request).and_then(|()| match &effect {
        Some(ApiEffect::Error { code, message }) => Err(ApiError::new(code, message.clone())),
        _ => perform(shared, &operation, &request.body, effect.as_ref()),
    });
    let session = session_of(&result, &request.body);
    let error = result.as_ref().err().map(|error| error.code.clone());
    shared.note(Event::Api { operation, session, error });
    match effect {
        Some(ApiEffect::Hang) => Answer::Hang,
        Some(ApiEffect::Disconnect) => Answer::Disconnect,
        Some(ApiEffect::Delay(after)) => send(result, after),
        Some(ApiEffect::Error { .. } | ApiEffect::EmptyToken | ApiEffect::NewStreamUrl) | None => {
            send(result, Duration::ZERO)
        }
    }
}

/// Answers a call of EC2's protocol: it is not simulated, and says no as if the caller had no permission.
fn refuse_query(shared: &Shared, body: &[u8]) -> Answer {
    const CODE: &str = "UnauthorizedOperation";
    let words = String::from_utf8_lossy(body);
    let action = words.split('&').next().and_then(|pair| pair.strip_prefix("Action=")).unwrap_or_default();
    shared.note(Event::Api { operation: action.to_owned(), session: None, error: Some(CODE.to_owned()) });
    let body = format!(
        "<Response><Errors><Error><Code>{CODE}</Code><Message>fumidai-sim plays no EC2</Message></Error></Errors>\
         <RequestID>0</RequestID></Response>"
    );
    Answer::Send { status: 403, body, after: Duration::ZERO }
}

fn send(result: Result<Value, ApiError>, after: Duration) -> Answer {
    match result {
        Ok(body) => Answer::Send { status: 200, body: body.to_string(), after },
        Err(error) => {
            let body = json!({ "__type": error.code, "Message": error.message, "message": error.message })
                .to_string();
            Answer::Send { status: error.status(), body, after }
        }
    }
}

fn session_of(result: &Result<Value, ApiError>, body: &[u8]) -> Option<String> {
    let answered = result.as_ref().ok().and_then(|value| value.get("SessionId")?.as_str().map(str::to_owned));
    let asked = || serde_json::from_slice::<OneSession>(body).ok().map(|one| one.session_id);
    answered.or_else(asked).filter(|id| !id.is_empty())
}

fn authenticate(shared: &Shared, request: &Request) -> Result<(), ApiError> {
    let signed = Signed {
        method: &request.method,
        target: &request.target,
        headers: &request.headers,
        payload: &request.body,
        service: SIGNING_NAME,
        region: &shared.config.region,
    };
    let verified = verify(signed, &lock(&shared.keyring), clock::unix_s());
    verified.map_err(|refusal| ApiError::new(refusal.code(), refusal.to_string()))
}

fn perform(
    shared: &Arc<Shared>,
    operation: &str,
    body: &[u8],
    effect: Option<&ApiEffect>,
) -> Result<Value, ApiError> {
    match operation {
        "StartSession" => start_session(shared, parse(body)?),
        "ResumeSession" => resume_session(shared, &parse(body)?, effect),
        "TerminateSession" => Ok(terminate_session(shared, &parse(body)?)),
        "GetConnectionStatus" => Ok(connection_status(shared, &parse(body)?)),
        "DescribeSessions" => listing::sessions(shared, parse(body)?),
        "DescribeInstanceInformation" => listing::instances(shared, parse(body)?),
        other => {
            Err(ApiError::new("UnknownOperationException", format!("fumidai-sim does not know `{other}`")))
        }
    }
}

fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::new("SerializationException", error.to_string()))
}

fn start_session(shared: &Arc<Shared>, request: StartSession) -> Result<Value, ApiError> {
    let properties = properties(&request)?;
    if !is_online(shared, &request.target) {
        return Err(ApiError::new("TargetNotConnected", format!("{} is not connected.", request.target)));
    }
    let (handle, inputs) = RelayHandle::channel();
    let agent = SharedAgent::default();
    let mut dice = lock(&shared.dice);
    let id =
        format!("{}-{:017x}", shared.config.principal, u128::from(dice.roll()) & 0xf_ffff_ffff_ffff_ffff);
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
    let mut session = Session::new(info, handle, agent.clone(), &mut dice);
    let token = session.issue_token(clock::now(), &mut dice);
    let (own_dice, url) = (dice.fork(), stream_url(shared, &session));
    drop(dice);
    lock(&shared.sessions).insert(session);
    let mut config = lock(&shared.agent).clone();
    (config.session_id, config.properties) = (id.clone(), properties);
    tokio::spawn(
        shared
            .stop
            .clone()
            .run_until_cancelled_owned(Relay::new(shared.clone(), config, inputs, agent, own_dice).run()),
    );
    Ok(json!({ "SessionId": id, "TokenValue": token, "StreamUrl": url }))
}

/// Returns the properties that the document makes of the parameters.
fn properties(request: &StartSession) -> Result<Value, ApiError> {
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
            return Err(ApiError::new("InvalidDocument", message));
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
                return Err(ApiError::new("InvalidParameters", format!("Parameter {name} is not valid.")));
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
) -> Result<Value, ApiError> {
    let mut dice = lock(&shared.dice);
    let mut sessions = lock(&shared.sessions);
    let gone =
        || ApiError::new("DoesNotExistException", format!("Session {} does not exist.", request.session_id));
    let session = sessions.find(&request.session_id).ok_or_else(gone)?;
    if let Some(ApiEffect::EmptyToken) = effect {
        return Ok(
            json!({ "SessionId": session.info.id, "TokenValue": "", "StreamUrl": stream_url(shared, session) }),
        );
    }
    if session.info.end.is_some() {
        return Err(gone());
    }
    if let Some(ApiEffect::NewStreamUrl) = effect {
        session.move_stream(&mut dice);
    }
    let token = session.issue_token(clock::now(), &mut dice);
    Ok(json!({ "SessionId": session.info.id, "TokenValue": token, "StreamUrl": stream_url(shared, session) }))
}

fn terminate_session(shared: &Shared, request: &OneSession) -> Value {
    end_session(shared, &request.session_id, "");
    json!({ "SessionId": request.session_id })
}

/// Ends a session from the service's side, with a text for the client.
pub(super) fn end_session(shared: &Shared, id: &str, output: &str) {
    shared.end(id, Status::Success, output);
    if let Some(session) = lock(&shared.sessions).find(id) {
        // Its relay is gone if the session was over already.
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

fn stream_url(shared: &Shared, session: &Session) -> String {
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
    fn documents_fill_in_and_check_their_parameters() {
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

    #[test]
    fn errors_have_the_services_form_and_status() {
        let Answer::Send { status, body, .. } =
            send(Err(ApiError::new("ThrottlingException", "slow")), Duration::ZERO)
        else {
            panic!("an error is sent")
        };
        assert_eq!(status, 400);
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["__type"], "ThrottlingException");
        assert_eq!(ApiError::new("InternalServerError", "").status(), 500);
    }
}
