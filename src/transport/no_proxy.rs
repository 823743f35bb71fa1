//! The hosts that `NO_PROXY` names, which are reached without the proxy.
//!
//! curl, Go and botocore differ in details: every form that one of them reads is read here. `.example.com` holds for
//! `example.com` too, as in curl and botocore.

use std::net::{IpAddr, SocketAddr};

/// Hosts that are reached directly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NoProxy(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// Every host.
    All,
    /// A network: the first bits of its address count.
    Network(IpAddr, u32),
    /// An address, with its port if only that is meant.
    Address(IpAddr, Option<u16>),
    /// A domain with its subdomains, with its port if only that is meant.
    Domain(String, Option<u16>),
}

impl NoProxy {
    /// Reads a list with commas or spaces.
    pub fn parse(list: &str) -> Self {
        let words = list.split(|c: char| c == ',' || c.is_whitespace());
        Self(words.filter(|word| !word.is_empty()).map(Entry::parse).collect())
    }

    /// Returns true if the host is reached directly; an IPv6 address may have brackets.
    pub fn contains(&self, host: &str, port: u16) -> bool {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let address = address(host);
        self.0.iter().any(|entry| entry.matches(&name, address, port))
    }
}

impl Entry {
    fn parse(word: &str) -> Self {
        if word == "*" {
            return Self::All;
        }
        if let Some(network) = network(word) {
            return network;
        }
        if let Some(address) = address(word) {
            return Self::Address(address, None);
        }
        if let Ok(socket) = word.parse::<SocketAddr>() {
            return Self::Address(socket.ip().to_canonical(), Some(socket.port()));
        }
        let (name, port) = match word.rsplit_once(':').map(|(name, port)| (name, port.parse())) {
            Some((name, Ok(port))) => (name, Some(port)),
            Some((_, Err(_))) | None => (word, None),
        };
        let name = name.strip_prefix('*').unwrap_or(name);
        Self::Domain(name.trim_matches('.').to_ascii_lowercase(), port)
    }

    fn matches(&self, name: &str, address: Option<IpAddr>, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Network(network, length) => address.is_some_and(|one| shares(*network, one, *length)),
            Self::Address(known, only) => address == Some(*known) && only.is_none_or(|only| only == port),
            Self::Domain(domain, only) => {
                address.is_none() && is_below(name, domain) && only.is_none_or(|only| only == port)
            }
        }
    }
}

fn is_below(name: &str, domain: &str) -> bool {
    let Some(front) = name.strip_suffix(domain) else { return false };
    !domain.is_empty() && (front.is_empty() || front.ends_with('.'))
}

/// Reads an address, with or without the brackets of IPv6.
fn address(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    Some(inner.parse::<IpAddr>().ok()?.to_canonical())
}

/// Reads `ADDRESS/LENGTH`.
fn network(word: &str) -> Option<Entry> {
    let (front, length) = word.split_once('/')?;
    let (address, length) = (address(front)?, length.parse().ok()?);
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (length <= longest).then_some(Entry::Network(address, length))
}

/// Returns true if two addresses are of one family and have the same first bits.
fn shares(one: IpAddr, other: IpAddr, length: u32) -> bool {
    let difference = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => u128::from(one.to_bits() ^ other.to_bits()) << 96,
        (IpAddr::V6(one), IpAddr::V6(other)) => one.to_bits() ^ other.to_bits(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    difference.leading_zeros() >= length
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_of_an_entry_names_its_hosts() {
        let ssm = "ssm.eu-west-1.amazonaws.com";
        for (list, direct, proxied) in [
            ("", &[][..], &[ssm, "127.0.0.1", "localhost"][..]),
            (" , ,", &[], &[ssm]),
            // A name, exact and with its subdomains; with a dot or a star in front, too.
            (ssm, &[ssm, "SSM.eu-west-1.amazonaws.com", "ssm.eu-west-1.amazonaws.com."], &["amazonaws.com"]),
            ("amazonaws.com", &[ssm, "amazonaws.com"], &["notamazonaws.com", "amazonaws.com.cn"]),
            (".amazonaws.com", &[ssm, "amazonaws.com"], &["notamazonaws.com"]),
            ("*.amazonaws.com", &[ssm, "amazonaws.com"], &["notamazonaws.com"]),
            ("AmazonAWS.com.", &[ssm], &["example.com"]),
            // Lists, with commas, spaces or both.
            ("a.example,b.example", &["a.example", "b.example"], &["c.example"]),
            ("a.example b.example,  c.example", &["a.example", "b.example", "c.example"], &[ssm]),
            // Every host.
            ("*", &[ssm, "10.0.0.1", "[::1]", "localhost"], &[]),
            ("a.example,*", &[ssm, "10.0.0.1"], &[]),
            // A port.
            ("amazonaws.com:443", &[ssm], &[]),
            ("amazonaws.com:8443", &[], &[ssm]),
            ("10.0.0.1:443", &["10.0.0.1"], &["10.0.0.2"]),
            ("10.0.0.1:8443", &[], &["10.0.0.1"]),
            ("[fd00::1]:443", &["[fd00::1]"], &["[fd00::2]"]),
            ("[fd00::1]:8443", &[], &["[fd00::1]"]),
            // Addresses and networks, which do not hold for names.
            ("10.0.0.1", &["10.0.0.1"], &["10.0.0.11", "110.0.0.1", ssm]),
            ("10.0.0.0/8", &["10.0.0.1", "10.255.255.255"], &["11.0.0.1", "10.example.com", "[::1]"]),
            ("10.1.2.3/32", &["10.1.2.3"], &["10.1.2.4"]),
            ("0.0.0.0/0", &["10.1.2.3"], &[ssm, "[::1]"]),
            ("169.254.169.254", &["169.254.169.254", "[::ffff:169.254.169.254]"], &[ssm]),
            ("::1", &["[::1]", "::1", "[0:0::1]"], &["[::2]", "127.0.0.1"]),
            ("[::1]", &["[::1]", "::1"], &["[::2]"]),
            ("fd00::/8", &["[fd12::34]"], &["[fe80::1]", "10.0.0.1"]),
            ("[fd00::]/8", &["[fd12::34]"], &["[fe80::1]"]),
            // What is no form of these names at most itself.
            ("10.0.0.0/33", &[], &["10.0.0.1"]),
            ("10.", &[], &["10.0.0.1"]),
            (".", &[], &[ssm]),
            ("https://amazonaws.com", &[], &[ssm]),
        ] {
            let list_of = NoProxy::parse(list);
            for host in direct {
                assert!(list_of.contains(host, 443), "{list:?} names {host}");
            }
            for host in proxied {
                assert!(!list_of.contains(host, 443), "{list:?} does not name {host}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_list(list in r"[a-z0-9.:/*,\[\] é-]{0,40}", host in r"[a-z0-9.:\[\]-]{0,20}") {
            let named = NoProxy::parse(&list).contains(&host, 443);
            prop_assert!(named || !list.split(',').any(|word| word == "*"));
        }
    }
}
