//! What goes through all sessions of the upstream together. Sessions are not alike: ten may carry more than ten thousand.

use crate::{Limits, advice::grouped};

/// What was measured last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages a second, both ways.
    pub messages: u64,
    /// Bytes of them a second.
    pub bytes: u64,
    /// Bytes that came from one side and have not left on the other.
    pub buffered: u64,
}

impl Traffic {
    /// Each of them, what it may be, and what is said where it is more.
    fn measured(self, limits: &Limits) -> [(u64, Option<u64>, &'static str, &'static str); 3] {
        [
            (self.messages, limits.max_message_rate, "messages", " a second"),
            (self.bytes, limits.max_byte_rate, "bytes", " a second"),
            (self.buffered, limits.max_buffered_bytes, "bytes buffered", ""),
        ]
    }

    /// Whether it is more than it may be.
    pub(crate) fn exceeds(self, limits: &Limits) -> bool {
        self.measured(limits).into_iter().any(|(now, most, ..)| most.is_some_and(|most| now > most))
    }

    /// Why it lets nobody in, in words.
    pub(crate) fn refuses(self, limits: &Limits) -> Option<String> {
        let over = self.measured(limits).into_iter().find(|(now, most, ..)| most.is_some_and(|most| *now > most));
        over.map(|(now, most, what, per)| {
            let (now, most) = (grouped(now), grouped(most.unwrap_or_default()));
            format!("{what}: {now}{per}, {most} possible (declared)")
        })
    }
}
