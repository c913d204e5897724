//! One leg of a session as a transport: what is put on it beside the other leg's frames, and how it is let go of.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use rustix::io::ioctl_fionread;
use tidegate_session::{Parting, Side};
use tidegate_wire::{CloseFrame, Mask, Opcode, encode_control};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use crate::{
    low_mark::set_low_mark,
    pipe::Pipe,
    stream::{Stream, poll_drain},
};

/// The smallest rest of a frame that is waited for as a whole, in bytes: more than two packets of the loopback
/// interface. For less, two system calls cost what they spare.
const LEAST_AWAITED: usize = 128 << 10;

pub(crate) struct Leg {
    side: Side,
    /// `None`: it is gone.
    stream: Option<Stream>,
    /// Control frames of tidegate's own, to go out at the next frame boundary. Boxed: mostly there are none.
    #[expect(clippy::box_collection, reason = "an idle session has none, and each has the room for it")]
    own: Option<Box<Vec<u8>>>,
    /// A write to it failed: nothing for it is kept.
    broken: bool,
    /// A read of it found nothing: tokio will wake for more.
    waiting: bool,
    /// It wakes for no less than the rest of a frame.
    marked: bool,
    /// What was written may still lie in the transport.
    unflushed: bool,
    half_closing: HalfClose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HalfClose {
    No,
    Wanted,
    Done,
}

impl Leg {
    pub(crate) fn new(side: Side, stream: Option<Stream>) -> Self {
        Self {
            side,
            stream,
            own: None,
            broken: false,
            waiting: false,
            marked: false,
            unflushed: false,
            half_closing: HalfClose::No,
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.stream.is_none()
    }

    /// Whether anything written to it has a chance to arrive.
    pub(crate) fn takes_bytes(&self) -> bool {
        self.stream.is_some() && !self.broken
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        let mut buf = ReadBuf::new(space);
        ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// A read found nothing, and asked to be woken: for the `rest` of a frame, or for anything.
    pub(crate) fn wait(&mut self, rest: usize) {
        self.waiting = self.bare().is_some();
        self.mark(rest);
    }

    /// Bytes that must wait for it to wake, where that is worth a system call, and another to take it back.
    fn mark(&mut self, bytes: usize) {
        let worth = bytes >= LEAST_AWAITED;
        if (worth || self.marked)
            && let Some(socket) = self.bare()
        {
            self.marked = set_low_mark(socket, if worth { bytes } else { 1 }).is_ok() && worth;
        }
    }

    /// The rest of a frame is not waited for any more: it wakes for anything, and for what waits at once. Whether
    /// something does that it was not woken for.
    pub(crate) fn unmark(&mut self) -> bool {
        let marked = self.marked;
        self.mark(0);
        marked && self.bare().is_some_and(|socket| ioctl_fionread(socket).is_ok_and(|len| len > 0))
    }

    /// Whether nothing came since the last [`wait`](Self::wait). Cheaper than a read: no lock, nothing to register.
    #[inline]
    pub(crate) fn is_waiting(&mut self) -> bool {
        // A wake-up that is due has made the socket ready.
        self.waiting =
            self.waiting && self.bare().is_some_and(|socket| socket.try_io(Interest::READABLE, || Ok(())).is_err());
        self.waiting
    }

    /// The socket, if frames go over it as they are.
    pub(crate) fn bare(&self) -> Option<&TcpStream> {
        self.stream.as_ref().and_then(Stream::bare)
    }

    /// Writes what the pipe holds.
    ///
    /// # Errors
    /// As [`poll_write`](Self::poll_write).
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        let Some(socket) = self.bare() else { return self.fail(io::ErrorKind::NotConnected.into()) };
        match poll_drain(socket, cx, pipe) {
            Poll::Ready(Ok(0)) => self.fail(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Err(error)) => self.fail(error),
            other => other,
        }
    }

    /// Writes frames; `last`: the end of this half follows at once.
    ///
    /// # Errors
    /// The transport failed; it takes nothing any more.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8], last: bool) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(data.len())) };
        let written = if last { stream.poll_write_last(cx, data) } else { Pin::new(stream).poll_write(cx, data) };
        match written {
            Poll::Ready(Ok(0)) => self.fail(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Err(error)) => self.fail(error),
            Poll::Ready(Ok(len)) => {
                self.unflushed = self.stream.as_ref().is_some_and(Stream::is_layered);
                Poll::Ready(Ok(len))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes tidegate's own frames and whatever the transport holds back.
    ///
    /// # Errors
    /// As [`poll_write`](Self::poll_write).
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>, last: bool) -> Poll<io::Result<()>> {
        while let Some(mut own) = self.own.take() {
            let written = self.poll_write(cx, &own, last);
            if let Poll::Ready(Ok(len)) = written {
                own.drain(..len);
            }
            if !own.is_empty() && !self.broken {
                self.own = Some(own);
            }
            let _ = ready!(written)?;
        }
        if self.unflushed
            && let Some(stream) = &mut self.stream
        {
            match ready!(Pin::new(stream).poll_flush(cx)) {
                Ok(()) => self.unflushed = false,
                Err(error) => return self.fail(error),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Half-closes it, if that is wanted. `Ready(true)`: its half is over. Everything for it must have been written.
    /// `ended`: the other half is over already.
    pub(crate) fn poll_half_close(&mut self, cx: &mut Context<'_>, ended: bool) -> Poll<bool> {
        if self.half_closing == HalfClose::Wanted
            && let Some(stream) = &mut self.stream
        {
            if ended && !stream.is_layered() {
                // Nothing is unread, so that closing it now says all that a half-close would.
                return Poll::Ready(true);
            }
            // An error says that the transport is over already.
            let _ = ready!(Pin::new(stream).poll_shutdown(cx));
            self.half_closing = HalfClose::Done;
        }
        Poll::Ready(self.half_closing == HalfClose::Done)
    }

    pub(crate) fn half_close(&mut self) {
        self.half_closing = HalfClose::Wanted;
    }

    pub(crate) fn put_control(&mut self, opcode: Opcode, payload: &[u8]) {
        let mask = self.mask();
        encode_control(opcode, mask, payload, self.own.get_or_insert_default());
    }

    pub(crate) fn put_close(&mut self, close: &CloseFrame) {
        let mut payload = [0; 125];
        let len = close.write(&mut payload);
        self.put_control(Opcode::Close, &payload[..len]);
    }

    pub(crate) fn let_go(&mut self, how: Parting) {
        self.own = None;
        let Some(mut stream) = self.stream.take() else { return };
        if how == Parting::Reset {
            stream.reset_on_drop();
        } else if stream.is_layered() && self.half_closing != HalfClose::Done {
            // Its peer has ended TLS without a Close, and is told the end back by a `close_notify`, too. What the
            // socket does not take at once is for nobody.
            let _ = Pin::new(&mut stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }

    fn fail<T>(&mut self, error: io::Error) -> Poll<io::Result<T>> {
        self.broken = true;
        self.unflushed = false;
        self.own = None;
        Poll::Ready(Err(error))
    }

    /// Towards an upstream tidegate is a client and masks, with a key that nobody can guess (RFC 6455 section 5.3).
    fn mask(&self) -> Option<Mask> {
        (self.side == Side::Upstream).then(|| Mask::new(crate::random().to_ne_bytes()))
    }
}
