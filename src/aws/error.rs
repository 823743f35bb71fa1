//! What AWS or the way to it said, reduced to what a user or the resume policy can act on.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use thiserror::Error;

use super::NoCode;

/// Why a call of the control plane failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ApiError {
    /// Neither flag, environment, file nor profile names a region: set one.
    #[error("no region is configured")]
    NoRegion,
    /// A file of the user's settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// The profile that was named is nowhere: choose one of those that exist.
    #[error("the profile `{0}` is in no AWS config file")]
    NoProfile(String),
    /// There are no credentials, or they cannot be loaded: log in.
    #[error("no usable AWS credentials: {0}")]
    NoCredentials(String),
    /// The SSO session behind a profile is over or was never begun: log in.
    #[error("no usable AWS credentials: {cause}")]
    NoLogin {
        /// The profile to log in with.
        profile: String,
        /// The SDK's words.
        cause: String,
    },
    /// A role asks for a code that nobody gave: run again where there is a terminal, or use the AWS CLI before.
    #[error("profile `{profile}` needs an MFA code of `{serial}`, and {cause}")]
    NoCode {
        /// The profile.
        profile: String,
        /// The device.
        serial: String,
        /// Why there is none.
        cause: NoCode,
    },
    /// AWS answered with an error.
    #[error("{code} when calling {operation}: {message}")]
    Service {
        /// Which call.
        operation: &'static str,
        /// AWS's name of the error.
        code: String,
        /// AWS's words, untrusted.
        message: String,
        /// The HTTP status.
        status: u16,
    },
    /// No answer in time.
    #[error("no answer to {operation} within 15 s")]
    Timeout {
        /// Which call.
        operation: &'static str,
    },
    /// The endpoint's certificate was not accepted: trust its issuer with `AWS_CA_BUNDLE`, if it is yours.
    #[error("the endpoint for {operation} has a certificate that is not trusted: {cause}")]
    Certificate {
        /// Which call.
        operation: &'static str,
        /// Why not.
        cause: String,
    },
    /// The endpoint could not be reached.
    #[error("cannot reach the endpoint for {operation}: {cause}")]
    Network {
        /// Which call.
        operation: &'static str,
        /// The system's words.
        cause: String,
    },
}

/// What an error means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The user's settings must change.
    Settings,
    /// The credentials are missing, expired or wrong: other ones may work.
    Credentials,
    /// IAM says no.
    AccessDenied,
    /// The agent is not there.
    TargetNotConnected,
    /// The session is gone.
    DoesNotExist,
    /// Trying again may help: throttling, server faults, network.
    Transient,
    /// Nothing of the above.
    Other,
}

impl ApiError {
    /// Reduces the SDK's error for `operation`.
    pub(super) fn from_sdk<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match error {
            SdkError::ServiceError(service) => Self::Service {
                operation,
                code: service.err().code().unwrap_or("UnknownError").to_owned(),
                message: service.err().message().unwrap_or("no message").to_owned(),
                status: service.raw().status().as_u16(),
            },
            SdkError::TimeoutError(_) => Self::Timeout { operation },
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Self::Timeout { operation },
            SdkError::ConstructionFailure(_)
            | SdkError::DispatchFailure(_)
            | SdkError::ResponseError(_)
            | _ => match certificate_error(error) {
                Some(refusal) => Self::Certificate { operation, cause: refusal.to_string() },
                None => Self::Network { operation, cause: chain(error) },
            },
        }
    }

    /// Tells whether AWS gave this name to the error.
    pub fn has_code(&self, name: &str) -> bool {
        matches!(self, Self::Service { code, .. } if code == name)
    }

    /// Tells whether the service got the call and did not serve it: throttling or a fault, so that it may be repeated.
    pub fn is_throttled_or_server_fault(&self) -> bool {
        matches!(self, Self::Service { .. }) && self.meaning() == Meaning::Transient
    }

    /// Tells what the error means.
    pub fn meaning(&self) -> Meaning {
        match self {
            Self::NoRegion | Self::Settings(_) => Meaning::Settings,
            Self::NoCredentials(_) | Self::NoProfile(_) | Self::NoLogin { .. } | Self::NoCode { .. } => {
                Meaning::Credentials
            }
            // A certificate may be a captive portal's, and so pass.
            Self::Timeout { .. } | Self::Certificate { .. } | Self::Network { .. } => Meaning::Transient,
            Self::Service { code, status, .. } => meaning_of(code, *status),
        }
    }
}

/// Names under which AWS's services say "slower", as the SDK knows them.
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

/// TLS's refusal of a certificate, if that is the cause somewhere below.
fn certificate_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(refusal @ rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
        return Some(refusal);
    }
    // What an `io::Error` wraps is not its source.
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(wrapped) => certificate_error(wrapped),
        None => certificate_error(error.source()?),
    }
}

/// An error and all that caused it, in one line.
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
    fn codes_mean_what_the_user_can_do() {
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
