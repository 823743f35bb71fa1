//! What mends a connection that cannot be opened.

use crate::transport::{ConnectFault, DialError, TlsFault};

use super::{ExitKind, Report};

pub(super) const NETWORK: &str =
    "check the network, `HTTPS_PROXY` and the endpoint settings: `fumidai doctor` names what is in the way";
const DIRECT: &str = "check the network, `HTTPS_PROXY` and `NO_PROXY`";
const ISSUER: &str =
    "if a proxy of your company intercepts TLS, set `AWS_CA_BUNDLE` to its root certificates";
const PORTAL: &str = "log in to the network in a browser (captive portal); if a proxy answers, ask for the host to be allowed: docs/networks.md";

/// Says what mends a fault of a proxy or the network.
pub(super) fn connect_hint(fault: ConnectFault) -> &'static str {
    match fault {
        ConnectFault::Network => NETWORK,
        ConnectFault::Login => {
            "write `USER:PASSWORD@` before the proxy's host in `HTTPS_PROXY`, or correct it"
        }
        ConnectFault::LoginScheme => {
            "fumidai logs in by `Basic` only: run a local proxy that logs in, and set `HTTPS_PROXY` to that"
        }
        ConnectFault::Forbidden => {
            "ask for the host to be allowed by the proxy (docs/security.md lists the hosts), or name it in `NO_PROXY`"
        }
        ConnectFault::Proxy => {
            "check scheme, host and port in `HTTPS_PROXY`; the roots of an `https://` proxy belong in `AWS_CA_BUNDLE`"
        }
        ConnectFault::Portal => PORTAL,
    }
}

/// Says what mends a failed TLS handshake.
pub(super) fn tls_hint(fault: TlsFault) -> &'static str {
    match fault {
        TlsFault::Issuer => ISSUER,
        TlsFault::Name => {
            "another machine answers: log in to the network in a browser, and check what DNS says of that name"
        }
        TlsFault::Time => "check this machine's clock; if it is right, the certificate has expired",
        TlsFault::NotTls => PORTAL,
        TlsFault::Handshake => NETWORK,
    }
}

/// Reports a websocket that could not be opened.
pub(super) fn of_dial(error: &DialError) -> Report {
    let whole = error.to_string();
    match error {
        DialError::Refused { status: 403, .. } => Report::new(ExitKind::AccessDenied, whole)
            .hint("allow `ssmmessages:OpenDataChannel` on the session, and check the clock"),
        DialError::Certificate { fault, .. } => Report::new(ExitKind::Failure, whole).hint(tls_hint(*fault)),
        DialError::Connect { fault, .. } if fault.is_permanent() => {
            Report::new(ExitKind::Failure, whole).hint(connect_hint(*fault))
        }
        DialError::Foreign { .. } => Report::new(ExitKind::Failure, whole)
            .hint("ask for websockets to that host to be let pass by the proxy: docs/networks.md")
            .hint("if it is a captive portal, log in to the network in a browser"),
        DialError::Timeout(_) => Report::new(ExitKind::TimedOut, whole),
        DialError::Connect { .. }
        | DialError::Tls(_)
        | DialError::Sign(_)
        | DialError::Refused { .. }
        | DialError::Upgrade(_) => Report::new(ExitKind::Failure, whole).hint(DIRECT),
    }
}
