//! An experiment: clients that obey the hint, and signed tickets that keep a client's rank (the governor's design, 6e).
//!
//! A ticket says when its client was first refused. Those refused up to some moment are *called*: as many as can be let
//! in within four seconds. Who comes before it is called goes behind those who are, by the governor's own classes; who
//! is refused is told when its turn will be. Every client shows its ticket (a cookie needs no help from it); so large a
//! part of them obeys the hint.

use tidegate_governor::Outcome;

use super::{Answer, Dial, Own, Policy, Who};
use crate::{Ns, SECOND, client::End, draw::Luck};

/// The part of the admissions that those who are called are sure of.
const CALLED: f64 = 0.9;
/// Seconds of work that is called at once.
const AHEAD: f64 = 4.0;
const LONGEST_S: f64 = 60.0;

pub(crate) struct Ranked {
    own: Own,
    luck: Luck,
    draws: u64,
    /// Part of the clients that obey.
    obey: f64,
    tickets: Option<Tickets>,
}

#[derive(Default)]
struct Tickets {
    /// By client: the second it was first refused, plus one.
    issued: Vec<u32>,
    /// By that second: how many are not in yet.
    out: Vec<u32>,
    /// Up to here all are called.
    called: usize,
    looked_at: Ns,
    /// Admissions of this second, and the best rate of late.
    second: u64,
    admitted: u32,
    rate: f64,
}

impl Ranked {
    pub(crate) fn new(obey: f64, tickets: bool, seed: u64) -> Self {
        let shares = if tickets { vec![CALLED] } else { Vec::new() };
        let tickets = tickets.then(Tickets::default);
        Self { own: Own::with_shares(shares, seed), luck: Luck::new(seed), draws: 0, obey, tickets }
    }

    fn answer(&mut self, client: u32, answer: Answer, now: Ns) -> Answer {
        let Answer::Refuse(end) = answer else {
            if let (Answer::Dial(_), Some(tickets)) = (answer, &mut self.tickets) {
                tickets.admitted(client, now);
            }
            return answer;
        };
        self.draws += 1;
        let unit = self.luck.draw(client.into(), self.draws, 1).unit();
        let seconds = match (&mut self.tickets, end) {
            (Some(tickets), _) => tickets.refused(client, now, unit),
            (None, End::Closed(hint) | End::Http(hint)) => f64::from(hint) + unit,
            (None, _) => return answer,
        };
        let obeys = self.luck.draw(client.into(), 0, 2).unit() < self.obey;
        Answer::Refuse(if obeys { End::Obeyed((1000.0 * seconds) as u32) } else { end })
    }
}

impl Tickets {
    /// 0: called; 3: not yet.
    fn class(&mut self, client: u32, now: Ns) -> u8 {
        if now >= self.looked_at + SECOND / 10 {
            self.looked_at = now;
            let most = AHEAD * self.rate;
            let mut sum = 0.0;
            self.called = self
                .out
                .iter()
                .position(|&out| {
                    sum += f64::from(out);
                    sum > most
                })
                .unwrap_or(self.out.len());
        }
        let issued = self.issued.get(client as usize).copied().unwrap_or_default();
        let everybody = self.called >= self.out.len();
        if everybody || (issued > 0 && issued as usize - 1 <= self.called) { 0 } else { 3 }
    }

    fn admitted(&mut self, client: u32, now: Ns) {
        if self.second != now / SECOND {
            self.rate = f64::from(self.admitted).max(0.9 * self.rate);
            (self.second, self.admitted) = (now / SECOND, 0);
        }
        self.admitted += 1;
        if let Some(issued) = self.issued.get_mut(client as usize)
            && *issued > 0
        {
            self.out[*issued as usize - 1] -= 1;
            *issued = 0;
        }
    }

    /// Seconds until it is called.
    fn refused(&mut self, client: u32, now: Ns, unit: f64) -> f64 {
        let (client, second) = (client as usize, (now / SECOND) as usize);
        self.issued.resize(self.issued.len().max(client + 1), 0);
        self.out.resize(self.out.len().max(second + 1), 0);
        if self.issued[client] == 0 {
            self.issued[client] = second as u32 + 1;
            self.out[second] += 1;
        }
        let ahead: u32 = self.out[..self.issued[client] as usize - 1].iter().sum();
        let until = (f64::from(ahead) / self.rate.max(1.0)).min(LONGEST_S);
        (0.9 * until).max(2.0) + unit * (0.05 * until).max(0.5)
    }
}

impl Policy for Ranked {
    fn configure(&mut self, endpoints: &[u16], now: Ns) {
        self.own.configure(endpoints, now);
    }

    fn arrive(&mut self, mut who: Who<'_>, now: Ns) -> Answer {
        who.class = self.tickets.as_mut().map_or(0, |tickets| tickets.class(who.client, now));
        let answer = self.own.arrive(who, now);
        self.answer(who.client, answer, now)
    }

    fn cancel(&mut self, client: u32, now: Ns) {
        self.own.cancel(client, now);
    }

    fn report(&mut self, dial: Dial, outcome: Outcome, now: Ns) {
        self.own.report(dial, outcome, now);
    }

    fn ended(&mut self, dial: Dial, now: Ns) {
        self.own.ended(dial, now);
    }

    fn hold(&mut self, dial: Dial, now: Ns) -> Ns {
        self.own.hold(dial, now)
    }

    fn poll(&mut self, now: Ns) -> Option<(u32, Answer)> {
        let (client, answer) = self.own.poll(now)?;
        Some((client, self.answer(client, answer, now)))
    }

    fn wake(&self) -> Option<Ns> {
        self.own.wake()
    }

    fn hint(&mut self, now: Ns) -> u32 {
        self.own.hint(now)
    }
}
