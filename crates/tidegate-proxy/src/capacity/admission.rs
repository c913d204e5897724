//! A client's way to a place: at once, after a wait, or not at all.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_config::Route;
use tidegate_governor::{Ask, EndpointId, Outcome, Parked, Permit, Reason, Refusal, Ticket, Verdict};
use tokio::sync::oneshot;

use super::{Capacity, Inner, Slot, Waiter};
use crate::{chores, clock};

/// How long beyond its deadline a parked client waits for its answer.
const SLACK: Duration = Duration::from_millis(500);
/// What it is told then.
const OVERDUE: Refusal = Refusal { reason: Reason::Overload, limit: None, retry_after: 1 };

/// One client's way in: what it has tried, and how long it may wait in all.
pub(crate) struct Admission {
    capacity: Arc<Capacity>,
    route: Arc<Route>,
    /// But for what it has tried.
    ask: Ask<'static>,
    tried: Vec<EndpointId>,
    deadline: Instant,
    has_waited: bool,
}

impl Admission {
    /// `patient`: the client may be parked, for as long as its route says.
    pub(crate) fn new(capacity: Arc<Capacity>, route: &Arc<Route>, ask: Ask<'static>, patient: bool) -> Self {
        // Drawn, so that those who came together do not all leave together.
        let share = 0.8 + 0.2 * f64::from(crate::random()) / f64::from(u32::MAX);
        let wait = if patient { route.queue_timeout.mul_f64(share) } else { Duration::ZERO };
        Self {
            capacity,
            route: route.clone(),
            ask,
            tried: Vec::new(),
            deadline: clock::now() + wait,
            has_waited: false,
        }
    }

    /// A place to dial, perhaps after a wait. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// There is none for this client, and when it may come back.
    pub(crate) async fn next(&mut self) -> Result<Slot, Refusal> {
        let mut place = {
            let now = clock::now();
            let mut inner = self.capacity.lock();
            self.capacity.relieve(&mut inner, now);
            let ask = Ask { tried: &self.tried, deadline: Some(self.deadline), ..self.ask };
            let (ticket, until) = match inner.governor.admit(ask, now) {
                Verdict::Admit(permit) => {
                    self.capacity.settle(&mut inner, now);
                    return Ok(self.slot(&inner, permit, now));
                }
                Verdict::Refuse(refusal) => {
                    self.capacity.settle(&mut inner, now);
                    return Err(refusal);
                }
                Verdict::Wait(ticket, until) => (ticket, until),
            };
            let before = inner.parking(&self.route);
            self.deadline = until;
            let (tell, answer) = oneshot::channel();
            inner.start_waiting(ticket, Waiter { tell, route: self.route.clone(), bytes: ask.bytes });
            // One of the same route may have to give way to this one.
            self.capacity.settle(&mut inner, now);
            if let Some(limit) = inner.exceeded(&self.route, before)
                && inner.stop_waiting(ticket).is_some()
            {
                inner.governor.cancel(ticket, now);
                let retry_after = inner.governor.hint(now);
                self.capacity.settle(&mut inner, now);
                return Err(Refusal { reason: Reason::QueueFull, limit: Some(limit), retry_after });
            }
            Place { capacity: self.capacity.clone(), ticket, answer }
        };
        self.has_waited = true;
        // The governor answers by the deadline; should it ever not, nobody waits on.
        let answer = tokio::time::timeout_at((self.deadline + SLACK).into(), &mut place.answer).await;
        let answer = match answer.unwrap_or(Ok(Parked::Refuse(OVERDUE))) {
            Ok(Parked::Admit(permit)) => Ok(self.slot(&self.capacity.lock(), permit, clock::now())),
            Ok(Parked::Refuse(refusal)) => Err(refusal),
            // The upstream is no longer configured.
            Err(_) => Err(Refusal { reason: Reason::NoUpstream, limit: None, retry_after: 1 }),
        };
        // Many may hear it at once.
        chores::turn().await;
        answer.map(Slot::dialled_now)
    }

    /// Whether it was parked, as others are then: what is left to do for it is to keep nobody else from the worker.
    pub(crate) fn has_waited(&self) -> bool {
        self.has_waited
    }

    /// The endpoint of this slot could not take the client: another may.
    pub(crate) fn failed(&mut self, mut slot: Slot, outcome: Outcome) {
        self.tried.push(slot.id());
        slot.observe(outcome);
    }

    /// Whether every endpoint has been tried, or as many as may be.
    pub(crate) fn is_exhausted(&self) -> bool {
        let inner = self.capacity.lock();
        self.tried.len() > inner.retries || inner.configured.iter().all(|id| self.tried.contains(id))
    }

    /// Holds a client that no endpoint will take to the end of its wait: the wait is the pace.
    pub(crate) async fn wait_out(&mut self, floor: u32) -> Refusal {
        tokio::time::sleep_until(self.deadline.into()).await;
        let hint = self.capacity.lock().governor.hint(clock::now());
        Refusal { reason: Reason::UpstreamOverloaded, limit: None, retry_after: hint.max(floor) }
    }

    fn slot(&self, inner: &Inner, permit: Permit, now: Instant) -> Slot {
        let endpoint = inner.endpoints[&permit.endpoint].clone();
        Slot::new(self.capacity.clone(), permit, endpoint, now)
    }
}

/// A place in the queue, given up when its client leaves.
struct Place {
    capacity: Arc<Capacity>,
    ticket: Ticket,
    answer: oneshot::Receiver<Parked>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = clock::now();
        let mut inner = self.capacity.lock();
        if inner.stop_waiting(self.ticket).is_some() {
            inner.governor.cancel(self.ticket, now);
        } else if let Ok(Parked::Admit(permit)) = self.answer.try_recv() {
            // It was let in at the very moment it left.
            inner.governor.release(permit, now);
        }
        self.capacity.settle(&mut inner, now);
    }
}
