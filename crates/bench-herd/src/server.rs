//! A WebSocket server whose handshakes cost it what [`Work`](crate::work) says. Sessions are greeted with its number, so
//! that clients know whom they have reached; texts are echoed.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bench_rig::clock;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use crate::{
    aside::{Aside, Haste},
    client,
    work::{Capacity, Work},
};

/// How often finished work is looked for: far less than a handshake takes.
const TICK: Duration = Duration::from_millis(2);
const LONGEST_HEAD: usize = 16 << 10;
/// A greeting's first word; the number of the server follows.
pub(crate) const GREETING: &str = "hello ";

/// What it has done, from any thread.
#[derive(Debug)]
pub struct Stats {
    /// Handshakes whose request came.
    pub started: AtomicU64,
    /// Handshakes at work now.
    pub at_work: AtomicU64,
    /// The part of its speed that it has, in thousandths.
    pub health: AtomicU64,
}

impl Default for Stats {
    fn default() -> Self {
        Self { started: AtomicU64::new(0), at_work: AtomicU64::new(0), health: AtomicU64::new(1000) }
    }
}

/// A running server on a thread of its own. Dropping it ends all its connections at once.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it does.
    pub stats: Arc<Stats>,
    _aside: Aside,
}

impl Server {
    /// At this address, port 0 for any; greets with `number`.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn start(address: SocketAddr, number: u64, capacity: Capacity, haste: Haste) -> io::Result<Self> {
        let runtime = Aside::runtime()?;
        let listener = {
            let _within = runtime.enter();
            let socket = TcpSocket::new_v4()?;
            // The address of the one before it.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(4096)?
        };
        let address = listener.local_addr()?;
        let stats = Arc::new(Stats::default());
        let state = State { number, work: Mutex::new(Work::new(capacity, clock::now())), stats: stats.clone() };
        let aside = Aside::start(&format!("server {number}"), runtime, haste, serve(listener, Arc::new(state)))?;
        Ok(Self { address, stats, _aside: aside })
    }
}

struct State {
    number: u64,
    work: Mutex<Work<oneshot::Sender<()>>>,
    stats: Arc<Stats>,
}

impl State {
    /// Begins a handshake's work.
    fn take(&self) -> oneshot::Receiver<()> {
        let (done, wait) = oneshot::channel();
        self.stats.started.fetch_add(1, Relaxed);
        self.work(|work| work.take(done));
        wait
    }

    fn work<T>(&self, on: impl FnOnce(&mut Work<oneshot::Sender<()>>) -> T) -> T {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.advance(self.stats.health.load(Relaxed) as f64 / 1000.0, clock::now());
        let result = on(&mut work);
        self.stats.at_work.store(work.len() as u64, Relaxed);
        result
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let accepting = state.clone();
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(session(stream, accepting.clone()))),
                // Out of descriptors: some come back.
                Err(_) => tokio::time::sleep(TICK).await,
            }
        }
    });
    loop {
        tokio::time::sleep(TICK).await;
        state.work(|work| {
            while let Some(done) = work.finished() {
                // Its client may have left; the work was done all the same.
                let _ = done.send(());
            }
        });
    }
}

/// One connection. Whatever fails ends it, as clients notice.
async fn session(mut stream: TcpStream, state: Arc<State>) -> Option<()> {
    // Saves a packet's delay where it works.
    let _ = stream.set_nodelay(true);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.ok()? == 0 || head.len() > LONGEST_HEAD {
            return None;
        }
    }
    let head = String::from_utf8(head).ok()?;
    let named = |line: &&str| line.to_ascii_lowercase().starts_with("sec-websocket-key:");
    let key = head.lines().find(named)?.split_once(':')?.1.trim();
    state.take().await.ok()?;
    let greeting = format!("{GREETING}{}", state.number);
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )
    .into_bytes();
    answer.extend([0x81, greeting.len() as u8]);
    answer.extend(greeting.as_bytes());
    stream.write_all(&answer).await.ok()?;
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(client::small())).await;
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(_) = message {
            socket.send(message).await.ok()?;
        }
    }
    Some(())
}
