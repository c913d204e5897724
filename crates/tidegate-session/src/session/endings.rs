//! How a session ends: who is told what, in which order, and when a leg is let go of.

use std::time::Instant;

use tidegate_wire::CloseFrame;

use super::{
    Session,
    deadlines::{FIN_WAIT, GRACE, LINGER},
};
use crate::{End, Input, LegEnd, Loss, Output, Parting, Side, Silence, Told, leg::State};

impl Session {
    pub(super) fn follow_order(&mut self, now: Instant) {
        if let Some(order) = self.order.take_if(|order| order.at <= now) {
            // A client that waits for its Close need not wait longer than tidegate has.
            self.release(now);
            self.enforce(order.end, order.retry_after, now);
        }
    }

    /// tidegate ends it, unless something else has already.
    pub(super) fn enforce(&mut self, end: End, retry_after: Option<u32>, now: Instant) {
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

    pub(super) fn stall(&mut self, side: Side, now: Instant) {
        self.enforce(End::Stalled { side }, None, now);
        let leg = self.leg_mut(side);
        leg.end = LegEnd::Stalled;
        leg.deadline = Some(now + GRACE);
    }

    pub(super) fn lost(&mut self, side: Side, how: Loss, now: Instant) {
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
    pub(super) fn leave_other(&mut self, lost: Side, now: Instant) {
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
    pub(super) fn release(&mut self, now: Instant) {
        if self.held.take().is_some() {
            self.stale = true;
            self.tell(Side::Client, now);
        }
    }

    /// Where one side had to be told first and is done, it is the other's turn.
    pub(super) fn detach(&mut self, done: Side, now: Instant) {
        match done {
            Side::Client if self.upstream.state == State::Open => self.tell(Side::Upstream, now),
            Side::Upstream if self.client.input == Input::Paused => self.fail(Side::Client, now),
            Side::Client | Side::Upstream => {}
        }
    }

    /// RFC 6455 section 7.1.7: fail the connection. An answer could not be told from more of what broke a rule.
    pub(super) fn fail(&mut self, side: Side, now: Instant) {
        self.tell(side, now);
        self.shut(side, now);
    }

    /// A client broke a rule. What it sent before that was good, and what the upstream has to say to it is still
    /// delivered: the upstream is told first, and the client when the upstream has answered, or too late. Until then
    /// it is not read: what would be thrown away now could run into the limit that a lingering leg has.
    pub(super) fn fail_client_last(&mut self, now: Instant) {
        self.client.input = Input::Paused;
        self.client.deadline = Some(now + self.patience(GRACE));
        self.tell(Side::Upstream, now);
        if self.upstream.input == Input::Await {
            self.upstream.input = Input::Relay;
        }
    }

    /// Both sides vanished at once: a Close for this one, on account of the other's loss, has not yet been put on it.
    pub(super) fn is_told_in_vain(&self, side: Side) -> bool {
        matches!(self.end, Some(End::Lost { side: lost, .. }) if lost != side) && self.leg(side).sent().is_none()
    }

    /// This side was told Close and will not answer.
    pub(super) fn unanswered(&mut self, side: Side, how: Silence, now: Instant) {
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
    pub(super) fn tell(&mut self, side: Side, now: Instant) {
        let Some(end) = self.end else { return };
        if !self.leg(side).can_be_told() {
            return;
        }
        let said = match end.close_for(side, &self.policy) {
            Told::Close(words) => Output::Say(side, words),
            // One that closed itself is owed its answer (RFC 6455 section 5.5.1), whatever one that did not would get.
            Told::Echo | Told::Abort => match self.leg(side).received() {
                Some(close) => Output::Echo(side, close.clone()),
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
        self.asked(side, now);
    }

    /// A Close is put on the leg of one that has not sent its own.
    pub(super) fn asked(&mut self, side: Side, now: Instant) {
        self.closing.get_or_insert_default().asked.get_or_insert((side, now));
    }

    /// A Close came from one that was told.
    pub(super) fn answered(&mut self, side: Side, frame: &CloseFrame, now: Instant) {
        let leg = self.leg(side);
        let differs = leg.sent().is_some_and(|sent| sent != frame);
        let unread = leg.blocked.is_some();
        let closing = self.closing.get_or_insert_default();
        match closing.asked {
            // It cannot have seen the one that it was told.
            Some((asked, at)) if asked == side && (unread || differs && at == now) => closing.crossed = true,
            Some((asked, at)) if asked == side => closing.ack = Some(now.saturating_duration_since(at)),
            _ => {}
        }
    }

    /// Both Closes have passed on this leg. RFC 6455 section 7.1.1: the server ends TCP first; towards the client
    /// that is tidegate, towards the upstream it is the upstream.
    pub(super) fn finish(&mut self, side: Side, now: Instant) {
        let fin_wait = self.patience(FIN_WAIT);
        let leg = self.leg_mut(side);
        if side == Side::Client || leg.input == Input::Ended {
            return self.shut(side, now);
        }
        leg.deadline = Some(now + fin_wait);
    }

    pub(super) fn shut(&mut self, side: Side, now: Instant) {
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
    pub(super) fn ping_no_more(&mut self, side: Side) {
        self.out.retain(|output| !matches!(output, Output::Ping(to, _) if *to == side));
    }

    /// Nothing follows a Close (RFC 6455 section 5.5.1), nor the end of a transport.
    pub(super) fn relay_no_more_to(&mut self, side: Side) {
        let other = self.leg_mut(side.other());
        if other.input == Input::Relay {
            other.input = Input::Await;
        }
    }

    pub(super) fn part(&mut self, side: Side, how: Parting) {
        self.handle_gone(side);
        self.out.push_back(Output::Drop(side, how));
    }

    /// A leg that was to hear more takes nothing: what it was owed is lost.
    pub(super) fn cut(&mut self, side: Side) {
        // One that gave no sign of life was told for good measure.
        if !matches!(self.end, Some(End::Lost { side: lost, .. }) if lost == side) {
            self.unclosable = true;
            self.leg_mut(side).end = LegEnd::Stalled;
        }
        self.part(side, Parting::Reset);
    }
}
