//! A few who chat with a server of their own behind the same proxy: what the herd costs those whom it does not concern.

use std::{
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
    client::Session,
};

/// How many chat through the proxy, and how many without one, which shows what the machine itself takes.
const MANY: usize = 20;
const EVERY: Duration = Duration::from_millis(100);

/// The chatting; ends when this is dropped.
#[derive(Debug)]
pub struct Bystanders {
    proxied: Arc<Group>,
    direct: Arc<Group>,
    _aside: Aside,
}

/// Those who take the same way.
#[derive(Debug, Default)]
struct Group {
    times: Mutex<Vec<Duration>>,
    /// In nanoseconds.
    slowest: AtomicU64,
    lost: AtomicU64,
}

/// 99 % of the round trips were as fast.
#[derive(Clone, Copy, Debug)]
pub struct P99 {
    /// Through the proxy.
    pub proxied: Duration,
    /// At the same time to the same server, without a proxy.
    pub direct: Duration,
}

impl Bystanders {
    /// Twenty at the `proxy` and as many at the `server` itself, each with a short text ten times a second, at
    /// `/bystanders`; on one thread of their own.
    ///
    /// # Errors
    /// No thread, no epoll.
    pub fn start(proxy: SocketAddr, server: SocketAddr) -> std::io::Result<Self> {
        let (proxied, direct): (Arc<Group>, Arc<Group>) = Default::default();
        let ways = [(proxy, proxied.clone()), (server, direct.clone())];
        let chatting = async move {
            // In turn, so that they do not wait for each other.
            for one in 0..2 * MANY {
                let (to, group) = ways[one % ways.len()].clone();
                drop(tokio::spawn(async move {
                    chat(to, one, &group).await;
                    group.lost.fetch_add(1, Relaxed);
                }));
            }
            std::future::pending().await
        };
        Ok(Self { proxied, direct, _aside: Aside::start("bystanders", Aside::runtime()?, Haste::AtOnce, chatting)? })
    }

    /// Of the round trips since this was last asked. `None`: too few to say.
    pub fn p99(&self) -> Option<P99> {
        let (proxied, direct) = (self.proxied.p99(), self.direct.p99());
        Some(P99 { proxied: proxied?, direct: direct? })
    }

    /// The slowest round trip through the proxy since this was last asked.
    pub fn slowest(&self) -> Duration {
        Duration::from_nanos(self.proxied.slowest.swap(0, Relaxed))
    }

    /// Sessions through the proxy that ended.
    pub fn lost(&self) -> u64 {
        self.proxied.lost.load(Relaxed)
    }
}

impl Group {
    fn p99(&self) -> Option<Duration> {
        let mut times = std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner));
        times.sort_unstable();
        (times.len() >= 100).then(|| times[times.len() * 99 / 100])
    }
}

/// Until the session is lost.
async fn chat(to: SocketAddr, one: usize, group: &Group) {
    let Ok(mut session) = Session::open(to, "/bystanders", one).await else { return };
    tokio::time::sleep(EVERY.mul_f64(one as f64 / (2 * MANY) as f64)).await;
    let mut beat = tokio::time::interval(EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let began = clock::now();
        if !session.echo("how are you").await {
            return;
        }
        let took = clock::now() - began;
        group.times.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        group.slowest.fetch_max(took.as_nanos() as u64, Relaxed);
    }
}
