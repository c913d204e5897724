//! The access log: one JSON line a session or plain request, written by a thread of its own.
//!
//! A line goes into a bounded buffer; whoever reads the file or the pipe slowly loses lines, which are counted, and
//! never holds up a session.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use serde::{Serialize, Serializer};
use tidegate_config::AccessLog as Target;

use crate::endpoint::Endpoint;

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
    reopen: bool,
    closing: bool,
    /// The thread has written everything and is gone.
    closed: bool,
}

/// One line. Fields that do not apply are left out.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    #[serde(serialize_with = "rfc3339")]
    pub(crate) ts: SystemTime,
    pub(crate) level: &'static str,
    /// `session`, `refused` for a client that never got one, or `http` for a plain request.
    pub(crate) event: &'static str,
    /// Joins it to the `id` of a close reason.
    #[serde(serialize_with = "hex")]
    pub(crate) id: u32,
    /// The name that a trusted proxy gave the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<&'a str>,
    /// The trace that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trace_id: Option<&'a str>,
    pub(crate) route: &'a str,
    pub(crate) listener: &'a str,
    /// `None`, written as an empty one: it came by a unix socket.
    #[serde(serialize_with = "or_empty")]
    pub(crate) client_ip: Option<IpAddr>,
    pub(crate) host: &'a str,
    /// Query values are not logged: tokens stand there.
    pub(crate) path: &'a str,
    pub(crate) tls: bool,
    /// Of the request: `HTTP/1.1`, `HTTP/2.0`.
    pub(crate) http_version: &'static str,
    /// 0: the client left before its answer.
    pub(crate) status: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) verdict: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) cause: &'a str,
    pub(crate) handshake_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint_s: Option<u32>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<SessionPart<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<HttpPart<'a>>,
}

/// What only a plain request has.
#[derive(Serialize)]
pub(crate) struct HttpPart<'a> {
    pub(crate) method: &'a str,
    pub(crate) upstream: &'a str,
    /// The last that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<&'a Endpoint>,
    /// Why the answer is tidegate's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'static str>,
    pub(crate) duration_s: f64,
}

/// What only a session has.
#[derive(Serialize)]
pub(crate) struct SessionPart<'a> {
    pub(crate) upstream: &'a str,
    pub(crate) endpoint: &'a Endpoint,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subprotocol: Option<&'a str>,
    /// What an upstream that closed with 1000 left undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) premature: Option<&'static str>,
    pub(crate) closed_by: &'static str,
    /// From the first Close on a leg to its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ack_ms: Option<u64>,
    /// Two Closes met on the way: neither is an answer.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) crossed: bool,
    /// The answer had another code than the Close it answers.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) reply_differs: bool,
    /// Bytes of frames that came when this side could not be given them any more.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) undelivered_to_client: u32,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) undelivered_to_upstream: u32,
    pub(crate) duration_s: f64,
    pub(crate) legs: Legs<'a>,
    pub(crate) config_generation: u64,
}

/// Both legs of a session.
#[derive(Serialize)]
pub(crate) struct Legs<'a> {
    pub(crate) client: LegPart<'a>,
    pub(crate) upstream: LegPart<'a>,
}

/// One leg of a session.
#[derive(Serialize)]
pub(crate) struct LegPart<'a> {
    /// The Close that was put on it.
    pub(crate) sent: Option<ClosePart<'a>>,
    /// The Close that came from it.
    pub(crate) received: Option<ClosePart<'a>>,
    pub(crate) end: &'static str,
    /// Frames and payload bytes that came from it.
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// Bytes that came behind its Close.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) after_close: u32,
}

/// A Close. No code: an empty one.
#[derive(Serialize)]
pub(crate) struct ClosePart<'a> {
    pub(crate) code: Option<u16>,
    pub(crate) reason: &'a str,
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn hex<S: Serializer>(id: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{id:08x}"))
}

fn or_empty<S: Serializer>(ip: &Option<IpAddr>, serializer: S) -> Result<S::Ok, S::Error> {
    match ip {
        Some(ip) => ip.serialize(serializer),
        None => serializer.serialize_str(""),
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
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
        if state.lines.len() > MAX_WAITING {
            return false;
        }
        let first = state.lines.is_empty();
        // Writing to memory cannot fail, and a line has no maps with keys that are no strings.
        let _ = serde_json::to_writer(&mut state.lines, line);
        state.lines.push(b'\n');
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
