//! One line of the record, as it is written and read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde::{Deserialize, Serialize};

use crate::bastion::LifeEvent;
use crate::session::{Amounts, Fact, Outcome};

use super::process::Machine;

/// What an entry is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A session was started.
    Started,
    /// A session was not started.
    NotStarted,
    /// The link of a session was lost, and is back.
    Resumed,
    /// The caller of a session is known.
    Caller,
    /// A session has ended.
    Ended,
    /// A life of a bastion has begun: it starts an instance or a task, or lends a security group.
    Life,
    /// An ssh key was pushed to an instance.
    KeyPushed,
    /// Instances were started: CloudTrail only.
    InstancesStarted,
    /// Instances were stopped: CloudTrail only.
    InstancesStopped,
    /// What a later version writes.
    #[default]
    #[serde(other)]
    Unknown,
}

impl EventKind {
    /// Returns the words for it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Started | Self::NotStarted | Self::Resumed | Self::Caller | Self::Ended => "session",
            Self::Life => "bastion's life",
            Self::KeyPushed => "key pushed",
            Self::InstancesStarted => "instances started",
            Self::InstancesStopped => "instances stopped",
            Self::Unknown => "unknown",
        }
    }
}

/// One entry; what does not belong to its kind is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// The time, in UTC.
    pub time: String,
    /// What it is about.
    pub event: EventKind,
    /// The local user.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The process.
    pub pid: u32,
    /// When the process began, where the system tells: a number is given to another process later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_began: Option<u64>,
    /// The machine of the process, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// The session's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// What the user typed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word: Option<String>,
    /// The target of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The host and the port that are connected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The hops, the nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<String>,
    /// The user of the instance that an ssh key was pushed for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_user: Option<String>,
    /// The session document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// The region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The access key that signed the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
    /// The caller's ARN, if the process knew it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The reason that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Bytes that were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// Bytes that were received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// How often the link was resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumes: Option<u32>,
    /// How long the link was lost, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outage_ms: Option<u64>,
    /// The access request whose approval allowed the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// How the session ended: `done`, `left` or `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Why it failed, or why the link was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The bastion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The name of its life: that of the instance, or of the interface and the group that is lent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub life: Option<String>,
}

/// A service's answer may be long; a line of the record stays short.
const LONGEST_TEXT: usize = 1000;

impl Entry {
    /// Makes the entry of a fact about a session.
    pub fn of_fact(fact: &Fact) -> Self {
        match fact {
            Fact::Started { session_id, request, access_key_id, caller, region, approval } => Self {
                event: EventKind::Started,
                session: Some(session_id.clone()),
                access_key: Some(access_key_id.clone()),
                caller: caller.clone(),
                region: Some(region.clone()),
                approval: approval.clone(),
                ..Self::of_request(request)
            },
            Fact::Caller { session_id, caller } => Self {
                event: EventKind::Caller,
                session: Some(session_id.clone()),
                caller: Some(caller.clone()),
                ..Self::default()
            },
            Fact::Resumed { session_id, amounts, why, outage } => Self {
                event: EventKind::Resumed,
                why: Some(short(why)).filter(|why| !why.is_empty()),
                outage_ms: Some(outage.as_millis().try_into().unwrap_or(u64::MAX)),
                ..Self::of_amounts(session_id, *amounts)
            },
            Fact::NotStarted { request, why } => {
                Self { event: EventKind::NotStarted, why: Some(short(why)), ..Self::of_request(request) }
            }
            Fact::KeyPushed { instance, user } => Self {
                event: EventKind::KeyPushed,
                target: Some(instance.clone()),
                os_user: Some(user.clone()),
                ..Self::default()
            },
            Fact::Ended { session_id, amounts, end, caller } => {
                Self { caller: caller.clone(), ..Self::of_end(session_id, *amounts, end) }
            }
        }
    }

    /// Makes the entry of what happens to a bastion, if it is to be recorded.
    pub fn of_life(event: &LifeEvent) -> Option<Self> {
        let LifeEvent::Began { host, life } = event else { return None };
        Some(Self {
            event: EventKind::Life,
            host: Some(host.clone()),
            life: Some(life.clone()),
            ..Self::default()
        })
    }

    fn of_request(request: &crate::aws::SessionRequest) -> Self {
        let parameter = |name: &str| request.parameters.get(name).and_then(|values| values.first());
        let host = parameter("host").map_or("localhost", String::as_str);
        let address = parameter("portNumber").map(|port| format!("{host}:{port}"));
        Self {
            target: Some(request.target.clone()),
            document: Some(request.document.clone()),
            reason: request.reason.clone(),
            address,
            ..Self::default()
        }
    }

    fn of_end(session_id: &str, amounts: Amounts, end: &Result<Outcome, String>) -> Self {
        let (end, why) = match end {
            Ok(Outcome::Done) => ("done", None),
            Ok(Outcome::Left) => ("left", None),
            Err(why) => ("failed", Some(short(why))),
        };
        Self {
            event: EventKind::Ended,
            end: Some(end.to_owned()),
            why,
            ..Self::of_amounts(session_id, amounts)
        }
    }

    fn of_amounts(session_id: &str, amounts: Amounts) -> Self {
        Self {
            session: Some(session_id.to_owned()),
            sent: Some(amounts.sent),
            received: Some(amounts.received),
            resumes: Some(amounts.resumes),
            ..Self::default()
        }
    }
}

fn short(text: &str) -> String {
    crate::escape::cut(text, LONGEST_TEXT).into_owned()
}

/// Returns a time as the record has it, with milliseconds.
pub fn stamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    DateTime::from_millis(millis).fmt(Format::DateTime).unwrap_or_default()
}

/// Reads the time of an entry.
pub(super) fn time_of(stamp: &str) -> Option<SystemTime> {
    let time = DateTime::from_str(stamp, Format::DateTime).ok()?;
    Some(UNIX_EPOCH + Duration::from_millis(time.to_millis().ok()?.try_into().ok()?))
}
