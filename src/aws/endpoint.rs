//! Service endpoints: from the user's settings, else from the SDK's table of partitions.

use aws_config::SdkConfig;
use aws_sdk_ssm::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_types::service_config::ServiceConfigKey;

use super::ApiError;

/// Returns a service's endpoint from the environment or from the profile's `services` section.
pub(super) fn setting(config: &SdkConfig, service: &'static str) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(service)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    config.service_config()?.load_config(key.ok()?)
}

/// Returns a region's DNS suffix: `amazonaws.com` for `https://ssm.eu-west-1.amazonaws.com`.
pub(super) async fn suffix(region: &str, dual_stack: bool) -> Option<String> {
    let url = of_ssm(region, dual_stack, false).await.ok()?;
    let host = url.strip_prefix("https://")?.trim_end_matches('/');
    Some(host.strip_prefix(&format!("ssm.{region}."))?.to_owned())
}

/// Returns the endpoint of a service: the user's setting for `id`, else the one of the SDK's rules, with `label` as the first
/// part of the host.
///
/// # Errors
/// [`ApiError::Settings`] if the SDK has no endpoint for that region, or none with FIPS or dual stack as requested.
pub(super) async fn of_service(
    config: &SdkConfig,
    region: &str,
    id: &'static str,
    label: &str,
) -> Result<String, ApiError> {
    if let Some(url) = setting(config, id).or_else(|| config.endpoint_url().map(str::to_owned)) {
        return Ok(url);
    }
    let dual_stack = config.use_dual_stack().unwrap_or_default();
    let url = of_ssm(region, dual_stack, config.use_fips().unwrap_or_default()).await?;
    Ok(url.replacen("://ssm", &format!("://{label}"), 1))
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
            assert_eq!(of_service(&config, region, "EC2", "ec2").await.as_deref(), Ok(url), "{region}");
        }
        let config = SdkConfig::builder().build();
        let states = of_service(&config, "us-gov-west-1", "SFN", "states").await;
        assert_eq!(states.as_deref(), Ok("https://states.us-gov-west-1.amazonaws.com"));
        let config = SdkConfig::builder().endpoint_url("http://mine").build();
        assert_eq!(of_service(&config, "eu-west-1", "EC2", "ec2").await.as_deref(), Ok("http://mine"));
    }
}
