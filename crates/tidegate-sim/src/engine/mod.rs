//! The world of a run: clients, proxies, endpoints, and what happens to them next.

mod clients;
mod dials;
mod event;
mod fate;

use std::collections::{BTreeMap, HashMap};

use tidegate_governor::Outcome;

use self::{
    clients::{Client, State},
    event::Event,
};
use crate::{
    Ns, SECOND,
    client::End,
    draw::{Draw, Luck},
    policy::{Choice, Fleet, Policy},
    record::{Outage, Record},
    scenario::{Scaling, Scenario},
    upstream::Endpoint,
    wheel::Wheel,
};

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
    pub(super) const PAUSE: u64 = 12;
}

/// Without a client more than ever for so long, there never will be: crashes go in circles.
const HOPELESS: Ns = 300 * SECOND;

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
    wheel: Wheel<Event>,
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
    /// The most clients with a session since the last thing happened to the fleet, and when.
    best: (u32, Ns),
    out: Record,
}

struct At<'a> {
    policy: &'a mut dyn Policy,
    now: Ns,
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
        let endpoints = (0..scenario.endpoints + scenario.spares).map(|_| Endpoint::new(scenario.server)).collect();
        let mut world = Self {
            scenario,
            choice,
            seed,
            luck: Luck::new(seed),
            now: 0,
            wheel: Wheel::new(),
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
            best: (0, 0),
            out: Record { measured_from: scenario.measured_from, base: scenario.server.base, ..Record::default() },
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
        if world.scaling.is_some() {
            world.wheel.push(scenario.measured_from, Event::Scale);
        }
        world.wheel.push(0, Event::Sample);
        world
    }

    fn new_policy(&mut self, proxy: u8) -> Box<dyn Policy> {
        self.starts += 1;
        let mut policy = self.choice.build(Fleet {
            rate: self.scenario.server.rate,
            knee: self.scenario.server.rate * self.scenario.server.base,
            endpoints: self.scenario.endpoints,
            clients: self.scenario.groups.iter().map(|g| g.count).sum(),
            proxies: self.scenario.proxies,
            seed: Draw::new(self.seed, u64::from(proxy), self.starts, 99).below(u64::MAX),
        });
        policy.configure(&self.configured, self.now);
        policy
    }

    fn next(&mut self) -> Option<(Ns, Event)> {
        let Self { wheel, clients, .. } = self;
        wheel.pop(|event| {
            // Fetches them from memory side by side: one after the other that is most of the time of a run.
            std::hint::black_box(event.client().map(|client| clients[client].state));
        })
    }

    /// Everybody has what they want and nothing more will happen, or it has gone on for long enough.
    fn is_over(&self) -> bool {
        if self.scaling.is_some() {
            return self.now >= self.scenario.horizon;
        }
        let scripted = self.scripted();
        let settled = self.now > scripted + 2 * SECOND && self.joined == self.to_join && self.wanting == 0;
        self.now >= self.scenario.horizon || settled || self.now > scripted.max(self.best.1) + HOPELESS
    }

    /// When the last thing befalls the fleet.
    fn scripted(&self) -> Ns {
        self.scenario.script.last().map_or(0, |&(at, _)| at)
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
            Event::Patience(client) => self.lose_patience(client),
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
                    self.refuse(client, End::Closed(hint));
                }
            }
            Event::Leave(client, attempt) => {
                if self.is_at(client, attempt, State::Connected) {
                    self.leave(client);
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
}

impl At<'_> {
    fn hint_at(self) -> u32 {
        self.policy.hint(self.now)
    }
}
