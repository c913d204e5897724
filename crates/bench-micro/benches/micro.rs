//! The workloads by the clock.

use bench_micro::{WORKLOADS, Workload};

fn main() {
    divan::main();
}

#[divan::bench(args = WORKLOADS)]
fn micro(bencher: divan::Bencher<'_, '_>, workload: &Workload) {
    bencher.bench_local((workload.prepare)());
}
