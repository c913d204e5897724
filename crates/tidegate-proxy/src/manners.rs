//! Who comes back before its time again and again.
//!
//! A client that was told when to come back, and did not heed it three times running, has shown that it does not read
//! what a Close says. It is told by a status, after the same wait: that spares us the 101, the Close and its answer,
//! and Chrome and Firefox hold back by themselves after a handshake that failed. Only those come this far who could not
//! be let in: nobody pays for haste while there is room.
//!
//! A client is known by its address and by its cookie or authorization. One that has neither, or changes them, is told
//! by a Close, as ever: behind one address there may be thousands.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Clients that are remembered; one more takes the place of another. 768 KiB, and nothing before the first refusal.
const PLACES: usize = 1 << 16;
/// Returns before its time, on end, after which a client is told by a status.
const PATIENCE: u8 = 3;
/// One tick of the table's clock.
const TICK_MS: u128 = 10;

#[derive(Default)]
pub(crate) struct Manners {
    hasher: RandomState,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    start: Option<Instant>,
    places: Vec<Place>,
}

#[derive(Clone, Copy, Default)]
struct Place {
    tag: u32,
    /// The tick from which on it may come back. 0: nobody's place.
    due: u32,
    /// How often it has not waited for it.
    early: u8,
}

impl Manners {
    /// This client is refused, which `came` at that time, and may come back after so many seconds. Whether it is to be
    /// told by a status.
    pub(crate) fn refused(&self, who: impl Hash, came: Instant, retry_after: u32, now: Instant) -> bool {
        let hash = self.hasher.hash_one(who);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let start = *table.start.get_or_insert(came);
        let tick = |at: Instant| {
            u32::try_from(at.saturating_duration_since(start).as_millis() / TICK_MS + 1).unwrap_or(u32::MAX)
        };
        if table.places.is_empty() {
            table.places.resize(PLACES, Place::default());
        }
        let tag = (hash >> 32) as u32;
        let place = &mut table.places[hash as usize % PLACES];
        let is_early = place.tag == tag && tick(came) < place.due;
        let early = if is_early { place.early.saturating_add(1) } else { 0 };
        let ticks = u128::from(retry_after) * 1000 / TICK_MS;
        let due = tick(now).saturating_add(u32::try_from(ticks).unwrap_or(u32::MAX));
        *place = Place { tag, due, early };
        early >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn three_returns_before_its_time_are_one_too_many_and_one_in_time_is_forgiveness() {
        let (manners, start) = (Manners::default(), clock::now());
        let mut now = start;
        let mut comes = |who: &str, after_ms: u64| {
            let came = now + Duration::from_millis(after_ms);
            // It waits for its answer, too.
            now = came + Duration::from_millis(2500);
            manners.refused(who, came, 5, now)
        };
        assert_eq!([0, 0, 4900].map(|after| comes("a", after)), [false; 3]);
        assert!(!comes("b", 10), "another");
        assert_eq!([100, 0].map(|after| comes("a", after)), [true; 2]);
        assert_eq!([5100, 0, 0, 0].map(|after| comes("a", after)), [false, false, false, true]);
    }

    #[test]
    fn it_forgets_those_whose_place_another_has_and_grows_no_further() {
        let (manners, now) = (Manners::default(), clock::now());
        for round in 0..5 {
            assert!(!manners.refused("first", now, 5, now));
            // Others each time: those of the last round have the places that they have.
            for other in 0..4 * PLACES {
                manners.refused((round, other), now, 5, now);
            }
        }
        let table = manners.table.lock().unwrap();
        assert_eq!(table.places.len(), PLACES);
        assert!(size_of::<Place>() == 12);
    }
}
