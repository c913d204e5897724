//! The hash behind [`Wish::Hash`](crate::Wish::Hash): the same on every machine and in every version, so that all
//! tidegates before the same endpoints send a client to the same one.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// FNV-1a with a finish that spreads its last byte over all bits. No secret hangs on it: whoever chooses the text can
/// send the same one a thousand times anyway.
pub fn hash(text: &[u8]) -> u64 {
    mix(text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// How well a client and an endpoint go together: the higher the better (rendezvous hashing, by weight).
pub(crate) fn score(client: u64, endpoint: u64, weight: u64) -> f64 {
    // In (0, 1): never 0, of which there is no logarithm.
    let drawn = ((mix(client ^ endpoint) >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    -(weight as f64) / drawn.ln()
}

/// A table by numbers, in no order.
pub(crate) type Numbered<K, V> = HashMap<K, V, BuildHasherDefault<Spread>>;

/// Spreads numbers over a table. Clients may make up tenants that share a place in it; how many of them there are is
/// bounded by `max_tenants`.
#[derive(Debug, Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u8(byte));
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = mix(self.0.rotate_left(32) ^ number);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The finish of `SplitMix64`.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
