//! Frames by the second, held against a limit.

use std::time::Instant;

use tidegate_session::Side;
use tidegate_wire::{Limits, Tally, Violation};

/// Two token buckets, each of one second's worth: a burst of that size is no flood. Made when the first frame comes
/// that counts: most sessions never need them.
#[derive(Default)]
pub(crate) struct Meter {
    buckets: Option<Box<[Bucket; 2]>>,
}

struct Bucket {
    rate: f32,
    tokens: f32,
    since: Instant,
}

impl Meter {
    /// What came `from` an end since the last call. Both are held to `control_rate`; only a client to `frame_rate`.
    #[inline]
    pub(crate) fn check(&mut self, tally: &Tally, limits: &Limits, from: Side, now: Instant) -> Result<(), Violation> {
        // A Close is no flood: only one counts.
        let controls = tally.ping + tally.pong;
        let (control_rate, frame_rate) = (limits.control_rate, limits.frame_rate.filter(|_| from == Side::Client));
        if frame_rate.is_none() && (controls == 0 || control_rate.is_none()) {
            return Ok(());
        }
        let [control, data] = &mut **self
            .buckets
            .get_or_insert_with(|| Box::new([control_rate, frame_rate].map(|r| Bucket::new(r, now))));
        if control_rate.is_some() && !control.take(controls.into(), now) {
            return Err(Violation::ControlFlood);
        }
        if frame_rate.is_some() && !data.take(tally.data_frames(), now) {
            return Err(Violation::FrameFlood);
        }
        Ok(())
    }
}

impl Bucket {
    fn new(rate: Option<u32>, now: Instant) -> Self {
        let rate = rate.unwrap_or_default() as f32;
        Self { rate, tokens: rate, since: now }
    }

    fn take(&mut self, frames: u64, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.since).as_secs_f32() * self.rate;
        self.since = now;
        self.tokens = (self.tokens + earned).min(self.rate) - frames as f32;
        self.tokens >= 0.0
    }
}
