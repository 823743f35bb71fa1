//! Calls to services without an SDK client: EC2, whose crate takes longer to build than all other crates together, and
//! services of which one or two calls are needed.
//!
//! `query` and `json` encode the request and decode the response. The SDK's orchestrator does the rest: endpoints,
//! signatures, retries with backoff, timeouts, clock skew. So these services behave like those with an SDK client.

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
use thiserror::Error;

use super::{ATTEMPT_TIMEOUT, ATTEMPTS, ApiError};

/// Identifies the program to the service.
const USER_AGENT: &str = concat!("fumidai/", env!("CARGO_PKG_VERSION"));

/// A client for one service.
#[derive(Clone, Debug)]
pub(super) struct ServiceClient {
    /// The service name in signatures, such as `ec2`.
    pub service: &'static str,
    /// The service's URL.
    pub endpoint: String,
    /// The region in signatures.
    pub region: String,
    /// The caller's credentials.
    pub credentials: Credentials,
    /// The HTTP client.
    pub http: SharedHttpClient,
}

/// The request of one call.
#[derive(Debug)]
pub(super) struct Encoded {
    /// Its `content-type`.
    pub content_type: &'static str,
    /// The name of the operation for `x-amz-target`, if the protocol has it in a header.
    pub target: Option<String>,
    /// The body.
    pub body: String,
}

impl ServiceClient {
    /// Calls an action; `decode` reads the response.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn invoke<T>(
        &self,
        action: &'static str,
        request: Encoded,
        decode: fn(&HttpResponse) -> Result<T, CallError>,
    ) -> Result<T, ApiError>
    where
        T: std::fmt::Debug + Send + Sync + 'static,
    {
        let operation = Operation::builder()
            .service_name(self.service)
            .operation_name(action)
            .behavior_version(BehaviorVersion::latest())
            .http_client(self.http.clone())
            .endpoint_url(&self.endpoint)
            .standard_retry(&RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).build())
            .interceptor(ServiceClockSkewInterceptor::new())
            .retry_classifier(TransientErrorClassifier::<CallError>::new())
            .retry_classifier(AwsErrorCodeClassifier::<CallError>::new())
            .retry_classifier(ServiceClockSkewClassifier::<CallError>::new())
            .runtime_plugin(self.signing())
            .serializer(http_request)
            .deserializer(move |response: &HttpResponse| {
                decode(response).map_err(OrchestratorError::operation)
            })
            .build();
        operation.invoke(request).await.map_err(|error| reduce(action, &error))
    }

    /// Configures SigV4 with the resolved credentials, without the SDK's identity cache.
    fn signing(&self) -> StaticRuntimePlugin {
        let mut signing_options = SigningOptions::default();
        signing_options.double_uri_encode = true;
        signing_options.normalize_uri_path = true;
        let mut layer = Layer::new("signing");
        layer.store_put(AuthSchemeOptionResolverParams::new(()));
        layer.store_put(SigV4OperationSigningConfig { signing_options, ..Default::default() });
        layer.store_put(SigningName::from_static(self.service));
        layer.store_put(SigningRegion::from(aws_config::Region::new(self.region.clone())));
        let mut components = RuntimeComponentsBuilder::new("signing");
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

/// An error response of a service, or a response that cannot be read.
#[derive(Debug, Error)]
#[error("{code}")]
pub(super) struct CallError {
    /// The service's own code.
    pub code: String,
    metadata: ErrorMetadata,
}

impl ProvideErrorMetadata for CallError {
    fn meta(&self) -> &ErrorMetadata {
        &self.metadata
    }
}

impl CallError {
    /// Makes the error of a response.
    pub fn new(code: &str, message: &str) -> Self {
        // EC2's code for a wrong clock, which the SDK does not know, is replaced by the other services' code.
        let known = if code == "RequestExpired" { "RequestTimeTooSkewed" } else { code };
        let metadata = ErrorMetadata::builder().code(known).message(message).build();
        Self { code: code.to_owned(), metadata }
    }

    /// Makes the error of a response that cannot be read.
    pub fn unreadable(error: &impl std::fmt::Display) -> Self {
        Self::new("UnreadableAnswer", &error.to_string())
    }
}

fn reduce(action: &'static str, error: &SdkError<CallError, HttpResponse>) -> ApiError {
    let reduced = ApiError::from_sdk(action, error);
    match (reduced, error) {
        (ApiError::Service { operation, message, status, .. }, SdkError::ServiceError(service)) => {
            ApiError::Service { operation, code: service.err().code.clone(), message, status }
        }
        (other, _) => other,
    }
}

fn http_request(request: Encoded) -> Result<HttpRequest, BoxError> {
    let mut built = http::Request::builder()
        .method("POST")
        .uri("/")
        .header("content-type", request.content_type)
        .header("content-length", request.body.len())
        .header("user-agent", USER_AGENT);
    if let Some(target) = request.target {
        built = built.header("x-amz-target", target);
    }
    Ok(HttpRequest::try_from(built.body(SdkBody::from(request.body))?)?)
}

/// Returns the text of a response.
pub(super) fn text(response: &HttpResponse) -> std::borrow::Cow<'_, str> {
    response.body().bytes().map(String::from_utf8_lossy).unwrap_or_default()
}
