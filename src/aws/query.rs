//! A client of EC2's query API. The SDK's crate for EC2 takes longer to build than all other crates together.
//!
//! This file encodes the request (a form) and decodes the response (XML). The SDK's orchestrator does the rest:
//! endpoints, signatures, retries with backoff, timeouts, clock skew. So EC2 behaves like the services with an SDK
//! client. A call needs a name, parameters, and a type that implements `Deserialize`; see `ec2.rs`.

use aws_config::BehaviorVersion;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_runtime::auth::{SigV4OperationSigningConfig, SigningOptions};
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_runtime::service_clock_skew::{ServiceClockSkewClassifier, ServiceClockSkewInterceptor};
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::TransientErrorClassifier;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::auth::{
    AuthSchemeOptionResolverParams, SharedAuthScheme, SharedAuthSchemeOptionResolver,
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::identity::{SharedIdentityCache, SharedIdentityResolver};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::error::metadata::{ErrorMetadata, ProvideErrorMetadata};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SigningName;
use aws_types::region::SigningRegion;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::{ATTEMPT_TIMEOUT, ATTEMPTS, ApiError};

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const USER_AGENT: &str = concat!("fumidai/", env!("CARGO_PKG_VERSION"));

/// A client for one service with the query protocol.
#[derive(Clone, Debug)]
pub(super) struct QueryClient {
    /// The service name in signatures, such as `ec2`.
    pub service: &'static str,
    /// The API version, such as `2016-11-15`.
    pub version: &'static str,
    /// The service's URL.
    pub endpoint: String,
    /// The region in signatures.
    pub region: String,
    /// The caller's credentials.
    pub credentials: Credentials,
    /// The HTTP client.
    pub http: SharedHttpClient,
}

/// The parameters of one call, beside `Action` and `Version`.
pub(super) type Parameters = Vec<(String, String)>;

impl QueryClient {
    /// Calls an action and deserializes the response.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn call<T>(&self, action: &'static str, parameters: Parameters) -> Result<T, ApiError>
    where
        T: DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
    {
        let body = form(action, self.version, &parameters);
        let operation = Operation::builder()
            .service_name(self.service)
            .operation_name(action)
            .behavior_version(BehaviorVersion::latest())
            .http_client(self.http.clone())
            .endpoint_url(&self.endpoint)
            .standard_retry(&RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).build())
            .interceptor(ServiceClockSkewInterceptor::new())
            .retry_classifier(TransientErrorClassifier::<QueryError>::new())
            .retry_classifier(AwsErrorCodeClassifier::<QueryError>::new())
            .retry_classifier(ServiceClockSkewClassifier::<QueryError>::new())
            .runtime_plugin(self.signing())
            .serializer(request)
            .deserializer(answer::<T>)
            .build();
        operation.invoke(body).await.map_err(|error| reduce(action, &error))
    }

    /// Configures SigV4 with the resolved credentials, without the SDK's identity cache.
    fn signing(&self) -> StaticRuntimePlugin {
        let mut signing_options = SigningOptions::default();
        signing_options.double_uri_encode = true;
        signing_options.normalize_uri_path = true;
        let mut layer = Layer::new("query-signing");
        layer.store_put(AuthSchemeOptionResolverParams::new(()));
        layer.store_put(SigV4OperationSigningConfig { signing_options, ..Default::default() });
        layer.store_put(SigningName::from_static(self.service));
        layer.store_put(SigningRegion::from(aws_config::Region::new(self.region.clone())));
        let mut components = RuntimeComponentsBuilder::new("query-signing");
        components.set_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(
            StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]),
        )));
        components.push_auth_scheme(SharedAuthScheme::new(SigV4AuthScheme::new()));
        components.set_identity_cache(Some(SharedIdentityCache::new(IdentityCache::no_cache())));
        let credentials = SharedCredentialsProvider::new(self.credentials.clone());
        components.set_identity_resolver(SCHEME_ID, SharedIdentityResolver::new(credentials));
        StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(components)
    }
}

/// An error response of EC2.
#[derive(Debug, Error)]
#[error("{code}")]
pub(super) struct QueryError {
    code: String,
    metadata: ErrorMetadata,
}

impl ProvideErrorMetadata for QueryError {
    fn meta(&self) -> &ErrorMetadata {
        &self.metadata
    }
}

impl QueryError {
    fn new(code: &str, message: &str) -> Self {
        // EC2's code for a wrong clock, which the SDK does not know, is replaced by the other services' code.
        let known = if code == "RequestExpired" { "RequestTimeTooSkewed" } else { code };
        let metadata = ErrorMetadata::builder().code(known).message(message).build();
        Self { code: code.to_owned(), metadata }
    }
}

fn reduce(action: &'static str, error: &SdkError<QueryError, HttpResponse>) -> ApiError {
    let reduced = ApiError::from_sdk(action, error);
    match (reduced, error) {
        (ApiError::Service { operation, message, status, .. }, SdkError::ServiceError(service)) => {
            ApiError::Service { operation, code: service.err().code.clone(), message, status }
        }
        (other, _) => other,
    }
}

fn form(action: &str, version: &str, parameters: &Parameters) -> String {
    let fixed = [("Action", action), ("Version", version)].into_iter();
    let given = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let pairs = fixed.chain(given).map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Percent-encodes all characters except RFC 3986's unreserved ones.
fn encode(text: &str) -> String {
    use std::fmt::Write;

    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes every write");
        }
    }
    encoded
}

fn request(body: String) -> Result<HttpRequest, BoxError> {
    let request = http::Request::builder()
        .method("POST")
        .uri("/")
        .header("content-type", FORM)
        .header("content-length", body.len())
        .header("user-agent", USER_AGENT)
        .body(SdkBody::from(body))?;
    Ok(HttpRequest::try_from(request)?)
}

fn answer<T: DeserializeOwned>(response: &HttpResponse) -> Result<T, OrchestratorError<QueryError>> {
    let text = response.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
    if !response.status().is_success() {
        return Err(OrchestratorError::operation(error_of(&text)));
    }
    quick_xml::de::from_str(&text).map_err(|error| {
        OrchestratorError::operation(QueryError::new("UnreadableAnswer", &error.to_string()))
    })
}

#[derive(Deserialize)]
struct ErrorAnswer {
    #[serde(rename = "Errors")]
    errors: ErrorList,
}

#[derive(Deserialize)]
struct ErrorList {
    #[serde(rename = "Error")]
    error: ErrorItem,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorItem {
    code: String,
    #[serde(default)]
    message: String,
}

pub(super) fn error_of(text: &str) -> QueryError {
    match quick_xml::de::from_str::<ErrorAnswer>(text) {
        Ok(ErrorAnswer { errors: ErrorList { error } }) => QueryError::new(&error.code, &error.message),
        Err(_) => QueryError::new("UnknownError", "no message"),
    }
}

/// Numbers the values of a list: `Name.1`, `Name.2`, ….
pub(super) fn numbered<'a>(name: &str, values: impl IntoIterator<Item = &'a String>) -> Parameters {
    let values = values.into_iter().enumerate();
    values.map(|(place, value)| (format!("{name}.{}", place + 1), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_percent_encoded() {
        let parameters = vec![("Filter.1.Value.1".to_owned(), "a b&c=é".to_owned())];
        assert_eq!(form("Do", "1", &parameters), "Action=Do&Version=1&Filter.1.Value.1=a%20b%26c%3D%C3%A9");
    }

    #[test]
    fn an_error_keeps_ec2s_code_beside_the_sdks() {
        let text = "<?xml version='1.0'?><Response><Errors><Error><Code>RequestExpired</Code>\
                    <Message>late</Message></Error></Errors><RequestID>1</RequestID></Response>";
        let error = error_of(text);
        assert_eq!((error.code.as_str(), error.code()), ("RequestExpired", Some("RequestTimeTooSkewed")));
        assert_eq!(error.message(), Some("late"));
        assert_eq!(error_of("{}").code, "UnknownError");
    }
}
