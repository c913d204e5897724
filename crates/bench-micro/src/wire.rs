//! Bytes of RFC 6455.

use std::hint::black_box;

use tidegate_wire::{FrameHeader, Limits, MAX_HEADER, Mask, Opcode, Scanner, Sender, Step, Utf8};

use crate::Operation;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// As the proxy's large buffer.
const CAPACITY: usize = 256 << 10;

fn frame(opcode: Opcode, payload: &[u8], mask: Option<Mask>) -> Vec<u8> {
    let mut head = [0; MAX_HEADER];
    let header = FrameHeader { fin: true, rsv1: false, opcode, mask, len: payload.len() as u64 };
    let size = header.encode(&mut head);
    let mut bytes = [&head[..size], payload].concat();
    if let Some(mask) = mask {
        mask.apply(&mut bytes[size..]);
    }
    bytes
}

fn client_frame(opcode: Opcode, size: usize) -> Vec<u8> {
    frame(opcode, &vec![b'a'; size], Some(Mask::new(KEY)))
}

/// What one read brought is judged and leaves.
fn scan(scanner: &mut Scanner, bytes: &[u8]) {
    let step = scanner.advance(black_box(bytes), CAPACITY, false);
    assert!(matches!(black_box(step), Ok(Step::Forward(len)) if len == bytes.len()));
    black_box(scanner.take_tally());
}

fn scanner(sender: Sender) -> Scanner {
    Scanner::new(sender, false, Limits::default())
}

pub(crate) fn small_masked() -> Operation {
    let (mut scanner, bytes) = (scanner(Sender::Client), client_frame(Opcode::Text, 32));
    Box::new(move || scan(&mut scanner, &bytes))
}

pub(crate) fn small_unmasked() -> Operation {
    let (mut scanner, bytes) = (scanner(Sender::Server), frame(Opcode::Text, &[b'a'; 32], None));
    Box::new(move || scan(&mut scanner, &bytes))
}

pub(crate) fn burst() -> Operation {
    let (mut scanner, bytes) = (scanner(Sender::Client), client_frame(Opcode::Text, 32).repeat(64));
    Box::new(move || scan(&mut scanner, &bytes))
}

pub(crate) fn large_text() -> Operation {
    let (mut scanner, bytes) = (scanner(Sender::Client), client_frame(Opcode::Text, 16 << 10));
    Box::new(move || scan(&mut scanner, &bytes))
}

pub(crate) fn large_binary() -> Operation {
    let (mut scanner, bytes) = (scanner(Sender::Client), client_frame(Opcode::Binary, 16 << 10));
    Box::new(move || scan(&mut scanner, &bytes))
}

pub(crate) fn in_pieces() -> Operation {
    let (mut scanner, bytes) = (scanner(Sender::Client), client_frame(Opcode::Text, 128 << 10));
    Box::new(move || {
        for part in 1..4 {
            let step = scanner.advance(black_box(&bytes[..bytes.len() * part / 4]), CAPACITY, false);
            assert!(matches!(step, Ok(Step::Need(_))));
        }
        scan(&mut scanner, &bytes);
    })
}

pub(crate) fn ping() -> Operation {
    let (mut scanner, bytes) = (scanner(Sender::Client), client_frame(Opcode::Ping, 8));
    Box::new(move || {
        let step = scanner.advance(black_box(&bytes), CAPACITY, false);
        assert!(matches!(black_box(step), Ok(Step::Control(_))));
        black_box(scanner.take_tally());
    })
}

fn text(text: &str) -> Operation {
    let mask = Mask::new(KEY);
    let mut bytes = text.as_bytes().to_vec();
    mask.apply(&mut bytes);
    Box::new(move || {
        let mut utf8 = Utf8::default();
        assert!(utf8.feed(black_box(&bytes), Some(mask)).is_ok() && utf8.is_complete());
    })
}

pub(crate) fn ascii() -> Operation {
    text(&"a".repeat(1 << 10))
}

pub(crate) fn japanese() -> Operation {
    text(&"日本語と英語 ".repeat(54)[..1026])
}

pub(crate) fn mask() -> Operation {
    let mut bytes = vec![b'a'; 1 << 10];
    Box::new(move || Mask::new(black_box(KEY)).apply(black_box(&mut bytes)))
}
