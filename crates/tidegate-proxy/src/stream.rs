//! A leg's transport, whatever it is made of.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{client, server};

use crate::{
    accept::Accepted,
    http2::Tunnel,
    pipe::{CAPACITY, Pipe},
};

/// Bytes in order, both ways. An enum and not a generic: one splice, whatever stands at its ends.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    /// Boxed, as all but the usual one: a session's own memory is not to be of the size of the largest.
    Unix(Box<UnixStream>),
    /// TLS from a client.
    Client(Box<server::TlsStream<TcpStream>>),
    /// TLS to an upstream.
    Upstream(Box<client::TlsStream<TcpStream>>),
    /// A stream of a client's HTTP/2 connection.
    Http2(Box<Tunnel>),
}

impl Stream {
    /// A connection as it was accepted.
    ///
    /// # Errors
    /// This runtime has no room for it.
    pub(crate) fn from_accepted(accepted: Accepted) -> io::Result<Self> {
        match accepted.peer {
            None => UnixStream::from_std(accepted.socket.into()).map(|unix| Self::Unix(Box::new(unix))),
            Some(_) => TcpStream::from_std(accepted.socket.into()).map(Self::Tcp),
        }
    }

    /// Whether it says its end in a message of its own (`close_notify`, END_STREAM), behind others that may still
    /// wait in it.
    pub(crate) const fn is_layered(&self) -> bool {
        matches!(self, Self::Client(_) | Self::Upstream(_) | Self::Http2(_))
    }

    /// Whether the client has chosen HTTP/2 (ALPN).
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self, Self::Client(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2"))
    }

    /// The server name that a client over TLS has asked for (SNI).
    pub(crate) fn server_name(&self) -> Option<Box<str>> {
        match self {
            Self::Client(tls) => tls.get_ref().1.server_name().map(Into::into),
            _ => None,
        }
    }

    /// The socket, if nothing stands between it and the frames.
    pub(crate) const fn bare(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }

    /// Our end of a TCP connection that nothing stands in yet.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.bare()?.local_addr().ok()
    }

    /// Makes the end of this transport a reset: the kernel forgets what the peer does not take.
    pub(crate) fn reset_on_drop(&mut self) {
        let tcp = match self {
            Self::Tcp(tcp) => tcp,
            Self::Client(tls) => tls.get_ref().0,
            Self::Upstream(tls) => tls.get_ref().0,
            Self::Unix(_) => return,
            Self::Http2(tunnel) => return tunnel.reset(),
        };
        // Without it the transport only ends less abruptly.
        let _ = tcp.set_zero_linger();
    }
}

macro_rules! each {
    ($self:expr, $stream:ident => $body:expr) => {
        match $self.get_mut() {
            Self::Tcp($stream) => $body,
            Self::Unix($stream) => $body,
            Self::Client($stream) => $body,
            Self::Upstream($stream) => $body,
            Self::Http2($stream) => $body,
        }
    };
}

impl Stream {
    /// Writes what is the last before the end of our half, which must come at once: they leave in one packet where the
    /// transport can do that.
    pub(crate) fn poll_write_last(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => send(stream, cx, data, SendFlags::NOSIGNAL | SendFlags::MORE),
            other => Pin::new(other).poll_write(cx, data),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) if buf.initialized().len() == buf.capacity() => {
                let len = ready!(receive(stream, cx, buf.initialize_unfilled()))?;
                buf.advance(len);
                Poll::Ready(Ok(()))
            }
            // hyper's buffers are raw memory: to zero their 8 KiB for each look costs more than the look.
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Client(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Upstream(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Http2(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => send(stream, cx, data, SendFlags::NOSIGNAL),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, data),
            // rustls keeps records that the socket did not take: they count as blocked, not as written.
            Self::Client(stream) => write_through(Pin::new(stream), cx, data),
            Self::Upstream(stream) => write_through(Pin::new(stream), cx, data),
            Self::Http2(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// Takes new bytes only when all earlier ones have left, so that a full socket is seen as such.
fn write_through<S: AsyncWrite>(mut stream: Pin<&mut S>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
    ready!(stream.as_mut().poll_flush(cx))?;
    stream.poll_write(cx, data)
}

// TCP reads and writes as tokio does them, but by rustix: in a process with threads, glibc's own switch thread
// cancellation off and on at each call, which was 1.4 % of the time of a small message by perf.

fn receive(stream: &TcpStream, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
    transfer(stream, cx, Interest::READABLE, |stream| {
        let (len, _) = rustix::net::recv(stream, &mut *space, RecvFlags::empty())?;
        Ok(Moved { len, last: 0 < len && len < space.len() })
    })
}

fn send(stream: &TcpStream, cx: &mut Context<'_>, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
    transfer(stream, cx, Interest::WRITABLE, |stream| {
        let len = rustix::net::send(stream, data, flags)?;
        Ok(Moved { len, last: 0 < len && len < data.len() })
    })
}

/// Looks at the first bytes that wait, and leaves them there.
pub(crate) fn poll_peek(stream: &TcpStream, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
    transfer(stream, cx, Interest::READABLE, |stream| {
        let (len, _) = rustix::net::recv(stream, &mut *space, RecvFlags::PEEK)?;
        Ok(Moved { len, last: false })
    })
}

/// Moves up to `most` bytes from the socket into the pipe. 0: the socket's end.
///
/// # Errors
/// [`StorageFull`](io::ErrorKind::StorageFull): the socket has more, but the pipe takes no more.
pub(crate) fn poll_fill(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    pipe: &mut Pipe,
    most: usize,
) -> Poll<io::Result<usize>> {
    // Less than was asked for, or nothing, moves when the socket is empty as well as when the pipe is full. What filled it
    // has more behind it.
    let most_at_once = most.min(CAPACITY);
    let waits = |stream: &TcpStream| rustix::io::ioctl_fionread(stream).is_ok_and(|len| len > 0);
    transfer(stream, cx, Interest::READABLE, |stream| match pipe.fill(stream, most) {
        Err(Errno::AGAIN) if pipe.held() > 0 && waits(stream) => Err(Errno::NOSPC),
        Ok(len) => Ok(Moved { len, last: 0 < len && len < most_at_once && !waits(stream) }),
        Err(errno) => Err(errno),
    })
}

/// Moves what the pipe holds to the socket, as far as that takes it.
pub(crate) fn poll_drain(stream: &TcpStream, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
    transfer(stream, cx, Interest::WRITABLE, |stream| Ok(Moved { len: pipe.drain(stream)?, last: false }))
}

/// What one system call moved.
struct Moved {
    len: usize,
    /// The socket is not ready any more: no second call is needed to learn that. So it is when less moved than there
    /// was room for, but more than nothing.
    last: bool,
}

/// One system call where the socket is ready for it. That is asked without tokio's registering for the answer no, which
/// takes a lock: only where the answer is no the second time a wake-up is asked for.
fn transfer(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    interest: Interest,
    mut call: impl FnMut(&TcpStream) -> Result<Moved, Errno>,
) -> Poll<io::Result<usize>> {
    loop {
        let mut part = None;
        let done = stream.try_io(interest, || match call(stream) {
            Ok(Moved { len, last: true }) => {
                part = Some(len);
                Err(io::ErrorKind::WouldBlock.into())
            }
            Ok(Moved { len, .. }) => Ok(len),
            Err(Errno::INTR) => Err(io::ErrorKind::Interrupted.into()),
            Err(errno) => Err(errno.into()),
        });
        match (part, done) {
            (Some(len), _) | (None, Ok(len)) => return Poll::Ready(Ok(len)),
            (None, Err(error)) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    ready!(if interest.is_readable() {
                        stream.poll_read_ready(cx)
                    } else {
                        stream.poll_write_ready(cx)
                    })?;
                }
                io::ErrorKind::Interrupted => {}
                _ => return Poll::Ready(Err(error)),
            },
        }
    }
}
