//! SSM's calls: start, resume and end a session; which machines have an agent.

use std::collections::HashMap;
use std::fmt;

use aws_sdk_ssm::config::Builder;
use aws_sdk_ssm::types::{InstanceInformation, InstanceInformationStringFilter};
use aws_smithy_types::retry::RetryConfig;

use super::{Access, ApiError};

/// What to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// The instance, managed node or container.
    pub target: String,
    /// The session document.
    pub document: String,
    /// The document's parameters.
    pub parameters: HashMap<String, Vec<String>>,
    /// Why, for the audit trail.
    pub reason: Option<String>,
}

/// A secret that opens one websocket; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Keeps a secret.
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Where a session's stream is, and what opens it.
#[derive(Clone, PartialEq, Eq)]
pub struct Stream {
    /// The URL, opaque; its query is not for logs.
    pub url: String,
    /// The token.
    pub token: Token,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream(..)")
    }
}

/// A session that has been started.
#[derive(Clone, Debug)]
pub struct Started {
    /// Its name at the service.
    pub session_id: String,
    /// Its stream.
    pub stream: Stream,
}

/// The most that DescribeInstanceInformation gives at once (SSM API reference).
const PAGE: i32 = 50;

/// A machine whose agent has registered, as SSM tells of it; every text may be somebody else's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManagedNode {
    /// Its id, `i-…` or `mi-…`.
    pub id: String,
    /// The name that it was given when it was registered.
    pub name: Option<String>,
    /// Its host name, as its agent reports it.
    pub computer_name: Option<String>,
    /// Its address, as its agent reports it.
    pub address: Option<String>,
    /// Its system, as `Amazon Linux 2023`.
    pub platform: Option<String>,
    /// The agent's version.
    pub agent_version: Option<String>,
    /// `Online`, `ConnectionLost` or `Inactive`, in SSM's words.
    pub ping: Option<String>,
}

/// What SSM is to leave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeFilter {
    /// All but machines that were registered by activation, `mi-…`.
    Activated,
    /// All without that tag.
    Tag {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
}

impl NodeFilter {
    fn key_and_value(&self) -> (String, &str) {
        match self {
            Self::Activated => ("ResourceType".to_owned(), "ManagedInstance"),
            Self::Tag { key, value } => (format!("tag:{key}"), value),
        }
    }
}

impl Access {
    /// Lists the machines with an agent that pass the filter, page after page.
    ///
    /// # Errors
    /// [`ApiError`]; throttling and server faults have been retried already.
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
            let page = page.map_err(|error| ApiError::from_sdk("DescribeInstanceInformation", &error))?;
            nodes.extend(page.instance_information_list.unwrap_or_default().into_iter().filter_map(node));
        }
        Ok(nodes)
    }

    /// Starts a session. One attempt: a repeated call may start a second session.
    ///
    /// # Errors
    /// [`ApiError`]; a session that was started without a stream has been ended.
    pub async fn start_session(&self, request: &SessionRequest) -> Result<Started, ApiError> {
        const OPERATION: &str = "StartSession";
        let parameters = (!request.parameters.is_empty()).then(|| request.parameters.clone());
        let call = self.client.start_session().target(&request.target).document_name(&request.document);
        let call = call.set_parameters(parameters).set_reason(request.reason.clone());
        let call = call.customize().config_override(once());
        let answer = call.send().await.map_err(|error| ApiError::from_sdk(OPERATION, &error))?;
        let session_id = answer.session_id.unwrap_or_default();
        match stream(answer.stream_url, answer.token_value) {
            Some(stream) if !session_id.is_empty() => return Ok(Started { session_id, stream }),
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

    /// Asks for a new stream of a session; `None` if the session has ended. One attempt: the caller has a policy.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn resume_session(
        &self,
        session_id: &str,
        known_url: &str,
    ) -> Result<Option<Stream>, ApiError> {
        let call = self.client.resume_session().session_id(session_id).customize().config_override(once());
        let answer = call.send().await.map_err(|error| ApiError::from_sdk("ResumeSession", &error))?;
        let url = answer.stream_url.filter(|url| !url.is_empty()).unwrap_or_else(|| known_url.to_owned());
        Ok(stream(Some(url), answer.token_value))
    }

    /// Ends a session; one that has ended already is no error. One attempt.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn terminate_session(&self, session_id: &str) -> Result<(), ApiError> {
        let call = self.client.terminate_session().session_id(session_id).customize().config_override(once());
        match call.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(ApiError::from_sdk("TerminateSession", &error)),
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
        ping: item.ping_status.map(|status| status.as_str().to_owned()),
    })
}

fn once() -> Builder {
    aws_sdk_ssm::Config::builder().retry_config(RetryConfig::disabled())
}

fn stream(url: Option<String>, token: Option<String>) -> Option<Stream> {
    let token = token.filter(|token| !token.is_empty())?;
    Some(Stream { url: url?, token: Token::new(token) })
}
