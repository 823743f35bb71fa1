//! How packets leave a subnet for Systems Manager: interface endpoints, a NAT or internet gateway, or none.

use futures_util::future::try_join;

use crate::aws::{Access, ApiError, Filter, Instance, RouteTable, SecurityGroup, VpcEndpoint, VpcRoute};

/// The services that an agent connects to.
const SERVICES: [&str; 2] = ["ssm", "ssmmessages"];

/// How packets of an instance get to Systems Manager, or why they do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Egress {
    /// By interface endpoints for both services.
    Endpoints(Vec<String>),
    /// By the default route of its subnet, to this gateway.
    Gateway(String),
    /// The default route leads to an internet gateway, and the instance has no public address.
    NoPublicAddress {
        /// The subnet.
        subnet: String,
        /// The gateway.
        gateway: String,
    },
    /// What the default route leads to does not exist any more.
    BlackHole {
        /// The route table.
        table: String,
        /// What is gone.
        gateway: String,
    },
    /// No default route, and no endpoint for these services.
    Missing {
        /// The subnet.
        subnet: String,
        /// The services.
        services: Vec<&'static str>,
    },
    /// No security group of an endpoint admits port 443.
    Closed {
        /// The endpoint.
        endpoint: String,
        /// Its service.
        service: &'static str,
        /// Its security groups.
        groups: Vec<String>,
    },
}

impl Egress {
    /// Asks EC2 about the subnet of an instance; `None` if its subnet is not known.
    ///
    /// # Errors
    /// [`ApiError`], such as a denial.
    pub async fn of(access: &Access, instance: &Instance) -> Result<Option<Self>, ApiError> {
        let (Some(vpc), Some(subnet)) = (&instance.vpc, &instance.subnet) else { return Ok(None) };
        let of_vpc = [Filter::new("vpc-id", vpc)];
        let endpoints = access.describe_vpc_endpoints(&of_vpc);
        let (table, endpoints) = try_join(route_table(access, vpc, subnet), endpoints).await?;
        let endpoints: Vec<VpcEndpoint> = endpoints.into_iter().filter(is_used).collect();
        let ids: Vec<String> = endpoints.iter().flat_map(|endpoint| endpoint.groups.clone()).collect();
        let groups = match ids.is_empty() {
            true => Vec::new(),
            false => {
                access.describe_security_groups(&[Filter { name: "group-id".into(), values: ids }]).await?
            }
        };
        let is_public = !instance.public_addresses.is_empty();
        Ok(Some(Network { subnet, is_public, table, endpoints, groups }.egress()))
    }
}

/// Returns the route table of a subnet: its own, else the main one of its VPC.
async fn route_table(access: &Access, vpc: &str, subnet: &str) -> Result<Option<RouteTable>, ApiError> {
    let own = access.describe_route_tables(&[Filter::new("association.subnet-id", subnet)]).await?;
    if let Some(table) = own.into_iter().next() {
        return Ok(Some(table));
    }
    let main = [Filter::new("vpc-id", vpc), Filter::new("association.main", "true")];
    Ok(access.describe_route_tables(&main).await?.into_iter().next())
}

/// An endpoint without private DNS changes nothing for an agent, which uses the usual name.
fn is_used(endpoint: &VpcEndpoint) -> bool {
    endpoint.is_available && endpoint.has_private_dns
}

/// What EC2 reports.
struct Network<'a> {
    subnet: &'a str,
    is_public: bool,
    table: Option<RouteTable>,
    /// Those that the usual names lead to.
    endpoints: Vec<VpcEndpoint>,
    /// The groups of the endpoints.
    groups: Vec<SecurityGroup>,
}

impl Network<'_> {
    /// An endpoint takes the packets for its service; the default route has those for the others.
    fn egress(&self) -> Egress {
        let subnet = || self.subnet.to_owned();
        if let Some(closed) = SERVICES.iter().find_map(|service| self.closed(service)) {
            return closed;
        }
        let missing: Vec<&'static str> =
            SERVICES.into_iter().filter(|service| self.endpoint(service).is_none()).collect();
        if missing.is_empty() {
            let found = SERVICES.iter().filter_map(|service| self.endpoint(service));
            return Egress::Endpoints(found.map(|endpoint| endpoint.id.clone()).collect());
        }
        match (&self.table, self.default_route()) {
            (_, None) => Egress::Missing { subnet: subnet(), services: missing },
            (table, Some(route)) if !route.is_active => Egress::BlackHole {
                table: table.as_ref().map(|table| table.id.clone()).unwrap_or_default(),
                gateway: route.to.clone(),
            },
            (_, Some(route)) if route.to.starts_with("igw-") && !self.is_public => {
                Egress::NoPublicAddress { subnet: subnet(), gateway: route.to.clone() }
            }
            (_, Some(route)) => Egress::Gateway(route.to.clone()),
        }
    }

    fn endpoint(&self, service: &str) -> Option<&VpcEndpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.service.rsplit('.').next() == Some(service))
    }

    fn closed(&self, service: &'static str) -> Option<Egress> {
        let endpoint = self.endpoint(service)?;
        let mut groups = self.groups.iter().filter(|group| endpoint.groups.contains(&group.id));
        let is_open = endpoint.groups.is_empty() || groups.any(|group| group.admits_https);
        let groups = endpoint.groups.clone();
        (!is_open).then(|| Egress::Closed { endpoint: endpoint.id.clone(), service, groups })
    }

    fn default_route(&self) -> Option<&VpcRoute> {
        let routes = self.table.iter().flat_map(|table| &table.routes);
        routes.filter(|route| route.destination == "0.0.0.0/0").max_by_key(|route| route.is_active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(service: &str) -> VpcEndpoint {
        VpcEndpoint {
            id: format!("vpce-{service}"),
            service: format!("com.amazonaws.eu-central-1.{service}"),
            is_available: true,
            has_private_dns: true,
            groups: vec!["sg-1".to_owned()],
        }
    }

    fn egress(
        route: Option<(&str, bool)>,
        is_public: bool,
        endpoints: &[&str],
        admits_https: bool,
    ) -> Egress {
        let route = route.map(|(to, is_active)| VpcRoute {
            destination: "0.0.0.0/0".to_owned(),
            to: to.to_owned(),
            is_active,
        });
        let local =
            VpcRoute { destination: "10.0.0.0/16".to_owned(), to: "local".to_owned(), is_active: true };
        let routes = [local].into_iter().chain(route).collect();
        let group = SecurityGroup { id: "sg-1".to_owned(), admits_https, ..SecurityGroup::default() };
        Network {
            subnet: "subnet-1",
            is_public,
            table: Some(RouteTable { id: "rtb-1".to_owned(), routes }),
            endpoints: endpoints.iter().map(|service| endpoint(service)).collect(),
            groups: vec![group],
        }
        .egress()
    }

    #[test]
    fn a_gateway_or_both_endpoints_are_a_way() {
        assert_eq!(egress(Some(("nat-1", true)), false, &[], true), Egress::Gateway("nat-1".into()));
        assert_eq!(egress(Some(("igw-1", true)), true, &[], true), Egress::Gateway("igw-1".into()));
        let endpoints = egress(None, false, &["ssm", "ssmmessages", "ec2messages"], true);
        assert!(matches!(endpoints, Egress::Endpoints(_)), "{endpoints:?}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = |services: &[&'static str]| Egress::Missing {
            subnet: "subnet-1".into(),
            services: services.to_vec(),
        };
        assert_eq!(egress(None, true, &[], true), missing(&["ssm", "ssmmessages"]));
        assert_eq!(egress(None, false, &["ssm"], true), missing(&["ssmmessages"]));
        assert!(matches!(egress(Some(("igw-1", true)), false, &[], true), Egress::NoPublicAddress { .. }));
        assert!(matches!(egress(Some(("nat-1", false)), false, &[], true), Egress::BlackHole { .. }));
    }

    #[test]
    fn a_closed_endpoint_is_in_the_way_of_every_route() {
        let closed = egress(Some(("nat-1", true)), false, &["ssm"], false);
        assert!(matches!(closed, Egress::Closed { service: "ssm", .. }), "{closed:?}");
    }
}
