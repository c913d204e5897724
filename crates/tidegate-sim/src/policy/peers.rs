//! What proxies do today: nothing, a bound on connections, a pace.

use tidegate_governor::Outcome;

use super::{
    Answer, Dial, Policy, Who,
    waiting::{Backends, Line, Seen},
};
use crate::{Ns, SECOND, client::End, seconds};

/// `timeout queue`.
const WAIT: Ns = 5 * SECOND;
const SLOWSTART: f64 = 60.0;

pub(crate) struct Peer {
    most: u32,
    slowstart: bool,
    queue: usize,
    bucket: Option<Bucket>,
    backends: Backends,
    line: Line,
    now: Ns,
}

struct Bucket {
    rate: f64,
    tokens: f64,
    at: Ns,
}

impl Peer {
    pub(crate) fn nothing() -> Self {
        Self::max_conn(u32::MAX)
    }

    pub(crate) fn max_conn(most: u32) -> Self {
        Self {
            most,
            slowstart: false,
            queue: usize::MAX,
            bucket: None,
            backends: Backends::default(),
            line: Line::default(),
            now: 0,
        }
    }

    pub(crate) fn haproxy(most: u32) -> Self {
        Self { slowstart: true, queue: 10_000, ..Self::max_conn(most) }
    }

    /// A second of backlog, as in the prototype that was measured against.
    pub(crate) fn bucket(rate: f64) -> Self {
        Self { bucket: Some(Bucket { rate, tokens: rate, at: 0 }), ..Self::nothing() }
    }

    fn place(&mut self, tried: &[u16], now: Ns) -> Option<Dial> {
        if let Some(bucket) = &mut self.bucket
            && !bucket.has_one(now)
        {
            return None;
        }
        let (most, slowstart) = (self.most, self.slowstart);
        // srv_dynamic_maxconn: from the first second on, in proportion to the time since it came up; never below one.
        let room = |e: &Seen| {
            let age = seconds(now.saturating_sub(e.up_since)) / SLOWSTART;
            let most =
                if slowstart && e.up_since > 0 && age < 1.0 { (f64::from(most) * age).max(1.0) as u32 } else { most };
            e.sessions + e.handshakes < most
        };
        let endpoint = self.backends.least(tried, now, room)?;
        if let Some(bucket) = &mut self.bucket {
            bucket.tokens -= 1.0;
        }
        Some(Dial { endpoint, token: 0 })
    }
}

impl Bucket {
    fn has_one(&mut self, now: Ns) -> bool {
        self.tokens = (self.tokens + self.rate * seconds(now - self.at)).min(self.rate.max(1.0));
        self.at = now;
        self.tokens >= 1.0
    }
}

impl Policy for Peer {
    fn configure(&mut self, endpoints: &[u16], _now: Ns) {
        self.backends.configure(endpoints);
    }

    fn arrive(&mut self, who: Who<'_>, now: Ns) -> Answer {
        self.now = now;
        if self.line.len() == 0
            && let Some(dial) = self.place(who.tried, now)
        {
            return Answer::Dial(dial);
        }
        // Nothing to wait for: no bound is reached, but every endpoint is down.
        if self.most == u32::MAX && self.bucket.is_none() || self.line.len() >= self.queue {
            return Answer::Refuse(End::Http(1));
        }
        let wait = if self.bucket.is_some() { SECOND } else { WAIT };
        self.line.join(who.client, who.tried, now + wait);
        Answer::Wait
    }

    fn cancel(&mut self, client: u32, _now: Ns) {
        self.line.leave(client);
    }

    fn report(&mut self, dial: Dial, outcome: Outcome, now: Ns) {
        self.backends.report(dial.endpoint, outcome, now);
    }

    fn ended(&mut self, dial: Dial, _now: Ns) {
        self.backends.ended(dial.endpoint);
    }

    fn poll(&mut self, now: Ns) -> Option<(u32, Answer)> {
        self.now = now;
        let (client, tried, until) = self.line.first()?;
        let answer = if until <= now {
            Answer::Refuse(End::Http(1))
        } else {
            let tried = tried.to_vec();
            Answer::Dial(self.place(&tried, now)?)
        };
        self.line.leave(client);
        Some((client, answer))
    }

    fn wake(&self) -> Option<Ns> {
        (self.line.len() > 0).then(|| self.now + SECOND / 100)
    }
}
