//! What happens to the fleet. Each begins with all clients in, at three quarters of what the fleet can take, unless it
//! is about beginning itself.

mod fleet;
mod herd;

pub(crate) use fleet::NAMES;
pub(crate) use herd::HERD;

use crate::{Ns, client::Kind, upstream::Capacity};

/// Something that befalls the fleet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// It dies, with its sessions.
    Stop(u16),
    /// It comes back, cold.
    Start(u16),
    /// So much of its speed is left.
    Health(u16, f64),
    /// It takes connections and never answers.
    Stall(u16, bool),
    /// So many of a thousand handshakes are answered 503 for no reason.
    Lie(u16, u64),
    /// It answers 503 beyond so many handshakes at work.
    Most(u16, usize),
    /// It runs out of memory beyond so many sessions.
    Memory(u16, u32),
    /// It is cold.
    Cold(u16),
    /// A proxy dies, with its clients' connections.
    StopProxy(u8),
    StartProxy(u8),
}

/// Clients that come in a span of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) from: Ns,
    pub(crate) span: Ns,
    pub(crate) count: u32,
    /// Dealt in turn. None: the measured mix.
    pub(crate) kinds: &'static [Kind],
    /// `None`: one of a hundred.
    pub(crate) tenant: Option<u16>,
    /// Mean seconds of a session. `None`: for ever.
    pub(crate) stay: Option<f64>,
    /// Mean seconds after which one is wanted again. `None`: never.
    pub(crate) again: Option<f64>,
    /// After so long without a session it is wanted no more.
    pub(crate) gives_up: Option<Ns>,
}

/// The horizontal scaler of an orchestrator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scaling {
    /// Sessions per endpoint aimed at.
    pub(crate) target: f64,
    pub(crate) every: Ns,
    /// From the order to the first handshake.
    pub(crate) boot: Ns,
    /// Fewer are needed for so long before one is taken away.
    pub(crate) calm: Ns,
}

/// What is compared between policies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Measure {
    /// Seconds until 99 % have a session again.
    Recovery,
    /// Part of the fleet's capacity that became sessions, in this time.
    Goodput(Ns, Ns),
    /// 99 % of the waits of everybody but tenant 0.
    Victims,
    /// Seconds from then until 99 % of all clients have a session.
    Whole(Ns),
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) endpoints: usize,
    /// Endpoints beyond them that may be started.
    pub(crate) spares: usize,
    pub(crate) server: Capacity,
    /// No network to speak of lies between.
    pub(crate) near: bool,
    pub(crate) proxies: usize,
    pub(crate) groups: Vec<Group>,
    pub(crate) script: Vec<(Ns, Act)>,
    pub(crate) scaling: Option<Scaling>,
    pub(crate) measured_from: Ns,
    pub(crate) horizon: Ns,
    pub(crate) measure: Measure,
}

impl Scenario {
    /// One of [`NAMES`] or [`HERD`], for so many clients.
    pub(crate) fn named(name: &str, clients: u32, seed: u64) -> Option<Self> {
        Self::of_the_herd(name, clients).or_else(|| Self::of_a_fleet(name, clients, seed))
    }

    pub(crate) fn clients(&self) -> u32 {
        self.groups.iter().map(|g| g.count).sum()
    }
}

impl Group {
    fn of(count: u32) -> Self {
        Self { from: 0, span: 0, count, kinds: &[], tenant: None, stay: None, again: None, gives_up: None }
    }
}
