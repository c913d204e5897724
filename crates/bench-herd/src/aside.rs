//! Work beside the rest: on a thread and a runtime of its own.

use std::{
    io,
    thread::{self, JoinHandle},
};

use bench_rig::processors;
use tokio::{runtime::Runtime, sync::oneshot};

/// How soon a thread runs when it has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// When it is its turn.
    Usual,
    /// Before whatever else the machine does, where that may be asked for: as if on a machine of its own. For those who
    /// measure, and have little to do.
    AtOnce,
}

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
        haste: Haste,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            if haste == Haste::AtOnce {
                processors::run_at_once();
            }
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
