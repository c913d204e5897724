//! tidegate's own Closes: a code, and a reason that a program can read.

use std::fmt::Write as _;

use tidegate_wire::{CloseCode, CloseFrame, MAX_REASON};

/// What tidegate says in a Close of its own, before the parts that only the moment knows.
///
/// The reason is `cause *("; " key "=" value)`: US-ASCII, starts with a letter and so never parses as JSON, says
/// nothing of users, addresses or errors. Example: `overloaded; retry-after=17; id=7f3a9c21`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// The code.
    pub code: CloseCode,
    /// The first word of the reason.
    pub cause: &'static str,
    /// One more thing that its reader can act on.
    pub detail: Detail,
    /// Whether the reader may come back, and so is told when.
    pub hint: bool,
}

/// A parameter of a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing more.
    None,
    /// `limit=N`.
    Limit(u64),
    /// `detail=word`.
    Word(&'static str),
}

impl Words {
    pub(crate) const fn new(code: CloseCode, cause: &'static str) -> Self {
        Self { code, cause, detail: Detail::None, hint: false }
    }

    pub(crate) const fn hinted(self) -> Self {
        Self { hint: true, ..self }
    }

    pub(crate) const fn detailed(self, detail: Detail) -> Self {
        Self { detail, ..self }
    }

    /// The Close frame. `retry_after` is in seconds, jittered already; `id` joins it to the access log.
    #[must_use]
    pub fn frame(&self, retry_after: Option<u32>, id: u32) -> CloseFrame {
        let mut reason = String::with_capacity(64);
        reason.push_str(self.cause);
        // Writing to a String cannot fail.
        let _ = match self.detail {
            Detail::None => Ok(()),
            Detail::Limit(limit) => write!(reason, "; limit={limit}"),
            Detail::Word(word) => write!(reason, "; detail={word}"),
        };
        if let Some(seconds) = retry_after.filter(|_| self.hint) {
            let _ = write!(reason, "; retry-after={seconds}");
        }
        let _ = write!(reason, "; id={id:08x}");
        debug_assert!(reason.len() <= MAX_REASON && reason.is_ascii(), "{reason}");
        CloseFrame::with(self.code, &reason)
    }
}
