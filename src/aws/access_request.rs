//! SSM's just-in-time node access: asks for access to a node, and for what an approval gives.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sdk_ssm::types::{AccessRequestStatus, Target};

use super::ssm::once;
use super::{Access, ApiError};

/// How an access request stands.
#[derive(Debug)]
pub(super) enum AccessStatus {
    /// It is not decided.
    Pending,
    /// It is approved, with the credentials for the node.
    Approved(Credentials),
    /// An approver rejected it.
    Rejected,
    /// The approval was taken back.
    Revoked,
    /// Its time, or that of the approval, is over.
    Expired,
}

impl Access {
    /// Asks for access to a node, and returns the request's id. Makes one attempt: a retry could file a second request.
    ///
    /// # Errors
    /// [`ApiError`]
    pub(super) async fn start_access_request(&self, target: &str, reason: &str) -> Result<String, ApiError> {
        const OPERATION: &str = "StartAccessRequest";
        let node = Target::builder().key("InstanceIds").values(target).build();
        let call = self.client.start_access_request().reason(reason).targets(node);
        let call = call.customize().config_override(once());
        let answer = call.send().await.map_err(|error| self.failed(OPERATION, &error))?;
        answer.access_request_id.filter(|id| !id.is_empty()).ok_or_else(|| incomplete(OPERATION, "no id"))
    }

    /// Asks how an access request stands.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub(super) async fn access_status(&self, id: &str) -> Result<AccessStatus, ApiError> {
        const OPERATION: &str = "GetAccessToken";
        let answer = self.client.get_access_token().access_request_id(id).send().await;
        let answer = answer.map_err(|error| self.failed(OPERATION, &error))?;
        match answer.access_request_status {
            Some(AccessRequestStatus::Pending) => Ok(AccessStatus::Pending),
            Some(AccessRequestStatus::Rejected) => Ok(AccessStatus::Rejected),
            Some(AccessRequestStatus::Revoked) => Ok(AccessStatus::Revoked),
            Some(AccessRequestStatus::Expired) => Ok(AccessStatus::Expired),
            Some(AccessRequestStatus::Approved) => {
                let given = answer.credentials.ok_or_else(|| incomplete(OPERATION, "no credentials"))?;
                Ok(AccessStatus::Approved(Credentials::new(
                    given.access_key_id,
                    given.secret_access_key,
                    Some(given.session_token),
                    SystemTime::try_from(given.expiration_time).ok(),
                    "an approved access request",
                )))
            }
            Some(other) => Err(incomplete(OPERATION, &format!("the unknown status `{other}`"))),
            None => Err(incomplete(OPERATION, "no status")),
        }
    }
}

fn incomplete(operation: &'static str, what: &str) -> ApiError {
    let (code, message) = ("IncompleteAnswer".to_owned(), what.to_owned());
    ApiError::Service { operation, code, message, status: 200 }
}
