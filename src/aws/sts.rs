//! STS: the caller's identity.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Access, ApiError, Aws};

/// The account and the caller are not worth a longer wait.
const ACCOUNT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where the calls go: what a user has to know if a target is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The profile, if one is named.
    pub profile: Option<String>,
    /// The region; `None` is unknown.
    pub region: Option<String>,
    /// The account id; `None` is unknown.
    pub account: Option<String>,
}

/// Where the credentials of the calls come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsSource {
    /// The keys in the environment.
    Environment,
    /// The named profile.
    Profile(String),
    /// What the SDK finds first: the default profile, web identity, a container, the instance.
    Chain,
}

impl Aws {
    /// Returns where the credentials come from.
    pub fn credentials_source(&self) -> CredentialsSource {
        if !self.options.profile_overrides_keys && self.variables.keys().is_some() {
            return CredentialsSource::Environment;
        }
        self.options.profile.clone().map_or(CredentialsSource::Chain, CredentialsSource::Profile)
    }

    /// Returns region, profile and account of the calls, as far as they are known within 3 s.
    pub async fn place(&self) -> Place {
        let mut place = Place {
            profile: self.options.profile.clone(),
            region: self.options.region.clone(),
            account: None,
        };
        let ask = async {
            let access = self.access().await?;
            place.region = Some(access.region().to_owned());
            place.account = Some(access.caller().await?.account);
            Ok::<_, ApiError>(())
        };
        match tokio::time::timeout(ACCOUNT_TIMEOUT, ask).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the account is unknown"),
            Err(_) => tracing::debug!("the account is unknown: no answer in time"),
        }
        place
    }
}

/// The identity of the credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account id.
    pub account: String,
    /// The ARN of the user, or of the role session.
    pub arn: String,
}

/// The ARN of the caller, and the access key that it is of.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownCaller(Arc<Mutex<Option<(String, String)>>>);

impl KnownCaller {
    fn remember(&self, access_key_id: &str, arn: &str) {
        let known = Some((access_key_id.to_owned(), arn.to_owned()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    fn of(&self, access_key_id: &str) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(key, _)| key == access_key_id).map(|(_, arn)| arn.clone())
    }
}

impl Access {
    /// Returns the caller's ARN if this process has asked for it before. Asks nothing.
    pub fn known_caller(&self) -> Option<String> {
        self.caller.of(self.access_key_id())
    }

    /// Learns who the caller is within 3 s; a failure leaves it unknown.
    pub async fn learn_caller(&self) {
        match tokio::time::timeout(ACCOUNT_TIMEOUT, self.caller()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the caller is unknown"),
            Err(_) => tracing::debug!("the caller is unknown: no answer in time"),
        }
    }

    /// Returns the caller's identity. Needs no permission.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn caller(&self) -> Result<Caller, ApiError> {
        const OPERATION: &str = "GetCallerIdentity";
        let mut builder = aws_sdk_sts::config::Builder::from(&self.config);
        if let Some(url) = &self.endpoints.sts {
            builder = builder.endpoint_url(url).use_fips(false).use_dual_stack(false);
        }
        let answer = aws_sdk_sts::Client::from_conf(builder.build()).get_caller_identity().send().await;
        let answer = answer.map_err(|error| self.failed(OPERATION, &error))?;
        match (answer.account, answer.arn) {
            (Some(account), Some(arn)) => {
                self.caller.remember(self.access_key_id(), &arn);
                Ok(Caller { account, arn })
            }
            (_, _) => Err(ApiError::Service {
                operation: OPERATION,
                code: "IncompleteAnswer".to_owned(),
                message: "no account or ARN".to_owned(),
                status: 200,
            }),
        }
    }
}
