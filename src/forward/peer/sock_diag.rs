//! One TCP socket by its addresses, from the kernel's sock_diag(7): one system call each way, however many sockets there are.

use std::cell::RefCell;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::listed::Listed;

/// Constants of `linux/netlink.h`, `linux/sock_diag.h` and `netinet/in.h`.
const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// The errno of an error message: there is no such socket.
const ENOENT: i32 = 2;

/// A header of 16 bytes, and a `struct inet_diag_req_v2` of 56.
const REQUEST: usize = 72;
/// Where an answer has, behind its header, the fields of `struct inet_diag_msg`.
const STATE: usize = 16 + 1;
const INODE: usize = 16 + 68;

thread_local! {
    /// Opened at the first use, since there may be no descriptor left when it matters.
    static DIAG: RefCell<Diag> = const { RefCell::new(Diag::Unopened) };
}

enum Diag {
    Unopened,
    Open(Connection),
    /// The kernel, or a sandbox, does not have it.
    Absent,
}

/// A netlink socket to the kernel.
struct Connection {
    socket: Socket,
    sequence: u32,
}

/// Finds the socket from one address to another, seen from its side. `None` if the kernel cannot be asked.
pub(super) fn find(from: SocketAddr, to: SocketAddr) -> Option<Option<Listed>> {
    DIAG.with_borrow_mut(|diag| {
        if matches!(diag, Diag::Unopened) {
            *diag = Diag::open(to, from);
        }
        match diag {
            Diag::Open(connection) => connection.find(from, to).ok(),
            Diag::Unopened | Diag::Absent => None,
        }
    })
}

impl Diag {
    /// Opens it. A kernel without the module answers that there is no such socket: it is used once our own was found.
    fn open(from: SocketAddr, to: SocketAddr) -> Self {
        let Ok(mut connection) = Connection::open() else { return Self::Absent };
        match connection.find(from, to) {
            Ok(Some(_)) => Self::Open(connection),
            Ok(None) => Self::Unopened,
            Err(_) => Self::Absent,
        }
    }
}

impl Connection {
    fn open() -> io::Result<Self> {
        let protocol = Protocol::from(NETLINK_SOCK_DIAG);
        let socket = Socket::new(Domain::from(AF_NETLINK), Type::DGRAM, Some(protocol))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    fn find(&mut self, from: SocketAddr, to: SocketAddr) -> io::Result<Option<Listed>> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(self.sequence, from, to))?;
        let mut buffer = [0; 1024];
        loop {
            // The kernel has answered before `send` returns.
            let length = (&self.socket).read(&mut buffer)?;
            let answer = &buffer[..length];
            if word(answer, 8) == Some(self.sequence) {
                return read(answer);
            }
        }
    }
}

fn request(sequence: u32, from: SocketAddr, to: SocketAddr) -> [u8; REQUEST] {
    let (from_ip, to_ip) = (from.ip().to_canonical(), to.ip().to_canonical());
    let family = if from_ip.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut request = [0; REQUEST];
    let mut put = |at: usize, bytes: &[u8]| request[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(REQUEST as u32).to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &NLM_F_REQUEST.to_ne_bytes());
    put(8, &sequence.to_ne_bytes());
    put(16, &[family, IPPROTO_TCP]);
    // All states.
    put(20, &[0xff; 4]);
    put(24, &from.port().to_be_bytes());
    put(26, &to.port().to_be_bytes());
    put(28, &octets(from_ip));
    put(44, &octets(to_ip));
    put(60, &scope(from).to_ne_bytes());
    // No cookie.
    put(64, &[0xff; 8]);
    request
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn scope(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    }
}

fn read(answer: &[u8]) -> io::Result<Option<Listed>> {
    let kind = answer.get(4..6).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    match kind {
        Some(SOCK_DIAG_BY_FAMILY) => {
            let listed = answer.get(STATE).zip(word(answer, INODE));
            let listed = listed.map(|(state, inode)| Listed { state: *state, inode });
            listed.map(Some).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        }
        Some(NLMSG_ERROR) => match word(answer, 16).map(|errno| (errno as i32).wrapping_neg()) {
            Some(ENOENT) => Ok(None),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        },
        Some(_) | None => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn word(message: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(message.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_request_has_the_layout_of_the_kernel() {
        let bytes = request(7, address("127.0.0.1:4660"), address("127.0.0.2:80"));
        let id =
            [&[0x12, 0x34, 0, 80, 127, 0, 0, 1][..], &[0; 12], &[127, 0, 0, 2], &[0; 12], &[0; 4]].concat();
        assert_eq!(bytes[16..24], [2, 6, 0, 0, 255, 255, 255, 255]);
        assert_eq!(bytes[24..64], id);
        assert_eq!(bytes[64..], [0xff; 8]);
        let mapped = request(7, address("[::ffff:127.0.0.1]:4660"), address("[::ffff:127.0.0.2]:80"));
        assert_eq!(mapped, bytes);
        let v6 = request(7, address("[fe80::1%3]:1"), address("[fe80::2]:2"));
        assert_eq!((v6[16], v6[28], v6[43], v6[59]), (10, 0xfe, 1, 2));
        assert_eq!(word(&v6, 60), Some(3));
    }

    #[test]
    fn answers_are_read_and_broken_ones_are_errors() {
        let mut answer = vec![0; 88];
        answer[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        answer[STATE] = 5;
        answer[INODE..INODE + 4].copy_from_slice(&77u32.to_ne_bytes());
        assert_eq!(read(&answer).unwrap(), Some(Listed { state: 5, inode: 77 }));
        assert!(read(&answer[..80]).is_err());
        let mut error = vec![0; 36];
        error[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        error[16..20].copy_from_slice(&(-ENOENT).to_ne_bytes());
        assert_eq!(read(&error).unwrap(), None);
        error[16..20].copy_from_slice(&(-13i32).to_ne_bytes());
        assert_eq!(read(&error).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(read(&error[..18]).is_err() && read(&[]).is_err());
    }
}
