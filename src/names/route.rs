//! The route that a host of the config file asks for.

/// The way through a hop, as a user asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// No hop.
    Direct,
    /// The hop's agent dials the host.
    RemoteHost,
    /// The hop's sshd does.
    Ssh,
}
