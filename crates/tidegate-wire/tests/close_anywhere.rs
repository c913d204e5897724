//! A Close can be said at any moment: while a frame of any size is on its way, what has left so far and a Close behind
//! it are a legal stream.

mod strict;

use proptest::prelude::*;
use strict::{Event, Message, Reader, close_payload, frame};
use tidegate_wire::{Limits, Scanner, Sender, Step};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;

/// What one direction holds at most: less than the frames below.
const CAPACITY: usize = 160;

/// One direction of a proxy, with a buffer of [`CAPACITY`] bytes.
struct Relay {
    scanner: Scanner,
    buffer: Vec<u8>,
    out: Vec<u8>,
    /// How far `out` was after each thing that left: all the moments at which a Close may be put there.
    boundaries: Vec<usize>,
}

impl Relay {
    fn new(sender: Sender, deflate: bool) -> Self {
        let scanner = Scanner::new(sender, deflate, Limits::default());
        Self { scanner, buffer: Vec::new(), out: Vec::new(), boundaries: vec![0] }
    }

    /// Takes what there is room for, and lets go of what may leave. Gives how much it took.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(CAPACITY - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..len]);
        while self.step() {}
        len
    }

    fn step(&mut self) -> bool {
        if self.buffer.is_empty() {
            return false;
        }
        let full = self.buffer.len() == CAPACITY;
        let gone = match self.scanner.advance(&self.buffer, CAPACITY, full).expect("legal bytes") {
            Step::Need(missing) => {
                assert!(missing > 0 && !full);
                return false;
            }
            Step::Forward(len) | Step::Close(_, len) => len,
            Step::Control(control) => control.len,
            Step::Fragment(part) => {
                self.buffer.drain(..part.skip);
                self.out.extend_from_slice(part.header());
                part.payload
            }
        };
        self.out.extend(self.buffer.drain(..gone));
        self.boundaries.push(self.out.len());
        true
    }
}

/// Feeds `stream` byte by byte; behind every byte a Close is put on the other leg, for a strict peer to judge.
fn check(sender: Sender, deflate: bool, stream: &[u8], message: &Message) {
    let key = (sender == Sender::Client).then_some([9, 8, 7, 6]);
    let mut relay = Relay::new(sender, deflate);
    for byte in stream {
        assert_eq!(relay.take(&[*byte]), 1);
        let mut peer = Reader::new(key.is_some(), deflate);
        let mut events = peer.feed(&relay.out);
        assert!(peer.is_at_boundary(), "no boundary behind {} bytes", relay.out.len());
        events.extend(peer.feed(&frame(true, false, CLOSE, key, &close_payload(Some(1014), "upstream-lost"))));
        peer.finish();
        assert_eq!(events.pop(), Some(Event::Close(Some(1014), "upstream-lost".into())));
        let so_far = match &events[..] {
            [] => peer.unfinished().map_or(&[][..], |begun| &begun.payload),
            [Event::Message(whole)] => &whole.payload,
            other => panic!("{other:?}"),
        };
        assert!(message.payload.starts_with(so_far));
    }
    let mut peer = Reader::new(key.is_some(), deflate);
    assert_eq!(peer.feed(&relay.out), [Event::Message(message.clone())]);
    assert!(peer.frames > 1, "it was to leave in fragments");
}

#[test]
fn at_every_byte_of_a_frame_larger_than_the_buffer_masked_or_not_compressed_or_not() {
    let text = "ascii, é, 漢 and 🦀; ".repeat(40);
    for (sender, key) in [(Sender::Client, Some([0x11, 0xff, 0x80, 0x01])), (Sender::Server, None)] {
        for compressed in [false, true] {
            for opcode in [TEXT, BINARY] {
                let payload = text.clone().into_bytes();
                let stream = frame(true, compressed, opcode, key, &payload);
                check(sender, compressed, &stream, &Message { text: opcode == TEXT, compressed, payload });
            }
        }
    }
}

#[test]
fn at_every_byte_of_large_frames_that_are_fragments_themselves() {
    let text = "漢字 🦀 é".repeat(30);
    let (head, tail) = text.as_bytes().split_at(301);
    for (sender, key) in [(Sender::Client, Some([0x11, 0xff, 0x80, 0x01])), (Sender::Server, None)] {
        for compressed in [false, true] {
            let stream = [frame(false, compressed, TEXT, key, head), frame(true, false, 0, key, tail)].concat();
            let payload = text.clone().into_bytes();
            check(sender, compressed, &stream, &Message { text: true, compressed, payload });
        }
    }
}

/// A message cut into frames: its kind, its payload, the cuts, and whether pings stand between.
fn any_message() -> impl Strategy<Value = (Message, Vec<usize>, bool)> {
    let text = prop_oneof!["[ -~]{0,700}", "[a-é漢🦀]{0,250}"].prop_map(|text: String| (true, text.into_bytes()));
    let bytes = prop_oneof![Just(0..=300usize), Just(140..=180usize)]
        .prop_flat_map(|len| proptest::collection::vec(any::<u8>(), len))
        .prop_map(|bytes| (false, bytes));
    (prop_oneof![text, bytes], any::<bool>(), proptest::collection::vec(0usize..700, 0..4), any::<bool>()).prop_map(
        |((text, payload), compressed, mut cuts, pings)| {
            cuts.iter_mut().for_each(|cut| *cut = (*cut).min(payload.len()));
            cuts.sort_unstable();
            cuts.push(payload.len());
            (Message { text, compressed, payload }, cuts, pings)
        },
    )
}

fn encode((message, cuts, pings): &(Message, Vec<usize>, bool), key: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let mut start = 0;
    for (i, &cut) in cuts.iter().enumerate() {
        let opcode = match (i, message.text) {
            (0, true) => TEXT,
            (0, false) => BINARY,
            _ => 0,
        };
        let last = i + 1 == cuts.len();
        out.extend(frame(last, message.compressed && i == 0, opcode, key, &message.payload[start..cut]));
        if *pings && !last {
            out.extend(frame(true, false, 9, key, b"?"));
        }
        start = cut;
    }
}

proptest! {
    /// Through the path that re-fragments as well: with masks, and with text cut inside its characters.
    #[test]
    fn any_chunking_relays_the_same_messages_to_a_strict_peer(
        sent in proptest::collection::vec(any_message(), 0..6),
        pieces in proptest::collection::vec(1usize..200, 1..40),
        key: Option<[u8; 4]>,
    ) {
        let mut stream = Vec::new();
        sent.iter().for_each(|message| encode(message, key, &mut stream));
        let sender = if key.is_some() { Sender::Client } else { Sender::Server };
        let mut relay = Relay::new(sender, true);
        let mut rest = &stream[..];
        for piece in pieces.iter().cycle() {
            let took = relay.take(&rest[..rest.len().min(*piece)]);
            rest = &rest[took..];
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(relay.buffer.is_empty());
        let mut direct = Reader::new(key.is_some(), true);
        let mut relayed = Reader::new(key.is_some(), true);
        prop_assert_eq!(relayed.feed(&relay.out), direct.feed(&stream));
        for &boundary in &relay.boundaries {
            let mut peer = Reader::new(key.is_some(), true);
            peer.feed(&relay.out[..boundary]);
            prop_assert!(peer.is_at_boundary());
        }
    }

    /// Text that is broken in one place is refused, wherever its frame is cut.
    #[test]
    fn broken_text_is_refused_across_fragments_of_any_size(
        text in "[a-é漢🦀]{200,400}", at: proptest::sample::Index, key: Option<[u8; 4]>, piece in 1usize..200,
    ) {
        let mut payload = text.into_bytes();
        let at = at.index(payload.len());
        payload[at] = 0xff;
        let stream = frame(true, false, TEXT, key, &payload);
        let sender = if key.is_some() { Sender::Client } else { Sender::Server };
        let mut scanner = Scanner::new(sender, false, Limits::default());
        let (mut buffer, mut rest, mut left) = (Vec::new(), &stream[..], 0);
        let refused = loop {
            let len = piece.min(CAPACITY - buffer.len()).min(rest.len());
            buffer.extend_from_slice(&rest[..len]);
            rest = &rest[len..];
            match scanner.advance(&buffer, CAPACITY, buffer.len() == CAPACITY) {
                Err(violation) => break violation,
                Ok(Step::Fragment(part)) => {
                    buffer.drain(..part.skip + part.payload);
                    left += part.payload;
                }
                Ok(Step::Need(_)) => prop_assert!(!rest.is_empty(), "broken text passed"),
                Ok(step) => prop_assert!(false, "{:?}", step),
            }
        };
        prop_assert_eq!(refused, tidegate_wire::Violation::Utf8);
        prop_assert!(left <= at, "the broken byte has left");
    }
}
