//! A plain HTTP request, on a route that serves more than WebSockets: it is passed to an endpoint, and the answer back.
//!
//! hyper reads and writes the messages on both sides, so that nothing is forwarded which two readers could frame in two
//! ways; bodies stream and are not kept. A request needs no permit of the governor: what it counts are sessions.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tidegate_governor::Wish;

use crate::{
    access::HttpPart,
    affinity, announced,
    body::Body,
    endpoint::Endpoint,
    gate::{self, Denied, Visitor},
    http::{own_reply, since},
    pool::Lease,
    request,
    session::Facts,
    shared::Target,
    upload::{Source, Upload},
    upstream::{self, Dial, Failure},
};

/// Passes the request on. Dropping the future, or the body of its answer, ends the request upstream.
pub(crate) async fn pass(facts: Facts, request: Request<Source>) -> Response<Body> {
    let mut exchange = Exchange::begin(facts, request.method().clone());
    let (mut parts, body) = request.into_parts();
    if let Err(denied) = gate::enter(&mut exchange.facts, &mut parts, Visitor::Plain).await {
        return exchange.deny(denied);
    }
    let answered = exchange.forward(Request::from_parts(parts, body)).await;
    exchange.head_s = since(exchange.facts.started);
    match answered {
        Ok((answer, lease)) => exchange.pass_back(answer, lease),
        Err(failure) => {
            let (status, text) = failure.as_ref().map_or(NO_ENDPOINT, Failure::told);
            exchange.status = Some(status);
            exchange.error = Some(failure.as_ref().map_or("no_endpoint", Failure::reason));
            own_reply(status, text)
        }
    }
}

const NO_ENDPOINT: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "no upstream; come back later");

/// A request from its head to the end of its answer; then it is counted and logged.
struct Exchange {
    facts: Facts,
    method: Method,
    endpoint: Option<Arc<Endpoint>>,
    /// What keeps its client with the endpoint.
    cookie: Option<HeaderValue>,
    /// `None`: its client left before it had an answer.
    status: Option<StatusCode>,
    error: Option<&'static str>,
    head_s: f64,
}

impl Exchange {
    fn begin(facts: Facts, method: Method) -> Self {
        facts.client.worker.shared.exchanges.fetch_add(1, Relaxed);
        Self { facts, method, endpoint: None, cookie: None, status: None, error: None, head_s: 0.0 }
    }

    /// Asks one endpoint after the other until one takes the request. `None`: there is none to be asked.
    async fn forward(&mut self, request: Request<Source>) -> Result<(Response<Incoming>, Lease), Option<Failure>> {
        let route = self.facts.route.clone();
        let Some(target) = self.facts.client.worker.shared.target(&route.upstream) else { return Err(None) };
        let wish = affinity::wish(&target.affinity, request.headers(), &self.facts.client, &target.capacity);
        let mut request = Self::onward(request);
        let progress = request.body().progress();
        let (mut tried, mut unreachable) = (Vec::new(), None::<Failure>);
        while let Some((id, endpoint)) = target.capacity.choose(&tried, wish) {
            if let Some(failure) = &unreachable {
                let labels = [route.upstream.as_str(), failure.reason()];
                self.facts.client.worker.shared.metrics.upstream_retries.with_label_values(&labels).inc();
            }
            self.choose(&target, &endpoint, wish == Wish::Endpoint(id));
            let mut lease = match connection(&self.facts, &target, endpoint).await {
                Ok(lease) => lease,
                // Nobody took a byte of the request: another endpoint may.
                Err(failure @ (Failure::Connect(_) | Failure::Dns(_))) => {
                    tracing::debug!(upstream = route.upstream, endpoint = ?self.endpoint, ?failure, "not connected");
                    tried.push(id);
                    unreachable = Some(failure);
                    continue;
                }
                Err(failure) => return Err(Some(failure)),
            };
            match progress.wait(route.handshake_timeout, lease.send(request)).await {
                None => return Err(Some(Failure::AnswerTimeout)),
                Some(Ok(answer)) => return check(&answer).map(|()| (answer, lease)).map_err(Some),
                Some(Err(mut error)) => match error.take_message() {
                    // A kept connection that ended before it was used again: the next one will do.
                    Some(unsent) if lease.used => request = unsent,
                    _ if error.error().is_parse() => return Err(Some(Failure::Invalid("not HTTP"))),
                    _ => return Err(Some(Failure::Closed)),
                },
            }
        }
        Err(unreachable)
    }

    fn choose(&mut self, target: &Target, endpoint: &Arc<Endpoint>, returned: bool) {
        let tls = self.facts.client.tls;
        self.cookie = affinity::set_cookie(&target.affinity, endpoint, returned, tls);
        self.endpoint = Some(endpoint.clone());
    }

    /// The request, whose header fields are clean, as it goes upstream.
    fn onward(request: Request<Source>) -> Request<Upload> {
        let (mut parts, body) = request.into_parts();
        let body = Upload::new(body);
        let mut headers = parts.headers;
        frame(&mut headers, &body.size_hint());
        // hyper has promised the client that its body will be read.
        headers.remove(header::EXPECT);
        let target = parts.uri.into_parts().path_and_query.map_or_else(Uri::default, Uri::from);
        parts.uri = target;
        parts.version = http::Version::HTTP_11;
        parts.headers = headers;
        // What hyper keeps here is of the connection with the client.
        parts.extensions.clear();
        Request::from_parts(parts, body)
    }

    /// It does not come in.
    fn deny(mut self, denied: Denied) -> Response<Body> {
        self.error = Some(denied.reason());
        let reply = match denied {
            Denied::Answer { reply, .. } => reply,
            // A plain request is never told by a Close.
            Denied::Close { .. } => own_reply(StatusCode::SERVICE_UNAVAILABLE, "come back later"),
        };
        self.status = Some(reply.status());
        self.head_s = since(self.facts.started);
        reply
    }

    /// The answer as it goes to the client, and with its body what is left of this.
    fn pass_back(mut self, answer: Response<Incoming>, lease: Lease) -> Response<Body> {
        let (parts, body) = answer.into_parts();
        let mut headers = parts.headers;
        upstream::strip_hop_by_hop(&mut headers);
        announced::take(&mut headers);
        if self.method != Method::HEAD {
            // hyper states the length of the body that it has; of one that is left out only the endpoint knows it.
            headers.remove(header::CONTENT_LENGTH);
        }
        if let Some(cookie) = self.cookie.take() {
            headers.append(header::SET_COOKIE, cookie);
        }
        self.status = Some(parts.status);
        let mut download = Download { body, lease: Some(lease), _exchange: self };
        download.release_at_end();
        let mut reply = Response::new(Body::Passed(Box::new(download)));
        *reply.status_mut() = parts.status;
        *reply.headers_mut() = headers;
        reply
    }
}

/// A connection that is kept, or a new one.
async fn connection(facts: &Facts, target: &Target, endpoint: Arc<Endpoint>) -> Result<Lease, Failure> {
    let route = &facts.route;
    if let Some(lease) = target.pool.take(&endpoint) {
        return Ok(lease);
    }
    let tls = target.tls.load_full();
    let header = target.proxy_protocol.then(|| facts.client.proxy_header());
    let dial = Dial {
        endpoint: &endpoint,
        tls: tls.as_deref(),
        connect_timeout: route.connect_timeout,
        handshake_timeout: route.handshake_timeout,
        proxy_header: header.as_deref(),
    };
    let stream = upstream::connect(&dial).await?;
    // One that begins with who its client is, is that client's alone.
    target.pool.lease(stream, endpoint, header.is_none()).await.map_err(|_| Failure::Closed)
}

/// Says how long the body is from the body itself, never from what the client said of it.
fn frame(headers: &mut HeaderMap, body: &SizeHint) {
    let said = headers.remove(header::CONTENT_LENGTH).is_some();
    match body.exact() {
        Some(0) if !said => {}
        Some(length) => drop(headers.insert(header::CONTENT_LENGTH, length.into())),
        // hyper would send none with a GET.
        None => drop(headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))),
    }
}

/// What would make hyper's reading of an answer another one than the client's.
fn check(answer: &Response<Incoming>) -> Result<(), Failure> {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::Invalid("101 to a plain request"));
    }
    if !request::is_plainly_framed(answer.headers()) {
        return Err(Failure::Invalid("a transfer coding other than chunked"));
    }
    Ok(())
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Self { facts, method, endpoint, status, error, head_s, .. } = self;
        let shared = &facts.client.worker.shared;
        shared.exchanges.fetch_sub(1, Relaxed);
        shared.metrics.http_requests.with_label_values(&[facts.route.name.as_str(), code_class(*status)]).inc();
        let mut line = facts.line(status.map_or(0, |status| status.as_u16()), "", "", *head_s, None);
        line.event = "http";
        line.http = Some(HttpPart {
            method: method.as_str(),
            upstream: &facts.route.upstream,
            endpoint: endpoint.as_deref(),
            error: *error,
            duration_s: since(facts.started),
        });
        facts.log(&line);
    }
}

/// The metric label.
fn code_class(status: Option<StatusCode>) -> &'static str {
    match status.map(|status| status.as_u16() / 100) {
        None => "none",
        Some(2) => "2xx",
        Some(3) => "3xx",
        Some(4) => "4xx",
        Some(5) => "5xx",
        Some(_) => "other",
    }
}

/// An endpoint's body on its way to the client, and the connection it comes over.
pub(crate) struct Download {
    body: Incoming,
    lease: Option<Lease>,
    _exchange: Exchange,
}

impl Download {
    fn release_at_end(&mut self) {
        if self.body.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.release();
        }
    }
}

impl hyper::body::Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(_)) => self.release_at_end(),
            // The end of a body whose length was not known before.
            None => drop(self.lease.take().map(Lease::release)),
            Some(Err(_)) => drop(self.lease.take()),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_the_bodys() {
        let framed = |said: Option<&'static str>, hint: SizeHint| {
            let mut headers = HeaderMap::new();
            said.map(|said| headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static(said)));
            frame(&mut headers, &hint);
            let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
            (text(header::CONTENT_LENGTH), text(header::TRANSFER_ENCODING))
        };
        assert_eq!(framed(None, SizeHint::with_exact(0)), (None, None));
        assert_eq!(framed(Some("0"), SizeHint::with_exact(0)), (Some("0".into()), None));
        assert_eq!(framed(Some("7"), SizeHint::with_exact(5)), (Some("5".into()), None));
        assert_eq!(framed(Some("7"), SizeHint::new()), (None, Some("chunked".into())));
    }
}
