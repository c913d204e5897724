//! How many files and sockets may be open: what bounds the sessions of a benchmark.

use rustix::process::{Resource::Nofile, getrlimit, setrlimit};

/// Descriptors that this process, and so what it starts, may have: at most 2^20, which is what nginx and HAProxy lay
/// out tables for.
pub fn allowed() -> u64 {
    getrlimit(Nofile).current.unwrap_or(u64::MAX).min(1 << 20)
}

/// Raises the soft limit to the hard one.
pub fn raise() {
    let mut limit = getrlimit(Nofile);
    limit.current = limit.maximum;
    // Else fewer sessions are opened, and that is said.
    let _ = setrlimit(Nofile, limit);
}
