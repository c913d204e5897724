//! Buffers, which belong to the worker and not to the session: taken when a socket is readable, given back when
//! everything in them has left. An idle session holds none.

use std::cell::RefCell;

use tidegate_wire::MAX_HEADER;

/// Bytes one buffer holds, by size class. The small one takes a burst of chat in one read; the large one makes few
/// system calls of bulk; the huge one takes a frame of 1 MiB whole.
const SIZES: [usize; 3] = [64 << 10, 256 << 10, (1 << 20) + (64 << 10)];
/// Empty buffers of each class that a worker keeps for the next reader. What a burst took beyond them is given back.
const KEPT: [usize; 3] = [16, 8, 2];
/// Huge buffers that the sessions of one worker may hold at once: what a crowd of clients that stop in the middle of
/// a large frame can pin. Where there is none left, large frames leave in fragments.
const MOST_HUGE: usize = 32;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { empty: [const { Vec::new() }; 3], huge: 0 }) };
}

struct Pool {
    empty: [Vec<Box<[u8]>>; 3],
    /// Huge ones that are in use.
    huge: usize,
}

/// The class of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Size {
    Small,
    Large,
    Huge,
}

/// The largest frame that can be kept until it is whole, at this moment; a larger one leaves in fragments.
pub(crate) fn largest_frame() -> usize {
    let huge = POOL.with_borrow(|pool| pool.huge < MOST_HUGE);
    SIZES[if huge { 2 } else { 1 }] - MAX_HEADER
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
    /// An empty one, of this size if there is one.
    pub(crate) fn take(size: Size) -> Self {
        Self { data: take(size), out: MAX_HEADER, ready: MAX_HEADER, end: MAX_HEADER }
    }

    /// An empty one that takes a frame of this size whole, in bytes. Not of a class where none that large is left.
    pub(crate) fn for_frame(len: usize) -> Self {
        let size = SIZES.iter().position(|size| len <= size - MAX_HEADER);
        let size = [Size::Small, Size::Large, Size::Huge][size.unwrap_or(2)];
        let mut buffer = Self::take(size);
        if buffer.data.len() < MAX_HEADER + len {
            give_back(std::mem::replace(&mut buffer.data, vec![0; MAX_HEADER + len].into_boxed_slice()));
        }
        buffer
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

    /// Whether nothing can be added, not even by moving what is there to the front or to a larger buffer.
    pub(crate) fn is_full(&self) -> bool {
        self.out <= MAX_HEADER && self.end == self.data.len() && self.data.len() > largest_frame()
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

    /// Makes room behind what is there for a frame that lacks `more` bytes, as far as any buffer can. Gives the size
    /// it moved to, if it did.
    pub(crate) fn reserve(&mut self, more: usize) -> Option<Size> {
        if self.end < self.data.len() || self.out != self.ready {
            return None;
        }
        let len = self.pending().len();
        let whole = MAX_HEADER + len + more;
        let size = if whole <= SIZES[1] { Size::Large } else { Size::Huge };
        if whole > self.data.len() && self.data.len() < SIZES[size as usize] {
            let mut data = take(size);
            // There may be no huge one left, and no larger one than this.
            if data.len() > self.data.len() {
                data[MAX_HEADER..MAX_HEADER + len].copy_from_slice(self.pending());
                give_back(std::mem::replace(&mut self.data, data));
                (self.out, self.ready, self.end) = (MAX_HEADER, MAX_HEADER, MAX_HEADER + len);
                return Some(size);
            }
            give_back(data);
        }
        self.compact();
        None
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

fn take(size: Size) -> Box<[u8]> {
    let (size, kept) = POOL.with_borrow_mut(|pool| {
        let size = if size == Size::Huge && pool.huge == MOST_HUGE { Size::Large } else { size };
        pool.huge += usize::from(size == Size::Huge);
        (size, pool.empty[size as usize].pop())
    });
    kept.unwrap_or_else(|| vec![0; SIZES[size as usize]].into_boxed_slice())
}

fn give_back(data: Box<[u8]>) {
    let Some(size) = SIZES.iter().position(|&size| size == data.len()) else { return };
    // At the end of a thread there is no pool to give back to.
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        pool.huge -= usize::from(size == Size::Huge as usize);
        if pool.empty[size].len() < KEPT[size] {
            pool.empty[size].push(data);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(bytes: &[u8]) -> Buffer {
        let mut buffer = Buffer::take(Size::Small);
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
        assert_eq!(buffer.reserve(100 << 10), None, "there is room for more yet");
        let rest = buffer.space().len();
        buffer.filled(rest);
        assert_eq!(buffer.reserve(100 << 10), Some(Size::Large));
        assert_eq!(buffer.pending()[..10], [7; 10]);
        assert!(buffer.space().len() >= 100 << 10);
        assert!(!buffer.is_full());
    }

    #[test]
    fn huge_buffers_are_few() {
        let held: Vec<Buffer> = (0..MOST_HUGE).map(|_| Buffer::take(Size::Huge)).collect();
        assert_eq!(largest_frame(), SIZES[1] - MAX_HEADER);
        assert_eq!(Buffer::take(Size::Huge).data.len(), SIZES[1]);
        drop(held);
        assert_eq!(largest_frame(), SIZES[2] - MAX_HEADER);
    }
}
