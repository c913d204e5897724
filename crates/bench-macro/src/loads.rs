//! What the proxies are put under, and what each costs them.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use bench_rig::clock;

use crate::{
    cpu,
    frames::{self, BINARY, CLOSE, TEXT},
    trace::Trace,
    world::{Id, Seen, World},
};

/// How long nothing may happen before a proxy is taken to have lost something.
const PATIENCE: Duration = Duration::from_secs(10);
/// Handshakes under way at a time.
const AT_ONCE: usize = 64;

/// One kind of work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// Sessions that wait for the echo of each message before they send the next.
    Echo { sessions: usize, opcode: u8, size: usize },
    /// 1 MiB messages without end from the server, on four sessions.
    Down,
    /// The same from the clients.
    Up,
    /// 64-byte messages to 1,000 clients, so many at once to each.
    Fan { burst: usize },
    /// Connect, upgrade, closing handshake.
    Handshakes,
    /// So many 128-byte messages a second over 200 sessions, whatever becomes of them.
    Paced { rate: u32 },
    /// One session that echoes 32 bytes, beside so many as in [`Load::Down`].
    Beside { streams: usize },
}

/// What one measurement found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Processor time of the proxy for each unit, microseconds.
    pub(crate) cost: f64,
    /// How often it was woken for each unit.
    pub(crate) wakeups: f64,
    /// System calls for each unit, where they were counted, which makes all else dearer.
    pub(crate) calls: Option<f64>,
    /// Of the messages' round trips, microseconds; of a paced load from when each was due.
    pub(crate) p99: Option<f64>,
}

type Result<T = ()> = std::result::Result<T, String>;

impl Load {
    /// Puts the proxy under it, for `window` after a third of that to warm up. System calls are counted with `strace`
    /// where there is one.
    pub(crate) fn measure(
        self,
        world: &mut World,
        to: SocketAddr,
        pids: &[u32],
        window: Duration,
        strace: Option<&Path>,
    ) -> Result<Sample> {
        let ids = match self {
            Self::Echo { sessions, .. } => open(world, to, "/echo", sessions)?,
            Self::Down => open(world, to, "/source", 4)?,
            Self::Up => open(world, to, "/sink", 4)?,
            Self::Fan { .. } => open(world, to, "/fan", 1000)?,
            Self::Handshakes => Vec::new(),
            Self::Paced { .. } => open(world, to, "/echo", 200)?,
            Self::Beside { streams } => {
                let mut ids = open(world, to, "/echo", 1)?;
                ids.extend(open(world, to, "/source", streams)?);
                ids
            }
        };
        if let Self::Up = self {
            let message = World::message(BINARY, 1 << 20);
            ids.iter().for_each(|&id| world.pour(id, &message));
        }
        let mut latencies = Vec::new();
        self.run(world, to, &ids, window / 3, &mut latencies)?;
        latencies.clear();
        let trace = strace.map(|program| Trace::begin(program, pids)).transpose()?;
        let before = (cpu::spent(pids), cpu::wakeups(pids));
        let units = self.run(world, to, &ids, window, &mut latencies)?;
        let calls = trace.map(Trace::end).transpose()?;
        let after = (cpu::spent(pids), cpu::wakeups(pids));
        close(world, &ids)?;
        Ok(Sample {
            cost: (after.0 - before.0) as f64 / 1e3 / units,
            wakeups: (after.1 - before.1) as f64 / units,
            calls: calls.map(|calls| calls as f64 / units),
            p99: percentile(&mut latencies, 0.99),
        })
    }

    /// Works for so long; how many units were done.
    fn run(
        self,
        world: &mut World,
        to: SocketAddr,
        ids: &[Id],
        window: Duration,
        latencies: &mut Vec<Duration>,
    ) -> Result<f64> {
        let until = clock::now() + window;
        let before = world.received;
        match self {
            Self::Echo { opcode, size, .. } => {
                let done = ping_pong(world, ids, &World::message(opcode, size), until, latencies)?;
                let echoed = (world.received - before) / 2;
                if echoed != done * size as u64 {
                    return Err(format!("{done} messages of {size} bytes came back as {echoed} bytes"));
                }
                Ok(done as f64)
            }
            Self::Down | Self::Up => {
                let mut progress = Progress::new();
                while clock::now() < until {
                    turn(world, Duration::from_millis(10))?;
                    progress.is(world.received)?;
                    world.seen.clear();
                }
                Ok((world.received - before) as f64 / f64::from(1 << 20))
            }
            Self::Fan { burst } => fan_out(world, ids.len(), burst, until),
            Self::Handshakes => handshakes(world, to, until, u64::MAX).map(|done| done as f64),
            Self::Paced { rate } => paced(world, ids, rate, until, latencies),
            Self::Beside { .. } => {
                ping_pong(world, &ids[..1], &World::message(TEXT, 32), until, latencies).map(|done| done as f64)
            }
        }
    }
}

/// Opens sessions.
pub(crate) fn open(world: &mut World, to: SocketAddr, path: &str, count: usize) -> Result<Vec<Id>> {
    let (mut ids, mut opened) = (Vec::with_capacity(count), 0);
    let mut progress = Progress::new();
    while opened < count {
        while ids.len() < count.min(opened + AT_ONCE) {
            ids.push(world.connect(to, path).map_err(|error| error.to_string())?);
        }
        turn(world, PATIENCE)?;
        for (_, seen) in std::mem::take(&mut world.seen) {
            match seen {
                Seen::Opened => opened += 1,
                Seen::Message(_) => {}
                other => return Err(format!("{opened} of {count} sessions opened, then {other:?}")),
            }
        }
        progress.is(opened as u64 + world.received)?;
    }
    Ok(ids)
}

/// Ends sessions with a closing handshake, but for those that still pour, and waits until the server is rid of them.
pub(crate) fn close(world: &mut World, ids: &[Id]) -> Result {
    ids.iter().for_each(|&id| world.drop_client(id));
    let mut progress = Progress::new();
    while world.served > 0 {
        turn(world, Duration::from_millis(100))?;
        world.seen.clear();
        progress.is(world.served as u64)?;
    }
    Ok(())
}

/// One message on each session; another for each that comes back, until the time is over and all are back.
pub(crate) fn ping_pong(
    world: &mut World,
    ids: &[Id],
    message: &Rc<[u8]>,
    until: Instant,
    latencies: &mut Vec<Duration>,
) -> Result<u64> {
    let last = ids.iter().max().map_or(0, |id| id + 1);
    let mut sent = vec![clock::now(); last];
    for &id in ids {
        sent[id] = clock::now();
        world.send(id, message);
    }
    let (mut away, mut done) = (ids.len(), 0);
    let mut progress = Progress::new();
    while away > 0 {
        turn(world, PATIENCE)?;
        for (id, seen) in std::mem::take(&mut world.seen) {
            match seen {
                // A stream beside: see [`Load::Beside`].
                Seen::Message(_) if ids.len() == 1 && id != ids[0] => {}
                Seen::Message(_) => {
                    done += 1;
                    let now = clock::now();
                    latencies.push(now - sent[id]);
                    if now < until {
                        sent[id] = now;
                        world.send(id, message);
                    } else {
                        away -= 1;
                    }
                }
                other => return Err(format!("a session that echoes: {other:?}")),
            }
        }
        progress.is(done)?;
    }
    Ok(done)
}

fn fan_out(world: &mut World, clients: usize, burst: usize, until: Instant) -> Result<f64> {
    let bytes = frames::frame(TEXT, &[b'x'; 64], false).repeat(burst);
    let (mut wanted, mut came) = (0, 0);
    let mut progress = Progress::new();
    while clock::now() < until || came < wanted {
        if came == wanted {
            if world.broadcast(&bytes) != clients {
                return Err("a client of the fan-out is gone".into());
            }
            wanted += clients * burst;
        }
        turn(world, PATIENCE)?;
        for (_, seen) in std::mem::take(&mut world.seen) {
            match seen {
                Seen::Message(_) => came += 1,
                other => return Err(format!("a client of the fan-out: {other:?}")),
            }
        }
        progress.is(came as u64)?;
    }
    Ok(came as f64)
}

/// Short sessions, until the time is over or so many were begun.
pub(crate) fn handshakes(world: &mut World, to: SocketAddr, until: Instant, most: u64) -> Result<u64> {
    let goodbye = frames::frame(CLOSE, &1000u16.to_be_bytes(), true);
    let (mut under_way, mut begun, mut done) = (0, 0, 0);
    let mut answered = Vec::new();
    let mut progress = Progress::new();
    loop {
        while under_way < AT_ONCE && begun < most && clock::now() < until {
            world.connect(to, "/echo").map_err(|error| error.to_string())?;
            under_way += 1;
            begun += 1;
        }
        if under_way == 0 {
            return Ok(done);
        }
        turn(world, PATIENCE)?;
        for (id, seen) in std::mem::take(&mut world.seen) {
            match seen {
                Seen::Opened => world.send(id, &goodbye),
                Seen::Close(Some(1000), _) => answered.push(id),
                Seen::Ended if answered.contains(&id) => {
                    answered.retain(|&other| other != id);
                    under_way -= 1;
                    done += 1;
                }
                other => return Err(format!("a short session: {other:?}")),
            }
        }
        progress.is(done)?;
    }
}

/// The generator spins here, so that its own sleep is not in the figures.
fn paced(world: &mut World, ids: &[Id], rate: u32, until: Instant, latencies: &mut Vec<Duration>) -> Result<f64> {
    let message = World::message(TEXT, 128);
    let start = clock::now();
    let last = ids.iter().max().map_or(0, |id| id + 1);
    let mut due = vec![VecDeque::new(); last];
    let (mut sent, mut done) = (0, 0);
    let mut progress = Progress::new();
    loop {
        let now = clock::now();
        let mut next = start + Duration::from_secs(1) * sent / rate;
        while next <= now && now < until {
            let id = ids[sent as usize % ids.len()];
            world.send(id, &message);
            due[id].push_back(next);
            sent += 1;
            next = start + Duration::from_secs(1) * sent / rate;
        }
        if now >= until && done == sent {
            return Ok(f64::from(done));
        }
        turn(world, Duration::ZERO)?;
        for (id, seen) in std::mem::take(&mut world.seen) {
            match (seen, due[id].pop_front()) {
                (Seen::Message(_), Some(due)) => {
                    latencies.push(clock::now() - due);
                    done += 1;
                }
                (other, _) => return Err(format!("a session under a paced load: {other:?}")),
            }
        }
        progress.is(done.into())?;
    }
}

pub(crate) fn turn(world: &mut World, patience: Duration) -> Result {
    world.turn(patience).map_err(|error| format!("the load generator: {error}"))
}

/// Notices that nothing happens any more.
struct Progress {
    count: u64,
    since: Instant,
}

impl Progress {
    fn new() -> Self {
        Self { count: u64::MAX, since: clock::now() }
    }

    /// So much has been done.
    fn is(&mut self, count: u64) -> Result {
        let now = clock::now();
        if count != self.count {
            *self = Self { count, since: now };
        }
        if now - self.since > PATIENCE { Err(format!("nothing happened for {PATIENCE:?}")) } else { Ok(()) }
    }
}

/// In microseconds.
fn percentile(latencies: &mut [Duration], part: f64) -> Option<f64> {
    let at = (latencies.len() as f64 * part) as usize;
    if latencies.is_empty() {
        return None;
    }
    let at = at.min(latencies.len() - 1);
    Some(latencies.select_nth_unstable(at).1.as_secs_f64() * 1e6)
}
