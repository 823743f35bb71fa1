//! Resolves the credentials of a [`CredentialSource`], with the SDK's providers.

use std::time::Duration;

use aws_config::credential_process::CredentialProcessProvider;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::login::LoginCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sso::SsoCredentialsProvider;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_config::{Region, imds};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;

use crate::clock;

use super::error::{ApiError, chain};
use super::files::words::quote;
use super::source::{Base, CredentialSource, Sso};
use super::variables::variable;

/// Time limit for one provider.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Resolves the first credentials of a source. `metadata_endpoint` is where the profile says that the instance metadata is.
pub(super) async fn resolve_base(
    source: &CredentialSource,
    environment: &ProviderConfig,
    metadata_endpoint: Option<&str>,
) -> Result<Credentials, ApiError> {
    let resolved = tokio::time::timeout(TIMEOUT, resolve(&source.base, environment, metadata_endpoint)).await;
    let resolved = resolved.unwrap_or_else(|_| {
        Err(ApiError::NoCredentials("the provider did not answer within 15 s".to_owned()))
    });
    resolved.map_err(|error| match (error, source.login()) {
        (ApiError::NoCredentials(cause), Some((profile, kind))) => {
            ApiError::NoLogin { profile: profile.to_owned(), kind, cause }
        }
        (error, _) => error,
    })
}

async fn resolve(
    base: &Base,
    environment: &ProviderConfig,
    metadata_endpoint: Option<&str>,
) -> Result<Credentials, ApiError> {
    match base {
        Base::Environment(keys) | Base::Keys { keys, .. } => Ok(keys.clone()),
        Base::Process { words, .. } => {
            provided(CredentialProcessProvider::new(command(words)).provide_credentials().await)
        }
        Base::Sso(sso) => provided(sso_provider(sso, environment).provide_credentials().await),
        Base::Login { session, .. } => {
            let provider = LoginCredentialsProvider::builder(session).configure(environment).build();
            provided(provider.provide_credentials().await)
        }
        Base::WebIdentity { file, role_arn, session_name } => {
            let setting = StaticConfiguration {
                web_identity_token_file: file.clone(),
                role_arn: role_arn.clone(),
                session_name: session_name.clone().unwrap_or_else(default_session_name),
            };
            let provider = WebIdentityTokenCredentialsProvider::builder().configure(environment);
            provided(provider.static_configuration(setting).build().provide_credentials().await)
        }
        Base::Container => {
            let provider = EcsCredentialsProvider::builder().configure(environment).build();
            provided(provider.provide_credentials().await)
        }
        Base::Metadata => provided(metadata(environment, metadata_endpoint).provide_credentials().await),
        Base::Ambient { profile, missing } => {
            ambient(profile, *missing, environment, metadata_endpoint).await
        }
    }
}

/// Asks the container, if the process runs in one, else the instance metadata.
async fn ambient(
    profile: &str,
    missing: Option<&'static str>,
    environment: &ProviderConfig,
    metadata_endpoint: Option<&str>,
) -> Result<Credentials, ApiError> {
    let container = EcsCredentialsProvider::builder().configure(environment).build();
    match container.provide_credentials().await {
        Err(CredentialsError::CredentialsNotLoaded(_)) => {}
        resolved => return provided(resolved),
    }
    let resolved = metadata(environment, metadata_endpoint).provide_credentials().await;
    resolved.map_err(|error| {
        tracing::debug!(cause = chain(&error), "the instance metadata has no credentials");
        ApiError::NoneConfigured { profile: profile.to_owned(), missing }
    })
}

/// Returns the provider of the instance metadata; a variable overrides the profile.
fn metadata(environment: &ProviderConfig, endpoint: Option<&str>) -> ImdsCredentialsProvider {
    let provider = ImdsCredentialsProvider::builder().configure(environment);
    let endpoint = endpoint.filter(|_| variable("AWS_EC2_METADATA_SERVICE_ENDPOINT").is_none());
    let client = endpoint.and_then(|url| imds::Client::builder().configure(environment).endpoint(url).ok());
    match client {
        Some(client) => provider.imds_client(client.build()).build(),
        None => provider.build(),
    }
}

fn sso_provider(sso: &Sso, environment: &ProviderConfig) -> SsoCredentialsProvider {
    let mut provider = SsoCredentialsProvider::builder()
        .configure(environment)
        .account_id(&sso.account)
        .role_name(&sso.role)
        .start_url(&sso.start_url)
        .region(Region::new(sso.region.clone()));
    provider.set_session_name(sso.session.clone());
    provider.build()
}

/// Returns the words as a command for the SDK, which passes it to a shell. The AWS CLI runs it without one.
fn command(words: &[String]) -> String {
    if cfg!(windows) {
        return words.concat();
    }
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

fn provided(resolved: Result<Credentials, CredentialsError>) -> Result<Credentials, ApiError> {
    resolved.map_err(|error| ApiError::NoCredentials(chain(&error)))
}

fn default_session_name() -> String {
    let now = clock::wall().duration_since(std::time::SystemTime::UNIX_EPOCH);
    format!("fumidai-{}", now.map_or(0, |time| time.as_secs()))
}
