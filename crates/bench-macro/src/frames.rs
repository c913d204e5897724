//! As much of RFC 6455 as both ends of a benchmark need. Whatever is wrong with a frame is a bug of a proxy, and is
//! noticed by the length or the content of the message that comes of it.

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A whole frame; a client's is masked.
pub(crate) fn frame(opcode: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 14);
    put(&mut out, 0x80 | opcode, payload, masked);
    out
}

/// Appends a frame whose first byte is given.
pub(crate) fn put(out: &mut Vec<u8>, first: u8, payload: &[u8], masked: bool) {
    let bit = u8::from(masked) << 7;
    out.push(first);
    match payload.len() {
        len @ ..=125 => out.push(bit | len as u8),
        len @ ..=0xffff => {
            out.push(bit | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(bit | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    if masked {
        out.extend(MASK);
    }
    let start = out.len();
    out.extend_from_slice(payload);
    if masked {
        mask(&mut out[start..], MASK);
    }
}

/// What a Close says: its code.
pub(crate) fn code(payload: &[u8]) -> Option<u16> {
    payload.first_chunk().map(|code| u16::from_be_bytes(*code))
}

fn mask(data: &mut [u8], key: [u8; 4]) {
    let wide = u64::from_ne_bytes([key, key].concat().try_into().expect("eight bytes"));
    let (chunks, rest) = data.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// Walks the frames of one direction as they come.
#[derive(Default)]
pub(crate) struct Walker {
    header: [u8; 14],
    have: usize,
    /// Payload bytes that are still to come; `None` inside a header.
    left: Option<u64>,
    /// Whether payloads of data frames are kept; those of control frames always are.
    pub(crate) keep: bool,
    payload: Vec<u8>,
}

/// A frame that has ended.
pub(crate) struct Ended<'a> {
    /// FIN, RSV and opcode, as they came.
    pub(crate) first: u8,
    /// How long it was, in bytes.
    pub(crate) len: u64,
    /// Unmasked; empty unless it was kept.
    pub(crate) payload: &'a [u8],
}

impl Ended<'_> {
    pub(crate) fn opcode(&self) -> u8 {
        self.first & 15
    }

    pub(crate) fn fin(&self) -> bool {
        self.first & 0x80 != 0
    }
}

impl Walker {
    /// Takes the next bytes, and tells of every frame that ends in them.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut ended: impl FnMut(Ended<'_>)) {
        while !bytes.is_empty() {
            let left = match self.left {
                Some(left) => left,
                None => {
                    let take = (self.header_len() - self.have).min(bytes.len());
                    self.header[self.have..][..take].copy_from_slice(&bytes[..take]);
                    self.have += take;
                    bytes = &bytes[take..];
                    if self.have < 2 || self.have < self.header_len() {
                        continue;
                    }
                    self.payload_len()
                }
            };
            let take = left.min(bytes.len() as u64) as usize;
            if self.keep || self.header[0] & 8 != 0 {
                self.payload.extend_from_slice(&bytes[..take]);
            }
            bytes = &bytes[take..];
            if left > take as u64 {
                self.left = Some(left - take as u64);
                continue;
            }
            if self.header[1] & 0x80 != 0 {
                let key = *self.header[..self.have].last_chunk().expect("a mask at the end of the header");
                mask(&mut self.payload, key);
            }
            ended(Ended { first: self.header[0], len: self.payload_len(), payload: &self.payload });
            self.payload.clear();
            self.have = 0;
            self.left = None;
        }
    }

    /// As far as it is known; two bytes at least.
    fn header_len(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.header[1] & 0x80 != 0 { 4 } else { 0 }
    }

    fn payload_len(&self) -> u64 {
        match self.header[1] & 0x7f {
            126 => u16::from_be_bytes([self.header[2], self.header[3]]).into(),
            127 => u64::from_be_bytes(*self.header[2..].first_chunk().expect("eight bytes of length")),
            len => len.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_walked_however_it_comes() {
        for masked in [false, true] {
            for size in [0, 1, 125, 126, 65_535, 65_536] {
                let payload: Vec<u8> = (0..size).map(|n| n as u8).collect();
                let bytes = [frame(BINARY, &payload, masked), frame(PING, b"x", masked)].concat();
                for step in [1, 3, bytes.len()] {
                    let mut walker = Walker { keep: true, ..Walker::default() };
                    let mut seen = Vec::new();
                    for piece in bytes.chunks(step) {
                        walker.feed(piece, |frame| seen.push((frame.opcode(), frame.len, frame.payload.to_vec())));
                    }
                    assert_eq!(seen, [(BINARY, size, payload.clone()), (PING, 1, b"x".to_vec())]);
                }
            }
        }
    }
}
