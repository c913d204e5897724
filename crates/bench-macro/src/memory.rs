//! What sessions hold while they are idle, and what is still held when they are gone.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use bench_rig::{clock, descriptors};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::CertificateDer};

use crate::{
    cpu,
    frames::{BINARY, TEXT},
    loads,
    proxies::{Proxy, Running, Stage},
    world::World,
};

/// Kibibytes a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    /// Right after it was opened.
    pub(crate) opened: f64,
    /// After it has echoed a message of 16 KiB.
    pub(crate) used: f64,
    /// What the kernel holds for all four of its sockets, which are all on this machine.
    pub(crate) kernel: f64,
}

/// What comes and goes left behind, in KiB and descriptors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Churn {
    /// Short sessions that came and went in all.
    pub(crate) sessions: u64,
    pub(crate) before: u64,
    /// While a burst of large messages was on its way: the most of all rounds.
    pub(crate) most: u64,
    /// After the first round, and after the last.
    pub(crate) after: (u64, u64),
    /// Before, and after the last round.
    pub(crate) files: (usize, usize),
}

/// How many sessions at once, with the descriptors there are.
pub(crate) fn most_sessions() -> usize {
    // The generator has both other ends.
    9000.min((descriptors::allowed() as usize).saturating_sub(1000) / 2)
}

/// Sessions that do nothing.
pub(crate) fn idle(proxy: Proxy, stage: &Stage<'_>, world: &mut World, count: usize) -> Result<Idle, String> {
    let running = proxy.start(stage)?;
    // What the first one brings about once is not counted.
    let mut ids = loads::open(world, running.address, "/echo", 1)?;
    let (base, kernel) = (settled(world, &running)?, cpu::kernel_memory());
    ids.extend(loads::open(world, running.address, "/echo", count)?);
    let opened = settled(world, &running)?;
    let kernel = cpu::kernel_memory().saturating_sub(kernel);
    let message = World::message(TEXT, 16 << 10);
    for some in ids.chunks(64) {
        loads::ping_pong(world, some, &message, clock::now(), &mut Vec::new())?;
    }
    let used = settled(world, &running)?;
    loads::close(world, &ids)?;
    let each = |now: u64| (now as f64 - base as f64) / count as f64;
    Ok(Idle { opened: each(opened), used: each(used), kernel: kernel as f64 / count as f64 })
}

/// The same with clients that speak TLS.
pub(crate) fn idle_tls(proxy: Proxy, stage: &Stage<'_>, trusted: &[u8], count: usize) -> Result<Idle, String> {
    let running = proxy.start(stage)?;
    let mut clients = vec![TlsClient::open(running.address, trusted)?];
    clients[0].echo()?;
    let base = cpu::memory(&running.pids);
    for _ in 0..count {
        clients.push(TlsClient::open(running.address, trusted)?);
    }
    let opened = cpu::memory(&running.pids);
    for client in &mut clients {
        client.echo()?;
    }
    let used = cpu::memory(&running.pids);
    let each = |now: u64| (now as f64 - base as f64) / count as f64;
    Ok(Idle { opened: each(opened), used: each(used), kernel: 0.0 })
}

/// Rounds of many short sessions, many sessions with messages, and a burst of large ones.
pub(crate) fn churn(
    proxy: Proxy,
    stage: &Stage<'_>,
    world: &mut World,
    rounds: u32,
    short: u64,
) -> Result<Churn, String> {
    let running = proxy.start(stage)?;
    let warm = loads::open(world, running.address, "/echo", 64)?;
    loads::close(world, &warm)?;
    let before = settled(world, &running)?;
    let files = cpu::files(&running.pids);
    let mut churn = Churn { sessions: 0, before, most: before, after: (0, 0), files: (files, files) };
    let (small, large) = (World::message(TEXT, 4 << 10), World::message(BINARY, 1 << 20));
    for round in 0..rounds {
        let forever = clock::now() + Duration::from_secs(3600);
        churn.sessions += loads::handshakes(world, running.address, forever, short)?;
        let ids = loads::open(world, running.address, "/echo", 1000)?;
        loads::ping_pong(world, &ids, &small, clock::now(), &mut Vec::new())?;
        loads::ping_pong(world, &ids[..200], &large, clock::now(), &mut Vec::new())?;
        churn.most = churn.most.max(cpu::memory(&running.pids));
        loads::close(world, &ids)?;
        churn.sessions += 1000;
        let after = settled(world, &running)?;
        churn.after = if round == 0 { (after, after) } else { (churn.after.0, after) };
    }
    churn.files.1 = cpu::files(&running.pids);
    Ok(churn)
}

/// Memory when half a second of nothing has passed: time to let go of what the last session held.
fn settled(world: &mut World, running: &Running) -> Result<u64, String> {
    let end = clock::now() + Duration::from_millis(500);
    while clock::now() < end {
        loads::turn(world, Duration::from_millis(50))?;
    }
    Ok(cpu::memory(&running.pids))
}

/// A server with a thread to itself, for clients that block.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Served {
    pub(crate) fn start() -> Result<Self, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let Ok(mut world) = World::new() else { return };
            if tell.send(world.address()).is_ok() {
                while !stopped.load(Relaxed) && world.turn(Duration::from_millis(50)).is_ok() {}
            }
        });
        let address = told.recv().map_err(|_| "no server for clients that speak TLS")?;
        Ok(Self { address, stop, thread: Some(thread) })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

struct TlsClient(StreamOwned<ClientConnection, TcpStream>);

impl TlsClient {
    fn open(to: SocketAddr, trusted: &[u8]) -> Result<Self, String> {
        Self::try_open(to, trusted).map_err(|error| format!("a session over TLS: {error}"))
    }

    fn try_open(to: SocketAddr, trusted: &[u8]) -> std::io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(trusted)).map_err(std::io::Error::other)?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = "localhost".try_into().map_err(std::io::Error::other)?;
        let tls = ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
        let stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut stream = StreamOwned::new(tls, stream);
        let request = "GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(std::io::Error::other(String::from_utf8_lossy(&head)));
        }
        Ok(Self(stream))
    }

    /// A message of 16 KiB.
    fn echo(&mut self) -> Result<(), String> {
        let message = World::message(TEXT, 16 << 10);
        // The server's frame has no mask.
        let mut answer = vec![0; message.len() - 4];
        let echoed = self.0.write_all(&message).and_then(|()| self.0.read_exact(&mut answer));
        echoed.map_err(|error| format!("an echo over TLS: {error}"))
    }
}
