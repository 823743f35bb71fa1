//! EC2: network interfaces, their security groups, and tags.

use serde::Deserialize;

use super::ec2::{Filter, Set, TagItem, filtered};
use super::query::{Parameters, numbered};
use super::{Access, ApiError};

/// A network interface. All texts are untrusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkInterface {
    /// The id, `eni-…`.
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// Its subnet.
    pub subnet: String,
    /// The instance that it is attached to.
    pub instance: Option<String>,
    /// Its number there; the first is 0.
    pub device_index: u32,
    /// The ids of its security groups.
    pub groups: Vec<String>,
    /// Keys and values of its tags.
    pub tags: Vec<(String, String)>,
}

/// A security group. All texts are untrusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityGroup {
    /// The id, `sg-…`.
    pub id: String,
    /// The name, which is unique in its VPC.
    pub name: String,
    /// Its VPC.
    pub vpc: String,
    /// A rule admits TCP to port 443 from somewhere.
    pub admits_https: bool,
    /// Keys and values of its tags.
    pub tags: Vec<(String, String)>,
}

impl Access {
    /// Lists the network interfaces that pass every filter, at most one page of them.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn describe_network_interfaces(
        &self,
        filters: &[Filter],
    ) -> Result<Vec<NetworkInterface>, ApiError> {
        let page: InterfacesPage = self.ec2()?.call("DescribeNetworkInterfaces", filtered(filters)).await?;
        Ok(page.interfaces.item.into_iter().map(NetworkInterface::from).collect())
    }

    /// Lists the security groups that pass every filter, at most one page of them.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn describe_security_groups(&self, filters: &[Filter]) -> Result<Vec<SecurityGroup>, ApiError> {
        let page: GroupsPage = self.ec2()?.call("DescribeSecurityGroups", filtered(filters)).await?;
        Ok(page.groups.item.into_iter().map(SecurityGroup::from).collect())
    }

    /// Adds a tag to resources.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn create_tag(&self, resources: &[String], key: &str, value: &str) -> Result<(), ApiError> {
        self.tag("CreateTags", resources, key, value).await
    }

    /// Removes a tag with that value from resources.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn delete_tag(&self, resources: &[String], key: &str, value: &str) -> Result<(), ApiError> {
        self.tag("DeleteTags", resources, key, value).await
    }

    async fn tag(
        &self,
        action: &'static str,
        resources: &[String],
        key: &str,
        value: &str,
    ) -> Result<(), ApiError> {
        let mut parameters: Parameters = numbered("ResourceId", resources);
        parameters.push(("Tag.1.Key".to_owned(), key.to_owned()));
        parameters.push(("Tag.1.Value".to_owned(), value.to_owned()));
        let Done {} = self.ec2()?.call(action, parameters).await?;
        Ok(())
    }
}

#[derive(Debug, Deserialize)]
struct Done {}

#[derive(Debug, Deserialize)]
struct InterfacesPage {
    #[serde(rename = "networkInterfaceSet", default)]
    interfaces: Set<InterfaceItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InterfaceItem {
    network_interface_id: String,
    #[serde(default)]
    vpc_id: String,
    #[serde(default)]
    subnet_id: String,
    attachment: Option<AttachmentItem>,
    #[serde(default)]
    group_set: Set<GroupRef>,
    #[serde(default)]
    tag_set: Set<TagItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AttachmentItem {
    instance_id: Option<String>,
    #[serde(default)]
    device_index: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupRef {
    group_id: String,
}

#[derive(Debug, Deserialize)]
struct GroupsPage {
    #[serde(rename = "securityGroupInfo", default)]
    groups: Set<GroupItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupItem {
    group_id: String,
    #[serde(default)]
    group_name: String,
    #[serde(default)]
    vpc_id: String,
    #[serde(default)]
    ip_permissions: Set<PermissionItem>,
    #[serde(default)]
    tag_set: Set<TagItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PermissionItem {
    ip_protocol: String,
    from_port: Option<i32>,
    to_port: Option<i32>,
}

impl PermissionItem {
    /// Protocol -1 is all protocols and ports.
    fn admits(&self, port: i32) -> bool {
        let is_in_range = self.from_port.unwrap_or(0) <= port && port <= self.to_port.unwrap_or(i32::MAX);
        self.ip_protocol == "-1" || (matches!(self.ip_protocol.as_str(), "tcp" | "6") && is_in_range)
    }
}

impl From<InterfaceItem> for NetworkInterface {
    fn from(item: InterfaceItem) -> Self {
        Self {
            device_index: item
                .attachment
                .as_ref()
                .map(|attachment| attachment.device_index)
                .unwrap_or_default(),
            id: item.network_interface_id,
            vpc: item.vpc_id,
            subnet: item.subnet_id,
            instance: item.attachment.and_then(|attachment| attachment.instance_id),
            groups: item.group_set.item.into_iter().map(|group| group.group_id).collect(),
            tags: tags(item.tag_set),
        }
    }
}

impl From<GroupItem> for SecurityGroup {
    fn from(item: GroupItem) -> Self {
        Self {
            id: item.group_id,
            name: item.group_name,
            vpc: item.vpc_id,
            admits_https: item.ip_permissions.item.iter().any(|rule| rule.admits(443)),
            tags: tags(item.tag_set),
        }
    }
}

fn tags(set: Set<TagItem>) -> Vec<(String, String)> {
    set.item.into_iter().map(|tag| (tag.key, tag.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_and_groups_are_parsed() {
        let text = "<R><networkInterfaceSet><item><networkInterfaceId>eni-1</networkInterfaceId>\
            <subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId>\
            <groupSet><item><groupId>sg-1</groupId><groupName>own</groupName></item></groupSet>\
            <attachment><instanceId>i-1</instanceId><deviceIndex>1</deviceIndex></attachment>\
            <tagSet><item><key>fumidai:guarded</key><value>true</value></item></tagSet>\
            </item></networkInterfaceSet></R>";
        let page: InterfacesPage = quick_xml::de::from_str(text).expect("valid");
        let interfaces: Vec<NetworkInterface> =
            page.interfaces.item.into_iter().map(NetworkInterface::from).collect();
        assert_eq!(
            interfaces,
            [NetworkInterface {
                id: "eni-1".into(),
                vpc: "vpc-1".into(),
                subnet: "subnet-1".into(),
                instance: Some("i-1".into()),
                device_index: 1,
                groups: vec!["sg-1".into()],
                tags: vec![("fumidai:guarded".into(), "true".into())],
            }]
        );
        let text = "<R><securityGroupInfo><item><groupId>sg-1</groupId><groupName>own</groupName>\
            <vpcId>vpc-1</vpcId><ipPermissions/></item></securityGroupInfo></R>";
        let page: GroupsPage = quick_xml::de::from_str(text).expect("valid");
        assert_eq!(page.groups.item.len(), 1);
        let Done {} = quick_xml::de::from_str("<R><return>true</return></R>").expect("valid");
    }
}
