//! A place with an endpoint.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_governor::{EndpointId, Outcome, Permit};
use tidegate_session::Hold;

use super::Capacity;
use crate::{announced::Announced, clock, endpoint::Endpoint};

/// A place with an endpoint: for a handshake, then for its session. It comes back when this is dropped.
pub(crate) struct Slot {
    capacity: Arc<Capacity>,
    permit: Option<Permit>,
    id: EndpointId,
    endpoint: Arc<Endpoint>,
    stage: Stage,
}

/// How far the holder of a slot has come. As small as an `Instant`: each session has one.
enum Stage {
    /// A handshake, since then.
    Handshake(Instant),
    /// A session of a client of this address; 0: of none that is known.
    Session(u64),
}

impl Slot {
    /// For a handshake from now on.
    pub(super) fn new(capacity: Arc<Capacity>, permit: Permit, endpoint: Arc<Endpoint>, now: Instant) -> Self {
        Self { capacity, id: permit.endpoint, permit: Some(permit), endpoint, stage: Stage::Handshake(now) }
    }

    /// Its handshake begins only now.
    pub(super) fn dialled_now(mut self) -> Self {
        self.stage = Stage::Handshake(clock::now());
        self
    }

    pub(crate) fn id(&self) -> EndpointId {
        self.id
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The handshake succeeded: the place is a session's now, of a client of this address. How long it took.
    pub(crate) fn established(&mut self, address: Option<u64>) -> Duration {
        let session = Stage::Session(address.unwrap_or_default());
        let Stage::Handshake(dialled) = std::mem::replace(&mut self.stage, session) else { return Duration::ZERO };
        let now = clock::now();
        let latency = now.saturating_duration_since(dialled);
        self.observe_at(Outcome::Established { latency }, now);
        latency
    }

    /// Its endpoint ended its session with 1013.
    pub(crate) fn overfull(&self, now: Instant) {
        let (Some(permit), Stage::Session(address)) = (&self.permit, &self.stage) else { return };
        self.capacity.lock().governor.overfull(permit, *address, now);
    }

    /// The handshake did not succeed.
    pub(crate) fn observe(&mut self, outcome: Outcome) {
        self.observe_at(outcome, clock::now());
    }

    fn observe_at(&mut self, outcome: Outcome, now: Instant) {
        let mut inner = self.capacity.lock();
        let Some(permit) = &mut self.permit else { return };
        let rests = inner.governor.observe(permit, outcome, now);
        self.capacity.settle(&mut inner, now);
        drop(inner);
        if rests {
            self.capacity.rests(&self.endpoint, outcome);
        }
    }

    /// What its endpoint has said of itself in its answer. Only a 101 says that there is nothing to be said.
    pub(crate) fn announced(&self, said: Announced) {
        let now = clock::now();
        let mut inner = self.capacity.lock();
        if !inner.heeds_endpoints {
            return;
        }
        let result = match said {
            Announced::Nothing => {
                inner.governor.announce(self.id, None, now);
                None
            }
            Announced::Sessions(sessions) => {
                inner.governor.announce(self.id, Some(sessions), now);
                Some("ok")
            }
            Announced::Used(part) => {
                inner.governor.announce_used(self.id, part, now);
                Some("ok")
            }
            Announced::Malformed => Some("malformed"),
        };
        self.capacity.settle(&mut inner, now);
        if let Some(result) = result {
            self.capacity.metrics.announcements.with_label_values(&[self.capacity.name.as_str(), result]).inc();
        }
    }

    /// How long a client is held whose upstream was lost, and when it may come back.
    pub(crate) fn pace(&self, now: Instant) -> Hold {
        let mut inner = self.capacity.lock();
        let Some(permit) = &self.permit else { return Hold { delay: Duration::ZERO, retry_after: 1 } };
        let delay = inner.governor.pace(permit.endpoint, now);
        Hold { delay, retry_after: inner.governor.hint(now) }
    }

    /// Whether its endpoint's address was found to be nobody's, or another's, after it was dialled.
    pub(crate) fn is_gone(&self) -> bool {
        self.endpoint.at.is_some() && !self.capacity.lock().configured.contains(&self.id)
    }

    /// When a client may come back, in seconds.
    pub(crate) fn hint(&self, now: Instant) -> u32 {
        self.capacity.lock().governor.hint(now)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let now = clock::now();
        let mut inner = self.capacity.lock();
        inner.governor.release(permit, now);
        self.capacity.settle(&mut inner, now);
    }
}
