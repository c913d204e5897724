//! Which processor runs what, and who goes first.

use std::{
    fs,
    process::{Command, Stdio},
    sync::OnceLock,
};

use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};

/// How many there are to share.
pub fn count() -> usize {
    allowed().len()
}

/// Goes to the first processor, with all that is started from here on but for the proxies, which have the last.
pub fn take_the_first() {
    pin(allowed().first().copied());
}

/// Runs `work` on the last processor, and what it starts stays there; back to the first afterwards.
pub(crate) fn on_the_proxies<T>(work: impl FnOnce() -> T) -> T {
    pin(allowed().last().copied());
    let value = work();
    take_the_first();
    value
}

/// The processors that this process began with.
fn allowed() -> &'static [usize] {
    static ALL: OnceLock<Vec<usize>> = OnceLock::new();
    ALL.get_or_init(|| {
        let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
    })
}

fn pin(cpu: Option<usize>) {
    let Some(cpu) = cpu else { return };
    let mut set = CpuSet::new();
    set.set(cpu);
    // Where it may not be chosen, the scheduler chooses.
    let _ = sched_setaffinity(None, &set);
}

/// Goes before other work of the machine, and so does what is started from here on. Only where that may be done.
pub fn go_first() {
    const NICE: i32 = -15;
    let _ = rustix::process::setpriority_process(None, NICE);
    // With autogroups that counts within a terminal session only, and the session has a value of its own.
    let _ = fs::write("/proc/self/autogroup", NICE.to_string());
}

/// This thread runs as soon as it is woken, whatever else its processor does. Only where that may be done: for root,
/// with util-linux.
pub fn run_at_once() {
    let thread = gettid().as_raw_nonzero().to_string();
    // In vain it costs milliseconds, which the measurement then shows.
    let _ = Command::new("chrt").args(["--fifo", "--pid", "1", &thread]).stderr(Stdio::null()).status();
}
