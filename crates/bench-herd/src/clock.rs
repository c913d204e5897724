//! The only clock.

use std::time::{Duration, Instant};

/// The current time.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the real time; this is its one clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Looks every 20 ms until there is an answer; `None` after `patience`.
pub fn until<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = now() + patience;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
