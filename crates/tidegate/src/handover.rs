//! Listening sockets from process to process: taken from a service manager or a predecessor at the start, given to a
//! successor in an upgrade. Both go by systemd's socket activation: descriptors from 3 on, their number in
//! `LISTEN_FDS`.

use std::{
    env, io,
    io::Write as _,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command},
    time::Duration,
};

use command_fds::{CommandFdExt as _, FdMapping};
use listenfd::ListenFd;
use tokio::{io::AsyncReadExt as _, time::timeout};

/// How long a successor may take until it listens. It reads its configuration and its certificates; names are looked
/// up later.
const PATIENCE: Duration = Duration::from_secs(20);
/// The first descriptor behind the standard ones.
const FIRST: i32 = 3;

/// What this process was started with.
#[derive(Default)]
pub(crate) struct Handed {
    pub(crate) sockets: Vec<OwnedFd>,
    pub(crate) predecessor: Option<Predecessor>,
}

/// The process that started this one, and waits to hear that it listens.
pub(crate) struct Predecessor(UnixStream);

impl Handed {
    /// Takes what the environment names, and takes it out of the environment.
    ///
    /// # Errors
    /// A descriptor is no stream socket.
    pub(crate) fn from_environment() -> io::Result<Self> {
        let mut named = ListenFd::from_env();
        let mut handed = Self::default();
        for i in 0..named.len() {
            let tcp = named.take_tcp_listener(i).map(|found| found.map(OwnedFd::from));
            let Some(socket) = tcp.or_else(|_| named.take_unix_listener(i).map(|found| found.map(OwnedFd::from)))?
            else {
                continue;
            };
            match connected(&socket)? {
                Some(line) => handed.predecessor = Some(Predecessor(line)),
                None => handed.sockets.push(socket),
            }
        }
        Ok(handed)
    }
}

/// The socket as a stream, if it is one: a listening socket has no peer.
fn connected(socket: &OwnedFd) -> io::Result<Option<UnixStream>> {
    let stream = UnixStream::from(socket.as_fd().try_clone_to_owned()?);
    Ok(stream.peer_addr().is_ok().then_some(stream))
}

impl Predecessor {
    /// Tells it that this process listens now.
    pub(crate) fn release(mut self) {
        // If it is gone, nobody is there to be released.
        let _ = self.0.write_all(b"\n");
    }
}

/// Starts this program anew with its own arguments, and returns its process id when it listens on these sockets.
///
/// # Errors
/// It could not be started, ended, or took too long; then it is no more. In words.
pub(crate) async fn start_successor(sockets: Vec<OwnedFd>) -> Result<u32, String> {
    let (line, mut child) = spawn(sockets).map_err(|error| format!("the new process cannot be started: {error}"))?;
    let mut byte = [0];
    match timeout(PATIENCE, wait(line, &mut byte)).await {
        Ok(Ok(1)) => Ok(child.id()),
        Ok(_) => {
            let status = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
            Err(format!("the new process ended before it listened ({status}); its log says why"))
        }
        Err(_) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(format!("the new process did not listen within {} s, and was ended", PATIENCE.as_secs()))
        }
    }
}

async fn wait(line: UnixStream, byte: &mut [u8]) -> io::Result<usize> {
    line.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(line)?.read(byte).await
}

fn spawn(sockets: Vec<OwnedFd>) -> io::Result<(UnixStream, Child)> {
    let mut arguments = env::args_os();
    // As it was called, so that a name or a link that now leads to another version leads there.
    let program = arguments.next().ok_or(io::ErrorKind::NotFound)?;
    let (ours, theirs) = UnixStream::pair()?;
    let handed = sockets.into_iter().chain([OwnedFd::from(theirs)]);
    let mappings = handed.zip(FIRST..).map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
    let mappings = mappings.collect::<Vec<_>>();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LISTEN_FDS", mappings.len().to_string())
        // Those two name a process: not the new one.
        .env_remove("LISTEN_PID")
        .env_remove("WATCHDOG_PID")
        .fd_mappings(mappings)
        .map_err(io::Error::other)?;
    // The command goes out of scope, and with it our handle of the other end: only then its end is ours to see.
    Ok((ours, command.spawn()?))
}
