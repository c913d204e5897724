//! Does every workload so often, and says so, for callgrind, which is told to write down its count at every
//! [`boundary`]; with `--limits` it measures those that were promised to be fast instead.

use std::{hint::black_box, process::ExitCode};

use bench_micro::{WORKLOADS, Workload, now};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--limits") {
        return limits();
    }
    for Workload { name, prepare, times, .. } in WORKLOADS {
        let mut operation = prepare();
        // What was needed once is not part of it.
        operation();
        boundary();
        (0..*times).for_each(|_| operation());
        boundary();
        println!("{name}\t{times}");
    }
    ExitCode::SUCCESS
}

#[inline(never)]
fn boundary() {
    black_box(());
}

/// The least of many measurements: what else the machine does only makes one longer.
fn limits() -> ExitCode {
    const BATCHES: u32 = 200;
    const BATCH: u32 = 100;
    let mut code = ExitCode::SUCCESS;
    for Workload { name, prepare, limit_ns, .. } in WORKLOADS {
        let Some(limit) = limit_ns else { continue };
        let mut operation = prepare();
        let batch = |_| {
            let start = now();
            (0..BATCH).for_each(|_| operation());
            start.elapsed().as_nanos() as u64 / u64::from(BATCH)
        };
        let least = (0..BATCHES).map(batch).min().unwrap_or(u64::MAX);
        let verdict = if least > *limit { "TOO SLOW" } else { "ok" };
        println!("  {name}: {least} ns, at most {limit} ns: {verdict}");
        if least > *limit {
            code = ExitCode::FAILURE;
        }
    }
    code
}
