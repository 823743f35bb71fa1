//! The credentials: where they come from, whose they are, when they end.

use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use crate::aws::{Access, Aws, CredentialsSource, Meaning};
use crate::clock;
use crate::reach::ReachError;

use super::DEADLINE;
use super::finding::{Component, Diagnosis, Finding, Outcome};

/// Credentials that end sooner are worth a warning.
const SOON: Duration = Duration::from_secs(15 * 60);

/// Resolves the credentials, and asks whose they are.
pub(super) async fn check(aws: &Aws) -> (Vec<Finding>, Option<Access>) {
    let source = match aws.credentials_source() {
        CredentialsSource::Environment => "the keys in the environment".to_owned(),
        CredentialsSource::Profile(name) => format!("profile `{name}`"),
        CredentialsSource::Chain => "AWS's default chain".to_owned(),
    };
    let finding = |outcome| Finding::new(Component::Credentials, source.as_str(), outcome);
    let access = match aws.access().await {
        Ok(access) => access,
        Err(error) => return (vec![finding(Outcome::failed(ReachError::from(error)))], None),
    };
    let outcome = match timeout(DEADLINE, access.caller()).await {
        Ok(Ok(caller)) => Outcome::Good(format!("{} in {}", caller.arn, access.region())),
        // A VPC may have no endpoint for STS.
        Ok(Err(error)) if error.meaning() == Meaning::Transient => {
            Outcome::Unknown(format!("whose they are is not known: {error}"))
        }
        Ok(Err(error)) => return (vec![finding(Outcome::failed(ReachError::from(error)))], None),
        Err(_) => Outcome::Unknown("STS did not answer in time".to_owned()),
    };
    let mut findings = vec![finding(outcome)];
    findings.extend(
        left(&access)
            .filter(|left| *left < SOON)
            .map(|left| finding(Outcome::Doubtful(Diagnosis::EndsSoon(left.as_secs() / 60)))),
    );
    (findings, Some(access))
}

fn left(access: &Access) -> Option<Duration> {
    let expiry: SystemTime = access.expiry()?;
    Some(expiry.duration_since(clock::wall()).unwrap_or_default())
}
