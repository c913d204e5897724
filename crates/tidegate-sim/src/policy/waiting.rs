//! What the other policies have in common: which endpoint, and who waits.

use std::collections::{BTreeMap, VecDeque};

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
        let in_turn = (1..=n).map(|step| (self.last + step) % n);
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
    order: VecDeque<(u32, u64)>,
    inside: BTreeMap<u32, (u64, Ns, Vec<u16>)>,
    joined: u64,
}

impl Line {
    pub(crate) fn len(&self) -> usize {
        self.inside.len()
    }

    pub(crate) fn join(&mut self, client: u32, tried: &[u16], until: Ns) {
        self.joined += 1;
        self.order.push_back((client, self.joined));
        self.inside.insert(client, (self.joined, until, tried.to_vec()));
    }

    pub(crate) fn leave(&mut self, client: u32) {
        self.inside.remove(&client);
    }

    /// Who is first, what failed it already, and until when it waits.
    pub(crate) fn first(&mut self) -> Option<(u32, &[u16], Ns)> {
        while let Some(&(client, joined)) = self.order.front() {
            if self.inside.get(&client).is_some_and(|inside| inside.0 == joined) {
                return self.inside.get(&client).map(|(_, until, tried)| (client, &tried[..], *until));
            }
            self.order.pop_front();
        }
        None
    }
}
