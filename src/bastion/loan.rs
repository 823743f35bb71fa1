//! A security group that an interface has while a session is open on the machine that the session is opened to.

use std::net::IpAddr;

use crate::aws::{Access, Filter, NetworkInterface, SecurityGroup};
use crate::clock;
use crate::names::Target;
use crate::route::{Loan, LoanPlace, Wish};

use super::decide::{Step, YOUNG};
use super::error::{LoanError, StartError};
use super::event::OnLife;
use super::guardian::Guardian;
use super::life::{Key, LifeInput};
use super::wait::Wait;

/// The tag that allows the guardian to change a resource.
pub(super) const GUARDED: &str = "fumidai:guarded";

/// Returns true if the tags allow the guardian to change a resource.
pub fn guarded(tags: &[(String, String)]) -> bool {
    tags.iter().any(|(key, value)| key == GUARDED && value == "true")
}

/// A group that an interface has.
#[derive(Clone, Debug)]
pub struct Loaned {
    loan: Loan,
    interface: String,
    group: String,
    /// It was lent by a life that may be ending.
    pub is_joined: bool,
}

/// Lends groups while a session is open on a target.
pub(super) struct Lender<'a> {
    pub access: &'a Access,
    pub guardian: &'a Guardian<'a>,
    pub wish: &'a Wish,
    pub target: &'a Target,
    pub on_life: &'a OnLife,
}

impl Lender<'_> {
    /// Makes sure that the interface has the group.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn ensure(&self, loan: &Loan) -> Result<Loaned, StartError> {
        let interface = find_interface(self.access, loan, self.target).await?;
        let group = find_group(self.access, loan, &interface).await?;
        let has_group = interface.groups.contains(&group.id);
        if !has_group {
            check_tags(&interface, &group)?;
        }
        let mut loaned =
            Loaned { loan: loan.clone(), interface: interface.id, group: group.id, is_joined: false };
        if has_group {
            loaned.is_joined = self.guardian.youngest(&loaned.key()).await?.is_some();
        } else {
            self.lend(&loaned).await?;
        }
        Ok(loaned)
    }

    /// Lends the group again if a life that was just ending has taken it back.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn keep(&self, loaned: &Loaned) -> Result<(), StartError> {
        if self.has_group(loaned).await? { Ok(()) } else { self.lend(loaned).await }
    }

    /// Asks for a life that lends the group, or joins a young one, and waits for the group.
    async fn lend(&self, loaned: &Loaned) -> Result<(), StartError> {
        let (key, host) = (loaned.key(), &loaned.loan.host);
        let wait = Wait::until(host, clock::now(), self.wish.timeout, self.on_life);
        let mut mine: Option<String> = None;
        loop {
            let is_served = match &mine {
                Some(arn) => self.guardian.is_running(arn, host).await?,
                None => self.guardian.youngest(&key).await?.is_some_and(|age| age < YOUNG),
            };
            if !is_served {
                let input =
                    LifeInput::of_group(self.wish, self.target.id(), &loaned.interface, &loaned.group);
                mine = Some(self.guardian.begin(&key, input, host, self.on_life).await?);
            }
            wait.next(Step::Group).await?;
            if self.has_group(loaned).await? {
                return Ok(());
            }
        }
    }

    async fn has_group(&self, loaned: &Loaned) -> Result<bool, StartError> {
        let filter = Filter::new("network-interface-id", &loaned.interface);
        let found = self.access.describe_network_interfaces(&[filter]).await?;
        Ok(found.first().is_some_and(|interface| interface.groups.contains(&loaned.group)))
    }
}

impl Loaned {
    fn key(&self) -> Key {
        Key::of_group(&self.interface, &self.group)
    }
}

/// Finds the interface of a machine: that with the address, or the first of the target.
pub(super) async fn find_interface(
    access: &Access,
    loan: &Loan,
    target: &Target,
) -> Result<NetworkInterface, StartError> {
    let filter = match &loan.place {
        LoanPlace::Target => Filter::new("attachment.instance-id", target.id()),
        LoanPlace::Address(address) => Filter::new(address_filter(address), address),
    };
    let found = access.describe_network_interfaces(&[filter]).await?;
    let found = found.into_iter().min_by_key(|interface| interface.device_index);
    Ok(found.ok_or_else(|| LoanError::NoInterface {
        host: loan.host.clone(),
        place: match &loan.place {
            LoanPlace::Target => format!("the first of {}", target.id()),
            LoanPlace::Address(address) => address.clone(),
        },
    })?)
}

fn address_filter(address: &str) -> &'static str {
    match address.parse() {
        Ok(IpAddr::V4(_)) => "addresses.private-ip-address",
        Ok(IpAddr::V6(_)) => "ipv6-addresses.ipv6-address",
        Err(_) => "private-dns-name",
    }
}

/// Finds the group, by its id or by its name in the interface's VPC.
pub(super) async fn find_group(
    access: &Access,
    loan: &Loan,
    interface: &NetworkInterface,
) -> Result<SecurityGroup, StartError> {
    let vpc = interface.vpc.clone();
    let is_id = loan.group.starts_with("sg-");
    let filters = match is_id {
        true => vec![Filter::new("group-id", &loan.group)],
        false => vec![Filter::new("group-name", &loan.group), Filter::new("vpc-id", &vpc)],
    };
    let found = access.describe_security_groups(&filters).await?.into_iter().next();
    let group = found.ok_or_else(|| LoanError::NoGroup { group: loan.group.clone(), vpc: vpc.clone() })?;
    if group.vpc == vpc {
        return Ok(group);
    }
    Err(LoanError::OtherVpc { group: loan.group.clone(), vpc: group.vpc, host: loan.host.clone() }.into())
}

fn check_tags(interface: &NetworkInterface, group: &SecurityGroup) -> Result<(), LoanError> {
    let resources = [(&interface.id, &interface.tags), (&group.id, &group.tags)];
    match resources.into_iter().find(|(_, tags)| !guarded(tags)) {
        Some((resource, _)) => Err(LoanError::NotGuarded { resource: resource.clone() }),
        None => Ok(()),
    }
}
