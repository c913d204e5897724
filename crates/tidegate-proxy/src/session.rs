//! From an answered handshake to the log line: one session's task.

use std::{
    cell::Cell,
    mem,
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Version, header, request::Parts};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tidegate_config::{Change, Config, OnRemove, Route};
use tidegate_session::{
    CloseFrame, Closing, End, LegRecord, Order, Premature, Record, Refused, Session, Side, Verdict,
};
use tokio::{sync::oneshot, task::spawn_local};

use crate::{
    access::{ClosePart, LegPart, Legs, Line, SessionPart},
    addresses::Held,
    capacity::Slot,
    clock,
    endpoint::Endpoint,
    flow::Totals,
    head,
    http::{Client, since},
    patient::Patient,
    request::Upgrade,
    splice::{self, Finished, Splice},
    stream::Stream,
    task::Phase,
    upstream::Accepted,
    worker::{self, Load},
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
    /// What only some clients have.
    pub(crate) rare: Option<Box<Rare>>,
}

/// What only some clients have.
#[derive(Default)]
pub(crate) struct Rare {
    /// What a trusted proxy calls the request.
    pub(crate) request_id: Option<String>,
    /// The trace that it belongs to.
    pub(crate) trace_id: Option<String>,
    /// Its place among the sessions of its address.
    held: Option<Box<Held>>,
    /// When what it was let in by runs out.
    expires: Option<Instant>,
}

impl Rare {
    pub(crate) fn named(request_id: Option<String>, trace_id: Option<String>) -> Option<Box<Self>> {
        let is_named = request_id.is_some() || trace_id.is_some();
        is_named.then(|| Box::new(Self { request_id, trace_id, ..Self::default() }))
    }
}

/// A request whose answer is about to be known.
pub(crate) struct Opening {
    pub(crate) facts: Facts,
    pub(crate) upgraded: Upgraded,
    /// A drain waits for it to become a session, or to be answered.
    pub(crate) pending: Load,
    /// The configuration that it was routed by.
    pub(crate) config: Arc<Config>,
    pub(crate) parts: Parts,
    pub(crate) upgrade: Upgrade,
    /// Its cookie and its authorization, once its head is written.
    pub(crate) own: [Option<HeaderValue>; 2],
}

/// Where a connection's task finds the session that it becomes.
pub(crate) type Successor = Rc<Cell<Option<Phase>>>;

/// Where a session finds its client's transport, and what came behind the request.
pub(crate) type Handed = Rc<Cell<Option<(Stream, Bytes)>>>;

/// What becomes of a connection, or of a stream of one, once it has its answer.
pub(crate) struct Upgraded {
    transport: Transport,
    /// `None`: a session has a task of its own, for its connection lives on.
    successor: Option<Successor>,
}

/// Where the client's transport is to be had from, once it has its answer.
enum Transport {
    /// So many bytes have been read of it.
    Whole(Handed, usize),
    Http1(OnUpgrade),
    Http2(oneshot::Receiver<Stream>),
}

impl Upgraded {
    /// `read`: what has been read of it, in bytes, which is kept as it is.
    pub(crate) fn whole(handed: Handed, read: usize, successor: Successor) -> Self {
        Self { transport: Transport::Whole(handed, read), successor: Some(successor) }
    }

    pub(crate) fn http1(upgrade: OnUpgrade, successor: Successor) -> Self {
        Self { transport: Transport::Http1(upgrade), successor: Some(successor) }
    }

    pub(crate) fn http2(stream: oneshot::Receiver<Stream>) -> Self {
        Self { transport: Transport::Http2(stream), successor: None }
    }

    fn become_session<S>(self, session: impl FnOnce(Transport) -> S)
    where
        S: Future<Output = Option<Phase>> + 'static,
    {
        let session = Phase::new(session(self.transport));
        match self.successor {
            Some(successor) => successor.set(Some(session)),
            None => drop(spawn_local(session)),
        }
    }
}

impl Opening {
    /// What is held for its client while it waits, in bytes, where its head has so many: as measured with thousands of
    /// them, to a kilobyte.
    pub(crate) fn held(&self, head: usize) -> u32 {
        let (connection, came) = match self.upgraded.transport {
            // With what came behind it.
            Transport::Whole(_, read) => (4 << 10, read.max(head)),
            Transport::Http2(_) => (4 << 10, head),
            // With what hyper reads ahead.
            Transport::Http1(_) => (28 << 10, head),
        };
        let tls = if self.facts.client.tls { 8 << 10 } else { 0 };
        // As it came, as it goes upstream, and what is logged of it: of a session, and of a client that leaves before.
        connection + tls + (came + head + 2 * self.facts.path.len()) as u32
    }

    /// The head that goes upstream. Of the fields that it is made of those are left that tell this client from others.
    pub(crate) fn write_head(&mut self, len: usize) -> Vec<u8> {
        let head = head::write(&self.parts, &self.upgrade, &self.facts.host, len);
        let mut headers = mem::take(&mut self.parts.headers);
        self.own = [header::COOKIE, header::AUTHORIZATION].map(|name| headers.remove(name));
        head
    }

    /// A session begins as soon as the client has its 101.
    pub(crate) fn begin(self: Box<Self>, accepted: Accepted, slot: Slot) {
        let Self { facts, upgraded, pending, config, .. } = *self;
        let began = clock::now();
        let handshake_s = began.saturating_duration_since(facts.started).as_secs_f64();
        upgraded.become_session(move |transport| async move {
            let client = transport.take().await;
            let open = Open::new(facts, &accepted, &slot);
            drop(pending);
            let splice = Some(open.facts.splice(client, accepted, slot, &config, began));
            Some(Phase::new(Running { splice, open, began, handshake_s }))
        });
    }

    /// The client has its 101, and is told in a Close why it gets no upstream. Not a session: no upstream was there.
    pub(crate) fn refuse(self: Box<Self>, why: Refused, limit: Option<&'static str>, retry_after: u32) {
        let Self { facts, upgraded, pending, .. } = *self;
        let handshake_s = since(facts.started);
        upgraded.become_session(move |transport| async move {
            let _pending = pending;
            let (client, client_early) = transport.take().await?;
            let session = Session::refused(facts.route.policy.clone(), why, retry_after, clock::now());
            let finished = Splice::new(splice::Parts {
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
            let (status, cause) = (facts.client.opened().as_u16(), finished.record.end.cause());
            let line = facts.line(status, "enforced", cause, handshake_s, finished.retry_after);
            facts.log(&Line { limit, ..line });
            None
        });
    }
}

impl Transport {
    /// It, after the 101, with what the client has sent behind its request. `None`: it is gone.
    async fn take(self) -> Option<(Stream, Bytes)> {
        match self {
            Self::Whole(handed, _) => handed.take(),
            Self::Http1(upgrade) => {
                let parts = upgrade.await.ok()?.downcast::<TokioIo<Patient>>().ok()?;
                Some((parts.io.into_inner().into_inner()?, parts.read_buf))
            }
            // What came early waits in the stream.
            Self::Http2(stream) => Some((stream.await.ok()?, Bytes::new())),
        }
    }
}

/// A session under way: all that an idle one holds on to beside its task, its timer and its sockets. No `async` block,
/// which would hold twice what moves in it.
struct Running {
    /// `None`: it is over.
    splice: Option<Splice>,
    open: Open,
    began: Instant,
    handshake_s: f64,
}

impl Future for Running {
    type Output = Option<Phase>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Phase>> {
        let Self { splice, open, began, handshake_s } = self.get_mut();
        if let Some(running) = splice {
            let finished = ready!(Pin::new(running).poll(cx));
            *splice = None;
            open.close(&finished, *handshake_s, since(*began));
        }
        Poll::Ready(None)
    }
}

/// An open session, as the metrics have it. Dropped without [`close`](Self::close) by a panic alone.
struct Open {
    facts: Facts,
    endpoint: Arc<Endpoint>,
    subprotocol: Option<Box<str>>,
    closed: bool,
}

impl Open {
    fn new(facts: Facts, accepted: &Accepted, slot: &Slot) -> Self {
        let Facts { client, route, .. } = &facts;
        let subprotocol = accepted.protocol.as_ref().and_then(|protocol| protocol.to_str().ok()).map(Box::from);
        let metrics = &client.worker.shared.metrics;
        {
            let _together = metrics.together();
            let opened = client.opened();
            let labels = [client.listener.name.as_str(), &route.name, "accepted", "none", opened.as_str()];
            metrics.handshakes.with_label_values(&labels).inc();
            metrics.sessions.with_label_values(&[&route.name, &route.upstream]).inc();
        }
        client.worker.sessions.fetch_add(1, Relaxed);
        client.worker.shared.entered(client.address());
        Self { endpoint: slot.endpoint().clone(), subprotocol, closed: false, facts }
    }

    fn close(&mut self, finished: &Finished, handshake_s: f64, duration_s: f64) {
        let record = &finished.record;
        self.count(record);
        let (facts, shared) = (&self.facts, &self.facts.client.worker.shared);
        shared.metrics.session_duration.with_label_values(&[&facts.route.name]).observe(duration_s);
        if record.verdict == Verdict::Unclosable {
            shared.unclosable.fetch_add(1, Relaxed);
        }
        let (status, verdict) = (facts.client.opened().as_u16(), record.verdict.word());
        let mut line = facts.line(status, verdict, record.end.cause(), handshake_s, finished.retry_after);
        let [from_client, from_upstream] = finished.undelivered;
        line.event = "session";
        line.session = Some(SessionPart {
            upstream: &facts.route.upstream,
            endpoint: &self.endpoint,
            subprotocol: self.subprotocol.as_deref(),
            premature: record.premature.map(Premature::word),
            closed_by: record.end.initiator().map_or("proxy", Side::word),
            duration_s,
            ack_ms: record.closing.ack.map(|ack| ack.as_millis() as u64),
            crossed: record.closing.crossed,
            reply_differs: record.reply_differs(),
            undelivered_to_client: from_upstream,
            undelivered_to_upstream: from_client,
            legs: Legs {
                client: leg(&record.client, &finished.up, finished.after_close[0]),
                upstream: leg(&record.upstream, &finished.down, finished.after_close[1]),
            },
            config_generation: facts.generation,
        });
        facts.log(&line);
    }

    fn count(&mut self, record: &Record) {
        self.closed = true;
        let Facts { client, route, .. } = &self.facts;
        let worker = &client.worker;
        worker.shared.left(client.address());
        worker.shared.metrics.closed(&route.name, &route.upstream, record);
        worker.sessions.fetch_sub(1, Relaxed);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.closed {
            self.facts.client.worker.shared.metrics.task_panics.inc();
            let lost = || LegRecord { sent: None, received: None, end: tidegate_session::LegEnd::Lost };
            let (client, upstream) = (lost(), lost());
            let (end, verdict, premature, closing) = (End::Internal, Verdict::Unclosable, None, Closing::default());
            self.count(&Record { end, verdict, premature, closing, client, upstream });
        }
    }
}

impl Facts {
    pub(crate) fn held(&self) -> Option<&Held> {
        self.rare.as_ref()?.held.as_deref()
    }

    /// Ends its session then.
    pub(crate) fn expire(&mut self, at: Option<Instant>) {
        if at.is_some() {
            self.rare.get_or_insert_default().expires = at;
        }
    }

    /// Keeps this place until everything about this client is over.
    pub(crate) fn hold(&mut self, held: Option<Box<Held>>) {
        if held.is_some() {
            self.rare.get_or_insert_default().held = held;
        }
    }

    fn splice(
        &self,
        client: Option<(Stream, Bytes)>,
        accepted: Accepted,
        slot: Slot,
        config: &Config,
        now: Instant,
    ) -> Splice {
        let policy = self.route.policy.clone();
        let session = match client {
            Some(_) => Session::new(policy, seed(), now),
            // Gone between its request and our answer; its upstream still hears why.
            None => Session::abandoned(policy, now),
        };
        let (client, client_early) = client.unzip();
        Splice::new(splice::Parts {
            session,
            client,
            client_early: client_early.unwrap_or_default(),
            deflate: accepted.deflate.is_some(),
            upstream: Some((accepted.stream, accepted.early)),
            entry: self.enter_routed_by(config, slot.endpoint(), slot.is_gone(), now),
            slot: Some(slot),
            counters: self.client.worker.counters(&self.route.name),
            metrics: self.client.worker.shared.metrics.clone(),
            limits: self.route.frames,
        })
    }

    /// Enters a session whose handshake may have taken so long that a reload has come in between.
    fn enter_routed_by(
        &self,
        config: &Config,
        endpoint: &Arc<Endpoint>,
        gone: bool,
        now: Instant,
    ) -> crate::registry::Entry {
        let entry = self.enter(Some(endpoint.clone()));
        let live = self.client.worker.shared.live.load();
        // What was looked up in between says the same as a reload.
        if gone && self.route.on_remove == OnRemove::Close {
            entry.order(Order { end: End::EndpointRemoved, at: now, retry_after: None });
        }
        if live.number != self.generation
            && let Some(end) =
                worker::end_for(Change::between(config, &live.config).fate(&self.route.name, &endpoint.server))
        {
            entry.order(Order { end, at: now, retry_after: None });
        }
        entry
    }

    fn enter(&self, endpoint: Option<Arc<Endpoint>>) -> crate::registry::Entry {
        let worker: &Rc<_> = &self.client.worker;
        let entry = worker.registry.enter(self.id, self.route.clone(), endpoint);
        if let Some(at) = self.rare.as_ref().and_then(|rare| rare.expires) {
            entry.order(Order { end: End::AuthExpired, at, retry_after: None });
        }
        if let Some(window) = worker.shared.draining() {
            // Its handshake was under way when the drain began.
            entry.order(worker.drain_order(&self.route, clock::now(), window));
        }
        entry
    }

    pub(crate) fn line<'a>(
        &'a self,
        status: u16,
        verdict: &'a str,
        cause: &'a str,
        handshake_s: f64,
        hint_s: Option<u32>,
    ) -> Line<'a> {
        let mut line = self.client.line(&self.route.name, &self.host, &self.path, status, cause);
        line.id = self.id;
        if let Some(rare) = &self.rare {
            line.request_id = rare.request_id.as_deref();
            line.trace_id = rare.trace_id.as_deref();
        }
        Line { verdict, handshake_s, hint_s, ..line }
    }

    /// Its client was answered with a status instead of a session.
    pub(crate) fn log_refusal(&self, status: u16, cause: &str, limit: Option<&'static str>, hint_s: Option<u32>) {
        let line = self.line(status, "refused", cause, since(self.started), hint_s);
        self.log(&Line { limit, ..line });
    }

    pub(crate) fn log(&self, line: &Line<'_>) {
        self.client.log(line);
    }
}

impl Client {
    /// The line of a request that was refused; others are made of it.
    pub(crate) fn line<'a>(
        &'a self,
        route: &'a str,
        host: &'a str,
        path: &'a str,
        status: u16,
        cause: &'a str,
    ) -> Line<'a> {
        Line {
            ts: SystemTime::now(),
            level: "info",
            event: "refused",
            id: crate::random(),
            request_id: None,
            trace_id: None,
            route,
            listener: &self.listener.name,
            client_ip: self.ip(),
            host,
            path,
            tls: self.tls,
            http_version: version_word(self.version),
            status,
            verdict: "refused",
            cause,
            handshake_s: 0.0,
            limit: None,
            hint_s: None,
            session: None,
            http: None,
        }
    }

    pub(crate) fn log(&self, line: &Line<'_>) {
        let shared = &self.worker.shared;
        if !shared.access.write(line) {
            shared.metrics.log_lines_dropped.inc();
        }
    }
}

/// As nginx and Apache log it.
fn version_word(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

fn leg<'a>(record: &'a LegRecord, totals: &Totals, after_close: u32) -> LegPart<'a> {
    LegPart {
        sent: record.sent.as_ref().map(close),
        received: record.received.as_ref().map(close),
        end: record.end.word(),
        frames: totals.data_frames + totals.control_frames,
        bytes: totals.bytes,
        after_close,
    }
}

fn close(frame: &CloseFrame) -> ClosePart<'_> {
    ClosePart { code: frame.code().map(|code| code.0), reason: frame.reason() }
}

fn seed() -> u64 {
    u64::from(crate::random()) << 32 | u64::from(crate::random())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With its task, timer, registry entry and sockets' places that makes some 2.2 KiB.
    #[test]
    fn an_idle_session_is_small() {
        assert!(size_of::<Running>() <= 1200, "{} bytes", size_of::<Running>());
        assert!(size_of::<Phase>() == 16, "with more, tokio's task takes 256 bytes instead of 128");
    }
}
