//! What an endpoint may not send.

use crate::{BadClose, CloseCode};

/// A breach of RFC 6455, or of an operator's limit, by whoever sent the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A client's frame without a mask (section 5.1).
    Unmasked,
    /// A server's frame with a mask (section 5.1).
    Masked,
    /// A reserved bit that no negotiated extension gives a meaning (section 5.2).
    Rsv,
    /// A reserved opcode (section 5.2).
    Opcode,
    /// A control frame that is fragmented or longer than 125 bytes (section 5.5).
    Control,
    /// A continuation of nothing, or a new message inside a fragmented one (section 5.4).
    Fragmentation,
    /// A length that is not minimally encoded, or has its top bit set (section 5.2).
    Length,
    /// A Close that is not one (section 5.5.1).
    Close(BadClose),
    /// Text that is not UTF-8 (section 8.1).
    Utf8,
    /// A message over `max_message_size`, in bytes.
    MessageTooBig {
        /// The limit.
        limit: u64,
    },
    /// A message of more frames than `max_fragments`.
    TooManyFragments {
        /// The limit.
        limit: u32,
    },
    /// More control frames a second than `control_rate`.
    ControlFlood,
    /// More data frames a second than `frame_rate`.
    FrameFlood,
}

impl Violation {
    /// One of each, for tables and documents.
    pub const EXAMPLES: [Self; 15] = [
        Self::Unmasked,
        Self::Masked,
        Self::Rsv,
        Self::Opcode,
        Self::Control,
        Self::Fragmentation,
        Self::Length,
        Self::Close(BadClose::Length),
        Self::Close(BadClose::Code(1006)),
        Self::Close(BadClose::Reason),
        Self::Utf8,
        Self::MessageTooBig { limit: 64 << 20 },
        Self::TooManyFragments { limit: 131_072 },
        Self::ControlFlood,
        Self::FrameFlood,
    ];

    /// Whether it is a limit of the operator's, and no rule of RFC 6455.
    #[must_use]
    pub const fn is_limit(self) -> bool {
        matches!(
            self,
            Self::MessageTooBig { .. } | Self::TooManyFragments { .. } | Self::ControlFlood | Self::FrameFlood
        )
    }

    /// What its sender is told (RFC 6455 section 7.4.1).
    #[must_use]
    pub const fn code(self) -> CloseCode {
        match self {
            Self::Unmasked
            | Self::Masked
            | Self::Rsv
            | Self::Opcode
            | Self::Control
            | Self::Fragmentation
            | Self::Length
            | Self::Close(BadClose::Length | BadClose::Code(_)) => CloseCode::PROTOCOL_ERROR,
            Self::Utf8 | Self::Close(BadClose::Reason) => CloseCode::INVALID_PAYLOAD,
            Self::MessageTooBig { .. } => CloseCode::MESSAGE_TOO_BIG,
            Self::TooManyFragments { .. } | Self::ControlFlood | Self::FrameFlood => CloseCode::POLICY_VIOLATION,
        }
    }

    /// The word for it, in metrics, logs and close reasons.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unmasked => "unmasked",
            Self::Masked => "masked",
            Self::Rsv => "rsv",
            Self::Opcode => "opcode",
            Self::Control => "control",
            Self::Fragmentation => "continuation",
            Self::Length => "length",
            Self::Close(BadClose::Length) => "close-length",
            Self::Close(BadClose::Code(_)) => "close-code",
            Self::Close(BadClose::Reason) => "close-reason",
            Self::Utf8 => "utf8",
            Self::MessageTooBig { .. } => "message-size",
            Self::TooManyFragments { .. } => "fragments",
            Self::ControlFlood => "control-rate",
            Self::FrameFlood => "frame-rate",
        }
    }
}
