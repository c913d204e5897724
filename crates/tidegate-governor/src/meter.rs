//! How much of something happened lately, without a history of it.

use std::time::{Duration, Instant};

/// A count that fades: what was added weighs about `1 / e` after one `memory`.
#[derive(Debug)]
pub(crate) struct Fading {
    memory_s: f64,
    value: f64,
    at: Option<Instant>,
}

impl Fading {
    pub(crate) fn new(memory: Duration) -> Self {
        Self { memory_s: memory.as_secs_f64(), value: 0.0, at: None }
    }

    /// What it was before.
    pub(crate) fn add(&mut self, now: Instant) -> f64 {
        let before = self.get(now);
        self.value = before + 1.0;
        self.at = self.at.max(Some(now));
        before
    }

    /// One fewer, if there is one.
    pub(crate) fn take(&mut self, now: Instant) {
        self.value = (self.get(now) - 1.0).max(0.0);
        self.at = self.at.max(Some(now));
    }

    pub(crate) fn get(&self, now: Instant) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        if at >= now {
            return self.value;
        }
        // 1 / (1 + x) rather than e^-x: no transcendental, and it never goes below zero.
        self.value / (1.0 + now.saturating_duration_since(at).as_secs_f64() / self.memory_s)
    }

    /// Per second.
    pub(crate) fn rate(&self, now: Instant) -> f64 {
        self.get(now) / self.memory_s
    }
}

/// The most that happened in any one second, forgotten evenly over ten minutes.
///
/// The rate of a quiet hour says nothing about what an endpoint *can* take; its best second does.
#[derive(Debug, Default)]
pub(crate) struct Peak {
    since: Option<Instant>,
    count: u32,
    best: f64,
}

const SECOND: Duration = Duration::from_secs(1);
const PEAK_MEMORY_S: f64 = 600.0;

impl Peak {
    pub(crate) fn add(&mut self, now: Instant) {
        match self.since {
            Some(since) if now.saturating_duration_since(since) < SECOND => self.count += 1,
            _ => {
                self.best = self.rate(now);
                self.since = Some(now);
                self.count = 1;
            }
        }
    }

    /// Per second.
    pub(crate) fn rate(&self, now: Instant) -> f64 {
        let Some(since) = self.since else { return 0.0 };
        let age = now.saturating_duration_since(since).as_secs_f64();
        self.best.max(f64::from(self.count)) * (1.0 - age / PEAK_MEMORY_S).max(0.0)
    }
}

/// The highest of something lately, forgotten evenly over ten minutes.
#[derive(Debug, Default)]
pub(crate) struct Highest {
    most: f64,
    at: Option<Instant>,
}

impl Highest {
    pub(crate) fn note(&mut self, value: f64, now: Instant) {
        if value >= self.get(now) {
            self.set(value, now);
        }
    }

    /// Whatever it was before.
    pub(crate) fn set(&mut self, value: f64, now: Instant) {
        *self = Self { most: value, at: Some(now) };
    }

    /// Not forgotten for so long.
    pub(crate) fn hold(&mut self, span: Duration, now: Instant) {
        self.at = self.at.map(|at| (at + span).min(now));
    }

    pub(crate) fn get(&self, now: Instant) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        let age = now.saturating_duration_since(at).as_secs_f64();
        self.most * (1.0 - age / PEAK_MEMORY_S).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::base;

    #[test]
    fn a_steady_stream_shows_its_rate_and_fades_when_it_stops() {
        let (mut meter, t0) = (Fading::new(Duration::from_secs(5)), base());
        let mut now = t0;
        for _ in 0..20_000 {
            now += Duration::from_millis(10);
            meter.add(now);
        }
        assert!((95.0..105.0).contains(&meter.rate(now)), "{}", meter.rate(now));
        assert!(meter.rate(now + Duration::from_secs(500)) < 1.0);
    }

    #[test]
    fn the_best_second_is_remembered_for_ten_minutes() {
        let (mut peak, t0) = (Peak::default(), base());
        (0..50).for_each(|_| peak.add(t0));
        peak.add(t0 + Duration::from_secs(60));
        let rate = peak.rate(t0 + Duration::from_secs(60));
        assert!((44.0..=50.0).contains(&rate), "{rate}");
        assert_eq!(peak.rate(t0 + Duration::from_secs(700)), 0.0);
    }
}
