//! The harness's only clock, and its only two ways to wait.

use std::time::{Duration, Instant};

/// How long a test waits for an event before it fails. Far above what any event takes on a loaded machine, so that
/// reaching it means the event is not coming.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Pause between two looks at something that cannot tell us when it changes: a file, a metrics page, a listener.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The current time, for measuring how long something took.
#[expect(clippy::disallowed_methods, reason = "the harness measures the real time; this is its one clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Awaits `event`.
///
/// # Panics
/// After [`PATIENCE`], naming what did not happen.
pub async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// Asks `probe` until it has an answer.
///
/// # Panics
/// After [`PATIENCE`], naming what did not happen.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(value) = probe().await {
                return value;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    within(what, asking).await
}
