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

/// What there is too much of, and the words for it.
struct Excess {
    limit: &'static str,
    now: u64,
    most: u64,
    what: &'static str,
    per: &'static str,
}

impl Traffic {
    /// The first that is more than it may be.
    fn excess(self, limits: &Limits) -> Option<Excess> {
        let all = [
            ("max_message_rate", self.messages, limits.max_message_rate, "messages", " a second"),
            ("max_byte_rate", self.bytes, limits.max_byte_rate, "bytes", " a second"),
            ("max_buffered_bytes", self.buffered, limits.max_buffered_bytes, "bytes buffered", ""),
        ];
        all.into_iter().find_map(|(limit, now, most, what, per)| {
            let most = most.filter(|&most| now > most)?;
            Some(Excess { limit, now, most, what, per })
        })
    }

    /// The limit that it is more than.
    pub(crate) fn exceeds(self, limits: &Limits) -> Option<&'static str> {
        self.excess(limits).map(|excess| excess.limit)
    }

    /// Why it lets nobody in, in words.
    pub(crate) fn refuses(self, limits: &Limits) -> Option<String> {
        self.excess(limits).map(|Excess { now, most, what, per, .. }| {
            let (now, most) = (grouped(now), grouped(most));
            format!("{what}: {now}{per}, {most} possible (declared)")
        })
    }
}
