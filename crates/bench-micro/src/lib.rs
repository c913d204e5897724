//! What the pure crates do on the way of a message and of a handshake, one operation at a time: for a clock
//! (`benches/micro.rs`) and for callgrind (`main.rs`).

pub mod governor;
pub mod routes;
pub mod session;
pub mod wire;

use std::{fmt, time::Instant};

/// One operation that can be done over and over.
#[derive(Clone, Copy)]
pub struct Workload {
    /// What it is.
    pub name: &'static str,
    /// Makes everything it needs, and gives the operation.
    pub prepare: fn() -> Operation,
    /// How often it is done under callgrind.
    pub times: u32,
    /// What it may take in nanoseconds, where that was promised.
    pub limit_ns: Option<u64>,
}

/// What is measured.
pub type Operation = Box<dyn FnMut()>;

impl Workload {
    const fn within(self, ns: u64) -> Self {
        Self { limit_ns: Some(ns), ..self }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn workload(name: &'static str, prepare: fn() -> Operation, times: u32) -> Workload {
    Workload { name, prepare, times, limit_ns: None }
}

/// All there are.
pub const WORKLOADS: &[Workload] = &[
    workload("scanner, text of 32 B, masked", wire::small_masked, 1000),
    workload("scanner, text of 32 B, unmasked", wire::small_unmasked, 1000),
    workload("scanner, 64 texts of 32 B in one read", wire::burst, 100),
    workload("scanner, text of 16 KiB, masked", wire::large_text, 50),
    workload("scanner, binary of 16 KiB, masked", wire::large_binary, 1000),
    workload("scanner, text of 128 KiB in four reads", wire::in_pieces, 20),
    workload("scanner, ping", wire::ping, 1000),
    workload("utf-8, 1 KiB of ASCII, masked", wire::ascii, 500),
    workload("utf-8, 1 KiB of Japanese, masked", wire::japanese, 100),
    workload("mask, 1 KiB", wire::mask, 500),
    workload("contract, every end for both sides", session::contract, 100),
    workload("session, one message relayed", session::relay, 1000),
    workload("session, opened, closed, answered", session::life, 500),
    workload("governor, admitted to one of 3 servers", governor::of_three, 1000).within(1000),
    workload("governor, admitted to one of 100 servers", governor::of_a_hundred, 500),
    workload("governor, refused", governor::refused, 500).within(1000),
    workload("routes, the only one", routes::only, 1000),
    workload("routes, the last of 100", routes::last, 500),
];

/// The current time, once for each preparation: the pure crates are told the time.
#[expect(clippy::disallowed_methods, reason = "a benchmark has to begin somewhere, and to measure")]
pub fn now() -> Instant {
    Instant::now()
}
