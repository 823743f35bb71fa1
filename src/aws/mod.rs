//! The control plane: credentials, region and endpoints by the SDK's own rules, and the calls of SSM, EC2 and ECS.
//!
//! [`Aws`] lives as long as the process; an [`Access`] is one fresh look at the user's credentials and serves one
//! attempt (a call and the dial that follows it), since a provider or client that is kept returns what it cached
//! although the user has logged in again meanwhile.

mod ec2;
mod ecs;
mod endpoint;
mod error;
mod human;
mod mfa;
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

use self::mfa::{Means, Roles};

pub use self::ec2::{Filter, Instance};
pub use self::ecs::{Container, Task};
pub use self::error::{ApiError, Meaning};
pub use self::human::{AskCode, Human, NoCode};
pub use self::ssm::{ManagedNode, NodeFilter, SessionRequest, Started, Stream, Token};
pub use self::sts::Caller;

/// How long one attempt of a call may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a call is tried while the service throttles or fails.
const ATTEMPTS: u32 = 4;
/// The profile that is used if none is named.
const DEFAULT_PROFILE: &str = "default";

/// What the user chose; everything else comes from the SDK's chain of environment and profile.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The profile.
    pub profile: Option<String>,
    /// The profile overrides keys in the environment, as the AWS CLI's `--profile` does.
    pub profile_goes_first: bool,
    /// The region.
    pub region: Option<String>,
    /// The endpoint of the SSM API.
    pub ssm_endpoint: Option<String>,
    /// The endpoint of the EC2 API.
    pub ec2_endpoint: Option<String>,
    /// The endpoint of the ECS API.
    pub ecs_endpoint: Option<String>,
    /// The endpoint of the STS API, for the caller's identity.
    pub sts_endpoint: Option<String>,
    /// The endpoint of streams, `AWS_ENDPOINT_URL_SSMMESSAGES`: a host that may be dialled.
    pub stream_endpoint: Option<String>,
    /// The endpoint of APIs that have none of their own.
    pub any_endpoint: Option<String>,
    /// Further root certificates, PEM.
    pub ca_bundle: Option<PathBuf>,
    /// Where the AWS CLI keeps the credentials of roles.
    pub cli_cache: Option<PathBuf>,
}

/// The way to AWS for the life of a process.
#[derive(Debug)]
pub struct Aws {
    settings: Settings,
    roots: Arc<Roots>,
    http: SharedHttpClient,
    human: Human,
    /// Only the first look may ask: later ssh has the terminal.
    has_looked: AtomicBool,
    /// What was assumed with a second factor, for as long as it lasts.
    assumed: Mutex<Option<(Roles, Credentials)>>,
}

/// One fresh look at credentials, region and endpoints.
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
    /// Reads the CA bundle and sets up the HTTP client; nothing is sent yet.
    ///
    /// # Errors
    /// [`ApiError::Settings`] when the bundle cannot be read.
    pub async fn new(mut settings: Settings) -> Result<Self, ApiError> {
        if settings.profile.is_none() && is_empty("AWS_PROFILE") {
            settings.profile = Some(DEFAULT_PROFILE.to_owned());
        }
        let of_profile = profile_bundle(settings.profile.as_deref()).await?;
        let bundle = settings.ca_bundle.clone().or(of_profile);
        let bundle = bundle.map(|path| read_bundle(&path)).transpose()?;
        let http = http_client(bundle.as_ref());
        let roots = Arc::new(Roots::new(bundle));
        let (human, has_looked, assumed) = Default::default();
        Ok(Self { settings, roots, http, human, has_looked, assumed })
    }

    /// Gives somebody to ask for the code of a second factor.
    #[must_use]
    pub fn with_human(self, human: Human) -> Self {
        Self { human, ..self }
    }

    /// Whoever is asked.
    pub fn human(&self) -> &Human {
        &self.human
    }

    /// The roots that streams are to trust.
    pub fn roots(&self) -> Arc<Roots> {
        self.roots.clone()
    }

    /// Resolves the region alone.
    pub async fn region(&self) -> Option<String> {
        let config = self.load().await;
        config.region().map(|region| region.as_ref().to_owned()).filter(|region| !region.is_empty())
    }

    /// Resolves region, endpoints and credentials anew.
    ///
    /// # Errors
    /// [`ApiError::NoRegion`] or [`ApiError::NoCredentials`].
    pub async fn access(&self) -> Result<Access, ApiError> {
        let config = self.load().await;
        let region = config.region().map(|region| region.as_ref().to_owned());
        let region = region.filter(|region| !region.is_empty()).ok_or(ApiError::NoRegion)?;
        let credentials = self.credentials(&config).await?;
        let provider = SharedCredentialsProvider::new(credentials.clone());
        let config = config.into_builder().credentials_provider(provider).build();
        let hosts = self.stream_hosts(&config, &region).await;
        let mut client = aws_sdk_ssm::config::Builder::from(&config);
        if let Some(url) = &self.settings.ssm_endpoint {
            client = client.endpoint_url(url);
        }
        let client = aws_sdk_ssm::Client::from_conf(client.build());
        let ec2_endpoint = match &self.settings.ec2_endpoint {
            Some(url) => Ok(url.clone()),
            None => endpoint::of_ec2(&config, &region).await,
        };
        Ok(Access {
            client,
            config,
            http: self.http.clone(),
            ec2_endpoint,
            ecs_endpoint: self.settings.ecs_endpoint.clone(),
            sts_endpoint: self.settings.sts_endpoint.clone(),
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
        if let Some(profile) = &self.settings.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = &self.settings.region {
            loader = loader.region(Region::new(region.clone()));
        } else if is_empty("AWS_REGION") || is_empty("AWS_DEFAULT_REGION") {
            loader = loader.region(region_without_variables(self.settings.profile.as_deref()));
        }
        let config = loader.load().await;
        match self.settings.profile.as_ref().filter(|_| self.settings.profile_goes_first) {
            Some(profile) => with_profile_first(config, profile),
            None => config,
        }
    }

    /// Resolves the credentials: by the SDK, unless a role asks for a second factor.
    async fn credentials(&self, config: &SdkConfig) -> Result<Credentials, ApiError> {
        let may_ask = !self.has_looked.swap(true, Ordering::Relaxed);
        let profiles =
            if self.keys_go_first() { None } else { profiles(self.settings.profile.as_deref()).await };
        let Some(profiles) = profiles else { return resolve_credentials(config).await };
        let name = self.settings.profile.as_deref().unwrap_or(profiles.selected_profile());
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
        let means = Means {
            profiles,
            config,
            provider: provider_config(config),
            sts_endpoint: endpoint::setting(config, "STS")
                .or_else(|| config.endpoint_url().map(str::to_owned))
                .or_else(|| self.settings.any_endpoint.clone()),
            cache: self.settings.cli_cache.as_deref(),
            human: may_ask.then_some(&self.human),
        };
        let credentials = roles.assume(&means).await?;
        *assumed = Some((roles, credentials.clone()));
        Ok(credentials)
    }

    /// Returns true if keys in the environment are used and not the profile's credentials.
    fn keys_go_first(&self) -> bool {
        let is_set = |name| Env::real().get(name).is_ok_and(|value| !value.trim().is_empty());
        !self.settings.profile_goes_first && is_set("AWS_ACCESS_KEY_ID") && is_set("AWS_SECRET_ACCESS_KEY")
    }

    /// Which hosts a stream URL may name.
    async fn stream_hosts(&self, config: &SdkConfig, region: &str) -> StreamHosts {
        let mut suffixes = Vec::new();
        for dual_stack in [false, true] {
            suffixes.extend(endpoint::suffix(region, dual_stack).await);
        }
        let chosen = self.settings.ssm_endpoint.clone();
        let ssm = chosen
            .or_else(|| endpoint::setting(config, "SSM"))
            .or_else(|| config.endpoint_url().map(str::to_owned));
        let streams =
            self.settings.stream_endpoint.clone().or_else(|| endpoint::setting(config, "SSMMESSAGES"));
        let configured = ssm.into_iter().chain(streams).collect();
        StreamHosts { region: region.to_owned(), suffixes, configured }
    }
}

impl Access {
    /// The region that calls go to.
    pub fn region(&self) -> &str {
        &self.signer.region
    }

    /// The id of the key that signs: who has another one may see other things.
    pub fn access_key_id(&self) -> &str {
        self.signer.credentials.access_key_id()
    }

    /// The identity to sign an upgrade with.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The hosts that a stream URL may name.
    pub fn stream_hosts(&self) -> &StreamHosts {
        &self.hosts
    }
}

/// Returns true if a variable is set and empty: the SDK takes it for a value, the AWS CLI for not set.
fn is_empty(variable: &str) -> bool {
    Env::real().get(variable).is_ok_and(|value| value.is_empty())
}

/// The SDK's chain of regions without the environment, which has an empty one.
fn region_without_variables(profile: Option<&str>) -> RegionProviderChain {
    let mut of_profile = ProfileFileRegionProvider::builder();
    if let Some(profile) = profile {
        of_profile = of_profile.profile_name(profile);
    }
    RegionProviderChain::first_try(of_profile.build()).or_else(ImdsRegionProvider::builder().build())
}

/// Takes credentials from the profile alone, whatever keys the environment has.
fn with_profile_first(config: SdkConfig, profile: &str) -> SdkConfig {
    let provider = ProfileFileCredentialsProvider::builder().configure(&provider_config(&config));
    let provider = provider.profile_name(profile).build();
    config.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build()
}

/// What a provider that we make ourselves must be told, as the SDK tells its own.
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

/// The proxies are the environment's, by the same rules as the websocket's.
fn http_client(bundle: Option<&Bundle>) -> SharedHttpClient {
    let mut trust = TrustStore::default();
    if let Some(bundle) = bundle {
        trust.add_pem_certificate(bundle.pem());
    }
    let tls = TlsContext::builder().with_trust_store(trust).build().expect("any trust store makes a context");
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector =
            Connector::builder().proxy_config(ProxyConfig::from_env()).enable_tcp_nodelay(true);
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(tls.clone()).build()
    })
}

async fn resolve_credentials(config: &SdkConfig) -> Result<Credentials, ApiError> {
    let missing = || ApiError::NoCredentials("no provider is configured".to_owned());
    let provider = config.credentials_provider().ok_or_else(missing)?;
    let resolved = tokio::time::timeout(ATTEMPT_TIMEOUT, provider.provide_credentials()).await;
    let resolved =
        resolved.map_err(|_| ApiError::NoCredentials("their provider did not answer in 15 s".to_owned()))?;
    resolved.map_err(|error| {
        let whole = error::chain(&error);
        if matches!(error, CredentialsError::CredentialsNotLoaded(_)) {
            tracing::debug!(whole, "no credentials");
            return ApiError::NoCredentials("none in environment, profile, container or metadata".to_owned());
        }
        ApiError::NoCredentials(whole)
    })
}

/// The `ca_bundle` of the profile, which the SDK does not read; a profile that was named must exist.
async fn profile_bundle(profile: Option<&str>) -> Result<Option<PathBuf>, ApiError> {
    let profiles = read_profiles(profile).await.map_err(|error| ApiError::Settings(error::chain(&error)))?;
    match profile {
        Some(name) if name != DEFAULT_PROFILE && profiles.get_profile(name).is_none() => {
            Err(ApiError::NoProfile(name.to_owned()))
        }
        Some(_) | None => Ok(profiles.get("ca_bundle").map(PathBuf::from)),
    }
}

/// The AWS config files, as they are now; what is wrong with them has been told before.
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
