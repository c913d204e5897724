//! The endpoints of one upstream: which of them takes a client, and what stands in the way when none does.

use std::time::{Duration, Instant};

use crate::{
    EndpointId, Limits, Mode, Reason, Wish,
    balance::{self, Balancer},
    breaker::Cause,
    endpoint::{Endpoint, Room},
    rng::Rng,
};

/// Longest time for which a look at all endpoints is believed.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Fleet {
    /// By id, that is in order of first appearance.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) balancer: Balancer,
    slow_start: Option<Duration>,
    /// Every endpoint has its whole share.
    warm: bool,
    /// None has room before then, unless something happens to one: in overload that is asked far more often.
    full_until: Option<Instant>,
    /// No rest ends later.
    last_rest_end: Option<Instant>,
    next_id: u32,
}

impl Fleet {
    pub(crate) fn configure(&mut self, endpoints: &[(&str, u32)], now: Instant) -> Vec<EndpointId> {
        self.look_again();
        self.warm = false;
        for endpoint in &mut self.endpoints {
            if endpoint.gone {
                // Should it come back, it begins anew.
                (endpoint.weight, endpoint.down) = (0, false);
            }
            endpoint.gone = true;
        }
        let others_known = self.endpoints.iter().any(|e| e.gauge.is_known());
        let ids: Vec<_> = endpoints.iter().map(|&(key, weight)| self.configure_one(key, weight, now)).collect();
        self.endpoints.retain(|e| !e.gone || e.live() > 0);
        for endpoint in self.endpoints.iter_mut().filter(|e| !e.gauge.is_known()) {
            endpoint.gauge.begin(ids.len(), others_known);
        }
        ids
    }

    /// Something will happen to it.
    pub(crate) fn get(&mut self, id: EndpointId) -> Option<&mut Endpoint> {
        self.look_again();
        self.endpoints.binary_search_by_key(&id, |e| e.id).ok().map(|i| &mut self.endpoints[i])
    }

    /// The limits are others, or an endpoint is.
    pub(crate) fn look_again(&mut self) {
        self.full_until = None;
    }

    pub(crate) fn set_slow_start(&mut self, slow_start: Option<Duration>) {
        self.slow_start = slow_start;
        self.warm = false;
    }

    pub(crate) fn set_health(&mut self, id: EndpointId, up: bool, now: Instant) {
        if let Some(endpoint) = self.get(id)
            && endpoint.down == up
        {
            endpoint.down = !up;
            endpoint.opened = now;
            self.warm = false;
        }
    }

    /// An endpoint's rest has begun, until then.
    pub(crate) fn on_rest(&mut self, until: Option<Instant>) {
        self.last_rest_end = self.last_rest_end.max(until);
    }

    /// Forgets an endpoint that is neither configured nor held.
    pub(crate) fn forget_if_spent(&mut self, id: EndpointId) {
        if let Ok(i) = self.endpoints.binary_search_by_key(&id, |e| e.id)
            && self.endpoints[i].gone
            && self.endpoints[i].live() == 0
        {
            self.endpoints.remove(i);
        }
    }

    /// Whether nobody can have got room since [`find`](Self::find) last saw that none has any.
    pub(crate) fn is_known_full(&self, now: Instant) -> bool {
        self.full_until.is_some_and(|until| now < until)
    }

    /// An endpoint within its limits.
    pub(crate) fn find(
        &mut self,
        tried: &[EndpointId],
        wish: Wish,
        limits: &Limits,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<&mut Endpoint> {
        if self.is_known_full(now) {
            return None;
        }
        self.warm_up(now);
        let mut full = true;
        for e in &mut self.endpoints {
            e.free = e.is_open() && e.room(limits, now) == Room::Free;
            full &= !e.free;
        }
        if full {
            let ends = self.open().flat_map(|e| [e.rest_ends(), e.stock.reckoned_until()]).flatten();
            self.full_until = ends.filter(|&end| end > now).chain([now + LOOK_AGAIN]).min();
            return None;
        }
        let i = self.balancer.choose(&mut self.endpoints, wish, tried, rng, |e| e.free)?;
        Some(&mut self.endpoints[i])
    }

    /// In observe mode, any endpoint that has not turned this client away.
    pub(crate) fn find_regardless(
        &mut self,
        tried: &[EndpointId],
        wish: Wish,
        limits: &Limits,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<&mut Endpoint> {
        if limits.mode == Mode::Enforce {
            return None;
        }
        let untried = |e: &Endpoint| e.is_open() && !tried.contains(&e.id);
        self.warm_up(now);
        let i = self.balancer.choose(&mut self.endpoints, wish, tried, rng, untried)?;
        Some(&mut self.endpoints[i])
    }

    /// An endpoint regardless of limits.
    pub(crate) fn suggest(
        &mut self,
        tried: &[EndpointId],
        wish: Wish,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<EndpointId> {
        self.warm_up(now);
        let untried = |e: &Endpoint| e.is_open() && !tried.contains(&e.id);
        let rested = |e: &Endpoint| untried(e) && e.rest_ends().is_none_or(|end| end <= now);
        let endpoints = &self.endpoints;
        let i = if endpoints.iter().any(rested) {
            balance::draw(endpoints, wish, rng, rested)
        } else {
            balance::draw(endpoints, wish, rng, untried)
        };
        Some(self.endpoints[i?].id)
    }

    /// What stands in the way. Busy endpoints are named before those that asked for rest, these before full ones and
    /// those before failed ones: in the order in which they are likely to change.
    pub(crate) fn obstacle(&self, limits: &Limits, now: Instant) -> (Reason, Option<&'static str>) {
        let (mut asked, mut full) = (false, None);
        for e in self.open() {
            match e.room(limits, now) {
                Room::Free | Room::Busy => return (Reason::Overload, e.limit(limits, now)),
                Room::Resting(Cause::Overload) => asked = true,
                Room::Full => full = Some(e),
                Room::Resting(Cause::Failure) => {}
            }
        }
        match (asked, full) {
            (true, _) => (Reason::UpstreamOverloaded, None),
            (_, Some(e)) => (Reason::UpstreamFull, e.limit(limits, now)),
            _ => (Reason::NoUpstream, None),
        }
    }

    /// How much longer the upstream itself asked to be left alone: the soonest of its endpoints, zero if one did not.
    /// Endpoints that are down have no say.
    pub(crate) fn asked_for(&self, limits: &Limits, now: Instant) -> Duration {
        let mut soonest = None;
        for e in self.open() {
            match e.room(limits, now) {
                Room::Resting(Cause::Failure) => {}
                Room::Resting(Cause::Overload) => soonest = soonest.into_iter().chain(e.rest_ends()).min(),
                _ => return Duration::ZERO,
            }
        }
        soonest.map_or(Duration::ZERO, |end| end.saturating_duration_since(now))
    }

    /// The first end of a rest after `since`.
    pub(crate) fn next_rest_end(&self, since: Option<Instant>) -> Option<Instant> {
        if since.is_some() && self.last_rest_end <= since {
            return None;
        }
        self.open().filter_map(Endpoint::rest_ends).filter(|&end| since.is_none_or(|since| end > since)).min()
    }

    /// Sessions that there is room for, with endpoints that take clients; `None`: one has no limit.
    pub(crate) fn sessions_left(&self, limits: &Limits, now: Instant) -> Option<u32> {
        let awake = self.open().filter(|e| !matches!(e.room(limits, now), Room::Resting(_)));
        let left = |e: &Endpoint| Some(e.max_sessions(limits, now)?.saturating_sub(e.live()));
        awake.map(left).try_fold(0, |sum: u32, left| Some(sum.saturating_add(left?)))
    }

    /// What the others can take back of `held` sessions of this one, per second; 0 when they lack the room.
    pub(crate) fn survivors(&self, of: EndpointId, held: u32, limits: &Limits, now: Instant) -> f64 {
        let others = || self.open().filter(|e| e.id != of);
        let room = |e: &Endpoint| {
            e.max_sessions(limits, now).map_or(u64::MAX >> 32, |max| u64::from(max.saturating_sub(e.live())))
        };
        if others().map(room).sum::<u64>() < u64::from(held) {
            return 0.0;
        }
        others().map(|e| e.shown_rate(limits, now)).sum()
    }

    fn warm_up(&mut self, now: Instant) {
        if !self.warm {
            self.warm = true;
            for endpoint in &mut self.endpoints {
                self.warm &= endpoint.warm_up(self.slow_start, now);
            }
        }
    }

    /// Endpoints there are, what one of them can hold and what it has shown it can take per second, on average.
    pub(crate) fn mean(&self, limits: &Limits, now: Instant) -> (u32, Option<u32>, f64) {
        let n = self.open().count().max(1);
        let held: Option<u64> = self.open().map(|e| e.max_sessions(limits, now).map(u64::from)).sum();
        let rate: f64 = self.open().map(|e| e.shown_rate(limits, now)).sum();
        (n as u32, held.map(|held| (held / n as u64) as u32), rate / n as f64)
    }

    pub(crate) fn open(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(|e| e.is_open())
    }

    fn configure_one(&mut self, key: &str, weight: u32, now: Instant) -> EndpointId {
        let i = self.endpoints.iter().position(|e| e.key == key).unwrap_or_else(|| {
            self.endpoints.push(Endpoint::new(EndpointId(self.next_id), key, now));
            self.next_id += 1;
            self.endpoints.len() - 1
        });
        let endpoint = &mut self.endpoints[i];
        if endpoint.weight == 0 {
            endpoint.opened = now;
        }
        (endpoint.gone, endpoint.weight) = (false, weight);
        endpoint.id
    }
}
