//! Buffers, which belong to the worker and not to the session: taken when a socket is readable, given back when
//! everything in them has left. An idle session holds none.
//!
//! They are mapped, and not of the allocator: what a burst took goes back to the kernel when it is over, where the
//! allocator would keep it.

use std::cell::RefCell;

use memmap2::MmapMut;
use tidegate_wire::MAX_HEADER;

/// Bytes one buffer holds, by size class. The small one takes a burst of chat in one read; the large one makes few
/// system calls of bulk; the huge one takes a frame of 1 MiB whole.
const SIZES: [usize; 3] = [64 << 10, 256 << 10, (1 << 20) + (64 << 10)];
/// Empty buffers of each class that a worker keeps for the next reader, 23 MiB at most, while they are in use every now
/// and then: see [`rest`].
const KEPT: [usize; 3] = [64, 32, 10];
/// Where the first byte lies.
const FRONT: u32 = MAX_HEADER as u32;
/// Huge buffers that the sessions of one worker may hold at once: what a crowd of clients that stop in the middle of
/// a large frame can pin. Where there is none left, large frames leave in fragments.
const MOST_HUGE: usize = 32;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { empty: [const { Vec::new() }; 3], least: [0; 3], huge: 0 }) };
}

/// In a box, which is smaller than what it holds: idle sessions carry the room for it.
type Memory = Box<MmapMut>;

struct Pool {
    empty: [Vec<Memory>; 3],
    /// The fewest empty ones of each class since the last [`rest`].
    least: [usize; 3],
    /// Huge ones that are in use.
    huge: usize,
}

/// Gives back what nobody has needed since the last call. A worker calls it while it has connections, and twice after
/// the last.
pub(crate) fn rest() {
    POOL.with_borrow_mut(|pool| {
        let Pool { empty, least, .. } = pool;
        for (empty, least) in empty.iter_mut().zip(least) {
            // Those at the back were in use last.
            empty.drain(..*least);
            *least = empty.len();
        }
    });
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
    /// Always `Some`, until it is dropped.
    data: Option<Memory>,
    out: u32,
    ready: u32,
    end: u32,
}

impl Buffer {
    /// An empty one, of this size if there is one.
    pub(crate) fn take(size: Size) -> Self {
        Self::on(take(size))
    }

    /// An empty one that takes a frame of this size whole, in bytes. Not of a class where none that large is left.
    pub(crate) fn for_frame(len: usize) -> Self {
        let size = SIZES.iter().position(|size| len <= size - MAX_HEADER);
        let data = take([Size::Small, Size::Large, Size::Huge][size.unwrap_or(2)]);
        if data.len() >= MAX_HEADER + len {
            return Self::on(data);
        }
        give_back(data);
        Self::on(map(MAX_HEADER + len))
    }

    fn on(data: Memory) -> Self {
        let (out, ready, end) = (FRONT, FRONT, FRONT);
        Self { data: Some(data), out, ready, end }
    }

    fn data(&self) -> &[u8] {
        self.data.as_deref().map_or(&[], |data| data)
    }

    fn data_mut(&mut self) -> &mut [u8] {
        self.data.as_deref_mut().map_or(&mut [], |data| data)
    }

    /// What may leave.
    pub(crate) fn released(&self) -> &[u8] {
        &self.data()[self.out as usize..self.ready as usize]
    }

    /// What is not judged yet.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.data()[self.ready as usize..self.end as usize]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.out == self.end
    }

    /// Whether nothing can be added, not even by moving what is there to the front or to a larger buffer.
    pub(crate) fn is_full(&self) -> bool {
        let len = self.data().len();
        self.out <= FRONT && self.end as usize == len && len > largest_frame()
    }

    /// Room for more bytes. Never empty unless [`is_full`](Self::is_full) or something released has not left.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        let len = self.data().len();
        if self.out == self.ready && self.out > FRONT && len - (self.end as usize) < len / 4 {
            self.compact();
        }
        let end = self.end as usize;
        &mut self.data_mut()[end..]
    }

    /// So many bytes were put into [`space`](Self::space).
    pub(crate) fn filled(&mut self, len: usize) {
        self.end += len as u32;
    }

    /// Makes room behind what is there for a frame that lacks `more` bytes, as far as any buffer can. Gives the size
    /// it moved to, if it did.
    pub(crate) fn reserve(&mut self, more: usize) -> Option<Size> {
        let room = self.data().len();
        if (self.end as usize) < room || self.out != self.ready {
            return None;
        }
        let len = self.pending().len();
        let whole = MAX_HEADER + len + more;
        let size = if whole <= SIZES[1] { Size::Large } else { Size::Huge };
        if whole > room && room < SIZES[size as usize] {
            let mut data = take(size);
            // There may be no huge one left, and no larger one than this.
            if data.len() > room {
                data[MAX_HEADER..MAX_HEADER + len].copy_from_slice(self.pending());
                *self = Self::on(data);
                self.filled(len);
                return Some(size);
            }
            give_back(data);
        }
        self.compact();
        None
    }

    /// The first `len` pending bytes may leave.
    pub(crate) fn release(&mut self, len: usize) {
        self.ready += len as u32;
    }

    /// The first `len` pending bytes go nowhere. Everything released must have left.
    pub(crate) fn skip(&mut self, len: usize) {
        debug_assert_eq!(self.out, self.ready);
        self.ready += len as u32;
        self.out = self.ready;
        self.settle();
    }

    /// Puts a header in front of `payload` pending bytes, in place of `skip` others, and releases them. Everything
    /// released must have left.
    pub(crate) fn release_fragment(&mut self, header: &[u8], skip: usize, payload: usize) {
        debug_assert_eq!(self.out, self.ready);
        let start = self.ready as usize + skip;
        let out = start - header.len();
        self.data_mut()[out..start].copy_from_slice(header);
        (self.out, self.ready) = (out as u32, (start + payload) as u32);
    }

    /// So many of the released bytes have left.
    pub(crate) fn left(&mut self, len: usize) {
        self.out += len as u32;
        self.settle();
    }

    /// What is not judged yet is forgotten.
    pub(crate) fn clear_pending(&mut self) {
        self.end = self.ready;
        self.settle();
    }

    fn settle(&mut self) {
        if self.out == self.end {
            (self.out, self.ready, self.end) = (FRONT, FRONT, FRONT);
        }
    }

    fn compact(&mut self) {
        let (ready, end) = (self.ready as usize, self.end as usize);
        self.data_mut().copy_within(ready..end, MAX_HEADER);
        self.end -= self.ready - FRONT;
        (self.out, self.ready) = (FRONT, FRONT);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(data) = self.data.take() {
            give_back(data);
        }
    }
}

fn take(size: Size) -> Memory {
    let (size, kept) = POOL.with_borrow_mut(|pool| {
        let size = if size == Size::Huge && pool.huge == MOST_HUGE { Size::Large } else { size };
        pool.huge += usize::from(size == Size::Huge);
        let kept = pool.empty[size as usize].pop();
        let least = &mut pool.least[size as usize];
        *least = pool.empty[size as usize].len().min(*least);
        (size, kept)
    });
    kept.unwrap_or_else(|| map(SIZES[size as usize]))
}

/// Zeros, which take no memory before they are written to.
fn map(len: usize) -> Memory {
    // As where the allocator has none; what it ends is this session.
    Box::new(MmapMut::map_anon(len).expect("the kernel has memory"))
}

fn give_back(data: Memory) {
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
    fn what_is_not_needed_any_more_is_given_back() {
        let empty = || POOL.with_borrow(|pool| pool.empty[Size::Large as usize].len());
        let burst: Vec<Buffer> = (0..5).map(|_| Buffer::take(Size::Large)).collect();
        drop(burst);
        rest();
        assert_eq!(empty(), 5, "needed since the last rest");
        drop([Buffer::take(Size::Large), Buffer::take(Size::Large)]);
        rest();
        assert_eq!(empty(), 2, "no more than these were");
        rest();
        assert_eq!(empty(), 0);
    }

    #[test]
    fn huge_buffers_are_few() {
        let held: Vec<Buffer> = (0..MOST_HUGE).map(|_| Buffer::take(Size::Huge)).collect();
        assert_eq!(largest_frame(), SIZES[1] - MAX_HEADER);
        assert_eq!(Buffer::take(Size::Huge).data().len(), SIZES[1]);
        drop(held);
        assert_eq!(largest_frame(), SIZES[2] - MAX_HEADER);
    }
}
