//! The one to beat: a fixed bound on handshakes in flight, and a short queue.

use tidegate_governor::Outcome;

use super::{
    Answer, Dial, Policy, Who,
    waiting::{Backends, Line},
};
use crate::{Ns, SECOND, client::End};

const WAIT: Ns = 2 * SECOND;

pub(crate) struct Bound {
    most: u32,
    backends: Backends,
    line: Line,
    now: Ns,
}

impl Bound {
    pub(crate) fn new(most: u32) -> Self {
        Self { most: most.max(1), backends: Backends::default(), line: Line::default(), now: 0 }
    }
}

impl Policy for Bound {
    fn configure(&mut self, endpoints: &[u16], _now: Ns) {
        self.backends.configure(endpoints);
    }

    fn arrive(&mut self, who: Who<'_>, now: Ns) -> Answer {
        self.now = now;
        let most = self.most;
        if self.line.len() == 0
            && let Some(endpoint) = self.backends.least(who.tried, now, |e| e.handshakes < most)
        {
            return Answer::Dial(Dial { endpoint, token: 0 });
        }
        self.line.join(who.client, who.tried, now + WAIT);
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
        let most = self.most;
        let (client, tried, until) = self.line.first()?;
        let answer = if until <= now {
            Answer::Refuse(End::Closed(1))
        } else {
            let endpoint = self.backends.least(tried, now, |e| e.handshakes < most)?;
            Answer::Dial(Dial { endpoint, token: 0 })
        };
        self.line.leave(client);
        Some((client, answer))
    }

    fn wake(&self) -> Option<Ns> {
        (self.line.len() > 0).then(|| self.backends.next_up(self.now).unwrap_or(Ns::MAX).min(self.now + SECOND / 10))
    }
}
