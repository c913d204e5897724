//! When an endpoint that failed, or asked for rest, is tried again.
//!
//! *A refused connection* costs the host one packet, and the usual cause is a restart: so the endpoint rests only
//! 100 ms, then 200, 400, 800: long enough that parked clients do not hammer it, short enough that one that is back
//! is found within the wait of a client (2.5 s). *Five failures on end* trip the circuit: nothing for 1 s doubled with
//! each trip, give or take half so that several proxies do not probe together, then one probe at a time. A timeout or
//! a 5xx has cost the endpoint real work, so those trips grow to 60 s; refused connections stay at 2 s, since a
//! probe every two seconds harms nobody and a minute of needless outage does. *A 5xx alone* rests nothing: otherwise
//! one client with a poisoned request could close an endpoint to all.
//!
//! A thousand handshakes in flight when a host dies are one failure, not a thousand: outcomes of handshakes that began
//! before the last rest began tell nothing new.

use std::time::{Duration, Instant};

use crate::rng::Rng;

/// Failures on end that trip the circuit.
const TRIP_AFTER: u32 = 5;
/// Rest after a first refused connection; doubles with each further one.
const FIRST_REST: Duration = Duration::from_millis(100);
/// First time the circuit stays open; doubles with each trip.
const FIRST_TRIP: Duration = Duration::from_secs(1);
const LONGEST_TRIP: Duration = Duration::from_secs(60);
const LONGEST_CONNECT_TRIP: Duration = Duration::from_secs(2);
/// What a bare 503 asks for: less than a client's wait, so that the wait is of use.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);
/// `Retry-After: 0` would have the same client dial in a loop.
const SHORTEST_RETRY_AFTER: Duration = Duration::from_millis(100);
/// Obedience ends here: a mistyped header must not close an endpoint for a day.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(crate) struct Breaker {
    rest: Option<(Instant, Cause)>,
    failures: u32,
    trips: u32,
    /// One handshake at a time, until one is answered.
    probation: bool,
    probe: Option<u64>,
    /// Permits below this serial began before the last rest.
    mark: u64,
}

/// Why an endpoint rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Failure,
    Overload,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Connect,
    Other,
}

impl Breaker {
    /// Why no handshake may begin now, if so.
    pub(crate) fn closed(&self, now: Instant) -> Option<Cause> {
        match self.rest {
            Some((until, cause)) if until > now => Some(cause),
            _ if self.probe.is_some() => Some(Cause::Failure),
            _ => None,
        }
    }

    /// The end of the rest, which may lie in the past.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.rest.map(|(until, _)| until)
    }

    /// Whether the handshake of this permit began after the last rest did.
    pub(crate) fn is_news(&self, serial: u64) -> bool {
        serial >= self.mark
    }

    pub(crate) fn on_dial(&mut self, serial: u64) {
        if self.probation {
            self.probe = Some(serial);
        }
    }

    pub(crate) fn on_release(&mut self, serial: u64) {
        if self.probe == Some(serial) {
            self.probe = None;
        }
    }

    /// It answered: it lives. What was left of a trip shrinks to the shortest rest, never to nothing, so that no
    /// client circles between a failure and somebody else's success.
    pub(crate) fn on_answer(&mut self, now: Instant) {
        self.failures = 0;
        self.trips = 0;
        self.probation = false;
        self.probe = None;
        if let Some((until, Cause::Failure)) = &mut self.rest {
            *until = (*until).min(now + FIRST_REST);
        }
    }

    /// Whether a rest begins. `next` is the serial of the next permit to be issued.
    pub(crate) fn on_failure(&mut self, fault: Fault, serial: u64, next: u64, now: Instant, rng: &mut Rng) -> bool {
        if !self.is_news(serial) {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        let rest = if self.failures >= TRIP_AFTER || self.probation {
            let longest = if fault == Fault::Connect { LONGEST_CONNECT_TRIP } else { LONGEST_TRIP };
            let span = FIRST_TRIP.saturating_mul(1 << self.trips.min(6)).min(longest);
            self.trips = self.trips.saturating_add(1);
            self.probation = true;
            self.probe = None;
            rng.scale(span, 0.5, 1.5).min(longest)
        } else if fault == Fault::Connect {
            FIRST_REST * (1 << (self.failures - 1))
        } else {
            return false;
        };
        self.rest_until(now + rest, Cause::Failure);
        self.mark = next;
        true
    }

    pub(crate) fn on_overload(&mut self, asked: Option<Duration>, next: u64, now: Instant, rng: &mut Rng) {
        self.on_answer(now);
        let span = asked.unwrap_or(DEFAULT_RETRY_AFTER).clamp(SHORTEST_RETRY_AFTER, LONGEST_RETRY_AFTER);
        let until = now + rng.scale(span, 0.9, 1.1);
        self.rest_until(until, Cause::Overload);
        self.mark = next;
    }

    fn rest_until(&mut self, until: Instant, cause: Cause) {
        if self.rest.is_none_or(|(old, _)| old < until) {
            self.rest = Some((until, cause));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::base;

    /// Fails one dial after another, each begun when the rest before it has run out; returns the rests in ms.
    fn rests(fault: Fault, times: u64) -> Vec<u128> {
        let (mut breaker, mut rng, mut now) = (Breaker::default(), Rng::new(1), base());
        (0..times)
            .map(|serial| {
                breaker.on_dial(serial);
                breaker.on_failure(fault, serial, serial + 1, now, &mut rng);
                breaker.on_release(serial);
                let until = breaker.until().unwrap_or(now).max(now);
                let rest = until - now;
                assert_eq!(breaker.closed(now).is_some(), !rest.is_zero());
                now = until;
                rest.as_millis()
            })
            .collect()
    }

    #[test]
    fn refused_connections_rest_briefly_and_never_longer_than_two_seconds() {
        let rests = rests(Fault::Connect, 20);
        assert_eq!(rests[..4], [100, 200, 400, 800]);
        assert!(rests[4..].iter().all(|&ms| (500..=2000).contains(&ms)), "{rests:?}");
    }

    #[test]
    fn timeouts_rest_nothing_until_the_fifth_and_then_up_to_a_minute() {
        let rests = rests(Fault::Other, 20);
        assert_eq!(rests[..4], [0; 4]);
        assert!((500..=1500).contains(&rests[4]), "{rests:?}");
        assert!(rests[12..].iter().all(|&ms| (30_000..=60_000).contains(&ms)), "{rests:?}");
    }

    #[test]
    fn a_thousand_handshakes_in_flight_when_the_host_dies_are_one_failure() {
        let (mut breaker, mut rng, now) = (Breaker::default(), Rng::new(1), base());
        let began = (0..1000).filter(|&s| breaker.on_failure(Fault::Connect, s, 1000, now, &mut rng)).count();
        assert_eq!((began, breaker.until()), (1, Some(now + FIRST_REST)));
    }

    #[test]
    fn after_a_trip_one_probe_at_a_time_until_one_is_answered() {
        let (mut breaker, mut rng, mut now) = (Breaker::default(), Rng::new(1), base());
        for serial in 0..5 {
            breaker.on_failure(Fault::Other, serial, serial + 1, now, &mut rng);
        }
        now += Duration::from_secs(2);
        assert_eq!(breaker.closed(now), None);
        breaker.on_dial(5);
        assert_eq!(breaker.closed(now), Some(Cause::Failure));
        breaker.on_release(5);
        assert_eq!(breaker.closed(now), None, "a probe whose client left makes room for the next");
        breaker.on_dial(6);
        breaker.on_answer(now);
        assert_eq!(breaker.closed(now), None);
    }

    #[test]
    fn retry_after_is_obeyed_within_a_tenth_and_within_its_bounds() {
        for (asked, low, high) in [(None, 900, 1100), (Some(0), 90, 110), (Some(20), 18_000, 22_000)]
            .into_iter()
            .chain([(Some(9999), 270_000, 330_000)])
        {
            let (mut breaker, mut rng, now) = (Breaker::default(), Rng::new(3), base());
            breaker.on_overload(asked.map(Duration::from_secs), 1, now, &mut rng);
            breaker.on_answer(now);
            let rest = (breaker.until().unwrap() - now).as_millis();
            assert!((low..=high).contains(&rest), "{asked:?}: {rest} ms");
            assert_eq!(breaker.closed(now), Some(Cause::Overload), "a success elsewhere does not lift it");
        }
    }
}
