//! Assuming roles: one AssumeRole call for each, with the code of an MFA device where the profile names one.
//!
//! As in the AWS CLI: reads the CLI's cache for a role with a device (never writes it), else asks the user. `mfa_serial`
//! without a role has no effect.

use std::path::Path;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde::Deserialize;
use serde_json::Value;

use crate::clock;

use super::error::ApiError;
use super::prompts::{NoCode, Prompts};
use super::role::Role;

/// Credentials that expire within this time are not used.
const MARGIN: Duration = Duration::from_secs(60);

/// The start of STS's message for a code that is wrong or was used before.
const WRONG_CODE: &str = "MultiFactorAuthentication failed";

/// The inputs for assuming roles.
pub(super) struct AssumeContext<'a> {
    pub config: &'a SdkConfig,
    pub sts_endpoint: Option<String>,
    /// The folder of the AWS CLI's cache.
    pub cache: Option<&'a Path>,
    /// The prompt for codes; `None` after the start, when ssh uses the terminal.
    pub prompts: Option<&'a Prompts>,
}

/// Assumes the roles in order. If one has an MFA device, starts after the last one in the cache. `base` resolves the first
/// credentials.
pub(super) async fn assume_all(
    roles: &[Role],
    context: &AssumeContext<'_>,
    base: impl Future<Output = Result<Credentials, ApiError>>,
) -> Result<Credentials, ApiError> {
    let cache = context.cache.filter(|_| needs_code(roles));
    let cached = |role: &Role| role.cached(cache?);
    let known = roles.iter().enumerate().rev().find_map(|(at, role)| Some((at + 1, cached(role)?)));
    let (done, mut credentials) = match known {
        Some(known) => known,
        None => (0, base.await?),
    };
    for role in roles.iter().skip(done) {
        credentials = role.assume(credentials, context).await?;
    }
    Ok(credentials)
}

/// Returns true if one of the roles requires an MFA code.
pub(super) fn needs_code(roles: &[Role]) -> bool {
    roles.iter().any(|role| role.serial.is_some())
}

impl Role {
    async fn assume(&self, by: Credentials, context: &AssumeContext<'_>) -> Result<Credentials, ApiError> {
        let code = match &self.serial {
            Some(serial) => Some(self.code(serial, context.prompts).await?),
            None => None,
        };
        let mut builder = aws_sdk_sts::config::Builder::from(context.config).credentials_provider(by);
        if let Some(url) = &context.sts_endpoint {
            builder = builder.endpoint_url(url).use_fips(false).use_dual_stack(false);
        }
        let call = aws_sdk_sts::Client::from_conf(builder.build()).assume_role().role_arn(&self.arn);
        let session_name = self.session_name.clone().unwrap_or_else(|| format!("fumidai-{}", seconds_now()));
        let call = call.role_session_name(session_name).set_duration_seconds(self.seconds);
        let call = call.set_external_id(self.external_id.clone());
        let answer = call.set_serial_number(self.serial.clone()).set_token_code(code).send().await;
        let answer = answer.map_err(|error| wrong_code(ApiError::from_sdk("AssumeRole", &error)))?;
        let given = answer
            .credentials
            .ok_or_else(|| ApiError::NoCredentials("AssumeRole returned no credentials".to_owned()))?;
        Ok(Credentials::new(
            given.access_key_id,
            given.secret_access_key,
            Some(given.session_token),
            SystemTime::try_from(given.expiration).ok(),
            "AssumeRole with MFA",
        ))
    }

    async fn code(&self, serial: &str, prompts: Option<&Prompts>) -> Result<String, ApiError> {
        let missing =
            |cause| ApiError::NoCode { profile: self.profile.clone(), serial: serial.to_owned(), cause };
        let prompts = prompts.ok_or_else(|| missing(NoCode::NoTerminal))?;
        prompts.code(serial).await.map_err(missing)
    }

    /// Reads the role's credentials from the AWS CLI's cache.
    fn cached(&self, cache: &Path) -> Option<Credentials> {
        let text = std::fs::read(cache.join(format!("{}.json", self.cache_key()))).ok()?;
        let cached: Cached = serde_json::from_slice(&text).ok()?;
        let expires = cached.credentials.expires()?;
        let credentials = Credentials::new(
            cached.credentials.access_key_id,
            cached.credentials.secret_access_key,
            Some(cached.credentials.session_token),
            Some(expires),
            "the AWS CLI's cache",
        );
        is_fresh(&credentials).then_some(credentials)
    }

    /// Returns botocore's file name (`AssumeRoleCredentialFetcher._create_cache_key`): the SHA-1 of the call's
    /// arguments in the format of Python's `json.dumps(…, sort_keys=True)`.
    fn cache_key(&self) -> String {
        let text = |value: &Option<String>| value.clone().map(Value::from);
        let arguments = [
            ("DurationSeconds", self.seconds.map(Value::from)),
            ("ExternalId", text(&self.external_id)),
            ("RoleArn", Some(self.arn.clone().into())),
            ("RoleSessionName", text(&self.session_name)),
            ("SerialNumber", text(&self.serial)),
        ];
        let written =
            arguments.into_iter().filter_map(|(name, value)| Some(format!("\"{name}\": {}", value?)));
        let written = format!("{{{}}}", written.collect::<Vec<_>>().join(", "));
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, written.as_bytes());
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[derive(Deserialize)]
struct Cached {
    #[serde(rename = "Credentials")]
    credentials: CachedKeys,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CachedKeys {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

impl CachedKeys {
    /// Parses the expiration; older versions of the AWS CLI write `UTC` as the time zone.
    fn expires(&self) -> Option<SystemTime> {
        let text = self.expiration.replace("UTC", "Z");
        let time = DateTime::from_str(&text, Format::DateTimeWithOffset).ok()?;
        SystemTime::try_from(time).ok()
    }
}

/// Returns true if credentials stay valid for at least [`MARGIN`].
pub(super) fn is_fresh(credentials: &Credentials) -> bool {
    credentials.expiry().is_none_or(|end| end > clock::wall() + MARGIN)
}

/// Converts STS's AccessDenied for a wrong code, which no permission can fix, to a credentials error.
fn wrong_code(error: ApiError) -> ApiError {
    if matches!(&error, ApiError::Service { message, .. } if message.contains(WRONG_CODE)) {
        return ApiError::NoCredentials(error.to_string());
    }
    error
}

fn seconds_now() -> u64 {
    clock::wall().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_files_are_named_as_in_botocore() {
        let role = Role {
            arn: "arn:aws:iam::123456789012:role/admin".into(),
            serial: Some("arn:aws:iam::123456789012:mfa/me".into()),
            ..Role::default()
        };
        // Both were made by botocore 1.43.11.
        let long = Role { seconds: Some(3600), external_id: Some("x y".into()), ..role.clone() };
        assert_eq!(long.cache_key(), "e3b1f52975c418c4bc8f2581e0c7db3294900a0b");
        let named = Role { session_name: Some("me".into()), ..role };
        assert_eq!(named.cache_key(), "dd45453a823a91cfb2f20761a68e7bff3c7f1912");
    }

    #[test]
    fn cached_credentials_are_used_until_they_expire() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let role = Role { arn: "a".into(), ..Role::default() };
        let file = folder.path().join(format!("{}.json", role.cache_key()));
        for (end, is_used) in [
            ("2999-01-01T00:00:00Z", true),
            ("2999-01-01T00:00:00+00:00", true),
            ("2999-01-01T00:00:00UTC", true),
            ("2020-01-01T00:00:00Z", false),
            ("soon", false),
        ] {
            let text = format!(
                r#"{{"Credentials":{{"AccessKeyId":"K","SecretAccessKey":"s","SessionToken":"t","Expiration":"{end}"}}}}"#
            );
            std::fs::write(&file, text).expect("a file");
            let found = role.cached(folder.path());
            assert_eq!(found.is_some_and(|found| found.access_key_id() == "K"), is_used, "{end}");
        }
    }
}
