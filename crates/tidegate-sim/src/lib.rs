//! What the governor does to a fleet, shown with the same code that runs in the proxy, on a virtual clock.
//!
//! Clients are modelled after the libraries that were measured, endpoints after servers that slow down, crash, pause
//! or lie. The same seed gives the same run to the last event; whichever policy stands in between meets the same
//! clients with the same luck. What it cannot show: that the model's constants are those of any one server.

mod bench;
mod calibrate;
mod check;
mod client;
mod draw;
mod engine;
mod plot;
mod policy;
mod record;
mod report;
mod scenario;
#[cfg(test)]
mod tests;
mod upstream;
mod wheel;

pub use calibrate::calibrate;
pub use check::check;
pub use plot::plot;
pub use report::{Plan, table};

/// Virtual time, in nanoseconds.
pub(crate) type Ns = u64;

pub(crate) const SECOND: Ns = 1_000_000_000;

pub(crate) fn seconds(ns: Ns) -> f64 {
    ns as f64 / SECOND as f64
}

pub(crate) fn nanos(seconds: f64) -> Ns {
    (seconds * SECOND as f64) as Ns
}
