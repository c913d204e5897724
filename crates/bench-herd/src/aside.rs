//! Work beside the rest: on a thread and a runtime of its own.

use std::{
    io,
    thread::{self, JoinHandle},
};

use tokio::{runtime::Runtime, sync::oneshot};

/// The thread; dropping this ends the work, and all that it has spawned.
#[derive(Debug)]
pub(crate) struct Aside {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Aside {
    /// What [`start`](Self::start) takes.
    ///
    /// # Errors
    /// No epoll.
    pub(crate) fn runtime() -> io::Result<Runtime> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    }

    /// Sets the work, which may never end by itself, going.
    ///
    /// # Errors
    /// No thread.
    pub(crate) fn start(
        name: &str,
        runtime: Runtime,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = work => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        drop(self.stop.take());
        // One that panicked has said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
