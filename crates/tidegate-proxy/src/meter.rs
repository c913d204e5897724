//! Frames by the second, held against a limit.

use std::time::Instant;

use tidegate_wire::{Limits, Sender, Tally, Violation};

/// Two token buckets, each of one second's worth: a burst of that size is no flood.
pub(crate) struct Meter {
    control: Option<Bucket>,
    data: Option<Bucket>,
}

struct Bucket {
    rate: f32,
    tokens: f32,
    since: Option<Instant>,
}

impl Meter {
    /// Both ends are held to `control_rate`; only a client to `frame_rate`.
    pub(crate) fn new(limits: &Limits, sender: Sender) -> Self {
        let frame_rate = limits.frame_rate.filter(|_| sender == Sender::Client);
        Self { control: limits.control_rate.map(Bucket::new), data: frame_rate.map(Bucket::new) }
    }

    #[inline]
    pub(crate) fn check(&mut self, tally: &Tally, now: Instant) -> Result<(), Violation> {
        // A Close is no flood: only one counts.
        let controls = tally.ping + tally.pong;
        if controls > 0 && self.control.as_mut().is_some_and(|bucket| !bucket.take(controls, now)) {
            return Err(Violation::ControlFlood);
        }
        if self.data.as_mut().is_some_and(|bucket| !bucket.take(tally.data_frames(), now)) {
            return Err(Violation::FrameFlood);
        }
        Ok(())
    }
}

impl Bucket {
    fn new(rate: u32) -> Self {
        Self { rate: rate as f32, tokens: rate as f32, since: None }
    }

    fn take(&mut self, frames: u64, now: Instant) -> bool {
        if let Some(since) = self.since.replace(now) {
            let earned = now.saturating_duration_since(since).as_secs_f32() * self.rate;
            self.tokens = (self.tokens + earned).min(self.rate);
        }
        self.tokens -= frames as f32;
        self.tokens >= 0.0
    }
}
