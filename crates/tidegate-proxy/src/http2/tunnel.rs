//! One stream that carries a WebSocket, as a transport (RFC 8441 section 5).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{message, traffic::Open};

/// END_STREAM is its FIN, RST_STREAM its reset.
#[derive(Debug)]
pub(crate) struct Tunnel {
    send: SendStream<Bytes>,
    recv: RecvStream,
    /// The rest of a DATA frame.
    unread: Bytes,
    /// Our END_STREAM is sent.
    ended: bool,
    open: Open,
}

impl Tunnel {
    pub(super) fn new(send: SendStream<Bytes>, recv: RecvStream, open: Open) -> Self {
        Self { send, recv, unread: Bytes::new(), ended: false, open }
    }

    /// Ends it at once; what was not sent yet is not sent any more.
    pub(crate) fn reset(&mut self) {
        self.ended = true;
        self.send.send_reset(Reason::CANCEL);
    }

    fn end(&mut self) {
        if !self.ended {
            self.ended = true;
            // An error says that the stream is over already.
            let _ = self.send.send_data(Bytes::new(), true);
        }
    }
}

/// Dropped, it ends as a socket does that is closed.
impl Drop for Tunnel {
    fn drop(&mut self) {
        self.end();
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.unread.is_empty() {
            match ready!(this.recv.poll_data(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(data)) => {
                    this.open.traffic().data(data.len());
                    this.unread = data;
                }
                Some(Err(error)) => return Poll::Ready(Err(loss(error))),
            }
        }
        let len = this.unread.len().min(buf.remaining());
        buf.put_slice(&this.unread[..len]);
        this.unread.advance(len);
        // Read is passed on: a session reads when what it read before has left.
        let _ = this.recv.flow_control().release_capacity(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let room = ready!(message::poll_room(&mut this.send, cx, data.len())).map_err(loss)?;
        let part = Bytes::copy_from_slice(&data[..room]);
        this.send.send_data(part, false).map_err(loss)?;
        this.open.traffic().data(room);
        Poll::Ready(Ok(room))
    }

    /// What was written is the connection's to send.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().end();
        Poll::Ready(Ok(()))
    }
}

/// How a stream was lost: with its connection, by a FIN or not, or alone.
fn loss(error: h2::Error) -> io::Error {
    match error.get_io().map(io::Error::kind) {
        // h2's word for a connection that ended, and rustls' for one that ended without close_notify.
        Some(io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof) => io::ErrorKind::UnexpectedEof.into(),
        Some(kind) => kind.into(),
        None => {
            tracing::debug!(code = ?error.reason(), by_client = error.is_remote(), "HTTP/2 stream reset");
            io::Error::new(io::ErrorKind::ConnectionReset, error)
        }
    }
}
