//! What the governor holds and has done, for metrics and the operator.

use std::time::Instant;

use crate::{CLASSES, EndpointId, Reason, Traffic};

/// What the governor holds and has done. Counts of things done only grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// In order of first appearance; those that have gone away stay until their last permit comes back.
    pub endpoints: Vec<EndpointSnapshot>,
    /// Sessions and handshakes in flight over all endpoints: `issued - returned`.
    pub live: u32,
    /// Parked clients, the shed ones included.
    pub waiting: u32,
    /// What their owner holds for them, in bytes.
    pub waiting_bytes: u64,
    /// As many, and as much, as may be.
    pub max_waiting: u32,
    /// In bytes.
    pub max_waiting_bytes: u64,
    /// The queue is in overload: newest first, and clients are shed.
    pub overloaded: bool,
    /// Permits ever issued.
    pub issued: u64,
    /// Permits ever returned.
    pub returned: u64,
    /// What goes through.
    pub traffic: Traffic,
    /// Tenants that are told apart: with clients parked, or ahead of the others by a turn.
    pub tenants: u32,
    /// What each class has, by its number.
    pub classes: [ClassUse; CLASSES],
    /// Admissions by the way they came about.
    pub admitted: Admitted,
    /// Refusals by reason. In observe mode: what would have been refused or parked.
    pub refused: Refused,
    /// Clients that left while they were parked.
    pub cancelled: u64,
    /// Parked clients that lost their place before their wait ended.
    pub shed: u64,
    /// Why nobody can enter now, in words with numbers; `None` while somebody can.
    pub refuses: Option<String>,
}

/// One endpoint of a [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSnapshot {
    /// Its id.
    pub id: EndpointId,
    /// The caller's own key for it.
    pub key: String,
    /// Its weight. 0: gone away, only counted down.
    pub weight: u32,
    /// A health check found it so: it takes no new client.
    pub down: bool,
    /// Sessions held.
    pub sessions: u32,
    /// Handshakes in flight.
    pub handshakes: u32,
    /// The bound on sessions and handshakes in flight.
    pub max_sessions: Cap,
    /// The bound on handshakes in flight.
    pub max_handshakes: Cap,
    /// Why it takes no new client now, in words with numbers; `None` while it does.
    pub refuses: Option<String>,
    /// No new handshake until then.
    pub cooling_until: Option<Instant>,
}

/// What the clients of one class have now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassUse {
    /// Sessions and handshakes in flight.
    pub live: u32,
    /// Parked clients.
    pub waiting: u32,
}

/// A bound and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    /// The operator declared it.
    Declared(u32),
    /// The endpoint said so itself.
    Announced(u32),
    /// It ended sessions because it held too many.
    Learned(u32),
    /// What the endpoint has shown.
    Measured(u32),
    /// None is known. For handshakes: 4096, until the endpoint shows strain.
    Unlimited,
}

impl Cap {
    /// The bound, where there is one.
    pub fn limit(self) -> Option<u32> {
        match self {
            Self::Declared(limit) | Self::Announced(limit) | Self::Learned(limit) | Self::Measured(limit) => {
                Some(limit)
            }
            Self::Unlimited => None,
        }
    }

    /// Where it comes from, in one word.
    pub fn source(self) -> &'static str {
        match self {
            Self::Declared(_) => "declared",
            Self::Announced(_) => "announced",
            Self::Learned(_) => "learned",
            Self::Measured(_) => "measured",
            Self::Unlimited => "unlimited",
        }
    }
}

/// Admissions by the way they came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// At once.
    pub direct: u64,
    /// After a wait.
    pub parked: u64,
    /// Only because the mode is observe.
    pub observed: u64,
}

/// Refusals by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// [`Reason::Overload`].
    pub overload: u64,
    /// [`Reason::UpstreamFull`].
    pub upstream_full: u64,
    /// [`Reason::NoUpstream`].
    pub no_upstream: u64,
    /// [`Reason::UpstreamOverloaded`].
    pub upstream_overloaded: u64,
    /// [`Reason::QueueFull`].
    pub queue_full: u64,
}

impl Refused {
    /// Over all reasons.
    pub fn total(&self) -> u64 {
        self.overload + self.upstream_full + self.no_upstream + self.upstream_overloaded + self.queue_full
    }

    pub(crate) fn count(&mut self, reason: Reason) {
        *match reason {
            Reason::Overload => &mut self.overload,
            Reason::UpstreamFull => &mut self.upstream_full,
            Reason::NoUpstream => &mut self.no_upstream,
            Reason::UpstreamOverloaded => &mut self.upstream_overloaded,
            Reason::QueueFull => &mut self.queue_full,
        } += 1;
    }
}
