//! One worker: a thread with a runtime of its own, on which its sessions live from accept to end.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ::http::Version;
use tidegate_config::{Change, Fate, OnRemove, Trust};
use tidegate_session::{End, Order};
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot, watch,
    },
    task::spawn_local,
};

use crate::{
    accept::{Accepted, Acceptor, Listening, turn_away},
    buffer, chores, clock,
    counters::RouteCounters,
    endpoint::Endpoint,
    flow, http, http2, pipe, proxy_protocol,
    registry::{Live, Registry},
    shared::Shared,
    strain::Newcomer,
    stream::Stream,
    task::Phase,
    tls::{self, Handshakes},
};

/// How long a client may take for its request head. As HAProxy's examples have it.
pub(crate) const CLIENT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Sessions that are served between two looks at the sockets, and sockets that one look brings. tokio's own 61 and
/// 1024 make several looks of one burst. A thousand chatting sessions cost 7 % less with 256 for both than with 1024.
const EVENT_INTERVAL: u32 = 256;

/// Connections that are accepted for one turn at a worker's chores: each takes a few microseconds.
const NEWCOMERS: usize = 8;

/// How often a worker that stops looks whether it is done.
const GLANCE: Duration = Duration::from_millis(5);

/// While a worker has connections, a timer of its own is never further away than this. tokio writes to its event
/// descriptor, and wakes itself once for nothing, whenever a timer is set that is due before all others; a session
/// sets several, all of them seconds away. At each, what a burst took is given back.
const TICK: Duration = Duration::from_millis(250);

/// What a worker is told.
pub(crate) enum Message {
    /// Accept on this socket until the listener is gone, and share what comes.
    Listen(Listening, Arc<Listener>),
    /// Serve this connection.
    Serve(Connection),
    /// End what the new configuration has no place for.
    Reload(Arc<Change>),
    /// End the sessions of endpoints that are no longer to hold them.
    Leave(Arc<Leave>),
    /// End every session within this time.
    Drain(Duration),
    /// Wait for nobody's answer any more.
    Hurry,
    /// Say that it is alive.
    Answer(oneshot::Sender<()>),
    /// Stop: accept no more, and let what is being written leave, within this time.
    Stop(Duration),
}

/// It has nothing to do.
fn pause() {
    flow::pause();
    chores::pause();
}

/// Gives back what bursts took.
fn rest() {
    buffer::rest();
    pipe::rest();
}

/// Whose sessions are to end, and why.
pub(crate) struct Leave {
    pub(crate) upstream: String,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) end: End,
}

/// A listener while it is configured.
pub(crate) struct Listener {
    /// Its address: the metric label.
    pub(crate) name: String,
    /// Its certificates, as last loaded; empty: it speaks no TLS.
    pub(crate) tls: arc_swap::ArcSwapOption<tls::Incoming>,
    /// Most streams of one HTTP/2 connection, for new connections.
    pub(crate) http2_max_streams: AtomicU32,
    /// Which proxies stand before it, as last configured.
    pub(crate) trust: arc_swap::ArcSwap<Trust>,
    /// Turns true when it is no longer configured.
    pub(crate) removed: watch::Sender<bool>,
}

impl Listener {
    /// It is no longer configured, or left to a successor.
    pub(crate) fn leave(&self) {
        self.removed.send_replace(true);
    }

    /// Whether a worker has yet to notice that.
    pub(crate) fn is_accepting(&self) -> bool {
        self.removed.receiver_count() > 0
    }
}

/// An accepted connection on its way to its worker.
pub(crate) struct Connection {
    accepted: Accepted,
    listener: Arc<Listener>,
    load: Load,
}

/// How others reach a worker, and how busy it is.
pub(crate) struct Handle {
    messages: UnboundedSender<Message>,
    load: Arc<AtomicUsize>,
    /// Sessions it holds.
    sessions: Arc<AtomicUsize>,
    /// Handshakes under way that may become sessions.
    openings: Arc<AtomicUsize>,
}

impl Handle {
    pub(crate) fn send(&self, message: Message) {
        // A worker that is gone has no sessions left to tell.
        let _ = self.messages.send(message);
    }

    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Relaxed)
    }

    pub(crate) fn openings(&self) -> usize {
        self.openings.load(Relaxed)
    }

    /// Connections of clients, from accept to the end of their sessions.
    pub(crate) fn connections(&self) -> usize {
        self.load.load(Relaxed)
    }
}

/// One unit of a worker's load, from accept to the end of the session.
pub(crate) struct Load(Arc<AtomicUsize>);

impl Load {
    pub(crate) fn of(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Relaxed);
        Self(load.clone())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// What the tasks of one worker share.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) registry: Rc<Registry>,
    pub(crate) sessions: Arc<AtomicUsize>,
    pub(crate) openings: Arc<AtomicUsize>,
    load: Arc<AtomicUsize>,
    handshakes: Handshakes,
    counters: RefCell<HashMap<String, Arc<RouteCounters>>>,
    ticking: Cell<bool>,
}

/// Starts a thread for each worker.
///
/// # Errors
/// The system has no room for a thread or a reactor.
pub(crate) fn start(count: usize, shared: &Arc<Shared>) -> io::Result<(Vec<Handle>, Vec<JoinHandle<()>>)> {
    let (handles, inboxes): (Vec<_>, Vec<_>) = (0..count)
        .map(|_| {
            let (messages, inbox) = unbounded_channel();
            let handle = Handle { messages, load: Arc::default(), sessions: Arc::default(), openings: Arc::default() };
            (handle, inbox)
        })
        .unzip();
    let (report, started) = std::sync::mpsc::channel();
    let mut threads = Vec::new();
    for (i, inbox) in inboxes.into_iter().enumerate() {
        let Handle { load, sessions, openings, .. } = &handles[i];
        let (shared, load) = (shared.clone(), load.clone());
        let (sessions, openings) = (sessions.clone(), openings.clone());
        let report = report.clone();
        let thread = thread::Builder::new().name(format!("worker-{i}")).spawn(move || {
            // A local runtime cannot move to its thread: it is made there.
            let mut runtime = Builder::new_current_thread();
            let runtime = runtime
                .enable_all()
                .event_interval(EVENT_INTERVAL)
                .max_io_events_per_tick(EVENT_INTERVAL as usize)
                .on_thread_park(pause)
                .build_local(LocalOptions::default());
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(report.send(Err(error))),
            };
            let _ = report.send(Ok(()));
            let worker = Rc::new(Worker {
                shared,
                registry: Rc::default(),
                sessions,
                openings,
                load,
                handshakes: Handshakes::new(),
                counters: RefCell::default(),
                ticking: Cell::new(false),
            });
            runtime.block_on(worker.run(inbox));
        })?;
        threads.push(thread);
    }
    for _ in 0..count {
        started.recv().map_err(io::Error::other)??;
    }
    Ok((handles, threads))
}

impl Worker {
    async fn run(self: Rc<Self>, mut inbox: UnboundedReceiver<Message>) {
        while let Some(message) = inbox.recv().await {
            match message {
                Message::Listen(listening, listener) => drop(spawn_local(self.clone().listen(listening, listener))),
                Message::Serve(connection) => self.take(connection),
                Message::Reload(change) => self.reload(&change),
                Message::Leave(leave) => self.leave(&leave),
                Message::Drain(window) => self.drain(window),
                Message::Hurry => self.registry.all().iter().for_each(|live| live.hurry()),
                // Whoever does not wait any more has given it up.
                Message::Answer(answer) => _ = answer.send(()),
                Message::Stop(patience) => return self.stop(patience).await,
            }
        }
    }

    async fn stop(&self, patience: Duration) {
        let deadline = clock::now() + patience;
        while self.load.load(Relaxed) > 0 && clock::now() < deadline {
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Accepts for all workers: each connection goes to the one with the least to do.
    async fn listen(self: Rc<Self>, listening: Listening, listener: Arc<Listener>) {
        let mut removed = listener.removed.subscribe();
        let mut acceptor = match Acceptor::new(listening) {
            Ok(acceptor) => acceptor,
            Err(error) => return tracing::error!(%error, listener = listener.name, "cannot accept"),
        };
        let mut newcomers = 0_usize;
        while !*removed.borrow() {
            newcomers += 1;
            if newcomers.is_multiple_of(NEWCOMERS) {
                chores::turn().await;
            }
            let tls = listener.tls.load().is_some();
            let accepted = tokio::select! {
                // Whoever waits already is there sooner than the end.
                biased;
                accepted = acceptor.next(tls) => accepted,
                _ = removed.wait_for(|removed| *removed) => return,
            };
            match accepted {
                Ok(accepted) => {
                    let share = self.shared.live.load().config.protection.files;
                    if self.shared.strain.accepted(&accepted.socket, share) == Newcomer::Dropped {
                        turn_away(&accepted.socket, tls);
                        self.shared.metrics.limit_hits.with_label_values(&["files", "drop"]).inc();
                        continue;
                    }
                    let trust = listener.trust.load();
                    // Of whom a proxy speaks is not known yet.
                    if trust.proxy_protocol.is_none()
                        && !self.shared.hears(accepted.peer, &trust, &accepted.socket, tls)
                    {
                        continue;
                    }
                    let workers = self.shared.workers();
                    let Some(least) = workers.iter().min_by_key(|worker| worker.load.load(Relaxed)) else { return };
                    let here = self.load.load(Relaxed) <= least.load.load(Relaxed);
                    let load = Load::of(if here { &self.load } else { &least.load });
                    let connection = Connection { accepted, listener: listener.clone(), load };
                    if here { self.take(connection) } else { least.send(Message::Serve(connection)) }
                }
                Err(error) => {
                    self.shared.metrics.accept_errors.with_label_values(&[error.word()]).inc();
                    tracing::warn!(kind = error.word(), listener = listener.name, "accept failed");
                }
            }
        }
    }

    fn take(self: &Rc<Self>, connection: Connection) {
        if !self.ticking.replace(true) {
            spawn_local(self.clone().tick());
        }
        spawn_local(Phase::new(self.clone().serve(connection)));
    }

    /// See [`TICK`].
    async fn tick(self: Rc<Self>) {
        while self.load.load(Relaxed) > 0 {
            tokio::time::sleep(TICK).await;
            rest();
        }
        rest();
        self.ticking.set(false);
    }

    /// Serves a connection until it is over or becomes a WebSocket: then, what is to go on in its place.
    async fn serve(self: Rc<Self>, connection: Connection) -> Option<Phase> {
        let Connection { accepted, listener, load } = connection;
        let mut peer = accepted.peer;
        let mut stream = Stream::from_accepted(accepted).ok()?;
        let mut local = None;
        let trust = listener.trust.load_full();
        if let Some(versions) = trust.proxy_protocol {
            let said = Box::pin(proxy_protocol::accept(&mut stream, peer, versions, &trust)).await;
            let result = said.map_or_else(proxy_protocol::Refusal::word, |_| "ok");
            self.shared.metrics.proxy_headers.with_label_values(&[listener.name.as_str(), result]).inc();
            match said {
                Ok(Some((from, to))) => {
                    (peer, local) = (Some(from), Some(to));
                    if let Stream::Tcp(tcp) = &stream
                        && !self.shared.hears(peer, &trust, tcp, listener.tls.load().is_some())
                    {
                        return None;
                    }
                }
                // The proxy speaks for itself, as in its health checks.
                Ok(None) => {}
                Err(_) => {
                    tracing::debug!(?peer, result, listener = listener.name, "PROXY header refused");
                    return None;
                }
            }
        } else if self.shared.announces_clients.load(Relaxed) {
            local = stream.local_address();
        }
        let tls = listener.tls.load_full();
        let (stream, certificate) = match (stream, &tls) {
            (Stream::Tcp(tcp), Some(tls)) => {
                let settings = self.shared.live.load().config.tls;
                // In a box, as what else not every connection has: all would carry its size.
                let next = self.handshakes.next(tcp, tls, settings, &listener.name, &self.shared.metrics);
                let secured = Box::pin(next).await?;
                (Stream::Client(Box::new(secured.stream)), secured.certificate.map(Rc::new))
            }
            (stream, _) => (stream, None),
        };
        let (is_tls, local) = (tls.is_some(), local.map(Rc::new));
        let (version, word) = if stream.is_http2() { (Version::HTTP_2, "2") } else { (Version::HTTP_11, "1.1") };
        self.shared.metrics.connections.with_label_values(&[listener.name.as_str(), word]).inc();
        let load = Rc::new(load);
        let client =
            http::Client { worker: self, listener, peer, tls: is_tls, certificate, version, local, _load: load };
        match tls.filter(|_| version == Version::HTTP_2) {
            Some(tls) => {
                Box::pin(http2::serve(client, stream, tls)).await;
                None
            }
            None => http::serve(client, stream).await,
        }
    }

    pub(crate) fn new_load(&self) -> Load {
        Load::of(&self.load)
    }

    /// This worker's counters of a route.
    pub(crate) fn counters(&self, route: &str) -> Arc<RouteCounters> {
        if let Some(counters) = self.counters.borrow().get(route) {
            return counters.clone();
        }
        let counters = self.shared.metrics.hot.for_route(route);
        self.counters.borrow_mut().insert(route.to_owned(), counters.clone());
        counters
    }

    fn reload(&self, change: &Change) {
        let mut ending = Vec::new();
        for live in self.registry.all() {
            let Some(endpoint) = &live.endpoint else { continue };
            if let Some(end) = end_for(change.fate(&live.route.name, &endpoint.server)) {
                ending.push((live, end));
            }
        }
        end_paced(&ending);
    }

    fn leave(&self, leave: &Leave) {
        let leaves = |live: &Rc<Live>| {
            live.route.upstream == leave.upstream
                && (leave.end != End::EndpointRemoved || live.route.on_remove == OnRemove::Close)
                && live.endpoint.as_ref().is_some_and(|at| leave.endpoints.iter().any(|endpoint| endpoint.is(at)))
        };
        let ending: Vec<_> = self.registry.all().into_iter().filter(leaves).map(|live| (live, leave.end)).collect();
        end_paced(&ending);
    }

    fn drain(&self, window: Duration) {
        let now = clock::now();
        let ending = self.registry.all();
        for (i, live) in ending.iter().enumerate() {
            live.order(self.drain_order(&live.route, now + share(window, i, ending.len()), window));
        }
    }

    /// The client is told to come back within the window that the drain itself takes: by then this process, or
    /// another, is there again.
    pub(crate) fn drain_order(&self, route: &tidegate_config::Route, at: Instant, window: Duration) -> Order {
        let least = route.retry_after.as_secs().max(1) as u32;
        let most = (window.as_secs() as u32).max(least);
        let retry_after = least + crate::random() % (most - least + 1);
        Order { end: End::Drain, at, retry_after: Some(retry_after) }
    }
}

/// Ends these sessions, each over the spread of its route.
fn end_paced(ending: &[(Rc<Live>, End)]) {
    let now = clock::now();
    for (i, (live, end)) in ending.iter().enumerate() {
        let at = now + share(live.route.spread, i, ending.len());
        live.order(Order { end: *end, at, retry_after: None });
    }
}

/// How a session ends that a new configuration has no place for.
pub(crate) fn end_for(fate: Fate) -> Option<End> {
    match fate {
        Fate::Keep => None,
        Fate::RouteRemoved => Some(End::RouteRemoved),
        Fate::EndpointRemoved => Some(End::EndpointRemoved),
    }
}

/// When the `i`th of `n` has its turn, within `span`; the first at once.
fn share(span: Duration, i: usize, n: usize) -> Duration {
    span.mul_f64(i as f64 / n.max(1) as f64)
}
