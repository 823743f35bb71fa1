//! Local listeners: TCP on one address or several, or a unix socket.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use socket2::SockRef;
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use super::half_closed::HalfClosed;

/// After a failure to accept, as for want of descriptors, others get the chance to close some.
const BREATH: Duration = Duration::from_millis(50);
/// Connections that may wait to be accepted, as many as `TcpListener::bind` has.
const BACKLOG: u32 = 1024;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// On loopback, IPv4 and, where there is any, IPv6 on the same port.
    Loopback(u16),
    /// On every address of the machine.
    Everywhere(u16),
    /// On an address, or the addresses of a name.
    Host(String, u16),
    /// On a unix socket.
    Socket(PathBuf),
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback(port) => write!(f, "127.0.0.1:{port}"),
            Self::Everywhere(port) => write!(f, "*:{port}"),
            Self::Host(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {bind}: {source}")]
pub struct BindError {
    /// The address.
    pub bind: Bind,
    /// The system's error.
    pub source: io::Error,
}

/// A listener that is bound.
pub struct Listener {
    kind: Kind,
    name: String,
}

enum Kind {
    Tcp(Vec<TcpListener>),
    #[cfg(unix)]
    Unix(UnixListener, SocketFile),
}

/// A connection that has been made.
pub(super) enum Accepted {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Listener {
    /// Binds it.
    ///
    /// # Errors
    /// [`BindError`]
    pub async fn bind(bind: &Bind) -> Result<Self, BindError> {
        let bound = match bind {
            Bind::Loopback(port) => both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST, *port).await,
            Bind::Everywhere(port) => both(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED, *port).await,
            Bind::Host(host, port) => of_host(host, *port).await,
            Bind::Socket(path) => unix_socket(path),
        };
        let kind = bound.map_err(|source| BindError { bind: bind.clone(), source })?;
        let name = match &kind {
            Kind::Tcp(listeners) => listeners
                .first()
                .and_then(|listener| listener.local_addr().ok())
                .map_or_else(|| bind.to_string(), |address| address.to_string()),
            #[cfg(unix)]
            Kind::Unix(_, file) => file.path.display().to_string(),
        };
        Ok(Self { kind, name })
    }

    /// Where it listens: an address with the port that the system picked, or a path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether other machines can connect.
    pub fn is_wide(&self) -> bool {
        match &self.kind {
            Kind::Tcp(listeners) => listeners
                .iter()
                .any(|listener| listener.local_addr().is_ok_and(|address| !address.ip().is_loopback())),
            #[cfg(unix)]
            Kind::Unix(..) => false,
        }
    }

    /// The TCP port; none for a unix socket.
    pub fn port(&self) -> Option<u16> {
        match &self.kind {
            Kind::Tcp(listeners) => Some(listeners.first()?.local_addr().ok()?.port()),
            #[cfg(unix)]
            Kind::Unix(..) => None,
        }
    }

    /// Waits for the next connection. If there is no descriptor for it, the oldest half-closed connection is closed; other
    /// failures of the system are waited out.
    pub(super) async fn accept(&self, half_closed: &HalfClosed) -> (Accepted, String) {
        loop {
            match self.try_accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_shortage(&error) && half_closed.close_oldest().await => {
                    tracing::info!(%error, "closed the oldest half-closed connection");
                }
                Err(error) => {
                    tracing::warn!(%error, listener = self.name, "cannot accept a connection");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }

    async fn try_accept(&self) -> io::Result<(Accepted, String)> {
        match &self.kind {
            Kind::Tcp(listeners) => {
                let (socket, from) = accept_any(listeners).await?;
                // Without it, small answers are late; that it cannot be set costs only that.
                let _ = socket.set_nodelay(true);
                Ok((Accepted::Tcp(socket), from.to_string()))
            }
            #[cfg(unix)]
            Kind::Unix(listener, _) => {
                let (socket, _) = listener.accept().await?;
                Ok((Accepted::Unix(socket), self.name.clone()))
            }
        }
    }
}

/// Returns true if the process, or the system, has no descriptor left.
fn is_shortage(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;

        Errno::from_io_error(error).is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE))
    }
    #[cfg(not(unix))]
    {
        let _ = error;
        false
    }
}

async fn accept_any(listeners: &[TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    match listeners {
        [only] => only.accept().await,
        [first, second, ..] => tokio::select! {
            accepted = first.accept() => accepted,
            accepted = second.accept() => accepted,
        },
        [] => std::future::pending().await,
    }
}

/// Binds the same port for both families, as far as the machine has them. A port that another process has there is taken:
/// `localhost` may mean either.
async fn both(v4: Ipv4Addr, v6: Ipv6Addr, port: u16) -> io::Result<Kind> {
    loop {
        let first = match TcpListener::bind((v4, port)).await {
            Err(error) if is_family_missing(&error) => {
                return Ok(Kind::Tcp(vec![beside_ipv4(v6, port)?]));
            }
            bound => bound?,
        };
        match beside_ipv4(v6, first.local_addr()?.port()) {
            Ok(second) => return Ok(Kind::Tcp(vec![first, second])),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && port == 0 => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(_) => return Ok(Kind::Tcp(vec![first])),
        }
    }
}

/// Returns true if the machine has no address of the family.
fn is_family_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
}

/// Binds a port of IPv6 that is bound for IPv4 already; without the option, some systems take both.
fn beside_ipv4(address: Ipv6Addr, port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    SockRef::from(&socket).set_only_v6(true)?;
    // As `TcpListener::bind` does: a port that was listened on a moment ago can be had again.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((address, port)))?;
    socket.listen(BACKLOG)
}

async fn of_host(host: &str, port: u16) -> io::Result<Kind> {
    Ok(Kind::Tcp(vec![TcpListener::bind((host, port)).await?]))
}

/// The file of a unix socket. It is removed with the listener, unless another file has taken its place.
#[cfg(unix)]
struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

/// Returns device and inode of a file, or of a link itself.
#[cfg(unix)]
fn identity(path: &std::path::Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;

    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // Another process may have removed it meanwhile.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(unix)]
fn is_socket(path: &std::path::Path) -> bool {
    use std::os::unix::fs::FileTypeExt;

    std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// Returns true if a path is a socket that no process has. The process that has one does not see the question: a datagram
/// cannot be sent to a listener (EPROTOTYPE), while a connection would make a forward open a session.
#[cfg(unix)]
pub fn is_leftover_socket(path: &std::path::Path) -> bool {
    let probe = std::os::unix::net::UnixDatagram::unbound().and_then(|socket| socket.connect(path));
    is_socket(path) && probe.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Only unix has them.
#[cfg(not(unix))]
pub fn is_leftover_socket(_path: &std::path::Path) -> bool {
    false
}

/// Binds a socket that only its owner can use; a leftover is replaced.
#[cfg(unix)]
fn unix_socket(path: &std::path::Path) -> io::Result<Kind> {
    use rustix::fs::Mode;
    use rustix::process::umask;

    if is_socket(path) {
        if !is_leftover_socket(path) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let before = umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
    let bound = UnixListener::bind(path);
    umask(before);
    let listener = bound?;
    Ok(Kind::Unix(listener, SocketFile { path: path.to_owned(), identity: identity(path) }))
}

#[cfg(not(unix))]
fn unix_socket(_path: &std::path::Path) -> io::Result<Kind> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn port_zero_is_one_port_for_both_families() {
        let listener = Listener::bind(&Bind::Loopback(0)).await.unwrap();
        let port = listener.port().unwrap();
        assert_eq!(listener.name(), format!("127.0.0.1:{port}"));
        let half_closed = HalfClosed::default();
        let (accepted, connected) =
            tokio::join!(listener.accept(&half_closed), TcpStream::connect(("127.0.0.1", port)));
        assert!(matches!(accepted.0, Accepted::Tcp(_)));
        assert_eq!(accepted.1, connected.unwrap().local_addr().unwrap().to_string());
    }

    #[tokio::test]
    async fn an_address_in_use_is_said_to_be() {
        let first = Listener::bind(&Bind::Loopback(0)).await.unwrap();
        let bind = Bind::Loopback(first.port().unwrap());
        let error = Listener::bind(&bind).await.err().unwrap();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("cannot listen on {bind}: ")), "{error}");
    }

    #[tokio::test]
    async fn a_socket_is_private_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sock");
        let bind = Bind::Socket(path.clone());
        let listener = Listener::bind(&bind).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = Listener::bind(&bind).await.err().unwrap();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse, "a process answers");
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_has_taken_the_place_of_a_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sock");
        let bind = Bind::Socket(path.clone());
        let first = Listener::bind(&bind).await.unwrap();
        // Moved and not removed, so that its inode is not used again.
        std::fs::rename(&path, folder.path().join("moved")).unwrap();
        let second = Listener::bind(&bind).await.unwrap();
        drop(first);
        assert!(UnixStream::connect(&path).await.is_ok());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_leftover_socket_is_replaced_and_another_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sock");
        let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        other.set_nonblocking(true).unwrap();
        assert!(!is_leftover_socket(&path));
        assert_eq!(other.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "it is not connected to");
        drop(other);
        assert!(path.exists() && is_leftover_socket(&path));
        drop(Listener::bind(&Bind::Socket(path.clone())).await.unwrap());
        std::fs::write(&path, "precious").unwrap();
        assert!(!is_leftover_socket(&path));
        assert!(Listener::bind(&Bind::Socket(path.clone())).await.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn only_loopback_is_not_wide() {
        let host = |host: &str| Bind::Host(host.to_owned(), 0);
        for (bind, is_wide) in [
            (Bind::Loopback(0), false),
            (host("127.0.0.2"), false),
            (host("localhost"), false),
            (Bind::Everywhere(0), true),
            (host("0.0.0.0"), true),
        ] {
            assert_eq!(Listener::bind(&bind).await.unwrap().is_wide(), is_wide, "{bind}");
        }
    }
}
