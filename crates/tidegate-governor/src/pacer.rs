//! How long the client legs of one cause are held, so that they do not come back all at once.
//!
//! No close code spreads a herd; only spreading the Closes does. At the first loss the sessions held then are dealt
//! evenly over `spread` (the generic cell rate algorithm with a burst of one): the first at once, the last just before
//! the end. A pace the survivors have shown they can take is used when it is faster: holding longer helps nobody.
//! When as many have gone as were held, the next loss is another cause. So a session that was alone is never held,
//! however often that happens.

use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(crate) struct Pacer {
    burst: Option<Burst>,
}

#[derive(Debug)]
struct Burst {
    end: Instant,
    next: Instant,
    interval: Duration,
    left: u32,
}

impl Pacer {
    /// How long this session's client leg is held. `held`: the sessions there now, this one included. `survivors`: what
    /// the other endpoints can take back, per second.
    pub(crate) fn pace(&mut self, held: u32, survivors: f64, spread: Duration, now: Instant) -> Duration {
        if let Some(burst) = &mut self.burst
            && burst.left > 0
            && now < burst.end
        {
            let release = burst.next.max(now).min(burst.end);
            burst.next = release + burst.interval;
            burst.left -= 1;
            return release.saturating_duration_since(now).min(spread);
        }
        let held = held.max(1);
        let even = spread / held;
        let fast = if survivors > 0.0 { Duration::from_secs_f64((1.0 / survivors).min(1e6)) } else { even };
        let interval = even.min(fast);
        let end = now.checked_add(spread).unwrap_or(now);
        self.burst = Some(Burst { end, next: now.checked_add(interval).unwrap_or(now), interval, left: held - 1 });
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::base;

    const SPREAD: Duration = Duration::from_secs(5);

    fn delays(held: u32, survivors: f64, spread: Duration) -> Vec<u128> {
        let (mut pacer, now) = (Pacer::default(), base());
        (0..held).map(|gone| pacer.pace(held - gone, survivors, spread, now).as_millis()).collect()
    }

    #[test]
    fn a_herd_is_dealt_evenly_and_the_first_goes_at_once() {
        assert_eq!(delays(5, 0.0, SPREAD), [0, 1000, 2000, 3000, 4000]);
        assert!(delays(10_000, 0.0, SPREAD).iter().all(|&ms| ms < 5000));
    }

    #[test]
    fn survivors_that_can_take_all_sooner_set_the_pace() {
        assert_eq!(delays(4, 10.0, SPREAD), [0, 100, 200, 300]);
        assert_eq!(delays(4, 0.1, SPREAD), delays(4, 0.0, SPREAD));
    }

    #[test]
    fn a_lone_session_is_never_held_however_often_it_is_lost() {
        let (mut pacer, now) = (Pacer::default(), base());
        for ms in [0, 1, 2, 4000, 9000] {
            assert_eq!(pacer.pace(1, 0.0, SPREAD, now + Duration::from_millis(ms)), Duration::ZERO);
        }
    }

    #[test]
    fn no_spread_holds_nobody() {
        assert_eq!(delays(100, 0.0, Duration::ZERO), vec![0; 100]);
    }

    #[test]
    fn losses_slower_than_the_pace_are_not_held() {
        let (mut pacer, now) = (Pacer::default(), base());
        for step in 0..20 {
            let delay = pacer.pace(10, 0.0, SPREAD, now + Duration::from_millis(600) * step);
            assert_eq!(delay, Duration::ZERO);
        }
    }
}
