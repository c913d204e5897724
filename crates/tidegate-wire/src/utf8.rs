//! UTF-8 in pieces: text cut anywhere, by fragments, by reads, by the buffer (RFC 6455 section 8.1).

use crate::Mask;

/// How much masked text is unmasked at once to be looked at, in bytes. Fits the first-level cache twice over.
const BLOCK: usize = 1024;

/// Incremental validation of one message's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Utf8 {
    /// The bytes of a character whose end has not come yet.
    open: [u8; 3],
    open_len: u8,
}

/// The text is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

impl Utf8 {
    /// Takes the next piece, masked or not. Fails at the first piece that no text could contain.
    ///
    /// # Errors
    /// The text so far cannot be the start of any UTF-8.
    #[inline]
    pub fn feed(&mut self, data: &[u8], mask: Option<Mask>) -> Result<(), Invalid> {
        match mask {
            None => self.feed_plain(data),
            Some(mask) if self.open_len == 0 && mask.hides_ascii(data) => Ok(()),
            Some(mask) => self.feed_masked(data, mask),
        }
    }

    /// Whether the text may end here: no character is half there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.open_len == 0
    }

    fn feed_masked(&mut self, data: &[u8], mask: Mask) -> Result<(), Invalid> {
        let mut block = [0; BLOCK];
        for (i, piece) in data.chunks(BLOCK).enumerate() {
            let plain = &mut block[..piece.len()];
            plain.copy_from_slice(piece);
            mask.rotated((i * BLOCK) as u64).apply(plain);
            self.feed_plain(plain)?;
        }
        Ok(())
    }

    fn feed_plain(&mut self, mut data: &[u8]) -> Result<(), Invalid> {
        while self.open_len > 0 {
            let [next, rest @ ..] = data else { return Ok(()) };
            data = rest;
            self.finish_character(*next)?;
        }
        if simdutf8::basic::from_utf8(data).is_ok() {
            return Ok(());
        }
        match simdutf8::compat::from_utf8(data) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(Invalid),
            Err(error) => {
                let open = &data[error.valid_up_to()..];
                self.open[..open.len()].copy_from_slice(open);
                self.open_len = open.len() as u8;
                Ok(())
            }
        }
    }

    /// One more byte of the character that is open.
    fn finish_character(&mut self, next: u8) -> Result<(), Invalid> {
        let len = usize::from(self.open_len);
        let mut character = [0; 4];
        character[..len].copy_from_slice(&self.open[..len]);
        character[len] = next;
        match std::str::from_utf8(&character[..=len]) {
            Ok(_) => self.open_len = 0,
            Err(error) if error.error_len().is_some() => return Err(Invalid),
            Err(_) => {
                self.open[len] = next;
                self.open_len += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed_in_pieces(data: &[u8], cuts: &[usize], key: Option<[u8; 4]>) -> bool {
        let mut masked = data.to_vec();
        let mask = key.map(Mask::new);
        if let Some(mask) = mask {
            mask.apply(&mut masked);
        }
        let mut utf8 = Utf8::default();
        let mut at = 0;
        for &cut in cuts.iter().chain([&data.len()]) {
            let cut = cut.clamp(at, data.len());
            if utf8.feed(&masked[at..cut], mask.map(|m| m.rotated(at as u64))).is_err() {
                return false;
            }
            at = cut;
        }
        utf8.is_complete()
    }

    #[test]
    fn fails_at_the_first_byte_that_no_text_contains() {
        let mut utf8 = Utf8::default();
        assert_eq!(utf8.feed(b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4", None), Ok(()));
        assert_eq!(utf8.feed(b"\x90", None), Err(Invalid));
    }

    proptest! {
        #[test]
        fn any_cut_of_any_bytes_judges_as_the_whole(
            data in prop_oneof![any::<Vec<u8>>(), any::<String>().prop_map(String::into_bytes)],
            mut cuts in proptest::collection::vec(0usize..64, 0..6),
            key: Option<[u8; 4]>,
        ) {
            cuts.sort_unstable();
            prop_assert_eq!(feed_in_pieces(&data, &cuts, key), std::str::from_utf8(&data).is_ok());
        }

        #[test]
        fn long_text_across_blocks(text in "[a-zé漢🦀]{900,1200}", key: [u8; 4]) {
            prop_assert!(feed_in_pieces(text.as_bytes(), &[1000, 1025], Some(key)));
            let mut broken = text.into_bytes();
            let last = broken.len() - 1;
            broken[last] = 0xff;
            prop_assert!(!feed_in_pieces(&broken, &[], Some(key)));
        }
    }
}
