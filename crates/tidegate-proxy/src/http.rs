//! A client's connection before it is a WebSocket: hyper reads its head, here it is decided what becomes of it.

use std::{
    cell::Cell,
    convert::Infallible,
    mem,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tidegate_config::{Field, Route};
use tidegate_governor::{Ask, Outcome, Reason, Refusal, Wish};
use tidegate_session::{End, Refused};
use tokio::task::spawn_local;

use crate::{
    affinity,
    announced::{self, Announced},
    body::Body,
    capacity::{Admission, Slot},
    clock, forwarded,
    gate::{self, Denied, Visitor},
    head, overload,
    patient::{self, Patient},
    plain, proxy_protocol,
    request::{self, Rejection, Upgrade},
    session::{Facts, Opening, Rare, Successor, Upgraded, Waiting},
    shared::Target,
    standing,
    stream::Stream,
    upload::Source,
    upstream::{self, Accepted, Answer, Dial, Failure},
    vitals,
    worker::{CLIENT_HANDSHAKE_TIMEOUT, Listener, Load, Worker},
};

/// The longest time to come back after that a client is told, whatever an upstream asks for, in seconds: a day, and
/// five digits.
const LONGEST_HINT: u64 = 86_399;
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
        Some(match self.ip()? {
            IpAddr::V4(ip) => u32::from(ip).into(),
            IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64,
        })
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

pub(crate) type Reply = Response<Body>;

/// How an opening handshake was answered, for the metrics.
struct Answered {
    reply: Reply,
    result: &'static str,
    reason: &'static str,
}

/// Serves one connection until it is over or becomes a WebSocket: then, what is to go on in its place.
pub(crate) async fn serve(client: Client, stream: Stream) -> Option<Waiting> {
    let (transport, mut back) = Patient::new(stream).lend();
    let successor = Successor::default();
    speak(&client, transport, &successor).await;
    let session = successor.take();
    if let Ok(stream) = back.try_recv() {
        // A client that has left before its answer: a session that was about to begin still has its upstream to tell.
        session.map(spawn_local);
        patient::end(stream).await;
        return None;
    }
    session
}

/// Lets hyper speak HTTP/1 on a transport. It is given back, or taken by the successor, when this is over.
async fn speak(client: &Client, transport: Patient, successor: &Successor) {
    let fresh = Cell::new(true);
    let service = service_fn(|mut request| {
        fresh.set(false);
        let client = Client { version: request.version(), ..client.clone() };
        let upgraded = Upgraded::http1(hyper::upgrade::on(&mut request), successor.clone());
        // In a box: hyper moves it, and makes room for it where no request has come yet.
        Box::pin(async move {
            Ok::<_, Infallible>(answer(client, clock::now(), request.map(Source::Http1), upgraded).await)
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
    let served = tokio::select! {
        served = connection.as_mut() => served,
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
pub(crate) async fn answer(
    mut client: Client,
    started: Instant,
    mut request: Request<Source>,
    upgraded: Upgraded,
) -> Reply {
    // For its upstream alone: a session does not keep it.
    let certificate = client.certificate.take();
    let trust = client.listener.trust.load_full();
    let mut origin = forwarded::read(request.headers(), client.peer, &trust, client.tls);
    client.peer = origin.client();
    let config = client.worker.shared.live.load();
    let checked = check(&client, &config.config, &request);
    let (route, host, asked) = match checked {
        Ok(checked) => checked,
        Err((route, rejection)) => return client.reject(&request, route.as_deref(), rejection),
    };
    let id = crate::random();
    let (headers, how, name) = (request.headers_mut(), route.forward_as, format!("{id:08x}"));
    let sanitized = head::clean(headers, &origin, how, &host, certificate.as_deref(), &name);
    for kind in sanitized {
        client.worker.shared.metrics.sanitized_headers.with_label_values(&[kind]).inc();
    }
    let facts = Facts {
        client: client.clone(),
        id,
        generation: config.number,
        started,
        host,
        path: redacted(request.uri()),
        route: route.clone(),
        rare: Rare::named(origin.request_id.take(), origin.trace_id.take()),
    };
    let config = config.config.clone();
    let Asked::WebSocket(upgrade) = asked else { return Box::pin(plain::pass(facts, request)).await };
    let (parts, _) = request.into_parts();
    let pending = Load::of(&client.worker.openings);
    let opening = Opening { facts, upgraded, pending, config };
    let path = opening.facts.path.clone();
    let mut leaving = Leaving { client: &client, route: &route.name, path: &path, answered: false };
    let answered = open(opening, parts, upgrade).await;
    leaving.answered = true;
    client.worker.shared.metrics.handshake_duration.with_label_values(&[&route.name]).observe(since(started));
    client.count(&route.name, answered)
}

type Checked = (Arc<Route>, String, Asked);

/// What a client wants.
enum Asked {
    WebSocket(Upgrade),
    /// Whatever else its route has.
    Plain,
}

/// Everything that can be said of a request before an upstream is asked.
fn check(
    client: &Client,
    config: &tidegate_config::Config,
    request: &Request<Source>,
) -> Result<Checked, (Option<Arc<Route>>, Rejection)> {
    let unrouted = |rejection| (None, rejection);
    if client.worker.shared.draining().is_some() {
        return Err(unrouted(DRAINING));
    }
    if let Some(resource) = client.worker.shared.strain.refuses() {
        client.worker.shared.metrics.limit_hits.with_label_values(&[resource.word(), "reject"]).inc();
        return Err(unrouted(Rejection::new(
            StatusCode::SERVICE_UNAVAILABLE,
            vitals::reason(resource),
            "this server is full; another, or it later, has room",
        )));
    }
    request::check_method(request.method()).map_err(unrouted)?;
    let host = request::host(request).map_err(unrouted)?;
    request::check_path(request.uri().path()).map_err(unrouted)?;
    let offered = request::list(request.headers(), header::SEC_WEBSOCKET_PROTOCOL).collect::<Vec<_>>();
    let route =
        config.route(&host, request.uri().path(), offered.iter().copied(), |field| has(request.headers(), field));
    let route = route.ok_or(unrouted(NO_ROUTE))?;
    let routed = |rejection| (Some(route.clone()), rejection);
    let asked = if request::asks_for_websocket(request.headers()) {
        Asked::WebSocket(request::upgrade(request).map_err(routed)?)
    } else if route.websocket_only {
        return Err(routed(NOT_WEBSOCKET));
    } else {
        request::check_framing(request.headers()).map_err(routed)?;
        Asked::Plain
    };
    // A browser sends no Origin with a plain request to the page's own site.
    let needs_origin = matches!(asked, Asked::WebSocket(_)) || request.headers().contains_key(header::ORIGIN);
    if needs_origin && !origin_allowed(route, request.headers()) {
        return Err(routed(ORIGIN));
    }
    Ok((route.clone(), host, asked))
}

/// The longest hint to those who are refused because this process is short of something, in seconds: sessions end and
/// make room all the time.
const RETRY_AFTER_STRAIN: u32 = 10;

const DRAINING: Rejection = Rejection::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "draining",
    "this server stops; another, or it again, will be there",
);
const NO_ROUTE: Rejection = Rejection::new(StatusCode::NOT_FOUND, "no_route", "no such route");
const NOT_WEBSOCKET: Rejection =
    Rejection::new(StatusCode::UPGRADE_REQUIRED, "upgrade_token", "this is a WebSocket endpoint");
const ORIGIN: Rejection = Rejection::new(StatusCode::FORBIDDEN, "origin", "origin not allowed");

/// Whether one of its lines is this.
fn has(headers: &http::HeaderMap, field: &Field) -> bool {
    let mut lines = headers.get_all(field.name.as_str()).iter();
    match &field.value {
        None => lines.next().is_some(),
        Some(value) => lines.any(|line| line.as_bytes() == value.as_bytes()),
    }
}

/// A field that stands twice is nobody's.
fn origin_allowed(route: &Route, headers: &http::HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => route.allows_origin(None),
        (Some(origin), None) => route.allows_origin(origin.to_str().ok()),
        _ => route.origins.is_empty(),
    }
}

/// The path as it is logged: values of the query are often secrets.
fn redacted(uri: &http::Uri) -> String {
    let Some(query) = uri.query() else { return uri.path().to_owned() };
    let keys = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, _)) => format!("{key}=..."),
        None => "...".to_owned(),
    });
    format!("{}?{}", uri.path(), keys.collect::<Vec<_>>().join("&"))
}

/// Finds this client an upstream, and answers.
async fn open(mut opening: Opening, mut parts: http::request::Parts, upgrade: Upgrade) -> Answered {
    let (route, shared) = (opening.facts.route.clone(), opening.facts.client.worker.shared.clone());
    let has_origin = parts.headers.contains_key(header::ORIGIN);
    let by_status = overload::by_status(route.on_overload, parts.uri.query(), &upgrade.protocols, has_origin);
    let visitor = if by_status { Visitor::Impatient } else { Visitor::Patient };
    let entered = tokio::select! {
        // Mostly it is in at once.
        biased;
        entered = gate::enter(&mut opening.facts, &mut parts, visitor) => entered,
        () = shared.drain_begins() => Err(Denied::draining()),
    };
    if let Err(denied) = entered {
        return deny(opening, denied, &upgrade);
    }
    let facts = &opening.facts;
    let Some(target) = shared.target(&route.upstream) else {
        let refusal = Refusal { reason: Reason::NoUpstream, retry_after: 1 };
        return refuse(opening, refusal, by_status, &upgrade, &parts);
    };
    let wish = affinity::wish(&target.affinity, &parts.headers, &facts.client, &target.capacity);
    let ask = standing::ask(&target.sharing, &parts, &facts.host, &facts.client, wish);
    let head = head::write(&parts, &upgrade, &facts.host);
    let found = tokio::select! {
        found = find(&opening.facts, &target, ask, &head, &upgrade, by_status) => found,
        // Whoever waits, or is being dialled for, is told at once that it must go elsewhere.
        () = shared.drain_begins() => Err(NoUpstream::Draining),
    };
    let count = |result| {
        let labels = [route.upstream.as_str(), standing::class_name(&target.sharing, ask.class), result];
        shared.metrics.governor_class_clients.with_label_values(&labels).inc();
    };
    let answered: Answered = match found {
        Ok((accepted, slot)) => {
            count("admitted");
            let returned = wish == Wish::Endpoint(slot.id());
            let tls = opening.facts.client.tls;
            let cookie = affinity::set_cookie(&target.affinity, slot.endpoint(), returned, tls);
            return accept(opening, accepted, slot, cookie);
        }
        Err(NoUpstream::Governor(refusal)) => {
            count("refused");
            return refuse(opening, refusal, by_status, &upgrade, &parts);
        }
        Err(NoUpstream::Upstream(failure)) => failed(failure),
        Err(NoUpstream::Draining) => DRAINING.into(),
    };
    opening.facts.log_refusal(answered.reply.status().as_u16(), answered.reason, None);
    answered
}

/// Why no upstream was found.
enum NoUpstream {
    Governor(Refusal),
    Upstream(Failure),
    Draining,
}

/// Counts a client that leaves before its answer: hyper drops the future that works on it.
struct Leaving<'a> {
    client: &'a Client,
    route: &'a str,
    path: &'a str,
    answered: bool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let labels = [self.client.listener.name.as_str(), self.route, "failed", "client_gone", "none"];
            self.client.worker.shared.metrics.handshakes.with_label_values(&labels).inc();
            self.client.log(&self.client.line(self.route, "", self.path, 0, "client-gone"));
        }
    }
}

/// Tries endpoints until one accepts, one answers for all, or the governor has none left.
async fn find(
    facts: &Facts,
    target: &Target,
    ask: Ask<'static>,
    head: &[u8],
    upgrade: &Upgrade,
    by_status: bool,
) -> Result<(Accepted, Slot), NoUpstream> {
    let (route, metrics) = (&facts.route, &facts.client.worker.shared.metrics);
    let proxy_header = target.proxy_protocol.then(|| facts.client.proxy_header());
    let mut admission = Admission::new(target.capacity.clone(), route, ask, !by_status);
    // What an upstream itself asked for is the least that its client is told.
    let mut floor = route.retry_after.as_secs() as u32;
    let mut failed_before = None;
    loop {
        let mut slot = admission.next().await.map_err(|refusal| {
            NoUpstream::Governor(Refusal { retry_after: refusal.retry_after.max(floor), ..refusal })
        })?;
        if let Some(reason) = failed_before {
            metrics.upstream_retries.with_label_values(&[route.upstream.as_str(), reason]).inc();
        }
        let endpoint = slot.endpoint().clone();
        let tls = target.tls.load_full();
        let dial = Dial {
            endpoint: &endpoint,
            tls: tls.as_deref(),
            connect_timeout: route.connect_timeout,
            handshake_timeout: route.handshake_timeout,
            proxy_header: proxy_header.as_deref(),
        };
        let mut failure = match upstream::handshake(dial, head, upgrade).await {
            Ok(mut accepted) => {
                let said = announced::take(&mut accepted.headers);
                slot.announced(said);
                let latency = slot.established(facts.client.address());
                metrics.upstream_connects.with_label_values(&[&route.upstream, "ok"]).inc();
                metrics.upstream_connect_duration.with_label_values(&[&route.upstream]).observe(latency.as_secs_f64());
                return Ok((accepted, slot));
            }
            Err(failure) => failure,
        };
        if let Failure::Refused(answer) = &mut failure
            && let said @ (Announced::Sessions(_) | Announced::Used(_) | Announced::Malformed) =
                announced::take(&mut answer.headers)
        {
            slot.announced(said);
        }
        metrics.upstream_connects.with_label_values(&[&route.upstream, failure.reason()]).inc();
        let (reason, detail) = (failure.reason(), failure.detail());
        tracing::debug!(upstream = route.upstream, %endpoint, reason, detail, "handshake failed");
        let outcome = failure.outcome();
        failed_before = Some(reason);
        match (&failure, outcome) {
            // Nobody took a byte of the request: another endpoint may.
            (Failure::Connect(_) | Failure::Dns(_), _) if !by_status => admission.failed(slot, outcome),
            (Failure::Connect(_) | Failure::Dns(_) | Failure::ConnectTimeout, _) => {
                admission.failed(slot, outcome);
                if admission.is_exhausted() {
                    return Err(NoUpstream::Upstream(failure));
                }
            }
            (Failure::Refused(answer), Outcome::Overloaded { retry_after }) => {
                floor = floor.max(retry_after.map_or(0, |after| after.as_secs().min(LONGEST_HINT) as u32));
                let of_this_client = answer.status == StatusCode::TOO_MANY_REQUESTS;
                if of_this_client {
                    // 429 speaks of this client, not of the endpoint: no other client pays for it.
                    slot.observe(Outcome::Refused);
                } else {
                    admission.failed(slot, outcome);
                }
                if by_status && (of_this_client || admission.is_exhausted()) {
                    return Err(NoUpstream::Upstream(failure));
                }
                if of_this_client {
                    let refusal = admission.wait_out(floor).await;
                    return Err(NoUpstream::Governor(refusal));
                }
            }
            _ => {
                slot.observe(outcome);
                return Err(NoUpstream::Upstream(failure));
            }
        }
    }
}

/// The upstream said yes: so do we.
fn accept(opening: Opening, mut accepted: Accepted, slot: Slot, cookie: Option<HeaderValue>) -> Answered {
    let mut reply = switching(mem::take(&mut accepted.headers));
    let headers = reply.headers_mut();
    if let Some(protocol) = &accepted.protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol.clone());
    }
    if let Some(deflate) = &accepted.deflate {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, deflate.clone());
    }
    if let Some(cookie) = cookie {
        headers.append(header::SET_COOKIE, cookie);
    }
    opening.begin(accepted, slot);
    Answered { reply, result: "", reason: "" }
}

/// No upstream for this client, for a while: told after a 101, where a script can read it, or as a status.
fn refuse(
    opening: Opening,
    refusal: Refusal,
    by_status: bool,
    upgrade: &Upgrade,
    parts: &http::request::Parts,
) -> Answered {
    let (why, reason) = match refusal.reason {
        Reason::Overload | Reason::QueueFull => (Refused::Overloaded, "overload"),
        Reason::UpstreamFull => (Refused::UpstreamFull, "upstream_full"),
        Reason::NoUpstream => (Refused::NoUpstream, "no_endpoint"),
        Reason::UpstreamOverloaded => (Refused::UpstreamOverloaded, "upstream_overloaded"),
    };
    let metrics = &opening.facts.client.worker.shared.metrics;
    metrics.governor_shed.with_label_values(&[&opening.facts.route.upstream, "handshake", reason]).inc();
    metrics.governor_hint.with_label_values(&[&opening.facts.route.upstream]).observe(refusal.retry_after.into());
    let is_hasty = !by_status && opening.facts.route.on_overload.is_none() && is_hasty(&opening.facts, &refusal, parts);
    if is_hasty {
        metrics.limit_hits.with_label_values(&["early_returns", "reject"]).inc();
    }
    if by_status || is_hasty || refusal.reason == Reason::QueueFull {
        if refusal.reason == Reason::QueueFull {
            metrics.limit_hits.with_label_values(&["max_waiting", "reject"]).inc();
        }
        opening.facts.log_refusal(503, End::Refused(why).cause(), Some(refusal.retry_after));
        let mut reply = own_reply(StatusCode::SERVICE_UNAVAILABLE, "too busy; come back later");
        reply.headers_mut().insert(header::RETRY_AFTER, refusal.retry_after.into());
        return Answered { reply, result: "rejected", reason };
    }
    close_instead(opening, why, reason, refusal.retry_after, upgrade)
}

/// Whether this client does not heed what it is told in a Close.
fn is_hasty(facts: &Facts, refusal: &Refusal, parts: &http::request::Parts) -> bool {
    let own = [header::COOKIE, header::AUTHORIZATION, header::USER_AGENT].map(|name| parts.headers.get(name));
    let who = (facts.client.ip(), &facts.host, parts.uri.path_and_query(), own);
    facts.client.worker.shared.manners.refused(who, facts.started, refusal.retry_after, clock::now())
}

/// It does not come in.
fn deny(opening: Opening, denied: Denied, upgrade: &Upgrade) -> Answered {
    let reason = denied.reason();
    match denied {
        Denied::Close { why, retry_after } => close_instead(opening, why, reason, retry_after, upgrade),
        Denied::Answer { reply, .. } => {
            opening.facts.log_refusal(reply.status().as_u16(), reason, None);
            Answered { reply, result: "rejected", reason }
        }
    }
}

/// Tells it after a 101, where a script can read it.
fn close_instead(
    opening: Opening,
    why: Refused,
    reason: &'static str,
    retry_after: u32,
    upgrade: &Upgrade,
) -> Answered {
    let mut reply =
        switching(HeaderMap::from_iter([(header::SEC_WEBSOCKET_ACCEPT, upstream::accept_key(&upgrade.key))]));
    if let Some(first) = upgrade.protocols.first().and_then(|first| HeaderValue::from_str(first).ok()) {
        // A browser that offered subprotocols and is given none fails the connection and shows 1006.
        reply.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, first);
    }
    opening.refuse(why, retry_after);
    Answered { reply, result: "rejected", reason }
}

/// The upstream failed, or said no in its own words.
fn failed(failure: Failure) -> Answered {
    let reason = failure.reason();
    let (code, text) = failure.told();
    match failure {
        Failure::Refused(answer) => Answered { reply: pass_on(*answer), result: "rejected", reason },
        _ => Answered { reply: own_reply(code, text), result: "failed", reason },
    }
}

fn pass_on(answer: Answer) -> Reply {
    let Answer { status, mut headers, body } = answer;
    upstream::strip_hop_by_hop(&mut headers);
    headers.remove(header::CONTENT_LENGTH);
    let mut reply = Response::new(Body::from(body));
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    // Whatever the client has sent behind its request, it was not meant as a request.
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// A 101 with these fields, the proof that the client's key was read among them.
fn switching(mut headers: HeaderMap) -> Reply {
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let mut reply = Response::new(Body::default());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *reply.headers_mut() = headers;
    reply
}

/// An answer in tidegate's own words, and the last on its connection.
pub(crate) fn own_reply(code: StatusCode, text: &'static str) -> Reply {
    let mut reply = Response::new(Body::from(format!("{text}\n")));
    *reply.status_mut() = code;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

impl Denied {
    fn draining() -> Self {
        Self::Answer { reply: Answered::from(DRAINING).reply, reason: DRAINING.reason }
    }
}

impl From<Rejection> for Answered {
    fn from(rejection: Rejection) -> Self {
        let mut reply = own_reply(rejection.status, rejection.text);
        let headers = reply.headers_mut();
        match rejection.reason {
            "version" => drop(headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))),
            "upgrade_token" if rejection.status == StatusCode::UPGRADE_REQUIRED => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade, close"));
            }
            "method" => drop(headers.insert(header::ALLOW, HeaderValue::from_static("GET"))),
            _ if rejection.status == StatusCode::SERVICE_UNAVAILABLE && rejection.reason != "draining" => {
                // Drawn, so that those who were refused together do not come back together.
                let seconds = 1 + crate::random() % RETRY_AFTER_STRAIN;
                headers.insert(header::RETRY_AFTER, seconds.into());
            }
            "draining" => drop(headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"))),
            _ => {}
        }
        Self { reply, result: "rejected", reason: rejection.reason }
    }
}

impl Client {
    /// Refuses a request.
    pub(crate) fn reject<B>(&self, request: &Request<B>, route: Option<&Route>, rejection: Rejection) -> Reply {
        let name = route.map_or("_none", |route| &route.name);
        let host = request::host(request).unwrap_or_default();
        let path = redacted(request.uri());
        self.log(&self.line(name, &host, &path, rejection.status.as_u16(), rejection.reason));
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
