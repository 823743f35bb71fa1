//! EC2: the route tables of a subnet, and the endpoints of its VPC.

use serde::Deserialize;

use super::ec2::{Filter, Set, filtered};
use super::{Access, ApiError};

/// A route table. All texts are untrusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTable {
    /// The id, `rtb-…`.
    pub id: String,
    /// The routes.
    pub routes: Vec<VpcRoute>,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VpcRoute {
    /// The destination, such as `0.0.0.0/0`.
    pub destination: String,
    /// The id of what packets are sent to: `igw-…`, `nat-…`, `tgw-…`, `eni-…` or others.
    pub to: String,
    /// What packets are sent to exists.
    pub is_active: bool,
}

/// An endpoint for a service in a VPC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VpcEndpoint {
    /// The id, `vpce-…`.
    pub id: String,
    /// The service, such as `com.amazonaws.eu-central-1.ssm`.
    pub service: String,
    /// It is an interface endpoint that can be used.
    pub is_available: bool,
    /// The usual name of the service leads to it.
    pub has_private_dns: bool,
    /// The ids of its security groups.
    pub groups: Vec<String>,
}

impl Access {
    /// Lists the route tables that pass every filter, at most one page of them.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn describe_route_tables(&self, filters: &[Filter]) -> Result<Vec<RouteTable>, ApiError> {
        let page: TablesPage = self.ec2()?.call("DescribeRouteTables", filtered(filters)).await?;
        Ok(page.tables.item.into_iter().map(RouteTable::from).collect())
    }

    /// Lists the endpoints that pass every filter, at most one page of them.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn describe_vpc_endpoints(&self, filters: &[Filter]) -> Result<Vec<VpcEndpoint>, ApiError> {
        let page: EndpointsPage = self.ec2()?.call("DescribeVpcEndpoints", filtered(filters)).await?;
        Ok(page.endpoints.item.into_iter().map(VpcEndpoint::from).collect())
    }
}

#[derive(Debug, Deserialize)]
struct TablesPage {
    #[serde(rename = "routeTableSet", default)]
    tables: Set<TableItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TableItem {
    route_table_id: String,
    #[serde(default)]
    route_set: Set<RouteItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RouteItem {
    destination_cidr_block: Option<String>,
    destination_ipv6_cidr_block: Option<String>,
    gateway_id: Option<String>,
    nat_gateway_id: Option<String>,
    transit_gateway_id: Option<String>,
    network_interface_id: Option<String>,
    egress_only_internet_gateway_id: Option<String>,
    vpc_peering_connection_id: Option<String>,
    state: Option<String>,
}

#[derive(Debug, Deserialize)]
struct EndpointsPage {
    #[serde(rename = "vpcEndpointSet", default)]
    endpoints: Set<EndpointItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndpointItem {
    vpc_endpoint_id: String,
    #[serde(default)]
    service_name: String,
    vpc_endpoint_type: Option<String>,
    state: Option<String>,
    private_dns_enabled: Option<bool>,
    #[serde(default)]
    group_set: Set<GroupRef>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupRef {
    group_id: String,
}

impl From<TableItem> for RouteTable {
    fn from(item: TableItem) -> Self {
        Self {
            id: item.route_table_id,
            routes: item.route_set.item.into_iter().map(VpcRoute::from).collect(),
        }
    }
}

impl From<RouteItem> for VpcRoute {
    fn from(item: RouteItem) -> Self {
        let to = item.nat_gateway_id.or(item.transit_gateway_id).or(item.network_interface_id);
        let to = to.or(item.egress_only_internet_gateway_id).or(item.vpc_peering_connection_id);
        let destination = item.destination_cidr_block.or(item.destination_ipv6_cidr_block);
        Self {
            destination: destination.unwrap_or_default(),
            to: to.or(item.gateway_id).unwrap_or_default(),
            is_active: item.state.as_deref() != Some("blackhole"),
        }
    }
}

impl From<EndpointItem> for VpcEndpoint {
    fn from(item: EndpointItem) -> Self {
        let is_interface = item.vpc_endpoint_type.is_some_and(|kind| kind.eq_ignore_ascii_case("interface"));
        let is_there = item.state.is_none_or(|state| state.eq_ignore_ascii_case("available"));
        Self {
            id: item.vpc_endpoint_id,
            service: item.service_name,
            is_available: is_interface && is_there,
            has_private_dns: item.private_dns_enabled.unwrap_or(false),
            groups: item.group_set.item.into_iter().map(|group| group.group_id).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_tables_and_endpoints_are_parsed() {
        let text = "<R><routeTableSet><item><routeTableId>rtb-1</routeTableId><vpcId>vpc-1</vpcId><routeSet>\
            <item><destinationCidrBlock>10.0.0.0/16</destinationCidrBlock><gatewayId>local</gatewayId>\
            <state>active</state></item>\
            <item><destinationCidrBlock>0.0.0.0/0</destinationCidrBlock><natGatewayId>nat-1</natGatewayId>\
            <state>blackhole</state></item></routeSet><associationSet/></item></routeTableSet></R>";
        let page: TablesPage = quick_xml::de::from_str(text).expect("valid");
        let tables: Vec<RouteTable> = page.tables.item.into_iter().map(RouteTable::from).collect();
        let route = |destination: &str, to: &str, is_active| VpcRoute {
            destination: destination.into(),
            to: to.into(),
            is_active,
        };
        assert_eq!(
            tables[0].routes,
            [route("10.0.0.0/16", "local", true), route("0.0.0.0/0", "nat-1", false)]
        );
        let text = "<R><vpcEndpointSet><item><vpcEndpointId>vpce-1</vpcEndpointId>\
            <vpcEndpointType>Interface</vpcEndpointType><serviceName>com.amazonaws.eu-central-1.ssm</serviceName>\
            <state>available</state><privateDnsEnabled>true</privateDnsEnabled>\
            <groupSet><item><groupId>sg-1</groupId></item></groupSet></item>\
            <item><vpcEndpointId>vpce-2</vpcEndpointId><vpcEndpointType>Gateway</vpcEndpointType></item>\
            </vpcEndpointSet></R>";
        let page: EndpointsPage = quick_xml::de::from_str(text).expect("valid");
        let endpoints: Vec<VpcEndpoint> = page.endpoints.item.into_iter().map(VpcEndpoint::from).collect();
        assert_eq!(
            endpoints[0],
            VpcEndpoint {
                id: "vpce-1".into(),
                service: "com.amazonaws.eu-central-1.ssm".into(),
                is_available: true,
                has_private_dns: true,
                groups: vec!["sg-1".into()],
            }
        );
        assert!(!endpoints[1].is_available);
    }
}
