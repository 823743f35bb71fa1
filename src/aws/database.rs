//! Passwords of databases by IAM: tokens that are signed here, and Redshift's credentials.
//!
//! A token is the URL of a request that is never sent: presigned by SigV4 for the database's own name, without its scheme.
//! It needs no call and is valid for 15 minutes.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use serde::Deserialize;
use serde_json::json;

use super::json::JsonClient;
use super::query::{QueryClient, encode};
use super::{Access, ApiError, Token};

/// The longest life that RDS and ElastiCache accept.
const TOKEN_LIFE: Duration = Duration::from_secs(900);
/// The parameters that a signature adds.
const SIGNATURE_ORDER: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
];

/// A database that takes a token in the place of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFor {
    /// RDS or Aurora.
    Rds {
        /// The endpoint's own name, also if it is reached through a forward.
        host: String,
        /// Its own port.
        port: u16,
        /// The database user.
        user: String,
    },
    /// ElastiCache for Valkey or Redis.
    ElastiCache {
        /// The replication group's id, or the serverless cache's name.
        cache: String,
        /// The cache user.
        user: String,
        /// Whether the cache is serverless.
        serverless: bool,
    },
}

/// A database whose password is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedshiftAt {
    /// A cluster.
    Cluster {
        /// Its identifier.
        id: String,
        /// The database user.
        user: String,
    },
    /// A serverless workgroup: the user is the caller.
    Workgroup(String),
}

/// A user and the password for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseLogin {
    /// The user to log in as, which is not the one that was asked for.
    pub user: String,
    /// The password.
    pub password: Token,
}

impl Access {
    /// Signs a token.
    ///
    /// # Errors
    /// [`ApiError::Settings`] if the name of the database cannot be part of a URL.
    pub fn token(&self, what: &TokenFor, now: SystemTime) -> Result<Token, ApiError> {
        let signer = &self.signer;
        presign(what, &signer.credentials, &signer.region, now).map(Token::new)
    }

    /// Asks Redshift for a user and a password.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn redshift_login(
        &self,
        at: &RedshiftAt,
        database: Option<&str>,
    ) -> Result<DatabaseLogin, ApiError> {
        match at {
            RedshiftAt::Cluster { id, user } => self.cluster_login(id, user, database).await,
            RedshiftAt::Workgroup(name) => self.workgroup_login(name, database).await,
        }
    }

    async fn cluster_login(
        &self,
        id: &str,
        user: &str,
        database: Option<&str>,
    ) -> Result<DatabaseLogin, ApiError> {
        let service = self.service("redshift", "redshift", self.endpoints.redshift.as_ref())?;
        let client = QueryClient { version: "2012-12-01", service };
        let mut parameters = vec![("ClusterIdentifier", id), ("DbUser", user)];
        parameters.extend(database.map(|database| ("DbName", database)));
        let parameters = parameters.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let answer: ClusterAnswer = client.call("GetClusterCredentials", parameters.collect()).await?;
        Ok(answer.result.into())
    }

    async fn workgroup_login(&self, name: &str, database: Option<&str>) -> Result<DatabaseLogin, ApiError> {
        let chosen = self.endpoints.redshift_serverless.as_ref();
        let service = self.service("redshift-serverless", "redshift-serverless", chosen)?;
        let client =
            JsonClient { content_type: "application/x-amz-json-1.1", prefix: "RedshiftServerless", service };
        let mut input = json!({ "workgroupName": name });
        if let Some(database) = database {
            input["dbName"] = database.into();
        }
        let answer: WorkgroupLogin = client.call("GetCredentials", &input).await?;
        Ok(answer.into())
    }
}

#[derive(Debug, Deserialize)]
struct ClusterAnswer {
    #[serde(rename = "GetClusterCredentialsResult")]
    result: ClusterLogin,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ClusterLogin {
    db_user: String,
    db_password: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WorkgroupLogin {
    db_user: String,
    db_password: String,
}

impl From<ClusterLogin> for DatabaseLogin {
    fn from(login: ClusterLogin) -> Self {
        Self { user: login.db_user, password: Token::new(login.db_password) }
    }
}

impl From<WorkgroupLogin> for DatabaseLogin {
    fn from(login: WorkgroupLogin) -> Self {
        Self { user: login.db_user, password: Token::new(login.db_password) }
    }
}

/// Never shows the password.
impl std::fmt::Debug for ClusterLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterLogin").field("db_user", &self.db_user).finish_non_exhaustive()
    }
}

/// Never shows the password.
impl std::fmt::Debug for WorkgroupLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkgroupLogin").field("db_user", &self.db_user).finish_non_exhaustive()
    }
}

impl TokenFor {
    /// Returns the service in the signature.
    fn service(&self) -> &'static str {
        match self {
            Self::Rds { .. } => "rds-db",
            Self::ElastiCache { .. } => "elasticache",
        }
    }

    fn host(&self) -> String {
        match self {
            Self::Rds { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Rds { host, port, .. } => format!("{host}:{port}"),
            // As the service sees it, in lower case.
            Self::ElastiCache { cache, .. } => cache.to_lowercase(),
        }
    }

    /// Returns the parameters of the request, in the order of their names.
    fn query(&self) -> String {
        match self {
            Self::Rds { user, .. } => format!("Action=connect&DBUser={}", encode(user)),
            Self::ElastiCache { user, serverless: false, .. } => {
                format!("Action=connect&User={}", encode(user))
            }
            Self::ElastiCache { user, serverless: true, .. } => {
                format!("Action=connect&ResourceType=ServerlessCache&User={}", encode(user))
            }
        }
    }
}

fn presign(
    what: &TokenFor,
    credentials: &Credentials,
    region: &str,
    now: SystemTime,
) -> Result<String, ApiError> {
    let identity = credentials.clone().into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
    settings.expires_in = Some(TOKEN_LIFE);
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(what.service())
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| ApiError::Settings(error.to_string()))?
        .into();
    let (host, query) = (what.host(), what.query());
    let url = format!("https://{host}/?{query}");
    let headers = [("host", host.as_str())].into_iter();
    let failed = |error: &dyn std::fmt::Display| ApiError::Settings(format!("`{host}`: {error}"));
    let request = SignableRequest::new("GET", url, headers, SignableBody::Bytes(&[]));
    let signed = sign(request.map_err(|error| failed(&error))?, &parameters);
    let (instructions, _) = signed.map_err(|error| failed(&error))?.into_parts();
    Ok(format!("{host}/?{query}{}", signature(instructions.params())))
}

/// Writes the parameters of the signature in the AWS CLI's order, which a signature does not depend on.
fn signature(parameters: &[(&str, std::borrow::Cow<'static, str>)]) -> String {
    let of = |name: &&str| parameters.iter().find(|(known, _)| known == name);
    let found = SIGNATURE_ORDER.iter().filter_map(of);
    found.map(|(name, value)| format!("&{name}={}", encode(value))).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::UNIX_EPOCH;

    use aws_smithy_types::DateTime;
    use aws_smithy_types::date_time::Format;

    use super::*;

    fn rds(user: &str) -> TokenFor {
        TokenFor::Rds {
            host: "prod-instance.us-east-1.rds.amazonaws.com".to_owned(),
            port: 3306,
            user: user.to_owned(),
        }
    }

    fn at(time: &str) -> SystemTime {
        let time = DateTime::from_str(time, Format::DateTime).expect("a time");
        UNIX_EPOCH + Duration::from_secs(time.secs().try_into().expect("after 1970"))
    }

    fn credentials(token: Option<&str>) -> Credentials {
        Credentials::new("akid", "secret", token.map(str::to_owned), None, "test")
    }

    #[test]
    fn a_token_is_that_of_the_rds_sdks_test() {
        let token = presign(&rds("peccy"), &credentials(None), "us-east-1", at("2024-08-26T22:00:00Z"))
            .expect("signed");
        assert_eq!(
            token,
            "prod-instance.us-east-1.rds.amazonaws.com:3306/?Action=connect&DBUser=peccy\
             &X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=akid%2F20240826%2Fus-east-1%2Frds-db%2Faws4_request\
             &X-Amz-Date=20240826T220000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=dd0cba843009474347af724090233265628ace491ea17ce3eb3da098b983ad89"
        );
    }

    /// The AWS CLI cannot be given a time: the token is signed again at the time in its output.
    #[test]
    fn tokens_are_those_of_the_aws_cli() {
        for (user, token) in
            [("peccy", None), ("app user+x@y", None), ("a/b?c=d&e", Some("a+session/token=="))]
        {
            let printed = of_aws_cli(user, token);
            let (_, date) = printed.split_once("X-Amz-Date=").expect("a date");
            let date = format!(
                "{}-{}-{}T{}:{}:{}Z",
                &date[..4],
                &date[4..6],
                &date[6..8],
                &date[9..11],
                &date[11..13],
                &date[13..15]
            );
            let ours = presign(&rds(user), &credentials(token), "us-east-1", at(&date)).expect("signed");
            assert_eq!(ours, printed.trim(), "{user}");
        }
    }

    /// The AWS CLI has no command for them: botocore signs the same request at the time in our output.
    #[test]
    fn tokens_of_caches_are_those_of_botocore() {
        const SIGN: &str = "import sys\nfrom datetime import datetime\nfrom unittest import mock\n\
            from botocore.auth import SigV4QueryAuth\nfrom botocore.awsrequest import AWSRequest\n\
            from botocore.credentials import Credentials\n\
            now = lambda *_: datetime(2024, 8, 26, 22)\nrequest = AWSRequest(method='GET', url=sys.argv[1])\n\
            with mock.patch('botocore.auth.get_current_datetime', now):\n    \
                SigV4QueryAuth(Credentials('akid', 'secret', 'a+token='), 'elasticache', 'eu-west-1', expires=900).add_auth(request)\n\
            print(request.url)\n";
        for (serverless, query) in [
            (false, "Action=connect&User=app-1"),
            (true, "Action=connect&ResourceType=ServerlessCache&User=app-1"),
        ] {
            let cache = TokenFor::ElastiCache { cache: "orders".into(), user: "app-1".into(), serverless };
            let ours =
                presign(&cache, &credentials(Some("a+token=")), "eu-west-1", at("2024-08-26T22:00:00Z"));
            let mut python = Command::new(of_venv("FUMIDAI_TEST_VENV", "python"));
            let output =
                python.args(["-c", SIGN, &format!("http://orders/?{query}")]).output().expect("Python");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let theirs = String::from_utf8(output.stdout).expect("text");
            let sorted = |url: &str| {
                let mut parts: Vec<String> = url.split('&').map(str::to_owned).collect();
                parts.sort();
                parts
            };
            let theirs = theirs.trim().trim_start_matches("http://");
            assert_eq!(sorted(&ours.expect("signed")), sorted(theirs));
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the tests' environment names the folder")]
    fn of_venv(variable: &str, program: &str) -> String {
        let own = || format!("{}/target/test-venv", env!("CARGO_MANIFEST_DIR"));
        format!("{}/bin/{program}", std::env::var(variable).unwrap_or_else(|_| own()))
    }

    #[expect(clippy::disallowed_methods, reason = "the tests' environment names the AWS CLI")]
    fn of_aws_cli(user: &str, token: Option<&str>) -> String {
        let own = || format!("{}/target/test-venv/bin/aws", env!("CARGO_MANIFEST_DIR"));
        let cli = std::env::var("FUMIDAI_TEST_AWS").unwrap_or_else(|_| own());
        let mut command = Command::new(cli);
        command
            .args(["rds", "generate-db-auth-token", "--region", "us-east-1", "--port", "3306"])
            .args(["--hostname", "prod-instance.us-east-1.rds.amazonaws.com", "--username", user])
            .env("AWS_ACCESS_KEY_ID", "akid")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env_remove("AWS_SESSION_TOKEN")
            .env_remove("AWS_PROFILE");
        if let Some(token) = token {
            command.env("AWS_SESSION_TOKEN", token);
        }
        let output = command.output().expect("`tests/run --install` installs the AWS CLI");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    #[test]
    fn a_token_of_a_cache_has_its_name_and_no_port() {
        let cache = |serverless| TokenFor::ElastiCache {
            cache: "Orders".to_owned(),
            user: "app".to_owned(),
            serverless,
        };
        let now = at("2024-08-26T22:00:00Z");
        for (serverless, begin) in [
            (false, "orders/?Action=connect&User=app&X-Amz-Algorithm="),
            (true, "orders/?Action=connect&ResourceType=ServerlessCache&User=app&X-Amz-Algorithm="),
        ] {
            let token = presign(&cache(serverless), &credentials(None), "eu-west-1", now).expect("signed");
            assert!(token.starts_with(begin) && token.contains("eu-west-1%2Felasticache%2F"), "{token}");
        }
    }

    #[test]
    fn a_name_that_is_no_host_is_refused() {
        let cache =
            TokenFor::ElastiCache { cache: "a b".to_owned(), user: "app".to_owned(), serverless: false };
        let refused = presign(&cache, &credentials(None), "eu-west-1", UNIX_EPOCH);
        assert!(matches!(refused, Err(ApiError::Settings(_))), "{refused:?}");
    }
}
