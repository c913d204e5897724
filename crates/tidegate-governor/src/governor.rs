//! The governor itself: counts, and the order in which the parts are asked.

use std::time::{Duration, Instant};

use crate::{
    Admitted, Advice, Ask, Balance, CLASSES, ClassUse, EndpointId, Event, Limits, Mode, Need, Outcome, Parked, Permit,
    Reason, Refusal, Refused, Snapshot, Ticket, Traffic, Verdict, Wish,
    admission::Stage,
    advice::{advise, grouped},
    fair,
    fleet::Fleet,
    hint::Hints,
    holders::{HolderId, Holders},
    meter::Highest,
    queue::{Newcomer, Queue, Whose},
    returns::Returns,
    rng::Rng,
};

/// Why a client does not enter, and by which limit.
type Why = (Reason, Option<&'static str>);

const MAX_WAITING: &str = "max_waiting";

/// One upstream's governor; the caller holds it in a mutex and calls it on handshakes and session ends only (never
/// per message).
///
/// After every call the caller drains [`poll_event`](Self::poll_event) until it says `None`, then arms one timer for
/// [`poll_timeout`](Self::poll_timeout) and drains again when it fires. Time must not run backwards; where it does,
/// the governor takes no time to have passed. All it allocates in the steady state is the place of a parked client.
///
/// In [`Mode::Observe`] nobody waits for a limit: who would have been parked or refused is
/// admitted and counted. Only a client that every endpoint has turned away already, or one for whom no endpoint is
/// configured, is parked and refused as usual, since there is nowhere to send it.
#[derive(Debug)]
pub struct Governor {
    limits: Limits,
    fleet: Fleet,
    traffic: Traffic,
    queue: Queue,
    holders: Holders,
    /// Who gave its place to another, and has not been told.
    displaced: Vec<Event>,
    hints: Hints,
    returns: Returns,
    rng: Rng,
    peak: Highest,
    issued: u64,
    returned: u64,
    /// Permits out, by class.
    live: [u32; CLASSES],
    admitted: Admitted,
    refused: Refused,
    cancelled: u64,
    /// When the events were last drained: what ended before has been acted on.
    drained_at: Option<Instant>,
}

impl Governor {
    /// Without endpoints it parks everybody; see [`set_endpoints`](Self::set_endpoints). The seed decides every draw.
    pub fn new(limits: Limits, seed: u64) -> Self {
        let mut queue = Queue::default();
        queue.set_shares(&limits.shares);
        queue.set_max_tenants(limits.max_tenants);
        let mut holders = Holders::default();
        holders.set_max_tenants(limits.max_tenants);
        Self {
            limits,
            fleet: Fleet::default(),
            traffic: Traffic::default(),
            queue,
            holders,
            displaced: Vec::new(),
            hints: Hints::new(),
            returns: Returns::default(),
            rng: Rng::new(seed),
            peak: Highest::default(),
            issued: 0,
            returned: 0,
            live: [0; CLASSES],
            admitted: Admitted::default(),
            refused: Refused::default(),
            cancelled: 0,
            drained_at: None,
        }
    }

    /// Live-reloadable. Clients parked already keep their deadlines and their places, even above a lower `max_waiting` or
    /// `max_waiting_bytes`; sessions above a lower limit live on, and nobody enters until there are fewer.
    pub fn set_limits(&mut self, limits: Limits, now: Instant) {
        self.queue.measure(now);
        self.queue.set_shares(&limits.shares);
        self.fleet.look_again();
        self.queue.set_max_tenants(limits.max_tenants);
        self.holders.set_max_tenants(limits.max_tenants);
        self.limits = limits;
    }

    /// The endpoints now configured, by the caller's own key (address text) and weight; returns ids in the same order.
    ///
    /// An endpoint that stays keeps its id, its counts and what was learned about it. One that goes away is only
    /// counted down; if it comes back before its last permit does, it is the same endpoint again. Weight 0: it stays,
    /// but takes no new client. A key named twice is one endpoint with the last weight.
    pub fn set_endpoints(&mut self, endpoints: &[(&str, u32)], balance: Balance, now: Instant) -> Vec<EndpointId> {
        self.queue.measure(now);
        self.fleet.balancer.rule = balance;
        self.fleet.configure(endpoints, now)
    }

    /// How long the share of an endpoint that is new, or up again, grows from a tenth to the whole. `None`: it has its
    /// whole share at once. Endpoints that all begin together share as ever.
    pub fn set_slow_start(&mut self, slow_start: Option<Duration>) {
        self.fleet.set_slow_start(slow_start);
    }

    /// What somebody who asks this endpoint regularly has found. One that is down takes no new client; what it holds
    /// it keeps. Every endpoint begins as one that is up.
    pub fn set_health(&mut self, endpoint: EndpointId, up: bool, now: Instant) {
        self.queue.measure(now);
        self.fleet.set_health(endpoint, up, now);
    }

    /// Whether this endpoint is configured, or holds permits still.
    pub fn knows(&self, endpoint: EndpointId) -> bool {
        self.fleet.endpoints.binary_search_by_key(&endpoint, |e| e.id).is_ok()
    }

    /// Whether an endpoint can be believed to be there: no health check has found it down, and it does not rest.
    pub fn is_well(&self, endpoint: EndpointId, now: Instant) -> bool {
        let found = self.fleet.endpoints.binary_search_by_key(&endpoint, |e| e.id);
        found.is_ok_and(|i| self.fleet.endpoints[i].is_well(&self.limits, now))
    }

    /// An endpoint for what is no session, such as a plain request: nothing is counted and no limit applies, so it is
    /// drawn, better where there are fewer sessions, and not simply the emptiest, which would get them all. One that
    /// rests only when all do; none of those in `tried`.
    pub fn suggest(&mut self, tried: &[EndpointId], wish: Wish, now: Instant) -> Option<EndpointId> {
        self.fleet.suggest(tried, wish, now, &mut self.rng)
    }

    /// A client asks to enter. A client that asks again after an endpoint turned it away has released that permit
    /// first, else it stands in its own way.
    pub fn admit(&mut self, ask: Ask<'_>, now: Instant) -> Verdict {
        self.queue.measure(now);
        self.holders.measure(now);
        let holder = self.holders.known_as(ask.class, ask.tenant);
        if ask.tried.is_empty() {
            self.hints.on_arrived(now);
            self.holders.comes(holder);
        }
        if !self.queue.goes_before_newcomers()
            && !self.is_shut(now)
            && (self.holders.is_first(holder)
                || self.sessions_left(now).is_none_or(|left| self.holders.may_enter(holder, left)))
            && let Some(endpoint) = self.fleet.find(ask.tried, ask.wish, &self.limits, now, &mut self.rng).map(|e| e.id)
        {
            self.admitted.direct += 1;
            return Verdict::Admit(self.issue(endpoint, ask.class, holder, now));
        }
        if let Some(endpoint) = self.find_regardless(ask.tried, ask.wish, now) {
            self.refused.count(self.obstacle(now).0);
            self.admitted.observed += 1;
            return Verdict::Admit(self.issue(endpoint, ask.class, holder, now));
        }
        let wait = self.limits.queue_timeout;
        let latest = now + self.rng.scale(wait, 1.0, 1.0);
        let deadline = ask.deadline.unwrap_or_else(|| now + self.rng.scale(wait, 0.8, 1.0)).min(latest);
        if deadline <= now {
            let why = self.obstacle(now);
            return Verdict::Refuse(self.refuse(why, ask.address, holder, now));
        }
        // Those above a limit that was lowered keep their places: as much gives way as comes.
        let (clients, bytes) = (self.queue.len(), self.queue.bytes());
        while let Some(limit) = self.queue_full(ask.bytes)
            && match limit {
                MAX_WAITING => self.queue.len() == clients,
                _ => bytes - self.queue.bytes() < u64::from(ask.bytes),
            }
        {
            let why = (Reason::QueueFull, Some(limit));
            let Some(displaced) = self.gives_way(&ask) else {
                return Verdict::Refuse(self.refuse(why, ask.address, holder, now));
            };
            let refusal = self.refuse_parked(displaced, why, now);
            self.displaced.push(Event { ticket: displaced, verdict: Parked::Refuse(refusal) });
        }
        let lane = ask.address.map_or(0, |address| self.returns.lane(address, now));
        let Ask { class, tenant, tried, wish, bytes, address, .. } = ask;
        self.holders.waits(holder);
        let newcomer = Newcomer { class, tenant, holder, lane, address, tried, wish, bytes, deadline };
        Verdict::Wait(self.queue.park(newcomer, now), deadline)
    }

    /// A parked client went away. Of no effect once its [`Event`] has been given out: a permit in it must be released.
    pub fn cancel(&mut self, ticket: Ticket, now: Instant) {
        self.queue.measure(now);
        let holder = self.queue.holder(ticket);
        if self.queue.remove(ticket) {
            self.cancelled += 1;
            self.holders.waits_no_more(holder);
        }
    }

    /// How the handshake of this permit went, once per permit. Whether its endpoint begins a rest for it.
    ///
    /// `Established` keeps the permit as a session; any other outcome ends the handshake and the permit must then be
    /// released. Until then it counts as a handshake in flight: hold it as long as the endpoint may be at work on it,
    /// for a cancelled dial until its socket is closed.
    pub fn observe(&mut self, permit: &mut Permit, outcome: Outcome, now: Instant) -> bool {
        self.queue.measure(now);
        debug_assert_eq!(permit.stage, Stage::Handshake, "a handshake goes one way, once");
        let Some(endpoint) = self.fleet.get(permit.endpoint) else { return false };
        if permit.stage != Stage::Handshake {
            return false;
        }
        let established = matches!(outcome, Outcome::Established { .. });
        permit.stage = if established { Stage::Session } else { Stage::Ended };
        let rests = endpoint.on_outcome(outcome, permit.serial, self.issued, &self.limits, now, &mut self.rng);
        let until = endpoint.rest_ends();
        if rests {
            self.fleet.on_rest(until);
        }
        rests
    }

    /// The permit comes back: its session or handshake is over.
    pub fn release(&mut self, permit: Permit, now: Instant) {
        self.queue.measure(now);
        self.returns.forget_if_old(now);
        self.returned += 1;
        let live = &mut self.live[fair::index(permit.class)];
        *live = live.saturating_sub(1);
        match self.fleet.get(permit.endpoint) {
            Some(endpoint) => endpoint.on_release(permit.serial, permit.stage == Stage::Session),
            None => debug_assert!(false, "a permit of another governor"),
        }
        self.fleet.forget_if_spent(permit.endpoint);
        self.holders.gives_back(permit.holder);
    }

    /// A session of this endpoint just lost its upstream, or is to be ended for a cause shared by many: how long its
    /// client leg is held, at most `spread`. Ask before releasing its permit, so that it is counted among the held.
    pub fn pace(&mut self, endpoint: EndpointId, now: Instant) -> Duration {
        let Some(held) = self.fleet.get(endpoint).map(|e| e.sessions) else { return Duration::ZERO };
        // A tenth less than their best: clients that come for the first time come beside these.
        let survivors = 0.9 * self.fleet.survivors(endpoint, held, &self.limits, now);
        let Some(endpoint) = self.fleet.get(endpoint) else { return Duration::ZERO };
        endpoint.pacer.pace(held, survivors, self.limits.spread, now)
    }

    /// The hint for a client that is told to come back after its session ended: whole seconds, already jittered,
    /// at least `retry_after` rounded up. Each call counts one client as about to come back.
    pub fn hint(&mut self, now: Instant) -> u32 {
        self.draw_hint(now)
    }

    /// Parked clients whose wait is over, one way or the other; call until `None` after every other call.
    pub fn poll_event(&mut self, now: Instant) -> Option<Event> {
        self.queue.measure(now);
        self.holders.measure(now);
        if let Some(displaced) = self.displaced.pop() {
            return Some(displaced);
        }
        if let Some((ticket, endpoint)) = self.next_admission(now) {
            let (class, holder) = (self.queue.class(ticket), self.queue.holder(ticket));
            self.queue.serve(ticket);
            self.admitted.parked += 1;
            let permit = self.issue(endpoint, class, holder, now);
            self.holders.waits_no_more(holder);
            return Some(Event { ticket, verdict: Parked::Admit(permit) });
        }
        if let Some(ticket) = self.queue.expired(now) {
            let why = self.obstacle(now);
            return Some(Event { ticket, verdict: Parked::Refuse(self.refuse_parked(ticket, why, now)) });
        }
        self.drained_at = Some(now);
        None
    }

    /// When to drain [`poll_event`](Self::poll_event) even if nothing happens; `None` while nobody is parked.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.queue.next_deadline()?;
        Some(self.fleet.next_rest_end(self.drained_at).map_or(deadline, |end| end.min(deadline)))
    }

    /// This endpoint said itself how many sessions it can hold; `None` takes it back. A declared number outranks it.
    pub fn announce(&mut self, endpoint: EndpointId, sessions: Option<u32>, now: Instant) {
        self.queue.measure(now);
        if let Some(endpoint) = self.fleet.get(endpoint) {
            endpoint.stock.announce(sessions);
        }
    }

    /// This endpoint said itself which part of what it can take is used, 0 to 1 or more: from 0.7 on that tells how many
    /// sessions it can hold, by those that it holds now. Believed for a minute: load passes while sessions stay.
    pub fn announce_used(&mut self, endpoint: EndpointId, part: f64, now: Instant) {
        self.queue.measure(now);
        if let Some(endpoint) = self.fleet.get(endpoint) {
            let held = endpoint.sessions;
            endpoint.stock.announce_used(held, part, now);
        }
    }

    /// The endpoint ended the session of this permit with 1013. Where it says so to enough clients, of different
    /// addresses (as in [`Ask::address`]), it holds more than it can, and is given fewer. Said before the permit is
    /// released.
    pub fn overfull(&mut self, permit: &Permit, address: u64, now: Instant) {
        self.queue.measure(now);
        if let Some(endpoint) = self.fleet.get(permit.endpoint) {
            endpoint.stock.on_overfull(address, endpoint.sessions, permit.serial, self.issued, now);
        }
    }

    /// What goes through all sessions, as last measured. Nobody enters while it is more than the limits allow.
    pub fn carries(&mut self, traffic: Traffic, now: Instant) {
        self.queue.measure(now);
        self.traffic = traffic;
    }

    /// How many endpoints there should be, by the most sessions of the last ten minutes. `zones`: failure domains they
    /// are spread over; `within`: how soon the sessions of one must be back.
    pub fn advise(&self, zones: Option<u32>, within: Duration, now: Instant) -> Option<Advice> {
        let (endpoints, sessions_per_endpoint, rate_per_endpoint) = self.fleet.mean(&self.limits, now);
        let sessions = (self.peak.get(now) as u32).max(self.live());
        advise(&Need { sessions, sessions_per_endpoint, rate_per_endpoint, endpoints, zones, within })
    }

    /// For metrics and the operator.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        Snapshot {
            endpoints: self.fleet.endpoints.iter().map(|e| e.snapshot(&self.limits, now)).collect(),
            live: self.live(),
            waiting: u32::try_from(self.queue.len()).unwrap_or(u32::MAX),
            waiting_bytes: self.queue.bytes(),
            max_waiting: self.limits.max_waiting,
            max_waiting_bytes: self.limits.max_waiting_bytes,
            overloaded: self.queue.overloaded(),
            issued: self.issued,
            returned: self.returned,
            traffic: self.traffic,
            tenants: u32::try_from(self.queue.tenants()).unwrap_or(u32::MAX),
            classes: std::array::from_fn(|i| ClassUse { live: self.live[i], waiting: self.queue.by_class()[i] }),
            admitted: self.admitted,
            refused: self.refused,
            cancelled: self.cancelled,
            shed: self.queue.shed_total(),
            refuses: self.refuses(now),
        }
    }

    fn live(&self) -> u32 {
        u32::try_from(self.issued - self.returned).unwrap_or(u32::MAX)
    }

    fn refuses(&self, now: Instant) -> Option<String> {
        if let Some(most) = self.limits.max_sessions.filter(|&most| self.live() >= most) {
            let (held, most) = (grouped(self.live().into()), grouped(most.into()));
            return Some(format!("sessions over all endpoints: {held} held, {most} possible (declared)"));
        }
        if let Some(why) = self.traffic.refuses(&self.limits) {
            return Some(why);
        }
        let configured = self.fleet.endpoints.iter().filter(|e| !e.gone && e.weight > 0);
        let each: Vec<Option<String>> = configured.map(|e| e.refuses(&self.limits, now)).collect();
        if each.iter().any(Option::is_none) {
            return None;
        }
        let first = each.iter().flatten().next();
        Some(first.map_or("no endpoint is configured".into(), |first| match each.len() {
            0 | 1 => first.clone(),
            n => format!("all {n} endpoints, the first: {first}"),
        }))
    }

    /// The limit by which nobody can enter, whatever the endpoints could take.
    fn full(&self) -> Option<&'static str> {
        let sessions = self.limits.max_sessions.is_some_and(|max| self.live() >= max);
        if sessions { Some("max_sessions") } else { self.traffic.exceeds(&self.limits) }
    }

    fn is_full(&self) -> bool {
        self.full().is_some()
    }

    /// Whether it is known without a look at the endpoints that nobody can enter now.
    fn is_shut(&self, now: Instant) -> bool {
        self.fleet.is_known_full(now) || self.is_full()
    }

    /// Sessions that there is room for; `None`: there is no limit, or it is not heeded.
    fn sessions_left(&self, now: Instant) -> Option<u32> {
        if self.limits.mode == Mode::Observe {
            return None;
        }
        let declared = self.limits.max_sessions.map(|most| most.saturating_sub(self.live()));
        self.fleet.sessions_left(&self.limits, now).into_iter().chain(declared).min()
    }

    fn find_regardless(&mut self, tried: &[EndpointId], wish: Wish, now: Instant) -> Option<EndpointId> {
        self.fleet.find_regardless(tried, wish, &self.limits, now, &mut self.rng).map(|e| e.id)
    }

    /// Who goes next, and where to, if there is room.
    fn next_admission(&mut self, now: Instant) -> Option<(Ticket, EndpointId)> {
        // As it mostly is.
        if self.queue.len() == 0 {
            return None;
        }
        let shut = self.is_shut(now);
        if shut && self.limits.mode == Mode::Enforce {
            return None;
        }
        let left = if self.holders.has_rivals() { self.sessions_left(now) } else { None };
        let Self { limits, fleet, queue, rng, holders, .. } = self;
        let (ticket, tried, wish) = queue.head(|class| match left {
            Some(left) if holders.is_contested(class, left) => {
                let first = holders.first(class, left);
                first.map_or(Whose::Nobody, |first| Whose::Tenant(holders.tenant(first)))
            }
            _ => Whose::Turn,
        })?;
        let found = if shut { None } else { fleet.find(tried, wish, limits, now, rng).map(|e| e.id) };
        let found = found.or_else(|| fleet.find_regardless(tried, wish, limits, now, rng).map(|e| e.id));
        found.map(|endpoint| (ticket, endpoint))
    }

    fn issue(&mut self, endpoint: EndpointId, class: u8, holder: HolderId, now: Instant) -> Permit {
        let serial = self.issued;
        self.issued += 1;
        self.live[fair::index(class)] += 1;
        if let Some(endpoint) = self.fleet.get(endpoint) {
            endpoint.on_dial(serial, now);
        }
        self.hints.on_admitted(now);
        self.peak.note(self.live().into(), now);
        self.holders.takes(holder);
        Permit { endpoint, serial, stage: Stage::Handshake, class, holder }
    }

    /// The limit that keeps one more from waiting, for which so many bytes would be held.
    fn queue_full(&self, more: u32) -> Option<&'static str> {
        if self.queue.len() >= self.limits.max_waiting as usize {
            return Some(MAX_WAITING);
        }
        (self.queue.bytes() + u64::from(more) > self.limits.max_waiting_bytes).then_some("max_waiting_bytes")
    }

    /// Who gives its place to this one, of those who can make enough room.
    fn gives_way(&mut self, ask: &Ask<'_>) -> Option<Ticket> {
        let fits = u64::from(ask.bytes) <= self.limits.max_waiting_bytes;
        if fits { self.queue.gives_way(ask.class, ask.tenant) } else { None }
    }

    fn obstacle(&self, now: Instant) -> Why {
        match self.full() {
            Some(limit) => (Reason::Overload, Some(limit)),
            None => self.fleet.obstacle(&self.limits, now),
        }
    }

    fn refuse_parked(&mut self, ticket: Ticket, why: Why, now: Instant) -> Refusal {
        let (address, holder) = (self.queue.address(ticket), self.queue.holder(ticket));
        self.queue.remove(ticket);
        let refusal = self.refuse(why, address, holder, now);
        self.holders.waits_no_more(holder);
        refusal
    }

    fn refuse(&mut self, (reason, limit): Why, address: Option<u64>, holder: HolderId, now: Instant) -> Refusal {
        self.refused.count(reason);
        self.holders.refused(holder, now);
        let retry_after = self.draw_hint(now);
        if let Some(address) = address {
            self.returns.refused(address, now);
        }
        Refusal { reason, limit, retry_after }
    }

    fn draw_hint(&mut self, now: Instant) -> u32 {
        let floor = self.limits.retry_after.max(self.fleet.asked_for(&self.limits, now));
        self.hints.draw(floor, self.queue.len(), now, &mut self.rng)
    }
}
