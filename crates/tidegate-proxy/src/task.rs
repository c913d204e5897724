//! Tasks that end with whoever wants them done, and tasks that change their size.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::task::{AbortHandle, JoinHandle};

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
pub(crate) struct Phase(Pin<Box<dyn Future<Output = Option<Phase>>>>);

impl Phase {
    pub(crate) fn new(part: impl Future<Output = Option<Self>> + 'static) -> Self {
        Self(Box::pin(part))
    }
}

impl Future for Phase {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        while let Some(next) = ready!(this.0.as_mut().poll(cx)) {
            *this = next;
        }
        Poll::Ready(())
    }
}
