//! What clients do.

use tidegate_governor::Outcome;

use super::{At, Event, World, purpose};
use crate::{
    Ns, SECOND,
    client::{End, Kind},
    nanos,
    policy::Dial,
    record::Outage,
};

/// Longest wait for an answer; each client's is drawn from 0.8 to 1 of it.
const QUEUE_TIMEOUT: f64 = 2.5;
/// What the proxies accept, over what the fleet can take; the rest waits in the kernel, and beyond a second's worth
/// the client sends its SYN again.
const ACCEPT: f64 = 5.0;
const BACKLOG: Ns = SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Wants no session.
    Away,
    Backoff,
    Arriving,
    Parked,
    Dialling,
    Connected,
    Held,
}

/// In one line of the cache: of a hundred thousand, most are not in it.
#[repr(align(64))]
pub(super) struct Client {
    pub(super) kind: Kind,
    pub(super) state: State,
    /// An [`Event::Patience`] is on its way.
    pub(super) timed: bool,
    pub(super) proxy: u8,
    pub(super) step: u8,
    /// Endpoints failed it in this attempt: they are in [`World::tried`].
    pub(super) failed: bool,
    pub(super) tenant: u16,
    pub(super) group: u8,
    pub(super) attempt: u32,
    /// Counts its dials: work for an older one is for nothing.
    pub(super) dials: u32,
    /// While it is parked its token is that of the wait.
    pub(super) dial: Dial,
    pub(super) dialled: Ns,
    pub(super) hangs_up: Ns,
    pub(super) until: Ns,
    pub(super) since: Ns,
}

impl World<'_> {
    /// All of them, and when each comes first.
    pub(super) fn people(&mut self) {
        for (g, group) in self.scenario.groups.iter().enumerate() {
            for i in 0..group.count {
                let id = self.clients.len() as u64;
                let draw = |purpose| self.luck.draw(id, 0, purpose);
                let place = (f64::from(i) + draw(purpose::JOIN).unit()) / f64::from(group.count);
                self.wheel.push(group.from + (place * group.span as f64) as Ns, Event::Arrive(id as u32));
                self.clients.push(Client {
                    kind: match group.kinds {
                        [] => Kind::of(draw(purpose::KIND)),
                        kinds => kinds[i as usize % kinds.len()],
                    },
                    state: State::Away,
                    timed: false,
                    proxy: 0,
                    step: 0,
                    failed: false,
                    tenant: group.tenant.unwrap_or_else(|| draw(purpose::TENANT).below(100) as u16),
                    group: g as u8,
                    attempt: 0,
                    dials: 0,
                    dial: Dial::default(),
                    dialled: 0,
                    hangs_up: 0,
                    until: 0,
                    since: Ns::MAX,
                });
            }
        }
        self.to_join = self.clients.len();
    }

    pub(super) fn arrive(&mut self, client: u32) {
        let c = &mut self.clients[client as usize];
        if c.state == State::Away {
            c.since = self.now;
            self.joined += usize::from(c.attempt == 0);
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
        let c = &mut self.clients[client as usize];
        c.proxy = proxy;
        c.hangs_up = self.now + patience;
        let per_client = 1.0 / (ACCEPT * self.scenario.server.rate * self.scenario.endpoints as f64 / proxies as f64);
        let p = &mut self.proxies[usize::from(proxy)];
        let slot = p.accept_free.max(self.now);
        if slot > self.now + BACKLOG {
            // The SYN is sent again after a second; by then others may have gone.
            return self.wait(client, self.now + SECOND, Event::Enter(client, attempt));
        }
        p.accept_free = slot + nanos(per_client);
        if slot == self.now {
            self.enter(client);
        } else {
            self.wait(client, slot, Event::Enter(client, attempt));
        }
    }

    /// It waits for this.
    pub(super) fn wait(&mut self, client: u32, at: Ns, event: Event) {
        self.is_patient_until(client, at);
        self.wheel.push(at, event);
    }

    /// It waits for what comes at this time at the latest: only if it hangs up before need that be watched.
    pub(super) fn is_patient_until(&mut self, client: u32, at: Ns) {
        let c = &mut self.clients[client as usize];
        if at >= c.hangs_up && !std::mem::replace(&mut c.timed, true) {
            self.wheel.push(c.hangs_up, Event::Patience(client));
        }
    }

    pub(super) fn enter(&mut self, client: u32) {
        let wait = QUEUE_TIMEOUT * self.draw(client, purpose::WAIT).between(0.8, 1.0);
        self.clients[client as usize].until = self.now + nanos(wait);
        self.forget_tried(client);
        self.ask(client);
    }

    pub(super) fn lose_patience(&mut self, client: u32) {
        let c = &mut self.clients[client as usize];
        c.timed = matches!(c.state, State::Arriving | State::Parked | State::Dialling) && c.hangs_up > self.now;
        if c.timed {
            self.wheel.push(c.hangs_up, Event::Patience(client));
        } else if matches!(c.state, State::Arriving | State::Parked | State::Dialling) {
            self.hang_up(client);
            self.refuse(client, End::Timeout);
        }
    }

    /// It hangs up before it has an answer.
    pub(super) fn hang_up(&mut self, client: u32) {
        let c = &mut self.clients[client as usize];
        c.dials += 1;
        let (state, dial) = (c.state, c.dial);
        let At { policy, now } = self.policy(client);
        match state {
            State::Parked => policy.cancel(client, dial.token, now),
            State::Dialling => policy.report(dial, Outcome::Cancelled, now),
            _ => {}
        }
    }

    pub(super) fn turn_away(&mut self, client: u32, end: End) {
        let group = &self.scenario.groups[usize::from(self.clients[client as usize].group)];
        let (draw, network) = (self.draw(client, purpose::DELAY), self.network(client));
        let page = self.luck.draw(client.into(), 0, purpose::PAGE).unit();
        let c = &mut self.clients[client as usize];
        c.state = State::Backoff;
        let delay = c.kind.delay(end, &mut c.step, page, draw);
        if delay.is_infinite() || group.gives_up.is_some_and(|after| self.now > c.since + after) {
            c.state = State::Away;
            self.wanting -= 1;
            self.out.gave_up += 1;
            if c.since >= self.scenario.measured_from {
                self.out.outages.push(Outage { since: c.since, back: Ns::MAX, kind: c.kind, tenant: c.tenant });
            }
            return;
        }
        self.wheel.push(self.now + nanos(delay) + network, Event::Arrive(client));
    }

    /// A socket.io handshake shows itself by its query and is answered with a status: a Close before its first packet
    /// is lost on it.
    pub(super) fn told(&self, client: u32, end: End) -> End {
        match end {
            End::Closed(hint) if self.clients[client as usize].kind == Kind::SocketIo => End::Http(hint),
            end => end,
        }
    }

    pub(super) fn set_free(&mut self, client: u32) {
        let end = if self.clients[client as usize].kind.heeds_a_close() {
            End::Closed(self.policy(client).hint_at())
        } else {
            End::Lost
        };
        self.turn_away(client, end);
    }

    /// It has had what it wanted.
    pub(super) fn leave(&mut self, client: u32) {
        self.disconnect(client);
        let pause = self.draw(client, purpose::PAUSE).between(0.5, 1.5);
        let c = &mut self.clients[client as usize];
        (c.state, c.step) = (State::Away, 0);
        if let Some(again) = self.scenario.groups[usize::from(c.group)].again {
            self.wheel.push(self.now + nanos(again * pause), Event::Arrive(client));
        }
    }

    /// The upstream of this session is gone.
    pub(super) fn lose(&mut self, client: u32) {
        let dial = self.clients[client as usize].dial;
        let At { policy, now } = self.policy(client);
        let hold = policy.hold(dial, now);
        self.disconnect(client);
        self.wants_again(client);
        let c = &mut self.clients[client as usize];
        c.state = State::Held;
        self.wheel.push(self.now + hold, Event::Free(client, c.attempt));
    }

    /// The session is over; the books of its proxy are put right.
    pub(super) fn disconnect(&mut self, client: u32) {
        let dial = self.clients[client as usize].dial;
        let e = &mut self.endpoints[usize::from(dial.endpoint)];
        e.sessions = e.sessions.saturating_sub(1);
        self.connected -= 1;
        let At { policy, now } = self.policy(client);
        policy.ended(dial, now);
    }

    pub(super) fn wants_again(&mut self, client: u32) {
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

    /// A fifth of the clients share their address with about a hundred others.
    pub(super) fn address(&self, client: u32) -> u64 {
        let draw = self.luck.draw(client.into(), 0, purpose::ADDRESS);
        if draw.unit() < 0.2 {
            let crowds = (self.clients.len() as u64 / 500).max(1);
            1 << 40 | draw.next().below(crowds)
        } else {
            client.into()
        }
    }

    /// Connecting and TLS: mostly 30 to 100 ms, for a few much longer.
    pub(super) fn network(&self, client: u32) -> Ns {
        if self.scenario.near {
            return SECOND / 1000;
        }
        let u = self.draw(client, purpose::NETWORK).unit();
        nanos(0.03 / (1.0 - 0.9 * u))
    }
}
