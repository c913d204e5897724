//! The world of a run: clients, proxies, endpoints, and what happens to them next.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tidegate_governor::Outcome;

use crate::{
    Ns, SECOND,
    client::{End, Kind},
    draw::{Draw, Luck},
    nanos,
    policy::{Answer, Choice, Dial, Fleet, Policy, Who},
    record::{Outage, Record, SAMPLE},
    scenario::{Act, Scaling, Scenario},
    upstream::{BASE, Endpoint, Job},
};

/// The proxy's own limit on an upstream handshake.
const DIAL_TIMEOUT: Ns = 10 * SECOND;
/// Longest wait for an answer; each client's is drawn from 0.8 to 1 of it.
const QUEUE_TIMEOUT: f64 = 2.5;
/// A refused connection is known at once, a 503 nearly so.
const REFUSED: Ns = SECOND / 1000;
const BUSY: Ns = SECOND / 200;
/// How long an endpoint that crashed is away.
const CRASH: Ns = 20 * SECOND;
/// What the proxies accept, over what the fleet can take; the rest waits in the kernel, and beyond a second's worth
/// the client sends its SYN again.
const ACCEPT: f64 = 5.0;
const BACKLOG: Ns = SECOND;

mod purpose {
    pub(super) const KIND: u64 = 0;
    pub(super) const TENANT: u64 = 1;
    pub(super) const JOIN: u64 = 2;
    pub(super) const STAY: u64 = 3;
    pub(super) const DELAY: u64 = 4;
    pub(super) const NETWORK: u64 = 5;
    pub(super) const DEMAND: u64 = 6;
    pub(super) const PROXY: u64 = 7;
    pub(super) const WAIT: u64 = 8;
    pub(super) const LIE: u64 = 9;
    pub(super) const PAGE: u64 = 10;
    pub(super) const ADDRESS: u64 = 11;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Script(u32),
    /// The client's attempt reaches a proxy.
    Arrive(u32),
    /// It is accepted.
    Enter(u32, u32),
    Patience(u32, u32),
    /// A held client leg is let go.
    Free(u32, u32),
    Fault(u32, u32),
    Busy(u32, u32),
    DialTimeout(u32, u32),
    /// Every endpoint has failed it: it is told at the end of its wait.
    Exhausted(u32, u32),
    Leave(u32, u32),
    Work(u16),
    Policy(u8),
    Restart(u16),
    Scale,
    Ready,
    Sample,
}

impl Event {
    fn client(&self) -> Option<usize> {
        match *self {
            Self::Arrive(client)
            | Self::Enter(client, _)
            | Self::Patience(client, _)
            | Self::Free(client, _)
            | Self::Fault(client, _)
            | Self::Busy(client, _)
            | Self::DialTimeout(client, _)
            | Self::Exhausted(client, _)
            | Self::Leave(client, _) => Some(client as usize),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Wants no session.
    Away,
    Backoff,
    Arriving,
    Parked,
    Dialling,
    Connected,
    Held,
}

struct Client {
    kind: Kind,
    state: State,
    proxy: u8,
    step: u8,
    /// Endpoints failed it in this attempt: they are in [`World::tried`].
    failed: bool,
    tenant: u16,
    group: u8,
    attempt: u32,
    /// Counts its dials: work for an older one is for nothing.
    dials: u32,
    dial: Dial,
    dialled: Ns,
    until: Ns,
    since: Ns,
}

struct Proxy {
    policy: Box<dyn Policy>,
    up: bool,
    accept_free: Ns,
    armed: Option<Ns>,
    touched: bool,
}

struct World<'a> {
    scenario: &'a Scenario,
    choice: Choice,
    seed: u64,
    luck: Luck,
    now: Ns,
    wheel: crate::wheel::Wheel<Event>,
    clients: Vec<Client>,
    endpoints: Vec<Endpoint>,
    configured: Vec<u16>,
    proxies: Vec<Proxy>,
    tried: HashMap<u32, Vec<u16>>,
    connected: u32,
    wanting: u32,
    joined: usize,
    to_join: usize,
    starts: u64,
    scaling: Option<(Scaling, BTreeMap<Ns, f64>)>,
    /// Endpoints that are on their way up.
    booting: usize,
    out: Record,
}

/// Runs a scenario to its end.
pub(crate) fn run(scenario: &Scenario, choice: Choice, seed: u64) -> Record {
    let mut world = World::new(scenario, choice, seed);
    while let Some((at, event)) = world.next() {
        world.now = at.max(world.now);
        world.out.events += 1;
        if matches!(event, Event::Sample) && world.is_over() {
            break;
        }
        world.happen(event);
        world.settle();
    }
    world.finish()
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, choice: Choice, seed: u64) -> Self {
        let endpoints = (0..scenario.endpoints + scenario.spares).map(|_| Endpoint::new(scenario.rate)).collect();
        let mut world = Self {
            scenario,
            choice,
            seed,
            luck: Luck::new(seed),
            now: 0,
            wheel: crate::wheel::Wheel::new(),
            clients: Vec::new(),
            endpoints,
            configured: (0..scenario.endpoints as u16).collect(),
            proxies: Vec::new(),
            tried: HashMap::new(),
            connected: 0,
            wanting: 0,
            joined: 0,
            to_join: 0,
            starts: 0,
            scaling: scenario.scaling.map(|scaling| (scaling, BTreeMap::new())),
            booting: 0,
            out: Record { measured_from: scenario.measured_from, ..Record::default() },
        };
        for endpoint in world.scenario.endpoints..world.endpoints.len() {
            world.endpoints[endpoint].up = false;
        }
        for proxy in 0..scenario.proxies {
            let policy = world.new_policy(proxy as u8);
            world.proxies.push(Proxy { policy, up: true, accept_free: 0, armed: None, touched: false });
        }
        world.people();
        for (i, &(at, _)) in scenario.script.iter().enumerate() {
            world.wheel.push(at, Event::Script(i as u32));
        }
        if let Some((scaling, _)) = &world.scaling {
            world.wheel.push(scaling.every, Event::Scale);
        }
        world.wheel.push(0, Event::Sample);
        world
    }

    fn new_policy(&mut self, proxy: u8) -> Box<dyn Policy> {
        self.starts += 1;
        let mut policy = self.choice.build(Fleet {
            rate: self.scenario.rate,
            knee: self.scenario.rate * BASE,
            endpoints: self.scenario.endpoints,
            clients: self.scenario.groups.iter().map(|g| g.count).sum(),
            proxies: self.scenario.proxies,
            seed: Draw::new(self.seed, u64::from(proxy), self.starts, 99).below(u64::MAX),
        });
        policy.configure(&self.configured, self.now);
        policy
    }

    fn people(&mut self) {
        for (g, group) in self.scenario.groups.iter().enumerate() {
            for i in 0..group.count {
                let id = self.clients.len() as u64;
                let draw = |purpose| self.luck.draw(id, 0, purpose);
                let place = (f64::from(i) + draw(purpose::JOIN).unit()) / f64::from(group.count);
                self.wheel.push(group.from + (place * group.span as f64) as Ns, Event::Arrive(id as u32));
                self.clients.push(Client {
                    kind: group.kind.unwrap_or_else(|| Kind::of(draw(purpose::KIND))),
                    state: State::Away,
                    proxy: 0,
                    step: 0,
                    failed: false,
                    tenant: group.tenant.unwrap_or_else(|| draw(purpose::TENANT).below(100) as u16),
                    group: g as u8,
                    attempt: 0,
                    dials: 0,
                    dial: Dial::default(),
                    dialled: 0,
                    until: 0,
                    since: Ns::MAX,
                });
            }
        }
        self.to_join = self.clients.len();
    }

    fn next(&mut self) -> Option<(Ns, Event)> {
        let Self { wheel, clients, .. } = self;
        wheel.pop(|soon| {
            // Fetches them from memory side by side: one after the other that is most of the time of a run.
            let states = soon.iter().filter_map(|(_, event)| event.client()).map(|client| clients[client].state as u32);
            std::hint::black_box(states.sum::<u32>());
        })
    }

    /// Everybody has what they want and nothing more will happen, or it has gone on for long enough.
    fn is_over(&self) -> bool {
        let scripted = self.scenario.script.last().map_or(0, |&(at, _)| at);
        let settled = self.now > scripted + 2 * SECOND && self.joined == self.to_join && self.wanting == 0;
        self.now >= self.scenario.horizon || (settled && self.scaling.is_none())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Script(i) => self.act(self.scenario.script[i as usize].1),
            Event::Arrive(client) => self.arrive(client),
            Event::Enter(client, attempt) => {
                if self.is_at(client, attempt, State::Arriving) {
                    self.enter(client);
                }
            }
            Event::Patience(client, attempt) => {
                let c = &self.clients[client as usize];
                if c.attempt == attempt && matches!(c.state, State::Arriving | State::Parked | State::Dialling) {
                    self.hang_up(client);
                    self.turn_away(client, End::Timeout);
                }
            }
            Event::Free(client, attempt) => {
                if self.is_at(client, attempt, State::Held) {
                    self.set_free(client);
                }
            }
            Event::Fault(client, dial) => self.dial_failed(client, dial, Outcome::ConnectFailed),
            Event::Busy(client, dial) => self.dial_failed(client, dial, Outcome::Overloaded { retry_after: None }),
            Event::DialTimeout(client, dial) => self.dial_failed(client, dial, Outcome::TimedOut),
            Event::Exhausted(client, attempt) => {
                if self.is_at(client, attempt, State::Arriving) {
                    let hint = self.policy(client).hint_at();
                    let end = self.told(client, End::Closed(hint));
                    self.turn_away(client, end);
                }
            }
            Event::Leave(client, attempt) => {
                if self.is_at(client, attempt, State::Connected) {
                    self.disconnect(client);
                    self.clients[client as usize].state = State::Away;
                }
            }
            Event::Work(endpoint) => self.work(endpoint),
            Event::Policy(proxy) => {
                let proxy = &mut self.proxies[usize::from(proxy)];
                if proxy.armed == Some(self.now) {
                    proxy.armed = None;
                }
                proxy.touched = true;
            }
            Event::Restart(endpoint) => self.start(endpoint),
            Event::Scale => self.scale(),
            Event::Ready => self.ready(),
            Event::Sample => self.sample(),
        }
    }

    fn is_at(&self, client: u32, attempt: u32, state: State) -> bool {
        let c = &self.clients[client as usize];
        c.attempt == attempt && c.state == state
    }

    fn draw(&self, client: u32, purpose: u64) -> Draw {
        let c = &self.clients[client as usize];
        self.luck.draw(client.into(), (u64::from(c.attempt) << 24) + u64::from(c.dials), purpose)
    }

    /// The policy of the client's proxy, and the time.
    fn policy(&mut self, client: u32) -> At<'_> {
        let proxy = &mut self.proxies[usize::from(self.clients[client as usize].proxy)];
        proxy.touched = true;
        At { policy: proxy.policy.as_mut(), now: self.now }
    }

    // Clients

    fn arrive(&mut self, client: u32) {
        let c = &mut self.clients[client as usize];
        if c.state == State::Away {
            if c.attempt > 0 {
                return;
            }
            c.since = self.now;
            self.joined += 1;
            self.wanting += 1;
            if self.now >= self.scenario.measured_from {
                self.out.wishes.push((self.now, self.now));
            }
        }
        c.attempt += 1;
        c.state = State::Arriving;
        let attempt = c.attempt;
        let patience = nanos(c.kind.patience());
        if self.now >= self.scenario.measured_from {
            self.out.attempts += 1;
        }
        let second = (self.now / SECOND) as usize;
        self.out.arrivals.resize(self.out.arrivals.len().max(second + 1), 0);
        self.out.arrivals[second] += 1;
        let mut up = (0..self.proxies.len() as u8).filter(|&p| self.proxies[usize::from(p)].up);
        let proxies = up.clone().count();
        let Some(proxy) = up.nth(self.draw(client, purpose::PROXY).below(proxies.max(1) as u64) as usize) else {
            return self.turn_away(client, End::Timeout);
        };
        self.clients[client as usize].proxy = proxy;
        self.wheel.push(self.now + patience, Event::Patience(client, attempt));
        let per_client = 1.0 / (ACCEPT * self.scenario.rate * self.scenario.endpoints as f64 / proxies as f64);
        let p = &mut self.proxies[usize::from(proxy)];
        let slot = p.accept_free.max(self.now);
        if slot > self.now + BACKLOG {
            // The SYN is sent again after a second; by then others may have gone.
            self.wheel.push(self.now + SECOND, Event::Enter(client, attempt));
            return;
        }
        p.accept_free = slot + nanos(per_client);
        if slot == self.now {
            self.enter(client);
        } else {
            self.wheel.push(slot, Event::Enter(client, attempt));
        }
    }

    fn enter(&mut self, client: u32) {
        let wait = QUEUE_TIMEOUT * self.draw(client, purpose::WAIT).between(0.8, 1.0);
        self.clients[client as usize].until = self.now + nanos(wait);
        self.forget_tried(client);
        self.ask(client);
    }

    fn ask(&mut self, client: u32) {
        let c = &self.clients[client as usize];
        let tried = if c.failed { self.tried.get(&client).cloned().unwrap_or_default() } else { Vec::new() };
        let (until, tenant, attempt) = (c.until, c.tenant, c.attempt);
        let address = self.address(client);
        if !tried.is_empty() && tried.len() >= self.configured.len() {
            self.clients[client as usize].state = State::Arriving;
            return self.wheel.push(until, Event::Exhausted(client, attempt));
        }
        let At { policy, now } = self.policy(client);
        let answer = policy.arrive(Who { client, tenant, address, tried: &tried, until }, now);
        self.carry_out(client, answer);
    }

    fn forget_tried(&mut self, client: u32) {
        if std::mem::take(&mut self.clients[client as usize].failed) {
            self.tried.remove(&client);
        }
    }

    fn carry_out(&mut self, client: u32, answer: Answer) {
        match answer {
            Answer::Dial(dial) => self.dial(client, dial),
            Answer::Wait => self.clients[client as usize].state = State::Parked,
            Answer::Refuse(end) => {
                let end = self.told(client, end);
                self.turn_away(client, end);
            }
        }
    }

    /// A socket.io handshake shows itself by its query and is answered with a status: a Close before its first packet
    /// is lost on it.
    fn told(&self, client: u32, end: End) -> End {
        match end {
            End::Closed(hint) if self.clients[client as usize].kind == Kind::SocketIo => End::Http(hint),
            end => end,
        }
    }

    fn dial(&mut self, client: u32, dial: Dial) {
        let c = &mut self.clients[client as usize];
        c.dials += 1;
        c.state = State::Dialling;
        c.dial = dial;
        c.dialled = self.now;
        let (number, slow) = (c.dials, nanos(c.kind.patience()) > DIAL_TIMEOUT);
        let demand = self.draw(client, purpose::DEMAND).between(0.5, 1.5);
        let lie = self.draw(client, purpose::LIE).below(1000);
        let e = &mut self.endpoints[usize::from(dial.endpoint)];
        if !e.up {
            return self.wheel.push(self.now + REFUSED, Event::Fault(client, number));
        }
        if lie < e.lies || e.most.is_some_and(|most| e.at_work() >= most) {
            return self.wheel.push(self.now + BUSY, Event::Busy(client, number));
        }
        if slow {
            self.wheel.push(self.now + DIAL_TIMEOUT, Event::DialTimeout(client, number));
        }
        let survives = e.take(Job { client, attempt: number }, demand, self.now);
        if survives {
            self.schedule(dial.endpoint);
        } else {
            self.crash(dial.endpoint);
        }
    }

    fn dial_failed(&mut self, client: u32, number: u32, outcome: Outcome) {
        let c = &mut self.clients[client as usize];
        if c.dials != number || c.state != State::Dialling {
            return;
        }
        c.dials += 1;
        let dial = c.dial;
        let At { policy, now } = self.policy(client);
        policy.report(dial, outcome, now);
        self.clients[client as usize].failed = true;
        self.tried.entry(client).or_default().push(dial.endpoint);
        self.ask(client);
    }

    fn established(&mut self, job: Job) {
        self.out.finished += 1;
        let c = &mut self.clients[job.client as usize];
        if c.state != State::Dialling || c.dials != job.attempt {
            self.out.wasted += 1;
            return;
        }
        c.state = State::Connected;
        let (dial, latency) = (c.dial, Duration::from_nanos(self.now - c.dialled));
        let (since, kind, tenant, group, attempt) = (c.since, c.kind, c.tenant, c.group, c.attempt);
        self.connected += 1;
        self.wanting -= 1;
        self.forget_tried(job.client);
        if since >= self.scenario.measured_from {
            self.out.outages.push(Outage { since, back: self.now, kind, tenant });
        }
        if let Some(stay) = self.scenario.groups[usize::from(group)].stay {
            // Half to one and a half times, which spreads like most sessions do.
            let stay = stay * self.draw(job.client, purpose::STAY).between(0.5, 1.5);
            self.wheel.push(self.now + nanos(stay), Event::Leave(job.client, attempt));
        }
        let At { policy, now } = self.policy(job.client);
        policy.report(dial, Outcome::Established { latency }, now);
        let e = &mut self.endpoints[usize::from(dial.endpoint)];
        e.sessions += 1;
        if e.memory.is_some_and(|most| e.sessions > most) {
            self.crash(dial.endpoint);
        }
    }

    /// It hangs up before it has an answer.
    fn hang_up(&mut self, client: u32) {
        let c = &mut self.clients[client as usize];
        c.dials += 1;
        let (state, dial) = (c.state, c.dial);
        let At { policy, now } = self.policy(client);
        match state {
            State::Parked => policy.cancel(client, now),
            State::Dialling => policy.report(dial, Outcome::Cancelled, now),
            _ => {}
        }
    }

    fn turn_away(&mut self, client: u32, end: End) {
        if self.now < self.scenario.measured_from {
            self.out.refused_in_peace += 1;
        }
        let group = &self.scenario.groups[usize::from(self.clients[client as usize].group)];
        let (draw, network) = (self.draw(client, purpose::DELAY), self.network(client));
        let page = self.luck.draw(client.into(), 0, purpose::PAGE).unit();
        let c = &mut self.clients[client as usize];
        c.state = State::Backoff;
        if group.gives_up.is_some_and(|after| self.now > c.since + after) {
            c.state = State::Away;
            self.wanting -= 1;
            self.out.gave_up += 1;
            if c.since >= self.scenario.measured_from {
                self.out.outages.push(Outage { since: c.since, back: Ns::MAX, kind: c.kind, tenant: c.tenant });
            }
            return;
        }
        let delay = nanos(c.kind.delay(end, &mut c.step, page, draw)) + network;
        self.wheel.push(self.now + delay, Event::Arrive(client));
    }

    /// A fifth of the clients share their address with about a hundred others.
    fn address(&self, client: u32) -> u64 {
        let draw = self.luck.draw(client.into(), 0, purpose::ADDRESS);
        if draw.unit() < 0.2 {
            let crowds = (self.clients.len() as u64 / 500).max(1);
            1 << 40 | draw.next().below(crowds)
        } else {
            client.into()
        }
    }

    /// Connecting and TLS: mostly 30 to 100 ms, for a few much longer.
    fn network(&self, client: u32) -> Ns {
        let u = self.draw(client, purpose::NETWORK).unit();
        nanos(0.03 / (1.0 - 0.9 * u))
    }

    /// The session is over; the books of its proxy are put right.
    fn disconnect(&mut self, client: u32) {
        let dial = self.clients[client as usize].dial;
        let e = &mut self.endpoints[usize::from(dial.endpoint)];
        e.sessions = e.sessions.saturating_sub(1);
        self.connected -= 1;
        let At { policy, now } = self.policy(client);
        policy.ended(dial, now);
    }

    /// The upstream of this session is gone.
    fn lose(&mut self, client: u32) {
        let dial = self.clients[client as usize].dial;
        let At { policy, now } = self.policy(client);
        let hold = policy.hold(dial, now);
        self.disconnect(client);
        self.wants_again(client);
        let c = &mut self.clients[client as usize];
        c.state = State::Held;
        self.wheel.push(self.now + hold, Event::Free(client, c.attempt));
    }

    fn wants_again(&mut self, client: u32) {
        let (draw, network) = (self.draw(client, purpose::DELAY), self.network(client));
        let page = self.luck.draw(client.into(), 0, purpose::PAGE).unit();
        let c = &mut self.clients[client as usize];
        c.since = self.now;
        self.wanting += 1;
        if self.now >= self.scenario.measured_from {
            let delay = nanos(c.kind.delay(End::Lost, &mut { c.step }, page, draw));
            self.out.wishes.push((self.now, self.now + delay + network));
        }
    }

    fn set_free(&mut self, client: u32) {
        let end = if self.clients[client as usize].kind == Kind::Obedient {
            End::Closed(self.policy(client).hint_at())
        } else {
            End::Lost
        };
        self.turn_away(client, end);
    }

    // Endpoints

    fn schedule(&mut self, endpoint: u16) {
        let e = &mut self.endpoints[usize::from(endpoint)];
        let Some(next) = e.next(self.now) else { return };
        if e.scheduled.is_none_or(|at| next < at) {
            e.scheduled = Some(next);
            self.wheel.push(next, Event::Work(endpoint));
        }
    }

    fn work(&mut self, endpoint: u16) {
        let e = &mut self.endpoints[usize::from(endpoint)];
        // Superseded by an earlier look.
        if e.scheduled != Some(self.now) {
            return;
        }
        e.scheduled = None;
        while let Some(job) = self.endpoints[usize::from(endpoint)].finished(self.now) {
            self.established(job);
        }
        self.schedule(endpoint);
    }

    fn crash(&mut self, endpoint: u16) {
        self.out.crashes += 1;
        self.stop(endpoint);
        self.wheel.push(self.now + CRASH, Event::Restart(endpoint));
    }

    fn start(&mut self, endpoint: u16) {
        self.endpoints[usize::from(endpoint)].start(self.now, true);
    }

    fn stop(&mut self, endpoint: u16) {
        let jobs = self.endpoints[usize::from(endpoint)].stop(self.now);
        for Job { client, attempt } in jobs {
            self.dial_failed(client, attempt, Outcome::Failed);
        }
        for client in 0..self.clients.len() as u32 {
            let c = &self.clients[client as usize];
            if c.state == State::Connected && c.dial.endpoint == endpoint {
                self.lose(client);
            }
        }
    }

    // What happens to them all

    fn act(&mut self, act: Act) {
        match act {
            Act::Stop(endpoint) => self.stop(endpoint),
            Act::Start(endpoint) => self.start(endpoint),
            Act::Health(endpoint, health) => self.change(endpoint, |e| e.health = health),
            Act::Stall(endpoint, stalled) => self.change(endpoint, |e| e.stalled = stalled),
            Act::Lie(endpoint, lies) => self.change(endpoint, |e| e.lies = lies),
            Act::Most(endpoint, most) => self.change(endpoint, |e| e.most = Some(most)),
            Act::Memory(endpoint, memory) => self.change(endpoint, |e| e.memory = Some(memory)),
            Act::Cold(endpoint) => self.start(endpoint),
            Act::StopProxy(proxy) => self.stop_proxy(proxy),
            Act::StartProxy(proxy) => {
                let policy = self.new_policy(proxy);
                let p = &mut self.proxies[usize::from(proxy)];
                (p.policy, p.up, p.armed) = (policy, true, None);
            }
        }
    }

    fn change(&mut self, endpoint: u16, change: impl FnOnce(&mut Endpoint)) {
        let e = &mut self.endpoints[usize::from(endpoint)];
        // Brings the work done so far to book at the old speed.
        let done = e.finished(self.now);
        change(e);
        if let Some(job) = done {
            self.established(job);
        }
        self.schedule(endpoint);
    }

    fn stop_proxy(&mut self, proxy: u8) {
        self.proxies[usize::from(proxy)].up = false;
        for client in 0..self.clients.len() as u32 {
            let c = &self.clients[client as usize];
            if c.proxy != proxy {
                continue;
            }
            match c.state {
                State::Connected => {
                    self.disconnect(client);
                    self.wants_again(client);
                    self.turn_away(client, End::Lost);
                }
                State::Arriving | State::Parked | State::Dialling => {
                    self.hang_up(client);
                    self.turn_away(client, End::Timeout);
                }
                State::Held => self.set_free(client),
                State::Away | State::Backoff => {}
            }
        }
    }

    /// The usual horizontal scaler: as many endpoints as bring the mean to its target, fewer only when that has held
    /// for a while.
    fn scale(&mut self) {
        let Some((scaling, wished)) = &mut self.scaling else { return };
        let (wish, count) = (f64::from(self.connected + self.wanting) / scaling.target, self.configured.len());
        wished.insert(self.now, wish);
        *wished = wished.split_off(&self.now.saturating_sub(scaling.calm));
        let calmest = wished.values().copied().fold(1.0, f64::max).ceil() as usize;
        self.wheel.push(self.now + scaling.every, Event::Scale);
        let wish = (wish.ceil() as usize).min(self.endpoints.len());
        if wish > count + self.booting {
            for _ in count + self.booting..wish {
                self.wheel.push(self.now + scaling.boot, Event::Ready);
            }
            self.booting = wish - count;
        } else if calmest < count && self.booting == 0 {
            self.reconfigure(count - 1);
            self.stop(count as u16 - 1);
        }
    }

    /// An endpoint more is up and known.
    fn ready(&mut self) {
        self.booting -= 1;
        let count = self.configured.len();
        self.start(count as u16);
        self.reconfigure(count + 1);
    }

    fn reconfigure(&mut self, count: usize) {
        self.configured = (0..count as u16).collect();
        for proxy in self.proxies.iter_mut().filter(|p| p.up) {
            proxy.policy.configure(&self.configured, self.now);
            proxy.touched = true;
        }
    }

    fn sample(&mut self) {
        let now = self.now;
        self.out.capacity.push(self.endpoints.iter().map(|e| e.capacity(now)).sum());
        if now.is_multiple_of(SECOND) {
            self.out.connected.push(self.connected);
        }
        self.wheel.push(now + SAMPLE, Event::Sample);
    }

    /// Carries out what the policies have decided, and arms their timers.
    fn settle(&mut self) {
        for p in 0..self.proxies.len() {
            if !self.proxies[p].touched {
                continue;
            }
            while std::mem::take(&mut self.proxies[p].touched) {
                while let Some((client, answer)) = self.proxies[p].policy.poll(self.now) {
                    self.carry_out(client, answer);
                }
            }
            let proxy = &mut self.proxies[p];
            if let Some(wake) = proxy.policy.wake().map(|at| at.max(self.now + 1))
                && proxy.armed.is_none_or(|armed| wake < armed || armed < self.now)
            {
                proxy.armed = Some(wake);
                self.wheel.push(wake, Event::Policy(p as u8));
            }
        }
    }

    fn finish(mut self) -> Record {
        let from = self.scenario.measured_from;
        for c in &self.clients {
            let wants = !matches!(c.state, State::Away | State::Connected);
            if wants && (from..Ns::MAX).contains(&c.since) {
                self.out.outages.push(Outage { since: c.since, back: Ns::MAX, kind: c.kind, tenant: c.tenant });
            }
        }
        self.out.ended_at = self.now;
        self.out
    }
}

struct At<'a> {
    policy: &'a mut dyn Policy,
    now: Ns,
}

impl At<'_> {
    fn hint_at(self) -> u32 {
        self.policy.hint(self.now)
    }
}
