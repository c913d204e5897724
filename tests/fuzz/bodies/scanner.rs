//! Any bytes in any pieces through a scanner with a small buffer: what leaves is what a strict peer takes.

#[path = "../../../crates/tidegate-wire/tests/strict/mod.rs"]
mod strict;

use strict::Reader;
use tidegate_wire::{Limits, Scanner, Sender, Step};

/// The longest control frame must fit.
const SMALLEST: usize = 131;

/// The first bytes say who sends, what was negotiated, and how the rest is cut.
pub(crate) fn run(data: &[u8]) {
    let [flags, capacity, piece, stream @ ..] = data else { return };
    let sender = if flags & 1 == 0 { Sender::Client } else { Sender::Server };
    let deflate = flags & 2 != 0;
    let capacity = SMALLEST + usize::from(*capacity);
    let limits = Limits { max_message_size: 4096, max_fragments: 64, ..Limits::default() };
    let mut scanner = Scanner::new(sender, deflate, limits);
    let mut peer = Reader::new(sender == Sender::Client, deflate);
    let (mut buffer, mut rest) = (Vec::new(), stream);
    loop {
        let len = rest.len().min(usize::from(*piece) + 1).min(capacity - buffer.len());
        if len == 0 {
            break;
        }
        buffer.extend_from_slice(&rest[..len]);
        rest = &rest[len..];
        while !buffer.is_empty() {
            let full = buffer.len() == capacity;
            let (head, skip, gone, closed) = match scanner.advance(&buffer, capacity, full) {
                Ok(Step::Need(missing)) => {
                    assert!(missing > 0 && !full, "more is asked for than can be");
                    break;
                }
                Ok(Step::Forward(len)) => (Vec::new(), 0, len, false),
                Ok(Step::Control(control)) => (Vec::new(), 0, control.len, false),
                Ok(Step::Close(_, len)) => (Vec::new(), 0, len, true),
                Ok(Step::Fragment(part)) => (part.header().to_vec(), part.skip, part.payload, false),
                Err(violation) => {
                    assert!(violation.code().is_sendable() && !violation.word().is_empty());
                    return;
                }
            };
            peer.feed(&head);
            peer.feed(&buffer[skip..skip + gone]);
            assert!(peer.is_at_boundary());
            buffer.drain(..skip + gone);
            if closed {
                return;
            }
        }
    }
    assert!(rest.is_empty(), "it stopped reading");
}
