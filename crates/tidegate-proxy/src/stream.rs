//! A leg's transport, whatever it is made of.

use std::{
    io,
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

use crate::accept::Accepted;

/// Bytes in order, both ways. An enum and not a generic: one splice, whatever stands at its ends.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// TLS from a client. Boxed: a session's own memory is not to be of the size of the largest.
    Client(Box<server::TlsStream<TcpStream>>),
    /// TLS to an upstream.
    Upstream(Box<client::TlsStream<TcpStream>>),
}

impl Stream {
    /// A connection as it was accepted.
    ///
    /// # Errors
    /// This runtime has no room for it.
    pub(crate) fn from_accepted(accepted: Accepted) -> io::Result<Self> {
        match accepted.peer {
            None => UnixStream::from_std(accepted.socket.into()).map(Self::Unix),
            Some(_) => TcpStream::from_std(accepted.socket.into()).map(Self::Tcp),
        }
    }

    pub(crate) const fn is_tls(&self) -> bool {
        matches!(self, Self::Client(_) | Self::Upstream(_))
    }

    /// Makes the end of this transport a reset: the kernel forgets what the peer does not take.
    pub(crate) fn reset_on_drop(&self) {
        let tcp = match self {
            Self::Tcp(tcp) => tcp,
            Self::Client(tls) => tls.get_ref().0,
            Self::Upstream(tls) => tls.get_ref().0,
            Self::Unix(_) => return,
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
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => {
                let len = ready!(receive(stream, cx, buf.initialize_unfilled()))?;
                buf.advance(len);
                Poll::Ready(Ok(()))
            }
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Client(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Upstream(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => send(stream, cx, data),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, data),
            // rustls keeps records that the socket did not take: they count as blocked, not as written.
            Self::Client(stream) => write_through(Pin::new(stream), cx, data),
            Self::Upstream(stream) => write_through(Pin::new(stream), cx, data),
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
    transfer(
        stream,
        Interest::READABLE,
        space.len(),
        |stream| stream.poll_read_ready(cx),
        |stream| rustix::net::recv(stream, &mut *space, RecvFlags::empty()).map(|(len, _)| len),
    )
}

fn send(stream: &TcpStream, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
    transfer(
        stream,
        Interest::WRITABLE,
        data.len(),
        |stream| stream.poll_write_ready(cx),
        |stream| rustix::net::send(stream, data, SendFlags::NOSIGNAL),
    )
}

/// One system call where the socket is ready for it. A transfer of less than there was room for, but more than
/// nothing, shows that the socket is not ready any more: no second call is needed to learn that.
fn transfer(
    stream: &TcpStream,
    interest: Interest,
    room: usize,
    mut ready: impl FnMut(&TcpStream) -> Poll<io::Result<()>>,
    mut call: impl FnMut(&TcpStream) -> Result<usize, Errno>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(ready(stream))?;
        let mut part = None;
        let done = stream.try_io(interest, || match call(stream) {
            Ok(len) if 0 < len && len < room => {
                part = Some(len);
                Err(io::ErrorKind::WouldBlock.into())
            }
            Ok(len) => Ok(len),
            Err(Errno::INTR) => Err(io::ErrorKind::Interrupted.into()),
            Err(errno) => Err(errno.into()),
        });
        match (part, done) {
            (Some(len), _) | (None, Ok(len)) => return Poll::Ready(Ok(len)),
            (None, Err(error)) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                _ => return Poll::Ready(Err(error)),
            },
        }
    }
}
