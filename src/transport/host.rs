//! Checks which stream URLs may be dialled: the token and the user's bytes are sent there.
//!
//! Owns the rule of docs/security.md. Allowed are AWS's hosts of the session's region, private endpoints of that
//! region, and hosts that the user's settings name; `ws://` and loopback only in the last case. The URL itself is
//! opaque and dialled byte for byte as received.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use thiserror::Error;

/// What the rule depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamHosts {
    /// The session's region.
    pub region: String,
    /// DNS suffixes of AWS's endpoints in the region's partition, dual-stack included.
    pub suffixes: Vec<String>,
    /// URLs in the user's settings: the SSM endpoint and `AWS_ENDPOINT_URL_SSMMESSAGES`.
    pub configured: Vec<String>,
}

/// A stream URL that passed the check. Its query is secret: `Display` and `Debug` show the host only.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamUrl(Uri);

/// Why a stream URL was rejected.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HostError {
    /// The text is not a URL with a host.
    #[error("the service gave a stream URL that cannot be read")]
    Unreadable,
    /// The URL has a user name; URLs of Session Manager never do.
    #[error("the service gave a stream URL with a user name in it")]
    UserInfo,
    /// The scheme is not allowed for this host.
    #[error("the service gave a `{scheme}://` stream URL for host `{host}`")]
    Scheme { scheme: String, host: String },
    /// The host is not AWS's and not in the user's settings.
    #[error("the service gave a stream URL for host `{0}`, which is not an endpoint of Session Manager")]
    Host(String),
}

impl StreamHosts {
    /// Checks a stream URL.
    ///
    /// # Errors
    /// [`HostError`] if the URL must not be dialled.
    pub fn check(&self, url: &str) -> Result<StreamUrl, HostError> {
        let uri: Uri = url.parse().map_err(|_| HostError::Unreadable)?;
        let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else {
            return Err(HostError::Unreadable);
        };
        if authority.as_str().contains('@') {
            return Err(HostError::UserInfo);
        }
        let host = host.to_ascii_lowercase();
        let is_configured =
            self.configured.iter().any(|configured| host_of(configured).as_ref() == Some(&host));
        match uri.scheme_str() {
            Some("wss") if is_configured || (!is_loopback(&host) && self.is_aws(&host)) => Ok(StreamUrl(uri)),
            Some("wss") => Err(HostError::Host(host)),
            Some("ws") if is_configured && is_loopback(&host) => Ok(StreamUrl(uri)),
            scheme => Err(HostError::Scheme { scheme: scheme.unwrap_or_default().to_owned(), host }),
        }
    }

    fn is_aws(&self, host: &str) -> bool {
        let region = self.region.to_ascii_lowercase();
        self.suffixes.iter().any(|suffix| {
            host == format!("ssmmessages.{region}.{suffix}")
                || host == format!("ssmmessages-fips.{region}.{suffix}")
                || host
                    .strip_suffix(&format!(".ssmmessages.{region}.vpce.{suffix}"))
                    .is_some_and(|id| !id.is_empty())
        })
    }
}

impl StreamUrl {
    /// Returns the host in lower case.
    pub fn host(&self) -> String {
        self.0.host().unwrap_or_default().to_ascii_lowercase()
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.0.scheme_str() == Some("wss")
    }
}

impl fmt::Display for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.host().unwrap_or_default())
    }
}

impl fmt::Debug for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamUrl({self})")
    }
}

fn host_of(url: &str) -> Option<String> {
    Some(url.parse::<Uri>().ok()?.host()?.to_ascii_lowercase())
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let local = host == "localhost" || host.ends_with(".localhost");
    local || address.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(configured: &[&str]) -> StreamHosts {
        StreamHosts {
            region: "eu-west-1".to_owned(),
            suffixes: vec!["amazonaws.com".to_owned(), "api.aws".to_owned()],
            configured: configured.iter().map(|url| (*url).to_owned()).collect(),
        }
    }

    fn allowed(configured: &[&str], url: &str) -> bool {
        hosts(configured).check(url).is_ok()
    }

    #[test]
    fn endpoints_of_the_region_are_allowed() {
        for url in [
            "wss://ssmmessages.eu-west-1.amazonaws.com/v1/data-channel/a-0b?role=publish_subscribe&cell-number=AA+/B==",
            "wss://ssmmessages-fips.eu-west-1.amazonaws.com/x",
            "wss://SSMMESSAGES.eu-west-1.api.aws/x",
            "wss://vpce-0123.ssmmessages.eu-west-1.vpce.amazonaws.com/x",
            "wss://vpce-0123-abc.eu-west-1a.ssmmessages.eu-west-1.vpce.amazonaws.com/x",
        ] {
            assert!(allowed(&[], url), "{url}");
        }
    }

    #[test]
    fn all_other_urls_are_rejected() {
        for url in [
            "wss://ssmmessages.us-east-1.amazonaws.com/x",
            "wss://ssmmessages.eu-west-1.amazonaws.com.evil.example/x",
            "wss://evil-ssmmessages.eu-west-1.amazonaws.com/x",
            "wss://evil.example/ssmmessages.eu-west-1.amazonaws.com",
            "wss://.ssmmessages.eu-west-1.vpce.amazonaws.com/x",
            "wss://ssmmessages.eu-west-1.amazonaws.com@evil.example/x",
            "wss://user:pw@ssmmessages.eu-west-1.amazonaws.com/x",
            "ws://ssmmessages.eu-west-1.amazonaws.com/x",
            "https://ssmmessages.eu-west-1.amazonaws.com/x",
            "wss://127.0.0.1:8443/x",
            "ws://localhost:8080/x",
            "wss:///x",
            "nonsense",
            "",
        ] {
            assert!(!allowed(&[], url), "{url}");
        }
    }

    #[test]
    fn a_configured_host_is_allowed_without_tls_only_on_loopback() {
        assert!(allowed(&["http://127.0.0.1:4566"], "ws://127.0.0.1:9/x"));
        assert!(allowed(&["http://[::1]:1"], "ws://[::1]:2/x"));
        assert!(allowed(&["https://localhost:1"], "wss://localhost:2/x"));
        assert!(allowed(&["https://proxy.example"], "wss://proxy.example/x"));
        assert!(!allowed(&["http://127.0.0.1:4566"], "ws://127.0.0.2:9/x"));
        assert!(!allowed(&["http://127.0.0.1:4566"], "ws://localhost:9/x"));
        assert!(!allowed(&["https://proxy.example"], "ws://proxy.example/x"));
        assert!(!allowed(&["http://127.0.0.1:1"], "ws://u@127.0.0.1:9/x"));
    }

    #[test]
    fn the_query_is_not_shown() {
        let url = hosts(&[])
            .check("wss://ssmmessages.eu-west-1.amazonaws.com/v1/data-channel/s?cell-number=SECRET");
        assert_eq!(format!("{:?}", url.unwrap()), "StreamUrl(ssmmessages.eu-west-1.amazonaws.com)");
    }
}
