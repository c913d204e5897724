//! The seeded generator: same seed, same draws, on every machine.
//!
//! `SplitMix64` passes the usual test batteries and is five lines. It only spreads clients over time and endpoints;
//! nothing secret hangs on it.

use std::time::Duration;

use crate::hash::mix;

/// Longest time span the governor reckons with; longer ones are cut to it, so that no sum overflows. One year.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `0..n`; 0 when `n` is 0. The bias of at most `n / 2^64` is nobody's concern here.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// `span` times a factor drawn from `[low, high)`.
    pub(crate) fn scale(&mut self, span: Duration, low: f64, high: f64) -> Duration {
        span.min(FOREVER).mul_f64(low + (high - low) * self.unit())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_within_their_bounds_and_repeat_by_seed() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        for n in 1..1000 {
            let x = a.unit();
            assert!((0.0..1.0).contains(&x));
            assert_eq!(x.to_bits(), b.unit().to_bits());
            assert!(a.below(n) < n);
            b.below(n);
        }
        assert_eq!(a.below(0), 0);
        assert!(a.scale(Duration::MAX, 0.8, 1.0) <= FOREVER);
    }
}
