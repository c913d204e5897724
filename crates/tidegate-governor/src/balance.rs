//! Which of the endpoints that can take a client gets it.
//!
//! Nothing here allocates: each rule is a scan or two over the endpoints.

use crate::{
    Balance, EndpointId, Wish,
    endpoint::{Endpoint, SHARES},
    hash,
    rng::Rng,
};

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
        wish: Wish,
        tried: &[EndpointId],
        rng: &mut Rng,
        eligible: impl Fn(&Endpoint) -> bool,
    ) -> Option<usize> {
        let untried = |e: &Endpoint| eligible(e) && !tried.contains(&e.id);
        let chosen = if endpoints.iter().any(&untried) {
            self.apply(endpoints, wish, rng, untried)
        } else {
            self.apply(endpoints, wish, rng, eligible)
        }?;
        self.last = chosen;
        Some(chosen)
    }

    fn apply(
        &self,
        endpoints: &mut [Endpoint],
        wish: Wish,
        rng: &mut Rng,
        eligible: impl Fn(&Endpoint) -> bool,
    ) -> Option<usize> {
        if let Some(wished) = wished(endpoints, wish, &eligible) {
            return Some(wished);
        }
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
        let settled = |e: &Endpoint| 2 * u64::from(e.live()) * weight >= live * e.share;
        let new_weight = totals(endpoints, |e| eligible(e) && !settled(e)).1;
        let crowded = live * u64::from(SHARES) >= NEWCOMER_FLOOR * weight && new_weight > 0;
        if crowded && rng.below(weight) >= 2 * new_weight {
            return self.least(endpoints, |e| eligible(e) && settled(e));
        }
        self.least(endpoints, eligible)
    }

    fn least(&self, endpoints: &[Endpoint], eligible: impl Fn(&Endpoint) -> bool) -> Option<usize> {
        let n = endpoints.len();
        let first = (self.last + 1) % n.max(1);
        let in_turn = (first..n).chain(0..first);
        in_turn.filter(|&i| eligible(&endpoints[i])).reduce(|best, i| less_loaded(endpoints, best, i))
    }
}

/// The endpoint that the client wants, or one [by draw](power_of_two).
pub(crate) fn draw(
    endpoints: &[Endpoint],
    wish: Wish,
    rng: &mut Rng,
    eligible: impl Fn(&Endpoint) -> bool,
) -> Option<usize> {
    wished(endpoints, wish, &eligible).or_else(|| power_of_two(endpoints, rng, eligible))
}

/// The endpoint that the client wants, if it is there and can take it.
fn wished(endpoints: &[Endpoint], wish: Wish, eligible: impl Fn(&Endpoint) -> bool) -> Option<usize> {
    match wish {
        Wish::Any => None,
        Wish::Endpoint(id) => endpoints.iter().position(|e| e.id == id && eligible(e)),
        Wish::Hash(client) => {
            let scored = endpoints.iter().enumerate().filter(|(_, e)| eligible(e));
            let scored = scored.map(|(i, e)| (i, hash::score(client, e.hash, e.share)));
            scored.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(i, _)| i)
        }
    }
}

/// Draws two by weight. Drawing the same one twice is part of it: it then keeps its share by weight.
fn power_of_two(endpoints: &[Endpoint], rng: &mut Rng, eligible: impl Fn(&Endpoint) -> bool) -> Option<usize> {
    let weight = totals(endpoints, &eligible).1;
    let mut draw = || {
        let mut at = rng.below(weight);
        endpoints.iter().position(|e| {
            let share = if eligible(e) { e.share } else { 0 };
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
        let share = endpoints[i].share.cast_signed();
        endpoints[i].turn += share;
        sum += share;
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
    let load = |e: &Endpoint, other: &Endpoint| (u64::from(e.live()) + 1) * other.share;
    if load(y, x) < load(x, y) { b } else { a }
}

/// What the eligible endpoints hold, and their shares together.
fn totals(endpoints: &[Endpoint], eligible: impl Fn(&Endpoint) -> bool) -> (u64, u64) {
    endpoints
        .iter()
        .filter(|e| eligible(e))
        .fold((0, 0), |(live, weight), e| (live + u64::from(e.live()), weight + e.share))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tests::base;

    fn fleet(weights: &[u32], sessions: &[u32]) -> Vec<Endpoint> {
        let endpoint = |(i, (&weight, &sessions)): (usize, (&u32, &u32))| {
            let mut e = Endpoint::new(EndpointId(i as u32), &format!("10.0.0.{i}:80"), base());
            (e.weight, e.sessions) = (weight, sessions);
            e.warm_up(None, base());
            e
        };
        weights.iter().zip(sessions).enumerate().map(endpoint).collect()
    }

    /// How many of `starts` each endpoint gets; each becomes a session.
    fn deal(rule: Balance, weights: &[u32], sessions: &[u32], starts: u32) -> Vec<u32> {
        let (mut endpoints, mut rng) = (fleet(weights, sessions), Rng::new(9));
        let mut balancer = Balancer { rule, last: 0 };
        for _ in 0..starts {
            let i = balancer.choose(&mut endpoints, Wish::Any, &[], &mut rng, Endpoint::is_open).unwrap();
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
            balancer.choose(&mut endpoints, Wish::Any, &tried, &mut rng, Endpoint::is_open)
        };
        assert_eq!([choose(&[]), choose(&[0]), choose(&[0, 1])], [Some(0), Some(1), Some(0)]);
    }

    /// Where each of a thousand clients goes.
    fn by_hash(endpoints: &mut [Endpoint], eligible: impl Fn(&Endpoint) -> bool) -> Vec<EndpointId> {
        let (mut rng, mut balancer) = (Rng::new(5), Balancer::default());
        let mut choose = |client: u32| {
            let wish = Wish::Hash(hash::hash(format!("user-{client}").as_bytes()));
            balancer.choose(endpoints, wish, &[], &mut rng, &eligible)
        };
        let chosen: Vec<usize> = (0..1000).map(|client| choose(client).unwrap()).collect();
        chosen.into_iter().map(|i| endpoints[i].id).collect()
    }

    #[test]
    fn a_hashed_client_goes_where_it_went_and_an_endpoint_that_comes_or_goes_moves_only_its_share() {
        let mut four = fleet(&[1, 1, 1, 1], &[900, 0, 3, 20]);
        let before = by_hash(&mut four, Endpoint::is_open);
        assert_eq!(before, by_hash(&mut four, Endpoint::is_open), "whatever each holds");
        for id in 0..4 {
            let share = before.iter().filter(|&&at| at == EndpointId(id)).count();
            assert!((200..=300).contains(&share), "{share} of 1000 on one of four");
        }
        let without = by_hash(&mut four, |e| e.id != EndpointId(2));
        let moved = before.iter().zip(&without).filter(|(before, after)| before != after);
        assert!(moved.clone().all(|(&before, _)| before == EndpointId(2)), "only those that must");
        let mut five = fleet(&[1, 1, 1, 1, 1], &[0; 5]);
        let with = by_hash(&mut five, Endpoint::is_open);
        let moved: Vec<_> = before.iter().zip(&with).filter(|(before, after)| before != after).collect();
        assert!(moved.iter().all(|&(_, &after)| after == EndpointId(4)), "only to the newcomer");
        assert!((150..=250).contains(&moved.len()), "{} of 1000 for a fifth", moved.len());
    }

    #[test]
    fn a_hashed_client_finds_a_heavier_endpoint_more_often() {
        let chosen = by_hash(&mut fleet(&[1, 3], &[0, 0]), Endpoint::is_open);
        let heavy = chosen.iter().filter(|&&at| at == EndpointId(1)).count();
        assert!((700..=800).contains(&heavy), "{heavy} of 1000 by weight 3 of 4");
    }

    #[test]
    fn a_client_goes_back_to_its_endpoint_and_elsewhere_only_when_that_takes_nobody() {
        let (mut endpoints, mut rng, mut balancer) = (fleet(&[1, 1], &[50, 0]), Rng::new(1), Balancer::default());
        let mut choose = |tried: &[EndpointId], down| {
            endpoints[0].down = down;
            balancer.choose(&mut endpoints, Wish::Endpoint(EndpointId(0)), tried, &mut rng, Endpoint::is_open)
        };
        assert_eq!(choose(&[], false), Some(0));
        assert_eq!(choose(&[EndpointId(0)], false), Some(1));
        assert_eq!(choose(&[], true), Some(1));
    }

    #[test]
    fn under_slow_start_a_newcomer_begins_with_a_tenth_of_its_share() {
        for (rule, most) in [(Balance::LeastSessions, 50), (Balance::PowerOfTwo, 140), (Balance::RoundRobin, 40)] {
            let (mut endpoints, mut rng) = (fleet(&[1; 3], &[300; 3]), Rng::new(9));
            endpoints[2].sessions = 0;
            let mut balancer = Balancer { rule, last: 0 };
            let mut deal = |age| {
                let now = endpoints[2].opened + age;
                endpoints[2].warm_up(Some(Duration::from_secs(30)), now);
                let before = endpoints[2].sessions;
                for _ in 0..300 {
                    let i = balancer.choose(&mut endpoints, Wish::Any, &[], &mut rng, Endpoint::is_open).unwrap();
                    endpoints[i].sessions += 1;
                }
                endpoints[2].sessions - before
            };
            let (cold, warm) = (deal(Duration::ZERO), deal(Duration::from_secs(30)));
            assert!((1..=most).contains(&cold), "{rule:?}: {cold} of 300 when cold");
            assert!(warm >= 95, "{rule:?}: {warm} of 300 when warm");
        }
    }
}
