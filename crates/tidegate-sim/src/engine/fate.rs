//! What befalls endpoints, proxies and the fleet.

use tidegate_governor::Outcome;

use super::{Event, State, World};
use crate::{
    Ns, SECOND,
    client::End,
    record::SAMPLE,
    scenario::Act,
    upstream::{Endpoint, Job},
};

/// How long an endpoint that crashed is away.
const CRASH: Ns = 20 * SECOND;
/// Before the end of a run the scaler rests: who lost a session then would have no time to come back.
const REST: Ns = 60 * SECOND;

impl World<'_> {
    pub(super) fn act(&mut self, act: Act) {
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

    pub(super) fn schedule(&mut self, endpoint: u16) {
        let e = &mut self.endpoints[usize::from(endpoint)];
        let Some(next) = e.next(self.now) else { return };
        if e.scheduled.is_none_or(|at| next < at) {
            e.scheduled = Some(next);
            self.wheel.push(next, Event::Work(endpoint));
        }
    }

    pub(super) fn work(&mut self, endpoint: u16) {
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

    pub(super) fn crash(&mut self, endpoint: u16) {
        self.out.crashes += 1;
        self.stop(endpoint);
        self.wheel.push(self.now + CRASH, Event::Restart(endpoint));
    }

    pub(super) fn start(&mut self, endpoint: u16) {
        self.endpoints[usize::from(endpoint)].start(self.now, true);
    }

    pub(super) fn stop(&mut self, endpoint: u16) {
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

    pub(super) fn change(&mut self, endpoint: u16, change: impl FnOnce(&mut Endpoint)) {
        let e = &mut self.endpoints[usize::from(endpoint)];
        // Brings the work done so far to book at the old speed.
        let done = e.finished(self.now);
        change(e);
        if let Some(job) = done {
            self.established(job);
        }
        self.schedule(endpoint);
    }

    pub(super) fn stop_proxy(&mut self, proxy: u8) {
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
    pub(super) fn scale(&mut self) {
        let Some((scaling, wished)) = &mut self.scaling else { return };
        let (wish, count) = (f64::from(self.connected + self.wanting) / scaling.target, self.configured.len());
        wished.insert(self.now, wish);
        *wished = wished.split_off(&self.now.saturating_sub(scaling.calm));
        let calmest = wished.values().copied().fold(1.0, f64::max).ceil() as usize;
        if self.now + REST < self.scenario.horizon {
            self.wheel.push(self.now + scaling.every, Event::Scale);
        }
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
    pub(super) fn ready(&mut self) {
        self.booting -= 1;
        let count = self.configured.len();
        self.start(count as u16);
        self.reconfigure(count + 1);
    }

    pub(super) fn reconfigure(&mut self, count: usize) {
        self.configured = (0..count as u16).collect();
        for proxy in self.proxies.iter_mut().filter(|p| p.up) {
            proxy.policy.configure(&self.configured, self.now);
            proxy.touched = true;
        }
    }

    pub(super) fn sample(&mut self) {
        let now = self.now;
        self.out.capacity.push(self.endpoints.iter().map(|e| e.capacity(now)).sum());
        if now <= self.scripted() || self.connected > self.best.0 {
            self.best = (self.connected, now);
        }
        if now.is_multiple_of(SECOND) {
            self.out.connected.push(self.connected);
        }
        self.wheel.push(now + SAMPLE, Event::Sample);
    }
}
