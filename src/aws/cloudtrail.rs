//! CloudTrail: looks up the management events of the last 90 days.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::json::JsonClient;
use super::{Access, ApiError};

/// Maximum page size of LookupEvents (CloudTrail API reference).
const PAGE: u32 = 50;
/// LookupEvents is allowed twice a second in an account and a region.
const PACE: Duration = Duration::from_millis(500);

/// An event. All texts are untrusted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrailEvent {
    /// The name, such as `StartSession`.
    pub name: String,
    /// The service, such as `ssm.amazonaws.com`.
    pub source: String,
    /// The record of the event: a JSON document.
    pub record: String,
}

impl Access {
    /// Looks up all events of that name in a period (Unix times), the newest first. A call appears about 15 minutes later.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn lookup_events(
        &self,
        name: &str,
        (since, until): (Option<i64>, Option<i64>),
    ) -> Result<Vec<TrailEvent>, ApiError> {
        let client = self.cloudtrail()?;
        let mut input = json!({
            "LookupAttributes": [{ "AttributeKey": "EventName", "AttributeValue": name }],
            "MaxResults": PAGE,
        });
        for (key, time) in [("StartTime", since), ("EndTime", until)] {
            if let Some(time) = time {
                input[key] = time.into();
            }
        }
        let mut events = Vec::new();
        loop {
            let page: Page = client.call("LookupEvents", &input).await?;
            events.extend(page.events.into_iter().map(TrailEvent::from));
            tokio::time::sleep(PACE).await;
            match page.next_token.filter(|token| !token.is_empty()) {
                Some(token) => input["NextToken"] = Value::String(token),
                None => return Ok(events),
            }
        }
    }

    fn cloudtrail(&self) -> Result<JsonClient, ApiError> {
        let service = self.service("cloudtrail", "cloudtrail", self.endpoints.cloudtrail.as_ref())?;
        Ok(JsonClient { content_type: "application/x-amz-json-1.1", prefix: "CloudTrail_20131101", service })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    events: Vec<Item>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Item {
    event_name: String,
    event_source: String,
    cloud_trail_event: String,
}

impl From<Item> for TrailEvent {
    fn from(item: Item) -> Self {
        Self { name: item.event_name, source: item.event_source, record: item.cloud_trail_event }
    }
}
