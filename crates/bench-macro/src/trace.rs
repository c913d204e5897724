//! Counting system calls.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bench_rig::process::{comes_up, kill};
use rustix::process::Signal;

/// An strace at work.
pub(crate) struct Trace {
    child: Child,
    summary: PathBuf,
}

impl Trace {
    /// Attaches to these processes and all their threads.
    pub(crate) fn begin(program: &Path, pids: &[u32]) -> Result<Self, String> {
        let summary = std::env::temp_dir().join(format!("tidegate-bench-{}.strace", std::process::id()));
        let mut command = Command::new(program);
        command.args(["-f", "-c", "-o"]).arg(&summary).args(pids.iter().map(|pid| format!("-p{pid}")));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut child = child.map_err(|error| format!("{}: {error}", program.display()))?;
        if !comes_up(&mut child, Duration::from_secs(5), || pids.iter().all(|&pid| is_traced(pid))) {
            return Err(format!("{} may not trace the proxies", program.display()));
        }
        Ok(Self { child, summary })
    }

    /// Detaches; how many calls there were.
    pub(crate) fn end(mut self) -> Result<u64, String> {
        kill(&self.child, Signal::INT).map_err(|error| format!("strace: {error}"))?;
        self.child.wait().map_err(|error| format!("strace: {error}"))?;
        let summary = fs::read_to_string(&self.summary).map_err(|error| format!("strace: {error}"))?;
        // Litter in a temporary directory is no reason to fail.
        let _ = fs::remove_file(&self.summary);
        total(&summary).ok_or_else(|| format!("strace counted nothing:\n{summary}"))
    }
}

fn is_traced(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut statuses = tasks.map(|task| fs::read_to_string(task.path().join("status")).unwrap_or_default());
    statuses.all(|status| status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0")))
}

/// The calls in the last line of a summary: `100.00 0.01 12 345 [6] total`.
fn total(summary: &str) -> Option<u64> {
    summary.lines().last()?.strip_suffix("total")?.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_total_of_a_summary() {
        let summary = "% time     seconds  usecs/call     calls    errors syscall\n 60.00    0.6   5   120   1 sendto\n\
                       ------ ----------- ----------- --------- --------- ----------------\n\
                       100.00    1.000000          10       345         6 total\n";
        assert_eq!(super::total(summary), Some(345));
        assert_eq!(super::total("strace: attach: Operation not permitted"), None);
    }
}
