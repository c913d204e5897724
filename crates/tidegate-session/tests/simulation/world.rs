//! One session, its two peers, their networks, and the time they share.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use tidegate_session::{End, Order, Policy, Record, Side};

use crate::{
    network::{Link, WIDE, Wire},
    peer::{HORIZON, Peer},
    plan::{Plan, policy},
    proxy::Proxy,
    rng::Rng,
};

pub(crate) struct World {
    seed: u64,
    pub(crate) policy: Policy,
    rng: Rng,
    now: Instant,
    pub(crate) proxy: Proxy,
    /// The client's, the upstream's.
    pub(crate) peers: [Peer; 2],
    links: [Link; 2],
    orders: Vec<(Instant, Order)>,
    record: Option<Record>,
}

impl World {
    pub(crate) fn new(seed: u64, logging: bool) -> Self {
        let mut rng = Rng::new(seed);
        let grain = rng.pick(&[1, 1, 1000]);
        let mut rng = rng.with_grain(grain);
        let now = start();
        let policy = policy(&mut rng);
        let deflate = rng.percent(50);
        let links = [link(&mut rng), link(&mut rng)];
        let peers = Side::BOTH.map(|side| {
            let plan = Plan::draw(deflate, &mut rng);
            Peer::new(side, plan, rng.fork(), now)
        });
        let proxy = Proxy::new(policy.clone(), deflate, rng.fork(), logging, now);
        let orders = orders(&mut rng, now);
        Self { seed, policy, rng, now, proxy, peers, links, orders, record: None }
    }

    /// Whether a Close that was sent to this side must have reached it.
    pub(crate) fn is_reachable(&self, side: Side) -> bool {
        self.links[side as usize].to_peer.is_wide() && self.peers[side as usize].plan.is_reachable()
    }

    /// Until the session is over and its peers have seen all of it.
    pub(crate) fn run(&mut self) {
        loop {
            self.settle();
            let Some(next) = self.next() else { break };
            self.now = next;
            if let Some(ended) = self.proxy.ended_at.filter(|_| !self.proxy.over) {
                assert!(self.now - ended <= PATIENCE, "the end takes too long: {:?}", self.proxy.session);
            }
        }
        assert!(self.proxy.over, "nothing happens any more: {:?}", self.proxy.session);
        self.record = Some(self.proxy.session.take_record());
    }

    pub(crate) fn record(&self) -> &Record {
        self.record.as_ref().expect("it has run")
    }

    pub(crate) fn trace(&self) -> String {
        let plans = self.peers.each_ref().map(|peer| format!("{:?}: {:?}\n", peer.side, peer.plan));
        format!("{:?}\n{}{}\n{:#?}", self.policy, plans.concat(), self.proxy.log.join("\n"), self.record)
    }

    /// Everybody acts, in any order, until nobody has anything to do at this time.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            while let Some(at) = self.orders.iter().position(|(at, _)| *at <= self.now) {
                let (_, order) = self.orders.remove(at);
                self.proxy.order(order, self.now);
                self.proxy.poll(&mut self.links, self.now);
            }
            let mut any = false;
            let first = self.rng.below(3);
            for turn in 0..3 {
                any |= match (first + turn) % 3 {
                    2 => self.proxy.poll(&mut self.links, self.now),
                    side => self.peers[side].step(&mut self.links[side], self.now),
                };
            }
            for link in &mut self.links {
                any |= link.refuse_late_bytes(self.now);
            }
            if !any {
                return;
            }
        }
        panic!("nobody ever rests: {:?}", self.proxy.session);
    }

    fn next(&self) -> Option<Instant> {
        let orders = self.orders.iter().map(|(at, _)| *at);
        let links = self.links.iter().filter_map(|link| link.next(self.now));
        let peers = self.peers.iter().filter_map(|peer| peer.next(self.now));
        let proxy = self.proxy.next().filter(|_| !self.proxy.over);
        orders.chain(links).chain(peers).chain(proxy).min()
    }
}

/// The longest an ending may take: a held client, two unanswered Closes, the wait for the upstream's end, the linger.
const PATIENCE: Duration = Duration::from_secs(5 + 5 + 5 + 2 + 5 + 2);

fn link(rng: &mut Rng) -> Link {
    let destroys = rng.percent(50);
    let mut wire = || Wire::new(rng.ms(0, 300), rng.pick(&[150, 1000, WIDE, WIDE]), destroys);
    Link { to_proxy: wire(), to_peer: wire(), proxy_gone: false }
}

/// Perhaps one, perhaps a sooner or a later one behind it; in the end always one.
fn orders(rng: &mut Rng, now: Instant) -> Vec<(Instant, Order)> {
    let mut orders = Vec::new();
    for _ in 0..rng.pick(&[0, 0, 1, 1, 2]) {
        let end = rng.pick(&[
            End::Drain,
            End::Drain,
            End::RouteRemoved,
            End::EndpointRemoved,
            End::EndpointDown,
            End::Internal,
        ]);
        let given = now + rng.ms(0, 30_000);
        let at = given + rng.ms(0, 10_000) * rng.pick(&[0, 1]);
        orders.push((given, Order { end, at, retry_after: Some(5) }));
    }
    let last = now + HORIZON;
    orders.push((last, Order { end: End::Drain, at: last, retry_after: Some(5) }));
    orders
}

#[allow(clippy::disallowed_methods, reason = "some instant to count from; it never advances by itself")]
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// For traces.
pub(crate) fn since_start(now: Instant) -> String {
    format!("{:>10.3} s", (now - start()).as_secs_f64())
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {0}: TIDEGATE_SIM_SEED={0} runs it again with its trace\n{1}", self.seed, self.trace());
        }
    }
}
