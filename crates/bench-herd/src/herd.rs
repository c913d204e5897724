//! All clients, on one thread of their own.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bench_rig::clock;

use crate::{
    aside::{Aside, Haste},
    client::{End, Kind, Manner, Session},
};

/// What the clients want.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// How many.
    pub clients: usize,
    /// Dealt in turn.
    pub kinds: Vec<Kind>,
    /// The proxy.
    pub to: SocketAddr,
    /// Their first attempts are spread over this.
    pub within: Duration,
    /// How long a session is wanted, and then how long none. `None`: for ever.
    pub stay: Option<(Duration, Duration)>,
}

/// Counts of all clients, from any thread.
#[derive(Debug, Default)]
pub struct Seen {
    /// Connections begun.
    pub attempts: AtomicU64,
    /// Sessions greeted.
    pub greeted: AtomicU64,
    /// Clients that will not try again.
    pub stopped: AtomicU64,
    /// Opened and closed before a greeting.
    pub closed: AtomicU64,
    /// Refused by an HTTP status.
    pub statuses: AtomicU64,
    /// Nothing came in the client's time, or the connection broke.
    pub nothing: AtomicU64,
    /// Sessions by the number of the server.
    sessions: Mutex<HashMap<u64, usize>>,
}

impl Seen {
    /// Sessions that are open with this server.
    pub fn with(&self, server: u64) -> usize {
        self.sessions(|sessions| sessions.get(&server).copied().unwrap_or_default())
    }

    fn sessions<T>(&self, on: impl FnOnce(&mut HashMap<u64, usize>) -> T) -> T {
        on(&mut self.sessions.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The clients at work; dropping it ends all their connections.
#[derive(Debug)]
pub struct Herd {
    /// What they see.
    pub seen: Arc<Seen>,
    _aside: Aside,
}

impl Herd {
    /// Lets them loose.
    ///
    /// # Errors
    /// No thread, no epoll.
    pub fn start(crowd: Crowd) -> std::io::Result<Self> {
        let seen = Arc::new(Seen::default());
        let (crowd, counts) = (Arc::new(crowd), seen.clone());
        let living = async move {
            for client in 0..crowd.clients {
                drop(tokio::spawn(life(client, crowd.clone(), counts.clone())));
            }
            std::future::pending().await
        };
        Ok(Self { seen, _aside: Aside::start("herd", Aside::runtime()?, Haste::Usual, living)? })
    }
}

/// Comes, comes back, and perhaps gives up.
async fn life(client: usize, crowd: Arc<Crowd>, seen: Arc<Seen>) {
    let mut manner = Manner::new(crowd.kinds[client % crowd.kinds.len()], client as u64);
    let first = crowd.within.mul_f64(client as f64 / crowd.clients as f64);
    tokio::time::sleep(first).await;
    loop {
        let end = attempt(client, &mut manner, &crowd, &seen).await;
        let pause = match (end, crowd.stay) {
            (End::Left, Some((_, pause))) => {
                manner.delay(End::Left);
                Some(pause.mul_f64(0.5 + manner.unit()))
            }
            _ => manner.delay(end),
        };
        let Some(pause) = pause else { break };
        tokio::time::sleep(pause).await;
    }
    seen.stopped.fetch_add(1, Relaxed);
}

async fn attempt(client: usize, manner: &mut Manner, crowd: &Crowd, seen: &Arc<Seen>) -> End {
    seen.attempts.fetch_add(1, Relaxed);
    let opening = tokio::time::timeout(manner.patience(), Session::open(crowd.to, "/", client));
    let mut session = match opening.await.unwrap_or(Err(End::Nothing)) {
        Ok(session) => session,
        Err(end) => {
            let count = match end {
                End::Status => &seen.statuses,
                End::Closed { .. } => &seen.closed,
                _ => &seen.nothing,
            };
            count.fetch_add(1, Relaxed);
            return end;
        }
    };
    seen.greeted.fetch_add(1, Relaxed);
    let _counted = Counted::new(seen.clone(), session.server);
    let began = clock::now();
    let stay = crowd.stay.map_or(Duration::MAX, |(stay, _)| stay.mul_f64(0.5 + manner.unit()));
    match tokio::time::timeout(stay, session.ended()).await {
        Ok(hint) => End::Lost { lasted: (clock::now() - began).as_secs_f64(), hint },
        Err(_) => {
            session.leave().await;
            End::Left
        }
    }
}

/// A session is counted while this lives.
struct Counted(Arc<Seen>, u64);

impl Counted {
    fn new(seen: Arc<Seen>, server: u64) -> Self {
        seen.sessions(|sessions| *sessions.entry(server).or_default() += 1);
        Self(seen, server)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.sessions(|sessions| *sessions.entry(self.1).or_default() -= 1);
    }
}
