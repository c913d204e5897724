//! A task that ends with whoever wants it done.

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
