//! EC2 Instance Connect: gives an instance a public key that its sshd accepts for 60 seconds.

use serde::Deserialize;
use serde_json::json;

use super::json::JsonClient;
use super::{Access, ApiError};

/// The name of the call, for errors.
const SEND_SSH_PUBLIC_KEY: &str = "SendSSHPublicKey";

impl Access {
    /// Pushes a public key to a user of an instance. sshd accepts it for 60 seconds.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn send_ssh_public_key(&self, instance: &str, user: &str, line: &str) -> Result<(), ApiError> {
        let input = json!({ "InstanceId": instance, "InstanceOSUser": user, "SSHPublicKey": line });
        let sent: Sent = self.instance_connect()?.call(SEND_SSH_PUBLIC_KEY, &input).await?;
        if sent.success {
            return Ok(());
        }
        let (code, message) = ("IncompleteAnswer".to_owned(), "the service did not take the key".to_owned());
        Err(ApiError::Service { operation: SEND_SSH_PUBLIC_KEY, code, message, status: 200 })
    }

    fn instance_connect(&self) -> Result<JsonClient, ApiError> {
        let name = "ec2-instance-connect";
        let service = self.service(name, name, self.endpoints.instance_connect.as_ref())?;
        let prefix = "AWSEC2InstanceConnectService";
        Ok(JsonClient { content_type: "application/x-amz-json-1.1", prefix, service })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sent {
    success: bool,
}
