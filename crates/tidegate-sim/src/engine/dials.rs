//! A handshake's way through its proxy to an endpoint.

use std::time::Duration;

use tidegate_governor::Outcome;

use super::{At, Event, State, World, purpose};
use crate::{
    Ns, SECOND,
    client::End,
    nanos,
    policy::{Answer, Dial, Who},
    record::Outage,
    upstream::Job,
};

/// The proxy's own limit on an upstream handshake.
const DIAL_TIMEOUT: Ns = 10 * SECOND;
/// A refused connection is known at once, a 503 nearly so.
const REFUSED: Ns = SECOND / 1000;
const BUSY: Ns = SECOND / 200;
/// A policy that looks at its queue now and then answers after the time it has given.
const LATE: Ns = SECOND / 4;

impl World<'_> {
    pub(super) fn ask(&mut self, client: u32) {
        let c = &self.clients[client as usize];
        let tried = if c.failed { self.tried.get(&client).cloned().unwrap_or_default() } else { Vec::new() };
        let (until, tenant, attempt) = (c.until, c.tenant, c.attempt);
        let address = self.address(client);
        if !tried.is_empty() && tried.len() >= self.configured.len() {
            self.clients[client as usize].state = State::Arriving;
            return self.wait(client, until, Event::Exhausted(client, attempt));
        }
        let At { policy, now } = self.policy(client);
        let answer = policy.arrive(Who { client, tenant, address, tried: &tried, until }, now);
        self.carry_out(client, answer);
    }

    pub(super) fn forget_tried(&mut self, client: u32) {
        if std::mem::take(&mut self.clients[client as usize].failed) {
            self.tried.remove(&client);
        }
    }

    pub(super) fn carry_out(&mut self, client: u32, answer: Answer) {
        match answer {
            Answer::Dial(dial) => self.dial(client, dial),
            Answer::Wait(until, token) => {
                let c = &mut self.clients[client as usize];
                (c.state, c.dial.token) = (State::Parked, token);
                self.is_patient_until(client, until + LATE);
            }
            Answer::Refuse(end) => self.refuse(client, end),
        }
    }

    pub(super) fn refuse(&mut self, client: u32, end: End) {
        if self.now < self.scenario.measured_from {
            self.out.refused_in_peace += 1;
        }
        let end = self.told(client, end);
        self.turn_away(client, end);
    }

    pub(super) fn dial(&mut self, client: u32, dial: Dial) {
        let c = &mut self.clients[client as usize];
        c.dials += 1;
        c.state = State::Dialling;
        c.dial = dial;
        c.dialled = self.now;
        let (number, slow) = (c.dials, nanos(c.kind.patience()) > DIAL_TIMEOUT);
        self.is_patient_until(client, Ns::MAX);
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

    pub(super) fn dial_failed(&mut self, client: u32, number: u32, outcome: Outcome) {
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

    pub(super) fn established(&mut self, job: Job) {
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
}
