//! A client's connection before it is a WebSocket: hyper reads its head, here it is decided what becomes of it.

mod checks;
mod opening;
mod replies;
mod whole;

use std::{
    cell::Cell,
    convert::Infallible,
    future::pending,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Version};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tidegate_config::Route;
use tokio::{task::spawn_local, time::timeout};

pub(crate) use self::replies::{Reply, own_reply};
use self::{
    checks::{Asked, check, redacted},
    opening::open,
    replies::Answered,
    whole::Outcome,
};
use crate::{
    access::Line,
    addresses, clock, digits, forwarded, head,
    patient::{self, Patient},
    plain, proxy_protocol,
    request::{self, Rejection},
    session::{Facts, Opening, Rare, Successor, Upgraded},
    stream::Stream,
    task::Phase,
    upload::Source,
    worker::{CLIENT_HANDSHAKE_TIMEOUT, Listener, Load, Worker},
};

/// Longest request head, in bytes, and most fields in it: more gets 431.
pub(crate) const MAX_HEAD: usize = 16 << 10;
pub(crate) const MAX_HEADERS: usize = 100;

/// Who is at the other end of a connection.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Arc<Listener>,
    /// Whoever connected, or whom a trusted proxy says it speaks for. `None`: a unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// It came over TLS.
    pub(crate) tls: bool,
    /// The certificate that it has shown, for its upstream.
    pub(crate) certificate: Option<Rc<HeaderValue>>,
    /// What it speaks.
    pub(crate) version: Version,
    /// Where it came to, as far as somebody wants to know.
    pub(crate) local: Option<Rc<SocketAddr>>,
    /// Counts for its worker as long as any part of it lives.
    pub(crate) _load: Rc<Load>,
}

impl Client {
    /// `None`: a unix socket.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        Some(self.peer?.ip().to_canonical())
    }

    /// What a connection to an upstream that asks for it begins with.
    pub(crate) fn proxy_header(&self) -> Vec<u8> {
        proxy_protocol::header(self.peer.zip(self.local.as_deref().copied()))
    }

    /// Its address as the governor knows clients: IPv4 whole, IPv6 by the /64 that one household has.
    pub(crate) fn address(&self) -> Option<u64> {
        self.peer.map(|peer| addresses::network(peer.ip()))
    }

    /// The same, as a load of its own for its worker.
    pub(crate) fn with_load(&self) -> Self {
        Self { _load: Rc::new(self.worker.new_load()), ..self.clone() }
    }

    /// The status that opens a WebSocket (RFC 6455 section 4.2.2, RFC 8441 section 4).
    pub(crate) fn opened(&self) -> StatusCode {
        if self.version == Version::HTTP_2 { StatusCode::OK } else { StatusCode::SWITCHING_PROTOCOLS }
    }
}

/// Serves one connection until it is over or becomes a WebSocket: then, what is to go on in its place.
#[expect(clippy::manual_async_fn, reason = "an `async fn` holds its arguments twice, for each client that waits")]
pub(crate) fn serve(client: Client, mut stream: Stream) -> impl Future<Output = Option<Phase>> {
    async move {
        let began = clock::now();
        let data = match timeout(CLIENT_HANDSHAKE_TIMEOUT, whole::read_first(&mut stream)).await {
            Ok(Ok(data)) if !data.is_empty() => data,
            read => {
                if read.is_err() {
                    client.refuse_unread("header_timeout", "none");
                }
                patient::end(stream).await;
                return None;
            }
        };
        let (stream, data, reply) = match whole::parse(&data) {
            None => (stream, data, None),
            Some((request, len)) => match whole::serve(&client, stream, request, data, len).await {
                Outcome::Session(session) => return session,
                Outcome::Over(stream) => {
                    patient::end(stream).await;
                    return None;
                }
                Outcome::Reply(stream, data, reply) => (stream, data, Some(*reply)),
            },
        };
        Some(Phase::new(serve_any(client, stream, data, began, reply)))
    }
}

/// Serves one connection whatever it is for. `data`: what was read of it; `reply`: the answer to the request in that.
async fn serve_any(client: Client, stream: Stream, data: Bytes, began: Instant, reply: Option<Reply>) -> Option<Phase> {
    // A new socket, too, that nobody was woken for: hyper that is told to end, as in a drain, forgets an answer that it
    // could not write at once.
    if let Some(tcp) = stream.bare() {
        let _ = timeout(CLIENT_HANDSHAKE_TIMEOUT, tcp.writable()).await;
    }
    let (transport, mut back) = Patient::new(stream).behind(data).lend();
    let successor = Successor::default();
    speak(&client, transport, &successor, began, reply).await;
    let session = successor.take();
    if let Ok(stream) = back.try_recv() {
        // A client that has left before its answer: a session that was about to begin still has its upstream to tell.
        session.map(spawn_local);
        patient::end(stream).await;
        return None;
    }
    session
}

/// Lets hyper speak HTTP/1 on a transport. It is given back, or taken by the successor, when this is over. `reply`: the
/// answer to the first request.
async fn speak(client: &Client, transport: Patient, successor: &Successor, began: Instant, reply: Option<Reply>) {
    let (fresh, reply) = (Cell::new(true), Cell::new(reply));
    let service = service_fn(|mut request| {
        fresh.set(false);
        let reply = reply.take();
        let client = Client { version: request.version(), ..client.clone() };
        let upgraded = Upgraded::http1(hyper::upgrade::on(&mut request), successor.clone());
        // In a box: hyper moves it, and makes room for it where no request has come yet.
        Box::pin(async move {
            Ok::<_, Infallible>(match reply {
                Some(reply) => reply,
                None => answer(&client, clock::now(), Box::new(request.map(Source::Http1)), upgraded).await,
            })
        })
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CLIENT_HANDSHAKE_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(transport), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    // What hyper waits for began before hyper did.
    let overdue = async {
        tokio::time::sleep_until((began + CLIENT_HANDSHAKE_TIMEOUT).into()).await;
        if !fresh.get() {
            pending().await
        }
    };
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = overdue => return client.refuse_unread("header_timeout", "none"),
        () = client.worker.shared.drain_begins() => {
            // One that idles between requests ends now, one that is being answered when it has its answer. One whose
            // first request is yet to come would end without a word: it is to hear 503.
            if !fresh.get() {
                connection.as_mut().graceful_shutdown();
            }
            connection.await
        }
    };
    let Err(error) = served else { return };
    // hyper has answered these itself; other errors are clients that went away.
    let (reason, status) = match () {
        () if error.is_parse_too_large() => ("headers_too_large", "431"),
        // HTTP/2 by prior knowledge. An answer in HTTP/1 would be noise to its sender: hyper gives none.
        () if error.is_parse_version_h2() => ("http2_preface", "none"),
        () if error.is_parse() => ("malformed", "400"),
        // Between two requests a connection may idle: hyper ends that in the same way.
        () if error.is_timeout() && fresh.get() => ("header_timeout", "none"),
        () => return,
    };
    client.refuse_unread(reason, status);
    if reason == "headers_too_large" {
        client.worker.shared.metrics.limit_hits.with_label_values(&["header_size", "reject"]).inc();
    }
}

/// Answers a request, which is one of HTTP/1.1 or looks like one.
///
/// A client may wait in here, with thousands of others: what is large is in a box, and gone when it is not needed.
pub(crate) async fn answer(
    client: &Client,
    started: Instant,
    request: Box<Request<Source>>,
    upgraded: Upgraded,
) -> Reply {
    let opening = match begin(client.clone(), started, request, upgraded) {
        Begun::Answered(reply) => return *reply,
        Begun::Plain(exchange) => return exchange.await,
        Begun::Opening(opening) => opening,
    };
    let mut leaving = Leaving::of(&opening.facts);
    let answered = open(opening).await;
    leaving.answered = true;
    let (client, route) = (&leaving.client, &leaving.route.name);
    client.worker.shared.metrics.handshake_duration.with_label_values(&[route]).observe(since(started));
    client.count(route, answered)
}

/// What a request comes to as soon as it is read.
enum Begun {
    Answered(Box<Reply>),
    Plain(Pin<Box<dyn Future<Output = Reply>>>),
    Opening(Box<Opening>),
}

fn begin(mut client: Client, started: Instant, request: Box<Request<Source>>, upgraded: Upgraded) -> Begun {
    let mut request = *request;
    // For its upstream alone: a session does not keep it.
    let certificate = client.certificate.take();
    let trust = client.listener.trust.load_full();
    let mut origin = forwarded::read(request.headers(), client.peer, &trust, client.tls);
    client.peer = origin.client();
    let config = client.worker.shared.live.load();
    let checked = check(&client, &config.config, &request);
    let (route, host, asked) = match checked {
        Ok(checked) => checked,
        Err((route, rejection)) => {
            return Begun::Answered(Box::new(client.reject(&request, route.as_deref(), rejection)));
        }
    };
    let id = crate::random();
    let (headers, how, name) = (request.headers_mut(), route.forward_as, digits::hex(id));
    let name = str::from_utf8(&name).unwrap_or_default();
    let sanitized = head::clean(headers, &origin, how, &host, certificate.as_deref(), name);
    for kind in sanitized {
        client.worker.shared.metrics.sanitized_headers.with_label_values(&[kind]).inc();
    }
    let pending = Load::of(&client.worker.openings);
    let facts = Facts {
        client,
        id,
        generation: config.number,
        started,
        host,
        path: redacted(request.uri()),
        route,
        rare: Rare::named(origin.request_id.take(), origin.trace_id.take()),
    };
    let Asked::WebSocket(upgrade) = asked else { return Begun::Plain(Box::pin(plain::pass(facts, request))) };
    let (parts, _) = request.into_parts();
    let (config, own) = (config.config.clone(), Default::default());
    Begun::Opening(Box::new(Opening { facts, upgraded, pending, config, parts, upgrade, own }))
}

/// Counts a client that leaves before its answer: hyper drops the future that works on it.
struct Leaving {
    client: Client,
    route: Arc<Route>,
    path: String,
    answered: bool,
}

impl Leaving {
    fn of(facts: &Facts) -> Self {
        let Facts { client, route, path, .. } = facts;
        Self { client: client.clone(), route: route.clone(), path: path.clone(), answered: false }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if !self.answered {
            let labels = [self.client.listener.name.as_str(), &self.route.name, "failed", "client_gone", "none"];
            self.client.worker.shared.metrics.handshakes.with_label_values(&labels).inc();
            self.client.log(&self.client.line(&self.route.name, "", &self.path, 0, "client-gone"));
        }
    }
}

impl Client {
    /// Refuses a request.
    pub(crate) fn reject<B>(&self, request: &Request<B>, route: Option<&Route>, rejection: Rejection) -> Reply {
        let name = route.map_or("_none", |route| &route.name);
        let host = request::host(request).unwrap_or_default();
        let path = redacted(request.uri());
        let line = self.line(name, &host, &path, rejection.status.as_u16(), rejection.reason);
        self.log(&Line { limit: rejection.limit, ..line });
        self.count(name, rejection.into())
    }

    /// Counts a client of which no request could be read, as hyper or h2 has answered it.
    pub(crate) fn refuse_unread(&self, reason: &'static str, status: &str) {
        let labels = [&self.listener.name, "_none", "rejected", reason, status];
        self.worker.shared.metrics.handshakes.with_label_values(&labels).inc();
        self.log(&self.line("_none", "", "", status.parse().unwrap_or_default(), reason));
    }

    /// Counts an answer. A session that begins counts itself.
    fn count(&self, route: &str, answered: Answered) -> Reply {
        if !answered.result.is_empty() {
            let status = answered.reply.status();
            let labels = [&self.listener.name, route, answered.result, answered.reason, status.as_str()];
            self.worker.shared.metrics.handshakes.with_label_values(&labels).inc();
        }
        answered.reply
    }
}

pub(crate) fn since(then: Instant) -> f64 {
    clock::now().saturating_duration_since(then).as_secs_f64()
}
