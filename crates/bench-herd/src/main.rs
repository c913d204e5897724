//! tidegate, nginx and HAProxy before a server that dies, comes back cold, is asked ten times too much, or browns out.
//! Run by `cargo xtask bench herd`, which builds what this needs. One contender runs at a time; the clients, the server
//! and the proxy are processes of their own.

mod contenders;
mod report;
mod scenario;
mod served;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use bench_herd::{Capacity, raise_descriptors};
use clap::{Parser, Subcommand};

use crate::{
    contenders::{Contender, Programs},
    scenario::Scenario,
};

#[derive(Parser, Debug)]
#[command(about = "tidegate, nginx and HAProxy before a herd")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// The comparison.
    Compare(Compare),
    /// One server, until standard input ends: what the comparison starts and kills.
    Serve(Serve),
}

#[derive(clap::Args, Debug)]
struct Compare {
    #[command(flatten)]
    programs: Programs,
    /// Where the proxies keep their files.
    #[arg(long)]
    scratch: PathBuf,
    /// The workspace, whose docs/herd.md gets the table.
    #[arg(long)]
    root: Option<PathBuf>,
    /// Connections of the herd. The server's capacity grows with them.
    #[arg(long, default_value_t = 8000, value_parser = clap::value_parser!(u32).range(100..=9000))]
    clients: u32,
    /// Only this proxy. No page is written.
    #[arg(long)]
    only: Option<String>,
    /// Only scenarios whose name contains this. No page is written.
    #[arg(long)]
    scenario: Option<String>,
}

#[derive(clap::Args, Debug)]
struct Serve {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    number: u64,
    #[arg(long)]
    rate: f64,
    #[arg(long)]
    base: f64,
    #[arg(long)]
    cold: f64,
    #[arg(long)]
    warm_after_ms: u64,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Compare(arguments) => compare(&arguments),
        Command::Serve(Serve { address, number, rate, base, cold, warm_after_ms }) => {
            let warm_after = Duration::from_millis(warm_after_ms);
            served::serve(address, number, Capacity { rate, base, cold, warm_after })
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("herd: {why}");
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: &Compare) -> Result<(), String> {
    let files = raise_descriptors();
    // A proxy has two for each client, and some for itself.
    let clients = arguments.clients as usize;
    if files < 2 * u64::from(arguments.clients) + 500 {
        return Err(format!("{clients} clients need more open files than {files}"));
    }
    let mut rows = Vec::new();
    for scenario in Scenario::ALL {
        if arguments.scenario.as_ref().is_some_and(|part| !scenario.name().contains(part.as_str())) {
            continue;
        }
        for contender in Contender::ALL {
            if arguments.only.as_ref().is_some_and(|only| !contender.name().eq_ignore_ascii_case(only)) {
                continue;
            }
            let outcomes = scenario.run(contender, &arguments.programs, &arguments.scratch, clients);
            let outcomes = outcomes.map_err(|why| format!("{}, {}: {why}", scenario.name(), contender.name()))?;
            outcomes.iter().for_each(|outcome| println!("{}", report::line(outcome)));
            rows.extend(outcomes);
        }
    }
    let table = report::table(&rows);
    println!("\n{table}");
    let whole = arguments.only.is_none() && arguments.scenario.is_none();
    let Some(root) = arguments.root.as_ref().filter(|_| whole) else { return Ok(()) };
    let head = contenders::versions(&arguments.programs, clients);
    report::place(&root.join("docs/herd.md"), &format!("{table}\n\n{head}"))
}
