//! What the other policies have in common: which endpoint, and who waits.

use std::collections::VecDeque;

use tidegate_governor::Outcome;

use crate::{Ns, SECOND};

/// How long an endpoint that refused a connection is left alone: the interval of a health check.
const DOWN: Ns = SECOND;

/// One endpoint as a proxy sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) sessions: u32,
    pub(crate) handshakes: u32,
    configured: bool,
    down_until: Ns,
    /// Since when it takes clients again.
    pub(crate) up_since: Ns,
}

/// Endpoints, the least loaded first.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    pub(crate) seen: Vec<Seen>,
    last: usize,
}

impl Backends {
    pub(crate) fn configure(&mut self, endpoints: &[u16]) {
        self.seen.iter_mut().for_each(|e| e.configured = false);
        for &e in endpoints {
            let e = usize::from(e);
            self.seen.resize(self.seen.len().max(e + 1), Seen::default());
            self.seen[e].configured = true;
        }
    }

    pub(crate) fn least(&mut self, tried: &[u16], now: Ns, fits: impl Fn(&Seen) -> bool) -> Option<u16> {
        let n = self.seen.len();
        let fits = |&i: &usize| {
            let e = &self.seen[i];
            e.configured && e.down_until <= now && !tried.contains(&(i as u16)) && fits(e)
        };
        let first = (self.last + 1) % n.max(1);
        let in_turn = (first..n).chain(0..first);
        let best = in_turn.filter(fits).min_by_key(|&i| self.seen[i].sessions + self.seen[i].handshakes)?;
        self.last = best;
        self.seen[best].handshakes += 1;
        Some(best as u16)
    }

    pub(crate) fn report(&mut self, endpoint: u16, outcome: Outcome, now: Ns) {
        let e = &mut self.seen[usize::from(endpoint)];
        e.handshakes -= 1;
        match outcome {
            Outcome::Established { .. } => e.sessions += 1,
            Outcome::ConnectFailed => {
                e.down_until = now + DOWN;
                e.up_since = e.down_until;
            }
            _ => {}
        }
    }

    pub(crate) fn ended(&mut self, endpoint: u16) {
        self.seen[usize::from(endpoint)].sessions -= 1;
    }

    /// The next time one that is down is tried again.
    pub(crate) fn next_up(&self, now: Ns) -> Option<Ns> {
        self.seen.iter().map(|e| e.down_until).filter(|&at| at > now).min()
    }
}

/// First come, first served, for a time.
#[derive(Debug, Default)]
pub(crate) struct Line {
    order: VecDeque<Waiting>,
    /// By client: which of its joinings counts. 0: it does not wait.
    inside: Vec<u32>,
    len: usize,
    joined: u32,
}

/// Somebody who joined, and may have left since.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) client: u32,
    joined: u32,
    pub(crate) until: Ns,
    /// What has failed it already.
    pub(crate) tried: Vec<u16>,
}

impl Line {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn join(&mut self, client: u32, tried: &[u16], until: Ns) {
        self.joined += 1;
        self.order.push_back(Waiting { client, joined: self.joined, until, tried: tried.to_vec() });
        let client = client as usize;
        self.inside.resize(self.inside.len().max(client + 1), 0);
        self.len += usize::from(self.inside[client] == 0);
        self.inside[client] = self.joined;
    }

    pub(crate) fn leave(&mut self, client: u32) {
        if let Some(joined) = self.inside.get_mut(client as usize) {
            self.len -= usize::from(*joined != 0);
            *joined = 0;
        }
    }

    pub(crate) fn first(&mut self) -> Option<&Waiting> {
        while self.order.front().is_some_and(|first| self.inside[first.client as usize] != first.joined) {
            self.order.pop_front();
        }
        self.order.front()
    }
}
