//! The governor, as the proxy drives it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tidegate_governor::{
    Ask, Balance, EndpointId, Event, Governor, Limits, Outcome, Parked, Permit, Reason, Refusal, Ticket, Verdict,
};

use super::{Answer, Dial, Fleet, Policy, Who};
use crate::{Ns, SECOND, client::End};

pub(crate) struct Own {
    governor: Governor,
    /// Virtual time zero.
    zero: Instant,
    ids: Vec<EndpointId>,
    names: BTreeMap<EndpointId, u16>,
    /// Whose each ticket is, by its place.
    waiting: Vec<Option<(Ticket, u32)>>,
    /// Those who lost it to a newcomer, and have not been told.
    displaced: Vec<(Ticket, u32)>,
    permits: Vec<Option<Permit>>,
    free: Vec<u32>,
}

impl Own {
    pub(crate) fn new(fleet: Fleet) -> Self {
        #[allow(clippy::disallowed_methods)] // Only differences from it are ever used.
        let zero = Instant::now();
        // What the proxy sets when its configuration says nothing; but who has more than 100,000 clients behind one proxy
        // lets more of them wait: the default is one in five of these.
        let defaults = Limits::default();
        let limits = Limits { max_waiting: defaults.max_waiting.max(fleet.clients / 5), ..defaults };
        Self {
            governor: Governor::new(limits, fleet.seed),
            zero,
            ids: Vec::new(),
            names: BTreeMap::new(),
            waiting: Vec::new(),
            displaced: Vec::new(),
            permits: Vec::new(),
            free: Vec::new(),
        }
    }

    fn at(&self, now: Ns) -> Instant {
        self.zero + Duration::from_nanos(now)
    }

    fn since_zero(&self, at: Instant) -> Ns {
        let since = at.saturating_duration_since(self.zero);
        since.as_secs() * SECOND + Ns::from(since.subsec_nanos())
    }

    fn keep(&mut self, permit: Permit) -> Dial {
        let endpoint = self.names[&permit.endpoint];
        let token = self.free.pop().unwrap_or(self.permits.len() as u32);
        if token as usize == self.permits.len() {
            self.permits.push(Some(permit));
        } else {
            self.permits[token as usize] = Some(permit);
        }
        Dial { endpoint, token }
    }

    fn take(&mut self, dial: Dial) -> Permit {
        self.free.push(dial.token);
        self.permits[dial.token as usize].take().expect("a dial ends once")
    }
}

fn told(refusal: Refusal) -> End {
    match refusal.reason {
        Reason::QueueFull => End::Http(refusal.retry_after),
        _ => End::Closed(refusal.retry_after),
    }
}

impl Policy for Own {
    fn configure(&mut self, endpoints: &[u16], now: Ns) {
        let keys: Vec<String> = endpoints.iter().map(|e| format!("e{e}")).collect();
        let keys: Vec<(&str, u32)> = keys.iter().map(|key| (key.as_str(), 1)).collect();
        let ids = self.governor.set_endpoints(&keys, Balance::LeastSessions, self.at(now));
        self.names.extend(ids.iter().copied().zip(endpoints.iter().copied()));
        self.ids = endpoints.iter().zip(&ids).fold(std::mem::take(&mut self.ids), |mut all, (&e, &id)| {
            all.resize(all.len().max(usize::from(e) + 1), id);
            all[usize::from(e)] = id;
            all
        });
    }

    fn arrive(&mut self, who: Who<'_>, now: Ns) -> Answer {
        let tried: Vec<EndpointId> = who.tried.iter().map(|&e| self.ids[usize::from(e)]).collect();
        let ask = Ask {
            tried: &tried,
            deadline: Some(self.at(who.until)),
            tenant: who.tenant.into(),
            address: Some(who.address),
            ..Ask::default()
        };
        match self.governor.admit(ask, self.at(now)) {
            Verdict::Admit(permit) => Answer::Dial(self.keep(permit)),
            Verdict::Refuse(refusal) => Answer::Refuse(told(refusal)),
            Verdict::Wait(ticket, until) => {
                let place = ticket.place();
                self.waiting.resize(self.waiting.len().max(place + 1), None);
                self.displaced.extend(self.waiting[place].replace((ticket, who.client)));
                Answer::Wait(self.since_zero(until), place as u32)
            }
        }
    }

    fn cancel(&mut self, client: u32, token: u32, now: Ns) {
        if let Some((ticket, _)) = self.waiting[token as usize].take_if(|(_, waits)| *waits == client) {
            self.governor.cancel(ticket, self.at(now));
        }
    }

    fn report(&mut self, dial: Dial, outcome: Outcome, now: Ns) {
        let now = self.at(now);
        let Some(permit) = &mut self.permits[dial.token as usize] else { return };
        self.governor.observe(permit, outcome, now);
        if !matches!(outcome, Outcome::Established { .. }) {
            let permit = self.take(dial);
            self.governor.release(permit, now);
        }
    }

    fn ended(&mut self, dial: Dial, now: Ns) {
        let permit = self.take(dial);
        self.governor.release(permit, self.at(now));
    }

    fn hold(&mut self, dial: Dial, now: Ns) -> Ns {
        let now = self.at(now);
        let id = self.ids[usize::from(dial.endpoint)];
        self.governor.pace(id, now).as_nanos() as Ns
    }

    fn poll(&mut self, now: Ns) -> Option<(u32, Answer)> {
        let Event { ticket, verdict } = self.governor.poll_event(self.at(now))?;
        let own = self.waiting[ticket.place()].take_if(|(waits, _)| *waits == ticket);
        let (_, client) = own.or_else(|| self.displaced.pop()).expect("an event for somebody who waits");
        let answer = match verdict {
            Parked::Admit(permit) => Answer::Dial(self.keep(permit)),
            Parked::Refuse(refusal) => Answer::Refuse(told(refusal)),
        };
        Some((client, answer))
    }

    fn wake(&self) -> Option<Ns> {
        self.governor.poll_timeout().map(|at| self.since_zero(at))
    }

    fn hint(&mut self, now: Ns) -> u32 {
        let now = self.at(now);
        self.governor.hint(now)
    }
}
