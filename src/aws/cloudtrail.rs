//! CloudTrail: looks up the management events of the last 90 days.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::json::JsonClient;
use super::{Access, ApiError};

/// Maximum page size of LookupEvents (CloudTrail API reference).
const PAGE: u32 = 50;
/// The most pages that are read to find one event.
const MOST_PAGES: usize = 10;
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
        period: (Option<i64>, Option<i64>),
    ) -> Result<Vec<TrailEvent>, ApiError> {
        let mut pages = self.event_pages(name, period)?;
        let mut events = Vec::new();
        while let Some(page) = pages.next().await? {
            events.extend(page);
        }
        Ok(events)
    }

    /// Looks for an event of that name in a period (Unix times), among the newest 500: a busy account may have any number.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn find_event<T>(
        &self,
        name: &str,
        period: (Option<i64>, Option<i64>),
        of: impl Fn(&TrailEvent) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let mut pages = self.event_pages(name, period)?;
        for _ in 0..MOST_PAGES {
            let Some(page) = pages.next().await? else { return Ok(None) };
            if let Some(found) = page.iter().find_map(&of) {
                return Ok(Some(found));
            }
        }
        tracing::info!(name, "CloudTrail has more events of that time than are looked at");
        Ok(None)
    }

    fn event_pages(
        &self,
        name: &str,
        (since, until): (Option<i64>, Option<i64>),
    ) -> Result<EventPages, ApiError> {
        let mut input = json!({
            "LookupAttributes": [{ "AttributeKey": "EventName", "AttributeValue": name }],
            "MaxResults": PAGE,
        });
        for (key, time) in [("StartTime", since), ("EndTime", until)] {
            if let Some(time) = time {
                input[key] = time.into();
            }
        }
        Ok(EventPages { client: self.cloudtrail()?, input, has_more: true })
    }

    fn cloudtrail(&self) -> Result<JsonClient, ApiError> {
        let service = self.service("cloudtrail", "cloudtrail", self.endpoints.cloudtrail.as_ref())?;
        Ok(JsonClient { content_type: "application/x-amz-json-1.1", prefix: "CloudTrail_20131101", service })
    }
}

/// The pages of one look-up that have not been read.
struct EventPages {
    client: JsonClient,
    input: Value,
    has_more: bool,
}

impl EventPages {
    async fn next(&mut self) -> Result<Option<Vec<TrailEvent>>, ApiError> {
        if !self.has_more {
            return Ok(None);
        }
        let page: Page = self.client.call("LookupEvents", &self.input).await?;
        tokio::time::sleep(PACE).await;
        let token = page.next_token.filter(|token| !token.is_empty());
        self.has_more = token.is_some();
        self.input["NextToken"] = token.into();
        Ok(Some(page.events.into_iter().map(TrailEvent::from).collect()))
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
