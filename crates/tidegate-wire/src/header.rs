//! Frame headers (RFC 6455 section 5.2).

use crate::{Mask, Violation};

/// The longest frame header: two bytes, a 64-bit length and a mask, in bytes.
pub const MAX_HEADER: usize = 14;

/// The longest payload of a control frame (RFC 6455 section 5.5), in bytes.
pub const MAX_CONTROL_PAYLOAD: usize = 125;

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;

/// What a frame is (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of a message.
    Continuation = 0,
    /// A text message, or its first fragment.
    Text = 1,
    /// A binary message, or its first fragment.
    Binary = 2,
    /// The closing handshake.
    Close = 8,
    /// Is anybody there?
    Ping = 9,
    /// Yes.
    Pong = 10,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    /// Close, Ping or Pong.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// A frame's header, complete and legal in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The last fragment of its message.
    pub fin: bool,
    /// The bit of permessage-deflate (RFC 7692 section 6): the message is compressed.
    pub rsv1: bool,
    /// What it is.
    pub opcode: Opcode,
    /// Present on every frame of a client, on none of a server (RFC 6455 section 5.1).
    pub mask: Option<Mask>,
    /// Payload bytes, at most 2^63 - 1.
    pub len: u64,
}

impl FrameHeader {
    /// Reads the header at the start of `data`; with it, its own length in bytes. `None`: not all of it is here.
    ///
    /// # Errors
    /// What no frame may be, whoever sends it: RSV2 or RSV3, a reserved opcode, a fragmented or long control
    /// frame, a length that is not minimally encoded or has its top bit set.
    #[inline]
    pub fn parse(data: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        let [first, second, rest @ ..] = data else { return Self::parse_half(data) };
        let (first, second) = (*first, *second);
        if first & (RSV & !RSV1) != 0 {
            return Err(Violation::Rsv);
        }
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(Violation::Opcode)?;
        let (fin, rsv1) = (first & FIN != 0, first & RSV1 != 0);
        let short = second & !MASKED;
        if opcode.is_control() {
            // Section 5.5: at most 125 bytes, never fragmented; RFC 7692 section 6.1: RSV1 is for data frames.
            if rsv1 {
                return Err(Violation::Rsv);
            }
            if !fin || usize::from(short) > MAX_CONTROL_PAYLOAD {
                return Err(Violation::Control);
            }
        }
        let (len, rest, mut size) = match short {
            126 => {
                let [a, b, rest @ ..] = rest else { return Ok(None) };
                (u64::from(u16::from_be_bytes([*a, *b])), rest, 4)
            }
            127 => {
                let Some((len, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
                (u64::from_be_bytes(*len), rest, 10)
            }
            short => (u64::from(short), rest, 2),
        };
        // Section 5.2: the minimal number of bytes must be used, and the most significant bit must be 0.
        if (short == 126 && len < 126) || (short == 127 && (len < 1 << 16 || len >> 63 != 0)) {
            return Err(Violation::Length);
        }
        let mask = if second & MASKED == 0 {
            None
        } else {
            let Some((key, _)) = rest.split_first_chunk::<4>() else { return Ok(None) };
            size += 4;
            Some(Mask::new(*key))
        };
        Ok(Some((Self { fin, rsv1, opcode, mask, len }, size)))
    }

    /// Less than two bytes: nothing to say but what the first byte already gives away.
    #[cold]
    fn parse_half(data: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        match data.first() {
            Some(first) if first & (RSV & !RSV1) != 0 => Err(Violation::Rsv),
            Some(first) if Opcode::from_bits(first & 0x0f).is_none() => Err(Violation::Opcode),
            _ => Ok(None),
        }
    }

    /// Writes the header into `out`, minimally encoded; returns its length in bytes.
    pub fn encode(&self, out: &mut [u8; MAX_HEADER]) -> usize {
        out[0] = (u8::from(self.fin) * FIN) | (u8::from(self.rsv1) * RSV1) | self.opcode as u8;
        let mut size = match self.len {
            len @ 0..=125 => {
                out[1] = len as u8;
                2
            }
            len @ 126..=0xffff => {
                out[1] = 126;
                out[2..4].copy_from_slice(&(len as u16).to_be_bytes());
                4
            }
            len => {
                out[1] = 127;
                out[2..10].copy_from_slice(&len.to_be_bytes());
                10
            }
        };
        if let Some(mask) = self.mask {
            out[1] |= MASKED;
            out[size..size + 4].copy_from_slice(&mask.key());
            size += 4;
        }
        size
    }
}

/// Appends a control frame to `out`. A client masks it with `mask`; a server gives none.
///
/// # Panics
/// When the payload is longer than [`MAX_CONTROL_PAYLOAD`].
pub fn encode_control(opcode: Opcode, mask: Option<Mask>, payload: &[u8], out: &mut Vec<u8>) {
    assert!(opcode.is_control() && payload.len() <= MAX_CONTROL_PAYLOAD, "no control frame");
    let mut head = [0; MAX_HEADER];
    let size = FrameHeader { fin: true, rsv1: false, opcode, mask, len: payload.len() as u64 }.encode(&mut head);
    out.extend_from_slice(&head[..size]);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        mask.apply(&mut out[start..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(bytes: &[u8], expected: Result<Option<usize>, Violation>) {
        assert_eq!(FrameHeader::parse(bytes).map(|h| h.map(|(_, size)| size)), expected, "{bytes:02x?}");
    }

    #[test]
    fn the_table_of_section_5_2() {
        check(b"\x81\x05", Ok(Some(2)));
        check(b"\x81\x85\x01\x02\x03\x04", Ok(Some(6)));
        check(b"\x82\x7e\x00\x7e", Ok(Some(4)));
        check(b"\x82\x7e\x00\x7d", Err(Violation::Length));
        check(b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", Ok(Some(10)));
        check(b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", Err(Violation::Length));
        check(b"\x82\x7f\x80\x00\x00\x00\x00\x01\x00\x00", Err(Violation::Length));
        check(b"\xc1\x00", Ok(Some(2)));
        check(b"\xa1\x00", Err(Violation::Rsv));
        check(b"\x91", Err(Violation::Rsv));
        check(b"\x83\x00", Err(Violation::Opcode));
        check(b"\x8b\x00", Err(Violation::Opcode));
        check(b"\x89\x7e", Err(Violation::Control));
        check(b"\x09\x00", Err(Violation::Control));
        check(b"\xc9\x00", Err(Violation::Rsv));
    }

    #[test]
    fn every_prefix_of_a_legal_header_asks_for_more() {
        let whole = b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00\x01\x02\x03\x04";
        for end in 0..whole.len() {
            check(&whole[..end], Ok(None));
        }
        check(whole, Ok(Some(14)));
    }

    proptest! {
        #[test]
        fn encode_is_the_inverse_of_parse(
            fin: bool, rsv1: bool, op in 0u8..3, key in proptest::option::of(any::<[u8; 4]>()), len in 0u64..1 << 40,
        ) {
            let opcode = Opcode::from_bits(op).unwrap();
            let header = FrameHeader { fin, rsv1, opcode, mask: key.map(Mask::new), len };
            let mut out = [0; MAX_HEADER];
            let size = header.encode(&mut out);
            prop_assert_eq!(FrameHeader::parse(&out[..size]), Ok(Some((header, size))));
        }
    }
}
