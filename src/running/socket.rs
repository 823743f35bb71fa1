//! Where a running forward answers: a unix socket of the user's alone, on Windows a named pipe. A client gets one
//! line; nothing is read from it.
//!
//! A socket on which no process listens is a leftover, and is removed by the client that finds it. An answer that does not come in time,
//! or is too long, is none.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use super::answer::Answer;

/// A process that runs answers at once; one that is stopped does not hold `status` up.
const PATIENCE: Duration = Duration::from_secs(1);
/// An answer with a hundred listeners is shorter.
const LONGEST: u64 = 64 * 1024;
/// After a failure to accept, as for want of descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// What was learnt about one process.
#[derive(Debug)]
pub struct Asked {
    /// The process, by the name of its socket.
    pub pid: Option<u32>,
    /// Its answer.
    pub answer: Result<Answer, NoAnswer>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// It did not come in time.
    Late,
    /// It cannot be read: another program's, or another version's.
    Unreadable,
}

/// The socket of this process; it goes when it is dropped.
pub struct StatusSocket {
    system: system::Server,
}

impl StatusSocket {
    /// Listens in a folder, which becomes the user's alone.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(folder: &Path) -> io::Result<Self> {
        let mut random = [0; 4];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let name = format!("{}-{:08x}.sock", std::process::id(), u32::from_ne_bytes(random));
        Ok(Self { system: system::Server::bind(folder, &name)? })
    }

    /// Answers each client; never returns.
    pub async fn serve(mut self, answer: impl Fn() -> Answer) {
        loop {
            match self.system.accept().await {
                Ok(mut stream) => {
                    let line = serde_json::to_string(&answer()).unwrap_or_default() + "\n";
                    // A client that does not read must not keep others from an answer.
                    let _ = timeout(PATIENCE, give(&mut stream, line.as_bytes())).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "a question about the status cannot be answered");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }
}

/// Writes the line, and waits until the client has closed.
async fn give(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), line: &[u8]) -> io::Result<()> {
    stream.write_all(line).await?;
    stream.shutdown().await?;
    stream.read(&mut [0]).await.map(drop)
}

/// Asks every process with a socket in one of these folders, all at once.
pub async fn ask(folders: &[PathBuf]) -> Vec<Asked> {
    let names = folders.iter().flat_map(|folder| system::names(folder));
    let asked = names.map(|name| async move {
        let answer = timeout(PATIENCE, ask_one(&name)).await.unwrap_or(Ok(Err(NoAnswer::Late)));
        let file = name.file_name()?.to_str()?;
        let pid = file.split('-').next().and_then(|pid| pid.parse().ok());
        // A leftover has no process.
        answer.ok().map(|answer| Asked { pid, answer })
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Asks one process; an error says that there is none.
async fn ask_one(name: &Path) -> io::Result<Result<Answer, NoAnswer>> {
    let Some(mut stream) = system::connect(name).await? else { return Ok(Err(NoAnswer::Late)) };
    Ok(read_answer(&mut stream).await)
}

async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Result<Answer, NoAnswer> {
    let mut bytes = Vec::new();
    // A failed read is the end of what is there. A pipe of Windows has no other end than that of the line.
    let _ = BufReader::new(stream.take(LONGEST)).read_until(b'\n', &mut bytes).await;
    serde_json::from_slice(&bytes).map_err(|_| NoAnswer::Unreadable)
}

#[cfg(unix)]
mod system {
    use std::fs;
    use std::io::{self, ErrorKind};
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    use std::path::{Path, PathBuf};

    use rustix::process::getuid;
    use tokio::net::{UnixListener, UnixStream};

    /// A listener, and its file.
    pub struct Server {
        listener: UnixListener,
        pub file: PathBuf,
    }

    impl Server {
        /// The file gets its name when the socket listens: one that does not is taken for a leftover.
        pub fn bind(folder: &Path, name: &str) -> io::Result<Self> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            if !is_private(folder) {
                return Err(io::Error::other(format!("`{}` is not the user's alone", folder.display())));
            }
            let (new, file) = (folder.join(format!("{name}.new")), folder.join(name));
            let listener = UnixListener::bind(&new)?;
            let server = Self { listener, file: new };
            fs::set_permissions(&server.file, fs::Permissions::from_mode(0o600))?;
            fs::rename(&server.file, &file)?;
            Ok(server.renamed(file))
        }

        fn renamed(mut self, file: PathBuf) -> Self {
            self.file = file;
            self
        }

        pub async fn accept(&mut self) -> io::Result<UnixStream> {
            Ok(self.listener.accept().await?.0)
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            // It may have been removed by hand.
            let _ = fs::remove_file(&self.file);
        }
    }

    fn is_private(folder: &Path) -> bool {
        fs::symlink_metadata(folder).is_ok_and(|found| {
            found.is_dir() && found.uid() == getuid().as_raw() && found.mode() & 0o077 == 0
        })
    }

    /// Lists the sockets of a folder; in one that others can write, an answer could be anyone's.
    pub fn names(folder: &Path) -> Vec<PathBuf> {
        if !is_private(folder) {
            return Vec::new();
        }
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.path());
        names.filter(|path| path.extension().is_some_and(|end| end == "sock" || end == "new")).collect()
    }

    /// Connects; `None` is a process that has too many questions already. A leftover is removed.
    pub async fn connect(name: &Path) -> io::Result<Option<UnixStream>> {
        match UnixStream::connect(name).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => {
                let is_new = name.extension().is_some_and(|end| end == "new");
                if error.kind() == ErrorKind::ConnectionRefused && !(is_new && is_alive(name)) {
                    let _ = fs::remove_file(name);
                }
                Err(error)
            }
        }
    }

    /// Returns whether the process that would give a socket its name still exists.
    fn is_alive(name: &Path) -> bool {
        use rustix::process::{Pid, test_kill_process};

        let pid = name.file_name().and_then(|name| name.to_str()?.split('-').next()?.parse().ok());
        pid.and_then(Pid::from_raw).is_some_and(|pid| test_kill_process(pid).is_ok())
    }
}

#[cfg(windows)]
mod system {
    use std::fs;
    use std::io;
    use std::path::{Path, PathBuf};

    use tokio::net::windows::named_pipe::{
        ClientOptions, NamedPipeClient, NamedPipeServer, PipeMode, ServerOptions,
    };

    /// All pipes of the machine are in one folder.
    const PIPES: &str = r"\\.\pipe\";
    const PREFIX: &str = "fumidai-forward-";

    /// The instance that waits for the next client.
    pub struct Server {
        name: String,
        next: NamedPipeServer,
    }

    impl Server {
        pub fn bind(_folder: &Path, name: &str) -> io::Result<Self> {
            let name = format!("{PIPES}{PREFIX}{name}");
            let mut options = ServerOptions::new();
            let next = options.pipe_mode(PipeMode::Byte).first_pipe_instance(true).create(&name)?;
            Ok(Self { name, next })
        }

        pub async fn accept(&mut self) -> io::Result<NamedPipeServer> {
            self.next.connect().await?;
            let next = ServerOptions::new().pipe_mode(PipeMode::Byte).create(&self.name)?;
            Ok(std::mem::replace(&mut self.next, next))
        }
    }

    /// Lists the pipes; the number of the process begins behind the prefix.
    pub fn names(_folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(PIPES).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| Some(PathBuf::from(name.strip_prefix(PREFIX)?))).collect()
    }

    /// Connects; `None` is a process all of whose instances are taken.
    #[expect(clippy::unused_async, reason = "the signature is that of unix")]
    pub async fn connect(name: &Path) -> io::Result<Option<NamedPipeClient>> {
        /// `ERROR_PIPE_BUSY`
        const BUSY: i32 = 231;
        match ClientOptions::new().write(false).open(format!("{PIPES}{PREFIX}{}", name.display())) {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if error.raw_os_error() == Some(BUSY) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let above = tempfile::tempdir().expect("a folder");
        let folder = above.path().join("forwards");
        fs::DirBuilder::new().create(&folder).expect("a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("own folder");
        (above, folder)
    }

    fn answer() -> Answer {
        Answer { names: vec!["orders-db".into()], pid: 7, ..Answer::default() }
    }

    #[tokio::test]
    async fn a_process_answers_and_its_socket_is_the_users_alone() {
        let (_above, folder) = folder();
        let socket = StatusSocket::bind(&folder).expect("bound");
        let file = socket.system.file.clone();
        assert_eq!(fs::metadata(&file).expect("a socket").permissions().mode() & 0o777, 0o600);
        let asked = tokio::select! {
            asked = ask(std::slice::from_ref(&folder)) => asked,
            () = socket.serve(answer) => unreachable!("it never returns"),
        };
        let [one] = asked.as_slice() else { panic!("{asked:?}") };
        assert_eq!((one.pid, one.answer.as_ref()), (Some(std::process::id()), Ok(&answer())));
        assert!(!file.exists(), "it goes with its process");
    }

    #[tokio::test]
    async fn a_leftover_is_removed_and_what_hangs_or_lies_is_no_answer() {
        let (_above, folder) = folder();
        let left = folder.join("1-a.sock");
        drop(UnixListener::bind(&left).expect("bound"));
        let hangs = UnixListener::bind(folder.join("2-a.sock")).expect("bound");
        let lies = UnixListener::bind(folder.join("3-a.sock")).expect("bound");
        let liar = std::thread::spawn(move || {
            use std::io::Write;
            let (mut stream, _) = lies.accept().expect("a client");
            // It ends when the client has had enough.
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        });
        let mut asked = ask(&[folder]).await;
        asked.sort_by_key(|one| one.pid);
        let shown: Vec<_> = asked.iter().map(|one| (one.pid, one.answer.clone().err())).collect();
        assert_eq!(shown, [(Some(2), Some(NoAnswer::Late)), (Some(3), Some(NoAnswer::Unreadable))]);
        assert!(!left.exists());
        liar.join().expect("no panic");
        drop(hangs);
    }

    #[tokio::test]
    async fn a_folder_that_others_can_use_is_not_used() {
        let (_above, folder) = folder();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("own folder");
        assert!(StatusSocket::bind(&folder).is_err());
        let left = folder.join("1-a.sock");
        drop(UnixListener::bind(&left).expect("bound"));
        assert!(ask(&[folder]).await.is_empty() && left.exists());
    }
}
