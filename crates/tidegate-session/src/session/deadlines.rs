//! How long a session waits for what, and what it does then.

use std::time::{Duration, Instant};

use super::Session;
use crate::{End, Input, LegEnd, Loss, Output, Parting, Side, Silence, leg::State};

/// How long an upstream may take to end TCP first, as a server should (RFC 6455 section 7.1.1).
pub(super) const FIN_WAIT: Duration = Duration::from_secs(2);
/// How long a leg that is half-closed is still read, so that no reset overtakes the Close on its way.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// How long a Close waits for a leg that takes no bytes, or for the end of one that failed a write; and how long an
/// upstream has to say all that it has for a client that broke a rule.
pub(super) const GRACE: Duration = Duration::from_secs(1);
/// How long anything is waited for once the process ends.
pub(super) const HURRY: Duration = Duration::from_millis(150);

impl Session {
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

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let due = [self.client.deadline, self.upstream.deadline, self.held];
        let due = due.into_iter().flatten();
        let order = self.order.as_ref().map(|order| order.at);
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
            State::Open if leg.input == Input::Paused => self.fail(side, now),
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

    /// How long something may be waited for.
    pub(super) fn patience(&self, usual: Duration) -> Duration {
        if self.hurried { usual.min(HURRY) } else { usual }
    }
}
