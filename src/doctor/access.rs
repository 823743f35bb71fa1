//! The credentials: where they come from, whose they are, when they end.

use std::time::{Duration, SystemTime};

use crate::aws::{Access, Aws, CredentialsSource, Meaning};
use crate::clock;
use crate::reach::ReachError;

use super::finding::{Component, Diagnosis, Finding, Outcome};
use super::limit::Limit;

/// Credentials that end sooner are worth a warning.
const SOON: Duration = Duration::from_secs(15 * 60);

/// Resolves the credentials, and asks whose they are.
pub(super) async fn check(aws: &Aws, limit: Limit) -> (Vec<Finding>, Option<Access>) {
    let source = match aws.credentials_source() {
        CredentialsSource::Environment => "the keys in the environment".to_owned(),
        CredentialsSource::Profile(name) => format!("profile `{name}`"),
        CredentialsSource::Chain => "AWS's default chain".to_owned(),
    };
    let finding = |outcome| Finding::new(Component::Credentials, source.as_str(), outcome);
    let access = match limit.whole(aws.access()).await {
        Ok(Ok(access)) => access,
        Ok(Err(error)) => return (vec![finding(Outcome::failed(ReachError::from(error)))], None),
        Err(late) => return (vec![finding(Outcome::late(late))], None),
    };
    let outcome = match limit.check(access.caller()).await {
        Ok(Ok(caller)) => Outcome::Good(format!("{} in {}", caller.arn, access.region())),
        // A VPC may have no endpoint for STS.
        Ok(Err(error)) if error.meaning() == Meaning::Transient => {
            Outcome::Unknown(format!("whose they are is not known: {error}"))
        }
        Ok(Err(error)) => return (vec![finding(Outcome::failed(ReachError::from(error)))], None),
        Err(late) => Outcome::Unknown(format!("whose they are is not known: {late}")),
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
