//! A leg's transport, whatever it is made of.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
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
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
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
