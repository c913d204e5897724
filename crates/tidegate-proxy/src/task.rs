//! Tasks that end with whoever wants them done, and tasks that change their size.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::task::{AbortHandle, JoinHandle};

use crate::turns;

/// Aborts its task when it is dropped.
pub(crate) struct Task(AbortHandle);

impl From<JoinHandle<()>> for Task {
    fn from(task: JoinHandle<()>) -> Self {
        Self(task.abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A task that goes on, when one part of it is over, with what that has left to do. Each part is in a box of its own
/// size, which is gone before the next is polled: an idle session does not carry the room that its handshake took.
pub(crate) struct Phase {
    part: Pin<Box<dyn Future<Output = Option<Phase>>>>,
    is_session: bool,
}

impl Phase {
    /// Part of a handshake, or of its refusal: it lets sessions go first ([`turns`]).
    pub(crate) fn handshake(part: impl Future<Output = Option<Self>> + 'static) -> Self {
        Self { part: Box::pin(part), is_session: false }
    }

    /// A session under way.
    pub(crate) fn session(part: impl Future<Output = Option<Self>> + 'static) -> Self {
        Self { part: Box::pin(part), is_session: true }
    }
}

impl Future for Phase {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            if !this.is_session && !turns::take(cx) {
                return Poll::Pending;
            }
            match ready!(this.part.as_mut().poll(cx)) {
                Some(next) => *this = next,
                None => return Poll::Ready(()),
            }
        }
    }
}
