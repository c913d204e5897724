//! One endpoint: what it holds, and whether it can take one more.

use std::time::{Duration, Instant};

use crate::{
    Cap, EndpointId, EndpointSnapshot, Limits, Outcome,
    advice::grouped,
    breaker::{Breaker, Cause, Fault},
    gauge::Gauge,
    hash::hash,
    meter::Peak,
    pacer::Pacer,
    rng::Rng,
    stock::Stock,
};

#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) id: EndpointId,
    pub(crate) key: String,
    /// 0: takes no new client.
    pub(crate) weight: u32,
    /// Its share of new clients now: thousandths of its weight, fewer while it is new.
    pub(crate) share: u64,
    /// No longer configured: only counted down.
    pub(crate) gone: bool,
    /// A health check has found it so: no new clients.
    pub(crate) down: bool,
    /// When it last became one that takes clients.
    pub(crate) opened: Instant,
    /// Of its key, for rendezvous hashing.
    pub(crate) hash: u64,
    pub(crate) sessions: u32,
    /// Permits whose handshake has not become a session. One that failed counts until its permit comes back: the
    /// endpoint may still be at work on it.
    pub(crate) handshakes: u32,
    /// It had room when [`Fleet::find`](crate::fleet::Fleet::find) last looked.
    pub(crate) free: bool,
    /// Standing in the round-robin.
    pub(crate) turn: i64,
    pub(crate) pacer: Pacer,
    pub(crate) stock: Stock,
    breaker: Breaker,
    pub(crate) gauge: Gauge,
    rate: Peak,
}

/// Parts that one weight is divided into, so that a share of it can be given.
pub(crate) const SHARES: u32 = 1000;
/// The share of its weight with which a new endpoint begins: enough to warm up by.
const COLDEST: f64 = 0.1;

/// Whether an endpoint can take one more, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    /// As many handshakes in flight as it can take.
    Busy,
    /// As many sessions as it may hold.
    Full,
    Resting(Cause),
}

impl Endpoint {
    pub(crate) fn new(id: EndpointId, key: &str, now: Instant) -> Self {
        Self {
            id,
            key: key.to_owned(),
            weight: 0,
            share: 0,
            gone: false,
            down: false,
            opened: now,
            hash: hash(key.as_bytes()),
            sessions: 0,
            handshakes: 0,
            free: false,
            turn: 0,
            pacer: Pacer::default(),
            stock: Stock::default(),
            breaker: Breaker::default(),
            gauge: Gauge::default(),
            rate: Peak::default(),
        }
    }

    pub(crate) fn live(&self) -> u32 {
        self.sessions + self.handshakes
    }

    /// Whether new clients may go there at all.
    pub(crate) fn is_open(&self) -> bool {
        !self.gone && !self.down && self.weight > 0
    }

    /// Whether nothing says that it is not there.
    pub(crate) fn is_well(&self, limits: &Limits, now: Instant) -> bool {
        !self.gone && !self.down && !matches!(self.room(limits, now), Room::Resting(_))
    }

    /// Finds its share anew: linear from a tenth, as Envoy and nginx have it. Whether it has the whole.
    pub(crate) fn warm_up(&mut self, slow_start: Option<Duration>, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.opened);
        let warmth = match slow_start {
            Some(span) if age < span => (age.as_secs_f64() / span.as_secs_f64()).max(COLDEST),
            _ => 1.0,
        };
        self.share = ((f64::from(self.weight) * f64::from(SHARES)) * warmth) as u64;
        warmth >= 1.0
    }

    pub(crate) fn room(&self, limits: &Limits, now: Instant) -> Room {
        if let Some(cause) = self.breaker.closed(now) {
            Room::Resting(cause)
        } else if self.max_sessions(limits, now).is_some_and(|max| self.live() >= max) {
            Room::Full
        } else if self.handshakes >= self.gauge.bound(limits.max_handshakes_per_server).0 {
            Room::Busy
        } else {
            Room::Free
        }
    }

    /// Sessions and handshakes in flight that it may have at once.
    pub(crate) fn max_sessions(&self, limits: &Limits, now: Instant) -> Option<u32> {
        self.stock.bound(limits.max_sessions_per_server, now).limit()
    }

    /// Why it takes no new client, in words.
    pub(crate) fn refuses(&self, limits: &Limits, now: Instant) -> Option<String> {
        if self.gone {
            return Some("it is no longer configured".into());
        }
        if self.weight == 0 {
            return Some("it stands by, or its name no longer leads to it".into());
        }
        if self.down {
            return Some("a health check found it down".into());
        }
        let number = |n: u32| grouped(n.into());
        Some(match self.room(limits, now) {
            Room::Free => return None,
            Room::Full => {
                let cap = self.stock.bound(limits.max_sessions_per_server, now);
                let most = number(cap.limit().unwrap_or_default());
                format!("sessions: {} held, {most} possible ({})", number(self.live()), cap.source())
            }
            Room::Busy => {
                let (most, cap) = self.gauge.bound(limits.max_handshakes_per_server);
                let (in_flight, most) = (number(self.handshakes), number(most));
                format!("handshakes: {in_flight} in flight, {most} possible ({})", cap.source())
            }
            Room::Resting(cause) => {
                let left = self.rest_ends().map_or(Duration::ZERO, |end| end.saturating_duration_since(now));
                let why = if cause == Cause::Failure { "it failed" } else { "it asked for rest" };
                format!("{why}: {:.1} s of rest left", left.as_secs_f64())
            }
        })
    }

    /// Which limit keeps new clients from it.
    pub(crate) fn limit(&self, limits: &Limits, now: Instant) -> Option<&'static str> {
        match self.room(limits, now) {
            Room::Free | Room::Resting(_) => None,
            Room::Full => Some(match self.stock.bound(limits.max_sessions_per_server, now) {
                Cap::Announced(_) => "sessions_announced",
                Cap::Learned(_) => "sessions_learned",
                Cap::Declared(_) | Cap::Measured(_) | Cap::Unlimited => "max_sessions_per_server",
            }),
            Room::Busy => Some(match self.gauge.bound(limits.max_handshakes_per_server).1 {
                Cap::Declared(_) => "max_handshakes_per_server",
                // Unlimited: the most that is risked where nothing was measured yet.
                Cap::Measured(_) | Cap::Unlimited | Cap::Announced(_) | Cap::Learned(_) => "handshakes_measured",
            }),
        }
    }

    /// The end of its rest, which may lie in the past.
    pub(crate) fn rest_ends(&self) -> Option<Instant> {
        self.breaker.until()
    }

    /// What it has lately shown it can take, per second; 0 while it takes nobody. In quiet times that is more than it
    /// was ever given: its latency tells.
    pub(crate) fn shown_rate(&self, limits: &Limits, now: Instant) -> f64 {
        match self.room(limits, now) {
            Room::Free | Room::Busy => self.rate.rate(now).max(self.gauge.shown_rate(now)),
            Room::Full | Room::Resting(_) => 0.0,
        }
    }

    pub(crate) fn on_dial(&mut self, serial: u64, now: Instant) {
        self.handshakes += 1;
        self.gauge.on_dial(self.handshakes, now);
        self.breaker.on_dial(serial);
    }

    /// `next` is the serial of the next permit to be issued.
    pub(crate) fn on_outcome(
        &mut self,
        outcome: Outcome,
        serial: u64,
        next: u64,
        limits: &Limits,
        now: Instant,
        rng: &mut Rng,
    ) -> bool {
        let fault = match outcome {
            Outcome::Established { latency } => {
                self.on_established(latency, limits, now);
                return false;
            }
            Outcome::Overloaded { retry_after } => {
                self.breaker.on_overload(retry_after, next, now, rng);
                self.gauge.restart();
                return true;
            }
            Outcome::Refused => {
                self.breaker.on_answer(now);
                return false;
            }
            Outcome::Cancelled => return false,
            Outcome::ConnectFailed => Fault::Connect,
            Outcome::TimedOut | Outcome::Failed => {
                // What began before the outage must not cut the ramp after it.
                if self.breaker.is_news(serial) {
                    self.gauge.on_dropped(now);
                }
                Fault::Other
            }
        };
        let rests = self.breaker.on_failure(fault, serial, next, now, rng);
        if rests {
            self.gauge.restart();
        }
        rests
    }

    pub(crate) fn on_release(&mut self, serial: u64, was_session: bool) {
        let count = if was_session { &mut self.sessions } else { &mut self.handshakes };
        debug_assert!(*count > 0, "a permit of {} came back twice", self.key);
        *count = count.saturating_sub(1);
        self.breaker.on_release(serial);
    }

    pub(crate) fn snapshot(&self, limits: &Limits, now: Instant) -> EndpointSnapshot {
        EndpointSnapshot {
            id: self.id,
            key: self.key.clone(),
            weight: if self.gone { 0 } else { self.weight },
            down: self.down,
            sessions: self.sessions,
            handshakes: self.handshakes,
            max_sessions: self.stock.bound(limits.max_sessions_per_server, now),
            max_handshakes: self.gauge.bound(limits.max_handshakes_per_server).1,
            refuses: self.refuses(limits, now),
            cooling_until: self.rest_ends().filter(|&until| until > now),
        }
    }

    fn on_established(&mut self, latency: Duration, limits: &Limits, now: Instant) {
        self.gauge.on_established(latency, self.handshakes, limits.max_handshakes_per_server, now);
        self.stock.measure(self.live(), now);
        self.stock.on_established();
        self.breaker.on_answer(now);
        self.rate.add(now);
        self.handshakes = self.handshakes.saturating_sub(1);
        self.sessions += 1;
    }
}
