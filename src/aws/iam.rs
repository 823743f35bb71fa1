//! IAM: what a user or role may do, by IAM's own simulation, and the role of an instance profile.
//!
//! IAM has one endpoint for each partition, which is in one region.

use serde::Deserialize;

use super::query::{QueryClient, numbered};
use super::{Access, ApiError};

/// The result of the simulation for one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Simulated {
    /// It is allowed.
    Allowed,
    /// No policy allows it.
    Denied,
    /// A policy denies it.
    ExplicitlyDenied,
    /// It depends on what the simulation does not know, such as a tag of a session.
    Depends,
}

impl Access {
    /// Simulates actions of a user or role on a resource; returns the verdict for each.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn simulate_principal_policy(
        &self,
        principal: &str,
        actions: &[String],
        resource: &str,
    ) -> Result<Vec<(String, Simulated)>, ApiError> {
        let mut parameters = vec![("PolicySourceArn".to_owned(), principal.to_owned())];
        parameters.extend(numbered("ActionNames.member", actions));
        parameters.push(("ResourceArns.member.1".to_owned(), resource.to_owned()));
        let answer: Simulation = self.iam()?.call("SimulatePrincipalPolicy", parameters).await?;
        let results = answer.result.results.member.into_iter();
        Ok(results.map(|result| (result.eval_action_name.clone(), result.verdict())).collect())
    }

    /// Returns the ARN of the role of an instance profile; `None` if it has none.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn role_of_profile(&self, profile: &str) -> Result<Option<String>, ApiError> {
        let parameters = vec![("InstanceProfileName".to_owned(), profile.to_owned())];
        let answer: ProfileAnswer = self.iam()?.call("GetInstanceProfile", parameters).await?;
        Ok(answer.result.profile.roles.member.into_iter().next().map(|role| role.arn))
    }

    fn iam(&self) -> Result<QueryClient, ApiError> {
        let (url, region) = home(&self.signer.region);
        let own = self.endpoints.iam.clone().unwrap_or_else(|| url.to_owned());
        let mut service = self.service("iam", "iam", Some(&own))?;
        region.clone_into(&mut service.region);
        Ok(QueryClient { version: "2010-05-08", service })
    }
}

/// Returns the endpoint of IAM in the partition of a region, and the region that signatures name (IAM's endpoint list).
fn home(region: &str) -> (&'static str, &'static str) {
    match region.split('-').next() {
        Some("cn") => ("https://iam.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        _ if region.starts_with("us-gov-") => ("https://iam.us-gov.amazonaws.com", "us-gov-west-1"),
        _ => ("https://iam.amazonaws.com", "us-east-1"),
    }
}

/// A list in IAM's XML: `<…><member/>…</…>`.
#[derive(Debug, Deserialize)]
struct Members<T> {
    #[serde(default = "Vec::new")]
    member: Vec<T>,
}

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self { member: Vec::new() }
    }
}

#[derive(Debug, Deserialize)]
struct Simulation {
    #[serde(rename = "SimulatePrincipalPolicyResult")]
    result: SimulationResult,
}

#[derive(Debug, Deserialize)]
struct SimulationResult {
    #[serde(rename = "EvaluationResults", default)]
    results: Members<Evaluation>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Evaluation {
    eval_action_name: String,
    eval_decision: String,
    #[serde(default)]
    missing_context_values: Members<String>,
}

impl Evaluation {
    fn verdict(&self) -> Simulated {
        match self.eval_decision.as_str() {
            "allowed" => Simulated::Allowed,
            "explicitDeny" => Simulated::ExplicitlyDenied,
            _ if !self.missing_context_values.member.is_empty() => Simulated::Depends,
            _ => Simulated::Denied,
        }
    }
}

#[derive(Debug, Deserialize)]
struct ProfileAnswer {
    #[serde(rename = "GetInstanceProfileResult")]
    result: ProfileResult,
}

#[derive(Debug, Deserialize)]
struct ProfileResult {
    #[serde(rename = "InstanceProfile")]
    profile: Profile,
}

#[derive(Debug, Deserialize)]
struct Profile {
    #[serde(rename = "Roles", default)]
    roles: Members<Role>,
}

#[derive(Debug, Deserialize)]
struct Role {
    #[serde(rename = "Arn")]
    arn: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulation_has_a_verdict_for_each_action() {
        let text = "<SimulatePrincipalPolicyResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">\
            <SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated><EvaluationResults>\
            <member><EvalActionName>ssm:ResumeSession</EvalActionName><EvalDecision>allowed</EvalDecision>\
            <MissingContextValues/></member>\
            <member><EvalActionName>a</EvalActionName><EvalDecision>implicitDeny</EvalDecision></member>\
            <member><EvalActionName>b</EvalActionName><EvalDecision>explicitDeny</EvalDecision></member>\
            <member><EvalActionName>c</EvalActionName><EvalDecision>implicitDeny</EvalDecision>\
            <MissingContextValues><member>aws:userid</member></MissingContextValues></member>\
            </EvaluationResults></SimulatePrincipalPolicyResult><ResponseMetadata><RequestId>1</RequestId>\
            </ResponseMetadata></SimulatePrincipalPolicyResponse>";
        let answer: Simulation = quick_xml::de::from_str(text).expect("valid");
        let verdicts: Vec<Simulated> = answer.result.results.member.iter().map(Evaluation::verdict).collect();
        assert_eq!(
            verdicts,
            [Simulated::Allowed, Simulated::Denied, Simulated::ExplicitlyDenied, Simulated::Depends]
        );
    }

    #[test]
    fn the_role_of_a_profile_is_parsed() {
        let text = "<GetInstanceProfileResponse><GetInstanceProfileResult><InstanceProfile><Path>/</Path>\
            <Roles><member><RoleName>bastion</RoleName><Arn>arn:aws:iam::123456789012:role/bastion</Arn></member></Roles>\
            </InstanceProfile></GetInstanceProfileResult></GetInstanceProfileResponse>";
        let answer: ProfileAnswer = quick_xml::de::from_str(text).expect("valid");
        assert_eq!(answer.result.profile.roles.member[0].arn, "arn:aws:iam::123456789012:role/bastion");
    }

    #[test]
    fn each_partition_has_one_endpoint() {
        assert_eq!(home("eu-central-1").1, "us-east-1");
        assert_eq!(home("cn-northwest-1").1, "cn-north-1");
        assert_eq!(home("us-gov-east-1").0, "https://iam.us-gov.amazonaws.com");
    }
}
