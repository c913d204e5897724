//! tidegate: a reverse proxy that makes every WebSocket connection end with the truth.

mod cli;
mod demo;
mod init;
mod logging;
mod run;
mod source;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.command {
        Some(cli::Command::Run(from)) => run::run(&from),
        Some(cli::Command::Check(from)) => run::check(&from),
        Some(cli::Command::Proxy(what)) => run::proxy(&what),
        Some(cli::Command::Demo(what)) => demo::demo(&what),
        Some(cli::Command::Init(what)) => init::init(&what.file),
        None => run::run_or_explain(),
    }
}
