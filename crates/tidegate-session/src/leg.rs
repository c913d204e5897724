//! One leg of a session: how far its closing handshake is, and what becomes of what it still sends.

use std::time::Instant;

use tidegate_wire::CloseFrame;

use crate::{LegEnd, LegRecord, Loss};

/// How far the closing handshake of a leg is (RFC 6455 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No Close either way.
    Open,
    /// It was sent a Close and owes its answer.
    Told,
    /// It sent a Close and is owed an answer.
    Asking,
    /// Both Closes have passed: its transport may end.
    Closed,
    /// Our half of its transport is over; what it still sends is read and thrown away.
    Shut,
    /// Its transport is gone.
    Gone,
}

/// What becomes of what a leg sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// It goes to the other leg.
    Relay,
    /// The other leg is gone and this one waits for its Close: the first data frame ends the wait.
    Held,
    /// Only its Close is of interest.
    Await,
    /// It broke a rule, and is told when the other has no more for it: until then it is not read at all.
    Paused,
    /// Nothing is: read and thrown away, so that no reset destroys the Close on its way to it.
    Discard,
    /// Nothing comes any more.
    Ended,
}

#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) state: State,
    pub(crate) input: Input,
    /// Boxed: Closes are rare and long, and an open session has none.
    closes: Option<Box<Closes>>,
    /// When the present state has lasted too long.
    pub(crate) deadline: Option<Instant>,
    /// Last time any byte came from it.
    pub(crate) heard: Instant,
    /// When it was pinged, while no byte has come since.
    pub(crate) pinged: Option<Instant>,
    /// Since when it takes no bytes.
    pub(crate) blocked: Option<Instant>,
    /// It can take no bytes any more; what it sent may still be read.
    pub(crate) broken: bool,
    pub(crate) end: LegEnd,
}

/// The Closes of a leg.
#[derive(Debug, Default)]
struct Closes {
    sent: Option<CloseFrame>,
    received: Option<CloseFrame>,
}

impl Leg {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            state: State::Open,
            input: Input::Relay,
            closes: None,
            deadline: None,
            heard: now,
            pinged: None,
            blocked: None,
            broken: false,
            end: LegEnd::Clean,
        }
    }

    /// A leg that never was.
    pub(crate) fn none(now: Instant) -> Self {
        Self { state: State::Gone, input: Input::Ended, end: LegEnd::Lost, ..Self::new(now) }
    }

    /// Whether a Close may still be put on it.
    pub(crate) fn can_be_told(&self) -> bool {
        matches!(self.state, State::Open | State::Asking)
    }

    pub(crate) fn sent(&self) -> Option<&CloseFrame> {
        self.closes.as_ref()?.sent.as_ref()
    }

    pub(crate) fn received(&self) -> Option<&CloseFrame> {
        self.closes.as_ref()?.received.as_ref()
    }

    pub(crate) fn note_sent(&mut self, close: CloseFrame) {
        self.closes.get_or_insert_default().sent = Some(close);
    }

    pub(crate) fn note_received(&mut self, close: CloseFrame) {
        self.closes.get_or_insert_default().received = Some(close);
    }

    pub(crate) fn lost(&mut self, how: Loss) {
        self.end = match (self.state, how) {
            (State::Open, _) => LegEnd::Lost,
            (_, Loss::Reset) => LegEnd::Reset,
            (State::Told, _) => LegEnd::NoReply,
            _ => self.end,
        };
    }

    pub(crate) fn take_record(&mut self) -> LegRecord {
        let Closes { sent, received } = self.closes.take().map_or_else(Closes::default, |closes| *closes);
        LegRecord { sent, received, end: self.end }
    }
}
