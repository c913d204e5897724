//! The process log, on stderr. Results and access lines go to stdout.

use std::io::{self, IsTerminal as _};

use tidegate_config::Log;
use tracing_subscriber::EnvFilter;

/// Starts it: level from `TIDEGATE_LOG`, else from the configuration.
pub(crate) fn start(log: &Log) {
    let level = std::env::var("TIDEGATE_LOG").unwrap_or_else(|_| log.level.clone());
    let filter = EnvFilter::try_new(&level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A log that is started twice, or by somebody else, goes on as it is.
    let _ = if log.json.unwrap_or(!io::stderr().is_terminal()) {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()).try_init()
    };
}
