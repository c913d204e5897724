//! Buffers, which belong to the worker and not to the session: taken when a socket is readable, given back when
//! everything in them has left. An idle session holds none.

use std::cell::RefCell;

use tidegate_wire::MAX_HEADER;

/// Bytes one buffer holds, in the two sizes there are. The small one takes a burst of chat in one read. The large
/// one takes a frame of 128 KiB whole, and makes few system calls of bulk.
const SIZES: [usize; 2] = [64 << 10, 256 << 10];
/// The largest frame that is kept until it is whole; a larger one leaves in fragments of about this size.
pub(crate) const LARGEST_FRAME: usize = SIZES[1] - MAX_HEADER;
/// Buffers of each size that a worker keeps for the next reader. What a burst took beyond them is given back.
const KEPT: usize = 16;

thread_local! {
    static POOL: RefCell<[Vec<Box<[u8]>>; 2]> = const { RefCell::new([const { Vec::new() }; 2]) };
}

/// One direction's bytes: `[out..ready)` may leave, `[ready..end)` are not judged yet.
///
/// Before the first byte there is room for one frame header, so that a later fragment of a large frame gets its
/// own without moving its payload.
#[derive(Debug)]
pub(crate) struct Buffer {
    data: Box<[u8]>,
    out: usize,
    ready: usize,
    end: usize,
}

impl Buffer {
    /// An empty one; a large one where `bulk` is expected.
    pub(crate) fn take(bulk: bool) -> Self {
        Self { data: take(usize::from(bulk)), out: MAX_HEADER, ready: MAX_HEADER, end: MAX_HEADER }
    }

    /// What may leave.
    pub(crate) fn released(&self) -> &[u8] {
        &self.data[self.out..self.ready]
    }

    /// What is not judged yet.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.data[self.ready..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.out == self.end
    }

    /// Whether nothing can be added, not even by moving what is there.
    pub(crate) fn is_full(&self) -> bool {
        self.out <= MAX_HEADER && self.end == self.data.len()
    }

    /// Room for more bytes. Never empty unless [`is_full`](Self::is_full) or something released has not left.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.out == self.ready && self.out > MAX_HEADER && self.data.len() - self.end < self.data.len() / 4 {
            self.compact();
        }
        &mut self.data[self.end..]
    }

    /// So many bytes were put into [`space`](Self::space).
    pub(crate) fn filled(&mut self, len: usize) {
        self.end += len;
    }

    /// Makes room behind what is there for a frame that lacks `more` bytes, as far as any buffer can. Says whether
    /// it took a large one.
    pub(crate) fn reserve(&mut self, more: usize) -> bool {
        if self.end < self.data.len() || self.out != self.ready {
            return false;
        }
        let grow = MAX_HEADER + self.pending().len() + more > self.data.len() && self.data.len() < SIZES[1];
        if grow {
            let mut large = take(1);
            let len = self.pending().len();
            large[MAX_HEADER..MAX_HEADER + len].copy_from_slice(self.pending());
            give_back(std::mem::replace(&mut self.data, large));
            (self.out, self.ready, self.end) = (MAX_HEADER, MAX_HEADER, MAX_HEADER + len);
        } else {
            self.compact();
        }
        grow
    }

    /// The first `len` pending bytes may leave.
    pub(crate) fn release(&mut self, len: usize) {
        self.ready += len;
    }

    /// The first `len` pending bytes go nowhere. Everything released must have left.
    pub(crate) fn skip(&mut self, len: usize) {
        debug_assert_eq!(self.out, self.ready);
        self.ready += len;
        self.out = self.ready;
        self.settle();
    }

    /// Puts a header in front of `payload` pending bytes, in place of `skip` others, and releases them. Everything
    /// released must have left.
    pub(crate) fn release_fragment(&mut self, header: &[u8], skip: usize, payload: usize) {
        debug_assert_eq!(self.out, self.ready);
        let start = self.ready + skip;
        self.out = start - header.len();
        self.data[self.out..start].copy_from_slice(header);
        self.ready = start + payload;
    }

    /// So many of the released bytes have left.
    pub(crate) fn left(&mut self, len: usize) {
        self.out += len;
        self.settle();
    }

    /// What is not judged yet is forgotten.
    pub(crate) fn clear_pending(&mut self) {
        self.end = self.ready;
        self.settle();
    }

    fn settle(&mut self) {
        if self.out == self.end {
            (self.out, self.ready, self.end) = (MAX_HEADER, MAX_HEADER, MAX_HEADER);
        }
    }

    fn compact(&mut self) {
        self.data.copy_within(self.ready..self.end, MAX_HEADER);
        self.end -= self.ready - MAX_HEADER;
        (self.out, self.ready) = (MAX_HEADER, MAX_HEADER);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.data));
    }
}

fn take(size: usize) -> Box<[u8]> {
    let kept = POOL.with_borrow_mut(|pool| pool[size].pop());
    kept.unwrap_or_else(|| vec![0; SIZES[size]].into_boxed_slice())
}

fn give_back(data: Box<[u8]>) {
    let Some(size) = SIZES.iter().position(|&size| size == data.len()) else { return };
    // At the end of a thread there is no pool to give back to.
    let _ = POOL.try_with(|pool| {
        let kept = &mut pool.borrow_mut()[size];
        if kept.len() < KEPT {
            kept.push(data);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(bytes: &[u8]) -> Buffer {
        let mut buffer = Buffer::take(false);
        buffer.space()[..bytes.len()].copy_from_slice(bytes);
        buffer.filled(bytes.len());
        buffer
    }

    #[test]
    fn a_fragment_header_replaces_the_frame_s_own_and_later_ones_use_the_room_in_front() {
        let mut buffer = filled(b"0123456789PAYLOAD");
        buffer.release_fragment(b"HEAD", 10, 7);
        assert_eq!(buffer.released(), b"HEADPAYLOAD");
        buffer.left(11);
        assert!(buffer.is_empty());
        buffer.space()[..4].copy_from_slice(b"more");
        buffer.filled(4);
        buffer.release_fragment(b"FOURTEEN BYTES", 0, 4);
        assert_eq!(buffer.released(), b"FOURTEEN BYTESmore");
    }

    #[test]
    fn a_frame_that_does_not_fit_moves_to_a_large_buffer() {
        let mut buffer = filled(&[7; 100]);
        buffer.release(90);
        buffer.left(90);
        assert!(!buffer.reserve(100 << 10), "there is room for more yet");
        let rest = buffer.space().len();
        buffer.filled(rest);
        assert!(buffer.reserve(100 << 10));
        assert_eq!(buffer.pending()[..10], [7; 10]);
        assert!(buffer.space().len() >= 100 << 10);
        assert!(!buffer.is_full());
    }
}
