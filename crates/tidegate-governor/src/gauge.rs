//! How many handshakes in flight one endpoint can take, when nobody declared it.
//!
//! It is loose while nothing is known: nobody is turned away from an endpoint that has not shown what it can take. Only
//! where several endpoints are new at once (a fleet's cold start, a proxy's restart) they share [`BLIND`]. That ends
//! with the first answer, or after a [`GLANCE`] without one: then it is 8 and one more for each handshake answered.
//! (Ten times what a new endpoint can take, before a proxy that has just started, is else 4096 at once, and their work
//! keeps it from all others for minutes.) Where the first answer took longer, what was sent before it may have swamped
//! the endpoint, and shows nothing: those that share a processor all end late, and no latency among theirs is the base.
//! So nothing is learned of them before there are 8 left. The first window of answers ends that: from then on it is
//! [`HEADROOM`] times what was in flight, as far as that was earned, 8 at least, and gains one place for each handshake
//! answered as fast as the base allows, that is doubles each round. An endpoint that shows no strain is not bound, only
//! never sent more at once than twice what it has just borne. (Loose for as long as there is no strain, a zone's worth
//! of clients falls on the survivors in one second, and what they then have at work is done minutes after its clients
//! have left.)
//!
//! At strain it is [`HEADROOM`] times what the endpoint carries without queueing, which by Little's law is rate x base
//! latency = mean in flight x base / latency; taking it from the handshakes in flight needs no clock and is not diluted
//! by idle time. At that bound an endpoint settles at as many times its base latency: kept busy, hardly queued. It
//! never falls below [`HEADROOM`] times the most the endpoint has carried in the last ten minutes, of which nothing is
//! forgotten at the bound: in a brown-out both the rate falls and the latency rises, and fewer at once would only idle
//! it. Only handshakes lost, or a probe, take it lower. Where fewer than half of the bound are in flight in the mean,
//! what is slow is not so for their number. And as long as handshakes at the bound take no longer than the base latency,
//! it gains one place with each window: a bound of two can show no more than two.
//!
//! After it was down it begins at 4 and gains one place for each handshake answered: however slowly up to what it has
//! carried before, since caches are cold and as many at once are as good as ever; then as above.
//!
//! The base latency is the usual median of windows without load; half of it is news, and taken at once. Under load it
//! only falls, else strain would teach it that slow is normal. Where load never ends it can be wrong for long: learned
//! from cold caches, or true before the endpoint's own database became slower. So an endpoint that is kept at its
//! bound, of four or more, is probed every ten seconds for a second with a fifth fewer ([`Probe`]), which is hardly less
//! than it carries: if its rate does not fall, the lower bound and the base that explains it are kept. Never with many
//! more: beside other proxies before the same endpoint more always pays, and all would climb. A declared bound is the
//! operator's word: only after an outage it stays below, until it has come that far.

use std::time::{Duration, Instant};

use crate::{meter::Highest, snapshot::Cap};

/// The undeclared bound until there is a reason for another; also the highest.
pub(crate) const LOOSE: u32 = 4096;
/// What several endpoints that have shown nothing yet are given together.
const BLIND: u32 = 256;
/// How long handshakes are sent without an answer to any.
const GLANCE: Duration = Duration::from_millis(250);
/// Places that a handshake answered gains while nothing is known: twice as many each round.
const BLIND_GAIN: u32 = 1;
/// The lowest bound that the first answers of an endpoint lead to.
const START: f64 = 8.0;
/// The bound after an outage or a refusal.
const RESTART: f64 = 4.0;
/// One could not tell a slow endpoint from a slow client.
const LOWEST: f64 = 2.0;
/// Handshakes in flight over what the endpoint carries without queueing.
const HEADROOM: f64 = 1.2;
/// Median over base that tells strain while the bound is loose.
const STRAIN: f64 = 2.0;
/// Scheduling noise that is no strain.
const NOISE_S: f64 = 0.002;
/// Mean in flight over the bound from which on their number is what makes them slow.
const CROWDED: f64 = 0.5;
/// In flight that is no load while the bound is loose.
const UNLOADED: f64 = 8.0;
const WINDOW_SAMPLES: u32 = 10;
const WINDOW_SHORTEST: Duration = Duration::from_millis(500);
const WINDOW_LONGEST: Duration = Duration::from_secs(5);
const KEPT: usize = 64;
const PROBE_FIRST: Duration = Duration::from_secs(2);
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// The part of the bound that is tried.
const PROBED: f64 = 0.8;
/// Rate over the rate before down to which fewer do as well.
const PROBE_LOSS: f64 = 0.93;

#[derive(Debug)]
pub(crate) struct Gauge {
    /// Seconds.
    base: Option<f64>,
    /// `None`: loose.
    limit: Option<f64>,
    /// The bound while nothing is known: what is risked at first, then what was earned.
    blind: u32,
    /// Since when handshakes have been in flight of which none is answered.
    blind_since: Option<Instant>,
    /// Once, by a 101.
    answered: bool,
    /// Where that came after a [`GLANCE`]: how many were in flight then and have no answer yet. Counted, since in
    /// observe mode, or with a declared bound, there may never be few again.
    swamp: u32,
    ramping: bool,
    /// Since the last outage the bound has not reached the declared one.
    recovering: bool,
    window: Window,
    cut_at: Option<Instant>,
    /// The most handshakes at once that were carried without queueing.
    carried: Highest,
    probe: Probe,
}

#[derive(Debug)]
struct Window {
    since: Option<Instant>,
    latencies: [f64; KEPT],
    count: u32,
    in_flight: u64,
    peak: u32,
    drops: u32,
}

impl Default for Gauge {
    fn default() -> Self {
        Self {
            base: None,
            limit: None,
            blind: LOOSE,
            blind_since: None,
            answered: false,
            swamp: 0,
            ramping: true,
            recovering: false,
            window: Window::default(),
            cut_at: None,
            carried: Highest::default(),
            probe: Probe::default(),
        }
    }
}

impl Gauge {
    /// The bound in force, and where it comes from.
    pub(crate) fn bound(&self, declared: Option<u32>) -> (u32, Cap) {
        let measured = self.limit.map(|limit| limit.round() as u32);
        match (declared, measured) {
            (Some(declared), Some(ramp)) if self.recovering && ramp < declared => (ramp, Cap::Measured(ramp)),
            (Some(declared), _) => (declared, Cap::Declared(declared)),
            (None, Some(measured)) => (measured, Cap::Measured(measured)),
            (None, None) if self.base.is_none() && self.blind < LOOSE => (self.blind, Cap::Measured(self.blind)),
            (None, None) => (LOOSE, Cap::Unlimited),
        }
    }

    /// Whether it has shown anything.
    pub(crate) fn is_known(&self) -> bool {
        self.base.is_some() || self.limit.is_some()
    }

    /// Handshakes a second that it can do, by Little's law: as many at once as it has carried without queueing, each
    /// in its base latency. 0 while that is not known.
    pub(crate) fn shown_rate(&self, now: Instant) -> f64 {
        self.base.map_or(0.0, |base| self.carried.get(now) / base.max(NOISE_S))
    }

    /// One of so many endpoints. Beside others that have shown what they can take it begins like one that was down: it
    /// has the fewest sessions and would get all newcomers at once. What is not known is not sent to each of many.
    pub(crate) fn begin(&mut self, endpoints: usize, others_known: bool) {
        match endpoints {
            _ if others_known => self.restart(),
            0 | 1 => self.blind = LOOSE,
            several => self.blind = (BLIND / several as u32).max(START as u32),
        }
    }

    /// A handshake begins; `in_flight` counts it.
    pub(crate) fn on_dial(&mut self, in_flight: u32, now: Instant) {
        if self.answered || self.is_known() {
            return;
        }
        match self.blind_since {
            Some(since) if in_flight > 1 => {
                if now.saturating_duration_since(since) >= GLANCE {
                    self.blind = START as u32;
                }
            }
            _ => self.blind_since = Some(now),
        }
    }

    /// It was down or asked for rest: begin anew.
    pub(crate) fn restart(&mut self) {
        self.limit = Some(RESTART);
        self.ramping = true;
        self.recovering = true;
        self.window = Window::default();
        self.probe.stop();
    }

    /// A handshake was answered with a 101; `in_flight` counts it.
    pub(crate) fn on_established(&mut self, latency: Duration, in_flight: u32, declared: Option<u32>, now: Instant) {
        if self.base.is_none() && !self.earn(in_flight, now) {
            return;
        }
        let latency_s = latency.as_secs_f64();
        if let Some(limit) = &mut self.limit
            && self.ramping
            && f64::from(in_flight) >= *limit / 2.0
            && (*limit < self.carried.get(now) || self.base.is_none_or(|base| latency_s <= HEADROOM * base + NOISE_S))
        {
            *limit += 1.0;
        }
        if self.window.is_stale(now) {
            self.close_window(now);
        }
        self.window.add(latency_s, in_flight, now);
        if self.window.is_full(now) {
            self.close_window(now);
        }
        if self.limit.is_some_and(|limit| limit >= f64::from(LOOSE)) {
            self.limit = None;
            self.ramping = false;
        }
        self.recovering &=
            self.limit.is_some_and(|limit| declared.is_some_and(|declared| (limit.round() as u32) < declared));
    }

    /// While nothing is known: takes in an answer. Whether it says anything of the endpoint.
    fn earn(&mut self, in_flight: u32, now: Instant) -> bool {
        if !self.answered {
            let waited = self.blind_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            self.swamp = if waited >= GLANCE { in_flight } else { 0 };
            (self.answered, self.blind) = (true, START as u32);
        }
        if self.swamp > 0 && in_flight > self.blind {
            self.swamp -= 1;
            return false;
        }
        self.swamp = 0;
        self.blind = (self.blind + BLIND_GAIN).min(LOOSE);
        true
    }

    /// A handshake timed out or failed after the connection stood.
    pub(crate) fn on_dropped(&mut self, now: Instant) {
        self.window.drops += 1;
        let Some(limit) = self.limit else {
            self.limit = Some(self.measured().clamp(RESTART, f64::from(LOOSE - 1)));
            self.ramping = true;
            return;
        };
        let enough = 2.max((self.window.count + self.window.drops) / 20);
        let may_cut = self.cut_at.is_none_or(|at| now.saturating_duration_since(at) >= WINDOW_SHORTEST);
        if self.window.drops >= enough && may_cut {
            self.limit = Some((0.7 * limit).max(LOWEST));
            self.ramping = false;
            self.probe.stop();
            self.cut_at = Some(now);
            self.window = Window::default();
        }
    }

    fn close_window(&mut self, now: Instant) {
        let Some(median) = self.window.median() else {
            self.window = Window::default();
            return;
        };
        let peak = f64::from(self.window.peak);
        let loaded = match self.limit {
            None => peak > UNLOADED,
            Some(limit) => peak > (limit / 3.0).max(LOWEST) || peak >= limit.round(),
        };
        let unknown = self.base.is_none();
        let base = match self.base {
            Some(base) if median < base / 2.0 => median,
            Some(base) if median >= base && loaded => base,
            Some(base) => base + (median - base) / 4.0,
            None => median,
        };
        self.base = Some(base);
        if self.probe_on(now) {
            self.window = Window::default();
            return;
        }
        let measured = self.measured();
        self.carried.note(measured / HEADROOM, now);
        let used = self.limit.map_or(1.0, |limit| self.window.mean() / limit);
        let age = self.window.age(now);
        self.window = Window::default();
        if unknown && self.limit.is_none() {
            self.limit = Some(measured.min(self.blind.into()).max(START));
            return;
        }
        let tolerated = if self.limit.is_some() { HEADROOM } else { STRAIN };
        let strained = median > tolerated * base + NOISE_S;
        if strained && loaded && used >= CROWDED {
            // At its bound it cannot show again what it carried: only a probe may forget that.
            self.carried.hold(age, now);
            let limit = self.limit.map_or(measured, |limit| limit.min(f64::midpoint(limit, measured)));
            let floor = (HEADROOM * self.carried.get(now)).min(self.limit.unwrap_or(f64::MAX));
            let limit = limit.clamp(floor.max(LOWEST), f64::from(LOOSE - 1));
            self.limit = Some(limit);
            // One that was down is slow while it is cold, however few there are: it still goes as far as it came before.
            self.ramping &= limit < self.carried.get(now);
        } else if let Some(limit) = &mut self.limit
            && !strained
            && peak >= *limit / 2.0
        {
            *limit = limit.max(measured);
            if peak >= limit.round() && median <= base + NOISE_S {
                *limit += 1.0;
            }
        }
    }

    /// Takes a full window to the probe; true while the bound is the probe's.
    fn probe_on(&mut self, now: Instant) -> bool {
        let Some(limit) = self.limit else { return false };
        let window = &self.window;
        let rate = f64::from(window.count) / window.age(now).as_secs_f64().max(1e-3);
        let saturated = f64::from(window.peak) >= limit.round() && !self.ramping && window.drops == 0;
        match self.probe.step(limit, rate, saturated, now) {
            Step::Rest => return false,
            Step::Hold => {}
            Step::Try(tried) => self.limit = Some(tried),
            Step::Undo(before) => self.limit = Some(before),
            Step::Keep => self.carried.set(limit, now),
        }
        true
    }

    /// [`HEADROOM`] times what the endpoint carried without queueing, by this window.
    fn measured(&self) -> f64 {
        let Some(median) = self.window.median() else { return 0.0 };
        let base = self.base.map_or(median, |base| base.min(median));
        HEADROOM * self.window.mean() * if median > 0.0 { base / median } else { 1.0 }
    }
}

impl Window {
    fn add(&mut self, latency_s: f64, in_flight: u32, now: Instant) {
        self.since.get_or_insert(now);
        self.latencies[self.count as usize % KEPT] = latency_s;
        self.count += 1;
        self.in_flight += u64::from(in_flight);
        self.peak = self.peak.max(in_flight);
    }

    /// In flight. 0 without a sample.
    fn mean(&self) -> f64 {
        self.in_flight as f64 / f64::from(self.count.max(1))
    }

    fn age(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn is_full(&self, now: Instant) -> bool {
        self.count >= WINDOW_SAMPLES && self.age(now) >= WINDOW_SHORTEST
    }

    fn is_stale(&self, now: Instant) -> bool {
        self.age(now) > WINDOW_LONGEST
    }

    /// `None` below three samples: one slow client is no window.
    fn median(&self) -> Option<f64> {
        let kept = (self.count as usize).min(KEPT);
        let mut latencies = self.latencies;
        let (_, median, _) = latencies[..kept].select_nth_unstable_by((kept >= 3).then_some(kept / 2)?, f64::total_cmp);
        Some(*median)
    }
}

impl Default for Window {
    fn default() -> Self {
        Self { since: None, latencies: [0.0; KEPT], count: 0, in_flight: 0, peak: 0, drops: 0 }
    }
}

/// Whether fewer do as well, now and then.
#[derive(Debug, Default)]
struct Probe {
    next: Option<Instant>,
    trial: Option<Trial>,
}

#[derive(Debug)]
struct Trial {
    before: f64,
    rate: f64,
    /// The first window still shows what was in flight before.
    settled: bool,
}

/// What a probe makes of a window.
enum Step {
    Rest,
    Hold,
    Try(f64),
    Undo(f64),
    Keep,
}

impl Probe {
    fn stop(&mut self) {
        self.trial = None;
        self.next = None;
    }

    fn step(&mut self, limit: f64, rate: f64, saturated: bool, now: Instant) -> Step {
        let Some(trial) = &mut self.trial else {
            if !saturated {
                self.next = None;
                return Step::Rest;
            }
            let next = *self.next.get_or_insert(now + PROBE_FIRST);
            let tried = (PROBED * limit).min(limit - 1.0);
            if now < next || tried < LOWEST + 1.0 {
                return Step::Rest;
            }
            self.trial = Some(Trial { before: limit, rate, settled: false });
            return Step::Try(tried);
        };
        if saturated && !trial.settled {
            trial.settled = true;
            return Step::Hold;
        }
        if saturated && rate >= PROBE_LOSS * trial.rate {
            // Perhaps still fewer do.
            (self.trial, self.next) = (None, Some(now));
            return Step::Keep;
        }
        let before = trial.before;
        (self.trial, self.next) = (None, Some(now + PROBE_EVERY));
        Step::Undo(before)
    }
}

#[cfg(test)]
#[path = "gauge_tests.rs"]
mod tests;
