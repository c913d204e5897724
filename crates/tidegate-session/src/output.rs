//! What a session says to the owner of its sockets, and what it is told in return.

use std::time::{Duration, Instant};

use tidegate_wire::CloseFrame;

use crate::{End, Side, Words};

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
    /// [`Session::note_sent`](crate::Session::note_sent).
    Say(Side, Words),
    /// Put this Close on a leg, as [`Output::Say`].
    Echo(Side, CloseFrame),
    /// Ping a leg with this payload.
    Ping(Side, [u8; 8]),
    /// The upstream is lost: ask how long the client is held, and call [`Session::handle_hold`](crate::Session::handle_hold).
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
