//! How long the client legs of one cause are held, so that they do not come back all at once.
//!
//! No close code spreads a herd; only spreading the Closes does. At the first loss the sessions held then are dealt
//! evenly over `spread` (the generic cell rate algorithm with a burst of one): the first at once, the last just before
//! the end. Where the survivors have shown that they can take them all back before long, they are held for a part of
//! that time only: clients bring a few seconds of spread of their own and the queue takes in the rest, so holding
//! them longer would only be added to the time they are away.
//! When as many have gone as were held, the next loss is another cause. So a session that was alone is never held,
//! however often that happens.

use std::time::{Duration, Instant};

/// Times `spread` that are not long: the queue holds clients for some seconds too, and what
/// survivors have shown in quiet times is less than they can.
const SOON: f64 = 5.0;
/// Part of the time it takes to take them back.
const BRIEF: f64 = 0.15;

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
        let taken_back = f64::from(held) / survivors;
        let soon = survivors > 0.0 && taken_back <= SOON * spread.as_secs_f64();
        let interval = if soon { even.min(Duration::from_secs_f64(BRIEF / survivors)) } else { even };
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
    fn survivors_that_can_take_all_back_are_not_spared() {
        assert_eq!(delays(4, 1.0, SPREAD), [0, 150, 300, 450]);
        assert_eq!(delays(4, 0.1, SPREAD), delays(4, 0.0, SPREAD), "too slow to matter");
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
