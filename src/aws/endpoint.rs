//! Service endpoints: from the user's settings, else from the SDK's table of partitions.

use aws_config::SdkConfig;
use aws_sdk_ssm::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};

use crate::transport::StreamHosts;

use super::AwsOptions;
use super::error::ApiError;
use super::files::{AwsFiles, Profile};

/// The endpoints of the user's settings; `None` leaves it to the SDK's rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServiceEndpoints {
    pub ssm: Option<String>,
    pub ec2: Option<String>,
    pub instance_connect: Option<String>,
    pub ecs: Option<String>,
    pub sfn: Option<String>,
    pub cloudformation: Option<String>,
    pub cloudtrail: Option<String>,
    pub redshift: Option<String>,
    pub redshift_serverless: Option<String>,
    pub iam: Option<String>,
    /// STS, for the caller's identity.
    pub sts: Option<String>,
    /// STS, for assuming roles: an endpoint of one run or host is not for them.
    pub roles: Option<String>,
    /// The websocket's.
    pub streams: Option<String>,
}

impl ServiceEndpoints {
    /// Combines the options with the profile's `services` and `endpoint_url`.
    ///
    /// # Errors
    /// [`ApiError::NoServices`] if the profile names a section that does not exist.
    pub fn new(
        options: &AwsOptions,
        files: &AwsFiles,
        name: &str,
        profile: &Profile,
    ) -> Result<Self, ApiError> {
        if options.ignores_endpoints || profile.get("ignore_configured_endpoint_urls").is_some_and(is_true) {
            return Ok(Self::of_options(options));
        }
        let services = profile.get("services");
        let missing =
            |services: &str| ApiError::NoServices { profile: name.to_owned(), services: services.to_owned() };
        let of_profile = |service: &str| -> Result<Option<String>, ApiError> {
            let own = services
                .map(|services| files.service_endpoint(services, service).ok_or_else(|| missing(services)));
            let url = own.transpose()?.flatten().or_else(|| profile.get("endpoint_url"));
            Ok(url.filter(|url| !url.is_empty()).map(str::to_owned))
        };
        let given = Self::of_options(options);
        Ok(Self {
            ssm: given.ssm.or(of_profile("ssm")?),
            ec2: given.ec2.or(of_profile("ec2")?),
            instance_connect: given.instance_connect.or(of_profile("ec2_instance_connect")?),
            ecs: given.ecs.or(of_profile("ecs")?),
            sfn: given.sfn.or(of_profile("sfn")?),
            cloudformation: given.cloudformation.or(of_profile("cloudformation")?),
            cloudtrail: given.cloudtrail.or(of_profile("cloudtrail")?),
            redshift: given.redshift.or(of_profile("redshift")?),
            redshift_serverless: given.redshift_serverless.or(of_profile("redshift_serverless")?),
            iam: given.iam.or(of_profile("iam")?),
            sts: given.sts.or(of_profile("sts")?),
            roles: given.roles.or(of_profile("sts")?),
            streams: given.streams.or(of_profile("ssmmessages")?),
        })
    }

    /// Returns the chosen endpoint of the service whose usual host begins with `label`.
    pub fn of(&self, label: &str) -> Option<&String> {
        let chosen = match label {
            "ssm" => &self.ssm,
            "ssmmessages" => &self.streams,
            "ec2" => &self.ec2,
            "ec2-instance-connect" => &self.instance_connect,
            "ecs" => &self.ecs,
            "states" => &self.sfn,
            "cloudformation" => &self.cloudformation,
            "sts" => &self.sts,
            _ => &None,
        };
        chosen.as_ref()
    }

    fn of_options(options: &AwsOptions) -> Self {
        let any = || options.any_endpoint.clone();
        Self {
            ssm: options.ssm_endpoint.clone(),
            ec2: options.ec2_endpoint.clone(),
            instance_connect: options.instance_connect_endpoint.clone(),
            ecs: options.ecs_endpoint.clone(),
            sfn: options.sfn_endpoint.clone(),
            cloudformation: options.cloudformation_endpoint.clone(),
            cloudtrail: options.cloudtrail_endpoint.clone(),
            redshift: options.redshift_endpoint.clone(),
            redshift_serverless: options.redshift_serverless_endpoint.clone(),
            iam: options.iam_endpoint.clone(),
            sts: options.sts_endpoint.clone(),
            roles: options.roles_endpoint.clone().or_else(any),
            streams: options.stream_endpoint.clone().or_else(any),
        }
    }
}

fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

/// Returns a region's DNS suffix: `amazonaws.com` for `https://ssm.eu-west-1.amazonaws.com`.
async fn suffix(region: &str, dual_stack: bool) -> Option<String> {
    let url = of_ssm(region, dual_stack, false).await.ok()?;
    let host = url.strip_prefix("https://")?.trim_end_matches('/');
    Some(host.strip_prefix(&format!("ssm.{region}."))?.to_owned())
}

/// Returns the hosts that a stream URL may name.
pub(super) async fn stream_hosts(endpoints: &ServiceEndpoints, region: &str) -> StreamHosts {
    let mut suffixes = Vec::new();
    for dual_stack in [false, true] {
        suffixes.extend(suffix(region, dual_stack).await);
    }
    let configured = endpoints.ssm.iter().chain(&endpoints.streams).cloned().collect();
    StreamHosts { region: region.to_owned(), suffixes, configured }
}

/// Where services without an SDK client are by the SDK's rules.
#[derive(Clone, Debug)]
pub(super) struct UsualEndpoints(Result<String, ApiError>);

impl UsualEndpoints {
    /// Finds the rules of a region.
    pub async fn new(config: &SdkConfig, region: &str) -> Self {
        let dual_stack = config.use_dual_stack().unwrap_or_default();
        Self(of_ssm(region, dual_stack, config.use_fips().unwrap_or_default()).await)
    }

    /// Returns the endpoint of the service with that first part of the host.
    ///
    /// # Errors
    /// [`ApiError::Settings`] if the SDK has no endpoint for that region, or none with FIPS or dual stack as requested.
    pub fn of(&self, label: &str) -> Result<String, ApiError> {
        Ok(self.0.clone()?.replacen("://ssm", &format!("://{label}"), 1))
    }
}
/// Returns the SSM endpoint. EC2 and Step Functions have the same rules under other names: FIPS, dual stack, partitions, and
/// the exception of GovCloud.
async fn of_ssm(region: &str, dual_stack: bool, fips: bool) -> Result<String, ApiError> {
    let parameters = Params::builder().region(region).use_dual_stack(dual_stack).use_fips(fips).build();
    let parameters = parameters.map_err(|error| ApiError::Settings(error.to_string()))?;
    let endpoint = DefaultResolver::new().resolve_endpoint(&parameters).await;
    endpoint.map(|endpoint| endpoint.url().to_owned()).map_err(|error| ApiError::Settings(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn suffixes_come_from_the_sdks_own_partitions() {
        let table = [
            ("eu-west-1", false, "amazonaws.com"),
            ("eu-west-1", true, "api.aws"),
            ("cn-north-1", false, "amazonaws.com.cn"),
            ("cn-north-1", true, "api.amazonwebservices.com.cn"),
            ("us-gov-west-1", false, "amazonaws.com"),
        ];
        for (region, dual_stack, expected) in table {
            assert_eq!(suffix(region, dual_stack).await.as_deref(), Some(expected), "{region}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn endpoints_of_services_follow_the_rules_of_ssm() {
        let table = [
            ("eu-west-1", false, false, "https://ec2.eu-west-1.amazonaws.com"),
            ("eu-west-1", true, false, "https://ec2.eu-west-1.api.aws"),
            ("us-east-1", false, true, "https://ec2-fips.us-east-1.amazonaws.com"),
            ("us-east-1", true, true, "https://ec2-fips.us-east-1.api.aws"),
            ("us-gov-west-1", false, true, "https://ec2.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", false, false, "https://ec2.cn-north-1.amazonaws.com.cn"),
        ];
        for (region, dual_stack, fips, url) in table {
            let config = SdkConfig::builder().use_dual_stack(dual_stack).use_fips(fips).build();
            assert_eq!(UsualEndpoints::new(&config, region).await.of("ec2").as_deref(), Ok(url), "{region}");
        }
        let config = SdkConfig::builder().build();
        let states = UsualEndpoints::new(&config, "us-gov-west-1").await.of("states");
        assert_eq!(states.as_deref(), Ok("https://states.us-gov-west-1.amazonaws.com"));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn stream_urls_may_name_every_endpoint_of_the_regions_partition() {
        let chosen = ServiceEndpoints::default();
        for (region, suffix, dual_stack) in [
            ("eu-west-1", "amazonaws.com", "api.aws"),
            ("us-gov-west-1", "amazonaws.com", "api.aws"),
            ("cn-north-1", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
        ] {
            let hosts = stream_hosts(&chosen, region).await;
            for suffix in [suffix, dual_stack] {
                for name in ["ssmmessages", "ssmmessages-fips"] {
                    let url = format!("wss://{name}.{region}.{suffix}/v1/data-channel/s");
                    assert!(hosts.check(&url).is_ok(), "{url}");
                }
            }
            let private = format!("wss://vpce-1.ssmmessages.{region}.vpce.{suffix}/v1/data-channel/s");
            assert!(hosts.check(&private).is_ok(), "{private}");
            let other = if region == "cn-north-1" { "amazonaws.com" } else { "amazonaws.com.cn" };
            assert!(hosts.check(&format!("wss://ssmmessages.{region}.{other}/x")).is_err(), "{region}");
        }
    }
}
