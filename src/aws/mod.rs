//! The AWS APIs: credentials, region and endpoints by the SDK's rules, and the calls of SSM, EC2, ECS, Step
//! Functions and STS.
//!
//! [`Aws`] lives as long as the process. [`Access`] holds freshly resolved credentials for one attempt (a call and
//! the dial that follows it). It is not reused, since a provider or client returns cached credentials even after the
//! user has logged in again.

mod access_request;
mod approval;
mod assume;
mod bundle;
mod call;
mod capped;
mod cloudformation;
mod cloudtrail;
mod console;
mod credentials;
mod database;
mod ec2;
mod ecs;
mod endpoint;
mod error;
pub mod files;
#[cfg(feature = "sim")]
pub(crate) mod fuzz;
mod http;
mod human_time;
mod iam;
mod instance_connect;
mod json;
mod network;
mod prompts;
mod query;
mod role;
mod sfn;
pub mod source;
mod ssm;
mod sts;
mod variables;
mod vpc;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use aws_config::imds::region::ImdsRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use tokio::sync::Mutex;

use crate::region::is_region;
use crate::transport::{Connector, Proxies, Roots, Signer, StreamHosts};

use self::approval::Approvals;
use self::assume::AssumeContext;
use self::call::ServiceClient;
use self::endpoint::{ServiceEndpoints, UsualEndpoints};
use self::files::{AwsFiles, FilePaths, Profile};
use self::source::{CredentialSource, KeyOwner, LoginCommand, Setting};
use self::sts::KnownCaller;

pub use self::approval::{AccessWish, ApprovalError, ApprovalEvent, Refused};
pub use self::cloudtrail::TrailEvent;
pub use self::console::ConsoleTime;
pub use self::database::{DatabaseLogin, RedshiftAt, TokenFor};
pub use self::ec2::{Filter, Instance};
pub use self::ecs::{Container, Task};
pub use self::error::{ApiError, Meaning};
pub use self::human_time::HumanTime;
pub use self::iam::Simulated;
pub use self::network::{NetworkInterface, SecurityGroup};
pub use self::prompts::{AskCode, NoCode, OfferLogin, Prompts};
pub use self::sfn::{Execution, ExecutionStatus, NewExecution};
pub use self::ssm::{
    ActiveSession, ManagedNode, NodeFilter, SessionRequest, StartedSession, StreamAddress, Token,
};
pub use self::sts::{Caller, CredentialsSource, Place};
pub use self::variables::CredentialVariables;
pub use self::vpc::{RouteTable, VpcEndpoint, VpcRoute};

/// Time limit for one attempt of a call.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// Attempts of a call while the service throttles or fails.
const ATTEMPTS: u32 = 4;
/// The profile that is used if none is named.
const DEFAULT_PROFILE: &str = "default";

/// The user's choices; the profile and the SDK's defaults give the rest.
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
    /// The endpoint of the EC2 Instance Connect API.
    pub instance_connect_endpoint: Option<String>,
    /// The endpoint of the ECS API.
    pub ecs_endpoint: Option<String>,
    /// The endpoint of the Step Functions API.
    pub sfn_endpoint: Option<String>,
    /// The endpoint of the CloudFormation API.
    pub cloudformation_endpoint: Option<String>,
    /// The endpoint of the CloudTrail API.
    pub cloudtrail_endpoint: Option<String>,
    /// The endpoint of the Redshift API.
    pub redshift_endpoint: Option<String>,
    /// The endpoint of the Redshift Serverless API.
    pub redshift_serverless_endpoint: Option<String>,
    /// The endpoint of the IAM API.
    pub iam_endpoint: Option<String>,
    /// The endpoint of the STS API, for the caller's identity.
    pub sts_endpoint: Option<String>,
    /// The endpoint of the STS API for assuming roles (`AWS_ENDPOINT_URL_STS`).
    pub roles_endpoint: Option<String>,
    /// The endpoint of streams (`AWS_ENDPOINT_URL_SSMMESSAGES`): a host that stream URLs may name.
    pub stream_endpoint: Option<String>,
    /// The endpoint of all APIs without a separate setting.
    pub any_endpoint: Option<String>,
    /// Whether the endpoints of the profile are ignored (`AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`).
    pub ignores_endpoints: bool,
    /// A PEM file of additional root certificates (`AWS_CA_BUNDLE`); overrides that of the profile.
    pub ca_bundle: Option<PathBuf>,
    /// The PEM file that is used if neither names one (`REQUESTS_CA_BUNDLE`).
    pub usual_ca_bundle: Option<PathBuf>,
    /// The proxies of API calls and the websocket.
    pub proxies: Arc<Proxies>,
    /// Where AWS's files are.
    pub files: FilePaths,
    /// The user's home folder, for `~`.
    pub home: Option<PathBuf>,
    /// The folder of the AWS CLI's cache of role credentials.
    pub cli_cache: Option<PathBuf>,
}

/// Access to AWS for the life of the process.
#[derive(Debug)]
pub struct Aws {
    options: AwsOptions,
    variables: CredentialVariables,
    roots: Arc<Roots>,
    connector: Connector,
    http: SharedHttpClient,
    prompts: Prompts,
    /// Whether credentials have been resolved before. Only the first time may ask the user: later, ssh uses the
    /// terminal.
    has_resolved: AtomicBool,
    /// The caller that a call of this process has asked for.
    caller: KnownCaller,
    /// The credentials of a role that was assumed with MFA, until they expire.
    assumed: Mutex<Option<(CredentialSource, Credentials)>>,
    /// The access requests of this process.
    approvals: Approvals,
}

/// Freshly resolved credentials, region and endpoints.
#[derive(Debug)]
pub struct Access {
    client: aws_sdk_ssm::Client,
    config: SdkConfig,
    http: SharedHttpClient,
    endpoints: ServiceEndpoints,
    usual_endpoints: UsualEndpoints,
    signer: Signer,
    owner: KeyOwner,
    hosts: StreamHosts,
    caller: KnownCaller,
    /// The access request whose approval the credentials are of.
    approval: Option<String>,
}

impl Aws {
    /// Reads AWS's files and the CA bundle, and creates the HTTP client. Sends nothing.
    ///
    /// # Errors
    /// [`ApiError::NoProfile`], [`ApiError::File`] or [`ApiError::Bundle`].
    pub fn new(options: AwsOptions) -> Result<Self, ApiError> {
        let files = AwsFiles::read(&options.files);
        for problem in files.problems() {
            tracing::warn!("{problem}");
        }
        let profile = named_profile(&files, options.profile.as_deref())?;
        let bundle = bundle::choose(&options, &profile)?;
        let roots = Arc::new(Roots::new(bundle));
        let connector = Connector::new(roots.clone(), options.proxies.clone());
        let http = http::client(connector.clone());
        let variables = CredentialVariables::from_process();
        Ok(Self {
            options,
            variables,
            roots,
            connector,
            http,
            prompts: Prompts::default(),
            has_resolved: AtomicBool::default(),
            caller: KnownCaller::default(),
            assumed: Mutex::default(),
            approvals: Approvals::default(),
        })
    }

    /// Sets what asks the user.
    #[must_use]
    pub fn with_prompts(self, prompts: Prompts) -> Self {
        Self { prompts, ..self }
    }

    /// Returns the time that answers of humans take.
    pub fn human_time(&self) -> &HumanTime {
        self.prompts.human_time()
    }

    /// Returns the trusted roots for stream connections.
    pub fn roots(&self) -> Arc<Roots> {
        self.roots.clone()
    }

    /// Returns what opens stream connections, as those of the API calls.
    pub fn connector(&self) -> Connector {
        self.connector.clone()
    }

    /// Resolves only the region.
    pub async fn region(&self) -> Option<String> {
        self.find_region(&AwsFiles::read(&self.options.files)).await.ok()
    }

    /// Resolves region, endpoints and credentials.
    ///
    /// # Errors
    /// [`ApiError::NoRegion`], or any error of the files or the credentials.
    pub async fn access(&self) -> Result<Access, ApiError> {
        self.access_by(None).await
    }

    /// Resolves region and endpoints, and the credentials unless those of an approval are given.
    async fn access_by(&self, approval: Option<(String, Credentials)>) -> Result<Access, ApiError> {
        let files = AwsFiles::read(&self.options.files);
        let profile = named_profile(&files, self.options.profile.as_deref())?;
        let region = self.find_region(&files).await?;
        let endpoints = ServiceEndpoints::new(&self.options, &files, self.profile_name(), &profile)?;
        let config = self.load(&profile, &region).await;
        let (approval, (owner, credentials)) = match approval {
            Some((id, credentials)) => (Some(id.clone()), (KeyOwner::Approval(id), credentials)),
            None => (None, self.own_credentials(&files, &config, &endpoints).await?),
        };
        let provider = SharedCredentialsProvider::new(credentials.clone());
        let config = config.into_builder().credentials_provider(provider).build();
        Ok(Access {
            client: ssm_client(&config, &endpoints),
            http: self.http.clone(),
            usual_endpoints: UsualEndpoints::new(&config, &region).await,
            hosts: endpoint::stream_hosts(&endpoints, &region).await,
            signer: Signer { credentials, region },
            caller: self.caller.clone(),
            endpoints,
            owner,
            config,
            approval,
        })
    }

    /// Returns whether keys in the environment sign, which another process may not have.
    pub fn has_environment_keys(&self) -> bool {
        let source = self.find_source(&AwsFiles::read(&self.options.files));
        source.is_ok_and(|source| source.owner() == KeyOwner::Environment)
    }

    async fn own_credentials(
        &self,
        files: &AwsFiles,
        config: &SdkConfig,
        endpoints: &ServiceEndpoints,
    ) -> Result<(KeyOwner, Credentials), ApiError> {
        let source = self.find_source(files)?;
        let owner = source.owner();
        let resolved = self.credentials(files, source, config, endpoints).await;
        let credentials = resolved.map_err(|error| error.with_owner(&owner))?;
        Ok((owner, credentials))
    }

    /// Returns the URLs of services, by the first part of their hosts, without credentials.
    ///
    /// # Errors
    /// [`ApiError::NoRegion`], or any error of the files.
    pub async fn service_urls(&self, services: &[&str]) -> Result<Vec<String>, ApiError> {
        let files = AwsFiles::read(&self.options.files);
        let profile = named_profile(&files, self.options.profile.as_deref())?;
        let region = self.find_region(&files).await?;
        let endpoints = ServiceEndpoints::new(&self.options, &files, self.profile_name(), &profile)?;
        let config = self.load(&profile, &region).await;
        let usual = UsualEndpoints::new(&config, &region).await;
        let url = |service: &&str| endpoints.of(service).cloned().map_or_else(|| usual.of(service), Ok);
        services.iter().map(url).collect()
    }

    fn profile_name(&self) -> &str {
        self.options.profile.as_deref().unwrap_or(DEFAULT_PROFILE)
    }

    /// Finds the region: of the options, else the profile's, else the instance's.
    async fn find_region(&self, files: &AwsFiles) -> Result<String, ApiError> {
        if let Some(region) = &self.options.region {
            return Ok(region.clone());
        }
        let name = self.profile_name();
        let profile = files.profile(name);
        if let Some(problem) = profile.and_then(Profile::problem) {
            return Err(problem.clone().into());
        }
        match profile.and_then(|profile| profile.get("region")).filter(|region| !region.is_empty()) {
            Some(region) if is_region(region) => Ok(region.to_owned()),
            Some(region) => Err(ApiError::NotARegion { profile: name.to_owned(), region: region.to_owned() }),
            None => {
                let of_instance = ImdsRegionProvider::builder().configure(&self.environment(None)).build();
                let region = of_instance.region().await.map(|region| region.to_string());
                region.ok_or_else(|| files.problem().map_or(ApiError::NoRegion, |one| one.clone().into()))
            }
        }
    }

    /// Loads the SDK's configuration: its variables, and the profile's settings without credentials.
    async fn load(&self, profile: &Profile, region: &str) -> SdkConfig {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.http.clone())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts)
            .no_credentials()
            .profile_files(sdk_files(profile))
            .profile_name(DEFAULT_PROFILE)
            .region(Region::new(region.to_owned()));
        loader.load().await
    }

    fn find_source(&self, files: &AwsFiles) -> Result<CredentialSource, ApiError> {
        let ignores_variables = self.options.profile_overrides_keys;
        let setting = Setting { files, variables: &self.variables, ignores_variables };
        Ok(CredentialSource::find(&setting, self.profile_name())?)
    }

    async fn credentials(
        &self,
        files: &AwsFiles,
        source: CredentialSource,
        config: &SdkConfig,
        endpoints: &ServiceEndpoints,
    ) -> Result<Credentials, ApiError> {
        let may_ask = !self.has_resolved.swap(true, Ordering::Relaxed);
        let mut assumed = self.assumed.lock().await;
        if let Some((_, known)) =
            assumed.as_ref().filter(|(same, known)| *same == source && assume::is_fresh(known))
        {
            return Ok(known.clone());
        }
        let prompts = may_ask.then_some(&self.prompts);
        let base = self.base(files, &source, config, prompts);
        let context = AssumeContext {
            config,
            sts_endpoint: endpoints.roles.clone(),
            cache: self.options.cli_cache.as_deref(),
            prompts,
        };
        let resolved = assume::assume_all(&source.roles, &context, base).await;
        let credentials = resolved.map_err(|error| or_problem(error, files))?;
        if assume::needs_code(&source.roles) {
            *assumed = Some((source, credentials.clone()));
        }
        Ok(credentials)
    }

    /// Resolves the first credentials of a source. If a login has ended, offers to log in, and resolves them again.
    async fn base(
        &self,
        files: &AwsFiles,
        source: &CredentialSource,
        config: &SdkConfig,
        prompts: Option<&Prompts>,
    ) -> Result<Credentials, ApiError> {
        let environment = self.environment(Some(config));
        let metadata = files.profile(self.profile_name());
        let metadata = metadata.and_then(|profile| profile.get("ec2_metadata_service_endpoint"));
        let resolve = || credentials::resolve_base(source, &environment, metadata);
        let resolved = resolve().await;
        let (Err(ApiError::NoLogin { profile, kind, .. }), Some(prompts)) = (&resolved, prompts) else {
            return resolved;
        };
        let command = LoginCommand { profile: profile.clone(), kind: *kind };
        if prompts.log_in(command).await { resolve().await } else { resolved }
    }

    /// Returns the configuration that the SDK gives to its own providers. FIPS cannot be combined with an endpoint.
    fn environment(&self, config: Option<&SdkConfig>) -> ProviderConfig {
        let has_endpoint = self.options.any_endpoint.is_some()
            || PROVIDER_ENDPOINTS.iter().any(|name| variables::variable(name).is_some());
        let variants = config.filter(|_| !has_endpoint);
        ProviderConfig::default()
            .with_http_client(self.http.clone())
            .with_region(config.and_then(|config| config.region().cloned()))
            .with_use_fips(variants.and_then(SdkConfig::use_fips))
            .with_use_dual_stack(variants.and_then(SdkConfig::use_dual_stack))
    }
}

/// The variables with endpoints of the services that the SDK's providers call.
const PROVIDER_ENDPOINTS: [&str; 4] =
    ["AWS_ENDPOINT_URL_SSO", "AWS_ENDPOINT_URL_SSO_OIDC", "AWS_ENDPOINT_URL_SIGNIN", "AWS_ENDPOINT_URL_STS"];

/// Options of a profile that are not for the SDK: credentials, the region, and the endpoints.
const NOT_FOR_THE_SDK: [&str; 11] = [
    "aws_",
    "credential_",
    "endpoint_url",
    "login_",
    "mfa_",
    "region",
    "role_",
    "services",
    "source_profile",
    "sso_",
    "web_identity_",
];

impl Access {
    /// Returns the access with the same credentials and endpoint settings to another region.
    pub async fn in_region(&self, region: &str) -> Self {
        let config = self.config.clone().into_builder().region(Region::new(region.to_owned())).build();
        Self {
            client: ssm_client(&config, &self.endpoints),
            http: self.http.clone(),
            usual_endpoints: UsualEndpoints::new(&config, region).await,
            hosts: endpoint::stream_hosts(&self.endpoints, region).await,
            signer: Signer { region: region.to_owned(), ..self.signer.clone() },
            caller: self.caller.clone(),
            endpoints: self.endpoints.clone(),
            owner: self.owner.clone(),
            approval: self.approval.clone(),
            config,
        }
    }

    /// Returns the region of the calls.
    pub fn region(&self) -> &str {
        &self.signer.region
    }

    /// Returns the id of the signing key. Caches are kept for each key, since another key may see other instances.
    pub fn access_key_id(&self) -> &str {
        self.signer.credentials.access_key_id()
    }

    /// Returns when the credentials expire.
    pub fn expiry(&self) -> Option<SystemTime> {
        self.signer.credentials.expiry()
    }

    /// Returns the id of the access request whose approval the credentials are of.
    pub fn approval(&self) -> Option<&str> {
        self.approval.as_deref()
    }

    /// Returns the signer for websocket upgrades.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Returns a client of a service: at the endpoint of the user's settings, else at the one whose host begins with `label`.
    fn service(
        &self,
        name: &'static str,
        label: &str,
        chosen: Option<&String>,
    ) -> Result<ServiceClient, ApiError> {
        Ok(ServiceClient {
            service: name,
            endpoint: chosen.cloned().map_or_else(|| self.usual_endpoints.of(label), Ok)?,
            region: self.signer.region.clone(),
            credentials: self.signer.credentials.clone(),
            http: self.http.clone(),
        })
    }

    /// Returns the hosts that a stream URL may name.
    pub fn stream_hosts(&self) -> &StreamHosts {
        &self.hosts
    }

    /// Converts the SDK's error for `operation`, and adds whose credentials were rejected.
    fn failed<E>(&self, operation: &'static str, error: &SdkError<E, HttpResponse>) -> ApiError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        ApiError::from_sdk(operation, error).with_owner(&self.owner)
    }
}

/// Returns the profile, empty if it is the default one and does not exist.
fn named_profile(files: &AwsFiles, name: Option<&str>) -> Result<Profile, ApiError> {
    match (files.profile(name.unwrap_or(DEFAULT_PROFILE)), name) {
        (Some(profile), _) => Ok(profile.clone()),
        (None, Some(name)) if name != DEFAULT_PROFILE => {
            let missing = || ApiError::NoProfile(name.to_owned());
            Err(files.problem().map_or_else(missing, |problem| problem.clone().into()))
        }
        (None, _) => Ok(Profile::default()),
    }
}

/// If there are no credentials, a file that cannot be read is the likely reason.
fn or_problem(error: ApiError, files: &AwsFiles) -> ApiError {
    match (error, files.problem()) {
        (ApiError::NoneConfigured { .. }, Some(problem)) => problem.clone().into(),
        (error, _) => error,
    }
}

/// Returns the profile's settings for the SDK as text in its own grammar, under the name of the default profile.
fn sdk_files(profile: &Profile) -> EnvConfigFiles {
    let is_for_sdk = |key: &str| !NOT_FOR_THE_SDK.iter().any(|prefix| key.starts_with(prefix));
    let is_plain = |text: &str| !text.is_empty() && !text.contains(['\n', '#', ';']);
    let settings = profile.settings().into_iter().filter(|(key, value)| is_for_sdk(key) && is_plain(value));
    let lines: String = settings.map(|(key, value)| format!("{key} = {value}\n")).collect();
    let text = format!("[{DEFAULT_PROFILE}]\n{lines}");
    EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, text).build()
}

fn ssm_client(config: &SdkConfig, endpoints: &ServiceEndpoints) -> aws_sdk_ssm::Client {
    let mut client = aws_sdk_ssm::config::Builder::from(config);
    if let Some(url) = &endpoints.ssm {
        client = client.endpoint_url(url).use_fips(false).use_dual_stack(false);
    }
    aws_sdk_ssm::Client::from_conf(client.build())
}

#[cfg(test)]
mod botocore;
