//! A role that a profile names, and how it is assumed.

use super::files::Profile;

/// A role, and how it is assumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// The profile with the role.
    pub profile: String,
    /// The role's ARN.
    pub arn: String,
    /// The MFA device.
    pub serial: Option<String>,
    /// What the role's trust policy asks for.
    pub(super) external_id: Option<String>,
    /// The name of the role's session.
    pub(super) session_name: Option<String>,
    /// How long the credentials are valid.
    pub(super) seconds: Option<i32>,
}

impl Role {
    /// Returns the role of a profile. A role with a web identity is a source of its own.
    pub fn of(name: &str, profile: &Profile) -> Option<Self> {
        let text = |key: &str| profile.get(key).map(str::to_owned);
        if profile.has("web_identity_token_file") {
            return None;
        }
        Some(Self {
            profile: name.to_owned(),
            arn: text("role_arn")?,
            serial: text("mfa_serial"),
            external_id: text("external_id"),
            session_name: text("role_session_name"),
            seconds: text("duration_seconds").and_then(|seconds| seconds.trim().parse().ok()),
        })
    }
}
