//! The only clock.

use std::{
    process::Command,
    time::{Duration, Instant},
};

/// Pause between two looks at what nothing tells the end of, such as a process that comes up.
const PAUSE: Duration = Duration::from_millis(10);

/// The current time.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the real time; this is its one clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Asks every 10 ms until there is an answer; `None` after `patience`.
pub fn until<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = now() + patience;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if now() > end {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

/// The date in UTC, `2026-11-22`, for a table's foot.
pub fn today() -> String {
    let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
