//! The one clock. Everything else takes the time as an argument.

use std::time::Instant;

/// Now, monotonic. Follows tokio's paused time in tests.
#[allow(clippy::disallowed_methods, reason = "the one place")]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
