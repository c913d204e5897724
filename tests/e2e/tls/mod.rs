//! TLS: with clients, with servers, and the files it all comes from.

mod check;
mod clients;
mod files;
mod handshake;
mod names;
mod tickets;
mod upstream;

use harness::{Metrics, Tidegate};

/// Waits until so many handshakes of clients have ended for this reason.
async fn handshakes(gate: &Tidegate, reason: &str, count: f64) -> Metrics {
    let ended = |metrics: &Metrics| metrics.sum("tidegate_tls_handshakes_total", &[("reason", reason)]);
    gate.metrics_where(reason, |metrics| ended(metrics) == count).await
}
