//! The variables that a definition carries: what the shell of `up` has, and a supervisor would not have.

use thiserror::Error;

/// Variables that decide how a forward runs, beside `FUMIDAI_*` and the proxies.
const CARRIED: [&str; 29] = [
    "PATH",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_CLOUDFORMATION",
    "AWS_ENDPOINT_URL_EC2",
    "AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT",
    "AWS_ENDPOINT_URL_ECS",
    "AWS_ENDPOINT_URL_SFN",
    "AWS_ENDPOINT_URL_SSM",
    "AWS_ENDPOINT_URL_SSMMESSAGES",
    "AWS_ENDPOINT_URL_STS",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_EC2_METADATA_DISABLED",
    "RUST_LOG",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
];

/// Their values are paths, which a supervisor would look for elsewhere.
const PATHS: [&str; 6] = [
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "FUMIDAI_LOG_FILE",
];

/// A variable with a password in its URL, which must not be in a file that other programs read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{name}` has a password, which a file of the supervisor must not have")]
pub struct SecretVariable {
    /// The variable.
    pub name: &'static str,
}

/// Returns the variables that are set, of those above and of the others: those of settings and proxies.
///
/// # Errors
/// [`SecretVariable`]
pub fn carried(
    others: impl IntoIterator<Item = &'static str>,
    read: impl Fn(&str) -> Option<String>,
    absolute: impl Fn(&str) -> String,
) -> Result<Vec<(String, String)>, SecretVariable> {
    let mut found: Vec<(String, String)> = Vec::new();
    for name in CARRIED.into_iter().chain(others) {
        let Some(value) = read(name).filter(|value| !value.is_empty()) else { continue };
        if found.iter().any(|(known, _)| known == name) {
            continue;
        }
        if has_password(&value) {
            return Err(SecretVariable { name });
        }
        let is_relative = PATHS.contains(&name) && !value.starts_with('~');
        found.push((name.to_owned(), if is_relative { absolute(&value) } else { value }));
    }
    Ok(found)
}

/// Returns true for `scheme://user:password@host`, also without a scheme or a password: a user name may be a token.
fn has_password(value: &str) -> bool {
    // A password may have `/`, `?`, `#` and `@` in it: the last `@` ends the login.
    match value.split_once("://") {
        Some((_, rest)) => rest.contains('@'),
        None => value.rsplit_once('@').is_some_and(|(login, _)| login.contains(':')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Vec<(String, String)>, SecretVariable> {
        let read = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        carried(["FUMIDAI_REASON", "AWS_PROFILE", "HTTPS_PROXY"], read, |path| format!("/here/{path}"))
    }

    #[test]
    fn what_matters_is_carried_once_and_keys_are_not() {
        let found = of(&[
            ("AWS_PROFILE", "prod"),
            ("AWS_CONFIG_FILE", "aws/config"),
            ("AWS_CA_BUNDLE", "~/ca.pem"),
            ("AWS_ACCESS_KEY_ID", "AKIA"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("FUMIDAI_REASON", "ticket a@b"),
            ("LS_COLORS", "x"),
            ("AWS_REGION", ""),
        ]);
        let found = found.expect("no secret");
        let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(
            found,
            [
                ("AWS_PROFILE", "prod"),
                ("AWS_CONFIG_FILE", "/here/aws/config"),
                ("AWS_CA_BUNDLE", "~/ca.pem"),
                ("FUMIDAI_REASON", "ticket a@b"),
            ]
        );
    }

    #[test]
    fn a_password_is_refused() {
        for (value, is_refused) in [
            ("http://me:s3cret@proxy:3128", true),
            ("http://token@proxy:3128", true),
            ("me:s3cret@proxy:3128", true),
            ("me:s3/cret@proxy:3128", true),
            // Of a proxy, the last `@` ends the login.
            ("http://me:s3/cret@proxy:3128", true),
            ("http://me:s3?cret@proxy", true),
            ("http://me:s3#cret@proxy", true),
            ("http://to/ken@proxy", true),
            ("http://proxy:3128", false),
            ("proxy:3128", false),
            ("[::1]:3128", false),
        ] {
            let name = "HTTPS_PROXY";
            let expected =
                if is_refused { Err(SecretVariable { name }) } else { Ok(vec![(name.into(), value.into())]) };
            assert_eq!(of(&[(name, value)]), expected, "{value}");
        }
    }
}
