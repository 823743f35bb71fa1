//! STS GetCallerIdentity.

use quick_xml::escape::escape;

use crate::sim::exception::ApiException;
use crate::sim::shared::{ACCOUNT, Shared};
use crate::sim::sigv4::SignatureError;

/// Answers a call of STS.
///
/// # Errors
/// Every operation but GetCallerIdentity.
pub(super) fn answer(shared: &Shared, operation: &str) -> Result<String, ApiException> {
    if operation != "GetCallerIdentity" {
        let message = format!("fumidai-sim answers GetCallerIdentity only, not {operation}");
        return Err(ApiException::new("AccessDenied", message));
    }
    let (arn, principal) = (shared.caller_arn(), &shared.config.principal);
    Ok(format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>{}</Arn><UserId>AROAFUMIDAISIM:{}</UserId><Account>{ACCOUNT}</Account>\
         </GetCallerIdentityResult></GetCallerIdentityResponse>",
        escape(&arn),
        escape(principal)
    ))
}

/// Returns the error of STS for a signature: the query protocol has other names than the JSON protocol.
pub(super) fn refuse(error: &SignatureError) -> ApiException {
    let code = match error {
        SignatureError::Missing => "MissingAuthenticationToken",
        SignatureError::Incomplete(_) => "IncompleteSignature",
        SignatureError::Unknown => "InvalidClientTokenId",
        SignatureError::Expired => "ExpiredToken",
        SignatureError::Scope(_) | SignatureError::Skewed(_) | SignatureError::Mismatch => {
            "SignatureDoesNotMatch"
        }
    };
    ApiException::new(code, error.to_string())
}
