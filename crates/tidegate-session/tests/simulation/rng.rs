//! SplitMix64: small, fast, and the same everywhere.

use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: u64,
    /// Times are multiples of so many ms: of many, and much happens in the same moment.
    grain: usize,
}

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed, grain: 1 }
    }

    pub(crate) fn with_grain(self, grain: usize) -> Self {
        Self { grain, ..self }
    }

    /// Another one, independent of what this one gives from now on.
    pub(crate) fn fork(&mut self) -> Self {
        Self { state: self.next(), grain: self.grain }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn ms(&mut self, low: usize, high: usize) -> Duration {
        let ms = self.between(low, high);
        Duration::from_millis((ms - ms % self.grain) as u64)
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next() as u8)
    }
}
