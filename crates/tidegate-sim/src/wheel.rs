//! What happens next: a timing wheel, since a heap of a million timers is slow.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use crate::Ns;

/// About a millisecond: so few events share a bucket that ordering them costs nothing.
const BUCKET_BITS: u32 = 20;
const BUCKETS: u64 = 1 << 15;

type Entry<T> = Reverse<(Ns, u64, T)>;

/// Events in order of time, and of arrival where times are equal.
pub(crate) struct Wheel<T> {
    /// The bucket being emptied.
    current: BinaryHeap<Entry<T>>,
    /// Number of that bucket.
    at: u64,
    near: Vec<Vec<Entry<T>>>,
    near_count: usize,
    /// Beyond the wheel, by bucket.
    far: BTreeMap<u64, Vec<Entry<T>>>,
    pushed: u64,
}

impl<T: Ord> Wheel<T> {
    pub(crate) fn new() -> Self {
        Self {
            current: BinaryHeap::new(),
            at: 0,
            near: (0..BUCKETS).map(|_| Vec::new()).collect(),
            near_count: 0,
            far: BTreeMap::new(),
            pushed: 0,
        }
    }

    /// What is due in the past happens now.
    pub(crate) fn push(&mut self, at: Ns, event: T) {
        let entry = Reverse((at, self.pushed, event));
        self.pushed += 1;
        let bucket = at >> BUCKET_BITS;
        if bucket <= self.at {
            self.current.push(entry);
        } else if bucket < self.at + BUCKETS {
            self.near[(bucket % BUCKETS) as usize].push(entry);
            self.near_count += 1;
        } else {
            self.far.entry(bucket).or_default().push(entry);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<(Ns, T)> {
        while self.current.is_empty() {
            if self.near_count > 0 {
                self.at += 1;
            } else {
                self.at = *self.far.first_key_value()?.0;
            }
            let near = std::mem::take(&mut self.near[(self.at % BUCKETS) as usize]);
            self.near_count -= near.len();
            self.current.extend(near);
            // A bucket is far when it is filled and may have come near since.
            if let Some(first) = self.far.first_entry().filter(|first| *first.key() <= self.at) {
                self.current.extend(first.remove());
            }
        }
        self.current.pop().map(|Reverse((at, _, event))| (at, event))
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
                let (at, _) = wheel.pop().unwrap();
                assert!(at >= now);
                now = at;
                left -= 1;
            }
        }
        while let Some((at, _)) = wheel.pop() {
            assert!(at >= now);
            now = at;
            left -= 1;
        }
        assert_eq!(left, 0);
    }
}
