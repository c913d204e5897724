//! When a client that is told to come back should.
//!
//! The evidence for clever hints is weak, so this one is plain: full jitter over the time it takes to let in those who
//! wait and those who were lately sent away. All of them in one second would be the next overload; spread over that
//! time they arrive about as fast as they can be taken.

use std::time::{Duration, Instant};

use crate::{
    meter::{Fading, Peak},
    rng::Rng,
};

/// Nobody is sent away for longer by our own reckoning; an operator's `retry_after` or an upstream's may be.
const LONGEST_WINDOW_S: f64 = 60.0;
/// Who was told to come back counts as about to come for this long.
const RETURN_MEMORY: Duration = Duration::from_secs(30);
const RATE_MEMORY: Duration = Duration::from_secs(5);
/// Admissions per second assumed at least, else the first refusal after a quiet night would be told a minute.
const LOWEST_RATE: f64 = 1.0;

#[derive(Debug)]
pub(crate) struct Hints {
    told: Fading,
    admitted: Fading,
    best: Peak,
}

impl Hints {
    pub(crate) fn new() -> Self {
        Self { told: Fading::new(RETURN_MEMORY), admitted: Fading::new(RATE_MEMORY), best: Peak::default() }
    }

    /// A client came, most likely one that was told to: it is not counted twice if it is told again.
    pub(crate) fn on_arrived(&mut self, now: Instant) {
        self.told.take(now);
    }

    pub(crate) fn on_admitted(&mut self, now: Instant) {
        self.admitted.add(now);
        self.best.add(now);
    }

    /// Whole seconds, uniform from `floor` (rounded up) to the window's end, or to a tenth over `floor` where that
    /// is later: an upstream's own `Retry-After` is the same for everybody.
    pub(crate) fn draw(&mut self, floor: Duration, waiting: usize, now: Instant, rng: &mut Rng) -> u32 {
        // The best of late, not that of this moment: an endpoint that is away or still cold will be well again before
        // those who are told now are back, and who comes a little early is held, not lost.
        let rate = self.admitted.rate(now).max(self.best.rate(now));
        let ahead = waiting as f64 + self.told.add(now);
        let window = (ahead / rate.max(LOWEST_RATE)).min(LONGEST_WINDOW_S) as u32;
        let low =
            u32::try_from(floor.as_secs().saturating_add(u64::from(floor.subsec_nanos() > 0))).unwrap_or(u32::MAX);
        let high = window.max(low.saturating_add(low / 10));
        low + rng.below(u64::from(high - low) + 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::base;

    fn draws(hints: &mut Hints, floor: Duration, waiting: usize, times: usize) -> Vec<u32> {
        let (mut rng, now) = (Rng::new(5), base());
        (0..times).map(|_| hints.draw(floor, waiting, now, &mut rng)).collect()
    }

    #[test]
    fn after_quiet_the_hint_is_what_the_operator_set() {
        for (floor_ms, expected) in [(7000, 7), (1000, 1), (200, 1), (0, 0), (7001, 8)] {
            let got = draws(&mut Hints::new(), Duration::from_millis(floor_ms), 0, 1);
            assert_eq!(got, [expected], "{floor_ms} ms");
        }
    }

    #[test]
    fn a_long_retry_after_is_never_undercut_and_spread_over_a_tenth() {
        let got = draws(&mut Hints::new(), Duration::from_secs(100), 0, 200);
        assert!(got.iter().all(|s| (100..=110).contains(s)), "{got:?}");
        assert!((100..=110).all(|s| got.contains(&s)));
    }

    #[test]
    fn the_window_grows_with_those_ahead_and_ends_at_a_minute() {
        let got = draws(&mut Hints::new(), Duration::from_secs(1), 20, 1);
        assert!((1..=20).contains(&got[0]));
        let got = draws(&mut Hints::new(), Duration::from_secs(1), 10_000, 1000);
        assert!(got.iter().all(|s| (1..=60).contains(s)) && got.iter().any(|&s| s > 50));
    }

    #[test]
    fn who_came_back_is_not_counted_again() {
        let mut hints = Hints::new();
        let _ = draws(&mut hints, Duration::ZERO, 0, 5000);
        assert!(draws(&mut hints, Duration::ZERO, 0, 100).iter().any(|&s| s > 50));
        (0..6000).for_each(|_| hints.on_arrived(base()));
        assert_eq!(draws(&mut hints, Duration::ZERO, 0, 1), [0]);
    }

    #[test]
    fn the_best_rate_of_late_is_what_is_reckoned_with() {
        let mut hints = Hints::new();
        (0..500).for_each(|_| hints.on_admitted(base()));
        let passing = draws(&mut hints, Duration::from_secs(1), 2000, 100);
        assert!(passing.iter().all(|s| (1..=4).contains(s)), "{passing:?}");
    }
}
