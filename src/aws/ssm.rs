//! SSM: starts, resumes, terminates and lists sessions; lists managed nodes; reads parameters.

use std::collections::HashMap;
use std::fmt;

use aws_sdk_ssm::config::Builder;
use aws_sdk_ssm::types::{
    ConnectionStatus, InstanceInformation, InstanceInformationStringFilter, SessionFilter, SessionFilterKey,
    SessionState,
};
use aws_smithy_types::retry::RetryConfig;

use super::{Access, ApiError, Caller};

/// The parameters of StartSession.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// The id of the instance, managed node or container.
    pub target: String,
    /// The name of the session document.
    pub document: String,
    /// The document's parameters.
    pub parameters: HashMap<String, Vec<String>>,
    /// The reason for AWS's audit log.
    pub reason: Option<String>,
}

/// The secret that opens one websocket. Redacted in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Keeps a secret.
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// Returns the secret.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The URL of a session's stream, and the token that opens it.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamAddress {
    /// The URL: opaque; its query must not be logged.
    pub url: String,
    /// The token that opens it.
    pub token: Token,
}

impl fmt::Debug for StreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamAddress(..)")
    }
}

/// A session that has been started.
#[derive(Clone, Debug)]
pub struct StartedSession {
    /// The session's id.
    pub session_id: String,
    /// The session's stream.
    pub stream: StreamAddress,
}

/// Maximum page size of DescribeInstanceInformation (SSM API reference).
const PAGE: i32 = 50;

/// A machine with a registered agent, as SSM describes it. All texts are untrusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManagedNode {
    /// The id, `i-…` or `mi-…`.
    pub id: String,
    /// The name from its registration.
    pub name: Option<String>,
    /// The host name that the agent reports.
    pub computer_name: Option<String>,
    /// The address that the agent reports.
    pub address: Option<String>,
    /// The operating system, such as `Amazon Linux 2023`.
    pub platform: Option<String>,
    /// The agent's version.
    pub agent_version: Option<String>,
    /// The ping status: `Online`, `ConnectionLost` or `Inactive`.
    pub ping: Option<String>,
    /// The time of the last ping, in Unix seconds.
    pub last_ping: Option<i64>,
}

/// Restricts the machines that SSM returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeFilter {
    /// Only machines that were registered by hybrid activation, `mi-…`.
    Activated,
    /// Only the machine with that id.
    Id(String),
    /// Only machines with that tag.
    Tag {
        /// The tag's key.
        key: String,
        /// The tag's value.
        value: String,
    },
}

impl NodeFilter {
    fn key_and_value(&self) -> (String, &str) {
        match self {
            Self::Activated => ("ResourceType".to_owned(), "ManagedInstance"),
            Self::Id(id) => ("InstanceIds".to_owned(), id),
            Self::Tag { key, value } => (format!("tag:{key}"), value),
        }
    }
}

/// A session that has not ended, connected or not. All texts are untrusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActiveSession {
    /// The session's id.
    pub id: String,
    /// The target.
    pub target: String,
    /// The ARN of the caller who started it.
    pub owner: String,
    /// The start in Unix seconds.
    pub started: i64,
    /// The document.
    pub document: String,
    /// The reason that was given.
    pub reason: Option<String>,
}

impl Access {
    /// Lists the sessions to a target that have not ended, of all callers.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn active_sessions(&self, target: &str) -> Result<Vec<ActiveSession>, ApiError> {
        self.sessions_where(SessionFilterKey::TargetId, target).await
    }

    /// Lists the sessions of a caller that have not ended.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn own_sessions(&self, caller: &Caller) -> Result<Vec<ActiveSession>, ApiError> {
        self.sessions_where(SessionFilterKey::Owner, &caller.arn).await
    }

    /// Returns true if there is a session of that id that has not ended, of any caller.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn is_active_session(&self, id: &str) -> Result<bool, ApiError> {
        let found = self.sessions_where(SessionFilterKey::SessionId, id).await?;
        Ok(found.iter().any(|session| session.id == id))
    }

    async fn sessions_where(
        &self,
        key: SessionFilterKey,
        value: &str,
    ) -> Result<Vec<ActiveSession>, ApiError> {
        const OPERATION: &str = "DescribeSessions";
        let filter = SessionFilter::builder().key(key).value(value).build();
        let filter = filter.map_err(|error| ApiError::Settings(error.to_string()))?;
        let call = self.client.describe_sessions().state(SessionState::Active).filters(filter);
        let mut pages = call.into_paginator().send();
        let mut sessions = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| ApiError::from_sdk(OPERATION, &error))?;
            sessions.extend(page.sessions.unwrap_or_default().into_iter().map(active_session));
        }
        Ok(sessions)
    }

    /// Returns true if the agent of a target is connected.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn is_connected(&self, target: &str) -> Result<bool, ApiError> {
        let answer = self.client.get_connection_status().target(target).send().await;
        let answer = answer.map_err(|error| ApiError::from_sdk("GetConnectionStatus", &error))?;
        Ok(answer.status == Some(ConnectionStatus::Connected))
    }

    /// Returns the value of a parameter; `None` if there is no parameter of that name. A secret is not decrypted. The text is
    /// untrusted.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn parameter(&self, name: &str) -> Result<Option<String>, ApiError> {
        match self.client.get_parameter().name(name).send().await {
            Ok(answer) => Ok(answer.parameter.and_then(|parameter| parameter.value)),
            Err(error) => match self.failed("GetParameter", &error) {
                error if error.has_code("ParameterNotFound") => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Lists all managed nodes that pass the filter.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn describe_instance_information(
        &self,
        filter: Option<&NodeFilter>,
    ) -> Result<Vec<ManagedNode>, ApiError> {
        let mut call = self.client.describe_instance_information().max_results(PAGE);
        if let Some((key, value)) = filter.map(NodeFilter::key_and_value) {
            let filter = InstanceInformationStringFilter::builder().key(key).values(value).build();
            let invalid =
                |error: aws_smithy_types::error::operation::BuildError| ApiError::Settings(error.to_string());
            call = call.filters(filter.map_err(invalid)?);
        }
        let mut pages = call.into_paginator().send();
        let mut nodes = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failed("DescribeInstanceInformation", &error))?;
            nodes.extend(page.instance_information_list.unwrap_or_default().into_iter().filter_map(node));
        }
        Ok(nodes)
    }

    /// Starts a session. Makes one attempt: a retry could start a second session.
    ///
    /// # Errors
    /// [`ApiError`]. A session that was started without a stream has been terminated.
    pub async fn start_session(&self, request: &SessionRequest) -> Result<StartedSession, ApiError> {
        const OPERATION: &str = "StartSession";
        let parameters = (!request.parameters.is_empty()).then(|| request.parameters.clone());
        let call = self.client.start_session().target(&request.target).document_name(&request.document);
        let call = call.set_parameters(parameters).set_reason(request.reason.clone());
        let call = call.customize().config_override(once());
        let answer = call.send().await.map_err(|error| self.failed(OPERATION, &error))?;
        let session_id = answer.session_id.unwrap_or_default();
        match stream(answer.stream_url, answer.token_value) {
            Some(stream) if !session_id.is_empty() => return Ok(StartedSession { session_id, stream }),
            Some(_) | None if !session_id.is_empty() => self.terminate_session(&session_id).await?,
            Some(_) | None => {}
        }
        Err(ApiError::Service {
            operation: OPERATION,
            code: "IncompleteAnswer".to_owned(),
            message: "no session id, stream URL or token".to_owned(),
            status: 200,
        })
    }

    /// Requests a new stream of a session; returns `None` if the session has ended. Makes one attempt: the caller's
    /// resume policy retries.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn resume_session(
        &self,
        session_id: &str,
        known_url: &str,
    ) -> Result<Option<StreamAddress>, ApiError> {
        let call = self.client.resume_session().session_id(session_id).customize().config_override(once());
        let answer = call.send().await.map_err(|error| self.failed("ResumeSession", &error))?;
        let url = answer.stream_url.filter(|url| !url.is_empty()).unwrap_or_else(|| known_url.to_owned());
        Ok(stream(Some(url), answer.token_value))
    }

    /// Terminates a session. Succeeds if it has already ended. Makes one attempt.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn terminate_session(&self, session_id: &str) -> Result<(), ApiError> {
        let call = self.client.terminate_session().session_id(session_id).customize().config_override(once());
        match call.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed("TerminateSession", &error)),
        }
    }
}

fn node(item: InstanceInformation) -> Option<ManagedNode> {
    let platform = [item.platform_name, item.platform_version].into_iter().flatten().collect::<Vec<_>>();
    let system = item.platform_type.map(|platform| platform.as_str().to_owned());
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    Some(ManagedNode {
        id: item.instance_id?,
        name: filled(item.name),
        computer_name: filled(item.computer_name),
        address: filled(item.ip_address),
        platform: filled(Some(platform.join(" "))).or(system),
        agent_version: filled(item.agent_version),
        last_ping: item.last_ping_date_time.map(|time| time.secs()),
        ping: item.ping_status.map(|status| status.as_str().to_owned()),
    })
}

fn active_session(item: aws_sdk_ssm::types::Session) -> ActiveSession {
    ActiveSession {
        id: item.session_id.unwrap_or_default(),
        target: item.target.unwrap_or_default(),
        owner: item.owner.unwrap_or_default(),
        started: item.start_date.map(|time| time.secs()).unwrap_or_default(),
        document: item.document_name.unwrap_or_default(),
        reason: item.reason.filter(|reason| !reason.is_empty()),
    }
}

pub(super) fn once() -> Builder {
    aws_sdk_ssm::Config::builder().retry_config(RetryConfig::disabled())
}

fn stream(url: Option<String>, token: Option<String>) -> Option<StreamAddress> {
    let token = token.filter(|token| !token.is_empty())?;
    Some(StreamAddress { url: url?, token: Token::new(token) })
}
