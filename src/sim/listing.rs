//! The listing operations of the API: sessions and managed nodes, with the common filters.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::sim::clock;
use crate::sim::config::SimTarget;
use crate::sim::exception::ApiException;
use crate::sim::sessions::{SessionInfo, SessionState};
use crate::sim::shared::{Shared, lock};

const MOST_RESULTS: usize = 50;

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DescribeSessions {
    state: String,
    filters: Vec<SessionFilter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct SessionFilter {
    key: String,
    value: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DescribeInstances {
    filters: Vec<InstanceFilter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InstanceFilter {
    key: String,
    values: Vec<String>,
}

/// Answers DescribeSessions.
pub(super) fn sessions(shared: &Shared, request: DescribeSessions) -> Result<Value, ApiException> {
    let active = match request.state.as_str() {
        "Active" => true,
        "History" => false,
        _ => return Err(ApiException::new("ValidationException", "State must be Active or History")),
    };
    let table = lock(&shared.sessions);
    let owner = shared.caller_arn();
    let matching = table.iter().map(|session| &session.info).filter(|info| {
        (info.state != SessionState::Terminated) == active
            && request.filters.iter().all(|filter| session_matches(info, &owner, filter))
    });
    let listed = matching.map(|info| describe_session(info, &owner)).collect();
    Ok(page("Sessions", listed, request.max_results, request.next_token.as_deref()))
}

fn session_matches(info: &SessionInfo, owner: &str, filter: &SessionFilter) -> bool {
    match filter.key.as_str() {
        "Target" => info.target == filter.value,
        "SessionId" => info.id == filter.value,
        "Owner" => owner == filter.value,
        "Status" => info.state.as_str() == filter.value,
        _ => true,
    }
}

fn describe_session(info: &SessionInfo, owner: &str) -> Value {
    let mut session = json!({
        "SessionId": info.id,
        "Target": info.target,
        "Status": info.state.as_str(),
        "StartDate": info.started,
        "DocumentName": info.document,
        "Owner": owner,
        "OutputUrl": {},
    });
    if let Some(ended) = info.ended {
        session["EndDate"] = ended.into();
    }
    if let Some(reason) = &info.reason {
        session["Reason"] = reason.as_str().into();
    }
    session
}

/// Answers DescribeInstanceInformation.
pub(super) fn instances(shared: &Shared, request: DescribeInstances) -> Result<Value, ApiException> {
    let version = lock(&shared.agent).agent_version.clone();
    let matching =
        shared.config.targets.iter().filter(|target| request.filters.iter().all(|f| node_matches(target, f)));
    let listed = matching.map(|target| describe_node(target, &version)).collect();
    Ok(page("InstanceInformationList", listed, request.max_results, request.next_token.as_deref()))
}

fn node_matches(target: &SimTarget, filter: &InstanceFilter) -> bool {
    let has = |value: &str| filter.values.iter().any(|wanted| wanted == value);
    match filter.key.as_str() {
        "InstanceIds" => has(&target.id),
        "PingStatus" => has(ping_status(target)),
        "tag:Name" => has(&target.name),
        "ResourceType" => has(resource_type(target)),
        // A simulated node has no other tag.
        key if key.starts_with("tag:") => false,
        _ => true,
    }
}

fn describe_node(target: &SimTarget, version: &str) -> Value {
    json!({
        "InstanceId": target.id,
        "PingStatus": ping_status(target),
        "LastPingDateTime": clock::unix_s(),
        "AgentVersion": version,
        "IsLatestVersion": true,
        "PlatformType": "Linux",
        "PlatformName": "fumidai-sim",
        "PlatformVersion": "1",
        "ResourceType": resource_type(target),
        "IPAddress": "127.0.0.1",
        "ComputerName": target.name,
    })
}

fn resource_type(target: &SimTarget) -> &'static str {
    if target.id.starts_with("mi-") { "ManagedInstance" } else { "EC2Instance" }
}

fn ping_status(target: &SimTarget) -> &'static str {
    if target.online { "Online" } else { "ConnectionLost" }
}

/// Returns one page of a list; the token is the index of the next item.
fn page(name: &str, all: Vec<Value>, max_results: Option<usize>, token: Option<&str>) -> Value {
    let from = token.and_then(|token| token.parse().ok()).unwrap_or(0).min(all.len());
    let to = (from + max_results.unwrap_or(MOST_RESULTS).max(1)).min(all.len());
    let mut answer = json!({ name: all[from..to] });
    if to < all.len() {
        answer["NextToken"] = to.to_string().into();
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let all = || (0..5).map(Value::from).collect::<Vec<_>>();
        let first = page("X", all(), Some(3), None);
        assert_eq!(first, json!({ "X": [0, 1, 2], "NextToken": "3" }));
        assert_eq!(page("X", all(), Some(3), first["NextToken"].as_str()), json!({ "X": [3, 4] }));
    }

    #[test]
    fn nodes_are_filtered() {
        let node = SimTarget::new("i-1", "web", true);
        let filter =
            |key: &str, value: &str| InstanceFilter { key: key.to_owned(), values: vec![value.to_owned()] };
        assert!(node_matches(&node, &filter("InstanceIds", "i-1")));
        assert!(!node_matches(&node, &filter("InstanceIds", "i-2")));
        assert!(!node_matches(&node, &filter("PingStatus", "ConnectionLost")));
        assert!(node_matches(&node, &filter("tag:Name", "web")));
        assert!(!node_matches(&node, &filter("ResourceType", "ManagedInstance")));
        assert!(!node_matches(&node, &filter("tag:Role", "web")));
    }
}
