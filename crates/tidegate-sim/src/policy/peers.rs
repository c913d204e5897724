//! What proxies do today, and the one to beat: nothing, a bound, a pace, and a queue in front of it.

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
    rule: Rule,
    wait: Ns,
    /// Who may wait.
    queue: usize,
    told: End,
    backends: Backends,
    line: Line,
    now: Ns,
}

/// What an endpoint is given.
enum Rule {
    All,
    /// So many handshakes in flight.
    Handshakes(u32),
    /// So many sessions and handshakes in flight.
    Connections {
        most: u32,
        slowstart: bool,
    },
    /// So many handshakes a second, all endpoints together.
    Pace(Bucket),
}

struct Bucket {
    rate: f64,
    tokens: f64,
    at: Ns,
}

impl Peer {
    fn new(rule: Rule, wait: Ns, told: End) -> Self {
        Self { rule, wait, queue: usize::MAX, told, backends: Backends::default(), line: Line::default(), now: 0 }
    }

    /// The one to beat: it tells as tidegate does, and waits a little less.
    pub(crate) fn bound(most: u32) -> Self {
        Self::new(Rule::Handshakes(most.max(1)), 2 * SECOND, End::Closed(1))
    }

    pub(crate) fn nothing() -> Self {
        // Nothing to wait for: no bound is reached, but every endpoint is down.
        Self { queue: 0, ..Self::new(Rule::All, WAIT, End::Http(1)) }
    }

    pub(crate) fn max_conn(most: u32) -> Self {
        Self::new(Rule::Connections { most, slowstart: false }, WAIT, End::Http(1))
    }

    pub(crate) fn haproxy(most: u32) -> Self {
        let rule = Rule::Connections { most, slowstart: true };
        Self { queue: 10_000, ..Self::new(rule, WAIT, End::Http(1)) }
    }

    /// A second of backlog, as in the prototype that was measured against.
    pub(crate) fn bucket(rate: f64) -> Self {
        Self::new(Rule::Pace(Bucket { rate, tokens: rate, at: 0 }), SECOND, End::Http(1))
    }
}

fn place(rule: &mut Rule, backends: &mut Backends, tried: &[u16], now: Ns) -> Option<Dial> {
    let endpoint = match rule {
        Rule::All => backends.least(tried, now, |_| true),
        Rule::Handshakes(most) => backends.least(tried, now, |e| e.handshakes < *most),
        Rule::Connections { most, slowstart } => {
            let most = |e: &Seen| if *slowstart { ramp(*most, e, now) } else { *most };
            backends.least(tried, now, |e| e.sessions + e.handshakes < most(e))
        }
        Rule::Pace(bucket) => bucket.spend(now, || backends.least(tried, now, |_| true)),
    }?;
    Some(Dial { endpoint, token: 0 })
}

/// `srv_dynamic_maxconn`: from the first second on, in proportion to the time since it came up; never below one.
fn ramp(most: u32, e: &Seen, now: Ns) -> u32 {
    let age = seconds(now.saturating_sub(e.up_since)) / SLOWSTART;
    if e.up_since > 0 && age < 1.0 { (f64::from(most) * age).max(1.0) as u32 } else { most }
}

impl Bucket {
    /// A token for what comes of it.
    fn spend<T>(&mut self, now: Ns, on: impl FnOnce() -> Option<T>) -> Option<T> {
        self.tokens = (self.tokens + self.rate * seconds(now - self.at)).min(self.rate.max(1.0));
        self.at = now;
        let bought = if self.tokens >= 1.0 { on() } else { None };
        self.tokens -= f64::from(u8::from(bought.is_some()));
        bought
    }
}

impl Policy for Peer {
    fn configure(&mut self, endpoints: &[u16], _now: Ns) {
        self.backends.configure(endpoints);
    }

    fn arrive(&mut self, who: Who<'_>, now: Ns) -> Answer {
        self.now = now;
        if self.line.len() == 0
            && let Some(dial) = place(&mut self.rule, &mut self.backends, who.tried, now)
        {
            return Answer::Dial(dial);
        }
        if self.line.len() >= self.queue {
            return Answer::Refuse(self.told);
        }
        self.line.join(who.client, who.tried, now + self.wait);
        Answer::Wait(now + self.wait, 0)
    }

    fn cancel(&mut self, client: u32, _token: u32, _now: Ns) {
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
        let first = self.line.first()?;
        let answer = if first.until <= now {
            Answer::Refuse(self.told)
        } else {
            Answer::Dial(place(&mut self.rule, &mut self.backends, &first.tried, now)?)
        };
        let client = first.client;
        self.line.leave(client);
        Some((client, answer))
    }

    fn wake(&self) -> Option<Ns> {
        // What there is grows with time, or with what happens and with endpoints that come back.
        let next = match self.rule {
            Rule::Handshakes(_) => self.backends.next_up(self.now).unwrap_or(Ns::MAX).min(self.now + SECOND / 10),
            _ => self.now + SECOND / 100,
        };
        (self.line.len() > 0).then_some(next)
    }
}
