//! Processes that are started, waited for and ended.

use std::{
    fs, io,
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Place, clock};

/// A running proxy; ended on drop.
#[derive(Debug)]
pub struct Process {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
}

impl Process {
    /// Starts it and waits until it takes connections. What it says goes to `output` in its directory, and into the
    /// error if it ends.
    pub(crate) fn start(mut command: Command, place: &Place) -> Result<Self, String> {
        let program = command.get_program().display().to_string();
        let fail = |error: io::Error| format!("{program}: {error}");
        let path = place.directory.join("output");
        let output = fs::File::create(&path).map_err(fail)?;
        let second = output.try_clone().map_err(fail)?;
        command.current_dir(&place.directory).stdin(Stdio::null()).stdout(output).stderr(second);
        let mut process = Self { address: place.address, child: command.spawn().map_err(fail)? };
        let listens = || TcpStream::connect(place.address).is_ok();
        if !comes_up(&mut process.child, Duration::from_secs(15), listens) {
            let output = fs::read_to_string(&path).unwrap_or_default();
            return Err(format!("{program} does not start:\n{output}"));
        }
        Ok(process)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // It may have ended.
        let _ = kill(&self.child, signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        // nginx's worker goes with its master only when that is asked. tidegate takes its time until it is asked again.
        self.signal(Signal::TERM);
        self.signal(Signal::TERM);
        if clock::until(Duration::from_secs(3), || self.child.try_wait().ok().flatten()).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Whether it is ready before it ends, and before `patience` does.
pub fn comes_up(child: &mut Child, patience: Duration, mut is_ready: impl FnMut() -> bool) -> bool {
    let up = clock::until(patience, || {
        let ended = child.try_wait().ok().flatten().is_some();
        (ended || is_ready()).then_some(!ended)
    });
    up == Some(true)
}

/// Sends a child a signal.
///
/// # Errors
/// The kernel's.
pub fn kill(child: &Child, signal: Signal) -> io::Result<()> {
    let pid = Pid::from_raw(child.id() as i32).ok_or(io::ErrorKind::NotFound)?;
    Ok(kill_process(pid, signal)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_ends_at_once_has_its_words_in_the_error() {
        let directory = std::env::temp_dir().join(format!("bench-rig-{}", std::process::id()));
        let place = Place::new(&directory).expect("a directory and an address");
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such port >&2; exit 1"]);
        let error = Process::start(command, &place).expect_err("it ends");
        assert_eq!(error, "sh does not start:\nno such port\n");
        fs::remove_dir_all(directory).expect("it is removed");
    }
}
