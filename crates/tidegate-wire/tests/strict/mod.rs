//! A WebSocket peer's view of a byte stream, written from RFC 6455 alone and sharing no code with what it judges.
//!
//! Strict: it panics at whatever a conforming endpoint would fail the connection for.
#![allow(dead_code, reason = "each test that shares this module uses its own part of it")]

/// A frame, put together by hand.
pub(crate) fn frame(fin: bool, rsv1: bool, opcode: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::from(fin) << 7 | u8::from(rsv1) << 6 | opcode];
    let masked = u8::from(mask.is_some()) << 7;
    match payload.len() {
        len @ 0..=125 => out.push(masked | len as u8),
        len @ 126..=0xffff => {
            out.push(masked | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(masked | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    match mask {
        None => out.extend(payload),
        Some(key) => {
            out.extend(key);
            out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        }
    }
    out
}

/// The payload of a Close; nothing for no code.
pub(crate) fn close_payload(code: Option<u16>, reason: &str) -> Vec<u8> {
    code.map_or(Vec::new(), |code| [&code.to_be_bytes()[..], reason.as_bytes()].concat())
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) text: bool,
    pub(crate) compressed: bool,
    pub(crate) payload: Vec<u8>,
}

/// What a strict peer sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Message(Message),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// Reads one direction in pieces of any size.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Whether the sender must mask.
    masked: bool,
    deflate: bool,
    buffer: Vec<u8>,
    open: Option<Message>,
    closed: bool,
    /// Frames so far.
    pub(crate) frames: usize,
}

impl Reader {
    pub(crate) fn new(masked: bool, deflate: bool) -> Self {
        Self { masked, deflate, buffer: Vec::new(), open: None, closed: false, frames: 0 }
    }

    /// Takes more bytes and gives what they complete.
    ///
    /// # Panics
    /// At anything illegal.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        assert!(!self.closed || bytes.is_empty(), "bytes behind a Close: {bytes:02x?}");
        self.buffer.extend_from_slice(bytes);
        let mut events = Vec::new();
        let mut at = 0;
        while let Some((event, size)) = self.frame(at) {
            at += size;
            events.extend(event);
        }
        self.buffer.drain(..at);
        events
    }

    /// The stream ends in order.
    ///
    /// # Panics
    /// Inside a frame.
    pub(crate) fn finish(&self) {
        assert!(self.buffer.is_empty(), "the stream ends inside a frame: {:02x?}", self.buffer);
    }

    pub(crate) fn is_at_boundary(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The message that has begun and not ended.
    pub(crate) fn unfinished(&self) -> Option<&Message> {
        self.open.as_ref()
    }

    fn frame(&mut self, at: usize) -> Option<(Option<Event>, usize)> {
        let data = &self.buffer[at..];
        let (first, second) = (*data.first()?, *data.get(1)?);
        assert!(!self.closed, "a frame behind a Close: {first:02x}");
        let (fin, rsv1, opcode) = (first & 0x80 != 0, first & 0x40 != 0, first & 0x0f);
        assert_eq!(first & 0x30, 0, "RSV2 or RSV3");
        assert_eq!(second & 0x80 != 0, self.masked, "mask bit");
        let (len, mut size) = match second & 0x7f {
            126 => {
                let len = u16::from_be_bytes(data.get(2..4)?.try_into().ok()?);
                assert!(len > 125, "a length of 16 bits for {len}");
                (usize::from(len), 4)
            }
            127 => {
                let len = u64::from_be_bytes(data.get(2..10)?.try_into().ok()?);
                assert!(len > 0xffff && len < 1 << 63, "a length of 64 bits for {len}");
                (len as usize, 10)
            }
            len => (usize::from(len), 2),
        };
        let mut payload = if self.masked {
            let key: [u8; 4] = data.get(size..size + 4)?.try_into().ok()?;
            size += 4;
            let masked = data.get(size..size + len)?;
            masked.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
        } else {
            data.get(size..size + len)?.to_vec()
        };
        size += len;
        self.frames += 1;
        if opcode >= 8 {
            assert!(fin && len <= 125 && !rsv1, "control frame {first:02x} of {len}");
            return Some((Some(self.control(opcode, payload)), size));
        }
        let mut message = match (opcode, self.open.take()) {
            (1 | 2, None) => {
                assert!(!rsv1 || self.deflate, "RSV1 without deflate");
                Message { text: opcode == 1, compressed: rsv1, payload: Vec::new() }
            }
            (0, Some(message)) => {
                assert!(!rsv1, "RSV1 on a continuation");
                message
            }
            (opcode, open) => panic!("opcode {opcode} while {open:?} is open"),
        };
        message.payload.append(&mut payload);
        if !fin {
            self.open = Some(message);
            return Some((None, size));
        }
        let text = std::str::from_utf8(&message.payload);
        assert!(!message.text || message.compressed || text.is_ok(), "text that is not UTF-8");
        Some((Some(Event::Message(message)), size))
    }

    fn control(&mut self, opcode: u8, payload: Vec<u8>) -> Event {
        match opcode {
            8 => {
                self.closed = true;
                if payload.is_empty() {
                    return Event::Close(None, String::new());
                }
                let (code, reason) = payload.split_first_chunk::<2>().expect("a Close of one byte");
                let code = u16::from_be_bytes(*code);
                let legal = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                assert!(legal, "a Close with {code}");
                Event::Close(Some(code), std::str::from_utf8(reason).expect("a reason in UTF-8").to_owned())
            }
            9 => Event::Ping(payload),
            10 => Event::Pong(payload),
            opcode => panic!("opcode {opcode}"),
        }
    }
}
