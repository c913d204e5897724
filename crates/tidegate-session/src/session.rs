//! The life of one session: what happened goes in, what is to be done comes out.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_wire::{CloseCode, CloseFrame, Control, Opcode, Violation};

pub use crate::leg::Input;
use crate::{
    End, LegEnd, Loss, Policy, Premature, Record, Refused, Side, Silence, Told, Verdict, Words,
    leg::{Leg, State},
};

/// How long an upstream may take to end TCP first, as a server should (RFC 6455 section 7.1.1).
const FIN_WAIT: Duration = Duration::from_secs(2);
/// How long a leg that is half-closed is still read, so that no reset overtakes the Close on its way.
const LINGER: Duration = Duration::from_secs(2);
/// How long a Close waits for a leg that takes no bytes, or for the end of one that failed a write.
const GRACE: Duration = Duration::from_secs(1);
/// How long anything is waited for once the process ends.
const HURRY: Duration = Duration::from_millis(150);

/// What becomes of a control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It goes to the other leg, as it came.
    Relay,
    /// It was meant for tidegate, or for nobody any more; or another takes its place ([`Output::Echo`]).
    Consume,
    /// tidegate answers this ping itself.
    Answer,
}

/// How a transport is let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// Closed: what was written still arrives.
    Close,
    /// Reset: the peer takes nothing any more, and the kernel must not hold on to it.
    Reset,
}

/// What the owner of the sockets is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Put this Close of tidegate's own on a leg, behind what is on its way, and say so with
    /// [`Session::note_sent`].
    Say(Side, Words),
    /// Put this Close on a leg, as [`Output::Say`].
    Echo(Side, CloseFrame),
    /// Ping a leg with this payload.
    Ping(Side, [u8; 8]),
    /// The upstream is lost: ask how long the client is held, and call [`Session::handle_hold`].
    Pace,
    /// Half-close a leg when everything on its way to it is written; go on reading it.
    Shutdown(Side),
    /// Let go of a leg, now.
    Drop(Side, Parting),
}

/// How long a client whose upstream is lost waits for its Close, so that a herd never forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// How long; zero: not at all.
    pub delay: Duration,
    /// When it may come back, seconds.
    pub retry_after: u32,
}

/// tidegate wants this session over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Why.
    pub end: End,
    /// When.
    pub at: Instant,
    /// When the client may come back, seconds; `None` where it is asked at the moment.
    pub retry_after: Option<u32>,
}

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
    retry_after: Option<u32>,
    /// The client waits for its Close until then (its input is [`Input::Held`]).
    held: Option<Instant>,
    order: Option<Order>,
    expires: Option<Instant>,
    last_frame: Instant,
    /// Next ping payload; only ever compared.
    nonce: u64,
    out: VecDeque<Output>,
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
            retry_after: None,
            held: None,
            order: None,
            expires,
            last_frame: now,
            nonce: seed,
            out: VecDeque::new(),
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

    // ---- What happened.

    /// A data frame came that goes nowhere ([`Input::Held`] or [`Input::Await`]).
    pub fn handle_stray_data(&mut self, side: Side, now: Instant) {
        if self.leg(side).input == Input::Held {
            // The client speaks: whatever it waits for, it must know now that nobody listens.
            self.release(now);
        }
    }

    /// A ping or pong came.
    pub fn handle_control(&mut self, side: Side, frame: &Control, now: Instant) -> Pass {
        if frame.opcode == Opcode::Pong && frame.payload() == self.nonce.to_be_bytes() {
            return Pass::Consume;
        }
        self.active(now);
        match (self.leg(side).input, frame.opcode) {
            (Input::Relay, _) if self.leg(side.other()).state == State::Open => Pass::Relay,
            // A leg that was told Close hears no more; one that was not is answered on the other's behalf.
            (Input::Relay | Input::Held | Input::Await, Opcode::Ping) if self.leg(side).state == State::Open => {
                Pass::Answer
            }
            _ => Pass::Consume,
        }
    }

    /// A valid Close came.
    pub fn handle_close(&mut self, side: Side, frame: CloseFrame, now: Instant) -> Pass {
        self.active(now);
        self.stale = true;
        let (close_timeout, end) = (self.policy.close_timeout, self.end);
        let leg = self.leg_mut(side);
        if leg.received.is_some() {
            return Pass::Consume;
        }
        leg.input = Input::Discard;
        leg.received = Some(Box::new(frame.clone()));
        match (leg.state, end) {
            (State::Open, None) => {
                leg.state = State::Asking;
                self.end = Some(End::Closed { by: side });
                let rewritten = if side == Side::Upstream { self.policy.rewritten(&frame) } else { None };
                let other = self.leg_mut(side.other());
                other.state = State::Told;
                if !other.broken {
                    other.deadline = Some(now + close_timeout);
                }
                if rewritten.is_none() {
                    other.sent = Some(Box::new(frame));
                }
                self.ping_no_more(side.other());
                let Some(rewritten) = rewritten else { return Pass::Relay };
                self.out.push_back(Output::Echo(side.other(), rewritten));
                Pass::Consume
            }
            (State::Open, Some(_)) => {
                leg.state = State::Asking;
                if side == Side::Client && self.held.is_some() {
                    self.release(now);
                } else {
                    self.tell(side, now);
                }
                Pass::Consume
            }
            (State::Told, Some(End::Closed { by })) if by == side.other() => {
                leg.state = State::Closed;
                self.finish(side, now);
                let other = self.leg_mut(by);
                if other.state != State::Asking {
                    return Pass::Consume;
                }
                other.state = State::Closed;
                other.sent = Some(Box::new(frame));
                self.ping_no_more(by);
                self.finish(by, now);
                Pass::Relay
            }
            (State::Told, _) => {
                leg.state = State::Closed;
                self.finish(side, now);
                self.detach(side, now);
                Pass::Consume
            }
            _ => Pass::Consume,
        }
    }

    /// This side broke a rule; nothing of what follows can be understood.
    pub fn handle_violation(&mut self, by: Side, what: Violation, now: Instant) {
        self.stale = true;
        if self.end.is_none() {
            self.end = Some(End::Violation { by, what });
            self.tell(by, now);
            // RFC 6455 section 7.1.7: fail the connection. An answer could not be told from more of the same.
            self.shut(by, now);
            self.tell(by.other(), now);
            return;
        }
        if self.leg(by).input != Input::Ended {
            self.leg_mut(by).input = Input::Discard;
        }
        match self.leg(by).state {
            State::Told => self.unanswered(by, Silence::NoClose, now),
            State::Open if by == Side::Client && self.held.is_some() => self.release(now),
            State::Open => self.tell(by, now),
            _ => {}
        }
    }

    /// Nothing more comes from this side, and everything that came before was handled.
    pub fn handle_eof(&mut self, side: Side, how: Loss, now: Instant) {
        self.stale = true;
        let told_in_vain = self.is_told_in_vain(side);
        let leg = self.leg_mut(side);
        leg.input = Input::Ended;
        leg.lost(how);
        match leg.state {
            State::Open => {
                self.part(side, Parting::Close);
                self.lost(side, how, now);
            }
            State::Told if told_in_vain => {
                self.both_lost = true;
                self.leg_mut(side).end = LegEnd::Lost;
                self.out.retain(|output| !matches!(output, Output::Say(to, _) if *to == side));
                self.part(side, Parting::Close);
            }
            State::Told => self.unanswered(side, silence(how), now),
            State::Asking if how == Loss::Reset => self.part(side, Parting::Close),
            State::Asking | State::Shut | State::Gone => {}
            State::Closed => self.shut(side, now),
        }
    }

    /// A write to this side failed. What it had sent may still be read; its end is seen there, or soon assumed.
    pub fn handle_write_error(&mut self, side: Side, now: Instant) {
        self.stale = true;
        let leg = self.leg_mut(side);
        leg.broken = true;
        leg.blocked = None;
        match (leg.state, leg.input) {
            (State::Open | State::Told, _) => leg.deadline = Some(now + GRACE),
            (State::Asking, Input::Ended) => {
                leg.end = LegEnd::Reset;
                self.part(side, Parting::Close);
            }
            (State::Asking, _) => leg.deadline = Some(now + GRACE),
            (State::Closed | State::Shut, _) => self.part(side, Parting::Close),
            (State::Gone, _) => {}
        }
    }

    /// This side takes no bytes, though some wait for it.
    pub fn handle_blocked(&mut self, side: Side, now: Instant) {
        let leg = self.leg_mut(side);
        if leg.blocked.is_none() {
            leg.blocked = Some(now);
            self.stale = true;
        }
    }

    /// This side took bytes; `more` wait for it.
    pub fn handle_progress(&mut self, side: Side, more: bool, now: Instant) {
        let leg = self.leg_mut(side);
        if leg.blocked.is_some() {
            leg.blocked = more.then_some(now);
            self.stale = true;
            // Who takes bytes lives. And while it took none, the other was not read: that was no silence of its.
            for leg in [&mut self.client, &mut self.upstream] {
                leg.heard = now;
                leg.pinged = leg.pinged.map(|_| now);
            }
        }
    }

    /// Both halves of this side's transport are over.
    pub fn handle_gone(&mut self, side: Side) {
        self.stale = true;
        self.leg_mut(side).state = State::Gone;
        self.leg_mut(side).input = Input::Ended;
        self.leg_mut(side).deadline = None;
    }

    /// The answer to [`Output::Pace`].
    pub fn handle_hold(&mut self, hold: Hold, now: Instant) {
        if self.held.is_none() {
            return;
        }
        self.stale = true;
        self.retry_after = Some(hold.retry_after);
        if hold.delay.is_zero() {
            self.release(now);
        } else {
            self.held = Some(now + hold.delay);
        }
    }

    /// tidegate wants it over, now or later. The first order counts.
    pub fn handle_order(&mut self, order: Order, now: Instant) {
        self.stale = true;
        let sooner = self.order.is_none_or(|planned| order.at < planned.at);
        if sooner {
            self.order = Some(order);
        }
        self.follow_order(now);
    }

    /// The upstream's Close, just handled, came at a moment at which nothing can be finished. Only a 1000 claims that
    /// it is.
    pub fn note_premature(&mut self, what: Premature) {
        let claims_success = |close: &CloseFrame| close.code() == Some(CloseCode::NORMAL);
        if self.end == Some(End::Closed { by: Side::Upstream })
            && self.upstream.received.as_deref().is_some_and(claims_success)
        {
            self.premature.get_or_insert(what);
        }
    }

    /// The process ends: nothing is waited for any more. A side that was told and has not answered counts as silent,
    /// so that the other is still told.
    pub fn handle_hurry(&mut self, now: Instant) {
        for side in Side::BOTH {
            let leg = self.leg_mut(side);
            match leg.state {
                State::Told => leg.deadline = Some(now),
                State::Closed | State::Shut => leg.deadline = leg.deadline.map(|at| at.min(now + HURRY)),
                State::Open | State::Asking | State::Gone => {}
            }
        }
        self.hurried = true;
        self.held = self.held.map(|_| now);
        self.handle_timeout(now);
    }

    /// How long something may be waited for.
    fn patience(&self, usual: Duration) -> Duration {
        if self.hurried { usual.min(HURRY) } else { usual }
    }

    /// A Close of [`Output::Say`] or [`Output::Echo`] was put on its leg.
    pub fn note_sent(&mut self, side: Side, frame: CloseFrame) {
        self.leg_mut(side).sent = Some(Box::new(frame));
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

    /// What is remembered of it.
    #[must_use]
    pub fn into_record(self) -> Record {
        let end = self.end.unwrap_or(End::Internal);
        let verdict = match end {
            _ if self.unclosable => Verdict::Unclosable,
            _ if self.both_lost => Verdict::BothLost,
            End::Closed { .. } if self.client.received.is_some() && self.upstream.received.is_some() => Verdict::Agreed,
            End::Closed { .. } | End::Unanswered { .. } => Verdict::Relayed,
            End::Lost { side: Side::Client, .. } | End::ClientGone => Verdict::ClientLost,
            End::Lost { side: Side::Upstream, .. } => Verdict::UpstreamLost,
            _ => Verdict::Enforced,
        };
        let (client, upstream) = (self.client.into_record(), self.upstream.into_record());
        Record { end, verdict, premature: self.premature, client, upstream }
    }

    // ---- Deadlines.

    /// Whatever is due is done.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.stale = true;
        for side in Side::BOTH {
            if self.leg(side).deadline.is_some_and(|at| at <= now) {
                self.leg_mut(side).deadline = None;
                self.leg_is_late(side, now);
            }
        }
        if self.held.is_some_and(|until| until <= now) {
            self.release(now);
        }
        self.follow_order(now);
        if self.end.is_some() {
            return;
        }
        if self.expires.is_some_and(|at| at <= now) {
            self.enforce(End::MaxAge, None, now);
        } else if self.idle_at().is_some_and(|at| at <= now) {
            self.enforce(End::Idle, None, now);
        }
        for side in Side::BOTH {
            if self.stalled_at(side).is_some_and(|at| at <= now) {
                self.stall(side, now);
            } else if self.silent_at(side).is_some_and(|at| at <= now) {
                self.keep_alive(side, now);
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let due = [self.client.deadline, self.upstream.deadline, self.held];
        let due = due.into_iter().flatten();
        let order = self.order.map(|order| order.at);
        if self.end.is_some() {
            return due.chain(order.filter(|_| self.held.is_some())).min();
        }
        let living = [order, self.expires, self.idle_at()].into_iter().flatten();
        let legs = Side::BOTH.into_iter().flat_map(|side| [self.stalled_at(side), self.silent_at(side)]).flatten();
        due.chain(living).chain(legs).min()
    }

    fn idle_at(&self) -> Option<Instant> {
        self.policy.idle_timeout.map(|idle| self.last_frame + idle)
    }

    fn stalled_at(&self, side: Side) -> Option<Instant> {
        self.leg(side).blocked.map(|since| since + self.policy.write_timeout)
    }

    /// When a silent leg is to be pinged, or given up.
    fn silent_at(&self, side: Side) -> Option<Instant> {
        let interval = self.policy.keepalive_interval?;
        let leg = self.leg(side);
        if leg.input == Input::Ended || self.leg(side.other()).blocked.is_some() {
            return None;
        }
        Some(match leg.pinged {
            Some(at) => at + self.policy.keepalive_timeout,
            None => leg.heard + interval,
        })
    }

    fn keep_alive(&mut self, side: Side, now: Instant) {
        if self.end.is_some() {
            return;
        }
        if self.leg(side).pinged.is_some() {
            self.leg_mut(side).lost(Loss::PingTimeout);
            self.end = Some(End::Lost { side, how: Loss::PingTimeout });
            self.tell(side, now);
            self.leg_mut(side).deadline = Some(now + LINGER);
            self.leave_other(side, now);
            return;
        }
        self.leg_mut(side).pinged = Some(now);
        let payload = self.nonce.to_be_bytes();
        self.out.push_back(Output::Ping(side, payload));
    }

    fn leg_is_late(&mut self, side: Side, now: Instant) {
        let leg = self.leg(side);
        match leg.state {
            State::Open | State::Told if leg.broken => self.handle_eof(side, Loss::Reset, now),
            State::Asking if leg.broken => {
                self.leg_mut(side).end = LegEnd::Reset;
                self.part(side, Parting::Close);
            }
            State::Told => {
                if leg.blocked.is_some() {
                    self.cut(side);
                }
                self.unanswered(side, Silence::Silent, now);
            }
            State::Closed => {
                self.leg_mut(side).end = LegEnd::NoFin;
                self.shut(side, now);
            }
            State::Shut => match leg.blocked {
                Some(_) => self.cut(side),
                None => {
                    if leg.end == LegEnd::Clean {
                        self.leg_mut(side).end = LegEnd::NoFin;
                    }
                    self.part(side, Parting::Close);
                }
            },
            State::Open | State::Asking | State::Gone => {}
        }
    }

    // ---- Endings.

    fn follow_order(&mut self, now: Instant) {
        if let Some(order) = self.order.take_if(|order| order.at <= now) {
            // A client that waits for its Close need not wait longer than tidegate has.
            self.release(now);
            self.enforce(order.end, order.retry_after, now);
        }
    }

    /// tidegate ends it, unless something else has already.
    fn enforce(&mut self, end: End, retry_after: Option<u32>, now: Instant) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(end);
        self.retry_after = retry_after;
        self.tell(Side::Client, now);
        if end.is_orderly() {
            // Close contract R10: client first; what it has sent by then is still delivered.
            self.client.input = Input::Relay;
        } else {
            self.tell(Side::Upstream, now);
        }
    }

    fn stall(&mut self, side: Side, now: Instant) {
        self.enforce(End::Stalled { side }, None, now);
        let leg = self.leg_mut(side);
        leg.end = LegEnd::Stalled;
        leg.deadline = Some(now + GRACE);
    }

    fn lost(&mut self, side: Side, how: Loss, now: Instant) {
        match self.end {
            None => {
                self.end = Some(End::Lost { side, how });
                self.leave_other(side, now);
            }
            Some(_) if self.held.take().is_some() => self.both_lost = true,
            Some(_) => self.detach(side, now),
        }
    }

    /// The other end of a lost one is told: an upstream at once, a client when its turn comes.
    fn leave_other(&mut self, lost: Side, now: Instant) {
        if lost == Side::Client {
            self.tell(Side::Upstream, now);
            return;
        }
        if self.client.can_be_told() {
            self.client.input = Input::Held;
            self.held = Some(now);
            self.out.push_back(Output::Pace);
        }
    }

    /// A held client is held no longer.
    fn release(&mut self, now: Instant) {
        if self.held.take().is_some() {
            self.stale = true;
            self.tell(Side::Client, now);
        }
    }

    /// Where the client had to be told first and is done, it is the upstream's turn.
    fn detach(&mut self, done: Side, now: Instant) {
        if done == Side::Client && self.upstream.state == State::Open {
            self.tell(Side::Upstream, now);
        }
    }

    /// Both sides vanished at once: a Close for this one, on account of the other's loss, has not yet been put on it.
    fn is_told_in_vain(&self, side: Side) -> bool {
        matches!(self.end, Some(End::Lost { side: lost, .. }) if lost != side) && self.leg(side).sent.is_none()
    }

    /// This side was told Close and will not answer.
    fn unanswered(&mut self, side: Side, how: Silence, now: Instant) {
        if self.leg(side).end == LegEnd::Clean {
            self.leg_mut(side).end = LegEnd::NoReply;
        }
        self.shut(side, now);
        match self.end {
            Some(End::Closed { by }) if by == side.other() => {
                self.end = Some(End::Unanswered { by, how });
                self.tell(by, now);
            }
            _ => self.detach(side, now),
        }
    }

    /// Puts on a leg what the end has for it.
    fn tell(&mut self, side: Side, now: Instant) {
        let Some(end) = self.end else { return };
        if !self.leg(side).can_be_told() {
            return;
        }
        let said = match end.close_for(side, &self.policy) {
            Told::Close(words) => Output::Say(side, words),
            // One that closed itself is owed its answer (RFC 6455 section 5.5.1), whatever one that did not would get.
            Told::Echo | Told::Abort => match &self.leg(side).received {
                Some(close) => Output::Echo(side, (**close).clone()),
                None => return self.shut(side, now),
            },
            Told::Nothing | Told::Relay => return self.part(side, Parting::Close),
        };
        self.out.push_back(said);
        self.relay_no_more_to(side);
        let (close_timeout, grace) = (self.patience(self.policy.close_timeout), self.patience(GRACE));
        let leg = self.leg_mut(side);
        if leg.state == State::Asking {
            leg.state = State::Closed;
            return self.finish(side, now);
        }
        leg.state = State::Told;
        leg.deadline = Some(now + if leg.broken { grace } else { close_timeout });
        if matches!(leg.input, Input::Relay | Input::Held) {
            leg.input = Input::Await;
        }
    }

    /// Both Closes have passed on this leg. RFC 6455 section 7.1.1: the server ends TCP first; towards the client
    /// that is tidegate, towards the upstream it is the upstream.
    fn finish(&mut self, side: Side, now: Instant) {
        let fin_wait = self.patience(FIN_WAIT);
        let leg = self.leg_mut(side);
        if side == Side::Client || leg.input == Input::Ended {
            return self.shut(side, now);
        }
        leg.deadline = Some(now + fin_wait);
    }

    fn shut(&mut self, side: Side, now: Instant) {
        // What its Close has to wait behind may take as long as any answer.
        let (patience, linger) = (self.patience(self.policy.close_timeout.max(LINGER)), self.patience(LINGER));
        let leg = self.leg_mut(side);
        if matches!(leg.state, State::Shut | State::Gone) {
            return;
        }
        leg.state = State::Shut;
        leg.deadline = Some(now + if leg.blocked.is_some() { patience } else { linger });
        if leg.input != Input::Ended {
            leg.input = Input::Discard;
        }
        self.out.push_back(Output::Shutdown(side));
        self.relay_no_more_to(side);
    }

    /// A Close is about to be relayed to this side, and a ping that is not on its leg yet would come behind it.
    fn ping_no_more(&mut self, side: Side) {
        self.out.retain(|output| !matches!(output, Output::Ping(to, _) if *to == side));
    }

    /// Nothing follows a Close (RFC 6455 section 5.5.1), nor the end of a transport.
    fn relay_no_more_to(&mut self, side: Side) {
        let other = self.leg_mut(side.other());
        if other.input == Input::Relay {
            other.input = Input::Await;
        }
    }

    fn part(&mut self, side: Side, how: Parting) {
        self.handle_gone(side);
        self.out.push_back(Output::Drop(side, how));
    }

    /// A leg that was to hear more takes nothing: what it was owed is lost.
    fn cut(&mut self, side: Side) {
        // One that gave no sign of life was told for good measure.
        if !matches!(self.end, Some(End::Lost { side: lost, .. }) if lost == side) {
            self.unclosable = true;
            self.leg_mut(side).end = LegEnd::Stalled;
        }
        self.part(side, Parting::Reset);
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

const fn silence(how: Loss) -> Silence {
    match how {
        Loss::Fin | Loss::MidFrame => Silence::NoClose,
        Loss::Reset => Silence::Lost,
        Loss::PingTimeout => Silence::Silent,
    }
}
