//! Request limiters that learn from latency, as they would stand before handshakes: one limit for all endpoints, no
//! queue, HTTP 503 above it.

use tidegate_governor::Outcome;

use super::{Answer, Dial, Policy, Who, waiting::Backends};
use crate::{Ns, SECOND, client::End, seconds};

pub(crate) struct Gradient {
    limit: f64,
    in_flight: u32,
    rule: Rule,
    backends: Backends,
}

enum Rule {
    Envoy(Envoy),
    Netflix(Netflix),
}

/// `gradient_controller.cc`, with its defaults.
struct Envoy {
    /// Seconds. `None`: being measured, with three in flight.
    min_rtt: Option<f64>,
    samples: Vec<f64>,
    window_end: Ns,
    measure_at: Ns,
    kept_limit: f64,
    at_floor: u32,
}

const ENVOY_PINNED: f64 = 3.0;
const ENVOY_SAMPLES: usize = 50;
const ENVOY_WINDOW: Ns = SECOND / 10;
const ENVOY_MEASURE: Ns = 60 * SECOND;

/// `Gradient2Limit.java`, with its defaults.
struct Netflix {
    long: f64,
    seen: u32,
}

const NETFLIX_LIMITS: (f64, f64) = (20.0, 200.0);

impl Gradient {
    pub(crate) fn envoy() -> Self {
        let rule = Rule::Envoy(Envoy {
            min_rtt: None,
            samples: Vec::new(),
            window_end: 0,
            measure_at: 0,
            kept_limit: ENVOY_PINNED,
            at_floor: 0,
        });
        Self { limit: ENVOY_PINNED, in_flight: 0, rule, backends: Backends::default() }
    }

    pub(crate) fn netflix() -> Self {
        let rule = Rule::Netflix(Netflix { long: 0.0, seen: 0 });
        Self { limit: NETFLIX_LIMITS.0, in_flight: 0, rule, backends: Backends::default() }
    }
}

impl Envoy {
    fn sample(&mut self, rtt: f64, limit: f64, now: Ns) -> f64 {
        self.samples.push(rtt);
        let Some(min_rtt) = self.min_rtt else {
            if self.samples.len() < ENVOY_SAMPLES {
                return ENVOY_PINNED;
            }
            self.min_rtt = Some(median(&mut self.samples));
            self.samples.clear();
            self.measure_at = now + ENVOY_MEASURE;
            self.window_end = now + ENVOY_WINDOW;
            return self.kept_limit;
        };
        if now >= self.measure_at || self.at_floor >= 5 {
            (self.min_rtt, self.at_floor, self.kept_limit) = (None, 0, limit);
            self.samples.clear();
            return ENVOY_PINNED;
        }
        if now < self.window_end {
            return limit;
        }
        let gradient = (1.25 * min_rtt / median(&mut self.samples)).clamp(0.5, 2.0);
        self.samples.clear();
        self.window_end = now + ENVOY_WINDOW;
        let next = (gradient * limit + (gradient * limit).sqrt()).clamp(ENVOY_PINNED, 1000.0);
        self.at_floor = if next <= ENVOY_PINNED { self.at_floor + 1 } else { 0 };
        next
    }
}

impl Netflix {
    fn sample(&mut self, rtt: f64, limit: f64, in_flight: u32) -> f64 {
        self.seen += 1;
        self.long = if self.seen <= 10 {
            self.long + (rtt - self.long) / f64::from(self.seen)
        } else {
            self.long + (rtt - self.long) * 2.0 / 601.0
        };
        if self.long / rtt > 2.0 {
            self.long *= 0.95;
        }
        if f64::from(in_flight) < limit / 2.0 {
            return limit;
        }
        let gradient = (1.5 * self.long / rtt).clamp(0.5, 1.0);
        let next = limit * gradient + 4.0;
        (0.8 * limit + 0.2 * next).clamp(NETFLIX_LIMITS.0, NETFLIX_LIMITS.1)
    }
}

fn median(samples: &mut [f64]) -> f64 {
    let middle = samples.len() / 2;
    *samples.select_nth_unstable_by(middle, f64::total_cmp).1
}

impl Policy for Gradient {
    fn configure(&mut self, endpoints: &[u16], _now: Ns) {
        self.backends.configure(endpoints);
    }

    fn arrive(&mut self, who: Who<'_>, now: Ns) -> Answer {
        if f64::from(self.in_flight) >= self.limit {
            return Answer::Refuse(End::Http(1));
        }
        let Some(endpoint) = self.backends.least(who.tried, now, |_| true) else {
            return Answer::Refuse(End::Http(1));
        };
        self.in_flight += 1;
        Answer::Dial(Dial { endpoint, token: 0 })
    }

    fn cancel(&mut self, _client: u32, _token: u32, _now: Ns) {}

    fn report(&mut self, dial: Dial, outcome: Outcome, now: Ns) {
        let in_flight = self.in_flight;
        self.in_flight -= 1;
        self.backends.report(dial.endpoint, outcome, now);
        if let Outcome::Established { latency } = outcome {
            let rtt = latency.as_secs_f64().max(seconds(1));
            self.limit = match &mut self.rule {
                Rule::Envoy(envoy) => envoy.sample(rtt, self.limit, now),
                Rule::Netflix(netflix) => netflix.sample(rtt, self.limit, in_flight),
            };
        }
    }

    fn ended(&mut self, dial: Dial, _now: Ns) {
        self.backends.ended(dial.endpoint);
    }

    fn poll(&mut self, _now: Ns) -> Option<(u32, Answer)> {
        None
    }

    fn wake(&self) -> Option<Ns> {
        None
    }
}
