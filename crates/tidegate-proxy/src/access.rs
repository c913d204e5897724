//! The access log: one JSON line a session or plain request, written by a thread of its own.
//!
//! A line goes into a bounded buffer; whoever reads the file or the pipe slowly loses lines, which are counted, and
//! never holds up a session.

mod json;
mod line;

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tidegate_config::AccessLog as Target;

use self::line::Stamp;
pub(crate) use self::line::{ClosePart, HttpPart, LegPart, Legs, Line, SessionPart};

/// Bytes that may wait to be written: some ten thousand lines.
const MAX_WAITING: usize = 4 << 20;
/// How long lines are gathered before they are written, so that a storm of sessions costs few wake-ups.
const GATHER: Duration = Duration::from_millis(50);

/// Where lines go in. Cloned freely.
#[derive(Clone)]
pub(crate) struct AccessLog(Option<Arc<Shared>>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    /// When the last of them was of.
    stamp: Stamp,
    reopen: bool,
    closing: bool,
    /// The thread has written everything and is gone.
    closed: bool,
}

impl AccessLog {
    /// Starts the writer.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(crate) fn open(target: &Target) -> io::Result<Self> {
        let mut sink: Sink = match target {
            Target::Off => return Ok(Self(None)),
            Target::Stdout => Sink::Stdout,
            Target::File(path) => Sink::File(open(path)?, path.clone()),
        };
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let writer = shared.clone();
        thread::Builder::new().name("access-log".into()).spawn(move || writer.write_all(&mut sink))?;
        Ok(Self(Some(shared)))
    }

    /// Takes a line. `false`: it is lost, for too many wait.
    pub(crate) fn write(&self, line: &Line<'_>) -> bool {
        let Some(shared) = &self.0 else { return true };
        let mut state = shared.lock();
        let State { lines, stamp, .. } = &mut *state;
        if lines.len() > MAX_WAITING {
            return false;
        }
        let first = lines.is_empty();
        line.write(lines, stamp);
        drop(state);
        if first {
            shared.changed.notify_one();
        }
        true
    }

    /// Opens the file anew, after it was rotated.
    pub(crate) fn reopen(&self) {
        if let Some(shared) = &self.0 {
            shared.lock().reopen = true;
            shared.changed.notify_one();
        }
    }

    /// Writes what waits, for at most a second, and ends the thread.
    pub(crate) fn close(&self) {
        let Some(shared) = &self.0 else { return };
        let mut state = shared.lock();
        state.closing = true;
        shared.changed.notify_all();
        let wait = shared.changed.wait_timeout_while(state, Duration::from_secs(1), |state| !state.closed);
        drop(wait);
    }
}

enum Sink {
    Stdout,
    File(File, PathBuf),
}

impl Shared {
    fn write_all(&self, sink: &mut Sink) {
        let mut batch = Vec::new();
        loop {
            let idle = |state: &mut State| state.lines.is_empty() && !state.reopen && !state.closing;
            let state = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
            // Gather what comes in the next moment.
            let gathering = |state: &mut State| !state.reopen && !state.closing;
            let gathered = self.changed.wait_timeout_while(state, GATHER, gathering);
            let mut state = gathered.unwrap_or_else(PoisonError::into_inner).0;
            batch.clear();
            std::mem::swap(&mut batch, &mut state.lines);
            let (reopen, closing) = (std::mem::take(&mut state.reopen), state.closing);
            drop(state);
            sink.write(&batch);
            if reopen {
                sink.reopen();
            }
            if closing {
                self.lock().closed = true;
                self.changed.notify_all();
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    fn write(&mut self, batch: &[u8]) {
        let written = match self {
            Self::Stdout => io::stdout().lock().write_all(batch),
            Self::File(file, _) => file.write_all(batch),
        };
        if let Err(error) = written {
            tracing::warn!(%error, "access lines could not be written");
        }
    }

    fn reopen(&mut self) {
        if let Self::File(file, path) = self {
            match open(path) {
                Ok(new) => *file = new,
                Err(error) => tracing::error!(%error, path = %path.display(), "access log not reopened"),
            }
        }
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
