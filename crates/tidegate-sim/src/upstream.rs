//! One endpoint of the upstream: how long handshakes take, and what too many of them do to it.
//!
//! Processor sharing: up to `rate x base` handshakes at once each take their base latency, more share the rate. Beyond
//! that the rate itself falls (the universal scalability law's coherence term): with 20 times as many it is halved.
//! Work goes on for clients that have left. At a minute of backlog it runs out of memory and restarts.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{Ns, SECOND, seconds};

/// Base latency of a handshake in a fleet, in seconds.
pub(crate) const BASE: f64 = 0.05;
/// Of an endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    /// Handshakes per second when warm and well.
    pub(crate) rate: f64,
    /// Seconds of one on an idle endpoint.
    pub(crate) base: f64,
    /// How fast it is at once after a start.
    pub(crate) cold: f64,
    /// Seconds until it is warm.
    pub(crate) warm_after: f64,
    /// Each handshake is as much work as the other; else from half to one and a half times the mean.
    pub(crate) even: bool,
    /// Seconds of work at which it crashes.
    pub(crate) crashes: f64,
}

impl Capacity {
    /// Of one of many.
    pub(crate) fn fleet(rate: f64) -> Self {
        Self { rate, base: BASE, cold: COLD, warm_after: WARM_AFTER, even: false, crashes: CRASH_BACKLOG }
    }
}

/// In flight over the knee at which the rate is halved, in units of the knee.
const COHERENCE: f64 = 20.0;
/// Seconds of work at which it crashes.
const CRASH_BACKLOG: f64 = 60.0;
/// How fast it is at once after a start, and when it is warm.
const COLD: f64 = 0.2;
const WARM_AFTER: f64 = 30.0;

/// A handshake at work: whose, and which attempt of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Job {
    pub(crate) client: u32,
    pub(crate) attempt: u32,
}

pub(crate) struct Endpoint {
    pub(crate) up: bool,
    /// Takes connections and never answers.
    pub(crate) stalled: bool,
    /// Answers so many of a thousand handshakes with 503, for no reason.
    pub(crate) lies: u64,
    /// Most handshakes at work before it answers 503. `None`: it takes all.
    pub(crate) most: Option<usize>,
    capacity: Capacity,
    /// A brown-out.
    pub(crate) health: f64,
    /// Sessions it holds.
    pub(crate) sessions: u32,
    /// Sessions at which it runs out of memory.
    pub(crate) memory: Option<u32>,
    started: Option<Ns>,
    /// Service given to each job so far, in seconds.
    served: f64,
    at: Ns,
    jobs: BinaryHeap<Reverse<(u64, Job)>>,
    /// When the engine was told to look again.
    pub(crate) scheduled: Option<Ns>,
}

impl Endpoint {
    pub(crate) fn new(capacity: Capacity) -> Self {
        Self {
            up: true,
            stalled: false,
            lies: 0,
            most: None,
            capacity,
            health: 1.0,
            sessions: 0,
            memory: None,
            started: None,
            served: 0.0,
            at: 0,
            jobs: BinaryHeap::new(),
            scheduled: None,
        }
    }

    pub(crate) fn start(&mut self, now: Ns, cold: bool) {
        self.advance(now);
        self.up = true;
        self.started = cold.then_some(now);
    }

    /// It is gone, and with it the handshakes it had at work.
    pub(crate) fn stop(&mut self, now: Ns) -> Vec<Job> {
        self.advance(now);
        self.up = false;
        self.sessions = 0;
        let mut jobs: Vec<Job> = std::mem::take(&mut self.jobs).into_iter().map(|Reverse((_, job))| job).collect();
        jobs.sort_unstable();
        jobs
    }

    /// `demand`: its work in units of the base latency. Whether it survives it.
    pub(crate) fn take(&mut self, job: Job, demand: f64, now: Ns) -> bool {
        self.advance(now);
        let demand = if self.capacity.even { 1.0 } else { demand };
        let finish = self.served + demand * self.capacity.base;
        // Picoseconds of service as an integer: an order without ties by rounding.
        self.jobs.push(Reverse(((finish * 1e12) as u64, job)));
        (self.jobs.len() as f64) < self.capacity.crashes * self.capacity.rate
    }

    /// Work that is done by now.
    pub(crate) fn finished(&mut self, now: Ns) -> Option<Job> {
        self.advance(now);
        let &Reverse((finish, job)) = self.jobs.peek()?;
        // A nanosecond of grace for rounding.
        (finish as f64 <= self.served * 1e12 + 1e3).then(|| {
            self.jobs.pop();
            job
        })
    }

    /// When the next job will be done if nothing changes.
    pub(crate) fn next(&self, now: Ns) -> Option<Ns> {
        let &Reverse((finish, _)) = self.jobs.peek()?;
        let speed = self.speed_of_each(now);
        let left = (finish as f64 / 1e12 - self.served).max(0.0);
        // Rounded up, and looked at again while it warms up.
        (speed > 0.0).then(|| now + ((left / speed * SECOND as f64) as Ns + 1).min(SECOND / 4))
    }

    pub(crate) fn at_work(&self) -> usize {
        self.jobs.len()
    }

    /// Handshakes per second it can do now.
    pub(crate) fn capacity(&self, now: Ns) -> f64 {
        if self.up && !self.stalled { self.capacity.rate * self.speed(now) } else { 0.0 }
    }

    fn advance(&mut self, now: Ns) {
        self.served += self.speed_of_each(self.at) * seconds(now - self.at);
        self.at = now;
    }

    fn speed(&self, now: Ns) -> f64 {
        let age = self.started.map_or(f64::MAX, |started| seconds(now - started));
        let Capacity { cold, warm_after, .. } = self.capacity;
        self.health * if age < warm_after { (cold + (1.0 - cold) * age / warm_after).min(1.0) } else { 1.0 }
    }

    fn speed_of_each(&self, now: Ns) -> f64 {
        if self.stalled || self.jobs.is_empty() {
            return 0.0;
        }
        let (n, knee) = (self.jobs.len() as f64, self.capacity.rate * self.capacity.base);
        let strain = 1.0 + ((n - knee).max(0.0) / (COHERENCE * knee));
        self.speed(now) * (knee / n / strain).min(1.0)
    }
}
