//! The settings of the control plane, and the order in which its endpoints are found.

use std::fmt;
use std::path::PathBuf;

use super::environment::Environment;
use super::error::ConfigError;
use super::value::{self, without_secrets};

/// What the AWS layer is told; where it is told nothing, the AWS profile and the SDK's defaults hold.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AwsSettings {
    /// The profile of the AWS config files.
    pub profile: Option<String>,
    /// The profile was named by flag: its credentials go before keys in the environment, as with the AWS CLI.
    pub profile_is_flag: bool,
    /// The region.
    pub region: Option<String>,
    /// The endpoint named by flag: it goes before everything in `endpoints`.
    pub endpoint_url: Option<String>,
    /// The endpoints of the environment and the config file.
    pub endpoints: Endpoints,
    /// Roots to trust beside the system's own (`AWS_CA_BUNDLE`).
    pub ca_bundle: Option<PathBuf>,
    /// Where the AWS CLI keeps the credentials of roles that it has assumed.
    pub cli_cache: Option<PathBuf>,
}

/// Endpoints other than by flag.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// `AWS_ENDPOINT_URL_SSM`: where the SSM API is.
    pub ssm: Option<String>,
    /// `AWS_ENDPOINT_URL_EC2`: where the EC2 API is.
    pub ec2: Option<String>,
    /// `AWS_ENDPOINT_URL_ECS`: where the ECS API is.
    pub ecs: Option<String>,
    /// `AWS_ENDPOINT_URL_STS`: where the STS API is.
    pub sts: Option<String>,
    /// `AWS_ENDPOINT_URL_SSMMESSAGES`: a host that stream URLs may name.
    pub ssmmessages: Option<String>,
    /// `AWS_ENDPOINT_URL`, else `endpoint_url` of the config file: for every API without its own.
    pub any: Option<String>,
}

impl AwsSettings {
    /// Returns the endpoint of the SSM API: the flag, else the service's own variable, else the general one.
    pub fn ssm_endpoint(&self) -> Option<&str> {
        self.endpoint(&self.endpoints.ssm)
    }

    /// Returns the endpoint of the EC2 API, by the same rank.
    pub fn ec2_endpoint(&self) -> Option<&str> {
        self.endpoint(&self.endpoints.ec2)
    }

    /// Returns the endpoint of the ECS API, by the same rank.
    pub fn ecs_endpoint(&self) -> Option<&str> {
        self.endpoint(&self.endpoints.ecs)
    }

    /// Returns the endpoint of the STS API, by the same rank.
    pub fn sts_endpoint(&self) -> Option<&str> {
        self.endpoint(&self.endpoints.sts)
    }

    fn endpoint<'a>(&'a self, own: &'a Option<String>) -> Option<&'a str> {
        self.endpoint_url.as_deref().or(own.as_deref()).or(self.endpoints.any.as_deref())
    }
}

impl Endpoints {
    /// Reads the services' own variables; `any` is a setting like others and comes from there.
    pub(super) fn resolve(environment: &Environment, any: Option<String>) -> Result<Self, ConfigError> {
        if environment.switch("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") == Some(true) {
            return Ok(Self::default());
        }
        Ok(Self {
            ssm: read(environment, "AWS_ENDPOINT_URL_SSM")?,
            ec2: read(environment, "AWS_ENDPOINT_URL_EC2")?,
            ecs: read(environment, "AWS_ENDPOINT_URL_ECS")?,
            sts: read(environment, "AWS_ENDPOINT_URL_STS")?,
            ssmmessages: read(environment, "AWS_ENDPOINT_URL_SSMMESSAGES")?,
            any,
        })
    }
}

impl fmt::Debug for AwsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsSettings")
            .field("profile", &self.profile)
            .field("profile_is_flag", &self.profile_is_flag)
            .field("region", &self.region)
            .field("endpoint_url", &redacted(&self.endpoint_url))
            .field("endpoints", &self.endpoints)
            .field("ca_bundle", &self.ca_bundle)
            .field("cli_cache", &self.cli_cache)
            .finish()
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints")
            .field("ssm", &redacted(&self.ssm))
            .field("ec2", &redacted(&self.ec2))
            .field("ecs", &redacted(&self.ecs))
            .field("sts", &redacted(&self.sts))
            .field("ssmmessages", &redacted(&self.ssmmessages))
            .field("any", &redacted(&self.any))
            .finish()
    }
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
        let endpoints = Endpoints::resolve(&environment, Some("http://any".into())).expect("valid");
        assert_eq!(endpoints, Endpoints::default());
    }
}
