//! EC2: lists instances, starts and stops one.

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde::Deserialize;

use super::query::{Parameters, QueryClient, numbered};
use super::{Access, ApiError};

/// Maximum page size of DescribeInstances (EC2 API reference).
const PAGE: &str = "1000";

/// An instance, as EC2 describes it. All texts are untrusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// The id, `i-…`.
    pub id: String,
    /// The state: `running`, `stopped` and others.
    pub state: String,
    /// All private addresses, those of the first interface first.
    pub private_addresses: Vec<String>,
    /// All public addresses.
    pub public_addresses: Vec<String>,
    /// The private and public DNS names.
    pub dns_names: Vec<String>,
    /// When it was started last, in Unix seconds.
    pub launched: Option<i64>,
    /// The ARN of its instance profile.
    pub profile: Option<String>,
    /// Its VPC.
    pub vpc: Option<String>,
    /// Its subnet.
    pub subnet: Option<String>,
    /// The ids of its network interfaces.
    pub interfaces: Vec<String>,
    /// The platform, such as `Linux/UNIX`.
    pub platform: Option<String>,
    /// Keys and values of the tags.
    pub tags: Vec<(String, String)>,
}

/// Restricts the instances that EC2 returns to those with one of the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The filter's name, such as `tag:Name` or `private-ip-address`.
    pub name: String,
    /// The values, without wildcards.
    pub values: Vec<String>,
}

impl Filter {
    /// Creates a filter with one value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), values: vec![value.into()] }
    }

    pub(super) fn parameters(&self, number: usize) -> Parameters {
        let literal: Vec<String> = self.values.iter().map(|value| literal(value)).collect();
        let mut parameters = vec![(format!("Filter.{number}.Name"), self.name.clone())];
        parameters.extend(numbered(&format!("Filter.{number}.Value"), &literal));
        parameters
    }
}

/// Escapes a filter's value: EC2 reads `*` and `?` as wildcards unless a backslash precedes them.
fn literal(value: &str) -> String {
    let mut literal = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '*' | '?' | '\\') {
            literal.push('\\');
        }
        literal.push(c);
    }
    literal
}

impl Access {
    /// Lists all instances that pass every filter.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn describe_instances(&self, filters: &[Filter]) -> Result<Vec<Instance>, ApiError> {
        let client = self.ec2()?;
        let mut fixed = vec![("MaxResults".to_owned(), PAGE.to_owned())];
        fixed.extend(filtered(filters));
        let mut instances = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut parameters = fixed.clone();
            parameters.extend(token.take().map(|token| ("NextToken".to_owned(), token)));
            let page = client.call("DescribeInstances", parameters).await;
            let page: InstancesPage = page.map_err(|error| error.with_owner(&self.owner))?;
            let reservations = page.reservations.item.into_iter();
            instances.extend(reservations.flat_map(|one| one.instances.item).map(Instance::from));
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(instances);
            }
        }
    }

    /// Lists the regions that are enabled for the account.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn describe_regions(&self) -> Result<Vec<String>, ApiError> {
        let page: RegionsPage = self.ec2()?.call("DescribeRegions", Parameters::new()).await?;
        Ok(page.regions.item.into_iter().map(|item| item.region_name).collect())
    }

    /// Starts an instance, and returns the state that it had.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn start_instance(&self, id: &str) -> Result<String, ApiError> {
        let parameters = vec![("InstanceId.1".to_owned(), id.to_owned())];
        let answer: StartAnswer = self.ec2()?.call("StartInstances", parameters).await?;
        let change = answer.instances.item.into_iter().next();
        Ok(change.map(|change| change.previous_state.name).unwrap_or_default())
    }

    /// Stops an instance.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn stop_instance(&self, id: &str) -> Result<(), ApiError> {
        let parameters = vec![("InstanceId.1".to_owned(), id.to_owned())];
        let StartAnswer { .. } = self.ec2()?.call("StopInstances", parameters).await?;
        Ok(())
    }

    pub(super) fn ec2(&self) -> Result<QueryClient, ApiError> {
        let service = self.service("ec2", "ec2", self.endpoints.ec2.as_ref())?;
        Ok(QueryClient { version: "2016-11-15", service })
    }
}

/// Returns the parameters of all filters.
pub(super) fn filtered(filters: &[Filter]) -> Parameters {
    filters.iter().enumerate().flat_map(|(place, filter)| filter.parameters(place + 1)).collect()
}

/// A list in EC2's XML: `<…Set><item/>…</…Set>`.
#[derive(Debug, Deserialize)]
pub(super) struct Set<T> {
    #[serde(default = "Vec::new")]
    pub item: Vec<T>,
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self { item: Vec::new() }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct InstancesPage {
    #[serde(rename = "reservationSet", default)]
    reservations: Set<Reservation>,
    #[serde(rename = "nextToken")]
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RegionsPage {
    #[serde(rename = "regionInfo", default)]
    regions: Set<RegionItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RegionItem {
    region_name: String,
}

#[derive(Debug, Deserialize)]
struct Reservation {
    #[serde(rename = "instancesSet", default)]
    instances: Set<InstanceItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InstanceItem {
    instance_id: String,
    instance_state: StateItem,
    private_dns_name: Option<String>,
    dns_name: Option<String>,
    private_ip_address: Option<String>,
    #[serde(rename = "ipAddress")]
    public_address: Option<String>,
    launch_time: Option<String>,
    vpc_id: Option<String>,
    subnet_id: Option<String>,
    iam_instance_profile: Option<ProfileItem>,
    platform_details: Option<String>,
    platform: Option<String>,
    #[serde(default)]
    tag_set: Set<TagItem>,
    #[serde(default)]
    network_interface_set: Set<InterfaceItem>,
}

#[derive(Debug, Deserialize)]
struct StateItem {
    name: String,
}

#[derive(Debug, Deserialize)]
struct StartAnswer {
    #[serde(rename = "instancesSet", default)]
    instances: Set<ChangeItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangeItem {
    previous_state: StateItem,
}

#[derive(Debug, Deserialize)]
pub(super) struct TagItem {
    pub key: String,
    #[serde(default)]
    pub value: String,
}

#[derive(Debug, Deserialize)]
struct ProfileItem {
    arn: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InterfaceItem {
    network_interface_id: Option<String>,
    #[serde(default)]
    private_ip_addresses_set: Set<AddressItem>,
    #[serde(default)]
    ipv6_addresses_set: Set<Ipv6Item>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AddressItem {
    private_ip_address: Option<String>,
    association: Option<AssociationItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AssociationItem {
    public_ip: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ipv6Item {
    ipv6_address: String,
}

impl From<InstanceItem> for Instance {
    fn from(item: InstanceItem) -> Self {
        let mut private = Vec::from_iter(item.private_ip_address);
        let mut public = Vec::from_iter(item.public_address);
        let mut interfaces = Vec::new();
        for interface in item.network_interface_set.item {
            interfaces.extend(interface.network_interface_id);
            for address in interface.private_ip_addresses_set.item {
                private.extend(address.private_ip_address);
                public.extend(address.association.and_then(|association| association.public_ip));
            }
            private.extend(interface.ipv6_addresses_set.item.into_iter().map(|item| item.ipv6_address));
        }
        Self {
            id: item.instance_id,
            state: item.instance_state.name,
            private_addresses: distinct(private),
            public_addresses: distinct(public),
            dns_names: distinct(item.private_dns_name.into_iter().chain(item.dns_name).collect()),
            launched: item.launch_time.as_deref().and_then(unix_seconds),
            profile: item.iam_instance_profile.map(|profile| profile.arn),
            vpc: item.vpc_id,
            subnet: item.subnet_id,
            interfaces,
            platform: item.platform_details.or(item.platform).filter(|text| !text.is_empty()),
            tags: item.tag_set.item.into_iter().map(|tag| (tag.key, tag.value)).collect(),
        }
    }
}

fn unix_seconds(time: &str) -> Option<i64> {
    DateTime::from_str(time, Format::DateTime).ok().map(|time| time.secs())
}

/// Removes duplicates and empty texts; keeps the order.
fn distinct(texts: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::with_capacity(texts.len());
    for text in texts {
        if !text.is_empty() && !kept.contains(&text) {
            kept.push(text);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>1</requestId>
  <reservationSet>
    <item><reservationId>r-1</reservationId><groupSet/><instancesSet><item>
      <instanceId>i-1</instanceId><instanceState><code>16</code><name>running</name></instanceState>
      <privateDnsName>ip-10-0-0-1.ec2.internal</privateDnsName><dnsName/>
      <blockDeviceMapping/><privateIpAddress>10.0.0.1</privateIpAddress><ipAddress>198.51.100.1</ipAddress>
      <platformDetails>Linux/UNIX</platformDetails><launchTime>2026-11-28T10:00:00.000Z</launchTime>
      <subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId>
      <iamInstanceProfile><arn>arn:aws:iam::123456789012:instance-profile/bastion</arn><id>A</id></iamInstanceProfile>
      <tagSet>
        <item><key>Name</key><value> a &amp; b&#x1b;[31m&#10;c </value></item>
        <item><key>Empty</key><value/></item>
        <item><key>None</key></item>
      </tagSet>
      <networkInterfaceSet><item><networkInterfaceId>eni-1</networkInterfaceId>
        <privateIpAddressesSet>
          <item><privateIpAddress>10.0.0.1</privateIpAddress><association><publicIp>198.51.100.1</publicIp></association></item>
          <item><privateIpAddress>10.0.0.2</privateIpAddress></item>
        </privateIpAddressesSet>
        <ipv6AddressesSet><item><ipv6Address>2001:db8::1</ipv6Address></item></ipv6AddressesSet>
      </item></networkInterfaceSet>
    </item><item>
      <instanceId>i-2</instanceId><instanceState><code>80</code><name>stopped</name></instanceState>
    </item></instancesSet></item>
    <item><instancesSet/></item>
  </reservationSet>
  <nextToken>more</nextToken>
</DescribeInstancesResponse>"#;

    #[test]
    fn a_page_is_parsed_with_all_characters_of_its_values() {
        let page: InstancesPage = quick_xml::de::from_str(PAGE).expect("valid");
        assert_eq!(page.next_token.as_deref(), Some("more"));
        let items = page.reservations.item.into_iter().flat_map(|one| one.instances.item);
        let instances: Vec<Instance> = items.map(Instance::from).collect();
        let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            instances[0],
            Instance {
                id: "i-1".into(),
                state: "running".into(),
                private_addresses: vec!["10.0.0.1".into(), "10.0.0.2".into(), "2001:db8::1".into()],
                public_addresses: vec!["198.51.100.1".into()],
                dns_names: vec!["ip-10-0-0-1.ec2.internal".into()],
                launched: Some(1_795_860_000),
                profile: Some("arn:aws:iam::123456789012:instance-profile/bastion".into()),
                vpc: Some("vpc-1".into()),
                subnet: Some("subnet-1".into()),
                interfaces: vec!["eni-1".into()],
                platform: Some("Linux/UNIX".into()),
                tags: vec![tag("Name", " a & b\x1b[31m\nc "), tag("Empty", ""), tag("None", "")],
            }
        );
        assert_eq!((instances[1].id.as_str(), instances[1].state.as_str()), ("i-2", "stopped"));
        assert_eq!(instances.len(), 2);
    }

    #[test]
    fn an_empty_answer_has_no_instances() {
        for text in ["<R><reservationSet/></R>", "<R/>", "<R><reservationSet> </reservationSet></R>"] {
            let page: InstancesPage = quick_xml::de::from_str(text).expect(text);
            assert!(page.reservations.item.is_empty() && page.next_token.is_none());
        }
    }

    #[test]
    fn filters_are_numbered_and_escaped() {
        let filter = Filter { name: "tag:Name".into(), values: vec!["a*".into(), "b".into()] };
        let parameters = filter.parameters(2);
        let expected =
            [("Filter.2.Name", "tag:Name"), ("Filter.2.Value.1", r"a\*"), ("Filter.2.Value.2", "b")];
        assert_eq!(parameters, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
