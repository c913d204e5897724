//! tidegate beside nginx and HAProxy: what each costs in processor time and memory, what clients feel, and what they
//! hear at the end. Run by `cargo xtask bench macro`, which builds what this needs.
//!
//! All proxies run all the time, each with one worker on the last processor; the generator has the first. They take
//! turns within a round, and the order changes from round to round; tidegate's cost is compared with the best other
//! of the same round, and the median of the rounds is what counts.

mod configs;
mod connection;
mod cpu;
mod frames;
mod loads;
mod memory;
mod proxies;
mod report;
mod trace;
mod truth;
mod world;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use bench_rig::{Rig, clock, descriptors, processors};
use clap::Parser;

use crate::{
    frames::{BINARY, TEXT},
    loads::Load,
    proxies::{Proxy, Running, Stage},
    report::Row,
    world::World,
};

/// tidegate beside nginx and HAProxy.
#[derive(Parser, Debug)]
struct Arguments {
    #[command(flatten)]
    rig: Rig,
    /// Counts system calls.
    #[arg(long)]
    strace: PathBuf,
    /// Rounds of each load.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Short windows, few sessions: whether everything works, and a first idea. No page is written.
    #[arg(long)]
    quick: bool,
    /// Only the loads whose name contains this. No page is written.
    #[arg(long)]
    only: Option<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}

/// A load as the tables have it.
struct Plan {
    name: &'static str,
    unit: &'static str,
    load: Load,
    /// Buffers for bulk, or splicing, may help.
    bulk: bool,
}

const fn echo(name: &'static str, sessions: usize, opcode: u8, size: usize) -> Plan {
    Plan { name, unit: "round trip", load: Load::Echo { sessions, opcode, size }, bulk: size > 8 << 10 }
}

const fn plan(name: &'static str, unit: &'static str, load: Load) -> Plan {
    Plan { name, unit, load, bulk: matches!(load, Load::Down | Load::Up) }
}

/// What is compared by cost.
const COSTS: &[Plan] = &[
    echo("echo, 1 session, 32 B", 1, TEXT, 32),
    echo("echo, 64 sessions, 32 B", 64, TEXT, 32),
    echo("echo, 64 sessions, 1 KiB", 64, TEXT, 1 << 10),
    echo("echo, 64 sessions, 16 KiB", 64, TEXT, 16 << 10),
    echo("echo, 64 sessions, 16 KiB, binary", 64, BINARY, 16 << 10),
    echo("echo, 64 sessions, 128 KiB", 64, TEXT, 128 << 10),
    echo("echo, 64 sessions, 128 KiB, binary", 64, BINARY, 128 << 10),
    echo("echo, 1,000 sessions, 32 B", 1000, TEXT, 32),
    echo("echo, 1,000 sessions, 1 KiB", 1000, TEXT, 1 << 10),
    echo("echo, 1,000 sessions, 16 KiB", 1000, TEXT, 16 << 10),
    plan("1 MiB binary messages, from the server", "MiB", Load::Down),
    plan("1 MiB binary messages, from clients", "MiB", Load::Up),
    plan("fan-out of 64 B to 1,000 clients", "message", Load::Fan { burst: 1 }),
    plan("the same in bursts of 16", "message", Load::Fan { burst: 16 }),
    plan("handshake and close", "session", Load::Handshakes),
    plan("20,000 messages a second, 200 sessions, 128 B", "round trip", Load::Paced { rate: 20_000 }),
];

/// What is compared by what clients feel.
const LATENCIES: &[Plan] = &[
    echo("chat of 32 B, alone", 1, TEXT, 32),
    plan("chat of 32 B, beside 20 bulk streams", "round trip", Load::Beside { streams: 20 }),
    plan("20,000 messages a second", "round trip", Load::Paced { rate: 20_000 }),
];

/// Of what system calls are counted: where tracing, which slows a proxy down, does not let work pile up.
const CALLS: &[Plan] =
    &[echo("echo, 1 session, 32 B", 1, TEXT, 32), plan("handshake and close", "session", Load::Handshakes)];

fn run(arguments: &Arguments) -> Result<(), String> {
    descriptors::raise();
    if processors::count() < 2 {
        return Err("one processor is not enough: the generator would take what the proxy is measured by".into());
    }
    processors::go_first();
    processors::take_the_first();
    let mut world = World::new().map_err(|error| format!("the load generator: {error}"))?;
    let stage = Stage { rig: &arguments.rig, server: world.address(), tls: None, idle_timeout: 3600 };
    let began = clock::now();
    let chosen = |plan: &&Plan| arguments.only.as_ref().is_none_or(|part| plan.name.contains(part.as_str()));
    let running = Proxy::ALL.map(|proxy| proxy.start(&stage));
    let running = running.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut measure = |plan: &Plan, direct| rounds(arguments, &mut world, &running, plan, direct);
    let costs = COSTS.iter().filter(chosen).map(|plan| measure(plan, false)).collect::<Result<Vec<_>, _>>()?;
    let latencies = LATENCIES.iter().filter(chosen).map(|plan| measure(plan, true)).collect::<Result<Vec<_>, _>>()?;
    let mut calls = Vec::new();
    for plan in CALLS.iter().filter(chosen) {
        calls.push(traced(arguments, &mut world, &running, plan)?);
    }
    drop(running);
    let calls = report::calls(&calls);
    println!("\n{calls}");
    if arguments.only.is_some() {
        println!("\n{}\n\n{}", report::costs(&costs), report::latencies(&latencies));
        return Ok(());
    }

    let memory = memory_table(arguments, &stage, &mut world)?;
    let (cycles, short) = if arguments.quick { (3, 500) } else { (10, 4000) };
    let mut churn = Vec::new();
    for proxy in Proxy::PLAIN {
        churn.push((proxy, memory::churn(proxy, &stage, &mut world, cycles, short)?));
    }
    let churn = report::churn(&churn);
    println!("\n{churn}");
    let mut rows = Vec::new();
    for fate in truth::Fate::ALL {
        let mut heard = Vec::new();
        for proxy in Proxy::PLAIN {
            heard.push((proxy, fate.heard(proxy, &stage, &mut world)?));
        }
        rows.push((fate.words(), heard));
    }
    let truth = report::truth(&rows);
    println!("\n{truth}");

    if arguments.quick {
        return Ok(());
    }
    let head = header(arguments);
    let (costs, latencies) = (report::costs(&costs), report::latencies(&latencies));
    for (name, text) in [
        ("machine", &head),
        ("costs", &costs),
        ("latencies", &latencies),
        ("calls", &calls),
        ("memory", &memory),
        ("churn", &churn),
        ("truth", &truth),
    ] {
        arguments.rig.publish("docs/performance.md", name, text)?;
    }
    arguments.rig.publish("README.md", "truth", &format!("{truth}\n\n{head}"))?;
    println!("\ndone after {:.0?}", clock::now() - began);
    Ok(())
}

/// All rounds of one load.
fn rounds(
    arguments: &Arguments,
    world: &mut World,
    running: &[Running],
    plan: &Plan,
    direct: bool,
) -> Result<Row, String> {
    let window = Duration::from_millis(if arguments.quick { 150 } else { 700 });
    let takes_part = |running: &&Running| plan.bulk || Proxy::PLAIN.contains(&running.proxy);
    let taking_part: Vec<&Running> = running.iter().filter(takes_part).collect();
    let mut row = Row { name: plan.name.into(), unit: plan.unit, rounds: Vec::new(), direct: Vec::new() };
    for round in 0..arguments.rounds {
        let mut samples = Vec::new();
        for turn in 0..taking_part.len() {
            let Running { proxy, address, pids, .. } = taking_part[(round + turn) % taking_part.len()];
            let sample = plan.load.measure(world, *address, pids, window, None);
            let sample = sample.map_err(|why| format!("{}, {}: {why}", plan.name, proxy.name()))?;
            samples.push((*proxy, sample));
        }
        row.rounds.push(samples);
        if direct {
            let address = world.address();
            row.direct.push(plan.load.measure(world, address, &[], window, None)?);
        }
    }
    println!("{}", row.line());
    Ok(row)
}

/// One load with its system calls counted.
fn traced(arguments: &Arguments, world: &mut World, running: &[Running], plan: &Plan) -> Result<Row, String> {
    let (window, strace) = (Duration::from_secs(1), Some(arguments.strace.as_path()));
    let mut samples = Vec::new();
    for Running { proxy, address, pids, .. } in running.iter().filter(|running| Proxy::PLAIN.contains(&running.proxy)) {
        samples.push((*proxy, plan.load.measure(world, *address, pids, window, strace)?));
    }
    Ok(Row { name: plan.name.into(), unit: plan.unit, rounds: vec![samples], direct: Vec::new() })
}

fn memory_table(arguments: &Arguments, stage: &Stage<'_>, world: &mut World) -> Result<String, String> {
    let count = if arguments.quick { 300 } else { 2000 };
    let (certificate, key, trusted) = proxies::certificate()?;
    let served = memory::Served::start()?;
    let over_tls = Stage { server: served.address, tls: Some((&certificate, &key)), ..*stage };
    let (mut plain, mut tls, mut many) = (Vec::new(), Vec::new(), Vec::new());
    for proxy in Proxy::PLAIN {
        plain.push((proxy, memory::idle(proxy, stage, world, count)?));
        tls.push((proxy, memory::idle_tls(proxy, &over_tls, &trusted, count)?));
        if !arguments.quick {
            let count = memory::most_sessions();
            many.push((proxy, count, memory::idle(proxy, stage, world, count)?));
        }
    }
    let table = report::memory(&plain, &tls, &many);
    println!("\n{table}");
    Ok(table)
}

/// Where and when, and of what.
fn header(arguments: &Arguments) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("unknown");
    format!(
        "{}; {} processors ({}), Linux {}; {} rounds; {}.",
        arguments.rig.versions(),
        processors::count(),
        model.trim(),
        // Without what a distribution adds.
        read("/proc/sys/kernel/osrelease").trim().split('-').next().unwrap_or_default(),
        arguments.rounds,
        clock::today(),
    )
}
