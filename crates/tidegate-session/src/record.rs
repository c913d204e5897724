//! What is remembered of a session when it is over: one line in the access log, one count.

use std::time::{Duration, Instant};

use tidegate_wire::CloseFrame;

use crate::{End, Side};

/// How a session ended, in one word (close contract R12). Never derived from an echoed code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Both endpoints' Closes were seen.
    Agreed,
    /// One endpoint closed and the other never answered.
    Relayed,
    /// tidegate ended it.
    Enforced,
    /// The client vanished.
    ClientLost,
    /// The upstream vanished.
    UpstreamLost,
    /// Both vanished.
    BothLost,
    /// A leg that was still there could not be given its Close.
    Unclosable,
}

impl Verdict {
    /// Kebab case, for logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::Relayed => "relayed",
            Self::Enforced => "enforced",
            Self::ClientLost => "client-lost",
            Self::UpstreamLost => "upstream-lost",
            Self::BothLost => "both-lost",
            Self::Unclosable => "unclosable",
        }
    }
}

/// How one leg's transport ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LegEnd {
    /// Closing handshake complete, transport ended in order.
    Clean,
    /// Closing handshake complete, but the peer never ended its transport.
    NoFin,
    /// It never answered the Close it was sent.
    NoReply,
    /// Reset, or another error.
    Reset,
    /// It took no bytes any more.
    Stalled,
    /// It was gone before any Close.
    Lost,
}

impl LegEnd {
    /// Kebab case, for logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::NoFin => "no-fin",
            Self::NoReply => "no-reply",
            Self::Reset => "reset",
            Self::Stalled => "stalled",
            Self::Lost => "lost",
        }
    }
}

/// What an upstream that closed with 1000 left undone. Its Close passes as it is; that it says success where there
/// can be none is worth noticing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Premature {
    /// It closed inside a fragmented message of its own.
    InMessage,
    /// It had not taken all that the client sent.
    Untaken,
    /// No message had passed either way.
    NoMessage,
}

impl Premature {
    /// Kebab case, for logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::InMessage => "in-message",
            Self::Untaken => "untaken",
            Self::NoMessage => "no-message",
        }
    }
}

/// How the closing handshakes went.
#[derive(Clone, Debug, Default)]
pub struct Closing {
    /// The side that was told first, and when.
    pub(crate) asked: Option<(Side, Instant)>,
    /// How long that side took to answer, where it did.
    pub ack: Option<Duration>,
    /// An end closed by itself while a Close was on its way to it, or to the other: neither answers the other. Only
    /// where that is certain: one that was not under way yet when the other was read may still be no answer.
    pub crossed: bool,
}

/// One leg's part of the record.
#[derive(Clone, Debug)]
pub struct LegRecord {
    /// The Close that was put on it.
    pub sent: Option<CloseFrame>,
    /// The Close that came from it.
    pub received: Option<CloseFrame>,
    /// How it ended.
    pub end: LegEnd,
}

/// The whole of it.
#[derive(Clone, Debug)]
pub struct Record {
    /// Why.
    pub end: End,
    /// In one word.
    pub verdict: Verdict,
    /// Whether the 1000 that ended it came too soon.
    pub premature: Option<Premature>,
    /// How long the answer took, and whether it was one.
    pub closing: Closing,
    /// The client's leg.
    pub client: LegRecord,
    /// The upstream's leg.
    pub upstream: LegRecord,
}

impl Record {
    /// Whether the end that was closed answered with another code than it was sent (close contract C2).
    #[must_use]
    pub fn reply_differs(&self) -> bool {
        let End::Closed { by } = self.end else { return false };
        let answering = self.leg(by.other());
        let code = |close: &Option<CloseFrame>| close.as_ref().map(CloseFrame::code);
        !self.closing.crossed && answering.received.is_some() && code(&answering.received) != code(&answering.sent)
    }

    /// The leg on that side.
    #[must_use]
    pub const fn leg(&self, side: Side) -> &LegRecord {
        match side {
            Side::Client => &self.client,
            Side::Upstream => &self.upstream,
        }
    }
}
