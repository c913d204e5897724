//! Which of the endpoints that can take a client gets it.
//!
//! Nothing here allocates: each rule is a scan or two over the endpoints.

use crate::{Balance, EndpointId, endpoint::Endpoint, rng::Rng};

/// Sessions per weight on average from which an endpoint that holds less than half of them is a newcomer.
const NEWCOMER_FLOOR: u64 = 8;

#[derive(Debug, Default)]
pub(crate) struct Balancer {
    pub(crate) rule: Balance,
    /// Ties go to the next one after this, else the first endpoint would get every client of a quiet upstream.
    last: usize,
}

impl Balancer {
    /// The index of the endpoint for this client. One in `tried` only when no other is eligible.
    pub(crate) fn choose(
        &mut self,
        endpoints: &mut [Endpoint],
        tried: &[EndpointId],
        rng: &mut Rng,
        eligible: impl Fn(&Endpoint) -> bool,
    ) -> Option<usize> {
        let untried = |e: &Endpoint| eligible(e) && !tried.contains(&e.id);
        let chosen = if endpoints.iter().any(&untried) {
            self.apply(endpoints, rng, untried)
        } else {
            self.apply(endpoints, rng, eligible)
        }?;
        self.last = chosen;
        Some(chosen)
    }

    fn apply(&self, endpoints: &mut [Endpoint], rng: &mut Rng, eligible: impl Fn(&Endpoint) -> bool) -> Option<usize> {
        match self.rule {
            Balance::LeastSessions => self.least_sessions(endpoints, rng, eligible),
            Balance::PowerOfTwo => power_of_two(endpoints, rng, eligible),
            Balance::RoundRobin => round_robin(endpoints, eligible),
        }
    }

    /// An endpoint that has just come would get every client until it holds as many as the others: the worst start
    /// for cold caches. So newcomers together get at most twice their fair share.
    fn least_sessions(
        &self,
        endpoints: &[Endpoint],
        rng: &mut Rng,
        eligible: impl Fn(&Endpoint) -> bool,
    ) -> Option<usize> {
        let (live, weight) = totals(endpoints, &eligible);
        let settled = |e: &Endpoint| 2 * u64::from(e.live()) * weight >= live * u64::from(e.weight);
        let new_weight = totals(endpoints, |e| eligible(e) && !settled(e)).1;
        let crowded = live >= NEWCOMER_FLOOR * weight && new_weight > 0;
        if crowded && rng.below(weight) >= 2 * new_weight {
            return self.least(endpoints, |e| eligible(e) && settled(e));
        }
        self.least(endpoints, eligible)
    }

    fn least(&self, endpoints: &[Endpoint], eligible: impl Fn(&Endpoint) -> bool) -> Option<usize> {
        let n = endpoints.len();
        let in_turn = (0..n).map(|step| (self.last + 1 + step) % n);
        in_turn.filter(|&i| eligible(&endpoints[i])).reduce(|best, i| less_loaded(endpoints, best, i))
    }
}

/// Draws two by weight. Drawing the same one twice is part of it: it then keeps its share by weight.
pub(crate) fn power_of_two(
    endpoints: &[Endpoint],
    rng: &mut Rng,
    eligible: impl Fn(&Endpoint) -> bool,
) -> Option<usize> {
    let weight = totals(endpoints, &eligible).1;
    let mut draw = || {
        let mut at = rng.below(weight);
        endpoints.iter().position(|e| {
            let share = if eligible(e) { u64::from(e.weight) } else { 0 };
            let hit = at < share;
            at = at.saturating_sub(share);
            hit
        })
    };
    let (a, b) = (draw()?, draw()?);
    Some(less_loaded(endpoints, a, b))
}

/// Smooth weighted round-robin: everyone gains its weight, the highest goes and pays the sum.
fn round_robin(endpoints: &mut [Endpoint], eligible: impl Fn(&Endpoint) -> bool) -> Option<usize> {
    let (mut sum, mut chosen) = (0, None::<usize>);
    for i in 0..endpoints.len() {
        if !eligible(&endpoints[i]) {
            continue;
        }
        endpoints[i].turn += i64::from(endpoints[i].weight);
        sum += i64::from(endpoints[i].weight);
        if chosen.is_none_or(|best| endpoints[i].turn > endpoints[best].turn) {
            chosen = Some(i);
        }
    }
    endpoints[chosen?].turn -= sum;
    chosen
}

/// The first unless the second is strictly less loaded with one client more.
fn less_loaded(endpoints: &[Endpoint], a: usize, b: usize) -> usize {
    let (x, y) = (&endpoints[a], &endpoints[b]);
    let load = |e: &Endpoint, other: &Endpoint| (u64::from(e.live()) + 1) * u64::from(other.weight);
    if load(y, x) < load(x, y) { b } else { a }
}

/// What the eligible endpoints hold, and their weight.
fn totals(endpoints: &[Endpoint], eligible: impl Fn(&Endpoint) -> bool) -> (u64, u64) {
    endpoints
        .iter()
        .filter(|e| eligible(e))
        .fold((0, 0), |(live, weight), e| (live + u64::from(e.live()), weight + u64::from(e.weight)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(weights: &[u32], sessions: &[u32]) -> Vec<Endpoint> {
        let endpoint = |(i, (&weight, &sessions)): (usize, (&u32, &u32))| {
            let mut e = Endpoint::new(EndpointId(i as u32), "e");
            (e.weight, e.sessions) = (weight, sessions);
            e
        };
        weights.iter().zip(sessions).enumerate().map(endpoint).collect()
    }

    /// How many of `starts` each endpoint gets; each becomes a session.
    fn deal(rule: Balance, weights: &[u32], sessions: &[u32], starts: u32) -> Vec<u32> {
        let (mut endpoints, mut rng) = (fleet(weights, sessions), Rng::new(9));
        let mut balancer = Balancer { rule, last: 0 };
        for _ in 0..starts {
            let i = balancer.choose(&mut endpoints, &[], &mut rng, Endpoint::is_open).unwrap();
            endpoints[i].sessions += 1;
        }
        endpoints.iter().zip(sessions).map(|(e, before)| e.sessions - before).collect()
    }

    #[test]
    fn each_rule_deals_by_weight() {
        assert_eq!(deal(Balance::LeastSessions, &[1, 1, 2], &[0, 0, 0], 400), [100, 100, 200]);
        assert_eq!(deal(Balance::RoundRobin, &[1, 1, 2], &[50, 0, 0], 400), [100, 100, 200]);
        let two = deal(Balance::PowerOfTwo, &[1, 1, 2], &[0, 0, 0], 4000);
        assert!(two.iter().zip([1000, 1000, 2000]).all(|(a, b)| a.abs_diff(b) < 50), "{two:?}");
    }

    #[test]
    fn few_sessions_are_levelled_exactly() {
        assert_eq!(deal(Balance::LeastSessions, &[1, 1], &[4, 0], 6), [1, 5]);
    }

    #[test]
    fn a_newcomer_gets_at_most_twice_its_share() {
        let mut sessions = vec![1000; 10];
        sessions[3] = 0;
        let dealt = deal(Balance::LeastSessions, &[1; 10], &sessions, 1000);
        assert!((150..=250).contains(&dealt[3]), "{dealt:?}");
    }

    #[test]
    fn a_tried_endpoint_is_the_last_resort_and_weight_zero_none() {
        let (mut endpoints, mut rng, mut balancer) = (fleet(&[1, 1, 0], &[0, 9, 0]), Rng::new(1), Balancer::default());
        let mut choose = |tried: &[u32]| {
            let tried: Vec<EndpointId> = tried.iter().map(|&i| EndpointId(i)).collect();
            balancer.choose(&mut endpoints, &tried, &mut rng, Endpoint::is_open)
        };
        assert_eq!([choose(&[]), choose(&[0]), choose(&[0, 1])], [Some(0), Some(1), Some(0)]);
    }
}
