//! The built-in ssh server, so that the demo needs no sshd.
//!
//! It listens on loopback only and accepts one key, which is made for this run. It runs commands by `sh`, on a
//! pseudo-terminal if the client requests one (not on Windows), serves files by SFTP, and forwards TCP. A holder of the
//! key has the rights of the user who started the server.

mod command;
mod sftp;
#[cfg(unix)]
mod terminal;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, MethodKind, MethodSet, Pty};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running ssh server; dropping it stops it.
#[derive(Debug)]
pub struct SshServer {
    address: SocketAddr,
    host_key: PublicKey,
    user_key: PrivateKey,
    _stop: DropGuard,
}

impl SshServer {
    /// Starts a server on a free loopback port; commands and relative paths begin in `directory`.
    ///
    /// # Errors
    /// No port can be bound, or the operating system gives no random bytes for the keys.
    pub async fn start(directory: &Path) -> io::Result<Self> {
        let (host_key, user_key) = (new_key()?, new_key()?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let handler = SshHandler {
            accepted: user_key.public_key().clone(),
            directory: directory.to_owned(),
            environment: Vec::new(),
            channels: HashMap::new(),
            #[cfg(unix)]
            terminals: HashMap::new(),
            sftp: HashSet::new(),
        };
        let public = host_key.public_key().clone();
        let stop = CancellationToken::new();
        let serving = accept(listener, Arc::new(config(host_key)), handler);
        tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
        Ok(Self { address, host_key: public, user_key, _stop: stop.drop_guard() })
    }

    /// Returns the address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns a known_hosts line for a host name or pattern.
    ///
    /// # Errors
    /// The key cannot be written as text.
    pub fn known_hosts_line(&self, name: &str) -> io::Result<String> {
        let key = self.host_key.to_openssh().map_err(io::Error::other)?;
        Ok(format!("{name} {key}\n"))
    }

    /// Returns the private key that it accepts, in OpenSSH format.
    ///
    /// # Errors
    /// The key cannot be written as text.
    pub fn identity(&self) -> io::Result<String> {
        let text = self.user_key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
        Ok(text.to_string())
    }
}

fn new_key() -> io::Result<PrivateKey> {
    let mut seed = [0; 32];
    rand::fill(&mut seed).map_err(|_| io::Error::other("no random bytes"))?;
    Ok(PrivateKey::from(Ed25519Keypair::from_seed(&seed)))
}

fn config(host_key: PrivateKey) -> russh::server::Config {
    russh::server::Config {
        keys: vec![host_key],
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::ZERO,
        inactivity_timeout: None,
        nodelay: true,
        ..russh::server::Config::default()
    }
}

async fn accept(listener: TcpListener, config: Arc<russh::server::Config>, handler: SshHandler) {
    // After an error the listener is closed, and clients' connections are refused.
    while let Ok((stream, _)) = listener.accept().await {
        let (config, handler) = (config.clone(), handler.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let served = match russh::server::run_stream(config, stream, handler).await {
                Ok(session) => session.await,
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::debug!(%error, "an ssh connection failed");
            }
        });
    }
}

/// The state of one connection.
struct SshHandler {
    accepted: PublicKey,
    directory: PathBuf,
    environment: Vec<(String, String)>,
    channels: HashMap<ChannelId, Channel<Msg>>,
    #[cfg(unix)]
    terminals: HashMap<ChannelId, terminal::Terminal>,
    sftp: HashSet<ChannelId>,
}

impl Clone for SshHandler {
    fn clone(&self) -> Self {
        let (accepted, directory) = (self.accepted.clone(), self.directory.clone());
        Self {
            accepted,
            directory,
            environment: Vec::new(),
            channels: HashMap::new(),
            #[cfg(unix)]
            terminals: HashMap::new(),
            sftp: HashSet::new(),
        }
    }
}

impl SshHandler {
    fn check(&self, key: &PublicKey) -> Auth {
        if key.key_data() == self.accepted.key_data() { Auth::Accept } else { Auth::reject() }
    }

    fn run(
        &mut self,
        id: ChannelId,
        command: Option<&str>,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let Some(channel) = self.channels.remove(&id) else { return session.channel_failure(id) };
        session.channel_success(id)?;
        let shell = command::shell(command, &self.directory, &self.environment);
        #[cfg(unix)]
        if let Some(terminal) = self.terminals.remove(&id) {
            tokio::spawn(terminal::serve(shell, terminal, channel));
            return Ok(());
        }
        tokio::spawn(command::serve(shell, channel));
        Ok(())
    }
}

impl Handler for SshHandler {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.check(offer.public_key))
    }

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.check(key.public_key))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn channel_eof(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        // scp exits with the status of the SFTP subsystem.
        if self.sftp.remove(&id) {
            session.exit_status_request(id, 0)?;
            session.close(id)?;
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Ok(port) = u16::try_from(port) else { return Ok(()) };
        let address = (host.to_owned(), port);
        tokio::spawn(async move {
            // Dropping the reply refuses the channel.
            let Ok(mut stream) = TcpStream::connect(address).await else { return };
            reply.accept().await;
            let _ = tokio::io::copy_bidirectional(&mut channel.into_stream(), &mut stream).await;
        });
        Ok(())
    }

    #[cfg_attr(not(unix), expect(unused_variables, reason = "there is no pseudo-terminal"))]
    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        #[cfg(unix)]
        {
            self.terminals.insert(channel, terminal::Terminal { name: term.to_owned(), columns, rows });
            session.channel_success(channel)
        }
        #[cfg(not(unix))]
        session.channel_failure(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.environment.push((name.to_owned(), value.to_owned()));
        session.channel_success(channel)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.run(channel, None, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.run(channel, Some(&String::from_utf8_lossy(data)), session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(channel) = self.channels.remove(&id).filter(|_| name == "sftp") else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        self.sftp.insert(id);
        russh_sftp::server::run(channel.into_stream(), sftp::Files::new(self.directory.clone())).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
    use russh::{ChannelMsg, client};

    use super::*;

    struct AnyHostKey;

    impl client::Handler for AnyHostKey {
        type Error = russh::Error;

        async fn check_server_key(&mut self, _key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
            Ok(true)
        }
    }

    async fn log_in(host: &SshServer, key: PrivateKey) -> Option<client::Handle<AnyHostKey>> {
        let mut session = client::connect(Arc::default(), host.address(), AnyHostKey).await.unwrap();
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        session.authenticate_publickey("demo", key).await.unwrap().success().then_some(session)
    }

    #[tokio::test]
    async fn it_runs_commands_with_input_output_and_exit_status() {
        let directory = tempfile::tempdir().unwrap();
        let host = SshServer::start(directory.path()).await.unwrap();
        let session = log_in(&host, host.user_key.clone()).await.expect("the key made for this run");
        let mut channel = session.channel_open_session().await.unwrap();
        channel.exec(true, "cat; echo to-stderr >&2; exit 7").await.unwrap();
        channel.data(&b"to-stdout"[..]).await.unwrap();
        channel.eof().await.unwrap();
        let (mut out, mut err, mut status) = (Vec::new(), Vec::new(), None);
        while let Some(message) = channel.wait().await {
            #[expect(clippy::wildcard_enum_match_arm, reason = "the test reads output and status only")]
            match message {
                ChannelMsg::Data { data } => out.extend_from_slice(&data),
                ChannelMsg::ExtendedData { data, .. } => err.extend_from_slice(&data),
                ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                _ => {}
            }
        }
        assert_eq!(
            (out.as_slice(), err.as_slice(), status),
            (&b"to-stdout"[..], &b"to-stderr\n"[..], Some(7))
        );
    }

    #[tokio::test]
    async fn any_other_key_is_refused() {
        let host = SshServer::start(Path::new(".")).await.unwrap();
        assert!(log_in(&host, new_key().unwrap()).await.is_none());
        assert!(host.identity().unwrap().starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
        assert!(host.known_hosts_line("demo").unwrap().starts_with("demo ssh-ed25519 "));
    }
}
