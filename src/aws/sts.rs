//! STS: the caller's identity.

use super::{Access, ApiError};

/// The identity of the credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account id.
    pub account: String,
    /// The ARN of the user, or of the role session.
    pub arn: String,
}

impl Access {
    /// Returns the caller's identity. Needs no permission.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn caller(&self) -> Result<Caller, ApiError> {
        const OPERATION: &str = "GetCallerIdentity";
        let mut builder = aws_sdk_sts::config::Builder::from(&self.config);
        if let Some(url) = &self.endpoints.sts {
            builder = builder.endpoint_url(url).use_fips(false).use_dual_stack(false);
        }
        let answer = aws_sdk_sts::Client::from_conf(builder.build()).get_caller_identity().send().await;
        let answer = answer.map_err(|error| self.failed(OPERATION, &error))?;
        match (answer.account, answer.arn) {
            (Some(account), Some(arn)) => Ok(Caller { account, arn }),
            (_, _) => Err(ApiError::Service {
                operation: OPERATION,
                code: "IncompleteAnswer".to_owned(),
                message: "no account or ARN".to_owned(),
                status: 200,
            }),
        }
    }
}
