//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// A reverse proxy that makes every WebSocket connection end with the truth.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve, as a configuration file says. SIGHUP reloads it, SIGTERM drains, a second SIGTERM ends at once
    Run(From),
    /// Check a configuration file, and show every mistake in it
    #[command(alias = "validate")]
    Check(From),
    /// Serve one upstream without a configuration file
    Proxy(Proxy),
}

/// Where the configuration comes from.
#[derive(Args)]
pub(crate) struct From {
    /// Configuration file [default: ./tidegate.toml, then $XDG_CONFIG_HOME/tidegate/, then /etc/tidegate/]
    #[arg(short, long, value_name = "FILE", env = "TIDEGATE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// One upstream, all defaults.
#[derive(Args)]
#[command(after_help = "Example:\n  tidegate proxy ws://127.0.0.1:3000 --listen 127.0.0.1:8080")]
pub(crate) struct Proxy {
    /// Where the WebSocket server is: ws://HOST:PORT, wss://HOST:PORT or HOST:PORT
    pub(crate) upstream: String,
    /// Where clients connect
    #[arg(long, default_value = "127.0.0.1:8080", env = "TIDEGATE_LISTEN")]
    pub(crate) listen: SocketAddr,
    /// Where metrics are served
    #[arg(long, default_value = "127.0.0.1:9180", env = "TIDEGATE_ADMIN")]
    pub(crate) admin: SocketAddr,
}
