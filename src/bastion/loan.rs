//! A security group that an interface has while somebody is on the machine that the session is opened to.

use std::time::Instant;

use crate::aws::{Access, Filter, Meaning, NetworkInterface, SecurityGroup};
use crate::clock;
use crate::names::Target;
use crate::route::{Loan, LoanPlace, Wish};

use super::decide::{Step, YOUNG};
use super::error::{LoanError, StartError};
use super::guardian::Guardian;
use super::life::{Key, LifeInput};
use super::{LifeEvent, OnLife, age, pause};

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

/// Makes sure that the interface has the group.
pub(super) async fn ensure(
    access: &Access,
    guardian: &Guardian<'_>,
    wish: &Wish,
    loan: &Loan,
    target: &Target,
    on_life: &OnLife,
) -> Result<Loaned, StartError> {
    let interface = find_interface(access, loan, target).await?;
    let group = find_group(access, loan, &interface).await?;
    let mut loaned = Loaned {
        loan: loan.clone(),
        interface: interface.id.clone(),
        group: group.id.clone(),
        is_joined: false,
    };
    if interface.groups.contains(&group.id) {
        loaned.is_joined = youngest(guardian, &loaned.key()).await?.is_some();
        return Ok(loaned);
    }
    check_tags(&interface, &group)?;
    lend(access, guardian, wish, &loaned, target, on_life).await?;
    Ok(loaned)
}

/// Lends the group again if a life that was just ending has taken it back.
pub(super) async fn keep(
    access: &Access,
    guardian: &Guardian<'_>,
    wish: &Wish,
    loaned: &Loaned,
    target: &Target,
    on_life: &OnLife,
) -> Result<(), StartError> {
    if has_group(access, loaned).await? {
        return Ok(());
    }
    lend(access, guardian, wish, loaned, target, on_life).await
}

/// Asks for a life that lends the group, or joins a young one, and waits for the group.
async fn lend(
    access: &Access,
    guardian: &Guardian<'_>,
    wish: &Wish,
    loaned: &Loaned,
    target: &Target,
    on_life: &OnLife,
) -> Result<(), StartError> {
    let (began, key, host) = (clock::now(), loaned.key(), &loaned.loan.host);
    let mut mine: Option<String> = None;
    loop {
        let is_served = match &mine {
            Some(arn) => guardian.is_running(arn, host).await?,
            None => youngest(guardian, &key).await?.is_some_and(|age| age < YOUNG),
        };
        if !is_served {
            let input = LifeInput::of_group(wish, target.id(), &loaned.interface, &loaned.group);
            let arn = guardian.begin_arn(&key, input).await?;
            let life = arn.rsplit(':').next().unwrap_or_default().to_owned();
            on_life(&LifeEvent::Began { host: host.clone(), life });
            mine = Some(arn);
        }
        wait(wish, host, began, on_life).await?;
        if has_group(access, loaned).await? {
            return Ok(());
        }
    }
}

async fn wait(wish: &Wish, host: &str, began: Instant, on_life: &OnLife) -> Result<(), StartError> {
    let (step, after) = (Step::Group, wish.timeout);
    if clock::now() >= began + after {
        return Err(StartError::TimedOut { host: host.to_owned(), after, step });
    }
    pause(|| {
        let since = clock::now().saturating_duration_since(began);
        on_life(&LifeEvent::Waiting { host: host.to_owned(), step, since });
    })
    .await;
    Ok(())
}

impl Loaned {
    fn key(&self) -> Key {
        Key::of_group(&self.interface, &self.group)
    }
}

/// Returns the age of the youngest life that lends the group; `None` also if the caller may not list lives.
async fn youngest(guardian: &Guardian<'_>, key: &Key) -> Result<Option<std::time::Duration>, StartError> {
    match guardian.running(key).await {
        Ok(lives) => Ok(lives.first().map(|life| age(life.started))),
        Err(StartError::Api(error)) if error.meaning() == Meaning::AccessDenied => Ok(None),
        Err(error) => Err(error),
    }
}

async fn has_group(access: &Access, loaned: &Loaned) -> Result<bool, StartError> {
    let filter = Filter::new("network-interface-id", &loaned.interface);
    let found = access.describe_network_interfaces(&[filter]).await?;
    Ok(found.first().is_some_and(|interface| interface.groups.contains(&loaned.group)))
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
        Ok(std::net::IpAddr::V4(_)) => "addresses.private-ip-address",
        Ok(std::net::IpAddr::V6(_)) => "ipv6-addresses.ipv6-address",
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
