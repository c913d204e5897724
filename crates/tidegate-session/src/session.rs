//! The life of one session: what happened goes in, what is to be done comes out.
//!
//! Here is what a session is and what its owner asks of it. What happens to it is in [`events`], how long it waits in
//! [`deadlines`], and how it ends in [`endings`].

mod deadlines;
mod endings;
mod events;
mod outputs;

use std::{sync::Arc, time::Instant};

use crate::{
    Closing, End, Input, Order, Output, Policy, Premature, Record, Refused, Side, Verdict,
    leg::{Leg, State},
    session::outputs::Outputs,
};

/// One session's two legs.
///
/// Calling contract: tell it everything that happens with `handle_*`; after each batch of calls, carry out
/// [`poll_output`](Self::poll_output) until it is empty, and arm a timer for [`poll_timeout`](Self::poll_timeout),
/// which calls [`handle_timeout`](Self::handle_timeout). [`heard`](Self::heard) and [`active`](Self::active) are
/// for the hot path: they only push deadlines back, so no timer needs re-arming after them. When
/// [`is_over`](Self::is_over), take the [`Record`].
#[derive(Debug)]
pub struct Session {
    policy: Arc<Policy>,
    client: Leg,
    upstream: Leg,
    end: Option<End>,
    /// How the closing handshakes go. Boxed: an open session has none.
    closing: Option<Box<Closing>>,
    retry_after: Option<u32>,
    /// The client waits for its Close until then (its input is [`Input::Held`]).
    held: Option<Instant>,
    /// Boxed: most are never given one.
    order: Option<Box<Order>>,
    expires: Option<Instant>,
    last_frame: Instant,
    /// Next ping payload; only ever compared.
    nonce: u64,
    out: Outputs,
    wake: Option<Instant>,
    /// `wake` is out of date.
    stale: bool,
    unclosable: bool,
    /// The process ends.
    hurried: bool,
    both_lost: bool,
    premature: Option<Premature>,
}

impl Session {
    /// A session whose two handshakes have just succeeded. `seed` makes its pings and its jitter its own.
    #[must_use]
    pub fn new(policy: Arc<Policy>, seed: u64, now: Instant) -> Self {
        let expires = policy.max_lifetime.map(|life| {
            // The upper 53 bits make a fraction in [0, 1).
            let fraction = (seed >> 11) as f64 / (1u64 << 53) as f64;
            now + life.mul_f64(1.0 - fraction * policy.max_lifetime_jitter.clamp(0.0, 1.0))
        });
        Self {
            policy,
            client: Leg::new(now),
            upstream: Leg::new(now),
            end: None,
            closing: None,
            retry_after: None,
            held: None,
            order: None,
            expires,
            last_frame: now,
            nonce: seed,
            out: Outputs::default(),
            wake: None,
            stale: true,
            unclosable: false,
            hurried: false,
            both_lost: false,
            premature: None,
        }
    }

    /// A client that was given a 101 only to be told why it gets no upstream.
    #[must_use]
    pub fn refused(policy: Arc<Policy>, why: Refused, retry_after: u32, now: Instant) -> Self {
        let mut session = Self { upstream: Leg::none(now), ..Self::new(policy, 0, now) };
        session.expires = None;
        session.end = Some(End::Refused(why));
        session.retry_after = Some(retry_after);
        session.tell(Side::Client, now);
        session
    }

    /// An upstream whose client was gone before its 101 reached it.
    #[must_use]
    pub fn abandoned(policy: Arc<Policy>, now: Instant) -> Self {
        let mut session = Self { client: Leg::none(now), ..Self::new(policy, 0, now) };
        session.expires = None;
        session.end = Some(End::ClientGone);
        session.tell(Side::Upstream, now);
        session
    }

    // ---- The hot path.

    /// Bytes came from this side.
    #[inline]
    pub fn heard(&mut self, side: Side, now: Instant) {
        let leg = self.leg_mut(side);
        leg.heard = now;
        // The next ping may be due before the answer to this one was.
        self.stale |= leg.pinged.take().is_some();
    }

    /// A frame of an endpoint passed.
    #[inline]
    pub fn active(&mut self, now: Instant) {
        self.last_frame = now;
    }

    /// What becomes of data frames from this side.
    #[inline]
    #[must_use]
    pub fn input(&self, side: Side) -> Input {
        self.leg(side).input
    }

    /// Whether nothing is to follow on this leg but the end of its half: [`Output::Shutdown`] was or will be given out.
    #[inline]
    #[must_use]
    pub fn is_shut(&self, side: Side) -> bool {
        self.leg(side).state == State::Shut
    }

    // ---- What is to be done.

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, unless something else happens first.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        if self.stale {
            self.stale = false;
            self.wake = self.next_deadline();
        }
        self.wake
    }

    /// Why it ends, once it does.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// When the client may come back, where that is known already, in seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        self.retry_after
    }

    /// Nothing is left to do, and no transport to do it with.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.client.state == State::Gone && self.upstream.state == State::Gone && self.out.is_empty()
    }

    /// What is remembered of it. To be asked for once, when it is over.
    #[must_use]
    pub fn take_record(&mut self) -> Record {
        let end = self.end.unwrap_or(End::Internal);
        let verdict = match end {
            _ if self.unclosable => Verdict::Unclosable,
            _ if self.both_lost => Verdict::BothLost,
            End::Closed { .. } if self.client.received().is_none() || self.upstream.received().is_none() => {
                Verdict::Relayed
            }
            end => end.verdict(),
        };
        let closing = self.closing.take().map_or_else(Closing::default, |closing| *closing);
        let (client, upstream) = (self.client.take_record(), self.upstream.take_record());
        Record { end, verdict, premature: self.premature, closing, client, upstream }
    }

    fn leg(&self, side: Side) -> &Leg {
        match side {
            Side::Client => &self.client,
            Side::Upstream => &self.upstream,
        }
    }

    fn leg_mut(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Client => &mut self.client,
            Side::Upstream => &mut self.upstream,
        }
    }
}
