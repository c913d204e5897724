//! What the operator allows. Everything here may change while sessions live.

use std::time::Duration;

/// What the operator allows, and how long clients wait for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Most sessions and handshakes in flight over all endpoints. `None`: unlimited.
    pub max_sessions: Option<u32>,
    /// Most sessions and handshakes in flight on one endpoint. `None`: unlimited (until learned).
    pub max_sessions_per_server: Option<u32>,
    /// Most handshakes in flight on one endpoint. `None`: measured.
    pub max_handshakes_per_server: Option<u32>,
    /// Messages a second over all sessions, both ways, above which nobody enters. `None`: unlimited.
    pub max_message_rate: Option<u64>,
    /// Bytes of messages a second over all sessions, both ways, above which nobody enters. `None`: unlimited.
    pub max_byte_rate: Option<u64>,
    /// Bytes that all sessions together hold for sides that do not take them, above which nobody enters. `None`:
    /// unlimited.
    pub max_buffered_bytes: Option<u64>,
    /// Most handshakes parked. Default 20,000.
    pub max_waiting: u32,
    /// Most bytes that the caller may hold for all of them, by [`Ask::bytes`](crate::Ask::bytes). Default 320 MiB.
    pub max_waiting_bytes: u64,
    /// Longest wait before the answer; each is drawn from 0.8 to 1.0 of it. Default 2.5 s.
    pub queue_timeout: Duration,
    /// The lowest hint a refused client is given. Default 1 s.
    pub retry_after: Duration,
    /// Most that the paced endings of one cause may take. Default 5 s; zero: not paced.
    pub spread: Duration,
    /// Part of the admissions each class of clients is sure of while it has clients waiting, from class 0 on; what is
    /// left over is class 3's. What a class does not use the others have. Default: none, all for class 3.
    pub shares: Vec<f64>,
    /// Most tenants of a class that are told apart: with clients parked, or ahead of the others by a turn. Further ones
    /// share some places. Default 10,000.
    pub max_tenants: u32,
    /// Whether refusals are carried out or only counted.
    pub mode: Mode,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: None,
            max_sessions_per_server: None,
            max_handshakes_per_server: None,
            max_message_rate: None,
            max_byte_rate: None,
            max_buffered_bytes: None,
            max_waiting: 20_000,
            max_waiting_bytes: 320 << 20,
            queue_timeout: Duration::from_millis(2500),
            retry_after: Duration::from_secs(1),
            spread: Duration::from_secs(5),
            shares: Vec::new(),
            max_tenants: 10_000,
            mode: Mode::Enforce,
        }
    }
}

/// Whether the governor acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refusals are carried out.
    Enforce,
    /// Everybody is admitted; refusals are only counted.
    Observe,
}

/// How an endpoint is chosen among those that can take a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// The fewest sessions and handshakes in flight per weight. Default: sessions live for hours, so what was dealt
    /// evenly does not stay even.
    #[default]
    LeastSessions,
    /// The less loaded of two drawn by weight: nearly as even, and several proxies that do not know each other do not
    /// all choose the same endpoint.
    PowerOfTwo,
    /// In turn, by weight, whatever each holds.
    RoundRobin,
}
