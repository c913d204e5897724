//! A process that gets next to no time.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, setpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Threads that want the processor, too, and do nothing with it.
const HOGS: usize = 8;
/// As little as a thread can ask for.
const NICEST: i32 = 19;

/// Some threads of a process, on one processor with many that never rest. When this is dropped those are gone, and the
/// threads may run anywhere again.
#[derive(Debug)]
pub struct Starved {
    threads: Vec<Pid>,
    allowed: CpuSet,
    enough: Arc<AtomicBool>,
    hogs: Vec<JoinHandle<()>>,
}

impl Starved {
    /// The threads of this process whose names begin so.
    ///
    /// # Panics
    /// When it has none.
    pub(crate) fn threads_of(process: Pid, name: &str) -> Self {
        let allowed = sched_getaffinity(None).expect("the processors of this process");
        let last = (0..CpuSet::MAX_CPU).rfind(|&cpu| allowed.is_set(cpu)).expect("a processor");
        let mut one = CpuSet::new();
        one.set(last);

        let tasks = fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())).expect("the process's threads");
        let named = tasks.filter_map(|task| {
            let task = task.ok()?;
            let comm = fs::read_to_string(task.path().join("comm")).ok()?;
            comm.starts_with(name).then(|| task.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))?
        });
        let threads: Vec<Pid> = named.collect();
        assert!(!threads.is_empty(), "no thread is called {name}");
        for &thread in &threads {
            sched_setaffinity(Some(thread), &one).expect("a thread of our child's");
            setpriority_process(Some(thread), NICEST).expect("less is always granted");
        }

        let enough = Arc::new(AtomicBool::new(false));
        let hog = |_| {
            let enough = enough.clone();
            thread::spawn(move || {
                sched_setaffinity(None, &one).expect("a processor of our own");
                while !enough.load(Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        Self { threads, allowed, hogs: (0..HOGS).map(hog).collect(), enough }
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        self.enough.store(true, Relaxed);
        self.hogs.drain(..).for_each(|hog| _ = hog.join());
        for &thread in &self.threads {
            // One that is gone needs none.
            let _ = sched_setaffinity(Some(thread), &self.allowed);
        }
    }
}
