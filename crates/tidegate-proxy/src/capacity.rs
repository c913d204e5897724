//! The governor with its clock, its lock and its timer: who may dial an upstream, and who waits.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::{Duration, Instant},
};

use tidegate_config::{Balance, Route, ServerAddress, Upstream};
use tidegate_governor::{
    Advice, Ask, EndpointId, Event, Governor, Outcome, Parked, Permit, Reason, Refusal, Snapshot, Ticket, Traffic,
    Verdict, Wish,
};
use tidegate_session::Hold;
use tokio::sync::{Notify, oneshot, watch};

use crate::{
    announced::Announced,
    clock,
    endpoint::Endpoint,
    members::{Located, Members},
    metrics::Metrics,
    task::Task,
};

/// How long beyond its deadline a parked client waits for its answer.
const SLACK: Duration = Duration::from_millis(500);
/// The sessions of an endpoint that is lost should be back by then, for the advice on how many there should be.
const BACK_WITHIN: Duration = Duration::from_secs(120);
/// What it is told then.
const OVERDUE: Refusal = Refusal { reason: Reason::Overload, retry_after: 1 };

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
    /// How many of them came by each route.
    parked: HashMap<String, u32>,
    armed: Option<Instant>,
}

/// A client that waits for the governor's word.
struct Waiter {
    tell: oneshot::Sender<Parked>,
    route: Arc<Route>,
}

/// A place with an endpoint: for a handshake, then for its session. It comes back when this is dropped.
pub(crate) struct Slot {
    capacity: Arc<Capacity>,
    permit: Option<Permit>,
    id: EndpointId,
    endpoint: Arc<Endpoint>,
    stage: Stage,
}

/// How far the holder of a slot has come. As small as an `Instant`: each session has one.
enum Stage {
    /// A handshake, since then.
    Handshake(Instant),
    /// A session of a client of this address; 0: of none that is known.
    Session(u64),
}

/// One client's way in: what it has tried, and how long it may wait in all.
pub(crate) struct Admission {
    capacity: Arc<Capacity>,
    route: Arc<Route>,
    /// But for what it has tried.
    ask: Ask<'static>,
    tried: Vec<EndpointId>,
    deadline: Instant,
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
        let sooner = next.is_some_and(|next| inner.armed.is_none_or(|armed| next < armed || armed <= now));
        inner.armed = next;
        if sooner {
            self.sooner.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn stop_waiting(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.waiting.remove(&ticket)?;
        if let Some(parked) = self.parked.get_mut(&waiter.route.name) {
            *parked = parked.saturating_sub(1);
        }
        Some(waiter)
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
                capacity.settle(&mut capacity.lock(), clock::now());
            }
            () = sooner.notified() => {}
        }
    }
}

impl Admission {
    /// `patient`: the client may be parked, for as long as its route says.
    pub(crate) fn new(capacity: Arc<Capacity>, route: &Arc<Route>, ask: Ask<'static>, patient: bool) -> Self {
        // Drawn, so that those who came together do not all leave together.
        let share = 0.8 + 0.2 * f64::from(crate::random()) / f64::from(u32::MAX);
        let wait = if patient { route.queue_timeout.mul_f64(share) } else { Duration::ZERO };
        Self { capacity, route: route.clone(), ask, tried: Vec::new(), deadline: clock::now() + wait }
    }

    /// A place to dial, perhaps after a wait. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// There is none for this client, and when it may come back.
    pub(crate) async fn next(&mut self) -> Result<Slot, Refusal> {
        let mut place = {
            let now = clock::now();
            let mut inner = self.capacity.lock();
            self.capacity.relieve(&mut inner, now);
            let ask = Ask { tried: &self.tried, deadline: Some(self.deadline), ..self.ask };
            let (ticket, until) = match inner.governor.admit(ask, now) {
                Verdict::Admit(permit) => {
                    self.capacity.settle(&mut inner, now);
                    return Ok(self.slot(&inner, permit, now));
                }
                Verdict::Refuse(refusal) => {
                    self.capacity.settle(&mut inner, now);
                    return Err(refusal);
                }
                Verdict::Wait(ticket, until) => (ticket, until),
            };
            self.deadline = until;
            let (tell, answer) = oneshot::channel();
            *inner.parked.entry(self.route.name.clone()).or_default() += 1;
            inner.waiting.insert(ticket, Waiter { tell, route: self.route.clone() });
            // One of the same route may have to give way to this one.
            self.capacity.settle(&mut inner, now);
            if inner.parked.get(&self.route.name).is_some_and(|parked| *parked > self.route.max_waiting)
                && inner.stop_waiting(ticket).is_some()
            {
                inner.governor.cancel(ticket, now);
                let retry_after = inner.governor.hint(now);
                self.capacity.settle(&mut inner, now);
                return Err(Refusal { reason: Reason::QueueFull, retry_after });
            }
            Place { capacity: self.capacity.clone(), ticket, answer }
        };
        // The governor answers by the deadline; should it ever not, nobody waits on.
        let answer = tokio::time::timeout_at((self.deadline + SLACK).into(), &mut place.answer).await;
        match answer.unwrap_or(Ok(Parked::Refuse(OVERDUE))) {
            Ok(Parked::Admit(permit)) => Ok(self.slot(&self.capacity.lock(), permit, clock::now())),
            Ok(Parked::Refuse(refusal)) => Err(refusal),
            // The upstream is no longer configured.
            Err(_) => Err(Refusal { reason: Reason::NoUpstream, retry_after: 1 }),
        }
    }

    /// The endpoint of this slot could not take the client: another may.
    pub(crate) fn failed(&mut self, mut slot: Slot, outcome: Outcome) {
        if let Some(permit) = &slot.permit {
            self.tried.push(permit.endpoint);
        }
        slot.observe(outcome);
    }

    /// Whether every endpoint has been tried, or as many as may be.
    pub(crate) fn is_exhausted(&self) -> bool {
        let inner = self.capacity.lock();
        self.tried.len() > inner.retries || inner.configured.iter().all(|id| self.tried.contains(id))
    }

    /// Holds a client that no endpoint will take to the end of its wait: the wait is the pace.
    pub(crate) async fn wait_out(&mut self, floor: u32) -> Refusal {
        tokio::time::sleep_until(self.deadline.into()).await;
        let hint = self.capacity.lock().governor.hint(clock::now());
        Refusal { reason: Reason::UpstreamOverloaded, retry_after: hint.max(floor) }
    }

    fn slot(&self, inner: &Inner, permit: Permit, now: Instant) -> Slot {
        let (id, endpoint) = (permit.endpoint, inner.endpoints[&permit.endpoint].clone());
        Slot { capacity: self.capacity.clone(), permit: Some(permit), id, endpoint, stage: Stage::Handshake(now) }
    }
}

/// A place in the queue, given up when its client leaves.
struct Place {
    capacity: Arc<Capacity>,
    ticket: Ticket,
    answer: oneshot::Receiver<Parked>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = clock::now();
        let mut inner = self.capacity.lock();
        if inner.stop_waiting(self.ticket).is_some() {
            inner.governor.cancel(self.ticket, now);
        } else if let Ok(Parked::Admit(permit)) = self.answer.try_recv() {
            // It was let in at the very moment it left.
            inner.governor.release(permit, now);
        }
        self.capacity.settle(&mut inner, now);
    }
}

impl Slot {
    pub(crate) fn id(&self) -> EndpointId {
        self.id
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The handshake succeeded: the place is a session's now, of a client of this address. How long it took.
    pub(crate) fn established(&mut self, address: Option<u64>) -> Duration {
        let session = Stage::Session(address.unwrap_or_default());
        let Stage::Handshake(dialled) = std::mem::replace(&mut self.stage, session) else { return Duration::ZERO };
        let latency = clock::now().saturating_duration_since(dialled);
        self.observe(Outcome::Established { latency });
        latency
    }

    /// Its endpoint ended its session with 1013.
    pub(crate) fn overfull(&self, now: Instant) {
        let (Some(permit), Stage::Session(address)) = (&self.permit, &self.stage) else { return };
        self.capacity.lock().governor.overfull(permit, *address, now);
    }

    /// The handshake did not succeed.
    pub(crate) fn observe(&mut self, outcome: Outcome) {
        let now = clock::now();
        let mut inner = self.capacity.lock();
        let Some(permit) = &mut self.permit else { return };
        let rests = inner.governor.observe(permit, outcome, now);
        self.capacity.settle(&mut inner, now);
        drop(inner);
        if rests {
            self.capacity.rests(&self.endpoint, outcome);
        }
    }

    /// What its endpoint has said of itself in its answer. Only a 101 says that there is nothing to be said.
    pub(crate) fn announced(&self, said: Announced) {
        let now = clock::now();
        let mut inner = self.capacity.lock();
        if !inner.heeds_endpoints {
            return;
        }
        let result = match said {
            Announced::Nothing => {
                inner.governor.announce(self.id, None, now);
                None
            }
            Announced::Sessions(sessions) => {
                inner.governor.announce(self.id, Some(sessions), now);
                Some("ok")
            }
            Announced::Used(part) => {
                inner.governor.announce_used(self.id, part, now);
                Some("ok")
            }
            Announced::Malformed => Some("malformed"),
        };
        self.capacity.settle(&mut inner, now);
        if let Some(result) = result {
            self.capacity.metrics.announcements.with_label_values(&[self.capacity.name.as_str(), result]).inc();
        }
    }

    /// How long a client is held whose upstream was lost, and when it may come back.
    pub(crate) fn pace(&self, now: Instant) -> Hold {
        let mut inner = self.capacity.lock();
        let Some(permit) = &self.permit else { return Hold { delay: Duration::ZERO, retry_after: 1 } };
        let delay = inner.governor.pace(permit.endpoint, now);
        Hold { delay, retry_after: inner.governor.hint(now) }
    }

    /// Whether its endpoint's address was found to be nobody's, or another's, after it was dialled.
    pub(crate) fn is_gone(&self) -> bool {
        self.endpoint.at.is_some() && !self.capacity.lock().configured.contains(&self.id)
    }

    /// When a client may come back, in seconds.
    pub(crate) fn hint(&self, now: Instant) -> u32 {
        self.capacity.lock().governor.hint(now)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let now = clock::now();
        let mut inner = self.capacity.lock();
        inner.governor.release(permit, now);
        self.capacity.settle(&mut inner, now);
    }
}
