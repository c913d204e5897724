//! What handshakes cost a server, as in the simulator: processor sharing. Up to `rate x base` at once each take their
//! base latency; more share the rate, and beyond that the rate itself falls (by half with twenty times as many more).
//! Work goes on for clients that have left.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// In flight over the knee at which the rate is halved, in units of the knee.
const COHERENCE: f64 = 20.0;

/// Handshakes that a server can do.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Per second, when warm and well.
    pub rate: f64,
    /// Seconds that one takes when there are few.
    pub base: f64,
    /// Part of the rate at the start.
    pub cold: f64,
    /// Until the whole rate is there; grows evenly.
    pub warm_after: Duration,
}

impl Capacity {
    /// Warm from the start.
    pub const fn warm(rate: f64, base: f64) -> Self {
        Self { rate, base, cold: 1.0, warm_after: Duration::ZERO }
    }

    /// The part of the rate that is there at this age.
    fn warmth(&self, age: Duration) -> f64 {
        let grown = if self.warm_after.is_zero() { 1.0 } else { age.as_secs_f64() / self.warm_after.as_secs_f64() };
        (self.cold + (1.0 - self.cold) * grown).min(1.0)
    }

    /// The part of its speed that each of so many jobs has.
    fn share(&self, jobs: usize) -> f64 {
        let (n, knee) = (jobs as f64, self.rate * self.base);
        let strain = 1.0 + (n - knee).max(0.0) / (COHERENCE * knee);
        (knee / n / strain).min(1.0)
    }

    /// The least time in which so many handshakes can be done after the start: no proxy can beat it.
    pub fn bound(&self, count: f64) -> Duration {
        let warm_after = self.warm_after.as_secs_f64();
        let while_cold = self.rate * warm_after * f64::midpoint(self.cold, 1.0);
        let seconds = if count >= while_cold {
            warm_after + (count - while_cold) / self.rate
        } else {
            // count = rate (cold t + (1 - cold) t^2 / 2 warm_after)
            let (a, b) = ((1.0 - self.cold) / (2.0 * warm_after), self.cold);
            ((b * b + 4.0 * a * count / self.rate).sqrt() - b) / (2.0 * a)
        };
        Duration::from_secs_f64(seconds + self.base)
    }
}

/// The handshakes at work.
#[derive(Debug)]
pub(crate) struct Work<Job> {
    capacity: Capacity,
    started: Instant,
    at: Instant,
    /// Service given to each job so far, in nanoseconds.
    served: f64,
    jobs: BTreeMap<(u64, u64), Job>,
    serial: u64,
    /// Nobody has asked for them yet. They take no part of the rate.
    done: VecDeque<Job>,
}

impl<Job> Work<Job> {
    pub(crate) fn new(capacity: Capacity, now: Instant) -> Self {
        Self { capacity, started: now, at: now, served: 0.0, jobs: BTreeMap::new(), serial: 0, done: VecDeque::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// `health`: the part of its speed that it has, since the last call.
    pub(crate) fn advance(&mut self, health: f64, now: Instant) {
        let mut left = now.saturating_duration_since(self.at).as_nanos() as f64;
        self.at = now;
        let speed = health * self.capacity.warmth(now.saturating_duration_since(self.started));
        while let Some(first) = self.jobs.first_entry() {
            let missing = (first.key().0 as f64 - self.served).max(0.0);
            let share = speed * self.capacity.share(self.jobs.len());
            if share * left < missing {
                self.served += share * left;
                return;
            }
            // The others share its part from then on, not from when it is asked for.
            if missing > 0.0 {
                left -= missing / share;
                self.served += missing;
            }
            self.done.extend(self.jobs.pop_first().map(|(_, job)| job));
        }
    }

    /// Call [`advance`](Self::advance) first.
    pub(crate) fn take(&mut self, job: Job) {
        let end = self.served + self.capacity.base * 1e9;
        self.jobs.insert((end as u64, self.serial), job);
        self.serial += 1;
    }

    /// What is done by now.
    pub(crate) fn finished(&mut self) -> Option<Job> {
        self.done.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Handshakes done in ten seconds with always so many at work.
    fn done(capacity: Capacity, at_once: usize, health: f64) -> usize {
        let t0 = bench_rig::clock::now();
        let (mut work, mut done) = (Work::new(capacity, t0), 0);
        for ms in 0..10_000 {
            work.advance(health, t0 + Duration::from_millis(ms));
            while work.finished().is_some() {
                done += 1;
            }
            while work.len() < at_once {
                work.take(());
            }
        }
        done
    }

    #[test]
    fn as_many_as_rate_times_base_keep_it_busy_and_more_slow_it_down() {
        let capacity = Capacity::warm(100.0, 0.2);
        let near = |got: usize, wanted: f64| (got as f64 - wanted).abs() < 0.06 * wanted;
        assert!(near(done(capacity, 10, 1.0), 500.0), "half of the places, half of the rate");
        assert!(near(done(capacity, 20, 1.0), 1000.0));
        // They are done a crowd at a time: the first at 8.4 s.
        assert_eq!(done(capacity, 420, 1.0), 420, "half of the rate");
        assert!(near(done(capacity, 20, 0.4), 400.0));
    }

    #[test]
    fn nothing_is_lost_between_two_looks() {
        let capacity = Capacity::warm(100.0, 0.2);
        let t0 = bench_rig::clock::now();
        // Half as many again as keep it busy, one begun after the other, each followed by the next at the next look.
        let (mut work, mut done) = (Work::new(capacity, t0), 0);
        for look in 0..2000 {
            work.advance(1.0, t0 + Duration::from_millis(5 * look));
            while work.finished().is_some() {
                done += 1;
                work.take(());
            }
            if look % 2 == 0 && look < 60 {
                work.take(());
            }
        }
        let strain = 1.0 + 0.5 / COHERENCE;
        assert!((970..980).contains(&((f64::from(done) * strain) as u32)), "{done} in ten seconds, the first in 0.3");
    }

    #[test]
    fn the_bound_is_what_the_work_takes() {
        let capacity = Capacity { cold: 0.25, warm_after: Duration::from_secs(20), ..Capacity::warm(100.0, 0.2) };
        let got = done(capacity, 20, 1.0) as f64;
        let bound = capacity.bound(got).as_secs_f64();
        assert!((9.0..10.5).contains(&bound), "{got} in {bound} s");
        assert_eq!(capacity.bound(1250.0 + 500.0).as_millis(), 25_200);
    }
}
