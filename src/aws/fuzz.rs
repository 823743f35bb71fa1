//! Any bytes as an answer of EC2.

use super::ec2::InstancesPage;
use super::query::error_of;

/// Reads it as a page of instances and as an error.
pub(crate) fn xml(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = quick_xml::de::from_str::<InstancesPage>(&text);
    let _ = error_of(&text);
}
