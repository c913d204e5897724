//! Connections to the endpoints of one upstream that carry plain HTTP, one request after the other.
//!
//! Never a WebSocket's: each of those has a connection of its own. A pool lives as long as its upstream is configured
//! the way it is, so that nothing goes out over a connection that was made under another configuration.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{Builder, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use crate::{
    clock,
    endpoint::Endpoint,
    stream::Stream,
    upload::Upload,
    upstream::{MAX_HEAD, MAX_HEADERS},
};

/// How long a connection is kept for the next request. Shorter than the 5 s after which Node closes it: a request must
/// not meet its connection's end.
const KEPT_FOR: Duration = Duration::from_secs(4);
/// Most connections that are kept for one endpoint; what more there are end with their request.
const MOST_KEPT: usize = 64;

/// The connections that wait for a request, by endpoint.
#[derive(Default)]
pub(crate) struct Pool {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: HashMap<Arc<Endpoint>, Vec<Kept>>,
    /// A task sees to it that what is kept too long goes.
    sweeping: bool,
}

struct Kept {
    sender: SendRequest<Upload>,
    since: Instant,
}

/// A connection that one request has to itself. Dropped before its answer is read to the end, it closes.
pub(crate) struct Lease {
    sender: SendRequest<Upload>,
    endpoint: Arc<Endpoint>,
    pool: Arc<Pool>,
    /// It has carried a request before.
    pub(crate) used: bool,
    /// It may carry another one.
    keep: bool,
}

impl Pool {
    /// The connection to this endpoint that was in use last.
    pub(crate) fn take(self: &Arc<Self>, endpoint: &Arc<Endpoint>) -> Option<Lease> {
        let now = clock::now();
        let mut state = self.lock();
        let kept = state.kept.get_mut(endpoint)?;
        let sender = std::iter::from_fn(|| kept.pop()).find(|kept| kept.is_good(now))?.sender;
        Some(Lease { sender, endpoint: endpoint.clone(), pool: self.clone(), used: true, keep: true })
    }

    /// Speaks HTTP over a new connection, for one request or, with `keep`, for more.
    ///
    /// # Errors
    /// The connection is of no use.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        stream: Stream,
        endpoint: Arc<Endpoint>,
        keep: bool,
    ) -> hyper::Result<Lease> {
        let mut builder = Builder::new();
        let handshake = builder.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS).handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await?;
        // How it ends is told to its requests. It does so at the latest when nobody can send another.
        spawn_local(connection);
        Ok(Lease { sender, endpoint, pool: self.clone(), used: false, keep })
    }

    fn give(self: &Arc<Self>, endpoint: Arc<Endpoint>, sender: SendRequest<Upload>) {
        let mut state = self.lock();
        let kept = state.kept.entry(endpoint).or_default();
        if kept.len() < MOST_KEPT {
            kept.push(Kept { sender, since: clock::now() });
        }
        if !mem::replace(&mut state.sweeping, true) {
            spawn_local(self.clone().sweep());
        }
    }

    /// Ends what nobody has asked for in time. Runs while anything is kept.
    async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(KEPT_FOR).await;
            let now = clock::now();
            let mut state = self.lock();
            state.kept.retain(|_, kept| {
                kept.retain(|kept| kept.is_good(now));
                !kept.is_empty()
            });
            if state.kept.is_empty() {
                state.sweeping = false;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn is_good(&self, now: Instant) -> bool {
        self.sender.is_ready() && now.saturating_duration_since(self.since) < KEPT_FOR
    }
}

impl Lease {
    /// Sends the request, and waits for the head of its answer.
    ///
    /// # Errors
    /// None comes. The error has the request in it where nothing of it was sent.
    #[allow(clippy::result_large_err, reason = "hyper's own")]
    pub(crate) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Upload>>> {
        self.sender.try_send_request(request).await
    }

    /// The answer was read to its end: the connection is kept, as soon as the request is sent to its end too.
    pub(crate) fn release(self) {
        let Self { mut sender, endpoint, pool, keep, .. } = self;
        if !keep {
            return;
        }
        spawn_local(async move {
            if sender.ready().await.is_ok() {
                pool.give(endpoint, sender);
            }
        });
    }
}
