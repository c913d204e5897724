//! Who decides which handshake goes on: the governor itself, and what others do.

mod gradient;
mod own;
mod peers;
mod waiting;

use tidegate_governor::Outcome;

use crate::{Ns, client::End};

pub(crate) use own::Own;

/// A handshake asks to go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub(crate) client: u32,
    pub(crate) tenant: u16,
    /// What its address tells: the same for all behind one address.
    pub(crate) address: u64,
    /// Endpoints that failed it in this attempt.
    pub(crate) tried: &'a [u16],
    /// It has its answer by then.
    pub(crate) until: Ns,
}

/// A way to an endpoint; `token` is the policy's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dial {
    pub(crate) endpoint: u16,
    pub(crate) token: u32,
}

/// What becomes of a handshake.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Dial(Dial),
    /// It is answered at this time, or not much later; the token is the policy's own.
    Wait(Ns, u32),
    Refuse(End),
}

/// What stands in one proxy between its clients and the upstream.
pub(crate) trait Policy {
    /// The endpoints there are, whether they live or not.
    fn configure(&mut self, endpoints: &[u16], now: Ns);
    fn arrive(&mut self, who: Who<'_>, now: Ns) -> Answer;
    /// A parked client left; `token` is that of its [`Answer::Wait`].
    fn cancel(&mut self, client: u32, token: u32, now: Ns);
    /// How a dial went. `Established` keeps it as a session, anything else ends it.
    fn report(&mut self, dial: Dial, outcome: Outcome, now: Ns);
    /// A session ended.
    fn ended(&mut self, dial: Dial, now: Ns);
    /// How long the client leg of a session that lost its upstream is held; asked before `ended`.
    fn hold(&mut self, _dial: Dial, _now: Ns) -> Ns {
        0
    }
    /// Parked clients whose wait is over.
    fn poll(&mut self, now: Ns) -> Option<(u32, Answer)>;
    /// When to poll even if nothing happens.
    fn wake(&self) -> Option<Ns>;
    /// When clients that are told to may come back, in seconds.
    fn hint(&mut self, _now: Ns) -> u32 {
        1
    }
}

/// Which policy; numbers are those of a whole fleet, divided among the proxies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Choice {
    /// `tidegate_governor` as it ships, told nothing.
    Own,
    /// So many times `rate x base latency` handshakes in flight for each endpoint, and a FIFO queue of 2 s.
    Bound(f64),
    /// Every handshake goes on.
    Nothing,
    /// So many times an endpoint's share of the clients in sessions and handshakes, and a queue of 5 s.
    MaxConn(f64),
    /// `MaxConn` as HAProxy does it: a bounded queue, slow start over 60 s.
    Haproxy,
    /// So many times the fleet's rate of handshakes, from a bucket of one second.
    Bucket(f64),
    /// Envoy's `adaptive_concurrency`.
    Envoy,
    /// Netflix's `Gradient2Limit`.
    Netflix,
}

/// What a policy may know of the fleet it stands before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fleet {
    /// Handshakes per second of one endpoint.
    pub(crate) rate: f64,
    /// `rate` times base latency.
    pub(crate) knee: f64,
    pub(crate) endpoints: usize,
    pub(crate) clients: u32,
    pub(crate) proxies: usize,
    pub(crate) seed: u64,
}

impl Choice {
    pub(crate) fn build(self, fleet: Fleet) -> Box<dyn Policy> {
        let share = 1.0 / fleet.proxies as f64;
        let sessions = f64::from(fleet.clients) / fleet.endpoints as f64 * share;
        match self {
            Self::Own => Box::new(Own::new(fleet)),
            Self::Bound(times) => Box::new(peers::Peer::bound((times * fleet.knee * share).ceil() as u32)),
            Self::Nothing => Box::new(peers::Peer::nothing()),
            Self::MaxConn(times) => Box::new(peers::Peer::max_conn((times * 1.2 * sessions) as u32)),
            Self::Haproxy => Box::new(peers::Peer::haproxy((1.2 * sessions) as u32)),
            Self::Bucket(times) => Box::new(peers::Peer::bucket(times * fleet.rate * fleet.endpoints as f64 * share)),
            Self::Envoy => Box::new(gradient::Gradient::envoy()),
            Self::Netflix => Box::new(gradient::Gradient::netflix()),
        }
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Own => "tidegate".into(),
            Self::Bound(times) => format!("static bound {times} x"),
            Self::Nothing => "nothing".into(),
            Self::MaxConn(times) => format!("maxconn {:.0} %", 100.0 * times),
            Self::Haproxy => "HAProxy-like queue, slowstart".into(),
            Self::Bucket(times) => format!("token bucket {:.0} %", 100.0 * times),
            Self::Envoy => "Envoy gradient".into(),
            Self::Netflix => "Netflix Gradient2".into(),
        }
    }

    /// Every policy of the full table.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Own];
        all.extend([0.4, 1.0, 2.0, 4.0, 8.0, 16.0].map(Self::Bound));
        all.push(Self::Nothing);
        all.extend([0.5, 1.0, 1.5].map(Self::MaxConn));
        all.push(Self::Haproxy);
        all.extend([0.5, 1.0, 1.5].map(Self::Bucket));
        all.extend([Self::Envoy, Self::Netflix]);
        all
    }
}
