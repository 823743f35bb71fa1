//! AWS's JSON protocols: the operation is in a header, request and response are JSON.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ApiError;
use super::call::{CallError, Encoded, ServiceClient, text};

/// A client for one service with a JSON protocol.
#[derive(Clone, Debug)]
pub(super) struct JsonClient {
    /// `application/x-amz-json-1.0` or `-1.1`.
    pub content_type: &'static str,
    /// The name before the operation's in the header, such as `AWSStepFunctions`.
    pub prefix: &'static str,
    /// The service.
    pub service: ServiceClient,
}

impl JsonClient {
    /// Calls an action and deserializes the response.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn call<T>(&self, action: &'static str, input: &Value) -> Result<T, ApiError>
    where
        T: DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
    {
        let request = Encoded {
            content_type: self.content_type,
            target: Some(format!("{}.{action}", self.prefix)),
            body: input.to_string(),
        };
        self.service.invoke(action, request, answer::<T>).await
    }
}

fn answer<T: DeserializeOwned>(response: &HttpResponse) -> Result<T, CallError> {
    let text = text(response);
    if !response.status().is_success() {
        return Err(error_of(response.headers().get("x-amzn-errortype"), &text));
    }
    serde_json::from_str(&text).map_err(|error| CallError::unreadable(&error))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorAnswer {
    #[serde(rename = "__type")]
    kind: String,
    #[serde(alias = "Message")]
    message: String,
}

/// Reads the code from the header, else from the body, without a namespace before `#` and an address after `:`.
fn error_of(header: Option<&str>, text: &str) -> CallError {
    let answer: ErrorAnswer = serde_json::from_str(text).unwrap_or_default();
    let kind = header.unwrap_or(&answer.kind);
    let code = kind.split(':').next().and_then(|kind| kind.rsplit('#').next()).unwrap_or_default();
    let code = if code.is_empty() { "UnknownError" } else { code };
    CallError::new(code, if answer.message.is_empty() { "no message" } else { &answer.message })
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::error::metadata::ProvideErrorMetadata;

    use super::*;

    #[test]
    fn an_errors_code_has_no_namespace_and_no_address() {
        for (header, text, code) in [
            (
                None,
                r#"{"__type":"com.amazonaws.sfn#ExecutionDoesNotExist","message":"x"}"#,
                "ExecutionDoesNotExist",
            ),
            (None, r#"{"__type":"AccessDeniedException","Message":"x"}"#, "AccessDeniedException"),
            (Some("InvalidName:http://internal/"), "{}", "InvalidName"),
            (None, "<html>", "UnknownError"),
        ] {
            assert_eq!(error_of(header, text).code(), Some(code), "{text}");
        }
        assert_eq!(error_of(None, r#"{"Message":"no"}"#).message(), Some("no"));
    }
}
