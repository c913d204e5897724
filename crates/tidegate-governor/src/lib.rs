//! May this client enter now, when should it come back, and what did this outcome teach us.
//!
//! One [`Governor`] stands before one upstream and all its endpoints. It is pure: time arrives as an argument,
//! randomness is a seeded generator, and whoever owns the sockets carries out what it says. It knows nothing of
//! WebSocket codes: it refuses with a reason and a time, and others decide how that is told.

mod admission;
mod advice;
mod balance;
mod breaker;
mod crowd;
mod endpoint;
mod fair;
mod fleet;
mod gauge;
mod governor;
mod hash;
mod hint;
mod holders;
mod ladder;
mod limits;
mod list;
mod meter;
mod pacer;
mod protection;
mod queue;
mod returns;
mod rng;
mod snapshot;
mod stock;
mod traffic;

pub use admission::{Ask, EndpointId, Event, Outcome, Parked, Permit, Reason, Refusal, Ticket, Verdict, Wish};
pub use advice::{Advice, Need, advise};
pub use fair::CLASSES;
pub use governor::Governor;
pub use hash::hash;
pub use ladder::{Ladder, Rung};
pub use limits::{Balance, Limits, Mode};
pub use protection::{Bounds, Protection, Resource, Strain, Usage};
pub use snapshot::{Admitted, Cap, ClassUse, EndpointSnapshot, Refused, Snapshot};
pub use traffic::Traffic;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    /// Where virtual time begins.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn base() -> Instant {
        Instant::now()
    }
}
