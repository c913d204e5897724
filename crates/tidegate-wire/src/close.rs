//! Close frames: their codes and their payload (RFC 6455 sections 5.5.1 and 7.4).

use std::fmt;

/// The longest reason a Close can carry: 125 bytes of control payload less the code, in bytes.
pub const MAX_REASON: usize = 123;

/// A close code as it stands on the wire.
///
/// The constants are the codes tidegate itself says; an endpoint's own codes pass through as numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// 1000: the purpose is fulfilled and both endpoints agree. Only ever relayed.
    pub const NORMAL: Self = Self(1000);
    /// 1001: this end goes away for good.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1007: text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: the peer broke a rule of the operator's.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message over the limit.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1011: an internal error.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts; come back (IANA registry).
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: overload; come back later, with back-off (IANA registry).
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: the upstream broke (IANA registry: bad gateway).
    pub const BAD_GATEWAY: Self = Self(1014);

    /// Whether this code may stand in a Close frame.
    ///
    /// RFC 6455 section 7.4: 1000-1003 and 1007-1011 are defined, 3000-4999 belong to libraries and
    /// applications; 1012-1014 came later (IANA registry). 1004 is reserved; 1005, 1006 and 1015 "MUST NOT be
    /// set as a status code in a Close control frame"; the rest is unassigned.
    #[must_use]
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

/// The payload of a valid Close frame, unmasked.
#[derive(Clone, PartialEq, Eq)]
pub struct CloseFrame {
    code: Option<CloseCode>,
    reason: [u8; MAX_REASON],
    reason_len: u8,
}

/// Why a Close frame is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadClose {
    /// A payload of one byte: RFC 6455 section 5.5.1 asks for none, or for a code of two.
    Length,
    /// A code that may not stand in a Close frame.
    Code(u16),
    /// A reason that is not UTF-8.
    Reason,
}

impl CloseFrame {
    /// Reads an unmasked Close payload of at most 125 bytes.
    ///
    /// # Errors
    /// A payload of one byte, a code that may not be sent, a reason that is not UTF-8.
    pub fn parse(payload: &[u8]) -> Result<Self, BadClose> {
        let (code, reason) = match payload {
            [] => (None, &[][..]),
            [_] => return Err(BadClose::Length),
            [high, low, reason @ ..] => {
                let code = CloseCode(u16::from_be_bytes([*high, *low]));
                if !code.is_sendable() {
                    return Err(BadClose::Code(code.0));
                }
                (Some(code), reason)
            }
        };
        if simdutf8::basic::from_utf8(reason).is_err() {
            return Err(BadClose::Reason);
        }
        Ok(Self::new(code, reason))
    }

    fn new(code: Option<CloseCode>, text: &[u8]) -> Self {
        let mut reason = [0; MAX_REASON];
        reason[..text.len()].copy_from_slice(text);
        Self { code, reason, reason_len: text.len() as u8 }
    }

    /// A Close with a code and a reason of at most [`MAX_REASON`] bytes.
    ///
    /// # Panics
    /// When the code may not be sent or the reason is too long: both are the caller's own words.
    #[must_use]
    pub fn with(code: CloseCode, reason: &str) -> Self {
        assert!(code.is_sendable() && reason.len() <= MAX_REASON, "not a Close: {code} {reason:?}");
        Self::new(Some(code), reason.as_bytes())
    }

    /// The code; `None` for an empty Close, which an API shows as 1005.
    #[must_use]
    pub fn code(&self) -> Option<CloseCode> {
        self.code
    }

    /// The reason, empty where none was given.
    #[must_use]
    pub fn reason(&self) -> &str {
        // Checked by `parse`, or a `&str` to begin with.
        std::str::from_utf8(&self.reason[..usize::from(self.reason_len)]).unwrap_or_default()
    }

    /// The payload, unmasked, into `out`; returns its length (0, or 2 to 125).
    pub fn write(&self, out: &mut [u8; 125]) -> usize {
        let Some(code) = self.code else { return 0 };
        let end = 2 + usize::from(self.reason_len);
        out[..2].copy_from_slice(&code.0.to_be_bytes());
        out[2..end].copy_from_slice(&self.reason[..usize::from(self.reason_len)]);
        end
    }
}

impl fmt::Debug for CloseFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "Close({code}, {:?})", self.reason()),
            None => f.write_str("Close(empty)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_and_unassigned_codes_are_not_sendable() {
        for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
            assert_eq!(CloseFrame::parse(&code.to_be_bytes()), Err(BadClose::Code(code)), "{code}");
        }
        for code in [1000u16, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999] {
            assert_eq!(CloseFrame::parse(&code.to_be_bytes()).unwrap().code(), Some(CloseCode(code)));
        }
    }

    #[test]
    fn payload_survives_a_round_trip() {
        for payload in [&b""[..], b"\x03\xe8", b"\x0f\xa1bye \xc3\xa9"] {
            let mut out = [0; 125];
            let len = CloseFrame::parse(payload).unwrap().write(&mut out);
            assert_eq!(&out[..len], payload);
        }
    }

    #[test]
    fn one_byte_and_bad_utf8_are_refused() {
        assert_eq!(CloseFrame::parse(b"\x03"), Err(BadClose::Length));
        assert_eq!(CloseFrame::parse(b"\x03\xe8\xff"), Err(BadClose::Reason));
    }
}
