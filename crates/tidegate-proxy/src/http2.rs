//! A client's HTTP/2 connection: WebSockets over Extended CONNECT (RFC 8441), and plain requests beside them.
//!
//! The `h2` crate is used itself and not through hyper, whose upgraded stream hides how a client ended it: END_STREAM
//! is a FIN, RST_STREAM a reset, and the end of the connection both for all of its streams.

mod exchange;
mod message;
mod traffic;
mod tunnel;
mod wire;

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{Builder, Connection, SendResponse},
};
use http::Request;
use tokio::{
    task::spawn_local,
    time::{Sleep, sleep, timeout},
};

use crate::{
    clock,
    http::{Client, MAX_HEAD},
    stream::Stream,
    tls,
    worker::CLIENT_HANDSHAKE_TIMEOUT,
};
pub(crate) use message::Incoming;
use traffic::{Abuse, Traffic};
pub(crate) use tunnel::Tunnel;
use wire::Wire;

/// Bytes a stream may send that were not passed on: HTTP/2's own default, and four DATA frames.
const STREAM_WINDOW: u32 = 65_535;
/// Bytes that wait in a stream for the connection to take them. What a session may hold in each direction.
const SEND_BUFFER: usize = 64 << 10;
/// How long a connection without a stream is kept for the next request. Browsers keep theirs for minutes, and make a
/// new one when this one ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may take to end a connection that is to end and has no stream.
const GOODBYE: Duration = Duration::from_secs(2);
/// Streams that were reset and are remembered, so that what was on its way to them is no error; and for how long.
const REMEMBERED: usize = 100;
const REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// Serves one connection until it is over.
pub(crate) async fn serve(client: Client, stream: Stream, tls: Arc<tls::Incoming>) {
    let reach = Rc::new(Reach { tls, opened: stream.server_name() });
    let traffic = Arc::new(Traffic::default());
    let max_streams = client.listener.http2_max_streams.load(Relaxed);
    let handshake = Builder::new()
        .enable_connect_protocol()
        .max_concurrent_streams(max_streams)
        .initial_window_size(STREAM_WINDOW)
        // Streams whose upstreams take nothing must not use up what the others need.
        .initial_connection_window_size(STREAM_WINDOW * max_streams)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_reset_streams(REMEMBERED)
        .reset_stream_duration(REMEMBERED_FOR)
        .handshake::<_, Bytes>(Wire::new(stream, longest_write(&client), traffic.clone()));
    match timeout(CLIENT_HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(connection)) => Serving { client, connection, reach, traffic, max_streams }.run().await,
        Ok(Err(error)) if error.is_io() => {}
        Ok(Err(_)) => client.refuse_unread("malformed", "none"),
        Err(_) => client.refuse_unread("header_timeout", "none"),
    }
}

/// A session's write is bounded by its route; no route's may be cut short by the connection's.
fn longest_write(client: &Client) -> Duration {
    let config = client.worker.shared.live.load();
    config.config.routes.iter().map(|route| route.policy.write_timeout).max().unwrap_or_default()
}

/// Which hosts a connection is for.
struct Reach {
    tls: Arc<tls::Incoming>,
    /// The server name that the client has asked for.
    opened: Option<Box<str>>,
}

impl Reach {
    fn covers(&self, host: &str) -> bool {
        self.tls.may_carry(self.opened.as_deref(), host)
    }
}

struct Serving {
    client: Client,
    reach: Rc<Reach>,
    connection: Connection<Wire, Bytes>,
    traffic: Arc<Traffic>,
    max_streams: u32,
}

/// What happens on a connection.
enum Event {
    Request(Box<(Request<RecvStream>, SendResponse<Bytes>)>),
    Draining,
    /// No stream for too long.
    Idle,
    Abuse(Abuse),
    /// With what h2 had to say against the client.
    Over(Option<Reason>),
}

impl Serving {
    async fn run(mut self) {
        let shared = self.client.worker.shared.clone();
        let mut draining = pin!(shared.drain_begins());
        let mut idle = Idle::for_first_request();
        let (mut drains, mut fresh, mut leaving) = (false, true, false);
        loop {
            let event = poll_fn(|cx| {
                if !drains && draining.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Event::Draining);
                }
                let polled = self.poll_request(cx);
                match (self.traffic.abuse(), polled) {
                    (Some(abuse), _) => Poll::Ready(Event::Abuse(abuse)),
                    (None, Poll::Pending) => idle.poll(cx, !self.connection.has_streams()).map(|()| Event::Idle),
                    (None, event) => event,
                }
            });
            match event.await {
                Event::Request(stream) => {
                    self.begin(*stream);
                    if std::mem::take(&mut fresh) && !leaving {
                        idle.limit = IDLE_TIMEOUT;
                        leaving = drains && self.leave(&mut idle);
                    }
                }
                // One whose first request is yet to come would be turned away without a word: it is to hear 503.
                Event::Draining => {
                    drains = true;
                    leaving |= !fresh && self.leave(&mut idle);
                }
                Event::Idle if leaving => self.connection.abrupt_shutdown(Reason::NO_ERROR),
                Event::Idle => {
                    if fresh {
                        self.client.refuse_unread("header_timeout", "none");
                    }
                    leaving = self.leave(&mut idle);
                }
                Event::Abuse(abuse) => {
                    self.reached(abuse.word(), "goaway");
                    self.traffic.forgive();
                    self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
                Event::Over(None) => return,
                // h2 has limits of its own, on what it must remember for a client.
                Event::Over(Some(Reason::ENHANCE_YOUR_CALM)) => return self.reached("http2_flood", "goaway"),
                Event::Over(Some(_)) => return self.client.refuse_unread("malformed", "none"),
            }
        }
    }

    /// RFC 9113 section 6.8: the client may open no more streams; those it has end as their sessions do.
    fn leave(&mut self, idle: &mut Idle) -> bool {
        self.connection.graceful_shutdown();
        idle.restart(GOODBYE);
        true
    }

    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        Poll::Ready(match ready!(self.connection.poll_accept(cx)) {
            Some(Ok(stream)) => Event::Request(Box::new(stream)),
            Some(Err(error)) => Event::Over(error.reason().filter(|_| error.is_library())),
            None => Event::Over(None),
        })
    }

    fn begin(&self, (request, respond): (Request<RecvStream>, SendResponse<Bytes>)) {
        let open = self.traffic.open();
        if self.traffic.streams() >= self.max_streams {
            // It is served, but it is the last: the next has to wait, or come over another connection.
            self.reached("http2_max_streams", "wait");
        }
        let (client, reach) = (self.client.with_load(), self.reach.clone());
        spawn_local(exchange::serve(client, reach, clock::now(), request, respond, open));
    }

    fn reached(&self, limit: &str, action: &str) {
        tracing::debug!(limit, client = ?self.client.ip(), "HTTP/2 limit reached");
        self.client.worker.shared.metrics.limit_hits.with_label_values(&[limit, action]).inc();
    }
}

/// Measures how long a connection has had no stream.
struct Idle {
    limit: Duration,
    sleep: Pin<Box<Sleep>>,
    is_idle: bool,
}

impl Idle {
    fn for_first_request() -> Self {
        let limit = CLIENT_HANDSHAKE_TIMEOUT;
        Self { limit, sleep: Box::pin(sleep(limit)), is_idle: true }
    }

    fn restart(&mut self, limit: Duration) {
        self.limit = limit;
        self.sleep.as_mut().reset((clock::now() + limit).into());
    }

    fn poll(&mut self, cx: &mut Context<'_>, is_idle: bool) -> Poll<()> {
        if is_idle && !self.is_idle {
            self.restart(self.limit);
        }
        self.is_idle = is_idle;
        if !is_idle {
            return Poll::Pending;
        }
        self.sleep.as_mut().poll(cx)
    }
}
