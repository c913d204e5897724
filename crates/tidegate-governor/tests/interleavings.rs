//! Every call in every order over virtual time; after each one the governor's promises are checked.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use tidegate_governor::{
    Ask, Balance, EndpointId, Governor, Limits, Mode, Outcome, Parked, Permit, Reason, Refusal, Ticket, Traffic,
    Verdict, Wish,
};

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Ask { tried: Vec<usize>, within_ms: Option<u64>, wish: usize, of: (u8, u64, Option<u64>, u32) },
    Health(usize, bool),
    Cancel(usize),
    Observe(usize, Outcome),
    Release(usize),
    Pace(usize),
    Overfull(usize, u64),
    Carry(u64),
    Hint,
    Limit(Limits),
    Configure(Vec<(usize, u32)>, Balance),
}

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[allow(clippy::disallowed_methods)]
fn base() -> Instant {
    Instant::now()
}

/// The caller as it should be, with its own books.
struct Caller {
    governor: Governor,
    limits: Limits,
    now: Instant,
    start: Instant,
    ids: Vec<EndpointId>,
    handshakes: Vec<Permit>,
    sessions: Vec<Permit>,
    ended: Vec<Permit>,
    waiting: BTreeMap<Ticket, Instant>,
    /// What is held for each that ever waited.
    bytes: BTreeMap<Ticket, u32>,
    /// They are of several classes and tenants.
    mixed: bool,
    issued: u64,
    returned: u64,
    /// Everything the governor said, for comparison between runs.
    said: Vec<String>,
}

impl Caller {
    fn new(limits: Limits, seed: u64, start: Instant, mixed: bool) -> Self {
        let mut governor = Governor::new(limits.clone(), seed);
        governor.set_slow_start(seed.is_multiple_of(2).then_some(ms(1000)));
        Self {
            governor,
            limits,
            now: start,
            start,
            ids: Vec::new(),
            handshakes: Vec::new(),
            sessions: Vec::new(),
            ended: Vec::new(),
            waiting: BTreeMap::new(),
            bytes: BTreeMap::new(),
            mixed,
            issued: 0,
            returned: 0,
            said: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Pass(span) => return self.pass(ms(*span)),
            Step::Ask { tried, within_ms, wish, of } => self.ask(tried, *within_ms, *wish, *of),
            Step::Health(at, up) => {
                if let Some(&id) = self.ids.get(at % self.ids.len().max(1)) {
                    self.governor.set_health(id, *up, self.now);
                }
            }
            Step::Cancel(at) => {
                if let Some(&ticket) = self.waiting.keys().nth(at % self.waiting.len().max(1)) {
                    self.waiting.remove(&ticket);
                    self.governor.cancel(ticket, self.now);
                    self.governor.cancel(ticket, self.now);
                }
            }
            Step::Observe(at, outcome) => {
                if let Some(mut permit) = take(&mut self.handshakes, *at) {
                    self.governor.observe(&mut permit, *outcome, self.now);
                    let established = matches!(outcome, Outcome::Established { .. });
                    if established { &mut self.sessions } else { &mut self.ended }.push(permit);
                }
            }
            Step::Release(at) => {
                let pools = [&mut self.ended, &mut self.sessions, &mut self.handshakes];
                if let Some(permit) = pools.into_iter().find_map(|pool| take(pool, *at)) {
                    self.governor.release(permit, self.now);
                    self.returned += 1;
                }
            }
            Step::Overfull(at, address) => {
                if let Some(permit) = self.sessions.get(at % self.sessions.len().max(1)) {
                    self.governor.overfull(permit, *address, self.now);
                }
            }
            Step::Carry(messages) => {
                self.governor.carries(Traffic { messages: *messages, ..Traffic::default() }, self.now);
            }
            Step::Pace(at) => {
                if let Some(&id) = self.ids.get(at % self.ids.len().max(1)) {
                    let delay = self.governor.pace(id, self.now);
                    assert!(delay <= self.limits.spread);
                    self.said.push(format!("{delay:?}"));
                }
            }
            Step::Hint => {
                let hint = self.governor.hint(self.now);
                self.check_hint(hint);
            }
            Step::Limit(limits) => {
                self.limits = limits.clone();
                self.governor.set_limits(limits.clone(), self.now);
            }
            Step::Configure(endpoints, balance) => {
                let endpoints: Vec<_> = endpoints.iter().map(|&(i, weight)| (KEYS[i], weight)).collect();
                self.ids = self.governor.set_endpoints(&endpoints, *balance, self.now);
            }
        }
        self.drain();
        self.check();
    }

    fn ask(&mut self, tried: &[usize], within_ms: Option<u64>, wish: usize, of: (u8, u64, Option<u64>, u32)) {
        let (class, tenant, address, bytes) = of;
        let (class, tenant) = if self.mixed { (class, tenant) } else { (0, 0) };
        let tried: Vec<_> = tried.iter().filter_map(|&i| self.ids.get(i).copied()).collect();
        let wish = match self.ids.get(wish) {
            Some(&id) if id.eq(&self.ids[0]) => Wish::Endpoint(id),
            Some(_) => Wish::Hash(wish as u64),
            None => Wish::Any,
        };
        let deadline = within_ms.map(|within| self.now + ms(within));
        let ask = Ask { tried: &tried, deadline, wish, class, tenant, bytes, address };
        match self.governor.admit(ask, self.now) {
            Verdict::Admit(permit) => self.enter(permit),
            Verdict::Wait(ticket, deadline) => {
                assert!(deadline > self.now && deadline <= self.now + self.limits.queue_timeout);
                self.bytes.insert(ticket, bytes);
                // Others of them may have given way, and hear of it next.
                assert!(self.mixed || self.waiting.len() < self.limits.max_waiting as usize);
                assert!(self.mixed || self.held() + u64::from(bytes) <= self.limits.max_waiting_bytes);
                assert!(self.waiting.insert(ticket, deadline).is_none(), "a ticket is given once");
            }
            Verdict::Refuse(refusal) => self.turn_away(refusal),
        }
    }

    /// Fires the timer whenever it is due on the way.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.governor.poll_timeout().filter(|&at| at <= end) {
            assert!(at > self.now, "a timer that is due was acted on: no busy loop");
            self.now = at;
            self.drain();
            self.check();
        }
        self.now = end;
        self.drain();
        self.check();
    }

    fn drain(&mut self) {
        while let Some(event) = self.governor.poll_event(self.now) {
            let first = *self.waiting.keys().next().expect("an event for somebody who waits");
            let deadline = self.waiting.remove(&event.ticket).expect("one event each, none after cancel");
            match event.verdict {
                Parked::Admit(permit) => {
                    let held = self.governor.snapshot(self.now);
                    let in_peace = !self.mixed && !held.overloaded && held.shed == 0;
                    assert!(!in_peace || event.ticket == first, "in peace, in order");
                    self.enter(permit);
                }
                Parked::Refuse(refusal) => {
                    let displaced = self.mixed && refusal.reason == Reason::QueueFull;
                    assert!(displaced || deadline <= self.now, "nobody is told before the wait ends");
                    self.turn_away(refusal);
                }
            }
        }
    }

    fn enter(&mut self, permit: Permit) {
        self.said.push(format!("{:?} {permit:?}", self.now - self.start));
        self.issued += 1;
        let endpoint = permit.endpoint;
        self.handshakes.push(permit);
        assert!(self.ids.contains(&endpoint));
        if self.limits.mode == Mode::Observe {
            return;
        }
        let held = self.governor.snapshot(self.now);
        let at = held.endpoints.iter().find(|e| e.id == endpoint).unwrap();
        assert!(self.limits.max_sessions.is_none_or(|max| held.live <= max));
        assert!(self.limits.max_sessions_per_server.is_none_or(|max| at.sessions + at.handshakes <= max));
        assert!(at.handshakes <= self.limits.max_handshakes_per_server.unwrap_or(4096));
        assert_eq!(at.cooling_until, None, "dialled while it rests");
        assert!(self.limits.max_message_rate.is_none_or(|max| held.traffic.messages <= max));
    }

    fn turn_away(&mut self, refusal: Refusal) {
        self.check_hint(refusal.retry_after);
        self.said.push(format!("{:?} {refusal:?}", self.now - self.start));
    }

    fn check_hint(&mut self, hint: u32) {
        assert!(u64::from(hint) >= self.limits.retry_after.as_millis().div_ceil(1000) as u64);
        self.said.push(hint.to_string());
    }

    fn held(&self) -> u64 {
        self.waiting.keys().map(|ticket| u64::from(self.bytes[ticket])).sum()
    }

    fn check(&self) {
        let held = self.governor.snapshot(self.now);
        let live = self.handshakes.len() + self.sessions.len() + self.ended.len();
        assert_eq!((held.issued, held.returned), (self.issued, self.returned));
        assert_eq!(u64::from(held.live), self.issued - self.returned);
        assert_eq!(held.live as usize, live);
        assert_eq!(held.endpoints.iter().map(|e| e.sessions as usize).sum::<usize>(), self.sessions.len());
        assert_eq!(held.endpoints.iter().map(|e| (e.sessions + e.handshakes) as usize).sum::<usize>(), live);
        assert_eq!(held.waiting as usize, self.waiting.len());
        assert_eq!(held.waiting_bytes, self.held());
        let classes = held.classes.iter().fold((0, 0), |sum, of| (sum.0 + of.live, sum.1 + of.waiting));
        assert_eq!(classes, (held.live, held.waiting));
        assert!(self.waiting.values().all(|&deadline| deadline > self.now), "a wait outlived its deadline");
        let timer = self.governor.poll_timeout();
        assert_eq!(timer.is_some(), !self.waiting.is_empty());
        assert!(timer.is_none_or(|at| at > self.now && self.waiting.values().all(|&deadline| at <= deadline)));
    }

    /// Everybody leaves: nothing may be left behind.
    fn finish(mut self) -> Vec<String> {
        self.pass(ms(10_000));
        assert!(self.waiting.is_empty());
        while !(self.handshakes.is_empty() && self.sessions.is_empty() && self.ended.is_empty()) {
            self.step(&Step::Release(0));
        }
        self.governor.set_endpoints(&[], Balance::RoundRobin, self.now);
        assert!(self.governor.snapshot(self.now).endpoints.is_empty());
        self.said
    }
}

fn take(pool: &mut Vec<Permit>, at: usize) -> Option<Permit> {
    if pool.is_empty() { None } else { Some(pool.remove(at % pool.len())) }
}

fn limits() -> impl Strategy<Value = Limits> {
    let cap = || prop::option::of(0_u32..6);
    let times = (0_u64..3000, 0_u64..3000, 0_u64..6000);
    let mode = prop_oneof![4 => Just(Mode::Enforce), 1 => Just(Mode::Observe)];
    (cap(), cap(), cap(), (0_u32..20, 0_u64..3000), 1_u32..4, times, mode).prop_map(
        |(max_sessions, max_sessions_per_server, max_handshakes_per_server, waiting, max_tenants, times, mode)| {
            Limits {
                max_sessions,
                max_sessions_per_server,
                max_handshakes_per_server,
                max_waiting: waiting.0,
                max_waiting_bytes: waiting.1,
                queue_timeout: ms(times.0),
                retry_after: ms(times.1),
                spread: ms(times.2),
                shares: Vec::new(),
                max_tenants,
                max_message_rate: (max_tenants == 1).then_some(1),
                max_byte_rate: None,
                max_buffered_bytes: None,
                mode,
            }
        },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => (0_u64..200).prop_map(|latency| Outcome::Established { latency: ms(latency) }),
        1 => Just(Outcome::ConnectFailed),
        1 => Just(Outcome::TimedOut),
        1 => Just(Outcome::Failed),
        1 => prop::option::of(0_u64..3000).prop_map(|s| Outcome::Overloaded { retry_after: s.map(ms) }),
        1 => Just(Outcome::Refused),
        1 => Just(Outcome::Cancelled),
    ]
}

fn configure() -> impl Strategy<Value = Step> {
    let rule = prop_oneof![Just(Balance::LeastSessions), Just(Balance::PowerOfTwo), Just(Balance::RoundRobin)];
    (prop::collection::vec((0_usize..4, 0_u32..4), 0..5), rule).prop_map(|(e, rule)| Step::Configure(e, rule))
}

fn step() -> impl Strategy<Value = Step> {
    let of = (0_u8..5, 0_u64..3, prop::option::of(0_u64..4), 0_u32..500);
    let within = prop::option::weighted(0.2, 0_u64..3000);
    let ask = (prop::collection::vec(0_usize..4, 0..3), within, 0_usize..6, of);
    prop_oneof![
        20 => (0_u64..800).prop_map(Step::Pass),
        40 => ask.prop_map(|(tried, within_ms, wish, of)| Step::Ask { tried, within_ms, wish, of }),
        4 => any::<(usize, bool)>().prop_map(|(at, up)| Step::Health(at, up)),
        4 => any::<usize>().prop_map(Step::Cancel),
        20 => (any::<usize>(), outcome()).prop_map(|(at, outcome)| Step::Observe(at, outcome)),
        15 => any::<usize>().prop_map(Step::Release),
        3 => any::<usize>().prop_map(Step::Pace),
        5 => (any::<usize>(), 0_u64..4).prop_map(|(at, address)| Step::Overfull(at, address)),
        2 => Just(Step::Hint),
        4 => (0_u64..3).prop_map(Step::Carry),
        2 => limits().prop_map(Step::Limit),
        2 => configure(),
    ]
}

fn run(limits: &Limits, seed: u64, start: Instant, mixed: bool, steps: &[Step]) -> Vec<String> {
    let mut caller = Caller::new(limits.clone(), seed, start, mixed);
    caller.step(&Step::Configure(vec![(0, 1), (1, 2), (2, 1)], Balance::LeastSessions));
    steps.iter().for_each(|step| caller.step(step));
    caller.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_promise_holds_in_every_order_and_again_with_the_same_seed(
        limits in limits(),
        seed: u64,
        mixed: bool,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let start = base();
        prop_assert_eq!(run(&limits, seed, start, mixed, &steps), run(&limits, seed, start, mixed, &steps));
    }
}
