//! More clients than an endpoint can take: what each of them sees, over virtual time.

use std::{
    collections::{BTreeMap, BinaryHeap},
    time::{Duration, Instant},
};

use tidegate_governor::{Ask, Balance, Governor, Limits, Mode, Outcome, Parked, Permit, Ticket, Verdict};

const TICK: Duration = Duration::from_millis(5);
const HANDSHAKE: Duration = Duration::from_millis(100);
const QUEUE_TIMEOUT: Duration = Duration::from_millis(2500);

#[allow(clippy::disallowed_methods)]
fn base() -> Instant {
    Instant::now()
}

#[derive(Default)]
struct Seen {
    waits_ms: Vec<u128>,
    refused_after_ms: Vec<u128>,
}

struct Storm {
    governor: Governor,
    now: Instant,
    waiting: BTreeMap<Ticket, Instant>,
    /// Handshakes in flight by their end; their permits are kept beside them.
    ends: BinaryHeap<std::cmp::Reverse<(Instant, u64)>>,
    permits: BTreeMap<u64, Permit>,
    dialled: u64,
    seen: Seen,
}

impl Storm {
    fn new(max_handshakes: u32) -> Self {
        let limits = Limits {
            max_sessions: None,
            max_sessions_per_server: None,
            max_handshakes_per_server: Some(max_handshakes),
            max_waiting: 10_000,
            queue_timeout: QUEUE_TIMEOUT,
            retry_after: Duration::from_secs(1),
            spread: Duration::ZERO,
            mode: Mode::Enforce,
            ..Limits::default()
        };
        let (mut governor, now) = (Governor::new(limits, 7), base());
        governor.set_endpoints(&[("a", 1)], Balance::LeastSessions, now);
        Self {
            governor,
            now,
            waiting: BTreeMap::new(),
            ends: BinaryHeap::new(),
            permits: BTreeMap::new(),
            dialled: 0,
            seen: Seen::default(),
        }
    }

    /// So many ticks with so many newcomers each; returns what was seen in them.
    fn run(&mut self, ticks: u32, newcomers: u32) -> Seen {
        for _ in 0..ticks {
            self.now += TICK;
            while let Some(&std::cmp::Reverse((end, dial))) = self.ends.peek()
                && end <= self.now
            {
                self.ends.pop();
                let mut permit = self.permits.remove(&dial).unwrap();
                self.governor.observe(&mut permit, Outcome::Established { latency: HANDSHAKE }, self.now);
                self.governor.release(permit, self.now);
                self.drain();
            }
            for _ in 0..newcomers {
                match self.governor.admit(Ask::default(), self.now) {
                    Verdict::Admit(permit) => self.dial(permit, self.now),
                    Verdict::Wait(ticket, _) => drop(self.waiting.insert(ticket, self.now)),
                    Verdict::Refuse(refusal) => panic!("{refusal:?}"),
                }
            }
            self.drain();
        }
        std::mem::take(&mut self.seen)
    }

    fn drain(&mut self) {
        while let Some(event) = self.governor.poll_event(self.now) {
            let since = self.waiting.remove(&event.ticket).unwrap();
            match event.verdict {
                Parked::Admit(permit) => self.dial(permit, since),
                Parked::Refuse(_) => self.seen.refused_after_ms.push((self.now - since).as_millis()),
            }
        }
    }

    fn dial(&mut self, permit: Permit, since: Instant) {
        self.seen.waits_ms.push((self.now - since).as_millis());
        self.dialled += 1;
        self.ends.push(std::cmp::Reverse((self.now + HANDSHAKE, self.dialled)));
        self.permits.insert(self.dialled, permit);
    }
}

#[test]
fn twice_the_demand_keeps_the_endpoint_full_and_serves_the_fresh() {
    // Ten at a time, 100 ms each: 100 clients a second; 200 a second come.
    let mut storm = Storm::new(10);
    storm.run(2000, 1);
    let mut seen = storm.run(2000, 1);
    assert!(seen.waits_ms.len() >= 990, "{} of 1000 places used", seen.waits_ms.len());
    seen.waits_ms.sort_unstable();
    assert!(seen.waits_ms[seen.waits_ms.len() * 9 / 10] <= 250, "who gets in gets in soon");
    assert!(seen.refused_after_ms.iter().all(|&ms| (2000..=2505).contains(&ms)), "the wait is the pace");
}

#[test]
fn after_the_storm_the_shed_are_let_in_and_order_returns() {
    let mut storm = Storm::new(10);
    storm.run(2000, 1);
    assert!(storm.governor.snapshot(storm.now).overloaded);
    let parked = storm.waiting.len();
    let seen = storm.run(1000, 0);
    // Those with a place go first; meanwhile the oldest of the shed reach the end of their wait.
    assert!(seen.waits_ms.len() * 10 >= parked * 7, "{} of {parked} let in", seen.waits_ms.len());
    storm.run(1000, 0);
    storm.run(1, 30);
    let held = storm.governor.snapshot(storm.now);
    assert_eq!((held.overloaded, held.waiting), (false, 20));
}

#[test]
fn a_short_burst_loses_nobody_and_keeps_order() {
    let mut storm = Storm::new(10);
    let first = storm.run(1, 150);
    let rest = storm.run(400, 0);
    assert_eq!(first.waits_ms.len() + rest.waits_ms.len(), 150);
    assert!(rest.waits_ms.is_sorted(), "first come, first served");
    assert_eq!(storm.governor.snapshot(storm.now).refused.total(), 0);
}
