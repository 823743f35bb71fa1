//! Roles that require MFA, which the SDK does not support.
//!
//! Handles a profile with `role_arn` and `mfa_serial`, or one that reaches such a profile through `source_profile`.
//! As in the AWS CLI: reads the CLI's cache (never writes it), else asks the user and calls AssumeRole. `mfa_serial`
//! without a role has no effect. If no profile of the chain requires MFA, the SDK resolves the credentials.

use std::path::Path;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_config::profile::{Profile, ProfileFileCredentialsProvider, ProfileSet};
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde::Deserialize;
use serde_json::Value;

use crate::clock;

use super::error::chain;
use super::{ApiError, MfaPrompt};

/// Credentials that expire within this time are not used.
const MARGIN: Duration = Duration::from_secs(60);

/// The start of STS's message for a code that is wrong or was used before.
const WRONG_CODE: &str = "MultiFactorAuthentication failed";

/// A chain of roles, and the source of the first credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Roles {
    base: Base,
    /// In the order of AssumeRole calls; the last is the user's profile. Never empty.
    roles: Vec<Role>,
}

/// The source of the first credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Base {
    /// A profile without a role.
    Profile(String),
    /// The access keys of a profile, whose other settings are ignored.
    Keys(String),
    /// A `credential_source`.
    Source(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Role {
    profile: String,
    arn: String,
    serial: Option<String>,
    external_id: Option<String>,
    session_name: Option<String>,
    seconds: Option<i32>,
}

/// The inputs for assuming roles.
pub(super) struct AssumeContext<'a> {
    pub profiles: &'a ProfileSet,
    pub config: &'a SdkConfig,
    pub provider: ProviderConfig,
    pub sts_endpoint: Option<String>,
    /// The folder of the AWS CLI's cache.
    pub cache: Option<&'a Path>,
    /// The prompt for codes; `None` after the start, when ssh uses the terminal.
    pub mfa_prompt: Option<&'a MfaPrompt>,
}

impl Roles {
    /// Finds the roles of a profile; returns `None` if none requires MFA. Also returns `None` for a chain that is not
    /// valid, since the SDK reports the error.
    pub fn with_mfa(profiles: &ProfileSet, name: &str) -> Option<Self> {
        let mut roles: Vec<Role> = Vec::new();
        let mut name = name.to_owned();
        let base = loop {
            let profile = profiles.get_profile(&name)?;
            if !roles.is_empty() && has_keys(profile) {
                break Base::Keys(name);
            }
            let Some(role) = Role::of(profile) else { break Base::Profile(name) };
            if roles.iter().any(|earlier| earlier.profile == role.profile) {
                return None;
            }
            roles.push(role);
            match (profile.get("source_profile"), profile.get("credential_source")) {
                (Some(source), None) => source.clone_into(&mut name),
                (None, Some(source)) => break Base::Source(source.to_owned()),
                (Some(_), Some(_)) | (None, None) => return None,
            }
        };
        roles.reverse();
        roles.iter().any(|role| role.serial.is_some()).then_some(Self { base, roles })
    }

    /// Assumes the roles in order, starting after the last one in the cache.
    pub async fn assume(&self, context: &AssumeContext<'_>) -> Result<Credentials, ApiError> {
        let cached = |role: &Role| role.cached(context.cache?);
        let known = self.roles.iter().enumerate().rev().find_map(|(at, role)| Some((at + 1, cached(role)?)));
        let (done, mut credentials) = match known {
            Some(known) => known,
            None => (0, self.base.credentials(context).await?),
        };
        for role in self.roles.iter().skip(done) {
            credentials = role.assume(credentials, context).await?;
        }
        Ok(credentials)
    }
}

impl Base {
    async fn credentials(&self, context: &AssumeContext<'_>) -> Result<Credentials, ApiError> {
        let provided = match self {
            Self::Profile(name) => {
                let provider = ProfileFileCredentialsProvider::builder().configure(&context.provider);
                provider.profile_name(name).build().provide_credentials().await
            }
            Self::Keys(name) => return keys(context.profiles, name),
            Self::Source(source) if source == "Environment" => {
                aws_config::environment::EnvironmentVariableCredentialsProvider::new()
                    .provide_credentials()
                    .await
            }
            Self::Source(source) if source == "EcsContainer" => {
                let provider =
                    aws_config::ecs::EcsCredentialsProvider::builder().configure(&context.provider);
                provider.build().provide_credentials().await
            }
            Self::Source(source) if source == "Ec2InstanceMetadata" => {
                let provider = aws_config::imds::credentials::ImdsCredentialsProvider::builder();
                provider.configure(&context.provider).build().provide_credentials().await
            }
            Self::Source(source) => {
                return Err(ApiError::NoCredentials(format!("unsupported `credential_source`: `{source}`")));
            }
        };
        provided.map_err(|error| ApiError::NoCredentials(chain(&error)))
    }
}

impl Role {
    fn of(profile: &Profile) -> Option<Self> {
        let text = |key: &str| profile.get(key).map(str::to_owned);
        if profile.get("web_identity_token_file").is_some() {
            return None;
        }
        Some(Self {
            profile: profile.name().to_owned(),
            arn: text("role_arn")?,
            serial: text("mfa_serial"),
            external_id: text("external_id"),
            session_name: text("role_session_name"),
            seconds: text("duration_seconds").and_then(|seconds| seconds.parse().ok()),
        })
    }

    async fn assume(&self, by: Credentials, context: &AssumeContext<'_>) -> Result<Credentials, ApiError> {
        let code = match &self.serial {
            Some(serial) => Some(self.code(serial, context.mfa_prompt).await?),
            None => None,
        };
        let mut builder = aws_sdk_sts::config::Builder::from(context.config).credentials_provider(by);
        builder.set_endpoint_url(context.sts_endpoint.clone());
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

    async fn code(&self, serial: &str, mfa_prompt: Option<&MfaPrompt>) -> Result<String, ApiError> {
        let missing =
            |cause| ApiError::NoCode { profile: self.profile.clone(), serial: serial.to_owned(), cause };
        let mfa_prompt = mfa_prompt.ok_or_else(|| missing(super::NoCode::NoTerminal))?;
        mfa_prompt.code(serial).await.map_err(missing)
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

/// Finds the profile with the SSO settings, through `source_profile`.
pub(super) fn sso_profile<'a>(profiles: &'a ProfileSet, name: &'a str) -> Option<&'a str> {
    let mut name = name;
    for _ in 0..profiles.profiles().count() {
        let profile = profiles.get_profile(name)?;
        if profile.get("sso_session").or_else(|| profile.get("sso_start_url")).is_some() {
            return Some(name);
        }
        name = profile.get("source_profile")?;
    }
    None
}

fn has_keys(profile: &Profile) -> bool {
    profile.get("aws_access_key_id").is_some() && profile.get("aws_secret_access_key").is_some()
}

fn keys(profiles: &ProfileSet, name: &str) -> Result<Credentials, ApiError> {
    let key = |key: &str| profiles.get_profile(name)?.get(key).map(str::to_owned);
    match (key("aws_access_key_id"), key("aws_secret_access_key")) {
        (Some(id), Some(secret)) => {
            Ok(Credentials::new(id, secret, key("aws_session_token"), None, "profile"))
        }
        (_, _) => Err(ApiError::NoCredentials(format!("profile `{name}` has no keys"))),
    }
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
    use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
    use aws_types::os_shim_internal::{Env, Fs};

    use super::*;

    async fn profiles(text: &str) -> ProfileSet {
        let files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, text).build();
        let env = Env::from_slice(&[]);
        aws_config::profile::load(&Fs::from_slice(&[]), &env, &files, None).await.expect("valid")
    }

    async fn roles(text: &str) -> Option<Roles> {
        Roles::with_mfa(&profiles(text).await, "p")
    }

    #[tokio::test(flavor = "current_thread")]
    async fn roles_are_assumed_in_order_from_the_base() {
        let text = "[profile p]\nrole_arn = outer\nsource_profile = q\nduration_seconds = 900\n\
                    [profile q]\nrole_arn = inner\nsource_profile = r\nmfa_serial = device\nexternal_id = e\n\
                    role_session_name = me\n[profile r]\nsso_session = s\n";
        let found = roles(text).await.expect("one has a device");
        assert_eq!(found.base, Base::Profile("r".into()));
        let inner = Role {
            profile: "q".into(),
            arn: "inner".into(),
            serial: Some("device".into()),
            external_id: Some("e".into()),
            session_name: Some("me".into()),
            seconds: None,
        };
        let outer = Role { profile: "p".into(), arn: "outer".into(), seconds: Some(900), ..Role::default() };
        assert_eq!(found.roles, [inner, outer]);
        assert_eq!(sso_profile(&profiles(text).await, "p"), Some("r"));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_base_is_chosen_as_in_the_aws_cli() {
        let role = "[profile p]\nrole_arn = a\nmfa_serial = d\n";
        let keys = "aws_access_key_id = k\naws_secret_access_key = s\n";
        for (text, base) in [
            (format!("{role}source_profile = p\n{keys}"), Some(Base::Keys("p".into()))),
            (
                format!("{role}source_profile = q\n[profile q]\nrole_arn = b\nsource_profile = p\n{keys}"),
                Some(Base::Keys("q".into())),
            ),
            (format!("{role}credential_source = Environment\n"), Some(Base::Source("Environment".into()))),
            (format!("{role}source_profile = q\n"), None),
            (format!("{role}source_profile = p\n"), None),
            (format!("{role}{keys}"), None),
            (format!("[profile p]\nmfa_serial = d\n{keys}"), None),
            (format!("[profile p]\nrole_arn = a\nsource_profile = q\n[profile q]\n{keys}"), None),
            (format!("{role}web_identity_token_file = f\n"), None),
        ] {
            assert_eq!(roles(&text).await.map(|roles| roles.base), base, "{text}");
        }
    }

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
