//! How many sessions one endpoint may hold, and who says so.
//!
//! The operator's word counts first, then what the endpoint announces itself, then what it has shown. It has shown it
//! only by one sign: closing *established* sessions with 1013. Neither a 503 to a handshake nor a crash tells: the
//! one may be about handshakes, or a lie; the other is mostly a deployment, which ends the same number of sessions each
//! time. Taken for a limit, either would keep clients out of an endpoint that has room.
//!
//! Nor does one 1013 tell: applications say it to a client that is too fast or too slow, and proxies in between when
//! there are too many handshakes. It must be said within [`WINDOW`] to clients of [`WITNESSES`] addresses, for else one
//! of them could keep all others out; to a hundredth of those held, and to half as many as came in meanwhile, for where
//! most of them stay there is room; and still after [`SETTLED`], with no more held than at first: where the number goes
//! on growing it is not the number.
//!
//! At that sign the bound is 0.95 of what is held. It stays for a minute, then grows as CUBIC does: quickly back
//! towards the level, slowly past it, and only while the endpoint is nearly full, since room that nobody uses proves
//! nothing. Nobody is ever put out to reach a lower bound.

use std::time::{Duration, Instant};

use crate::Cap;

/// Of what was held when the endpoint said it was full.
const CUT: f64 = 0.95;
const HOLD: Duration = Duration::from_secs(60);
const WINDOW: Duration = Duration::from_secs(30);
const SETTLED: Duration = Duration::from_secs(5);
/// Different addresses.
const WITNESSES: usize = 3;
/// Part of the sessions held that must be ended, and of those established meanwhile.
const SIGNIFICANT: f64 = 0.01;
const MOST_OF_THE_NEW: f64 = 0.5;
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
    suspicion: Option<Suspicion>,
    learned: Option<Learned>,
}

/// Sessions that were ended for what may be their number.
#[derive(Debug)]
struct Suspicion {
    since: Instant,
    /// What was held then.
    level: f64,
    witnesses: [Option<u64>; WITNESSES],
    ended: u32,
    established: u32,
}

#[derive(Debug)]
struct Learned {
    level: f64,
    /// Permits issued before it was learned.
    serial: u64,
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

    /// It took a session.
    pub(crate) fn on_established(&mut self) {
        if let Some(suspicion) = &mut self.suspicion {
            suspicion.established = suspicion.established.saturating_add(1);
        }
    }

    /// It ended an established session with 1013, that of the permit `serial` and of a client of this address. `next`
    /// is the serial of the next permit to be issued.
    pub(crate) fn on_overfull(&mut self, address: u64, held: u32, serial: u64, next: u64, now: Instant) {
        let level = f64::from(held).max(LEAST);
        let is_known = |learned: &Learned| {
            // The same event: many sessions are ended at once.
            now < learned.hold_until && serial < learned.serial && level >= USED * learned.bound
        };
        if self.learned.as_ref().is_some_and(is_known) {
            return;
        }
        let suspicion = self.suspicion.take().filter(|it| it.age(now) <= WINDOW && CUT * level <= it.level);
        let mut suspicion = suspicion.unwrap_or_else(|| Suspicion::new(level, now));
        suspicion.add(address);
        if !suspicion.is_proof(held, now) {
            self.suspicion = Some(suspicion);
            return;
        }
        let Suspicion { level, .. } = suspicion;
        let (bound, grown) = (CUT * level, Duration::ZERO);
        self.learned = Some(Learned { level, serial: next, grown, hold_until: now + HOLD, seen: now, bound });
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

impl Suspicion {
    fn new(level: f64, now: Instant) -> Self {
        Self { since: now, level, witnesses: [None; WITNESSES], ended: 0, established: 0 }
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    fn add(&mut self, address: u64) {
        self.ended = self.ended.saturating_add(1);
        if !self.witnesses.contains(&Some(address))
            && let Some(free) = self.witnesses.iter_mut().find(|witness| witness.is_none())
        {
            *free = Some(address);
        }
    }

    fn is_proof(&self, held: u32, now: Instant) -> bool {
        let ended = f64::from(self.ended);
        self.age(now) >= SETTLED
            && self.witnesses.iter().all(Option::is_some)
            && ended >= SIGNIFICANT * f64::from(held)
            && ended >= MOST_OF_THE_NEW * f64::from(self.established)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::base;

    const SECOND: Duration = Duration::from_secs(1);

    /// It has said so to enough different clients for long enough.
    fn overfull(stock: &mut Stock, held: u32, now: Instant) {
        (0..2 + held / 50).for_each(|n| stock.on_overfull(n.into(), held, 0, 1, now - SETTLED));
        stock.on_overfull(WITNESSES as u64, held, 0, 1, now);
    }

    #[test]
    fn the_operator_counts_first_then_the_endpoint_then_what_it_showed() {
        let (mut stock, now) = (Stock::default(), base());
        assert_eq!(stock.bound(None, now), Cap::Unlimited);
        overfull(&mut stock, 1000, now);
        assert_eq!(stock.bound(None, now), Cap::Learned(950));
        stock.announce(Some(2000));
        assert_eq!(stock.bound(None, now), Cap::Announced(2000));
        assert_eq!(stock.bound(Some(500), now), Cap::Declared(500));
    }

    #[test]
    fn a_learned_bound_holds_for_a_minute_then_grows_while_it_is_needed() {
        let (mut stock, t0) = (Stock::default(), base());
        overfull(&mut stock, 1000, t0);
        (900..1000).rev().for_each(|held| stock.on_overfull(held.into(), held, 0, 1, t0));
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
        overfull(&mut stock, 1000, t0);
        (1..1000).for_each(|second| stock.measure(100, t0 + SECOND * second));
        assert_eq!(stock.bound(None, t0), Cap::Learned(950));
    }

    #[test]
    fn full_with_nothing_in_it_is_not_believed() {
        let mut stock = Stock::default();
        overfull(&mut stock, 0, base());
        assert_eq!(stock.bound(None, base()), Cap::Learned(15));
    }

    #[test]
    fn what_an_application_says_to_some_of_its_clients_proves_nothing() {
        let learns = |held: u32, ended: u32, addresses: u32, established: u32, apart: Duration| {
            let (mut stock, t0) = (Stock::default(), base());
            for n in 0..ended {
                let now = t0 + apart * n;
                stock.on_overfull((n % addresses).into(), held, n.into(), ended.into(), now);
                (0..established / ended).for_each(|_| stock.on_established());
                if stock.learned.is_some() {
                    return true;
                }
            }
            false
        };
        assert!(learns(100, 3, 3, 3, 3 * SECOND));
        assert!(!learns(100, 2, 2, 2, 5 * SECOND));
        assert!(!learns(100, 1000, 2, 1000, SECOND / 100), "two clients that come again and again");
        assert!(!learns(1000, 9, 9, 9, SECOND), "of a thousand");
        assert!(learns(1000, 10, 9, 10, SECOND));
        assert!(!learns(100, 3000, 30, 9000, SECOND / 100), "two of three stay");
        assert!(!learns(100, 30, 30, 30, SECOND / 10), "for a moment");
        assert!(!learns(100, 30, 30, 30, 16 * SECOND), "now and then");
    }

    #[test]
    fn where_the_number_grows_all_the_same_it_is_not_the_number() {
        let (mut stock, t0) = (Stock::default(), base());
        // As a proxy in between does while a herd comes back.
        for n in 0..1000_u32 {
            stock.on_overfull(n.into(), 100 + n, n.into(), 2000, t0 + SECOND / 50 * n);
        }
        assert_eq!(stock.bound(None, t0), Cap::Unlimited);
    }

    #[test]
    fn who_was_let_in_under_a_learned_bound_and_is_ended_shows_that_it_is_too_high() {
        let (mut stock, now) = (Stock::default(), base());
        overfull(&mut stock, 125, now);
        assert_eq!(stock.bound(None, now), Cap::Learned(118));
        (0..30).for_each(|n| stock.on_overfull(n, 122, 0, 125, now + SECOND * n as u32));
        assert_eq!(stock.bound(None, now), Cap::Learned(118), "the same event");
        (0..10).for_each(|n| stock.on_overfull(n, 101, 125 + n, 140, now + SECOND * n as u32));
        assert_eq!(stock.bound(None, now), Cap::Learned(95));
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
