//! Just-in-time node access: requests whose statuses are scripted, and the credentials of approvals.
//!
//! As published: the caller's own credentials start no session, and those of an approval start only the documents of its
//! policy; they neither resume nor terminate, which the caller's own credentials do.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::sim::access_requests::{AccessRequest, Decision};
use crate::sim::clock;
use crate::sim::exception::ApiException;
use crate::sim::rng::Rng;
use crate::sim::shared::{Shared, lock};
use crate::sim::sigv4::Credentials;

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct StartAccessRequest {
    reason: String,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Target {
    key: String,
    values: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct GetAccessToken {
    access_request_id: String,
}

/// Files a request.
pub(super) fn start(shared: &Shared, request: &StartAccessRequest) -> Result<Value, ApiException> {
    const OFF: &str = "Just-In-Time Node Access service is not enabled in this account.";
    if shared.config.just_in_time.is_none() {
        return Err(ApiException::new("ValidationException", OFF));
    }
    if !(1..=256).contains(&request.reason.chars().count()) {
        return Err(ApiException::new("ValidationException", "reason must have 1 to 256 characters"));
    }
    let [Target { key, values }] = &request.targets[..] else {
        return Err(ApiException::new("ValidationException", "targets must have one element"));
    };
    let known = |id: &String| shared.config.targets.iter().any(|target| target.id == *id);
    let [target] = &values[..] else {
        return Err(ApiException::new("ValidationException", "one node must be named"));
    };
    if key != "InstanceIds" || !known(target) {
        return Err(ApiException::new("ResourceNotFoundException", "No approval policy is for the node."));
    }
    let id = format!("oi-{:012x}", lock(&shared.rng).next_u64() & 0xffff_ffff_ffff);
    let filed = AccessRequest { id: id.clone(), target: target.clone(), polls: 0, approval: None };
    lock(&shared.access_requests).0.push(filed);
    Ok(json!({ "AccessRequestId": id }))
}

/// Answers how a request stands; an approval has credentials.
pub(super) fn token(shared: &Shared, asked: &GetAccessToken) -> Result<Value, ApiException> {
    let mut requests = lock(&shared.access_requests);
    let found = requests.0.iter_mut().find(|request| request.id == asked.access_request_id);
    let (Some(request), Some(policy)) = (found, &shared.config.just_in_time) else {
        return Err(ApiException::new("ResourceNotFoundException", "The access request does not exist."));
    };
    request.polls = request.polls.saturating_add(1);
    let Some(decision) = policy.decision.filter(|_| request.polls > policy.polls) else {
        return Ok(json!({ "AccessRequestStatus": "Pending" }));
    };
    if decision != Decision::Approve {
        return Ok(json!({ "AccessRequestStatus": decision.status() }));
    }
    let approval = request.approval.get_or_insert_with(|| credentials(&mut lock(&shared.rng)));
    lock(&shared.keyring).approve(approval.clone());
    Ok(json!({
        "AccessRequestStatus": decision.status(),
        "Credentials": {
            "AccessKeyId": approval.access_key_id,
            "SecretAccessKey": approval.secret_access_key,
            "SessionToken": approval.session_token,
            "ExpirationTime": clock::unix_s() + policy.lifetime.as_secs(),
        },
    }))
}

/// Refuses an operation that the signing key may not call.
pub(super) fn authorize(
    shared: &Shared,
    access_key_id: &str,
    operation: &str,
    target: &str,
    document: &str,
) -> Result<(), ApiException> {
    let Some(policy) = &shared.config.just_in_time else { return Ok(()) };
    let requests = lock(&shared.access_requests);
    let is_key = |request: &&AccessRequest| {
        request.approval.as_ref().is_some_and(|approval| approval.access_key_id == access_key_id)
    };
    let denied = |why: &str| {
        let caller = shared.caller_arn();
        let text = format!("User: {caller} is not authorized to perform: ssm:{operation} because {why}");
        Err(ApiException::new("AccessDeniedException", text))
    };
    match (operation, requests.0.iter().find(is_key)) {
        ("StartSession", None) => denied("no identity-based policy allows the ssm:StartSession action"),
        ("StartSession", Some(request)) => {
            let is_allowed = policy.documents.iter().any(|name| name == document);
            if is_allowed && request.target == target {
                return Ok(());
            }
            denied("no session policy allows the ssm:StartSession action")
        }
        ("ResumeSession" | "TerminateSession", Some(_)) => {
            denied(&format!("no session policy allows the ssm:{operation} action"))
        }
        (_, _) => Ok(()),
    }
}

fn credentials(rng: &mut Rng) -> Credentials {
    Credentials {
        access_key_id: format!("ASIAFUMIDAIJIT{:06X}", rng.next_u64() & 0xff_ffff),
        secret_access_key: format!("simulated/approval{:020}", rng.next_u64()),
        session_token: Some(format!("approval{:020}", rng.next_u64())),
    }
}
