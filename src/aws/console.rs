//! EC2: the console output of an instance.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{Access, ApiError};

/// What EC2 answers if an instance type has no latest output (EC2 API reference: only Nitro instances have one).
const NO_LATEST: &str = "UnsupportedOperation";

/// Which console output of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleTime {
    /// Now.
    Latest,
    /// Shortly after its last start or stop.
    Posted,
}

impl Access {
    /// Returns the last 64 KB of the console output of an instance; `None` if there is none. The text is untrusted.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn console_output(&self, id: &str, time: ConsoleTime) -> Result<Option<String>, ApiError> {
        const OPERATION: &str = "GetConsoleOutput";
        let mut parameters = vec![("InstanceId".to_owned(), id.to_owned())];
        if time == ConsoleTime::Latest {
            parameters.push(("Latest".to_owned(), "true".to_owned()));
        }
        let answer: Result<ConsoleAnswer, ApiError> = self.ec2()?.call(OPERATION, parameters).await;
        match answer {
            Ok(answer) => Ok(answer.output.as_deref().map(decode).filter(|text| !text.trim().is_empty())),
            Err(error) if time == ConsoleTime::Latest && error.has_code(NO_LATEST) => Ok(None),
            Err(error) => Err(error.with_owner(&self.owner)),
        }
    }
}

#[derive(Debug, Deserialize)]
struct ConsoleAnswer {
    output: Option<String>,
}

/// Decodes base64 that may be broken into lines; what is not base64 is empty.
fn decode(output: &str) -> String {
    let base64: String = output.split_whitespace().collect();
    String::from_utf8_lossy(&STANDARD.decode(base64).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        let answer: ConsoleAnswer = quick_xml::de::from_str(text).expect(text);
        answer.output.as_deref().map(decode)
    }

    #[test]
    fn an_output_is_decoded() {
        let answer = |output: &str| {
            format!(
                "<GetConsoleOutputResponse><instanceId>i-1</instanceId><timestamp>2026-11-28T10:00:00.000Z</timestamp>{output}</GetConsoleOutputResponse>"
            )
        };
        assert_eq!(read(&answer("<output>aGVs\n  bG8K</output>")).as_deref(), Some("hello\n"));
        assert_eq!(read(&answer("<output>/w==</output>")).as_deref(), Some("\u{fffd}"));
        assert_eq!(read(&answer("<output>*</output>")).as_deref(), Some(""));
        assert_eq!(read(&answer("<output/>")).as_deref(), Some(""));
        assert_eq!(read(&answer("")), None);
    }
}
