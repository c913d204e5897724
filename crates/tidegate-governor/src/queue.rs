//! Who waits, and who goes next.
//!
//! In peace first come, first served. A queue that *stands* (its head never younger than [`TARGET`] for a whole
//! [`INTERVAL`]) is not a burst but more demand than capacity. Then in-order service makes everybody wait almost
//! their whole time and lose it; newest first admits clients while they are surely still there, and who has waited
//! twice the target is shed: it loses its place, not its answer. A shed client is told only when its wait ends (the
//! wait is the pace), and is still let in when nobody else is parked, the oldest first since its wait ends first: room
//! is never left empty beside a waiting client.
//!
//! The delay measured is the age of the oldest client with a place, in both orders. The age of the one that is served
//! would say "no delay" as soon as service is newest first, and the two orders would take turns.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{EndpointId, Ticket, Wish};

/// Standing delay above which the queue is in overload.
const TARGET: Duration = Duration::from_millis(250);
/// Time over which the lowest delay counts.
const INTERVAL: Duration = Duration::from_millis(2500);

#[derive(Debug, Default)]
pub(crate) struct Queue {
    placed: BTreeMap<Ticket, Client>,
    shed: BTreeMap<Ticket, Client>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    next: u64,
    shed_total: u64,
    delay: Delay,
}

#[derive(Debug)]
struct Client {
    /// Endpoints that have refused it already.
    tried: Vec<EndpointId>,
    wish: Wish,
    parked_at: Instant,
    deadline: Instant,
}

#[derive(Debug, Default)]
struct Delay {
    overloaded: bool,
    interval_end: Option<Instant>,
    lowest: Duration,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.deadlines.len()
    }

    pub(crate) fn overloaded(&self) -> bool {
        self.delay.overloaded
    }

    pub(crate) fn shed_total(&self) -> u64 {
        self.shed_total
    }

    /// Whether a newcomer would overtake somebody who goes before it.
    pub(crate) fn goes_before_newcomers(&self) -> bool {
        !self.delay.overloaded && !self.placed.is_empty()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    pub(crate) fn park(&mut self, tried: &[EndpointId], wish: Wish, deadline: Instant, now: Instant) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.placed.insert(ticket, Client { tried: tried.to_vec(), wish, parked_at: now, deadline });
        self.deadlines.insert((deadline, ticket));
        ticket
    }

    /// Takes in how long the queue stands; to be called before each use of it.
    pub(crate) fn measure(&mut self, now: Instant) {
        let oldest = self.placed.first_key_value().map(|(_, client)| client.age(now));
        self.delay.measure(oldest.unwrap_or_default(), now);
        if !self.delay.overloaded {
            return;
        }
        while let Some(oldest) = self.placed.first_entry()
            && oldest.get().age(now) > 2 * TARGET
        {
            let (ticket, client) = oldest.remove_entry();
            self.shed.insert(ticket, client);
            self.shed_total += 1;
        }
    }

    /// Who goes next, the endpoints that have refused it, and the one it wants.
    pub(crate) fn head(&self) -> Option<(Ticket, &[EndpointId], Wish)> {
        let placed = if self.delay.overloaded { self.placed.last_key_value() } else { self.placed.first_key_value() };
        placed.or_else(|| self.shed.first_key_value()).map(|(&ticket, client)| (ticket, &client.tried[..], client.wish))
    }

    /// Whose wait has ended.
    pub(crate) fn expired(&self, now: Instant) -> Option<Ticket> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|&(_, ticket)| ticket)
    }

    /// Whether it was parked.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> bool {
        let Some(client) = self.placed.remove(&ticket).or_else(|| self.shed.remove(&ticket)) else { return false };
        self.deadlines.remove(&(client.deadline, ticket))
    }
}

impl Client {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.parked_at)
    }
}

impl Delay {
    fn measure(&mut self, delay: Duration, now: Instant) {
        match self.interval_end {
            Some(end) if now < end => self.lowest = self.lowest.min(delay),
            end => {
                // A gap of a whole interval means that nobody waited: a parked client is answered sooner than that.
                let idle = end.is_none_or(|end| now.saturating_duration_since(end) > INTERVAL && delay <= TARGET);
                self.overloaded = !idle && self.lowest > TARGET;
                self.interval_end = Some(now + INTERVAL);
                self.lowest = delay;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::base;

    /// One client every 10 ms and one served every `served_ms`; returns the queue and the time.
    fn load(seconds: u64, served_ms: u64) -> (Queue, Instant) {
        let (mut queue, t0) = (Queue::default(), base());
        for ms in (0..seconds * 1000).step_by(10) {
            let now = t0 + Duration::from_millis(ms);
            queue.measure(now);
            queue.park(&[], Wish::Any, now + INTERVAL, now);
            while let Some(ticket) = queue.expired(now) {
                queue.remove(ticket);
            }
            if ms.is_multiple_of(served_ms) {
                queue.measure(now);
                let (head, ..) = queue.head().unwrap();
                queue.remove(head);
            }
        }
        (queue, t0 + Duration::from_secs(seconds))
    }

    #[test]
    fn a_queue_that_is_served_in_time_stays_in_order() {
        let (mut queue, now) = load(20, 10);
        assert!(!queue.overloaded());
        let first = queue.park(&[], Wish::Any, now, now);
        queue.park(&[], Wish::Any, now, now);
        assert_eq!(queue.head().unwrap().0, first);
    }

    #[test]
    fn a_standing_queue_turns_round_and_stays_turned_while_it_stands() {
        for seconds in 6..30 {
            let (queue, _) = load(seconds, 20);
            assert!(queue.overloaded(), "{seconds} s");
            assert_eq!(queue.head().unwrap().0, Ticket(queue.next - 1), "newest first");
            assert!(queue.placed.len() <= 52 && queue.shed_total() > 0);
        }
    }

    #[test]
    fn a_shed_client_goes_last_but_goes() {
        let (mut queue, now) = load(10, 20);
        let shed = *queue.shed.first_key_value().unwrap().0;
        while let Some((&ticket, _)) = queue.placed.first_key_value() {
            queue.remove(ticket);
        }
        assert_eq!(queue.head().unwrap().0, shed);
        queue.measure(now);
        queue.measure(now + INTERVAL);
        queue.measure(now + 2 * INTERVAL);
        assert!(!queue.overloaded());
        let fresh = queue.park(&[], Wish::Any, now + 3 * INTERVAL, now + 2 * INTERVAL);
        assert_eq!(queue.head().unwrap().0, fresh, "in peace too");
    }

    #[test]
    fn overload_is_forgotten_after_an_idle_gap() {
        let (mut queue, now) = load(10, 20);
        while let Some((ticket, ..)) = queue.head() {
            queue.remove(ticket);
        }
        queue.measure(now + Duration::from_secs(60));
        assert!(!queue.overloaded());
    }

    #[test]
    fn ten_thousand_parked_leave_no_trace() {
        let (mut queue, now) = (Queue::default(), base());
        let tickets: Vec<Ticket> = (0..10_000).map(|_| queue.park(&[], Wish::Any, now + INTERVAL, now)).collect();
        assert!(tickets.iter().rev().all(|&ticket| queue.remove(ticket) && !queue.remove(ticket)));
        assert_eq!((queue.len(), queue.placed.len(), queue.shed.len()), (0, 0, 0));
    }
}
