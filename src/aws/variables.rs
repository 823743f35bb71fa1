//! The variables with credentials. They stay in this layer, since they are secret.

use std::fmt;
use std::path::PathBuf;

use aws_credential_types::Credentials;
use aws_types::os_shim_internal::Env;

/// The variables that credentials come from; an empty one counts as not set.
#[derive(Clone, Default)]
pub struct CredentialVariables {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: Option<String>,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Option<String>,
    /// `AWS_SESSION_TOKEN`, also under its old name `AWS_SECURITY_TOKEN`.
    pub session_token: Option<String>,
    /// `AWS_WEB_IDENTITY_TOKEN_FILE`.
    pub web_identity_token_file: Option<PathBuf>,
    /// `AWS_ROLE_ARN`.
    pub role_arn: Option<String>,
    /// `AWS_ROLE_SESSION_NAME`.
    pub role_session_name: Option<String>,
}

impl CredentialVariables {
    /// Reads the process's own environment.
    pub fn from_process() -> Self {
        Self {
            access_key_id: variable("AWS_ACCESS_KEY_ID"),
            secret_access_key: variable("AWS_SECRET_ACCESS_KEY"),
            session_token: variable("AWS_SECURITY_TOKEN").or_else(|| variable("AWS_SESSION_TOKEN")),
            web_identity_token_file: variable("AWS_WEB_IDENTITY_TOKEN_FILE").map(PathBuf::from),
            role_arn: variable("AWS_ROLE_ARN"),
            role_session_name: variable("AWS_ROLE_SESSION_NAME"),
        }
    }

    /// Returns the keys, if both are set.
    pub fn keys(&self) -> Option<Credentials> {
        let (id, secret) = (self.access_key_id.clone()?, self.secret_access_key.clone()?);
        Some(Credentials::new(id, secret, self.session_token.clone(), None, "environment"))
    }
}

impl fmt::Debug for CredentialVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialVariables")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Returns a variable that is set and not empty.
pub(super) fn variable(name: &str) -> Option<String> {
    Env::real().get(name).ok().filter(|value| !value.trim().is_empty())
}
