//! The AWS APIs: credentials, region and endpoints by the SDK's rules, and the calls of SSM, EC2, ECS and STS.
//!
//! [`Aws`] lives as long as the process. [`Access`] holds freshly resolved credentials for one attempt (a call and
//! the dial that follows it). It is not reused, since a provider or client returns cached credentials even after the
//! user has logged in again.

mod capped;
mod ec2;
mod ecs;
mod endpoint;
mod error;
#[cfg(feature = "sim")]
pub(crate) mod fuzz;
mod mfa;
mod mfa_prompt;
mod query;
mod ssm;
mod sts;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider, ProfileSet};
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector, proxy::ProxyConfig};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::os_shim_internal::Env;
use tokio::sync::Mutex;

use crate::transport::{Bundle, Roots, Signer, StreamHosts};

use self::mfa::{AssumeContext, Roles};

pub use self::ec2::{Filter, Instance};
pub use self::ecs::{Container, Task};
pub use self::error::{ApiError, Meaning};
pub use self::mfa_prompt::{AskCode, MfaPrompt, NoCode};
pub use self::ssm::{ManagedNode, NodeFilter, SessionRequest, StartedSession, StreamAddress, Token};
pub use self::sts::{Caller, CredentialsSource, Place};

/// Time limit for one attempt of a call.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// Attempts of a call while the service throttles or fails.
const ATTEMPTS: u32 = 4;
/// The profile that is used if none is named.
const DEFAULT_PROFILE: &str = "default";

/// The user's choices. The SDK reads everything else from environment and profile.
#[derive(Clone, Debug, Default)]
pub struct AwsOptions {
    /// The profile's name.
    pub profile: Option<String>,
    /// Whether the profile overrides access keys in the environment, as the AWS CLI's `--profile` does.
    pub profile_overrides_keys: bool,
    /// The region's name.
    pub region: Option<String>,
    /// The endpoint of the SSM API.
    pub ssm_endpoint: Option<String>,
    /// The endpoint of the EC2 API.
    pub ec2_endpoint: Option<String>,
    /// The endpoint of the ECS API.
    pub ecs_endpoint: Option<String>,
    /// The endpoint of the STS API, for the caller's identity.
    pub sts_endpoint: Option<String>,
    /// The endpoint of streams (`AWS_ENDPOINT_URL_SSMMESSAGES`): a host that stream URLs may name.
    pub stream_endpoint: Option<String>,
    /// The endpoint of all APIs without a separate setting.
    pub any_endpoint: Option<String>,
    /// A PEM file of additional root certificates.
    pub ca_bundle: Option<PathBuf>,
    /// The folder of the AWS CLI's cache of role credentials.
    pub cli_cache: Option<PathBuf>,
}

/// Access to AWS for the life of the process.
#[derive(Debug)]
pub struct Aws {
    options: AwsOptions,
    roots: Arc<Roots>,
    http: SharedHttpClient,
    mfa_prompt: MfaPrompt,
    /// Whether credentials have been resolved before. Only the first time may ask for a code: later, ssh uses the
    /// terminal.
    has_resolved: AtomicBool,
    /// The credentials of a role that was assumed with MFA, until they expire.
    assumed: Mutex<Option<(Roles, Credentials)>>,
}

/// Freshly resolved credentials, region and endpoints.
#[derive(Debug)]
pub struct Access {
    client: aws_sdk_ssm::Client,
    config: SdkConfig,
    http: SharedHttpClient,
    ec2_endpoint: Result<String, ApiError>,
    ecs_endpoint: Option<String>,
    sts_endpoint: Option<String>,
    signer: Signer,
    hosts: StreamHosts,
}

impl Aws {
    /// Reads the CA bundle and creates the HTTP client. Sends nothing.
    ///
    /// # Errors
    /// [`ApiError::Settings`] if the bundle cannot be read.
    pub async fn new(mut options: AwsOptions) -> Result<Self, ApiError> {
        if options.profile.is_none() && is_empty("AWS_PROFILE") {
            options.profile = Some(DEFAULT_PROFILE.to_owned());
        }
        let from_profile = profile_bundle(options.profile.as_deref()).await?;
        let bundle = options.ca_bundle.clone().or(from_profile);
        let bundle = bundle.map(|path| read_bundle(&path)).transpose()?;
        let http = http_client(bundle.as_ref());
        let roots = Arc::new(Roots::new(bundle));
        let (mfa_prompt, has_resolved, assumed) = Default::default();
        Ok(Self { options, roots, http, mfa_prompt, has_resolved, assumed })
    }

    /// Sets the prompt for MFA codes.
    #[must_use]
    pub fn with_mfa_prompt(self, mfa_prompt: MfaPrompt) -> Self {
        Self { mfa_prompt, ..self }
    }

    /// Returns the prompt for MFA codes.
    pub fn mfa_prompt(&self) -> &MfaPrompt {
        &self.mfa_prompt
    }

    /// Returns the trusted roots for stream connections.
    pub fn roots(&self) -> Arc<Roots> {
        self.roots.clone()
    }

    /// Resolves only the region.
    pub async fn region(&self) -> Option<String> {
        let config = self.load().await;
        config.region().map(|region| region.as_ref().to_owned()).filter(|region| !region.is_empty())
    }

    /// Resolves region, endpoints and credentials.
    ///
    /// # Errors
    /// [`ApiError::NoRegion`], or any error of the credentials.
    pub async fn access(&self) -> Result<Access, ApiError> {
        let config = self.load().await;
        let region = config.region().map(|region| region.as_ref().to_owned());
        let region = region.filter(|region| !region.is_empty()).ok_or(ApiError::NoRegion)?;
        let credentials = self.credentials(&config).await?;
        let provider = SharedCredentialsProvider::new(credentials.clone());
        let config = config.into_builder().credentials_provider(provider).build();
        let hosts = self.stream_hosts(&config, &region).await;
        let mut client = aws_sdk_ssm::config::Builder::from(&config);
        if let Some(url) = &self.options.ssm_endpoint {
            client = client.endpoint_url(url);
        }
        let client = aws_sdk_ssm::Client::from_conf(client.build());
        let ec2_endpoint = match &self.options.ec2_endpoint {
            Some(url) => Ok(url.clone()),
            None => endpoint::of_ec2(&config, &region).await,
        };
        Ok(Access {
            client,
            config,
            http: self.http.clone(),
            ec2_endpoint,
            ecs_endpoint: self.options.ecs_endpoint.clone(),
            sts_endpoint: self.options.sts_endpoint.clone(),
            signer: Signer { credentials, region },
            hosts,
        })
    }

    async fn load(&self) -> SdkConfig {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.http.clone())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts);
        if let Some(profile) = &self.options.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = &self.options.region {
            loader = loader.region(Region::new(region.clone()));
        } else if is_empty("AWS_REGION") || is_empty("AWS_DEFAULT_REGION") {
            loader = loader.region(region_without_variables(self.options.profile.as_deref()));
        }
        let config = loader.load().await;
        match self.options.profile.as_ref().filter(|_| self.options.profile_overrides_keys) {
            Some(profile) => with_profile_first(config, profile),
            None => config,
        }
    }

    /// Resolves the credentials with the SDK, or with [`Roles`] if a role requires MFA.
    async fn credentials(&self, config: &SdkConfig) -> Result<Credentials, ApiError> {
        let may_ask = !self.has_resolved.swap(true, Ordering::Relaxed);
        let profiles =
            if self.uses_environment_keys() { None } else { profiles(self.options.profile.as_deref()).await };
        let Some(profiles) = profiles else { return resolve_credentials(config).await };
        let name = self.options.profile.as_deref().unwrap_or(profiles.selected_profile());
        if let Some(roles) = Roles::with_mfa(&profiles, name) {
            return self.assume(roles, &profiles, config, may_ask).await;
        }
        let resolved = resolve_credentials(config).await;
        resolved.map_err(|error| match (error, mfa::sso_profile(&profiles, name)) {
            (ApiError::NoCredentials(cause), Some(profile)) => {
                ApiError::NoLogin { profile: profile.to_owned(), cause }
            }
            (error, _) => error,
        })
    }

    async fn assume(
        &self,
        roles: Roles,
        profiles: &ProfileSet,
        config: &SdkConfig,
        may_ask: bool,
    ) -> Result<Credentials, ApiError> {
        let mut assumed = self.assumed.lock().await;
        if let Some((_, known)) =
            assumed.as_ref().filter(|(same, known)| *same == roles && mfa::is_fresh(known))
        {
            return Ok(known.clone());
        }
        let context = AssumeContext {
            profiles,
            config,
            provider: provider_config(config),
            sts_endpoint: endpoint::setting(config, "STS")
                .or_else(|| config.endpoint_url().map(str::to_owned))
                .or_else(|| self.options.any_endpoint.clone()),
            cache: self.options.cli_cache.as_deref(),
            mfa_prompt: may_ask.then_some(&self.mfa_prompt),
        };
        let credentials = roles.assume(&context).await?;
        *assumed = Some((roles, credentials.clone()));
        Ok(credentials)
    }

    /// Returns true if access keys in the environment override the profile.
    fn uses_environment_keys(&self) -> bool {
        let is_set = |name| Env::real().get(name).is_ok_and(|value| !value.trim().is_empty());
        !self.options.profile_overrides_keys && is_set("AWS_ACCESS_KEY_ID") && is_set("AWS_SECRET_ACCESS_KEY")
    }

    /// Returns the hosts that a stream URL may name.
    async fn stream_hosts(&self, config: &SdkConfig, region: &str) -> StreamHosts {
        let mut suffixes = Vec::new();
        for dual_stack in [false, true] {
            suffixes.extend(endpoint::suffix(region, dual_stack).await);
        }
        let chosen = self.options.ssm_endpoint.clone();
        let ssm = chosen
            .or_else(|| endpoint::setting(config, "SSM"))
            .or_else(|| config.endpoint_url().map(str::to_owned));
        let streams =
            self.options.stream_endpoint.clone().or_else(|| endpoint::setting(config, "SSMMESSAGES"));
        let configured = ssm.into_iter().chain(streams).collect();
        StreamHosts { region: region.to_owned(), suffixes, configured }
    }
}

impl Access {
    /// Returns the region of the calls.
    pub fn region(&self) -> &str {
        &self.signer.region
    }

    /// Returns the id of the signing key. Caches are kept for each key, since another key may see other instances.
    pub fn access_key_id(&self) -> &str {
        self.signer.credentials.access_key_id()
    }

    /// Returns the signer for websocket upgrades.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Returns the hosts that a stream URL may name.
    pub fn stream_hosts(&self) -> &StreamHosts {
        &self.hosts
    }
}

/// Reads credentials only from the profile, and ignores access keys in the environment.
fn with_profile_first(config: SdkConfig, profile: &str) -> SdkConfig {
    let provider = ProfileFileCredentialsProvider::builder().configure(&provider_config(&config));
    let provider = provider.profile_name(profile).build();
    config.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build()
}

/// Returns the configuration that the SDK gives to its own providers.
fn provider_config(config: &SdkConfig) -> ProviderConfig {
    let environment = ProviderConfig::default()
        .with_region(config.region().cloned())
        .with_use_fips(config.use_fips())
        .with_use_dual_stack(config.use_dual_stack());
    match config.http_client() {
        Some(http) => environment.with_http_client(http),
        None => environment,
    }
}

/// Creates the HTTP client. It reads proxies from the environment, by the same rules as the websocket.
fn http_client(bundle: Option<&Bundle>) -> SharedHttpClient {
    let mut trust = TrustStore::default();
    if let Some(bundle) = bundle {
        trust.add_pem_certificate(bundle.pem());
    }
    let tls = TlsContext::builder().with_trust_store(trust).build().expect("any trust store makes a context");
    let client = Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector =
            Connector::builder().proxy_config(ProxyConfig::from_env()).enable_tcp_nodelay(true);
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(tls.clone()).build()
    });
    capped::capped(client)
}

/// Returns true if a variable is set and empty. The SDK uses the empty value, the AWS CLI ignores it.
fn is_empty(variable: &str) -> bool {
    Env::real().get(variable).is_ok_and(|value| value.is_empty())
}

/// Returns the SDK's chain of regions without the environment, in which one is empty.
fn region_without_variables(profile: Option<&str>) -> RegionProviderChain {
    let mut of_profile = ProfileFileRegionProvider::builder();
    if let Some(profile) = profile {
        of_profile = of_profile.profile_name(profile);
    }
    RegionProviderChain::first_try(of_profile.build()).or_else(ImdsRegionProvider::builder().build())
}

async fn resolve_credentials(config: &SdkConfig) -> Result<Credentials, ApiError> {
    let missing = || ApiError::NoCredentials("no provider is configured".to_owned());
    let provider = config.credentials_provider().ok_or_else(missing)?;
    let resolved = tokio::time::timeout(ATTEMPT_TIMEOUT, provider.provide_credentials()).await;
    let resolved = resolved
        .map_err(|_| ApiError::NoCredentials("the provider did not answer within 15 s".to_owned()))?;
    resolved.map_err(|error| {
        let whole = error::chain(&error);
        if matches!(error, CredentialsError::CredentialsNotLoaded(_)) {
            tracing::debug!(whole, "no credentials");
            return ApiError::NoCredentials("none in environment, profile, container or metadata".to_owned());
        }
        ApiError::NoCredentials(whole)
    })
}

/// Reads the profile's `ca_bundle`, which the SDK ignores. A named profile must exist.
async fn profile_bundle(profile: Option<&str>) -> Result<Option<PathBuf>, ApiError> {
    let profiles = read_profiles(profile).await.map_err(|error| ApiError::Settings(error::chain(&error)))?;
    match profile {
        Some(name) if name != DEFAULT_PROFILE && profiles.get_profile(name).is_none() => {
            Err(ApiError::NoProfile(name.to_owned()))
        }
        Some(_) | None => Ok(profiles.get("ca_bundle").map(PathBuf::from)),
    }
}

/// Reads the AWS config files; ignores errors, which [`profile_bundle`] has reported at the start.
async fn profiles(profile: Option<&str>) -> Option<ProfileSet> {
    read_profiles(profile).await.ok()
}

async fn read_profiles(
    profile: Option<&str>,
) -> Result<ProfileSet, aws_config::profile::ProfileFileLoadError> {
    use aws_types::os_shim_internal::Fs;
    let files = aws_runtime::env_config::file::EnvConfigFiles::default();
    let profile = profile.map(|name| name.to_owned().into());
    aws_config::profile::load(&Fs::real(), &Env::real(), &files, profile).await
}

fn read_bundle(path: &std::path::Path) -> Result<Bundle, ApiError> {
    let refused = |error: &dyn std::fmt::Display| {
        ApiError::Settings(format!("cannot use the CA bundle `{}`: {error}", path.display()))
    };
    let pem = std::fs::read(path).map_err(|error| refused(&error))?;
    Bundle::parse(pem).map_err(|error| refused(&error))
}
