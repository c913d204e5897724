//! What a client makes of its connection: work, or only trouble.
//!
//! HTTP/2 has many frames that cost their sender nothing and carry nothing (PING, SETTINGS, PRIORITY, empty DATA,
//! WINDOW_UPDATE by single bytes), and requests that are taken back as soon as they are made (CVE-2023-44487). Two
//! ratios tell all of them from use, whatever the next one is called.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

/// Bytes that a client may send for each that is of use to somebody: as nginx has it.
const OVERHEAD: u64 = 8;
/// Overhead that is no abuse yet, in bytes: 60 000 PINGs.
const FREE_OVERHEAD: u64 = 1 << 20;
/// What a frame header or a request is worth, in bytes.
const FRAME: u64 = 9;
const REQUEST: u64 = 128;
/// Requests that a client may take back before their answer. More only if it has let as many others be answered.
const FREE_RESETS: u64 = 100;

/// The counts of one connection. Atomic because hyper's pool may carry a body to another thread.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Bytes that came.
    received: AtomicU64,
    /// Bytes that came or went and were worth it.
    useful: AtomicU64,
    answered: AtomicU64,
    taken_back: AtomicU64,
    streams: AtomicU32,
}

/// Why a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abuse {
    /// Frames that carry nothing.
    Overhead,
    /// Requests that nobody waits for.
    Resets,
}

impl Abuse {
    /// The metric label `limit`.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Overhead => "http2_overhead",
            Self::Resets => "http2_resets",
        }
    }
}

/// One stream, until nobody holds it any more.
#[derive(Debug)]
pub(crate) struct Open(Arc<Traffic>);

impl Traffic {
    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.useful.fetch_add(REQUEST, Relaxed);
        self.streams.fetch_add(1, Relaxed);
        Open(self.clone())
    }

    /// How many streams are open.
    pub(super) fn streams(&self) -> u32 {
        self.streams.load(Relaxed)
    }

    /// A DATA frame of this many bytes came or went.
    pub(super) fn data(&self, bytes: usize) {
        self.useful.fetch_add(bytes as u64 + FRAME, Relaxed);
    }

    /// A request was answered.
    pub(super) fn answered(&self) {
        self.answered.fetch_add(1, Relaxed);
    }

    /// A client no longer wants the answer to its request.
    pub(super) fn taken_back(&self) {
        self.taken_back.fetch_add(1, Relaxed);
    }

    pub(super) fn abuse(&self) -> Option<Abuse> {
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        if count(&self.received) > FREE_OVERHEAD + OVERHEAD * count(&self.useful) {
            return Some(Abuse::Overhead);
        }
        let taken_back = count(&self.taken_back);
        (taken_back > FREE_RESETS && taken_back > count(&self.answered)).then_some(Abuse::Resets)
    }

    /// It was told; its last frames are not to be judged again.
    pub(super) fn forgive(&self) {
        self.received.store(0, Relaxed);
        self.taken_back.store(0, Relaxed);
    }
}

impl Open {
    pub(super) fn traffic(&self) -> &Arc<Traffic> {
        &self.0
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overhead_is_measured_against_use() {
        let traffic = Arc::new(Traffic::default());
        traffic.received(FREE_OVERHEAD as usize);
        assert_eq!(traffic.abuse(), None);
        traffic.received(1);
        assert_eq!(traffic.abuse(), Some(Abuse::Overhead));
        // A message of one byte, acknowledged on its stream and its connection.
        for _ in 0..1_000_000 {
            traffic.data(3);
            traffic.received(26);
        }
        assert_eq!(traffic.abuse(), None);
    }

    #[test]
    fn requests_are_taken_back_by_those_who_wait_for_none() {
        let traffic = Arc::new(Traffic::default());
        (0..FREE_RESETS).for_each(|_| traffic.taken_back());
        assert_eq!(traffic.abuse(), None);
        traffic.taken_back();
        assert_eq!(traffic.abuse(), Some(Abuse::Resets));
        (0..=FREE_RESETS).for_each(|_| traffic.answered());
        assert_eq!(traffic.abuse(), None);
    }

    #[test]
    fn streams_are_counted_while_they_are_held() {
        let traffic = Arc::new(Traffic::default());
        let (first, _second) = (traffic.open(), traffic.open());
        assert_eq!(traffic.streams(), 2);
        drop(first);
        assert_eq!(traffic.streams(), 1);
    }
}
