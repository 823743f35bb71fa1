//! The settings of the control plane, and the rank of its endpoints.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::environment::{Environment, process_variable};
use super::error::ConfigError;
use super::layers::{Layers, Source};
use super::settings::Key;
use super::value::{self, without_secrets};

/// The settings of the AWS layer; where there is none, the AWS profile's or the SDK's default is used.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AwsSettings {
    /// The profile of the AWS config files.
    pub profile: Option<String>,
    /// The profile overrides the ambient variables: its credentials are used and not the keys in the environment.
    pub profile_overrides_keys: bool,
    /// The region.
    pub region: Option<String>,
    /// An endpoint that overrides all of `endpoints`: of a flag, a `FUMIDAI_*` variable, a forward or a host.
    pub endpoint_url: Option<String>,
    /// The endpoints of the environment and the config file.
    pub endpoints: Endpoints,
    /// Roots to trust beside the system's (`AWS_CA_BUNDLE`).
    pub ca_bundle: Option<PathBuf>,
    /// The same where neither that variable nor the AWS profile names one (`REQUESTS_CA_BUNDLE`).
    pub usual_ca_bundle: Option<PathBuf>,
    /// The variables with proxies that are set. They may hold a password.
    pub proxies: Vec<(&'static str, OsString)>,
    /// The file that replaces `~/.aws/config` (`AWS_CONFIG_FILE`).
    pub config_file: Option<PathBuf>,
    /// The file that replaces `~/.aws/credentials` (`AWS_SHARED_CREDENTIALS_FILE`).
    pub credentials_file: Option<PathBuf>,
    /// The user's home folder, for `~` in paths of AWS's files.
    pub home: Option<PathBuf>,
    /// Whether the endpoints of the AWS profile are ignored (`AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`).
    pub ignores_endpoints: bool,
    /// The folder where the AWS CLI caches the credentials of roles that it has assumed.
    pub cli_cache: Option<PathBuf>,
}

/// The endpoints of `AWS_*` variables and the config file.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// `AWS_ENDPOINT_URL_SSM`: where the SSM API is.
    pub ssm: Option<String>,
    /// `AWS_ENDPOINT_URL_EC2`: where the EC2 API is.
    pub ec2: Option<String>,
    /// `AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT`: where the EC2 Instance Connect API is.
    pub instance_connect: Option<String>,
    /// `AWS_ENDPOINT_URL_ECS`: where the ECS API is.
    pub ecs: Option<String>,
    /// `AWS_ENDPOINT_URL_SFN`: where the Step Functions API is.
    pub sfn: Option<String>,
    /// `AWS_ENDPOINT_URL_CLOUDFORMATION`: where the CloudFormation API is.
    pub cloudformation: Option<String>,
    /// `AWS_ENDPOINT_URL_CLOUDTRAIL`: where the CloudTrail API is.
    pub cloudtrail: Option<String>,
    /// `AWS_ENDPOINT_URL_REDSHIFT`: where the Redshift API is.
    pub redshift: Option<String>,
    /// `AWS_ENDPOINT_URL_REDSHIFT_SERVERLESS`: where the Redshift Serverless API is.
    pub redshift_serverless: Option<String>,
    /// `AWS_ENDPOINT_URL_IAM`: where the IAM API is.
    pub iam: Option<String>,
    /// `AWS_ENDPOINT_URL_STS`: where the STS API is.
    pub sts: Option<String>,
    /// `AWS_ENDPOINT_URL_SSMMESSAGES`: a host that stream URLs may name.
    pub ssmmessages: Option<String>,
    /// `endpoint_url` of a forward or a host, else `AWS_ENDPOINT_URL`, else `endpoint_url` of `[defaults]`: for every API.
    pub any: Option<String>,
}

impl AwsSettings {
    /// Reads the variables that are not settings of their own.
    ///
    /// # Errors
    /// A variable has a value that is not valid.
    pub(super) fn of_variables(environment: &Environment) -> Result<Self, ConfigError> {
        let home = environment.folders.home.clone();
        Ok(Self {
            endpoints: Endpoints::of_services(environment)?,
            ca_bundle: environment.path("AWS_CA_BUNDLE"),
            usual_ca_bundle: environment.path("REQUESTS_CA_BUNDLE"),
            proxies: environment.proxies(),
            config_file: file(environment, "AWS_CONFIG_FILE"),
            credentials_file: file(environment, "AWS_SHARED_CREDENTIALS_FILE"),
            ignores_endpoints: ignores_endpoints(environment),
            cli_cache: home.as_ref().map(|home| home.join(".aws/cli/cache")),
            home,
            ..Self::default()
        })
    }

    /// Returns the endpoint of the SSM API: the overriding one, else the service's variable, else the general one.
    pub fn ssm_endpoint(&self) -> Option<&str> {
        self.endpoint(&self.endpoints.ssm)
    }

    /// Returns the endpoint of the EC2 API, by the same rank.
    pub fn ec2_endpoint(&self) -> Option<&str> {
        self.endpoint(&self.endpoints.ec2)
    }

    /// Returns the endpoint of the EC2 Instance Connect API, by the same rank.
    pub fn instance_connect_endpoint(&self) -> Option<&str> {
        self.endpoint(&self.endpoints.instance_connect)
    }

    /// Returns the endpoint of the ECS API, by the same rank.
    pub fn ecs_endpoint(&self) -> Option<&str> {
        self.endpoint(&self.endpoints.ecs)
    }

    /// Returns the endpoint of the Step Functions API, by the same rank.
    pub fn sfn_endpoint(&self) -> Option<&str> {
        self.endpoint(&self.endpoints.sfn)
    }

    /// Returns the endpoint of the STS API, by the same rank.
    pub fn sts_endpoint(&self) -> Option<&str> {
        self.endpoint(&self.endpoints.sts)
    }

    /// Returns the endpoint of the CloudFormation API, by the same rank.
    pub fn cloudformation_endpoint(&self) -> Option<&str> {
        self.endpoint(&self.endpoints.cloudformation)
    }

    /// Returns the endpoint of the CloudTrail API, by the same rank.
    pub fn cloudtrail_endpoint(&self) -> Option<&str> {
        self.endpoint(&self.endpoints.cloudtrail)
    }

    /// Returns the endpoint of the Redshift API, by the same rank.
    pub fn redshift_endpoint(&self) -> Option<&str> {
        self.endpoint(&self.endpoints.redshift)
    }

    /// Returns the endpoint of the Redshift Serverless API, by the same rank.
    pub fn redshift_serverless_endpoint(&self) -> Option<&str> {
        self.endpoint(&self.endpoints.redshift_serverless)
    }

    /// Returns the endpoint of the IAM API, by the same rank.
    pub fn iam_endpoint(&self) -> Option<&str> {
        self.endpoint(&self.endpoints.iam)
    }

    /// Takes the settings that hold.
    pub(super) fn choose(&mut self, layers: &Layers) {
        let settings = layers.settings();
        self.profile = settings.profile;
        self.profile_overrides_keys = layers.source(Key::Profile).overrides_ambient();
        self.region = settings.region;
        self.endpoint_url = layers.settings_of(Source::overrides_ambient).endpoint_url;
        self.endpoints.any = layers.settings_of(|source| !source.is_of_this_run()).endpoint_url;
    }

    fn endpoint<'a>(&'a self, own: &'a Option<String>) -> Option<&'a str> {
        self.endpoint_url.as_deref().or(own.as_deref()).or(self.endpoints.any.as_deref())
    }
}

impl Endpoints {
    /// Reads the variables of the services; `any` is a setting and is filled in later.
    pub(super) fn of_services(environment: &Environment) -> Result<Self, ConfigError> {
        if ignores_endpoints(environment) {
            return Ok(Self::default());
        }
        Ok(Self {
            ssm: read(environment, "AWS_ENDPOINT_URL_SSM")?,
            ec2: read(environment, "AWS_ENDPOINT_URL_EC2")?,
            instance_connect: read(environment, "AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT")?,
            ecs: read(environment, "AWS_ENDPOINT_URL_ECS")?,
            sfn: read(environment, "AWS_ENDPOINT_URL_SFN")?,
            cloudformation: read(environment, "AWS_ENDPOINT_URL_CLOUDFORMATION")?,
            cloudtrail: read(environment, "AWS_ENDPOINT_URL_CLOUDTRAIL")?,
            redshift: read(environment, "AWS_ENDPOINT_URL_REDSHIFT")?,
            redshift_serverless: read(environment, "AWS_ENDPOINT_URL_REDSHIFT_SERVERLESS")?,
            iam: read(environment, "AWS_ENDPOINT_URL_IAM")?,
            sts: read(environment, "AWS_ENDPOINT_URL_STS")?,
            ssmmessages: read(environment, "AWS_ENDPOINT_URL_SSMMESSAGES")?,
            any: None,
        })
    }
}

impl fmt::Debug for AwsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsSettings")
            .field("profile", &self.profile)
            .field("profile_overrides_keys", &self.profile_overrides_keys)
            .field("region", &self.region)
            .field("endpoint_url", &redacted(&self.endpoint_url))
            .field("endpoints", &self.endpoints)
            .field("ca_bundle", &self.ca_bundle)
            .field("usual_ca_bundle", &self.usual_ca_bundle)
            .field("proxies", &self.proxies.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("config_file", &self.config_file)
            .field("credentials_file", &self.credentials_file)
            .field("home", &self.home)
            .field("ignores_endpoints", &self.ignores_endpoints)
            .field("cli_cache", &self.cli_cache)
            .finish()
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints")
            .field("ssm", &redacted(&self.ssm))
            .field("ec2", &redacted(&self.ec2))
            .field("instance_connect", &redacted(&self.instance_connect))
            .field("ecs", &redacted(&self.ecs))
            .field("sfn", &redacted(&self.sfn))
            .field("cloudformation", &redacted(&self.cloudformation))
            .field("cloudtrail", &redacted(&self.cloudtrail))
            .field("redshift", &redacted(&self.redshift))
            .field("redshift_serverless", &redacted(&self.redshift_serverless))
            .field("iam", &redacted(&self.iam))
            .field("sts", &redacted(&self.sts))
            .field("ssmmessages", &redacted(&self.ssmmessages))
            .field("any", &redacted(&self.any))
            .finish()
    }
}

fn ignores_endpoints(environment: &Environment) -> bool {
    environment.switch("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") == Some(true)
}

/// Returns the file that a variable names, with `~` and `$NAME` replaced as by the AWS CLI.
fn file(environment: &Environment, variable: &str) -> Option<PathBuf> {
    let path = environment.path(variable)?;
    let path = path.to_str().map_or_else(|| path.clone(), |text| expand_variables(text).into());
    match (path.strip_prefix("~"), &environment.folders.home) {
        (Ok(rest), Some(home)) => Some(home.join(rest)),
        (_, _) => Some(path),
    }
}

/// Replaces `$NAME` and `${NAME}`; what is not set stays as it is.
fn expand_variables(text: &str) -> String {
    let Some((head, tail)) = text.split_once('$') else { return text.to_owned() };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (name, rest, whole) = match tail.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
        Some((name, rest)) => (name, rest, tail.len() - rest.len()),
        None => {
            let end = tail.find(|c| !is_name(c)).unwrap_or(tail.len());
            (&tail[..end], &tail[end..], end)
        }
    };
    let value = process_variable(name).unwrap_or_else(|| format!("${}", &tail[..whole]));
    format!("{head}{value}{}", expand_variables(rest))
}

fn read(environment: &Environment, name: &'static str) -> Result<Option<String>, ConfigError> {
    let url = environment.text(name).and_then(|text| text.map(|text| value::url(text.into())).transpose());
    url.map_err(|source| ConfigError::Variable { name, source })
}

fn redacted(url: &Option<String>) -> Option<String> {
    url.as_deref().map(without_secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(flag: Option<&str>, own: Option<&str>, any: Option<&str>) -> AwsSettings {
        AwsSettings {
            endpoint_url: flag.map(str::to_owned),
            endpoints: Endpoints {
                ssm: own.map(str::to_owned),
                ec2: own.map(|own| format!("{own}/ec2")),
                any: any.map(str::to_owned),
                ..Endpoints::default()
            },
            ..AwsSettings::default()
        }
    }

    #[test]
    fn the_nearest_endpoint_wins() {
        let (flag, own, any) = (Some("http://flag"), Some("http://own"), Some("http://any"));
        assert_eq!(settings(flag, own, any).ssm_endpoint(), flag);
        assert_eq!(settings(None, own, any).ssm_endpoint(), own);
        assert_eq!(settings(None, own, any).ec2_endpoint(), Some("http://own/ec2"));
        assert_eq!(settings(None, own, any).ecs_endpoint(), any);
        assert_eq!(settings(None, None, any).ssm_endpoint(), any);
        assert_eq!(settings(None, None, None).ssm_endpoint(), None);
    }

    #[test]
    fn debug_hides_the_password_of_an_endpoint() {
        let url = Some("https://me:s3cret@host:1/p?token=s3cret");
        let text = format!("{:?}", settings(url, url, url));
        assert!(!text.contains("s3cret"), "{text}");
        assert!(text.contains("https://[redacted]@host:1"), "{text}");
    }

    #[test]
    fn configured_endpoints_can_be_ignored() {
        let environment = Environment::of([
            ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
            ("AWS_ENDPOINT_URL_SSM", "http://own"),
        ]);
        let endpoints = Endpoints::of_services(&environment).expect("valid");
        assert_eq!(endpoints, Endpoints::default());
    }
}
