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

use crate::{aside::Aside, client::Session};

const MANY: usize = 20;
const EVERY: Duration = Duration::from_millis(100);

/// The chatting; ends when this is dropped.
#[derive(Debug)]
pub struct Bystanders {
    times: Arc<Mutex<Vec<Duration>>>,
    lost: Arc<AtomicU64>,
    _aside: Aside,
}

impl Bystanders {
    /// Twenty, each with a short text ten times a second, at `/bystanders`.
    ///
    /// # Errors
    /// No thread, no epoll.
    pub fn start(to: SocketAddr) -> std::io::Result<Self> {
        let (times, lost): (Arc<Mutex<Vec<_>>>, Arc<AtomicU64>) = Default::default();
        let (all, gone) = (times.clone(), lost.clone());
        let chatting = async move {
            for one in 0..MANY {
                let (times, lost) = (all.clone(), gone.clone());
                drop(tokio::spawn(async move {
                    chat(to, one, &times).await;
                    lost.fetch_add(1, Relaxed);
                }));
            }
            std::future::pending().await
        };
        Ok(Self { times, lost, _aside: Aside::start("bystanders", Aside::runtime()?, chatting)? })
    }

    /// 99 % of the round trips since this was last asked were as fast. `None`: too few to say.
    pub fn p99(&self) -> Option<Duration> {
        let mut times = std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner));
        times.sort_unstable();
        (times.len() >= 100).then(|| times[times.len() * 99 / 100])
    }

    /// Sessions that ended.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

/// Until the session is lost.
async fn chat(to: SocketAddr, one: usize, times: &Mutex<Vec<Duration>>) {
    let Ok(mut session) = Session::open(to, "/bystanders", one).await else { return };
    tokio::time::sleep(EVERY.mul_f64(one as f64 / MANY as f64)).await;
    let mut beat = tokio::time::interval(EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let began = clock::now();
        if !session.echo("how are you").await {
            return;
        }
        times.lock().unwrap_or_else(PoisonError::into_inner).push(clock::now() - began);
    }
}
