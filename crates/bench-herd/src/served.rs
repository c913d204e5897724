//! A server as a process of its own, so that it can be killed.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use bench_herd::{Capacity, Haste, Server, server::Stats};
use bench_rig::descriptors;

/// How often it says what it has done.
const SAYS: Duration = Duration::from_millis(50);

/// Serves until standard input ends; its lines are the health in thousandths, those of the output what has been done.
pub(crate) fn serve(address: SocketAddr, number: u64, capacity: Capacity) -> Result<(), String> {
    descriptors::raise();
    let server =
        Server::start(address, number, capacity, Haste::Usual).map_err(|error| format!("{address}: {error}"))?;
    let stats = server.stats.clone();
    thread::spawn(move || {
        loop {
            println!("{} {}", stats.started.load(Relaxed), stats.at_work.load(Relaxed));
            thread::sleep(SAYS);
        }
    });
    for line in io::stdin().lines().map_while(Result::ok) {
        let health = line.trim().parse().map_err(|_| format!("no health: {line}"))?;
        server.stats.health.store(health, Relaxed);
    }
    Ok(())
}

/// The process, from outside; killed on drop.
pub(crate) struct Served {
    pub(crate) number: u64,
    pub(crate) stats: Arc<Stats>,
    child: Child,
    orders: Option<ChildStdin>,
}

impl Served {
    /// Starts it and waits until it listens.
    pub(crate) fn start(address: SocketAddr, number: u64, capacity: Capacity) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        let figures = [
            ("--address", address.to_string()),
            ("--number", number.to_string()),
            ("--rate", capacity.rate.to_string()),
            ("--base", capacity.base.to_string()),
            ("--cold", capacity.cold.to_string()),
            ("--warm-after-ms", capacity.warm_after.as_millis().to_string()),
        ];
        command.arg("serve").args(figures.iter().flat_map(|(name, value)| [*name, value.as_str()]));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let (orders, output) = (child.stdin.take(), child.stdout.take());
        let stats = Arc::new(Stats::default());
        let mut lines = BufReader::new(output.ok_or("no output")?).lines().map_while(Result::ok);
        // The first comes when it listens.
        if lines.next().is_none() {
            return Err(format!("server {number} does not start"));
        }
        let told = stats.clone();
        thread::spawn(move || {
            for line in lines {
                let mut figures = line.split(' ').filter_map(|figure| figure.parse().ok());
                if let (Some(started), Some(at_work)) = (figures.next(), figures.next()) {
                    told.started.store(started, Relaxed);
                    told.at_work.store(at_work, Relaxed);
                }
            }
        });
        Ok(Self { number, stats, child, orders })
    }

    /// The part of its speed that it has from now on, in thousandths.
    pub(crate) fn health(&mut self, thousandths: u64) -> Result<(), String> {
        let orders = self.orders.as_mut().ok_or("no input")?;
        writeln!(orders, "{thousandths}").map_err(|error| error.to_string())
    }

    /// Handshakes begun and no longer at work, as said last.
    pub(crate) fn through(&self) -> i64 {
        // What was said may be as old as that.
        thread::sleep(2 * SAYS);
        self.stats.started.load(Relaxed) as i64 - self.stats.at_work.load(Relaxed) as i64
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
