//! The short way of an upgrade: a request for a WebSocket whose head comes in one piece, as nearly every one does.
//!
//! It is read and answered here. hyper, which has all other requests, and all answers but a 101, is as dear as the rest of
//! a handshake.

use std::{
    cell::Cell,
    future::{pending, poll_fn},
    io,
    mem::MaybeUninit,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use rustix::net::RecvFlags;
use tokio::{
    io::{AsyncRead as _, ReadBuf},
    task::spawn_local,
};

use super::{Client, MAX_HEAD, MAX_HEADERS, Reply, answer};
use crate::{
    buffer::{Buffer, Size},
    clock, patient, request,
    session::{Successor, Upgraded},
    stream::Stream,
    task::Phase,
    upload::Source,
};

/// Most header fields that its upstream is told beside the client's own, less the two that do not go on.
const OURS: usize = 6;

/// What a client that waits for its answer may send meanwhile and have it read, in bytes: the kernel holds the rest.
const EARLY: usize = 256;

/// What a connection comes to.
pub(super) enum Outcome {
    /// It is over, but for the end of its transport.
    Over(Stream),
    /// A session goes on with it.
    Session(Option<Phase>),
    /// To be answered so, by whoever reads this request once more.
    Reply(Stream, Bytes, Box<Reply>),
}

/// The first bytes that a client sends on a new connection. None: it sends no more.
pub(super) async fn read_first(stream: &mut Stream) -> io::Result<Bytes> {
    // Mostly they came with it: to look is cheaper than to be woken for them. What fails here fails again.
    if let Some(tcp) = stream.bare() {
        let mut buffer = Buffer::take(Size::Small);
        let space = &mut buffer.space()[..MAX_HEAD];
        if let Ok((len, _)) = rustix::net::recv(tcp, &mut *space, RecvFlags::DONTWAIT) {
            return Ok(Bytes::copy_from_slice(&space[..len]));
        }
    }
    read(stream, MAX_HEAD).await
}

/// The next bytes that it sends, so many at most. None: it sends no more.
async fn read(stream: &mut Stream, most: usize) -> io::Result<Bytes> {
    poll_fn(|cx| poll_some(stream, cx, most)).await
}

/// Reads so much at once. The buffer is the worker's: whoever waits holds none.
fn poll_some(stream: &mut Stream, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Bytes>> {
    let mut buffer = Buffer::take(Size::Small);
    let mut space = ReadBuf::new(&mut buffer.space()[..most]);
    ready!(Pin::new(stream).poll_read(cx, &mut space))?;
    Poll::Ready(Ok(Bytes::copy_from_slice(space.filled())))
}

/// Reads a request for a WebSocket, and how long its head is. `None`: hyper is to look at it.
pub(super) fn parse(data: &Bytes) -> Option<(Box<Request<Source>>, usize)> {
    let mut fields = [MaybeUninit::uninit(); MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let status = parser.parse_request_with_uninit_headers(&mut parsed, data, &mut fields).ok()?;
    let httparse::Status::Complete(len) = status else { return None };
    let (Some("GET"), Some(1), Some(path)) = (parsed.method, parsed.version, parsed.path) else { return None };
    // With room for those that are ours to say.
    let mut headers = HeaderMap::with_capacity(parsed.headers.len() + OURS);
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_maybe_shared(data.slice_ref(field.value)).ok()?);
    }
    let has_body = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING].iter().any(|name| headers.contains_key(name));
    if !path.starts_with('/') || has_body || !request::asks_for_websocket(&headers) {
        return None;
    }
    let mut request = Box::new(Request::new(Source::None));
    *request.uri_mut() = Uri::from_maybe_shared(data.slice_ref(path.as_bytes())).ok()?;
    *request.headers_mut() = headers;
    Some((request, len))
}

/// Answers such a request; `data` is all that was read so far, its head the first `len` bytes.
#[expect(clippy::manual_async_fn, reason = "an `async fn` holds its arguments twice, for each client that waits")]
pub(super) fn serve(
    client: &Client,
    mut stream: Stream,
    request: Box<Request<Source>>,
    mut data: Bytes,
    len: usize,
) -> impl Future<Output = Outcome> {
    async move {
        let (handed, successor) = (Rc::new(Cell::new(None)), Successor::default());
        let upgraded = Upgraded::whole(handed.clone(), data.len(), successor.clone());
        let answer = unless_gone(client, &mut stream, request, upgraded, &mut data, len);
        let Some(reply) = answer.await else { return Outcome::Over(stream) };
        if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Outcome::Reply(stream, data, Box::new(reply));
        }
        if patient::write(&mut stream, &head(&reply)).await.is_err() {
            // Its upstream has still to be told.
            successor.take().map(spawn_local);
            return Outcome::Over(stream);
        }
        handed.set(Some((stream, data.slice(len..))));
        Outcome::Session(successor.take())
    }
}

/// The answer. `None`: the client has left before. One that is known to have left becomes no session that is lost at
/// once.
async fn unless_gone(
    client: &Client,
    stream: &mut Stream,
    request: Box<Request<Source>>,
    upgraded: Upgraded,
    data: &mut Bytes,
    len: usize,
) -> Option<Reply> {
    tokio::select! {
        biased;
        () = gone(stream, data, len) => None,
        reply = answer(client, clock::now(), request, upgraded) => Some(reply),
    }
}

/// Returns when the client has left. What it sends instead is added to the `data`, as long as there is nothing but the
/// head, of `len` bytes.
async fn gone(stream: &mut Stream, data: &mut Bytes, len: usize) {
    if data.len() == len {
        match read(stream, EARLY).await {
            Ok(more) if !more.is_empty() => {
                let mut all = BytesMut::with_capacity(len + more.len());
                all.put_slice(data);
                all.put_slice(&more);
                *data = all.freeze();
            }
            _ => return,
        }
    }
    pending().await
}

/// The head of a 101.
fn head<B>(reply: &Response<B>) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
    for (name, value) in reply.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPGRADE: &str = "Host: a\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n";

    /// What is read of these bytes: the target, the number of header fields, and what is left behind the head.
    fn read(text: String) -> Option<(String, usize, Bytes)> {
        let data = Bytes::from(text);
        let (request, len) = parse(&data)?;
        Some((request.uri().to_string(), request.headers().len(), data.slice(len..)))
    }

    #[test]
    fn a_whole_upgrade_is_read_and_what_is_behind_it_left() {
        let early = Bytes::from_static(b"\x81\x80abcd");
        let request = format!("GET /ws?a=b HTTP/1.1\r\n{UPGRADE}X-Odd:  two \r\n\r\n");
        assert_eq!(read(request.clone()), Some(("/ws?a=b".into(), 4, Bytes::new())));
        let with_more = [request.as_bytes(), &early[..]].concat();
        let (request, len) = parse(&Bytes::from(with_more.clone())).unwrap();
        assert_eq!((&with_more[len..], &request.headers()["x-odd"]), (&early[..], &HeaderValue::from_static("two")));
    }

    #[test]
    fn everything_else_is_left_to_hyper() {
        let upgrade = format!("GET / HTTP/1.1\r\n{UPGRADE}\r\n");
        assert!(read(upgrade.clone()).is_some());
        for cut in 0..upgrade.len() {
            assert_eq!(read(upgrade[..cut].to_owned()), None, "{cut}");
        }
        for line in [
            "POST / HTTP/1.1",
            "GET / HTTP/1.0",
            "GET http://a/ HTTP/1.1",
            "GET * HTTP/1.1",
            "PRI * HTTP/2.0",
            "GET /\u{1} HTTP/1.1",
        ] {
            assert_eq!(read(format!("{line}\r\n{UPGRADE}\r\n")), None, "{line}");
        }
        for field in ["Content-Length: 0", "Transfer-Encoding: chunked", "Bad Name: 1", " folded", "X: \u{1}"] {
            assert_eq!(read(format!("GET / HTTP/1.1\r\n{UPGRADE}{field}\r\n\r\n")), None, "{field}");
        }
        assert_eq!(read("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n".into()), None);
        assert_eq!(read("GET / HTTP/1.1\r\nHost: a\r\n\r\n".into()), None);
        let most = (0..MAX_HEADERS - 3).map(|i| format!("X-{i}: 1\r\n")).collect::<String>();
        assert!(read(format!("GET / HTTP/1.1\r\n{UPGRADE}{most}\r\n")).is_some());
        assert_eq!(read(format!("GET / HTTP/1.1\r\n{UPGRADE}{most}X: 1\r\n\r\n")), None);
    }
}
