//! One direction of a WebSocket connection, walked as it arrives.

use crate::{CloseFrame, FrameHeader, Limits, MAX_HEADER, Mask, Opcode, Tally, Utf8, Violation};

/// Who sends what is scanned: its frames must be masked, or must not (RFC 6455 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Masks every frame.
    Client,
    /// Masks none.
    Server,
}

/// What may be done with the bytes at the front of the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first so many bytes are whole data frames: they may leave as they are.
    Forward(usize),
    /// A whole ping or pong.
    Control(Control),
    /// A whole, valid Close; with its length on the wire, header included, in bytes.
    Close(CloseFrame, usize),
    /// A part of a frame that the buffer cannot hold may leave as a fragment of its own.
    Fragment(Fragment),
    /// Nothing more until so many more bytes are here (a lower bound, at least 1).
    Need(usize),
}

/// A ping or pong, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// [`Opcode::Ping`] or [`Opcode::Pong`].
    pub opcode: Opcode,
    /// Its length on the wire, header included, in bytes.
    pub len: usize,
    payload: [u8; 125],
    payload_len: u8,
}

impl Control {
    /// The payload, unmasked.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload[..usize::from(self.payload_len)]
    }
}

/// A fragment of a larger frame (RFC 6455 section 5.4: an intermediary may change the fragmentation of a message
/// whose extensions it understands). The original header, or nothing, is replaced by `header`; the payload stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Bytes at the front that make way for the header: the original header's, or 0.
    pub skip: usize,
    /// Payload bytes behind them.
    pub payload: usize,
    header: [u8; MAX_HEADER],
    header_len: u8,
}

impl Fragment {
    /// The header to put in front of the payload.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.header[..usize::from(self.header_len)]
    }
}

/// Incremental frame walker of one direction.
///
/// Call [`advance`](Self::advance) with everything that was read and not yet released, release what the step
/// says, and call again, until it needs more. After an error the direction is over.
#[derive(Debug)]
pub struct Scanner {
    sender: Sender,
    /// permessage-deflate was negotiated: the first frame of a message may carry RSV1 (RFC 7692 section 6).
    deflate: bool,
    validate_utf8: bool,
    max_fragments: u32,
    max_message_size: u64,
    /// A message of which more frames must come.
    open: Option<Message>,
    /// A frame that is leaving in fragments. Boxed: most never see one.
    oversized: Option<Box<Oversized>>,
    /// The text of the current message.
    text: Utf8,
    /// Payload bytes of the frame at the front that `text` has seen already.
    checked: usize,
    tally: Tally,
}

/// A fragmented message so far.
#[derive(Clone, Copy, Debug)]
struct Message {
    len: u64,
    frames: u32,
    validate: bool,
}

#[derive(Clone, Copy, Debug)]
struct Oversized {
    header: FrameHeader,
    /// Bytes of its header that are still in the buffer.
    head: usize,
    /// Payload bytes that left already.
    sent: u64,
    validate: bool,
}

impl Scanner {
    /// A scanner at the first byte after the handshake.
    #[must_use]
    pub fn new(sender: Sender, deflate: bool, limits: Limits) -> Self {
        Self {
            sender,
            deflate,
            validate_utf8: limits.validate_utf8,
            max_fragments: limits.max_fragments,
            max_message_size: limits.max_message_size,
            open: None,
            oversized: None,
            text: Utf8::default(),
            checked: 0,
            tally: Tally::default(),
        }
    }

    /// Whether a message has begun that has not ended.
    #[must_use]
    pub fn in_message(&self) -> bool {
        self.open.is_some() || self.oversized.is_some()
    }

    /// What was released since [`take_tally`](Self::take_tally) was called last.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What was released since the last call.
    #[inline]
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Judges `data`: everything read and not yet released, from a frame boundary on. The buffer can hold
    /// `capacity` bytes of one frame; `full` says that it cannot take more behind `data` now.
    ///
    /// # Errors
    /// The sender broke a rule with the frame at the front; what came before was released.
    pub fn advance(&mut self, data: &[u8], capacity: usize, full: bool) -> Result<Step, Violation> {
        if self.oversized.is_some() {
            return self.fragment(data, full);
        }
        let mut at = 0;
        loop {
            let frame = &data[at..];
            let step = self.frame(frame, at == 0, capacity, full);
            match step {
                Ok(Step::Forward(len)) => at += len,
                // What was found so far leaves first; the rest is judged again at the front.
                _ if at > 0 => return Ok(Step::Forward(at)),
                step => return step,
            }
        }
    }

    /// The length on the wire, in bytes, of the frame that begins with `head`, if that is a legal data frame whose
    /// payload nobody needs to look at: no text that is validated. `None` in all other cases, which
    /// [`advance`](Self::advance) judges.
    #[must_use]
    pub fn opaque(&self, head: &[u8]) -> Option<u64> {
        self.judge_head(head).map(|(header, _, size)| header.len.saturating_add(size as u64))
    }

    /// An [`opaque`](Self::opaque) frame that begins with `head` passed as it came, whole.
    pub fn passed(&mut self, head: &[u8]) {
        if let Some((header, message, _)) = self.judge_head(head) {
            self.tally.count(header.opcode, header.len);
            self.open = (!header.fin).then_some(message);
        }
    }

    fn judge_head(&self, head: &[u8]) -> Option<(FrameHeader, Message, usize)> {
        let (header, size) = FrameHeader::parse(head).ok()??;
        let masked = header.mask.is_some() == (self.sender == Sender::Client);
        if !masked || header.opcode.is_control() || self.oversized.is_some() {
            return None;
        }
        let message = self.judge(header).ok().filter(|message| !message.validate)?;
        Some((header, message, size))
    }

    /// The frame at the start of `data`. Only a data frame that leaves as it is may stand behind others: what
    /// else there is waits until it is at the `front`.
    #[inline]
    fn frame(&mut self, data: &[u8], front: bool, capacity: usize, full: bool) -> Result<Step, Violation> {
        let Some((header, size)) = FrameHeader::parse(data)? else { return Ok(Step::Need(1)) };
        if header.mask.is_some() != (self.sender == Sender::Client) {
            return Err(if header.mask.is_some() { Violation::Masked } else { Violation::Unmasked });
        }
        let total = header.len.saturating_add(size as u64);
        if !front && (header.opcode.is_control() || total > capacity as u64) {
            return Ok(Step::Need(1));
        }
        if header.opcode.is_control() {
            return match data.get(size..total as usize) {
                Some(payload) => self.control(header, payload, total as usize),
                None => Ok(Step::Need(total as usize - data.len())),
            };
        }
        let message = self.judge(header)?;
        if total > capacity as u64 {
            self.tally.count(header.opcode, 0);
            self.open = (!header.fin).then_some(message);
            self.oversized = Some(Box::new(Oversized { header, head: size, sent: 0, validate: message.validate }));
            return self.fragment(data, full);
        }
        let total = total as usize;
        let here = &data[size..total.min(data.len())];
        if message.validate {
            self.check_text(header, here)?;
        }
        if data.len() < total {
            return Ok(Step::Need(total - data.len()));
        }
        self.checked = 0;
        self.tally.count(header.opcode, header.len);
        self.open = (!header.fin).then_some(message);
        Ok(Step::Forward(total))
    }

    /// The message this data frame belongs to, with it counted in.
    fn judge(&self, header: FrameHeader) -> Result<Message, Violation> {
        let first = header.opcode != Opcode::Continuation;
        if header.rsv1 && !(first && self.deflate) {
            return Err(Violation::Rsv);
        }
        let mut message = match (first, self.open) {
            (true, None) => Message {
                len: 0,
                frames: 0,
                validate: self.validate_utf8 && header.opcode == Opcode::Text && !header.rsv1,
            },
            (false, Some(message)) => message,
            _ => return Err(Violation::Fragmentation),
        };
        message.len = message.len.saturating_add(header.len);
        if message.len > self.max_message_size {
            return Err(Violation::MessageTooBig { limit: self.max_message_size });
        }
        message.frames += 1;
        if message.frames > self.max_fragments {
            return Err(Violation::TooManyFragments { limit: self.max_fragments });
        }
        Ok(message)
    }

    /// Takes the text of the frame at the front as far as it is here; all of it once.
    #[inline]
    fn check_text(&mut self, header: FrameHeader, here: &[u8]) -> Result<(), Violation> {
        let before = self.text;
        if header.opcode == Opcode::Text && self.checked == 0 {
            self.text = Utf8::default();
        }
        let mask = header.mask.map(|mask| mask.rotated(self.checked as u64));
        let fed = self.text.feed(&here[self.checked..], mask);
        let over = here.len() as u64 == header.len && header.fin;
        if fed.is_err() || (over && !self.text.is_complete()) {
            // As it was, for the frame is judged again if others before it leave first.
            self.text = before;
            return Err(Violation::Utf8);
        }
        self.checked = here.len();
        Ok(())
    }

    fn control(&mut self, header: FrameHeader, masked: &[u8], len: usize) -> Result<Step, Violation> {
        let mut payload = [0; 125];
        let plain = &mut payload[..masked.len()];
        plain.copy_from_slice(masked);
        if let Some(mask) = header.mask {
            mask.apply(plain);
        }
        let step = match header.opcode {
            Opcode::Close => Step::Close(CloseFrame::parse(plain).map_err(Violation::Close)?, len),
            opcode => Step::Control(Control { opcode, len, payload, payload_len: masked.len() as u8 }),
        };
        self.tally.count(header.opcode, header.len);
        Ok(step)
    }

    /// The next part of the frame that is leaving in fragments: when it ends here, or when the buffer is full.
    fn fragment(&mut self, data: &[u8], full: bool) -> Result<Step, Violation> {
        let Some(mut frame) = self.oversized.take() else { return Ok(Step::Need(1)) };
        let original = frame.header;
        let left = original.len - frame.sent;
        let part = (data.len().saturating_sub(frame.head) as u64).min(left);
        let payload = &data[frame.head..][..part as usize];
        let last = part == left;
        if frame.validate {
            let piece = FrameHeader {
                fin: original.fin && last,
                // The text begins where the frame does, not where a later part of it does.
                opcode: if frame.sent == 0 { original.opcode } else { Opcode::Continuation },
                mask: original.mask.map(|mask: Mask| mask.rotated(frame.sent)),
                len: part,
                ..original
            };
            self.check_text(piece, payload)?;
        }
        if !(last || full && part > 0) {
            self.oversized = Some(frame);
            return Ok(Step::Need((left - part).min(usize::MAX as u64) as usize));
        }
        let header = FrameHeader {
            fin: original.fin && last,
            rsv1: original.rsv1 && frame.sent == 0,
            opcode: if frame.sent == 0 { original.opcode } else { Opcode::Continuation },
            mask: original.mask.map(|mask: Mask| mask.rotated(frame.sent)),
            len: part,
        };
        let mut bytes = [0; MAX_HEADER];
        let header_len = header.encode(&mut bytes) as u8;
        let step = Fragment { skip: frame.head, payload: part as usize, header: bytes, header_len };
        self.checked = 0;
        self.tally.bytes += part;
        frame.sent += part;
        frame.head = 0;
        self.oversized = (!last).then_some(frame);
        Ok(Step::Fragment(step))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAPACITY: usize = 200;

    fn frame(fin: bool, opcode: Opcode, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let mask = mask.map(Mask::new);
        let mut head = [0; MAX_HEADER];
        let len = payload.len() as u64;
        let size = FrameHeader { fin, rsv1: false, opcode, mask, len }.encode(&mut head);
        let mut out = [&head[..size], payload].concat();
        if let Some(mask) = mask {
            mask.apply(&mut out[size..]);
        }
        out
    }

    /// Feeds `stream` in `pieces` through a buffer of [`CAPACITY`], and gives what leaves.
    fn relay(scanner: &mut Scanner, stream: &[u8], pieces: &[usize]) -> (Vec<u8>, Result<(), Violation>) {
        let (mut out, mut buffer, mut rest) = (Vec::new(), Vec::new(), stream);
        for piece in pieces.iter().copied().chain(std::iter::repeat(usize::MAX)) {
            let take = piece.clamp(1, CAPACITY - buffer.len()).min(rest.len());
            buffer.extend_from_slice(&rest[..take]);
            rest = &rest[take..];
            loop {
                let (gone, head) = match scanner.advance(&buffer, CAPACITY, buffer.len() == CAPACITY) {
                    Ok(Step::Forward(len) | Step::Close(_, len) | Step::Control(Control { len, .. })) => (len, vec![]),
                    Ok(Step::Fragment(part)) => {
                        buffer.drain(..part.skip);
                        (part.payload, part.header().to_vec())
                    }
                    Ok(Step::Need(missing)) => {
                        assert!(missing > 0 && buffer.len() < CAPACITY);
                        break;
                    }
                    Err(violation) => return (out, Err(violation)),
                };
                out.extend_from_slice(&head);
                out.extend(buffer.drain(..gone));
            }
            if rest.is_empty() {
                break;
            }
        }
        assert!(buffer.len() < CAPACITY);
        (out, Ok(()))
    }

    /// What the frames of `stream` mean: messages with their opcode, controls between them.
    fn messages(mut stream: &[u8]) -> Vec<(Opcode, Vec<u8>)> {
        let (mut out, mut open) = (Vec::new(), None);
        while !stream.is_empty() {
            let (header, size) = FrameHeader::parse(stream).unwrap().expect("a whole header");
            let mut payload = stream[size..size + header.len as usize].to_vec();
            stream = &stream[size + header.len as usize..];
            if let Some(mask) = header.mask {
                mask.apply(&mut payload);
            }
            if header.opcode.is_control() {
                out.push((header.opcode, payload));
                continue;
            }
            let (opcode, mut whole) = match header.opcode {
                Opcode::Continuation => open.take().expect("an open message"),
                opcode => (opcode, Vec::new()),
            };
            whole.extend_from_slice(&payload);
            if header.fin { out.push((opcode, whole)) } else { open = Some((opcode, whole)) }
        }
        assert!(open.is_none());
        out
    }

    fn judge(sender: Sender, stream: &[u8]) -> Result<(), Violation> {
        relay(&mut Scanner::new(sender, false, Limits::default()), stream, &[]).1
    }

    #[test]
    fn what_rfc_6455_forbids() {
        let key = Some([1, 2, 3, 4]);
        let check = |stream: &[u8], violation| assert_eq!(judge(Sender::Client, stream), Err(violation));
        check(&frame(true, Opcode::Text, None, b"x"), Violation::Unmasked);
        check(&frame(true, Opcode::Continuation, key, b"x"), Violation::Fragmentation);
        let twice = [frame(false, Opcode::Text, key, b"a"), frame(true, Opcode::Text, key, b"b")].concat();
        check(&twice, Violation::Fragmentation);
        check(b"\xc1\x80\x01\x02\x03\x04", Violation::Rsv);
        check(&frame(true, Opcode::Text, key, b"ok \xc3\x28"), Violation::Utf8);
        check(&frame(true, Opcode::Text, key, b"half \xc3"), Violation::Utf8);
        check(&frame(true, Opcode::Close, key, b"\x03"), Violation::Close(crate::BadClose::Length));
        assert_eq!(judge(Sender::Server, &frame(true, Opcode::Text, key, b"x")), Err(Violation::Masked));
    }

    #[test]
    fn a_size_over_the_limit_is_known_from_the_header() {
        let limits = Limits { max_message_size: 1000, max_fragments: 3, ..Limits::default() };
        let mut scanner = Scanner::new(Sender::Server, false, limits);
        let big = Err(Violation::MessageTooBig { limit: 1000 });
        assert_eq!(scanner.advance(b"\x82\x7e\x03\xe9", CAPACITY, false), big);
        let mut scanner = Scanner::new(Sender::Server, false, limits);
        let parts = [frame(false, Opcode::Binary, None, &[0; 150]), b"\x00\x7e\x03\x53".to_vec()].concat();
        let (out, end) = relay(&mut scanner, &parts, &[]);
        assert_eq!((out.len(), end), (154, big.map(drop)));
        let many = frame(false, Opcode::Continuation, None, b"").repeat(3);
        let stream = [frame(false, Opcode::Binary, None, b""), many].concat();
        let end = relay(&mut Scanner::new(Sender::Server, false, limits), &stream, &[]).1;
        assert_eq!(end, Err(Violation::TooManyFragments { limit: 3 }));
    }

    #[test]
    fn bad_text_is_noticed_before_its_frame_is_whole() {
        let mut scanner = Scanner::new(Sender::Server, false, Limits::default());
        assert_eq!(scanner.advance(b"\x81\x10ab\xff", CAPACITY, false), Err(Violation::Utf8));
    }

    #[test]
    fn a_compressed_message_is_opaque_and_keeps_its_bit_on_the_first_fragment_alone() {
        let mut stream = frame(true, Opcode::Text, None, &[0xff; 500]);
        stream[0] |= 0x40;
        let (out, end) = relay(&mut Scanner::new(Sender::Server, true, Limits::default()), &stream, &[]);
        assert_eq!(end, Ok(()));
        assert_eq!(out[0], 0x41);
        assert_eq!(messages(&out), messages(&stream));
        assert_eq!(out[2 + 2 + 196] & 0x70, 0);
    }

    #[test]
    fn what_may_pass_unseen_is_known_by_its_header() {
        let limits = Limits { max_message_size: 10_000, ..Limits::default() };
        let mut scanner = Scanner::new(Sender::Server, true, limits);
        let check = |scanner: &Scanner, head: &[u8], len| assert_eq!(scanner.opaque(head), len, "{head:?}");
        check(&scanner, b"\x82\x7e\x03\xe8", Some(1004));
        check(&scanner, b"\x82\x7e\x03", None);
        check(&scanner, b"\x82\xfe\x03\xe8\0\0\0\0", None);
        check(&scanner, b"\x82\x7e\x27\x11", None);
        check(&scanner, b"\x81\x7e\x03\xe8", None);
        check(&scanner, b"\xc1\x7e\x03\xe8", Some(1004));
        check(&scanner, b"\x80\x7e\x03\xe8", None);
        check(&scanner, b"\x88\x00", None);
        scanner.passed(b"\x02\x7e\x03\xe8");
        assert!(scanner.in_message());
        check(&scanner, b"\x82\x7e\x03\xe8", None);
        check(&scanner, b"\x80\x7e\x23\x29", None);
        check(&scanner, b"\x80\x7e\x03\xe8", Some(1004));
        scanner.passed(b"\x80\x7e\x03\xe8");
        assert!(!scanner.in_message());
        assert_eq!(scanner.take_tally(), Tally { binary: 1, continuation: 1, bytes: 2000, ..Tally::default() });
        let fragment = frame(false, Opcode::Text, None, b"looked at");
        assert_eq!(scanner.advance(&fragment, CAPACITY, false), Ok(Step::Forward(fragment.len())));
        check(&scanner, b"\x80\x7e\x03\xe8", None);
    }

    fn any_message() -> impl Strategy<Value = (bool, Vec<Vec<u8>>)> {
        (any::<bool>(), proptest::collection::vec("[a-é漢]{0,150}".prop_map(String::into_bytes), 1..4))
    }

    proptest! {
        #[test]
        fn any_chunking_relays_the_same_messages(
            sent in proptest::collection::vec((any_message(), any::<bool>()), 0..8),
            pieces in proptest::collection::vec(1usize..100, 0..60),
            key: Option<[u8; 4]>,
        ) {
            let mut stream = Vec::new();
            for ((text, parts), ping) in &sent {
                for (i, part) in parts.iter().enumerate() {
                    let opcode = match (i, text) {
                        (0, true) => Opcode::Text,
                        (0, false) => Opcode::Binary,
                        _ => Opcode::Continuation,
                    };
                    stream.extend(frame(i + 1 == parts.len(), opcode, key, part));
                    if *ping {
                        stream.extend(frame(true, Opcode::Ping, key, b"?"));
                    }
                }
            }
            let sender = if key.is_some() { Sender::Client } else { Sender::Server };
            let mut scanner = Scanner::new(sender, false, Limits::default());
            let (out, end) = relay(&mut scanner, &stream, &pieces);
            prop_assert_eq!(end, Ok(()));
            prop_assert_eq!(messages(&out), messages(&stream));
            let tally = scanner.take_tally();
            let bytes: usize = sent.iter().flat_map(|((_, parts), _)| parts).map(Vec::len).sum();
            prop_assert_eq!(tally.bytes, bytes as u64);
            let frames: usize = sent.iter().map(|((_, parts), _)| parts.len()).sum();
            prop_assert_eq!(tally.data_frames(), frames as u64);
        }

        #[test]
        fn no_input_makes_it_panic_or_stop(
            stream: Vec<u8>, pieces in proptest::collection::vec(1usize..20, 0..60), client: bool, deflate: bool,
        ) {
            let sender = if client { Sender::Client } else { Sender::Server };
            let _ = relay(&mut Scanner::new(sender, deflate, Limits::default()), &stream, &pieces);
        }
    }
}
