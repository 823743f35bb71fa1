//! A TCP socket as the kernel lists it, and what that means.

use crate::session::Peer;

/// A socket as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its state, as in the kernel's `include/net/tcp_states.h`.
    pub state: u8,
    /// The inode of the process's descriptor; 0 is a socket that no process has.
    pub inode: u32,
}

/// The states of a socket whose owner has closed it: FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE, LAST_ACK, CLOSING.
const CLOSING_STATES: [u8; 6] = [4, 5, 6, 7, 9, 11];

impl Listed {
    /// Returns what is known of the socket's owner.
    pub(super) fn peer(self) -> Peer {
        match self.inode {
            1.. => Peer::Open,
            0 if CLOSING_STATES.contains(&self.state) => Peer::Closed,
            // It belongs to no process for another reason.
            0 => Peer::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_without_an_owner_has_closed_only_if_its_state_says_so() {
        for (state, inode, peer) in [
            (1, 7, Peer::Open),
            (5, 7, Peer::Open),
            (4, 0, Peer::Closed),
            (5, 0, Peer::Closed),
            (11, 0, Peer::Closed),
            (1, 0, Peer::Unknown),
            (10, 0, Peer::Unknown),
        ] {
            assert_eq!(Listed { state, inode }.peer(), peer, "{state} {inode}");
        }
    }
}
