//! When a session's next deadline is due: behind one more look at its sockets.
//!
//! A worker that was kept from its work oversleeps, and what would have been in time lies in the sockets. It is taken
//! before anyone is called late.

use std::{
    future::Future as _,
    pin::{Pin, pin},
    task::Context,
    time::Instant,
};

use tokio::time::Sleep;

use crate::clock;

/// One timer, off at first.
pub(crate) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Off,
    /// It waits for `sleep`.
    Set,
    /// `sleep` is over, and the task is woken behind the next look.
    Rung,
}

impl Alarm {
    pub(crate) fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(clock::now().into())), state: State::Off }
    }

    /// Has the task woken at this time. A time that moved back is looked at when the earlier one comes.
    pub(crate) fn set(&mut self, at: Instant, cx: &mut Context<'_>) {
        let at = at.into();
        let is_set = match self.state {
            State::Off => false,
            State::Set => at >= self.sleep.deadline() && !self.sleep.is_elapsed(),
            State::Rung => true,
        };
        if !is_set {
            self.state = State::Set;
            self.sleep.as_mut().reset(at);
            if self.sleep.as_mut().poll(cx).is_ready() {
                self.state = State::Rung;
                come_back(cx);
            }
        }
    }

    /// Whether the time has come: once, then it is off.
    pub(crate) fn take_rung(&mut self) -> bool {
        let rung = self.state == State::Rung;
        if rung {
            self.state = State::Off;
        }
        rung
    }
}

/// Wakes this task behind the worker's next look at its sockets.
pub(crate) fn come_back(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}
