//! Who was refused lately, so that coming back at once gains nothing.
//!
//! Most libraries come back after a fixed time whatever they are told, some within milliseconds. First come, first
//! served then serves those who hammer, and at the end those are left who stay away for ten or twenty seconds, with
//! nobody to fill the room meanwhile. So in overload who stayed away longer goes first. It costs the hasty nothing
//! that they could use: room is never left empty while anybody waits.
//!
//! A client is known by its address, so those behind one address share what they are known for. The memory is a table
//! with one place per address, the newer one winning it: at most 8 MiB, and none at all until somebody is refused.

use std::time::{Duration, Instant};

use crate::hash::mix;

/// Lanes of the queue; 0 goes first.
pub(crate) const LANES: usize = 4;
/// Who stayed away so long is in the lane of this index, or one before.
const AWAY: [Duration; LANES - 1] = [Duration::from_secs(8), Duration::from_secs(3), Duration::from_secs(1)];
/// The table doubles when this part of its places was taken within the longest of these times.
const FULL: f64 = 0.5;
const FORGOTTEN: Duration = Duration::from_secs(60);
const SMALLEST: usize = 1 << 10;
const LARGEST: usize = 1 << 20;
/// One tick of the table's clock.
const TICK_MS: u128 = 10;

#[derive(Debug, Default)]
pub(crate) struct Returns {
    start: Option<Instant>,
    places: Vec<Place>,
    /// Taken since this tick.
    taken: usize,
    since: u32,
    last: Option<Instant>,
}

/// Tick 0: nobody.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    tag: u32,
    tick: u32,
}

impl Returns {
    /// A client of this address was refused.
    pub(crate) fn refused(&mut self, address: u64, now: Instant) {
        let tick = self.tick(now);
        self.last = Some(now);
        if self.places.is_empty() {
            self.places.resize(SMALLEST, Place::default());
        }
        let (at, tag) = self.locate(address);
        self.places[at] = Place { tag, tick };
        self.taken += 1;
        let span = (AWAY[0].as_millis() / TICK_MS) as u32;
        if tick.saturating_sub(self.since) > span {
            (self.taken, self.since) = (0, tick);
        } else if self.taken as f64 > FULL * self.places.len() as f64 && self.places.len() < LARGEST {
            self.grow();
        }
    }

    /// The lane for a client of this address.
    pub(crate) fn lane(&mut self, address: u64, now: Instant) -> usize {
        let tick = self.tick(now);
        if self.places.is_empty() {
            return 0;
        }
        let (at, tag) = self.locate(address);
        let place = self.places[at];
        if place.tag != tag || place.tick == 0 {
            return 0;
        }
        let away = u128::from(tick.saturating_sub(place.tick)) * TICK_MS;
        AWAY.iter().position(|least| away >= least.as_millis()).unwrap_or(LANES - 1)
    }

    /// Gives the memory back when nobody has been refused for a minute.
    pub(crate) fn forget_if_old(&mut self, now: Instant) {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) > FORGOTTEN) {
            *self = Self::default();
        }
    }

    fn tick(&mut self, now: Instant) -> u32 {
        let start = *self.start.get_or_insert(now);
        u32::try_from(now.saturating_duration_since(start).as_millis() / TICK_MS + 1).unwrap_or(u32::MAX)
    }

    fn locate(&self, address: u64) -> (usize, u32) {
        let hash = mix(address);
        (hash as usize & (self.places.len() - 1), (hash >> 32) as u32)
    }

    /// Twice the places. Each old one's is now one of two; it is put in both, and only its own tag finds it.
    fn grow(&mut self) {
        self.places.extend_from_within(..);
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::base;

    #[test]
    fn the_longer_away_the_better_the_lane_and_strangers_have_the_best() {
        let (mut returns, t0) = (Returns::default(), base());
        assert_eq!(returns.lane(1, t0), 0);
        returns.refused(1, t0);
        let lanes = [0, 999, 1000, 2999, 3000, 7990, 8000, 1_000_000];
        let lanes = lanes.map(|ms| returns.lane(1, t0 + Duration::from_millis(ms)));
        assert_eq!(lanes, [3, 3, 2, 2, 1, 1, 0, 0]);
        assert_eq!(returns.lane(2, t0), 0);
    }

    #[test]
    fn it_grows_with_the_crowd_and_no_further_than_its_bound() {
        let (mut returns, t0) = (Returns::default(), base());
        (0..100_000).for_each(|address| returns.refused(address, t0));
        let known = (0..100_000).filter(|&address| returns.lane(address, t0) == LANES - 1).count();
        assert!(known > 50_000, "{known}");
        (0..3_000_000).for_each(|address| returns.refused(address, t0));
        assert_eq!(returns.places.len(), LARGEST);
        returns.forget_if_old(t0 + FORGOTTEN);
        assert_eq!(returns.places.len(), LARGEST);
        returns.forget_if_old(t0 + 2 * FORGOTTEN);
        assert_eq!(returns.places.capacity(), 0);
    }
}
