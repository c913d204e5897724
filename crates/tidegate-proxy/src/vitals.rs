//! What the process itself uses of what it may: looked at twice a second, so that newcomers are turned away before
//! those who are here suffer.

use std::{fs, path::Path, sync::Arc, time::Duration};

use rustix::process::{Resource as Limit, getrlimit};
use tidegate_governor::{Protection, Resource, Usage};
use tokio::time::interval;

use crate::shared::Shared;

const LOOK: Duration = Duration::from_millis(500);
/// A worker that has not answered by then counts as this late.
const LONGEST: Duration = Duration::from_secs(2);

/// Looks for as long as the process lives.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut protection = Protection::default();
    let mut clock = interval(LOOK);
    loop {
        clock.tick().await;
        let limit = getrlimit(Limit::Nofile).current;
        shared.strain.set_files(limit.unwrap_or(u64::MAX));
        let usage = Usage {
            files: files(limit),
            memory: memory(),
            lag: Some(shared.answer_time(LONGEST).await.unwrap_or(LONGEST)),
        };
        let bounds = shared.live.load().config.protection;
        let strain = protection.observe(&usage, &bounds);
        shared.metrics.used(&usage);
        shared.metrics.refusing(strain);
        shared.strain.set(strain);
    }
}

/// Share of the descriptors that are open.
fn files(limit: Option<u64>) -> Option<f64> {
    let limit = limit?;
    let directory = Path::new("/proc/self/fd");
    // Its size is their number, since Linux 6.2; to count them takes long where there are many.
    let open = match fs::metadata(directory).ok()?.len() {
        0 => fs::read_dir(directory).ok()?.count() as u64,
        open => open,
    };
    Some(open as f64 / limit as f64)
}

/// Share of the memory in use: of the cgroup's where it has a bound, else of the machine's.
fn memory() -> Option<f64> {
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|group| {
        let path = group.lines().find_map(|line| line.strip_prefix("0::/"))?;
        of_group(&Path::new("/sys/fs/cgroup").join(path))
    });
    group.or_else(|| of_machine(&fs::read_to_string("/proc/meminfo").ok()?))
}

fn of_group(directory: &Path) -> Option<f64> {
    let number = |name| fs::read_to_string(directory.join(name)).ok()?.trim().parse::<u64>().ok();
    // `max` is no number: no bound.
    let (most, current) = (number("memory.max")?, number("memory.current")?);
    // Pages of files that nobody has used lately are given back before anybody is killed.
    let stat = fs::read_to_string(directory.join("memory.stat")).unwrap_or_default();
    let idle = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse::<u64>().ok()).unwrap_or(0);
    Some(current.saturating_sub(idle) as f64 / most as f64)
}

fn of_machine(meminfo: &str) -> Option<f64> {
    let kibibytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    let (total, available) = (kibibytes("MemTotal:")?, kibibytes("MemAvailable:")?);
    Some(1.0 - available as f64 / total as f64)
}

/// The reason of a refusal, as metrics and the log have it.
pub(crate) const fn reason(resource: Resource) -> &'static str {
    match resource {
        Resource::Files => "short_of_files",
        Resource::Memory => "short_of_memory",
        Resource::Lag => "short_of_time",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_looked_at() {
        assert!(files(getrlimit(Limit::Nofile).current).is_some_and(|share| (0.0..=1.0).contains(&share)));
        assert!(memory().is_some_and(|share| (0.0..=1.0).contains(&share)));
    }

    #[test]
    fn memory_is_what_is_not_available() {
        assert_eq!(of_machine("MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    250 kB\n"), Some(0.75));
        assert_eq!(of_machine("MemTotal: 1000 kB\n"), None);
    }

    #[test]
    fn a_group_has_a_bound_or_none() {
        let directory = std::env::temp_dir().join(format!("tidegate-vitals-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let put = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
        put("memory.current", "900\n");
        put("memory.stat", "anon 700\ninactive_file 200\n");
        put("memory.max", "max\n");
        assert_eq!(of_group(&directory), None);
        put("memory.max", "1000\n");
        assert_eq!(of_group(&directory), Some(0.7));
        fs::remove_dir_all(&directory).unwrap();
    }
}
