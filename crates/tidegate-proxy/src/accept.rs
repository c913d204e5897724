//! Listening sockets: bind, accept, and what to do when the kernel has no more descriptors.

use std::{
    fs::{File, Permissions},
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileTypeExt as _, PermissionsExt as _},
    },
    path::Path,
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SocketFlags, acceptfrom_with},
};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use tidegate_config::Address;
use tokio::io::unix::AsyncFd;

use crate::pacing::unpaced;

/// Connections that the kernel keeps for us; it takes the least of this and `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// How long accepting rests after a failure that is not one connection's own.
const REST: Duration = Duration::from_millis(100);

/// A bound socket.
pub(crate) struct Listening {
    socket: OwnedFd,
    /// Where it really listens: with the port that the kernel chose where none was given.
    pub(crate) address: Address,
}

/// Who may open a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Whom the process's umask lets.
    Umask,
    /// The user that tidegate runs as.
    Owner,
}

/// A new connection.
pub(crate) struct Accepted {
    pub(crate) socket: OwnedFd,
    /// `None`: a unix socket.
    pub(crate) peer: Option<SocketAddr>,
}

/// Longest request of a client that is not heard, in bytes.
const UNHEARD: usize = 16 << 10;

/// Tells a client without hearing it that it may come back. Best effort. Where TLS is spoken nothing can be said before
/// a handshake but a fatal alert, `internal_error` (RFC 8446 section 6).
pub(crate) fn turn_away(socket: &impl AsFd, tls: bool) {
    const BUSY: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const BUSY_TLS: &[u8] = &[21, 3, 3, 0, 2, 2, 80];
    // What it has said already is thrown away: a close over unread input would take the answer back.
    let _ = rustix::net::recv(socket, &mut [0; UNHEARD], RecvFlags::TRUNC | RecvFlags::DONTWAIT);
    let _ = rustix::io::write(socket, if tls { BUSY_TLS } else { BUSY });
}

/// Has the connection end without a word as soon as it is closed.
pub(crate) fn reset(socket: &impl AsFd) {
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// A failure to accept, as the metric `kind` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptError {
    /// No descriptor or no memory is left.
    Exhausted,
    /// The client was faster.
    Aborted,
    Other,
}

impl AcceptError {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Exhausted => "emfile",
            Self::Aborted => "aborted",
            Self::Other => "other",
        }
    }
}

impl Listening {
    /// Binds and listens. A unix socket that nobody serves any more is replaced.
    ///
    /// # Errors
    /// The address is taken or not ours; the error names it.
    pub(crate) fn bind(address: &Address, access: Access) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
        match address {
            Address::Tcp(tcp) => bind_tcp(*tcp).map_err(named),
            Address::Unix(path) => bind_unix(path, access).map_err(named),
        }
    }

    /// A socket that listens already, made as [`bind`](Self::bind) makes them.
    ///
    /// # Errors
    /// It takes none of our options.
    pub(crate) fn adopt(address: Address, socket: OwnedFd) -> io::Result<Self> {
        let options = SockRef::from(&socket);
        options.set_nonblocking(true)?;
        if let Address::Tcp(tcp) = address {
            options.set_tcp_nodelay(true)?;
            unpaced(&socket, tcp);
        }
        options.listen(BACKLOG)?;
        Ok(Self { socket, address })
    }

    /// A second handle of the same socket.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn try_clone(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<Listening> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it: one system call less a connection.
    socket.set_tcp_nodelay(true)?;
    unpaced(&socket, address);
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let address = Address::Tcp(listener.local_addr()?);
    Ok(Listening { socket: listener.into(), address })
}

fn bind_unix(path: &Path, access: Access) -> io::Result<Listening> {
    if let Ok(there) = path.metadata() {
        if !there.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is another file, which is no socket"));
        }
        match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    let socket = match access {
        Access::Umask => socket,
        Access::Owner => {
            // The file gets the mode that its socket has when it is bound: no moment in which others may open it.
            let file = File::from(OwnedFd::from(socket));
            file.set_permissions(Permissions::from_mode(0o600))?;
            Socket::from(OwnedFd::from(file))
        }
    };
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(Listening { socket: socket.into(), address: Address::Unix(path.to_owned()) })
}

/// Accepts, one connection after the other.
pub(crate) struct Acceptor {
    socket: AsyncFd<OwnedFd>,
    /// Given up for a moment when no descriptor is left, so that a client gets an answer instead of silence.
    spare: Option<File>,
}

impl Acceptor {
    /// # Errors
    /// The runtime has no reactor, or the kernel no room in it.
    pub(crate) fn new(listening: Listening) -> io::Result<Self> {
        // Deprecated because a type might give out another descriptor later: an OwnedFd cannot.
        #[allow(deprecated, reason = "sound for an OwnedFd, and its successor is unsafe")]
        let socket = AsyncFd::new(listening.socket)?;
        Ok(Self { socket, spare: File::open("/dev/null").ok() })
    }

    /// The next connection; `tls`: TLS is spoken on it.
    ///
    /// # Errors
    /// One that failed; the next call may succeed, after a rest where the cause will last.
    pub(crate) async fn next(&mut self, tls: bool) -> Result<Accepted, AcceptError> {
        loop {
            let mut ready = self.socket.readable().await.map_err(|_| AcceptError::Other)?;
            let error = match accept(self.socket.get_ref()) {
                Ok(accepted) => return Ok(accepted),
                Err(error) => error,
            };
            match error {
                Errno::AGAIN => ready.clear_ready(),
                Errno::INTR => {}
                Errno::CONNABORTED | Errno::PROTO | Errno::PERM => return Err(AcceptError::Aborted),
                Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => {
                    drop(ready);
                    self.turn_away(tls);
                    tokio::time::sleep(REST).await;
                    return Err(AcceptError::Exhausted);
                }
                _ => {
                    drop(ready);
                    tokio::time::sleep(REST).await;
                    return Err(AcceptError::Other);
                }
            }
        }
    }

    /// With the spare descriptor, tells one client why it is not served. Best effort.
    fn turn_away(&mut self, tls: bool) {
        self.spare = None;
        if let Ok(accepted) = accept(self.socket.get_ref()) {
            turn_away(&accepted.socket, tls);
        }
        self.spare = File::open("/dev/null").ok();
    }
}

fn accept(socket: &OwnedFd) -> Result<Accepted, Errno> {
    let (socket, peer) = acceptfrom_with(socket.as_fd(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let peer = peer.filter(|peer| matches!(peer.address_family(), AddressFamily::INET | AddressFamily::INET6));
    Ok(Accepted { socket, peer: peer.and_then(|peer| SocketAddr::try_from(peer).ok()) })
}
