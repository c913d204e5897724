//! How many sessions one endpoint may hold, and who says so.
//!
//! The operator's word counts first, then what the endpoint announces itself, then what it has shown. It has shown it
//! only by one sign: closing an *established* session with 1013. Neither a 503 to a handshake nor a crash tells: the
//! one may be about handshakes, or a lie; the other is mostly a deployment, which ends the same number of sessions each
//! time. Taken for a limit, either would keep clients out of an endpoint that has room.
//!
//! At that sign the bound is 0.95 of what is held. It stays for a minute, then grows as CUBIC does: quickly back
//! towards the level, slowly past it, and only while the endpoint is nearly full, since room that nobody uses proves
//! nothing. Nobody is ever put out to reach a lower bound.

use std::time::{Duration, Instant};

use crate::Cap;

/// Of what was held when the endpoint said it was full.
const CUT: f64 = 0.95;
const HOLD: Duration = Duration::from_secs(60);
/// Part used from which on it tells anything: below, what uses it is mostly not the sessions.
const TELLING: f64 = 0.7;
/// CUBIC's constant, for time in tens of seconds and level in hundredths.
const STEEPNESS: f64 = 0.4;
/// Part of the bound that must be held for it to grow.
const USED: f64 = 0.8;
/// An endpoint that says it is full with next to nothing in it is not believed for long.
const LEAST: f64 = 16.0;

#[derive(Debug, Default)]
pub(crate) struct Stock {
    announced: Option<u32>,
    /// By the part that it says is used, and until when.
    reckoned: Option<(u32, Instant)>,
    learned: Option<Learned>,
}

#[derive(Debug)]
struct Learned {
    level: f64,
    /// Time spent nearly full since the bound was learned, beyond [`HOLD`].
    grown: Duration,
    hold_until: Instant,
    seen: Instant,
    bound: f64,
}

impl Stock {
    pub(crate) fn announce(&mut self, sessions: Option<u32>) {
        self.announced = sessions;
        self.reckoned = None;
    }

    /// It says that so much of what it can take is used, with so many sessions held.
    pub(crate) fn announce_used(&mut self, held: u32, part: f64, now: Instant) {
        self.announced = None;
        self.reckoned = (part >= TELLING).then(|| {
            let most = (CUT * f64::from(held) / part).max(LEAST);
            (most as u32, now + HOLD)
        });
    }

    /// It ended an established session because it holds too many.
    pub(crate) fn on_overfull(&mut self, held: u32, now: Instant) {
        let level = f64::from(held).max(LEAST);
        if self.learned.as_ref().is_some_and(|learned| now < learned.hold_until && level >= USED * learned.bound) {
            // The same event: many sessions are ended at once.
            return;
        }
        let bound = CUT * level;
        self.learned = Some(Learned { level, grown: Duration::ZERO, hold_until: now + HOLD, seen: now, bound });
    }

    /// Lets a learned bound grow; `held` is what the endpoint holds now.
    pub(crate) fn measure(&mut self, held: u32, now: Instant) {
        let Some(learned) = &mut self.learned else { return };
        let since = learned.seen.max(learned.hold_until);
        let spent = now.saturating_duration_since(since);
        learned.seen = learned.seen.max(now);
        if f64::from(held) < USED * learned.bound {
            return;
        }
        learned.grown += spent;
        // K: the time from the cut back to the level.
        let level = learned.level;
        let k = (100.0 * (1.0 - CUT) / STEEPNESS).cbrt();
        let at = learned.grown.as_secs_f64() / 10.0 - k;
        learned.bound = learned.bound.max(level + STEEPNESS * at * at * at * level / 100.0);
        if learned.bound > 4.0 * level {
            self.learned = None;
        }
    }

    /// Until when what was reckoned is believed, which may lie in the past.
    pub(crate) fn reckoned_until(&self) -> Option<Instant> {
        self.reckoned.map(|(_, until)| until)
    }

    /// The bound in force, and where it comes from.
    pub(crate) fn bound(&self, declared: Option<u32>, now: Instant) -> Cap {
        let reckoned = self.reckoned.filter(|&(_, until)| now < until).map(|(most, _)| most);
        match (declared, self.announced.or(reckoned), &self.learned) {
            (Some(declared), ..) => Cap::Declared(declared),
            (_, Some(announced), _) => Cap::Announced(announced),
            (.., Some(learned)) => Cap::Learned(learned.bound as u32),
            (None, None, None) => Cap::Unlimited,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::base;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_operator_counts_first_then_the_endpoint_then_what_it_showed() {
        let (mut stock, now) = (Stock::default(), base());
        assert_eq!(stock.bound(None, now), Cap::Unlimited);
        stock.on_overfull(1000, now);
        assert_eq!(stock.bound(None, now), Cap::Learned(950));
        stock.announce(Some(2000));
        assert_eq!(stock.bound(None, now), Cap::Announced(2000));
        assert_eq!(stock.bound(Some(500), now), Cap::Declared(500));
    }

    #[test]
    fn a_learned_bound_holds_for_a_minute_then_grows_while_it_is_needed() {
        let (mut stock, t0) = (Stock::default(), base());
        stock.on_overfull(1000, t0);
        (900..1000).rev().for_each(|held| stock.on_overfull(held, t0));
        let mut bounds = Vec::new();
        for second in 1..=600 {
            stock.measure(940, t0 + SECOND * second);
            bounds.push(stock.bound(None, t0).limit().unwrap_or(u32::MAX));
        }
        assert!(bounds[..59].iter().all(|&bound| bound == 950), "{bounds:?}");
        assert!(bounds.is_sorted());
        assert!((980..=1010).contains(&bounds[90]), "{}", bounds[90]);
        assert!(bounds[200] > 1100, "{}", bounds[200]);
    }

    #[test]
    fn room_that_nobody_uses_proves_nothing() {
        let (mut stock, t0) = (Stock::default(), base());
        stock.on_overfull(1000, t0);
        (1..1000).for_each(|second| stock.measure(100, t0 + SECOND * second));
        assert_eq!(stock.bound(None, t0), Cap::Learned(950));
    }

    #[test]
    fn full_with_nothing_in_it_is_not_believed() {
        let mut stock = Stock::default();
        stock.on_overfull(0, base());
        assert_eq!(stock.bound(None, base()), Cap::Learned(15));
    }

    #[test]
    fn the_part_that_is_used_tells_for_a_minute_from_seven_tenths_on() {
        let (mut stock, now) = (Stock::default(), base());
        stock.announce_used(100, 0.5, now);
        assert_eq!(stock.bound(None, now), Cap::Unlimited);
        stock.announce_used(800, 0.8, now);
        assert_eq!(stock.bound(None, now), Cap::Announced(950));
        assert_eq!(stock.bound(None, now + HOLD), Cap::Unlimited);
        stock.announce_used(2, 1.0, now);
        assert_eq!(stock.bound(None, now), Cap::Announced(16), "next to nothing proves little");
        stock.announce_used(2, 0.1, now);
        assert_eq!(stock.bound(None, now), Cap::Unlimited);
    }
}
