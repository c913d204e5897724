//! What happens to a session, from outside.

use std::time::Instant;

use tidegate_wire::{CloseCode, CloseFrame, Control, Opcode, Violation};

use super::{
    Session,
    deadlines::{GRACE, HURRY},
};
use crate::{End, Hold, Input, LegEnd, Loss, Order, Output, Parting, Pass, Premature, Side, Silence, leg::State};

impl Session {
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
        if leg.received().is_some() {
            return Pass::Consume;
        }
        leg.input = Input::Discard;
        leg.note_received(frame.clone());
        if leg.state == State::Told {
            self.answered(side, &frame, now);
        }
        let leg = self.leg_mut(side);
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
                    other.note_sent(frame);
                }
                self.ping_no_more(side.other());
                self.asked(side.other(), now);
                let Some(rewritten) = rewritten else { return Pass::Relay };
                self.out.push_back(Output::Echo(side.other(), rewritten));
                Pass::Consume
            }
            (State::Open, Some(_)) => {
                leg.state = State::Asking;
                // The other has been told something else by now, unless it waits for that.
                if let Some(closing) = &mut self.closing {
                    closing.crossed = true;
                }
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
                other.note_sent(frame);
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
            return match by {
                Side::Client => self.fail_client_last(now),
                Side::Upstream => {
                    self.fail(by, now);
                    self.tell(by.other(), now);
                }
            };
        }
        if !matches!(self.leg(by).input, Input::Ended | Input::Paused) {
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
        let sooner = self.order.as_ref().is_none_or(|planned| order.at < planned.at);
        if sooner {
            self.order = Some(Box::new(order));
        }
        self.follow_order(now);
    }

    /// The upstream's Close, just handled, came at a moment at which nothing can be finished. Only a 1000 claims that
    /// it is.
    pub fn note_premature(&mut self, what: Premature) {
        let claims_success = |close: &CloseFrame| close.code() == Some(CloseCode::NORMAL);
        if self.end == Some(End::Closed { by: Side::Upstream }) && self.upstream.received().is_some_and(claims_success)
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

    /// A Close of [`Output::Say`] or [`Output::Echo`] was put on its leg.
    pub fn note_sent(&mut self, side: Side, frame: CloseFrame) {
        self.leg_mut(side).note_sent(frame);
    }
}

const fn silence(how: Loss) -> Silence {
    match how {
        Loss::Fin | Loss::MidFrame => Silence::NoClose,
        Loss::Reset => Silence::Lost,
        Loss::PingTimeout => Silence::Silent,
    }
}
