//! A transport that hyper reads and writes, with a bound on how long a peer may take nothing.
//!
//! A session's own writes are bounded by its contract; before it begins, and for plain HTTP, this is the bound.
//!
//! hyper drops a transport wherever it is done with it, an upgrade that nobody took among them. A lent one comes back,
//! so that its end is in order whatever hyper did.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    sync::oneshot,
    time::{Sleep, sleep, timeout},
};

use crate::{
    buffer::{Buffer, Size},
    stream::Stream,
};

/// How long a peer may take nothing of what waits for it. As `write_timeout` has it by default.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may go on sending once it has been answered for good. As a session has it.
const LINGER: Duration = Duration::from_secs(2);

/// Reads in a row of what a client goes on sending.
const READS: usize = 8;

pub(crate) struct Patient {
    lent: Lent,
    /// What is read before it.
    before: Bytes,
    patience: Duration,
    /// Running while bytes wait.
    stalled: Option<Pin<Box<Sleep>>>,
}

/// A transport that goes back to its lender, if it has one.
struct Lent {
    /// `None`: somebody has taken it for good.
    stream: Option<Stream>,
    lender: Option<oneshot::Sender<Stream>>,
}

impl Patient {
    pub(crate) fn new(stream: Stream) -> Self {
        let lent = Lent { stream: Some(stream), lender: None };
        Self { lent, before: Bytes::new(), patience: WRITE_TIMEOUT, stalled: None }
    }

    /// Behind what was read of it already.
    pub(crate) fn behind(self, before: Bytes) -> Self {
        Self { before, ..self }
    }

    /// With a bound that is not lower than this.
    pub(crate) fn at_least(self, patience: Duration) -> Self {
        Self { patience: self.patience.max(patience), ..self }
    }

    /// For somebody who may drop it: then the transport comes back. An error there: it was taken for good.
    pub(crate) fn lend(mut self) -> (Self, oneshot::Receiver<Stream>) {
        let (lender, back) = oneshot::channel();
        self.lent.lender = Some(lender);
        (self, back)
    }

    /// Takes the transport for good. `None`: somebody has.
    pub(crate) fn into_inner(mut self) -> Option<Stream> {
        self.lent.stream.take()
    }

    /// Passes on what a write came to; one that has waited too long fails.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Lent {
    fn get(&mut self) -> io::Result<Pin<&mut Stream>> {
        self.stream.as_mut().map(Pin::new).ok_or(io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(stream), Some(lender)) = (self.stream.take(), self.lender.take()) {
            // A lender that is gone does not want it.
            let _ = lender.send(stream);
        }
    }
}

/// Writes an answer.
///
/// # Errors
/// The peer is gone, or takes nothing.
pub(crate) async fn write(stream: &mut Stream, data: &[u8]) -> io::Result<()> {
    timeout(WRITE_TIMEOUT, async {
        stream.write_all(data).await?;
        stream.flush().await
    })
    .await?
}

/// Ends a transport for which there is nothing more: half-closes it, reads and throws away what its peer still sends,
/// for a bounded time, and only then closes it. A `close()` over unread input would reset the connection, and a reset
/// destroys what the peer has not read yet.
pub(crate) async fn end(mut stream: Stream) {
    let over = async {
        stream.shutdown().await?;
        poll_fn(|cx| poll_discard(&mut stream, cx)).await
    };
    // An error says that the transport is over already.
    let _ = timeout(LINGER, over).await;
}

/// Reads to the end and throws it away. The buffer is the worker's: thousands who are refused at once hold none while
/// they linger.
fn poll_discard(stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut buffer = Buffer::take(Size::Small);
    for _ in 0..READS {
        let mut space = ReadBuf::new(buffer.space());
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut space))?;
        if space.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
    }
    // Others have their turn.
    cx.waker().wake_by_ref();
    Poll::Pending
}

impl AsyncRead for Patient {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.before.is_empty() {
            let len = this.before.len().min(buf.remaining());
            buf.put_slice(&this.before.split_to(len));
            return Poll::Ready(Ok(()));
        }
        this.lent.get()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.lent.get()?.poll_write(cx, data);
        this.bounded(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = this.lent.get()?.poll_flush(cx);
        this.bounded(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = this.lent.get()?.poll_shutdown(cx);
        this.bounded(cx, shut)
    }
}
