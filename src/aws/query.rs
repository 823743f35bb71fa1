//! EC2's query protocol: the request is a form, the response is XML.
//!
//! A call needs a name, parameters, and a type that implements `Deserialize`; see `ec2.rs`.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ApiError;
use super::call::{CallError, Encoded, ServiceClient, text};

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// The parameters of one call, beside `Action` and `Version`.
pub(super) type Parameters = Vec<(String, String)>;

/// A client for one service with the query protocol.
#[derive(Clone, Debug)]
pub(super) struct QueryClient {
    /// The API version, such as `2016-11-15`.
    pub version: &'static str,
    /// The service.
    pub service: ServiceClient,
}

impl QueryClient {
    /// Calls an action and deserializes the response.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn call<T>(&self, action: &'static str, parameters: Parameters) -> Result<T, ApiError>
    where
        T: DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
    {
        let body = form(action, self.version, &parameters);
        let request = Encoded { content_type: FORM, target: None, body };
        self.service.invoke(action, request, answer::<T>).await
    }
}

fn form(action: &str, version: &str, parameters: &Parameters) -> String {
    let fixed = [("Action", action), ("Version", version)].into_iter();
    let given = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let pairs = fixed.chain(given).map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Percent-encodes all characters except RFC 3986's unreserved ones.
pub(super) fn encode(text: &str) -> String {
    use std::fmt::Write;

    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes every write");
        }
    }
    encoded
}

fn answer<T: DeserializeOwned>(response: &HttpResponse) -> Result<T, CallError> {
    let text = text(response);
    if !response.status().is_success() {
        return Err(error_of(&text));
    }
    quick_xml::de::from_str(&text).map_err(|error| CallError::unreadable(&error))
}

#[derive(Deserialize)]
struct ErrorAnswer {
    #[serde(rename = "Errors")]
    errors: ErrorList,
}

/// The list of EC2's answer; the whole answer of other services.
#[derive(Deserialize)]
struct ErrorList {
    #[serde(rename = "Error")]
    error: ErrorItem,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorItem {
    code: String,
    #[serde(default)]
    message: String,
}

pub(super) fn error_of(text: &str) -> CallError {
    let of_ec2 = quick_xml::de::from_str::<ErrorAnswer>(text).map(|answer| answer.errors.error);
    match of_ec2.or_else(|_| quick_xml::de::from_str::<ErrorList>(text).map(|answer| answer.error)) {
        Ok(error) => CallError::new(&error.code, &error.message),
        Err(_) => CallError::new("UnknownError", "no message"),
    }
}

/// Numbers the values of a list: `Name.1`, `Name.2`, ….
pub(super) fn numbered<'a>(name: &str, values: impl IntoIterator<Item = &'a String>) -> Parameters {
    let values = values.into_iter().enumerate();
    values.map(|(place, value)| (format!("{name}.{}", place + 1), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::error::metadata::ProvideErrorMetadata;

    use super::*;

    #[test]
    fn a_form_is_percent_encoded() {
        let parameters = vec![("Filter.1.Value.1".to_owned(), "a b&c=é".to_owned())];
        assert_eq!(form("Do", "1", &parameters), "Action=Do&Version=1&Filter.1.Value.1=a%20b%26c%3D%C3%A9");
    }

    #[test]
    fn an_error_keeps_ec2s_code_beside_the_sdks() {
        let text = "<?xml version='1.0'?><Response><Errors><Error><Code>RequestExpired</Code>\
                    <Message>late</Message></Error></Errors><RequestID>1</RequestID></Response>";
        let error = error_of(text);
        assert_eq!(
            (error.code.as_str(), ProvideErrorMetadata::code(&error)),
            ("RequestExpired", Some("RequestTimeTooSkewed"))
        );
        assert_eq!(ProvideErrorMetadata::message(&error), Some("late"));
        let text = "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>no</Message></Error>\
                    <RequestId>1</RequestId></ErrorResponse>";
        assert_eq!(error_of(text).code, "ValidationError", "the form of other services");
        assert_eq!(error_of("{}").code, "UnknownError");
    }
}
