//! Who started a life, as CloudTrail has it: the caller that AWS has verified, beside the one that the input states.

use serde_json::Value;

use crate::aws::{Access, ApiError, Meaning, TrailEvent};

use super::life::Life;

/// How far the event's time may be from the start of the execution, in seconds.
const AROUND: i64 = 300;

/// A caller that AWS has verified. All texts are untrusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Starter {
    /// The caller's ARN.
    pub arn: String,
    /// The address that the call came from.
    pub address: Option<String>,
}

impl Starter {
    /// Looks up who started a life. `None`: the event is not there yet (about 15 minutes), is one of too many, or the caller
    /// may not ask.
    ///
    /// # Errors
    /// [`ApiError`], except a denial.
    pub async fn of(access: &Access, life: &Life) -> Result<Option<Self>, ApiError> {
        let period = (Some(life.started - AROUND), Some(life.started + AROUND));
        let of_life = |event: &TrailEvent| Self::of_record(&event.record, &life.arn);
        match access.find_event("StartExecution", period, of_life).await {
            Err(error) if error.meaning() == Meaning::AccessDenied => Ok(None),
            result => result,
        }
    }

    /// Reads the record of a call; `None` is one that did not start this execution.
    fn of_record(record: &str, execution: &str) -> Option<Self> {
        let record: Value = serde_json::from_str(record).ok()?;
        let text = |path: &str| record.pointer(path).and_then(Value::as_str);
        let is_start = text("/eventSource") == Some("states.amazonaws.com")
            && text("/responseElements/executionArn") == Some(execution);
        let arn = text("/userIdentity/arn").filter(|_| is_start)?;
        Some(Self { arn: arn.to_owned(), address: text("/sourceIPAddress").map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(source: &str, answer: &Value) -> String {
        let caller = json!({ "arn": "arn:aws:sts::1:assumed-role/ops/bob" });
        json!({
            "eventSource": source,
            "userIdentity": caller,
            "sourceIPAddress": "198.51.100.7",
            "responseElements": answer,
        })
        .to_string()
    }

    #[test]
    fn only_the_call_that_started_the_execution_names_its_starter() {
        let started = json!({ "executionArn": "arn:e1" });
        let bob = Starter {
            arn: "arn:aws:sts::1:assumed-role/ops/bob".to_owned(),
            address: Some("198.51.100.7".to_owned()),
        };
        let states = "states.amazonaws.com";
        assert_eq!(Starter::of_record(&record(states, &started), "arn:e1"), Some(bob));
        assert_eq!(Starter::of_record(&record(states, &started), "arn:e2"), None);
        assert_eq!(Starter::of_record(&record("other.amazonaws.com", &started), "arn:e1"), None);
        // A call that failed has no answer.
        assert_eq!(Starter::of_record(&record(states, &Value::Null), "arn:e1"), None);
        assert_eq!(Starter::of_record("{", "arn:e1"), None);
    }
}
