//! Requests and answers between HTTP/2 and what the rest of tidegate reads and writes.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, ext::Protocol};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header, request::Parts, uri::Authority};
use hyper::body::{Frame, SizeHint};
use tokio::time::timeout;

use super::traffic::Traffic;
use crate::{
    http::MAX_HEADERS,
    request::{self, Rejection},
    upstream,
};

/// How long a client may take nothing of an answer. As `write_timeout` has it by default.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

const PROTOCOL: Rejection = Rejection::new(StatusCode::NOT_IMPLEMENTED, "upgrade_token", "only websocket");
const SCHEME: Rejection = Rejection::new(StatusCode::BAD_REQUEST, "scheme", "http or https");
const BODY: Rejection = Rejection::new(StatusCode::BAD_REQUEST, "body", "the stream has ended already");
const MISDIRECTED: Rejection =
    Rejection::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", "this connection is not for that host");
const TOO_MANY: Rejection =
    Rejection::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", "too many header fields");

/// Makes the head of a request what it would be over HTTP/1.1. `true`: it asks for a WebSocket (RFC 8441 section 4).
/// h2 has seen to it that `:method`, `:scheme` and `:path` are there, and that no field speaks of a connection.
///
/// # Errors
/// What only HTTP/2 can get wrong.
pub(super) fn to_http1(parts: &mut Parts, is_over: bool) -> Result<bool, Rejection> {
    parts.version = Version::HTTP_11;
    if parts.headers.len() > MAX_HEADERS {
        return Err(TOO_MANY);
    }
    if !parts.uri.scheme_str().is_none_or(|scheme| scheme == "http" || scheme == "https") {
        return Err(SCHEME);
    }
    join_cookies(&mut parts.headers);
    if let Some(authority) = parts.uri.authority()
        && !parts.headers.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(header::HOST, host);
    }
    let Some(protocol) = parts.extensions.remove::<Protocol>() else { return Ok(false) };
    if protocol.as_str() != "websocket" {
        return Err(PROTOCOL);
    }
    if is_over {
        return Err(BODY);
    }
    parts.method = Method::GET;
    let headers = &mut parts.headers;
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    // The client has none: it is tidegate that the upstream proves itself to.
    headers.insert(header::SEC_WEBSOCKET_KEY, request::fresh_key());
    Ok(true)
}

/// Refuses a request for a host that the connection is not for: a client that has several connections, or opens another,
/// asks again on the right one (RFC 9113 section 9.1.1). Whether the host is one at all is for others to say.
///
/// # Errors
/// It is not covered.
pub(super) fn check_host(parts: &Parts, covers: impl Fn(&str) -> bool) -> Result<(), Rejection> {
    let authority = parts.headers.get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    if authority.is_none_or(|authority| covers(authority.host())) { Ok(()) } else { Err(MISDIRECTED) }
}

/// RFC 9113 section 8.2.3: HTTP/1.1 has one `Cookie`.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

/// Makes the head of an answer what it must be over HTTP/2.
pub(super) fn to_http2<B: hyper::body::Body>(answer: Response<B>, has_body: bool) -> (Response<()>, B) {
    let (mut parts, body) = answer.into_parts();
    upstream::strip_hop_by_hop(&mut parts.headers);
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        parts.status = StatusCode::OK;
        parts.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    } else if has_body
        && !matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        && let Some(length) = body.size_hint().exact()
    {
        // hyper would have said it.
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    parts.version = Version::HTTP_2;
    (Response::from_parts(parts, ()), body)
}

/// A request's body, which makes room for more only as it is taken.
pub(crate) struct Incoming {
    recv: RecvStream,
    /// Bytes handed out last.
    taken: usize,
    /// How much is still to come, where the client has said so; h2 holds it to its word.
    left: Option<u64>,
    traffic: Arc<Traffic>,
}

impl Incoming {
    pub(super) fn new(recv: RecvStream, headers: &HeaderMap, traffic: Arc<Traffic>) -> Self {
        let said = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let left = if recv.is_end_stream() { Some(0) } else { said };
        Self { recv, taken: 0, left, traffic }
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 {
            self.recv.flow_control().release_capacity(taken)?;
        }
        let data = ready!(self.recv.poll_data(cx)).transpose()?;
        if let Some(data) = &data {
            self.taken = data.len();
            self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
            self.traffic.data(data.len());
        }
        // Trailers end here: the endpoints are asked over HTTP/1.1, which has no use for those it does not know.
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.recv.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// Waits for room, and gives how many of `wanted` bytes (at least one) may be sent now.
pub(super) fn poll_room(
    send: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
    wanted: usize,
) -> Poll<Result<usize, h2::Error>> {
    send.reserve_capacity(wanted);
    loop {
        let room = send.capacity();
        if room > 0 {
            return Poll::Ready(Ok(room.min(wanted)));
        }
        match ready!(send.poll_capacity(cx)) {
            Some(room) => drop(room?),
            // The stream takes nothing any more.
            None => return Poll::Ready(Err(h2::Reason::STREAM_CLOSED.into())),
        }
    }
}

/// Sends all of this as the client takes it.
///
/// # Errors
/// The stream is over, or its client has taken nothing for too long.
pub(super) async fn send(send: &mut SendStream<Bytes>, mut data: Bytes, traffic: &Traffic) -> Result<(), h2::Error> {
    while !data.is_empty() {
        let room = timeout(WRITE_TIMEOUT, poll_fn(|cx| poll_room(send, cx, data.len()))).await;
        let room = room.map_err(|_| h2::Error::from(h2::Reason::CANCEL))??;
        send.send_data(data.split_to(room), false)?;
        traffic.data(room);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(edit: impl FnOnce(&mut Request<()>)) -> Parts {
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri("https://example.com/ws?a=b")
            .extension(Protocol::from_static("websocket"))
            .body(())
            .unwrap();
        edit(&mut request);
        request.into_parts().0
    }

    #[test]
    fn an_extended_connect_becomes_an_upgrade() {
        let mut parts = parts(|request| {
            for crumb in ["a=1", "b=2"] {
                request.headers_mut().append(header::COOKIE, HeaderValue::from_static(crumb));
            }
            request.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        });
        assert!(to_http1(&mut parts, false).unwrap());
        assert_eq!(parts.headers[header::COOKIE], "a=1; b=2");
        let request = Request::from_parts(parts, ());
        assert_eq!(request::host(&request).unwrap(), "example.com");
        assert!(request::asks_for_websocket(request.headers()) && request::upgrade(&request).is_ok());
    }

    #[test]
    fn what_only_http2_can_get_wrong() {
        let refused = |edit: &dyn Fn(&mut Request<()>), is_over| {
            to_http1(&mut parts(edit), is_over).map_err(|rejection| rejection.status.as_u16())
        };
        assert_eq!(refused(&|_| {}, true), Err(400));
        let connect_udp = |request: &mut Request<()>| {
            request.extensions_mut().insert(Protocol::from_static("connect-udp"));
        };
        assert_eq!(refused(&connect_udp, false), Err(501));
        assert_eq!(refused(&|request| *request.uri_mut() = "ftp://example.com/ws".parse().unwrap(), false), Err(400));
        let crowded = |request: &mut Request<()>| {
            for i in 0..=MAX_HEADERS as u32 {
                request.headers_mut().append("x", i.into());
            }
        };
        assert_eq!(refused(&crowded, false), Err(431));
        assert_eq!(refused(&|request| drop(request.extensions_mut().remove::<Protocol>()), true), Ok(false));
    }

    #[test]
    fn an_answer_speaks_of_no_connection() {
        let switching = Response::builder()
            .status(101)
            .header("upgrade", "websocket")
            .header("connection", "Upgrade")
            .header("sec-websocket-accept", "x")
            .header("sec-websocket-protocol", "chat")
            .body(crate::body::Body::default())
            .unwrap();
        let (head, _) = to_http2(switching, true);
        assert_eq!(head.status(), 200);
        assert_eq!(
            head.headers().keys().map(header::HeaderName::as_str).collect::<Vec<_>>(),
            ["sec-websocket-protocol"]
        );
        let (head, _) = to_http2(crate::http::own_reply(StatusCode::NOT_FOUND, "none"), true);
        assert_eq!(head.headers()[header::CONTENT_LENGTH], "5");
        assert!(!head.headers().contains_key(header::CONNECTION));
    }
}
