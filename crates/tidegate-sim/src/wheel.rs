//! What happens next: a timing wheel, since a heap of a million timers is slow.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use crate::Ns;

/// About four milliseconds: so few events share a bucket that ordering them costs nothing.
const BUCKET_BITS: u32 = 22;
/// Of a turn of the wheel. This turn's and the next one's are near.
const TURN: u64 = 1 << 13;
const BUCKETS: u64 = 2 * TURN;
/// Events kept side by side: to go from one to the next through memory would be the slowest step of all.
const CHUNK: usize = 15;
/// The end of a list.
const NONE: u32 = u32::MAX;

/// A time within a bucket.
type Within = u32;

/// Events in order of time, and of arrival where times are equal.
pub(crate) struct Wheel<T> {
    /// The bucket being emptied, its last event first.
    current: Vec<(Within, T)>,
    /// What came into that bucket since.
    late: BinaryHeap<Reverse<(Ns, u64, T)>>,
    came_late: u64,
    /// Number of that bucket.
    at: u64,
    near: Vec<Bucket>,
    near_count: usize,
    /// Buckets are lists of chunks, so that the memory in use is that of the events there are.
    chunks: Vec<Chunk<T>>,
    spare: u32,
    /// Beyond those, by turn.
    far: BTreeMap<u64, Vec<(Ns, T)>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    latest: u32,
    /// Events in the latest chunk; those before it are full. Here, so that a push need not wait for the chunk.
    len: u32,
}

const EMPTY: Bucket = Bucket { latest: NONE, len: CHUNK as u32 };

struct Chunk<T> {
    events: [(Within, T); CHUNK],
    before: u32,
}

impl<T: Copy + Ord> Wheel<T> {
    pub(crate) fn new() -> Self {
        Self {
            current: Vec::new(),
            late: BinaryHeap::new(),
            came_late: 0,
            at: 0,
            near: vec![EMPTY; BUCKETS as usize],
            near_count: 0,
            chunks: Vec::new(),
            spare: NONE,
            far: BTreeMap::new(),
        }
    }

    /// What is due in the past happens now.
    pub(crate) fn push(&mut self, at: Ns, event: T) {
        let bucket = at >> BUCKET_BITS;
        if bucket <= self.at {
            self.came_late += 1;
            self.late.push(Reverse((at, self.came_late, event)));
        } else if bucket / TURN <= self.at / TURN + 1 {
            self.push_near(bucket, at, event);
        } else {
            self.far.entry(bucket / TURN).or_default().push((at, event));
        }
    }

    /// The next event; `look` is shown what is soon to come.
    pub(crate) fn pop(&mut self, look: impl Fn(&T)) -> Option<(Ns, T)> {
        while self.current.is_empty() && self.late.is_empty() {
            if self.near_count > 0 {
                self.at += 1;
            } else {
                self.at = TURN * (self.far.first_key_value()?.0 - 1);
            }
            if self.at.is_multiple_of(TURN) {
                self.come_near();
            }
            self.fill();
            self.soon().for_each(&look);
        }
        let first = self.current.last().map(|&(within, event)| (self.at << BUCKET_BITS | Ns::from(within), event));
        // Of two at the same time the late one came later.
        if let Some(Reverse((late, ..))) = self.late.peek()
            && first.is_none_or(|(at, _)| *late < at)
        {
            return self.late.pop().map(|Reverse((at, _, event))| (at, event));
        }
        self.current.pop();
        first
    }

    fn push_near(&mut self, bucket: u64, at: Ns, event: T) {
        self.near_count += 1;
        let bucket = &mut self.near[(bucket % BUCKETS) as usize];
        let within = (at % (1 << BUCKET_BITS)) as Within;
        if (bucket.len as usize) < CHUNK {
            self.chunks[bucket.latest as usize].events[bucket.len as usize] = (within, event);
            bucket.len += 1;
            return;
        }
        let before = std::mem::replace(&mut bucket.latest, self.spare);
        bucket.len = 1;
        if let Some(chunk) = self.chunks.get_mut(self.spare as usize) {
            self.spare = std::mem::replace(&mut chunk.before, before);
            chunk.events[0] = (within, event);
        } else {
            bucket.latest = self.chunks.len() as u32;
            self.chunks.push(Chunk { events: [(within, event); CHUNK], before });
        }
    }

    /// A turn begins: the next one is no longer far.
    fn come_near(&mut self) {
        for (at, event) in self.far.remove(&(self.at / TURN + 1)).into_iter().flatten() {
            self.push_near(at >> BUCKET_BITS, at, event);
        }
    }

    /// What is in the next bucket so far.
    fn soon(&self) -> impl Iterator<Item = &T> {
        let Bucket { latest, len } = self.near[((self.at + 1) % BUCKETS) as usize];
        let latest = self.chunks.get(latest as usize).map(|chunk| (chunk, len as usize));
        let chunks = std::iter::successors(latest, |(chunk, _)| Some((self.chunks.get(chunk.before as usize)?, CHUNK)));
        chunks.flat_map(|(chunk, len)| &chunk.events[..len]).map(|(_, event)| event)
    }

    /// Takes the bucket whose turn it is.
    fn fill(&mut self) {
        let Bucket { latest, len } = std::mem::replace(&mut self.near[(self.at % BUCKETS) as usize], EMPTY);
        let (mut next, mut len) = (latest, len as usize);
        while let Some(chunk) = self.chunks.get_mut(next as usize) {
            self.current.extend(chunk.events[..len].iter().rev());
            self.near_count -= len;
            let before = std::mem::replace(&mut chunk.before, self.spare);
            (self.spare, next, len) = (next, before, CHUNK);
        }
        // Stable: the latest first, also of those at the same time.
        self.current.sort_by_key(|&(within, _)| Reverse(within));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draw;

    #[test]
    fn comes_out_in_order_however_it_went_in() {
        let (mut wheel, mut now, mut left) = (Wheel::new(), 0, 0);
        for i in 0..50_000_u64 {
            let draw = Draw::new(7, i, 0, 0);
            let span = [1_000, 10_000_000, 1_000_000_000, 200_000_000_000][(i % 4) as usize];
            wheel.push(now + draw.below(span), i);
            left += 1;
            if i % 3 == 0 {
                let (at, _) = wheel.pop(|_| ()).unwrap();
                assert!(at >= now);
                now = at;
                left -= 1;
            }
        }
        while let Some((at, _)) = wheel.pop(|_| ()) {
            assert!(at >= now);
            now = at;
            left -= 1;
        }
        assert_eq!(left, 0);
    }
}
