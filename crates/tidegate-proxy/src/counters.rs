//! Counters of the hot path: each worker has its own, a scrape adds them up. Adding is a load and a store, never a
//! locked instruction, and no cache line is shared between workers.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use prometheus::{
    IntCounterVec, IntGaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use tidegate_session::Side;
use tidegate_wire::Tally;

/// One route's traffic through one worker.
#[derive(Debug)]
pub(crate) struct RouteCounters {
    route: String,
    up: Direction,
    down: Direction,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Direction {
    frames: [AtomicU64; OPCODES.len()],
    bytes: AtomicU64,
    /// Bytes that have not left on the other side.
    buffered: AtomicU64,
}

/// What one route has carried both ways.
#[derive(Clone, Copy, Default)]
pub(crate) struct Carried {
    pub(crate) messages: u64,
    /// Of payload of data frames.
    pub(crate) bytes: u64,
    /// Now.
    pub(crate) buffered: u64,
}

const OPCODES: [&str; 6] = ["text", "binary", "continuation", "ping", "pong", "close"];

impl RouteCounters {
    /// Adds what `from` sent. Only the worker that owns these counters may call it.
    #[inline]
    pub(crate) fn add(&self, from: Side, tally: &Tally) {
        let direction = self.direction(from);
        let frames = [tally.text, tally.binary, tally.continuation, tally.ping, tally.pong, tally.close];
        for (counter, more) in direction.frames.iter().zip(frames) {
            if more > 0 {
                bump(counter, more.into());
            }
        }
        bump(&direction.bytes, tally.bytes);
    }

    /// Of what `from` sent, a session holds so many bytes, and held so many before. Only the worker that owns these
    /// counters may call it.
    #[inline]
    pub(crate) fn hold(&self, from: Side, before: u32, now: u32) {
        let buffered = &self.direction(from).buffered;
        buffered.store(buffered.load(Relaxed) + u64::from(now) - u64::from(before), Relaxed);
    }

    fn direction(&self, from: Side) -> &Direction {
        match from {
            Side::Client => &self.up,
            Side::Upstream => &self.down,
        }
    }
}

fn bump(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Relaxed) + more, Relaxed);
}

/// The counters of all workers.
#[derive(Clone, Default)]
pub(crate) struct HotCounters {
    all: Arc<Mutex<Vec<Arc<RouteCounters>>>>,
}

impl HotCounters {
    /// Kind, name, help and labels of what is collected here.
    pub(crate) const REFERENCE: [(&'static str, &'static str, &'static str, &'static [&'static str]); 3] = [
        ("counter", "frames_total", "Frames taken in, live.", &["route", "direction", "opcode"]),
        (
            "counter",
            "payload_bytes_total",
            "Payload bytes of data frames, live; compressed ones as they came.",
            &["route", "direction"],
        ),
        (
            "gauge",
            "buffered_bytes",
            "Bytes that came from one side and have not left on the other.",
            &["route", "direction"],
        ),
    ];

    /// What each route that ever was has carried.
    pub(crate) fn by_route(&self) -> HashMap<String, Carried> {
        let mut all: HashMap<String, Carried> = HashMap::new();
        for counters in self.all.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let sum = match all.get_mut(&counters.route) {
                Some(sum) => sum,
                None => all.entry(counters.route.clone()).or_default(),
            };
            for direction in [&counters.up, &counters.down] {
                let [text, binary, ..] = &direction.frames;
                sum.messages += text.load(Relaxed) + binary.load(Relaxed);
                sum.bytes += direction.bytes.load(Relaxed);
                sum.buffered += direction.buffered.load(Relaxed);
            }
        }
        all
    }

    /// Makes the series of a route, if there is none yet.
    pub(crate) fn begin(&self, route: &str) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().any(|counters| counters.route == route);
        drop(all);
        if !known {
            self.for_route(route);
        }
    }

    /// New counters, for one worker to add to.
    pub(crate) fn for_route(&self, route: &str) -> Arc<RouteCounters> {
        let counters =
            Arc::new(RouteCounters { route: route.to_owned(), up: Direction::default(), down: Direction::default() });
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(counters.clone());
        counters
    }
}

impl Collector for HotCounters {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let [frames, bytes, buffered] =
            Self::REFERENCE.map(|(_, name, help, labels)| (Opts::new(format!("tidegate_{name}"), help), labels));
        let counter = |(options, labels)| IntCounterVec::new(options, labels);
        let buffered = IntGaugeVec::new(buffered.0, buffered.1);
        let (Ok(frames), Ok(bytes), Ok(buffered)) = (counter(frames), counter(bytes), buffered) else {
            return Vec::new();
        };
        for counters in self.all.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for (direction, name) in [(&counters.up, "client_to_upstream"), (&counters.down, "upstream_to_client")] {
                for (count, opcode) in direction.frames.iter().zip(OPCODES) {
                    frames.with_label_values(&[&counters.route, name, opcode]).inc_by(count.load(Relaxed));
                }
                bytes.with_label_values(&[&counters.route, name]).inc_by(direction.bytes.load(Relaxed));
                let held = direction.buffered.load(Relaxed) as i64;
                buffered.with_label_values(&[&counters.route, name]).add(held);
            }
        }
        [frames.collect(), bytes.collect(), buffered.collect()].concat()
    }
}
