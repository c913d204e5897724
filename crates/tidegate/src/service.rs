//! What a service manager is told (`sd_notify(3)`). Without one, nothing is said and nothing is lost.

use std::time::Duration;

use sd_notify::NotifyState::{self, ExtendTimeoutUsec, MainPid, Ready, Reloading, Status, Stopping, Watchdog};

/// It serves.
pub(crate) fn ready(sessions: usize) {
    say(&[Ready, Status(&format!("{sessions} sessions"))]);
}

/// It reads its configuration again; [`ready`] follows. The time tells systemd which `READY=1` belongs to it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => say(&[Reloading, now]),
        Err(_) => say(&[Reloading]),
    }
}

/// It ends, and that takes this long.
pub(crate) fn stopping(sessions: usize, longest: Duration) {
    let micros = u32::try_from(longest.as_micros()).unwrap_or(u32::MAX);
    say(&[Stopping, ExtendTimeoutUsec(micros), Status(&format!("draining {sessions} sessions"))]);
}

/// From now on another process is the service.
pub(crate) fn succeeded_by(process: u32) {
    say(&[MainPid(process)]);
}

/// It is well.
pub(crate) fn alive(sessions: usize) {
    say(&[Watchdog, Status(&format!("{sessions} sessions"))]);
}

/// How often [`alive`] is to be said: twice in the time after which the service manager loses patience. `None`: never.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|patience| patience / 2)
}

fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
