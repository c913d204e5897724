//! tidegate, nginx and HAProxy before a server that dies, comes back cold, is asked ten times too much, or browns out.
//! Run by `cargo xtask bench herd`, which builds what this needs. One contender runs at a time; the clients, the server
//! and the proxy are processes of their own.

mod report;
mod scenario;
mod served;
mod stage;

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use bench_herd::Capacity;
use bench_rig::{Contender, Rig, clock, descriptors, processors};
use clap::{Parser, Subcommand};

use crate::scenario::Scenario;

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
    rig: Rig,
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
    descriptors::raise();
    processors::go_first();
    processors::take_the_first();
    let files = descriptors::allowed();
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
            let outcomes = scenario.run(contender, &arguments.rig, clients);
            let outcomes = outcomes.map_err(|why| format!("{}, {}: {why}", scenario.name(), contender.name()))?;
            outcomes.iter().for_each(|outcome| println!("{}", report::line(outcome)));
            rows.extend(outcomes);
        }
    }
    let table = report::table(&rows);
    println!("\n{table}");
    if arguments.only.is_some() || arguments.scenario.is_some() {
        return Ok(());
    }
    let (versions, date) = (arguments.rig.versions(), clock::today());
    let processors = processors::count();
    let foot = format!("{versions}; {clients} clients; {processors} processors; {date}.");
    arguments.rig.publish("docs/herd.md", "herd", &format!("{table}\n\n{foot}"))
}
