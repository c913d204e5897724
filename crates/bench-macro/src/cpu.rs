//! What a process has used.

use std::fs;

/// A process and its children: nginx has a master and a worker.
pub(crate) fn family(root: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{root}/task/{root}/children")).unwrap_or_default();
    [root].into_iter().chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
}

/// What these processes have spent on a processor so far, in nanoseconds: the sum over their threads, none of which
/// ends while a proxy serves. The kernel does the work of a loopback receiver in the sender's name, so it is in there.
pub(crate) fn spent(pids: &[u32]) -> u64 {
    let mut sum = 0;
    for pid in pids {
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            sum += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    sum
}

/// How often these processes went to sleep and were woken again.
pub(crate) fn wakeups(pids: &[u32]) -> u64 {
    let mut sum = 0;
    for pid in pids {
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            sum += field(&text, "voluntary_ctxt_switches:");
        }
    }
    sum
}

/// Memory of their own that these processes have resident (anonymous pages), in KiB.
pub(crate) fn memory(pids: &[u32]) -> u64 {
    pids.iter()
        .map(|pid| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default())
        .map(|text| field(&text, "RssAnon:"))
        .sum()
}

/// Files and sockets that these processes have open.
pub(crate) fn files(pids: &[u32]) -> usize {
    pids.iter().map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)).sum()
}

/// What the kernel holds for sockets on this machine: its slabs and TCP's buffers, in KiB.
pub(crate) fn kernel_memory() -> u64 {
    let slab = field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "Slab:");
    let sockets = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let pages = sockets
        .lines()
        .find(|line| line.starts_with("TCP:"))
        .and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    slab + 4 * pages.unwrap_or(0)
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
