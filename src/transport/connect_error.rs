//! Why a connection could not be opened, and what mends it.

use std::error::Error;
use std::io;

use http::header::{HeaderMap, PROXY_AUTHENTICATE, WWW_AUTHENTICATE};
use thiserror::Error;

use super::foreign::ForeignAnswer;
use super::tls::{TlsError, TlsFault};

/// Why a connection could not be opened.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The system cannot reach the host or the proxy, or the SOCKS proxy cannot.
    #[error("{0}")]
    Network(String),
    /// The proxy rejects the login, or wants one: these are the schemes that it accepts.
    #[error("the proxy asks for a login (HTTP {status}{})", by(schemes))]
    Login {
        /// 407, or 401 as some proxies answer a wrong login.
        status: u16,
        /// The schemes.
        schemes: Vec<String>,
    },
    /// The same of a SOCKS proxy, in its words.
    #[error("the proxy asks for a login (SOCKS: {0})")]
    SocksLogin(String),
    /// The proxy refuses the connection.
    #[error("the proxy refused the connection with HTTP {0}")]
    Refused(u16),
    /// The SOCKS proxy has a rule against the connection.
    #[error("the proxy refused the connection (SOCKS: connection not allowed)")]
    SocksForbidden,
    /// Another server answered in place of AWS or the proxy.
    #[error("a captive portal or proxy answered: {0}")]
    Foreign(ForeignAnswer),
    /// The proxy does not speak HTTP.
    #[error("the proxy did not answer in HTTP")]
    NotHttp,
    /// The proxy closed the connection.
    #[error("the proxy closed the connection without an answer")]
    Closed,
    /// TLS with the proxy failed.
    #[error("TLS with the proxy: {0}")]
    ProxyTls(String),
    /// What the host answered is not TLS.
    #[error("the answer is not TLS, a captive portal or proxy may have answered")]
    NotTls,
    /// TLS with the host failed.
    #[error("{0}")]
    Tls(#[source] io::Error),
    /// TLS cannot be set up on this machine.
    #[error(transparent)]
    Setup(#[from] TlsError),
}

/// The kind of a fault: what mends it, and whether it may be over later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFault {
    /// The network, or a machine: a later attempt may succeed.
    Network,
    /// The login at the proxy: correct it.
    Login,
    /// The proxy accepts only schemes that are not supported: another proxy has to log in.
    LoginScheme,
    /// The proxy does not allow the host: have it allowed.
    Forbidden,
    /// What answers at the proxy's address is not such a proxy, or not trusted: correct the setting.
    Proxy,
    /// A captive portal, or another proxy, answers: log in to the network.
    Portal,
}

impl ConnectFault {
    /// Returns true if the same attempt cannot succeed until the user has done something.
    pub fn is_permanent(self) -> bool {
        self != Self::Network
    }
}

impl ConnectError {
    /// Creates the error for a proxy's answer that asks for a login.
    pub fn login(status: u16, headers: &HeaderMap) -> Self {
        let name = if status == 407 { PROXY_AUTHENTICATE } else { WWW_AUTHENTICATE };
        let schemes = headers.get_all(name).iter().filter_map(|value| scheme(value.as_bytes())).collect();
        Self::Login { status, schemes }
    }

    /// Creates the error of the network from an error and its sources.
    pub(super) fn network(error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        Self::Network(text)
    }

    /// Creates the error of a TLS handshake with a host.
    pub(super) fn tls(error: io::Error) -> Self {
        match TlsFault::of(&error) {
            Some(TlsFault::NotTls) => Self::NotTls,
            Some(_) | None => Self::Tls(error),
        }
    }

    /// Converts an error of TLS with a host to one with a proxy.
    pub(super) fn of_proxy(self) -> Self {
        if matches!(self, Self::NotTls) {
            return Self::ProxyTls("it did not answer in TLS".to_owned());
        }
        let has_fault = self.tls_fault().is_some();
        let Self::Tls(error) = self else { return self };
        if has_fault {
            return Self::ProxyTls(error.to_string());
        }
        Self::Network(format!("TLS with the proxy: {error}"))
    }

    /// Returns what is wrong if the TLS handshake with the host failed, and not the connection.
    pub fn tls_fault(&self) -> Option<TlsFault> {
        let Self::Tls(error) = self else { return None };
        TlsFault::of(error)
    }

    /// Returns the kind of the fault.
    pub fn fault(&self) -> ConnectFault {
        match self {
            Self::Network(_) | Self::Closed | Self::Tls(_) | Self::Setup(_) => ConnectFault::Network,
            Self::Login { schemes, .. } if is_supported(schemes) => ConnectFault::Login,
            Self::Login { .. } => ConnectFault::LoginScheme,
            Self::SocksLogin(_) => ConnectFault::Login,
            // A web server, which has no tunnels.
            Self::Refused(400 | 404 | 405 | 501) => ConnectFault::Proxy,
            Self::Refused(408 | 425 | 429 | 500..) => ConnectFault::Network,
            Self::Refused(_) | Self::SocksForbidden => ConnectFault::Forbidden,
            Self::NotHttp | Self::ProxyTls(_) => ConnectFault::Proxy,
            Self::Foreign(_) | Self::NotTls => ConnectFault::Portal,
        }
    }

    /// Returns true if the same attempt cannot succeed until the user has done something.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Setup(_)) || self.tls_fault().is_some() || self.fault().is_permanent()
    }
}

/// Returns the scheme of a `Proxy-Authenticate`, such as `Basic`, `NTLM` or `Negotiate`.
fn scheme(authenticate: &[u8]) -> Option<String> {
    let word = std::str::from_utf8(authenticate).ok()?.split([' ', ',']).next()?;
    let is_token = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    is_token.then(|| word.to_owned())
}

/// Returns false if there are schemes and none of them is ours.
fn is_supported(schemes: &[String]) -> bool {
    schemes.is_empty() || schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic"))
}

fn by(schemes: &[String]) -> String {
    if schemes.is_empty() { String::new() } else { format!(", by {}", schemes.join(" or ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_user_can_mend_is_permanent() {
        let login = |schemes: &[&str]| {
            let schemes = schemes.iter().map(|&one| one.to_owned()).collect();
            ConnectError::Login { status: 407, schemes }
        };
        for (error, fault) in [
            (ConnectError::Network(String::new()), ConnectFault::Network),
            (ConnectError::Closed, ConnectFault::Network),
            (login(&[]), ConnectFault::Login),
            (login(&["Negotiate", "basic"]), ConnectFault::Login),
            (login(&["Negotiate", "NTLM"]), ConnectFault::LoginScheme),
            (ConnectError::SocksLogin(String::new()), ConnectFault::Login),
            (ConnectError::Refused(403), ConnectFault::Forbidden),
            (ConnectError::Refused(405), ConnectFault::Proxy),
            (ConnectError::Refused(429), ConnectFault::Network),
            (ConnectError::Refused(503), ConnectFault::Network),
            (ConnectError::SocksForbidden, ConnectFault::Forbidden),
            (ConnectError::NotHttp, ConnectFault::Proxy),
            (ConnectError::ProxyTls(String::new()), ConnectFault::Proxy),
            (ConnectError::NotTls, ConnectFault::Portal),
        ] {
            assert_eq!(error.fault(), fault, "{error:?}");
            assert_eq!(error.is_permanent(), fault != ConnectFault::Network, "{error:?}");
        }
        let (reset, refused) = (io::ErrorKind::ConnectionReset.into(), rustls::Error::DecryptError);
        assert!(!ConnectError::Tls(reset).is_permanent());
        assert!(ConnectError::Tls(io::Error::new(io::ErrorKind::InvalidData, refused)).is_permanent());
    }
}
