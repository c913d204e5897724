//! What went through one direction.

use crate::Opcode;

/// Counts of frames by opcode, and of payload bytes. Plain numbers: whoever reads them adds them up, in wider ones than
/// these of what passes between two calls of [`Scanner::take_tally`](crate::Scanner::take_tally).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Text frames.
    pub text: u32,
    /// Binary frames.
    pub binary: u32,
    /// Continuation frames, as they came: those of our own re-fragmentation do not count.
    pub continuation: u32,
    /// Ping frames.
    pub ping: u32,
    /// Pong frames.
    pub pong: u32,
    /// Close frames.
    pub close: u32,
    /// Payload bytes of data frames.
    pub bytes: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, opcode: Opcode, len: u64) {
        match opcode {
            Opcode::Text => self.text += 1,
            Opcode::Binary => self.binary += 1,
            Opcode::Continuation => self.continuation += 1,
            Opcode::Ping => self.ping += 1,
            Opcode::Pong => self.pong += 1,
            Opcode::Close => self.close += 1,
        }
        if !opcode.is_control() {
            self.bytes += len;
        }
    }

    /// Data frames.
    #[must_use]
    pub const fn data_frames(&self) -> u64 {
        self.text as u64 + self.binary as u64 + self.continuation as u64
    }

    /// Control frames.
    #[must_use]
    pub const fn control_frames(&self) -> u64 {
        self.ping as u64 + self.pong as u64 + self.close as u64
    }

    /// Adds what `other` counted.
    pub const fn add(&mut self, other: &Self) {
        self.text += other.text;
        self.binary += other.binary;
        self.continuation += other.continuation;
        self.ping += other.ping;
        self.pong += other.pong;
        self.close += other.close;
        self.bytes += other.bytes;
    }
}
