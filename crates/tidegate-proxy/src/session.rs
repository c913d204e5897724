//! From an answered handshake to the log line: one session's task.

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tidegate_config::{Route, ServerAddress};
use tidegate_session::{CloseFrame, End, LegRecord, Loss, Record, Refused, Session, Side, Verdict};
use tidegate_wire::Tally;
use tokio::task::spawn_local;

use crate::{
    access::{ClosePart, LegPart, Legs, Line, SessionPart},
    capacity::Slot,
    clock,
    http::{Client, since},
    splice::{Finished, Parts, Splice},
    stream::Stream,
    upstream::Accepted,
};

/// What is known of a client when its request is.
pub(crate) struct Facts {
    pub(crate) client: Client,
    pub(crate) id: u32,
    pub(crate) generation: u64,
    pub(crate) started: Instant,
    pub(crate) host: String,
    /// Without the values of its query.
    pub(crate) path: String,
    pub(crate) route: Arc<Route>,
}

/// A request whose answer is about to be known.
pub(crate) struct Opening {
    pub(crate) facts: Facts,
    pub(crate) upgraded: OnUpgrade,
}

impl Opening {
    /// A session begins as soon as the client has its 101.
    pub(crate) fn begin(self, accepted: Accepted, slot: Slot) {
        spawn_local(async move {
            let Self { facts, upgraded } = self;
            let began = clock::now();
            let handshake_s = since(facts.started);
            let client = transport(upgraded).await;
            let mut session = Session::new(facts.route.policy.clone(), seed(), began);
            if client.is_none() {
                // Gone between its request and our answer; its upstream still hears why.
                session.handle_eof(Side::Client, Loss::Reset, began);
            }
            let subprotocol = accepted.protocol.as_ref().and_then(|p| p.to_str().ok()).map(str::to_owned);
            let endpoint = slot.address().clone();
            let entry = facts.enter(Some(endpoint.clone()));
            let open = Open::new(&facts);
            let (client, client_early) = client.unzip();
            let finished = Splice::new(Parts {
                session,
                client,
                client_early: client_early.unwrap_or_default(),
                deflate: accepted.deflate.is_some(),
                upstream: Some((accepted.stream, accepted.early)),
                slot: Some(slot),
                entry,
                counters: facts.client.worker.counters(&facts.route.name),
                metrics: facts.client.worker.shared.metrics.clone(),
                limits: facts.route.frames,
            })
            .await;
            open.close(&facts, &finished, handshake_s, since(began), &endpoint, subprotocol.as_deref());
        });
    }

    /// The client has its 101, and is told in a Close why it gets no upstream. Not a session: no upstream was there.
    pub(crate) fn refuse(self, why: Refused, retry_after: u32) {
        spawn_local(async move {
            let Self { facts, upgraded } = self;
            let handshake_s = since(facts.started);
            let Some((client, client_early)) = transport(upgraded).await else { return };
            let session = Session::refused(facts.route.policy.clone(), why, retry_after, clock::now());
            let finished = Splice::new(Parts {
                session,
                client: Some(client),
                client_early,
                upstream: None,
                slot: None,
                entry: facts.enter(None),
                counters: facts.client.worker.counters(&facts.route.name),
                metrics: facts.client.worker.shared.metrics.clone(),
                limits: facts.route.frames,
                deflate: false,
            })
            .await;
            facts.log(&facts.line(101, "enforced", finished.record.end.cause(), handshake_s, finished.retry_after));
        });
    }

    /// The client has its answer as a status.
    pub(crate) fn refused_by_status(&self, why: Refused, retry_after: u32) {
        let handshake_s = since(self.facts.started);
        let cause = End::Refused(why).cause();
        self.facts.log(&self.facts.line(503, "refused", cause, handshake_s, Some(retry_after)));
    }
}

/// The client's transport after the 101, with what it has sent behind its request. `None`: it is gone.
async fn transport(upgraded: OnUpgrade) -> Option<(Stream, Bytes)> {
    let parts = upgraded.await.ok()?.downcast::<TokioIo<Stream>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}

/// An open session, as the metrics have it. Dropped without [`close`](Self::close) by a panic alone.
struct Open {
    client: Client,
    route: Arc<Route>,
    closed: bool,
}

impl Open {
    fn new(facts: &Facts) -> Self {
        let (client, route) = (facts.client.clone(), facts.route.clone());
        let metrics = &client.worker.shared.metrics;
        {
            let _together = metrics.together();
            let labels = [client.listener.name.as_str(), &route.name, "accepted", "none", "101"];
            metrics.handshakes.with_label_values(&labels).inc();
            metrics.sessions.with_label_values(&[&route.name, &route.upstream]).inc();
        }
        client.worker.sessions.fetch_add(1, Relaxed);
        Self { client, route, closed: false }
    }

    fn close(
        mut self,
        facts: &Facts,
        finished: &Finished,
        handshake_s: f64,
        duration_s: f64,
        endpoint: &ServerAddress,
        subprotocol: Option<&str>,
    ) {
        let record = &finished.record;
        self.count(record);
        let shared = &self.client.worker.shared;
        shared.metrics.session_duration.with_label_values(&[&self.route.name]).observe(duration_s);
        if record.verdict == Verdict::Unclosable {
            shared.unclosable.fetch_add(1, Relaxed);
        }
        let mut line = facts.line(101, record.verdict.word(), record.end.cause(), handshake_s, finished.retry_after);
        line.event = "session";
        line.session = Some(SessionPart {
            upstream: &self.route.upstream,
            endpoint: endpoint.to_string(),
            subprotocol,
            closed_by: record.end.initiator().map_or("proxy", Side::word),
            duration_s,
            legs: Legs { client: leg(&record.client, &finished.up), upstream: leg(&record.upstream, &finished.down) },
            config_generation: facts.generation,
        });
        facts.log(&line);
    }

    fn count(&mut self, record: &Record) {
        self.closed = true;
        self.client.worker.shared.metrics.closed(&self.route.name, &self.route.upstream, record);
        self.client.worker.sessions.fetch_sub(1, Relaxed);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.closed {
            self.client.worker.shared.metrics.task_panics.inc();
            let lost = || LegRecord { sent: None, received: None, end: tidegate_session::LegEnd::Lost };
            let (client, upstream) = (lost(), lost());
            self.count(&Record { end: End::Internal, verdict: Verdict::Unclosable, client, upstream, premature: None });
        }
    }
}

impl Facts {
    fn enter(&self, endpoint: Option<Arc<ServerAddress>>) -> crate::registry::Entry {
        let worker: &Rc<_> = &self.client.worker;
        let entry = worker.registry.enter(self.id, self.route.clone(), endpoint);
        if let Some(window) = worker.shared.draining() {
            // Its handshake was under way when the drain began.
            entry.order(worker.drain_order(&self.route, clock::now(), window));
        }
        entry
    }

    fn line<'a>(
        &'a self,
        status: u16,
        verdict: &'a str,
        cause: &'a str,
        handshake_s: f64,
        hint_s: Option<u32>,
    ) -> Line<'a> {
        Line {
            ts: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            level: "info",
            event: "refused",
            id: format!("{:08x}", self.id),
            route: &self.route.name,
            listener: &self.client.listener.name,
            client_ip: self.client.ip(),
            host: &self.host,
            path: &self.path,
            tls: self.client.listener.tls.is_some(),
            status,
            verdict,
            cause,
            handshake_s,
            hint_s,
            session: None,
        }
    }

    fn log(&self, line: &Line<'_>) {
        let shared = &self.client.worker.shared;
        if !shared.access.write(line) {
            shared.metrics.log_lines_dropped.inc();
        }
    }
}

fn leg<'a>(record: &'a LegRecord, tally: &Tally) -> LegPart<'a> {
    LegPart {
        sent: record.sent.as_ref().map(close),
        received: record.received.as_ref().map(close),
        end: record.end.word(),
        frames: tally.data_frames() + tally.control_frames(),
        bytes: tally.bytes,
    }
}

fn close(frame: &CloseFrame) -> ClosePart<'_> {
    ClosePart { code: frame.code().map(|code| code.0), reason: frame.reason() }
}

fn seed() -> u64 {
    u64::from(crate::random()) << 32 | u64::from(crate::random())
}
