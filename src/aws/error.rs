//! Errors of AWS and of the network, reduced to what a user or the resume policy can act on.

use std::path::PathBuf;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use http_body_util::LengthLimitError;
use thiserror::Error;

use crate::transport::{ConnectError, ConnectFault, ProxySettingError, TlsFault};

use super::capped::LONGEST_ANSWER;
use super::files::FileProblem;
use super::http::{ConnectTimeout, RequestError, find};
use super::prompts::NoCode;
use super::source::{KeyOwner, LoginKind, SourceError};

/// Why an AWS API call failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ApiError {
    /// No region in flags, environment, config file or profile: set one.
    #[error("no region is configured")]
    NoRegion,
    /// A file of the user's AWS configuration cannot be used.
    #[error("{0}")]
    Settings(String),
    /// What the run needs may be in a file, or a part of one, that cannot be read: correct it.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// A variable with a proxy cannot be read: correct it.
    #[error(transparent)]
    Proxy(#[from] ProxySettingError),
    /// The CA bundle cannot be used.
    #[error("cannot use the CA bundle `{}`: {cause}", file.display())]
    Bundle {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: String,
    },
    /// The profile's region is not one.
    #[error("profile `{profile}` has `region = {region}`, which is not a region such as `eu-central-1`")]
    NotARegion {
        /// The profile.
        profile: String,
        /// The value.
        region: String,
    },
    /// The profile's `services` section does not exist.
    #[error(
        "profile `{profile}` has `services = {services}`, but there is no section `[services {services}]`"
    )]
    NoServices {
        /// The profile.
        profile: String,
        /// The name of the section.
        services: String,
    },
    /// The profile does not exist: choose one that does.
    #[error("no profile named `{0}` in the AWS config files")]
    NoProfile(String),
    /// No credentials were found, or they cannot be loaded: log in.
    #[error("no usable AWS credentials: {0}")]
    NoCredentials(String),
    /// Nothing gives credentials: log in, or name a profile.
    #[error(
        "no usable AWS credentials: none in environment, profile `{profile}`, container or instance metadata{}",
        half(*missing)
    )]
    NoneConfigured {
        /// The profile.
        profile: String,
        /// The half of the profile's keys that is missing, if it has the other.
        missing: Option<&'static str>,
    },
    /// What is configured for credentials is not complete.
    #[error("no usable AWS credentials: {0}")]
    Source(SourceError),
    /// The profile's login has expired, or was never started: log in.
    #[error("no usable AWS credentials: {cause}")]
    NoLogin {
        /// The profile to log in for.
        profile: String,
        /// How to log in.
        kind: LoginKind,
        /// The SDK's error.
        cause: String,
    },
    /// A role requires an MFA code that was not entered: run again on a terminal, or run the AWS CLI first.
    #[error("profile `{profile}` needs an MFA code of `{serial}`: {cause}")]
    NoCode {
        /// The profile with the role.
        profile: String,
        /// The MFA device.
        serial: String,
        /// Why no code was entered.
        cause: NoCode,
    },
    /// AWS answered with an error.
    #[error("{code} when calling {operation}: {message}")]
    Service {
        /// The API operation.
        operation: &'static str,
        /// The AWS error code.
        code: String,
        /// The AWS error message: untrusted.
        message: String,
        /// The HTTP status.
        status: u16,
    },
    /// AWS rejected the credentials.
    #[error("{error}")]
    Rejected {
        /// Whose credentials they are.
        owner: KeyOwner,
        /// AWS's error.
        error: Box<ApiError>,
    },
    /// The call timed out.
    #[error("no answer to {operation} within 15 s")]
    Timeout {
        /// The API operation.
        operation: &'static str,
    },
    /// No connection was open in time: check the network and the proxy.
    #[error("cannot reach the endpoint for {operation}, {place}: {cause}")]
    NoConnection {
        /// The API operation.
        operation: &'static str,
        /// The endpoint's URL, and the proxy.
        place: String,
        /// The time limit, in words.
        cause: String,
    },
    /// The answer is too long to be one of AWS: check the endpoint and the proxy.
    #[error("the answer to {operation} is longer than {} MiB", LONGEST_ANSWER >> 20)]
    TooLong {
        /// The API operation.
        operation: &'static str,
    },
    /// The endpoint's certificate is not trusted.
    #[error("the endpoint for {operation} has a certificate that is not trusted: {cause}")]
    Certificate {
        /// The API operation.
        operation: &'static str,
        /// The TLS error.
        cause: String,
        /// What mends it.
        fault: TlsFault,
    },
    /// The endpoint could not be reached.
    #[error("cannot reach the endpoint for {operation}{}: {cause}", place.as_ref().map(|place| format!(", {place}")).unwrap_or_default())]
    Network {
        /// The API operation.
        operation: &'static str,
        /// The endpoint's URL, and the proxy.
        place: Option<String>,
        /// The network error.
        cause: String,
        /// What mends it.
        fault: ConnectFault,
    },
}

/// The class of an error, by what the caller can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The user's settings must change.
    Settings,
    /// The credentials are missing, expired or wrong: other credentials may work.
    Credentials,
    /// A policy denies the call.
    AccessDenied,
    /// The agent is not connected.
    TargetNotConnected,
    /// The session does not exist.
    DoesNotExist,
    /// A retry may succeed: throttling, server faults, network.
    Transient,
    /// Any other error.
    Other,
}

impl From<SourceError> for ApiError {
    fn from(error: SourceError) -> Self {
        if let SourceError::File(problem) = error { Self::File(problem) } else { Self::Source(error) }
    }
}

impl ApiError {
    /// Converts the SDK's error for `operation`.
    pub(super) fn from_sdk<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match error {
            SdkError::ServiceError(service)
                if service.err().code().is_none() && service.raw().status().is_success() =>
            {
                Self::foreign(operation)
            }
            SdkError::ServiceError(service) => Self::Service {
                operation,
                code: cut(service.err().code().unwrap_or("UnknownError"), LONGEST_CODE),
                message: cut(service.err().message().unwrap_or("no message"), LONGEST_MESSAGE),
                status: service.raw().status().as_u16(),
            },
            // The whole answer is there, and it cannot be read.
            SdkError::ResponseError(answer) if answer.raw().body().bytes().is_some() => {
                Self::foreign(operation)
            }
            SdkError::TimeoutError(_) => Self::Timeout { operation },
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Self::late(operation, error),
            SdkError::ConstructionFailure(_)
            | SdkError::DispatchFailure(_)
            | SdkError::ResponseError(_)
            | _ => match certificate_error(error) {
                Some(refusal) => Self::Certificate {
                    operation,
                    cause: refusal.to_string(),
                    fault: TlsFault::of_rustls(refusal),
                },
                None if find::<LengthLimitError>(error).is_some() => Self::TooLong { operation },
                None => Self::network(operation, error),
            },
        }
    }

    /// Converts a time-out of the HTTP client.
    fn late(operation: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        match (find::<RequestError>(error), find::<ConnectTimeout>(error)) {
            (Some(request), Some(cause)) => {
                Self::NoConnection { operation, place: request.place.clone(), cause: cause.to_string() }
            }
            (_, _) => Self::Timeout { operation },
        }
    }

    /// Converts an error of a request that got no answer.
    fn network(operation: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        let place = find::<RequestError>(error).map(|request| request.place.clone());
        let known = find::<ConnectError>(error);
        let cause = known.map_or_else(|| chain(error), ToString::to_string);
        let fault = known.map_or(ConnectFault::Network, ConnectError::fault);
        Self::Network { operation, place, cause, fault }
    }

    /// Creates the error for an answer that has nothing of AWS's.
    fn foreign(operation: &'static str) -> Self {
        let cause = "a captive portal or proxy answered: this is no answer of AWS".to_owned();
        Self::Network { operation, place: None, cause, fault: ConnectFault::Portal }
    }

    /// Returns true if the error has this AWS error code.
    pub fn has_code(&self, name: &str) -> bool {
        if let Self::Rejected { error, .. } = self {
            return error.has_code(name);
        }
        matches!(self, Self::Service { code, .. } if code == name)
    }

    /// Adds whose credentials they are, if the error is about credentials.
    pub(super) fn with_owner(self, owner: &KeyOwner) -> Self {
        if matches!(self, Self::Service { .. }) && self.meaning() == Meaning::Credentials {
            return Self::Rejected { owner: owner.clone(), error: Box::new(self) };
        }
        self
    }

    /// Returns true if the service answered this operation with the error.
    pub fn is_of(&self, name: &str) -> bool {
        matches!(self, Self::Service { operation, .. } if *operation == name)
    }

    /// Returns true if the service received the call and did not execute it (throttling or a fault), so that a retry
    /// is safe.
    pub fn is_throttled_or_server_fault(&self) -> bool {
        matches!(self, Self::Service { .. }) && self.meaning() == Meaning::Transient
    }

    /// Returns the class of the error.
    pub fn meaning(&self) -> Meaning {
        match self {
            Self::NoRegion
            | Self::Settings(_)
            | Self::File(_)
            | Self::Proxy(_)
            | Self::Bundle { .. }
            | Self::NotARegion { .. }
            | Self::NoServices { .. } => Meaning::Settings,
            Self::NoCredentials(_)
            | Self::NoneConfigured { .. }
            | Self::Source(_)
            | Self::NoProfile(_)
            | Self::NoLogin { .. }
            | Self::NoCode { .. }
            | Self::Rejected { .. } => Meaning::Credentials,
            // The certificate and the answer may be those of a captive portal, so a retry may succeed.
            Self::Timeout { .. }
            | Self::NoConnection { .. }
            | Self::TooLong { .. }
            | Self::Certificate { .. }
            | Self::Network { .. } => Meaning::Transient,
            Self::Service { code, status, .. } => meaning_of(code, *status),
        }
    }
}

/// The most bytes that are kept of an error code, and of a message; a denial names a policy and two ARNs.
const LONGEST_CODE: usize = 200;
const LONGEST_MESSAGE: usize = 4096;

fn cut(text: &str, length: usize) -> String {
    text[..text.floor_char_boundary(length)].to_owned()
}

/// Error codes of throttling, from the SDK's own list.
const THROTTLING: [&str; 11] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "LimitExceededException",
    "BandwidthLimitExceeded",
    "PriorRequestNotComplete",
    "SlowDown",
];

fn meaning_of(code: &str, status: u16) -> Meaning {
    match code {
        "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation" => Meaning::AccessDenied,
        "TargetNotConnected" => Meaning::TargetNotConnected,
        "DoesNotExistException" => Meaning::DoesNotExist,
        "ExpiredTokenException"
        | "ExpiredToken"
        | "RequestExpired"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "AuthFailure"
        | "SignatureDoesNotMatch"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "RequestTimeTooSkewed" => Meaning::Credentials,
        code if THROTTLING.contains(&code) => Meaning::Transient,
        "InternalServerError"
        | "InternalFailure"
        | "InternalError"
        | "ServiceUnavailable"
        | "Unavailable" => Meaning::Transient,
        _ if status >= 500 || matches!(status, 403 | 408 | 429) => Meaning::Transient,
        _ => Meaning::Other,
    }
}

fn half(missing: Option<&str>) -> String {
    missing.map(|key| format!(" (the profile has no `{key}`)")).unwrap_or_default()
}

/// Finds a rejected certificate in the error's chain of sources.
fn certificate_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(refusal @ rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
        return Some(refusal);
    }
    // `io::Error::source` skips the wrapped error itself.
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(wrapped) => certificate_error(wrapped),
        None => certificate_error(error.source()?),
    }
}

/// Formats an error and its sources in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_are_classified() {
        let table = [
            ("AccessDeniedException", 400, Meaning::AccessDenied),
            ("TargetNotConnected", 400, Meaning::TargetNotConnected),
            ("ExpiredTokenException", 400, Meaning::Credentials),
            ("ThrottlingException", 400, Meaning::Transient),
            ("InternalServerError", 500, Meaning::Transient),
            ("SomethingNew", 503, Meaning::Transient),
            ("DoesNotExistException", 400, Meaning::DoesNotExist),
            ("SlowDown", 400, Meaning::Transient),
            ("RequestTimeTooSkewed", 400, Meaning::Credentials),
            ("ForbiddenByAProxy", 403, Meaning::Transient),
            ("InvalidDocument", 400, Meaning::Other),
            ("UnauthorizedOperation", 403, Meaning::AccessDenied),
            ("AuthFailure", 401, Meaning::Credentials),
            ("Unavailable", 503, Meaning::Transient),
        ];
        for (code, status, meaning) in table {
            assert_eq!(meaning_of(code, status), meaning, "{code}");
        }
    }
}
