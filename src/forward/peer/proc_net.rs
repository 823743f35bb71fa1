//! One TCP socket by its addresses, from /proc/net/tcp and /proc/net/tcp6: where sock_diag cannot be used, as in some
//! sandboxes. The kernel writes all sockets for each reader.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::listed::Listed;

/// The tables; that of IPv6 has sockets of IPv4 too. Those of the thread's network namespace.
const TABLES: [&str; 2] = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];

/// Finds the socket from one address to another, seen from its side. `None` if the tables cannot be read.
pub(super) fn find(from: SocketAddr, to: SocketAddr) -> Option<Option<Listed>> {
    let mut is_readable = false;
    for table in TABLES {
        let Ok(file) = File::open(table) else { continue };
        is_readable = true;
        let mut lines = BufReader::new(file).lines().map_while(Result::ok);
        if let Some(listed) = lines.find_map(|line| parse(&line, from, to)) {
            return Some(Some(listed));
        }
    }
    is_readable.then_some(None)
}

/// Reads a line; returns the socket if it is between these addresses.
fn parse(line: &str, from: SocketAddr, to: SocketAddr) -> Option<Listed> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    if !is_same(local, from) || !is_same(remote, to) {
        return None;
    }
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    // Between them: queues, timer, retransmits, user, time-outs.
    let inode = fields.nth(5)?.parse().ok()?;
    Some(Listed { state, inode })
}

fn is_same((ip, port): (IpAddr, u16), address: SocketAddr) -> bool {
    (ip.to_canonical(), port) == (address.ip().to_canonical(), address.port())
}

/// Reads an address and a port in hex: the address in words of 32 bits, as this machine has them in memory.
fn address(text: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let octets: [u8; 16] = words.concat().try_into().ok()?;
            Ipv6Addr::from(octets).into()
        }
        _ => return None,
    };
    Some((ip, port))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
    const OPEN: &str = "   0: 0100007F:9C40 0100007F:33FA 01 00000000:00000000 00:00000000 00000000  1000        0 \
        124377 1 0000000000000000 20 4 30 10 -1";
    const HALF_CLOSED: &str = "  12: 0100007F:9C40 0100007F:33FA 05 00000000:00000000 00:00000000 00000000  1000        \
        0 124377 1 0000000000000000 20 4 30 10 -1";
    const CLOSED: &str = " 123: 0100007F:9C40 0100007F:33FA 05 00000000:00000000 03:000016D6 00000000     0        0 0 3 \
        0000000000000000";
    const MAPPED: &str = "   4: 0000000000000000FFFF00000100007F:9C40 0000000000000000FFFF00000100007F:33FA 04 \
        00000000:00000000 00:00000000 00000000     0        0 0 1 0000000000000000 20 4 30 10 -1";
    const V6: &str = "   4: 000080FE00000000FF005450B6AD1DFE:9C40 00000000000000000000000001000000:33FA 08 \
        00000000:00000000 00:00000000 00000000     0        0 99 1 0000000000000000 20 4 30 10 -1";

    fn parsed(line: &str, from: &str, to: &str) -> Option<Listed> {
        parse(line, from.parse().unwrap(), to.parse().unwrap())
    }

    #[test]
    fn lines_of_the_kernel_are_parsed() {
        let (from, to) = ("127.0.0.1:40000", "127.0.0.1:13306");
        for (line, state, inode) in
            [(OPEN, 1, 124_377), (HALF_CLOSED, 5, 124_377), (CLOSED, 5, 0), (MAPPED, 4, 0)]
        {
            assert_eq!(parsed(line, from, to), Some(Listed { state, inode }), "{line}");
        }
        let (mapped_from, mapped_to) = ("[::ffff:127.0.0.1]:40000", "[::ffff:127.0.0.1]:13306");
        assert_eq!(parsed(CLOSED, mapped_from, mapped_to), Some(Listed { state: 5, inode: 0 }));
        let v6 = parsed(V6, "[fe80::5054:ff:fe1d:adb6]:40000", "[::1]:13306");
        assert_eq!(v6, Some(Listed { state: 8, inode: 99 }));
    }

    #[test]
    fn other_lines_are_skipped() {
        let (from, to) = ("127.0.0.1:40000", "127.0.0.1:13306");
        assert_eq!(parsed(OPEN, to, from), None, "the other end of the same connection");
        for line in
            [HEAD, "", "1:", &OPEN[..60], "0: 0100007F:9C40 0100007F:33FA xx", "0: é00007F:9C40 0:0 01"]
        {
            assert_eq!(parsed(line, from, to), None, "{line}");
        }
    }

    #[tokio::test]
    async fn the_tables_of_this_machine_have_both_ends_of_a_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (from, to) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let found = find(from, to).unwrap().unwrap();
        assert!(found.state == 1 && found.inode > 0, "{found:?}");
        assert_eq!(find(from, "127.0.0.1:1".parse().unwrap()), Some(None));
        drop(client);
        while find(from, to).unwrap().is_some_and(|listed| listed.inode > 0) {}
        let closed = find(from, to).unwrap().unwrap();
        assert!(closed.inode == 0 && [4, 5].contains(&closed.state), "{closed:?}");
    }
}
