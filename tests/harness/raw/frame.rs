//! One frame, as bytes and as a value. Encodes anything, also what RFC 6455 forbids.

/// Opcodes of RFC 6455 section 11.8.
pub mod opcode {
    /// Continues a fragmented message.
    pub const CONTINUATION: u8 = 0x0;
    /// UTF-8 text.
    pub const TEXT: u8 = 0x1;
    /// Bytes.
    pub const BINARY: u8 = 0x2;
    /// The closing handshake.
    pub const CLOSE: u8 = 0x8;
    /// Are you there?
    pub const PING: u8 = 0x9;
    /// Yes.
    pub const PONG: u8 = 0xA;
}

/// Bit of RSV1 in [`Frame::rsv`]: a message compressed by permessage-deflate.
pub(super) const RSV1: u8 = 0b100;

/// The mask key of every frame that [`crate::Peer`] sends as a client. A fixed one keeps failures repeatable.
pub(super) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One frame, payload unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Last fragment of its message.
    pub fin: bool,
    /// The three reserved bits, RSV1 highest.
    pub rsv: u8,
    /// See [`opcode`].
    pub opcode: u8,
    /// The payload, unmasked.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A whole message or control frame.
    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { fin: true, rsv: 0, opcode, payload: payload.into() }
    }

    /// A whole text message.
    pub fn text(text: &str) -> Self {
        Self::new(opcode::TEXT, text)
    }

    /// A whole binary message.
    pub fn binary(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(opcode::BINARY, payload)
    }

    /// A Close with a code and a reason, legal or not.
    pub fn close(code: u16, reason: &str) -> Self {
        Self::new(opcode::CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat())
    }

    /// A Close that says nothing.
    pub fn empty_close() -> Self {
        Self::new(opcode::CLOSE, [])
    }

    /// The same frame as a fragment that is not the last.
    pub fn unfinished(self) -> Self {
        Self { fin: false, ..self }
    }

    /// The same frame with these reserved bits.
    pub fn with_rsv(self, rsv: u8) -> Self {
        Self { rsv, ..self }
    }

    /// Whether it is a control frame.
    pub fn is_control(&self) -> bool {
        self.opcode & 0x8 != 0
    }

    /// The frame's bytes, masked with `mask` if there is one.
    pub fn encode(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = self.encode_header(self.payload.len() as u64, mask);
        let start = bytes.len();
        bytes.extend_from_slice(&self.payload);
        if let Some(key) = mask {
            apply_mask(&mut bytes[start..], key);
        }
        bytes
    }

    /// The header of this frame if its payload were `length` long.
    pub fn encode_header(&self, length: u64, mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode];
        let mask_bit = u8::from(mask.is_some()) << 7;
        match length {
            0..126 => bytes.push(mask_bit | length as u8),
            126..0x1_0000 => {
                bytes.push(mask_bit | 126);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask_bit | 127);
                bytes.extend_from_slice(&length.to_be_bytes());
            }
        }
        bytes.extend(mask.into_iter().flatten());
        bytes
    }
}

/// A frame's header as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) rsv: u8,
    pub(super) opcode: u8,
    pub(super) mask: Option<[u8; 4]>,
    pub(super) payload_length: u64,
    /// Bytes of the header itself.
    pub(super) length: usize,
    /// The payload's length was written with more bytes than it needs, or its highest bit is set.
    pub(super) odd_length: bool,
}

impl Header {
    /// Reads a header from the start of `bytes`; `None` when they are too few.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let [first, second] = *bytes.first_chunk()?;
        let (payload_length, length_end, least) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(*bytes[2..].first_chunk()?)), 4, 126),
            127 => (u64::from_be_bytes(*bytes[2..].first_chunk()?), 10, 0x1_0000),
            short => (u64::from(short), 2, 0),
        };
        let masked = second & 0x80 != 0;
        let mask = if masked { Some(*bytes[length_end..].first_chunk()?) } else { None };
        Some(Self {
            fin: first & 0x80 != 0,
            rsv: first >> 4 & 0b111,
            opcode: first & 0xf,
            mask,
            payload_length,
            length: length_end + if masked { 4 } else { 0 },
            odd_length: payload_length < least || payload_length >> 63 != 0,
        })
    }

    pub(super) fn is_control(&self) -> bool {
        self.opcode & 0x8 != 0
    }

    /// The frame, when `bytes` (from the header's first) hold all of it.
    pub(super) fn frame(&self, bytes: &[u8]) -> Option<(Frame, usize)> {
        let end = self.length + usize::try_from(self.payload_length).ok()?;
        let mut payload = bytes.get(self.length..end)?.to_vec();
        if let Some(key) = self.mask {
            apply_mask(&mut payload, key);
        }
        Some((Frame { fin: self.fin, rsv: self.rsv, opcode: self.opcode, payload }, end))
    }
}

/// Masks or unmasks (RFC 6455 section 5.3).
pub(super) fn apply_mask(payload: &mut [u8], key: [u8; 4]) {
    let (quads, rest) = payload.as_chunks_mut::<4>();
    let word = u32::from_ne_bytes(key);
    for quad in quads {
        *quad = (u32::from_ne_bytes(*quad) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, Header, MASK};

    #[test]
    fn a_frame_survives_its_bytes() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_001] {
            for mask in [None, Some(MASK)] {
                let frame = Frame::binary(vec![0xa5; length]).unfinished().with_rsv(0b101);
                let bytes = frame.encode(mask);
                let header = Header::decode(&bytes).expect("a header");
                assert!(!header.odd_length, "length {length}");
                assert_eq!(header.mask, mask);
                assert_eq!(header.frame(&bytes), Some((frame, bytes.len())));
            }
        }
    }

    #[test]
    fn a_length_written_too_long_is_odd() {
        assert!(Header::decode(&[0x82, 126, 0, 125]).expect("a header").odd_length);
        assert!(Header::decode(&[0x82, 127, 0x80, 0, 0, 0, 0, 1, 0, 0]).expect("a header").odd_length);
    }
}
