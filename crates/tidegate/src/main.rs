//! tidegate: a reverse proxy that makes every WebSocket connection end with the truth.

mod cli;
mod control;
mod demo;
mod handover;
mod init;
mod life;
mod logging;
mod run;
mod service;
mod source;

use std::process::ExitCode;

use clap::Parser as _;
use tidegate_proxy::Verb;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // Before there are threads: it changes the environment.
    let handed = match handover::Handed::from_environment() {
        Ok(handed) => handed,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match cli.command {
        Some(cli::Command::Run(from)) => run::run(&from, handed),
        Some(cli::Command::Check(from)) => run::check(&from),
        Some(cli::Command::Proxy(what)) => run::proxy(&what, handed),
        Some(cli::Command::Demo(what)) => demo::demo(&what),
        Some(cli::Command::Init(what)) => init::init(&what.file),
        Some(cli::Command::Reload(from)) => control::ask(&from, Verb::Reload),
        Some(cli::Command::Drain(from)) => control::ask(&from, Verb::Drain),
        Some(cli::Command::Upgrade(from)) => control::ask(&from, Verb::Upgrade),
        None => run::run_or_explain(handed),
    }
}
