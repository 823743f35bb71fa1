//! CloudTrail's events as rows: what others did, and what else is known about the sessions of this record.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde_json::Value;

use crate::aws::TrailEvent;

use super::entry::{Entry, EventKind, stamp};
use super::rows::{Row, RowEnd, Trail};

/// The events that are looked up, and the services that they must be of: others have events of the same names.
pub const TRAIL_EVENTS: [(&str, &str); 6] = [
    ("StartSession", "ssm.amazonaws.com"),
    ("ResumeSession", "ssm.amazonaws.com"),
    ("TerminateSession", "ssm.amazonaws.com"),
    ("SendSSHPublicKey", "ec2-instance-connect.amazonaws.com"),
    ("StartInstances", "ec2.amazonaws.com"),
    ("StopInstances", "ec2.amazonaws.com"),
];

/// Adds events to rows by session id; what this record does not know becomes rows of its own. The rows are in the order of
/// time.
pub fn merge(mut rows: Vec<Row>, events: &[TrailEvent]) -> Vec<Row> {
    let mut by_session: BTreeMap<String, usize> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        by_session.extend(row.start.session.clone().map(|session| (session, at)));
    }
    let mut calls: Vec<Call> = events.iter().filter_map(Call::read).collect();
    calls.sort_by(|one, other| one.time.cmp(&other.time));
    for call in calls {
        match call.session.as_ref().and_then(|session| by_session.get(session)) {
            Some(at) => call.add_to(&mut rows[*at]),
            None => {
                // A call that failed says nothing about the session: a later one has a row of its own.
                let session = call.session.clone().filter(|_| call.error.is_none());
                by_session.extend(session.map(|session| (session, rows.len())));
                rows.push(call.into_row());
            }
        }
    }
    rows.sort_by_key(Row::began);
    rows
}

/// One event as far as it matters.
struct Call {
    name: String,
    time: String,
    trail: Trail,
    session: Option<String>,
    error: Option<String>,
    record: Value,
}

impl Call {
    /// Reads an event; `None` is one of another service, or without the time.
    fn read(event: &TrailEvent) -> Option<Self> {
        let record: Value = serde_json::from_str(&event.record).ok()?;
        let source = text(&record, "/eventSource").unwrap_or_else(|| event.source.clone());
        let name = event.name.trim().to_owned();
        TRAIL_EVENTS.iter().find(|(known, of)| *known == name && *of == source)?;
        let session = text(&record, "/responseElements/sessionId");
        Some(Self {
            time: time(&text(&record, "/eventTime")?)?,
            trail: Trail {
                caller: text(&record, "/userIdentity/arn"),
                from: text(&record, "/sourceIPAddress"),
                agent: text(&record, "/userAgent"),
                calls: Vec::new(),
            },
            session: session.or_else(|| text(&record, "/requestParameters/sessionId")),
            error: text(&record, "/errorCode"),
            name,
            record,
        })
    }

    /// Adds a call to a row that is known.
    fn add_to(self, row: &mut Row) {
        let line = format!("{} {}{}", self.time, self.name, self.failure());
        let trail = row.trail.get_or_insert_default();
        let succeeded = self.error.is_none();
        if succeeded && (self.name == "StartSession" || trail.caller.is_none()) {
            trail.caller = self.trail.caller;
            trail.from = self.trail.from;
            trail.agent = self.trail.agent;
        }
        trail.calls.push(line);
        // The record of the session's own process counts them itself.
        if succeeded && self.name == "ResumeSession" && row.start.pid == 0 {
            row.start.resumes = Some(row.start.resumes.unwrap_or_default().saturating_add(1));
        }
        if succeeded && self.name == "TerminateSession" && row.state == RowEnd::Elsewhere {
            row.state = RowEnd::Left;
            row.ended = Some(self.time);
        }
    }

    fn failure(&self) -> String {
        self.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default()
    }

    fn into_row(mut self) -> Row {
        let state = match (&self.error, self.name.as_str()) {
            (Some(_), "StartSession") => RowEnd::NotStarted,
            (None, "TerminateSession") => RowEnd::Left,
            (None, "StartSession" | "ResumeSession") => RowEnd::Elsewhere,
            (_, _) => RowEnd::Event,
        };
        let line = format!("{} {}{}", self.time, self.name, self.failure());
        self.trail.calls.push(line);
        let ended = (state == RowEnd::Left).then(|| self.time.clone());
        Row { start: self.entry(), state, ended, seconds: None, trail: Some(self.trail) }
    }

    fn entry(&self) -> Entry {
        let request = |path: &str| text(&self.record, &format!("/requestParameters/{path}"));
        let port = request("parameters/portNumber/0");
        let host = request("parameters/host/0").unwrap_or_else(|| "localhost".to_owned());
        Entry {
            time: self.time.clone(),
            event: self.kind(),
            user: self.person().to_owned(),
            session: self.session.clone(),
            target: request("target").or_else(|| request("instanceId")).or_else(|| self.instances()),
            os_user: request("osUser"),
            document: request("documentName"),
            address: port.map(|port| format!("{host}:{port}")),
            reason: request("reason"),
            region: text(&self.record, "/awsRegion"),
            access_key: text(&self.record, "/userIdentity/accessKeyId"),
            why: self.error.clone(),
            ..Entry::default()
        }
    }

    fn kind(&self) -> EventKind {
        match (self.name.as_str(), &self.error) {
            ("SendSSHPublicKey", _) => EventKind::KeyPushed,
            ("StartInstances", _) => EventKind::InstancesStarted,
            ("StopInstances", _) => EventKind::InstancesStopped,
            ("StartSession", Some(_)) => EventKind::NotStarted,
            (_, _) => EventKind::Started,
        }
    }

    /// Returns the last part of the caller's ARN: the user, or the name of the role's session.
    fn person(&self) -> &str {
        self.trail.caller.as_deref().and_then(|arn| arn.rsplit(['/', ':']).next()).unwrap_or_default()
    }

    fn instances(&self) -> Option<String> {
        let items = self.record.pointer("/requestParameters/instancesSet/items")?.as_array()?;
        let ids: Vec<&str> = items.iter().filter_map(|item| item["instanceId"].as_str()).collect();
        (!ids.is_empty()).then(|| ids.join(" "))
    }
}

fn text(record: &Value, path: &str) -> Option<String> {
    record.pointer(path)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Brings a time into the record's form, in which times sort as texts.
fn time(text: &str) -> Option<String> {
    let time = DateTime::from_str(text, Format::DateTime).ok()?;
    Some(stamp(UNIX_EPOCH + Duration::from_millis(time.to_millis().ok()?.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(name: &str, seconds: u8, more: Value) -> TrailEvent {
        let mut record = json!({
            "eventTime": format!("2026-11-02T10:00:{seconds:02}Z"),
            "eventSource": TRAIL_EVENTS.iter().find(|(known, _)| *known == name).expect("known").1,
            "userIdentity": { "arn": "arn:aws:sts::1:assumed-role/ops/bob" },
            "sourceIPAddress": "198.51.100.7",
        });
        for (key, value) in more.as_object().expect("an object") {
            record[key] = value.clone();
        }
        TrailEvent { name: name.to_owned(), source: String::new(), record: record.to_string() }
    }

    fn started(session: &str, seconds: u8) -> TrailEvent {
        let parameters = json!({ "portNumber": ["3306"], "host": ["db"] });
        event(
            "StartSession",
            seconds,
            json!({
                "requestParameters": { "target": "i-1", "documentName": "D", "reason": "r", "parameters": parameters },
                "responseElements": { "sessionId": session },
            }),
        )
    }

    fn ended(session: &str, seconds: u8) -> TrailEvent {
        event("TerminateSession", seconds, json!({ "requestParameters": { "sessionId": session } }))
    }

    #[test]
    fn events_are_added_by_session_and_others_become_rows() {
        let mine = Entry {
            time: "2026-11-02T09:59:59Z".to_owned(),
            event: EventKind::Started,
            session: Some("ann-1".to_owned()),
            ..Entry::default()
        };
        let rows = super::super::rows::rows([mine].into_iter());
        // The newest first, as the service answers.
        let events = [ended("bob-2", 9), started("bob-2", 5), ended("ann-1", 4), started("ann-1", 1)];
        let rows = merge(rows, &events);
        let [ann, bob] = &rows[..] else { panic!("{rows:?}") };
        let trail = ann.trail.as_ref().expect("known to CloudTrail");
        assert_eq!(trail.from.as_deref(), Some("198.51.100.7"));
        assert_eq!(trail.calls.len(), 2);
        assert_eq!((bob.person(), bob.state), ("bob", RowEnd::Left));
        assert_eq!(bob.start.address.as_deref(), Some("db:3306"));
        assert_eq!(bob.start.reason.as_deref(), Some("r"));
    }

    #[test]
    fn resumes_of_others_are_counted() {
        let resumed = |seconds| {
            event("ResumeSession", seconds, json!({ "requestParameters": { "sessionId": "bob-2" } }))
        };
        let rows = merge(Vec::new(), &[resumed(7), resumed(6), started("bob-2", 5)]);
        let [bob] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!(bob.start.resumes, Some(2));
    }

    #[test]
    fn a_denial_a_key_and_a_start_are_rows_and_other_services_are_not() {
        let denied = event(
            "StartSession",
            1,
            json!({ "errorCode": "AccessDenied", "requestParameters": { "target": "i-1" } }),
        );
        let key = event("SendSSHPublicKey", 2, json!({ "requestParameters": { "instanceId": "i-2" } }));
        let items = json!([{ "instanceId": "i-3" }, { "instanceId": "i-4" }]);
        let start = event(
            "StartInstances",
            3,
            json!({ "requestParameters": { "instancesSet": { "items": items } } }),
        );
        let athena = event("StartSession", 4, json!({ "eventSource": "athena.amazonaws.com" }));
        let rows = merge(Vec::new(), &[denied, key, start, athena]);
        let shown: Vec<_> =
            rows.iter().map(|row| (row.state, row.start.target.as_deref().unwrap_or_default())).collect();
        assert_eq!(shown, [(RowEnd::NotStarted, "i-1"), (RowEnd::Event, "i-2"), (RowEnd::Event, "i-3 i-4")]);
    }

    #[test]
    fn a_denied_end_ends_nothing_and_is_no_denied_start() {
        let denied = |session: &str, seconds| {
            let request = json!({ "sessionId": session });
            let more = json!({ "errorCode": "AccessDenied", "requestParameters": request });
            event("TerminateSession", seconds, more)
        };
        let events = [started("bob-2", 1), denied("bob-2", 2), denied("eve-3", 3), ended("eve-3", 4)];
        let rows = merge(Vec::new(), &events);
        let shown: Vec<_> =
            rows.iter().map(|row| (row.state, row.start.event, row.ended.is_some())).collect();
        let session = EventKind::Started;
        assert_eq!(
            shown,
            [
                (RowEnd::Elsewhere, session, false),
                (RowEnd::Event, session, false),
                (RowEnd::Left, session, true)
            ]
        );
        assert!(rows[0].trail.as_ref().is_some_and(|trail| trail.calls[1].ends_with("(AccessDenied)")));
    }

    #[test]
    fn an_event_that_cannot_be_read_is_left_out() {
        let broken = TrailEvent { name: "StartSession".to_owned(), ..TrailEvent::default() };
        assert!(merge(Vec::new(), &[broken]).is_empty());
    }
}
