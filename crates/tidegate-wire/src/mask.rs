//! Masking (RFC 6455 section 5.3).

/// A masking key. Zero-cost to rotate: the key of a fragment that starts `n` bytes into a masked payload is the
/// original rotated by `n`, so that the payload bytes themselves stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask([u8; 4]);

impl Mask {
    /// The key as it stands on the wire.
    #[must_use]
    pub const fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// The key as it stands on the wire.
    #[must_use]
    pub const fn key(self) -> [u8; 4] {
        self.0
    }

    /// The key for payload bytes from `offset` on.
    #[must_use]
    pub fn rotated(self, offset: u64) -> Self {
        let mut key = self.0;
        key.rotate_left((offset % 4) as usize);
        Self(key)
    }

    /// Masks or unmasks in place: the same operation.
    pub fn apply(self, data: &mut [u8]) {
        let wide = self.wide();
        let (words, rest) = data.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(self.0.iter().cycle()) {
            *byte ^= key;
        }
    }

    /// Whether `masked`, unmasked with this key, is all ASCII.
    pub(crate) fn hides_ascii(self, masked: &[u8]) -> bool {
        const HIGH: u64 = 0x8080_8080_8080_8080;
        let wide = self.wide();
        // Four words at a time, so that the compiler makes vector code of it.
        let (blocks, tail) = masked.as_chunks::<32>();
        let mut high = [0u64; 4];
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            for (seen, word) in high.iter_mut().zip(words) {
                *seen |= u64::from_ne_bytes(*word) ^ wide;
            }
        }
        let tail_high = tail.iter().zip(self.0.iter().cycle()).fold(0, |seen, (byte, key)| seen | (byte ^ key));
        (high[0] | high[1] | high[2] | high[3]) & HIGH == 0 && tail_high & 0x80 == 0
    }

    fn wide(self) -> u64 {
        let [a, b, c, d] = self.0;
        u64::from_ne_bytes([a, b, c, d, a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_payload_cut_anywhere_unmasks_with_rotated_keys(key: [u8; 4], data: Vec<u8>, at: proptest::sample::Index) {
            let mask = Mask::new(key);
            let mut whole = data.clone();
            mask.apply(&mut whole);
            let slow: Vec<u8> = data.iter().enumerate().map(|(i, b)| b ^ key[i % 4]).collect();
            prop_assert_eq!(&whole, &slow);
            let at = at.index(data.len() + 1);
            let (head, tail) = whole.split_at_mut(at);
            mask.apply(head);
            mask.rotated(at as u64).apply(tail);
            prop_assert_eq!(whole, data);
        }

        #[test]
        fn ascii_is_seen_through_the_mask(key: [u8; 4], mut data: Vec<u8>) {
            let ascii = data.is_ascii();
            let mask = Mask::new(key);
            mask.apply(&mut data);
            prop_assert_eq!(mask.hides_ascii(&data), ascii);
        }
    }
}
