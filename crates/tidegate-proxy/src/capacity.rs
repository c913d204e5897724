//! The governor with its clock, its lock and its timer: who may dial an upstream, and who waits.

mod admission;
mod slot;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::{Duration, Instant},
};

use tidegate_config::{Balance, Route, ServerAddress, Upstream};
use tidegate_governor::{Advice, EndpointId, Event, Governor, Outcome, Parked, Snapshot, Ticket, Traffic, Wish};
use tokio::sync::{Notify, oneshot, watch};

use crate::{
    clock,
    endpoint::Endpoint,
    members::{Located, Members},
    metrics::Metrics,
    task::Task,
};

pub(crate) use {admission::Admission, slot::Slot};

/// The sessions of an endpoint that is lost should be back by then, for the advice on how many there should be.
const BACK_WITHIN: Duration = Duration::from_secs(120);

/// One upstream's governor. Lives as long as its upstream is configured, across reloads; locked for handshakes and
/// endings, never for a message.
pub(crate) struct Capacity {
    inner: Mutex<Inner>,
    /// The governor's next deadline came closer.
    sooner: Arc<Notify>,
    /// The task that keeps its time; one, however often the configuration changes.
    clockwork: OnceLock<Task>,
    /// Those that ask after its endpoints, as now configured.
    attendants: Mutex<Vec<Task>>,
    /// Who its endpoints are has changed.
    changed: watch::Sender<()>,
    name: String,
    metrics: Arc<Metrics>,
}

struct Inner {
    governor: Governor,
    endpoints: HashMap<EndpointId, Arc<Endpoint>>,
    /// By what sticky cookies call them.
    tags: HashMap<Box<str>, EndpointId>,
    members: Members,
    balance: tidegate_governor::Balance,
    configured: Vec<EndpointId>,
    retries: usize,
    /// What endpoints announce counts.
    heeds_endpoints: bool,
    waiting: HashMap<Ticket, Waiter>,
    /// What each route has of them.
    parked: HashMap<String, Parking>,
    /// When the clockwork will look at it by itself.
    armed: Option<Instant>,
}

/// A client that waits for the governor's word.
struct Waiter {
    tell: oneshot::Sender<Parked>,
    route: Arc<Route>,
    bytes: u32,
}

/// The clients of a route that wait, and what is held for them.
#[derive(Clone, Copy, Default)]
struct Parking {
    clients: u32,
    bytes: u64,
}

impl Inner {
    fn stand_by(&mut self, now: Instant) -> bool {
        let Self { governor, endpoints, members, .. } = self;
        members.stand_by(|server, at| {
            let known = endpoints.iter().find(|(_, known)| known.server == *server && known.at == Some(at));
            // One that is new is well until it shows otherwise.
            known.is_none_or(|(id, _)| governor.is_well(*id, now))
        })
    }

    fn start_waiting(&mut self, ticket: Ticket, waiter: Waiter) {
        let parked = self.parked.entry(waiter.route.name.clone()).or_default();
        parked.clients += 1;
        parked.bytes += u64::from(waiter.bytes);
        self.waiting.insert(ticket, waiter);
    }

    fn parking(&self, route: &Route) -> Parking {
        self.parked.get(&route.name).copied().unwrap_or_default()
    }

    /// The limit beyond which one more waits of this route than did before. (Those above a limit that was lowered keep
    /// their places.)
    fn exceeded(&self, route: &Route, before: Parking) -> Option<&'static str> {
        let parked = self.parking(route);
        if parked.clients > route.max_waiting.max(before.clients) {
            return Some("max_waiting");
        }
        (parked.bytes > route.max_waiting_bytes.max(before.bytes)).then_some("max_waiting_bytes")
    }

    fn stop_waiting(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.waiting.remove(&ticket)?;
        if let Some(parked) = self.parked.get_mut(&waiter.route.name) {
            parked.clients = parked.clients.saturating_sub(1);
            parked.bytes = parked.bytes.saturating_sub(waiter.bytes.into());
        }
        Some(waiter)
    }
}

impl Capacity {
    /// The governor of this upstream, as configured. Its time is kept on the runtime that this is called on.
    pub(crate) fn start(upstream: &Upstream, routes: &[Arc<Route>], metrics: Arc<Metrics>) -> Arc<Self> {
        let seed = u64::from(crate::random()) << 32 | u64::from(crate::random());
        let governor = Governor::new(upstream.capacity.clone(), seed);
        let inner = Inner {
            governor,
            endpoints: HashMap::new(),
            tags: HashMap::new(),
            members: Members::default(),
            balance: tidegate_governor::Balance::default(),
            configured: Vec::new(),
            retries: 0,
            heeds_endpoints: true,
            waiting: HashMap::new(),
            parked: HashMap::new(),
            armed: None,
        };
        let capacity = Arc::new(Self {
            inner: Mutex::new(inner),
            sooner: Arc::default(),
            clockwork: OnceLock::new(),
            attendants: Mutex::default(),
            changed: watch::Sender::new(()),
            name: upstream.name.clone(),
            metrics,
        });
        capacity.configure(upstream, routes);
        let keeper = tokio::spawn(keep_time(Arc::downgrade(&capacity), capacity.sooner.clone()));
        let _ = capacity.clockwork.set(keeper.into());
        capacity
    }

    /// A reload: new limits, new endpoints; what stays keeps its counts.
    pub(crate) fn configure(&self, upstream: &Upstream, routes: &[Arc<Route>]) {
        let now = clock::now();
        let mut limits = upstream.capacity.clone();
        // Each of its routes holds its own clients to its own bounds: the governor's are those of all together.
        let routes = || routes.iter().filter(|route| route.upstream == upstream.name);
        limits.max_waiting = routes().fold(0, |sum: u32, route| sum.saturating_add(route.max_waiting));
        limits.max_waiting_bytes = routes().fold(0, |sum: u64, route| sum.saturating_add(route.max_waiting_bytes));
        limits.queue_timeout = routes().map(|route| route.queue_timeout).max().unwrap_or(limits.queue_timeout);
        limits.spread = routes().map(|route| route.spread).max().unwrap_or(limits.spread);
        limits.retry_after = routes().map(|route| route.retry_after).min().unwrap_or(limits.retry_after);
        let mut inner = self.lock();
        inner.balance = match upstream.balance {
            Balance::LeastSessions | Balance::Hash => tidegate_governor::Balance::LeastSessions,
            Balance::PowerOfTwo => tidegate_governor::Balance::PowerOfTwo,
            Balance::RoundRobin => tidegate_governor::Balance::RoundRobin,
        };
        inner.governor.set_limits(limits, now);
        inner.governor.set_slow_start(upstream.slow_start);
        inner.retries = upstream.retries as usize;
        inner.heeds_endpoints = upstream.announced_capacity;
        if !upstream.announced_capacity {
            for id in inner.configured.clone() {
                inner.governor.announce(id, None, now);
            }
        }
        inner.members.configure(upstream);
        self.place(&mut inner, now);
    }

    /// What a name has been found to lead to. Returns the addresses that it does no longer.
    pub(crate) fn resolved(&self, server: &ServerAddress, answer: &[Located]) -> Vec<SocketAddr> {
        let now = clock::now();
        let mut inner = self.lock();
        let gone = inner.members.answered(server, answer);
        inner.stand_by(now);
        self.place(&mut inner, now);
        gone
    }

    /// Has those who stand by take clients, or no longer, as the others are well.
    fn relieve(&self, inner: &mut Inner, now: Instant) {
        if inner.members.have_standbys && inner.stand_by(now) {
            self.place(inner, now);
        }
    }

    /// Makes the governor's endpoints what the members are now.
    fn place(&self, inner: &mut Inner, now: Instant) {
        let members = inner.members.list();
        let keys: Vec<String> = members.iter().map(|(endpoint, _)| endpoint.to_string()).collect();
        let endpoints: Vec<(&str, u32)> =
            keys.iter().zip(&members).map(|(key, (_, weight))| (key.as_str(), *weight)).collect();
        let ids = inner.governor.set_endpoints(&endpoints, inner.balance, now);
        let Inner { governor, endpoints, tags, configured, .. } = inner;
        let same = *configured == ids;
        tags.clear();
        for (id, (endpoint, _)) in ids.iter().zip(members) {
            tags.insert(endpoint.tag.clone(), *id);
            if endpoints.get(id).is_none_or(|known| **known != endpoint) {
                endpoints.insert(*id, Arc::new(endpoint));
            }
        }
        endpoints.retain(|id, _| governor.knows(*id));
        *configured = ids;
        self.settle(inner, now);
        if !same {
            self.changed.send_replace(());
        }
    }

    /// Has these tasks done until the next reload, or as long as the upstream is configured.
    pub(crate) fn attend(&self, attendants: Vec<Task>) {
        *self.attendants.lock().unwrap_or_else(PoisonError::into_inner) = attendants;
    }

    /// The endpoints as they are now.
    pub(crate) fn endpoints(&self) -> Vec<(EndpointId, Arc<Endpoint>)> {
        let inner = self.lock();
        inner.configured.iter().filter_map(|id| Some((*id, inner.endpoints.get(id)?.clone()))).collect()
    }

    /// Says when they are others.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// What a health check has found.
    pub(crate) fn set_health(&self, id: EndpointId, up: bool) {
        let now = clock::now();
        let mut inner = self.lock();
        inner.governor.set_health(id, up, now);
        self.relieve(&mut inner, now);
        self.settle(&mut inner, now);
    }

    /// What the last health check has found.
    pub(crate) fn is_up(&self, id: EndpointId) -> bool {
        self.snapshot().endpoints.iter().all(|endpoint| endpoint.id != id || !endpoint.down)
    }

    /// An endpoint for what is no session and needs no permit; none of those in `tried`, and none when those are as
    /// many as may be.
    pub(crate) fn choose(&self, tried: &[EndpointId], wish: Wish) -> Option<(EndpointId, Arc<Endpoint>)> {
        let mut inner = self.lock();
        if tried.len() > inner.retries {
            return None;
        }
        let now = clock::now();
        self.relieve(&mut inner, now);
        let id = inner.governor.suggest(tried, wish, now)?;
        Some((id, inner.endpoints.get(&id)?.clone()))
    }

    /// The endpoint that a sticky cookie calls so.
    pub(crate) fn tagged(&self, tag: &str) -> Option<EndpointId> {
        self.lock().tags.get(tag).copied()
    }

    /// An endpoint rests, for what it did to a client.
    fn rests(&self, endpoint: &Endpoint, outcome: Outcome) {
        let cause = match outcome {
            Outcome::Overloaded { .. } => "overload",
            Outcome::ConnectFailed => "connect",
            Outcome::TimedOut => "timeout",
            _ => "failure",
        };
        tracing::debug!(upstream = self.name, %endpoint, cause, "endpoint rests");
        self.metrics.upstream_rests.with_label_values(&[self.name.as_str(), cause]).inc();
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.lock().governor.snapshot(clock::now())
    }

    /// What went through its sessions in the last second.
    pub(crate) fn carry(&self, traffic: Traffic) {
        let now = clock::now();
        let mut inner = self.lock();
        inner.governor.carries(traffic, now);
        self.settle(&mut inner, now);
    }

    /// How many endpoints there should be, and why.
    pub(crate) fn advice(&self) -> Option<Advice> {
        self.lock().governor.advise(None, BACK_WITHIN, clock::now())
    }

    /// Hands out what the governor decided, and sees when it will next have something to say.
    fn settle(&self, inner: &mut Inner, now: Instant) {
        while let Some(Event { ticket, verdict }) = inner.governor.poll_event(now) {
            let unheard = match inner.stop_waiting(ticket) {
                Some(client) => client.tell.send(verdict).err(),
                None => Some(verdict),
            };
            if let Some(Parked::Admit(permit)) = unheard {
                // Its client left at this very moment.
                inner.governor.release(permit, now);
            }
        }
        // Time brings news to parked clients alone: without any, nobody needs to be woken for it.
        let next = if inner.waiting.is_empty() { None } else { inner.governor.poll_timeout() };
        // One that is woken too early asks again. To put its time off would have it woken for each client that comes.
        if next.is_some_and(|next| inner.armed.is_none_or(|armed| next < armed)) {
            inner.armed = next;
            self.sooner.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers parked clients when their time comes.
async fn keep_time(capacity: Weak<Capacity>, sooner: Arc<Notify>) {
    loop {
        let Some(next) = capacity.upgrade().map(|capacity| capacity.lock().armed) else { return };
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {
                let Some(capacity) = capacity.upgrade() else { return };
                let mut inner = capacity.lock();
                inner.armed = None;
                capacity.settle(&mut inner, clock::now());
            }
            () = sooner.notified() => {}
        }
    }
}
