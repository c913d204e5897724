//! The upstream's side of the opening handshake: a fresh connection, our request, its validated answer.
//!
//! One connection a handshake, never pooled, and no byte of the client's behind the request head goes upstream
//! before a 101 whose every claim was checked.

use std::{io, mem::MaybeUninit, net::SocketAddr, time::Duration};

use base64::Engine as _;
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use rustix::net::sockopt::set_tcp_quickack;
use sha1::{Digest, Sha1};
use tidegate_config::{ServerAddress, is_hop_by_hop};
use tidegate_governor::Outcome;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UnixStream},
    time::timeout,
};

use crate::{endpoint::Endpoint, pacing::unpaced, request, request::Upgrade, stream::Stream, tls};

/// The longest head an upstream may answer with, in bytes. As nginx and hyper have it.
pub(crate) const MAX_HEAD: usize = 16 << 10;
/// Most header fields of an answer.
pub(crate) const MAX_HEADERS: usize = 100;
/// The longest body of a refusal that is passed on, in bytes; a longer one is left out.
const MAX_BODY: usize = 64 << 10;
/// How long the body of a refusal may take: its status is what counts, and is passed on without one.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);
/// RFC 6455 section 1.3.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// An upstream that said yes.
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    /// What it sent behind its 101.
    pub(crate) early: Bytes,
    /// Its end-to-end header fields, and the proof that it read the client's key.
    pub(crate) headers: HeaderMap,
    /// The subprotocol it chose.
    pub(crate) protocol: Option<HeaderValue>,
    /// Its answer to the offer of permessage-deflate.
    pub(crate) deflate: Option<HeaderValue>,
}

/// An upstream that did not.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody listens there, or nobody can be reached.
    Connect(io::Error),
    /// No name server knows it.
    Dns(io::Error),
    /// TLS with it fails.
    Tls(io::Error),
    /// It cannot be connected to in `connect_timeout`.
    ConnectTimeout,
    /// It does not answer in `handshake_timeout`.
    AnswerTimeout,
    /// It closes without an answer.
    Closed,
    /// What it answers is no valid upgrade, or no HTTP.
    Invalid(&'static str),
    /// It says no, in words of its own.
    Refused(Box<Answer>),
}

/// A refusal to be passed on.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Failure {
    /// What the governor learns from it.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Connect(_) | Self::Dns(_) => Outcome::ConnectFailed,
            Self::ConnectTimeout | Self::AnswerTimeout => Outcome::TimedOut,
            Self::Tls(_) | Self::Closed | Self::Invalid(_) => Outcome::Failed,
            Self::Refused(answer) if answer.is_overload() => Outcome::Overloaded { retry_after: answer.retry_after() },
            Self::Refused(answer) if answer.status.is_server_error() => Outcome::Failed,
            Self::Refused(_) => Outcome::Refused,
        }
    }

    /// What lies behind it, for the log.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Connect(error) | Self::Dns(error) | Self::Tls(error) => error.to_string(),
            Self::Invalid(what) => (*what).to_owned(),
            Self::Refused(answer) => answer.status.to_string(),
            Self::ConnectTimeout => "no connection in connect_timeout".to_owned(),
            Self::AnswerTimeout => "no answer in handshake_timeout".to_owned(),
            Self::Closed => "closed without an answer".to_owned(),
        }
    }

    /// The metric label: `result` of a connect, `reason` of a handshake.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Connect(_) => "upstream_connect",
            Self::Dns(_) => "upstream_dns",
            Self::Tls(_) => "upstream_tls",
            Self::ConnectTimeout | Self::AnswerTimeout => "upstream_timeout",
            Self::Closed | Self::Invalid(_) => "upstream_handshake",
            Self::Refused(_) => "upstream_status",
        }
    }

    /// What a client is told where it is told a status, and the upstream has no words of its own.
    pub(crate) const fn told(&self) -> (StatusCode, &'static str) {
        match self {
            Self::ConnectTimeout | Self::AnswerTimeout => (StatusCode::GATEWAY_TIMEOUT, "the upstream does not answer"),
            Self::Connect(_) | Self::Dns(_) => (StatusCode::BAD_GATEWAY, "the upstream cannot be reached"),
            Self::Tls(_) => (StatusCode::BAD_GATEWAY, "no TLS with the upstream"),
            Self::Closed | Self::Invalid(_) | Self::Refused(_) => {
                (StatusCode::BAD_GATEWAY, "the upstream gives no valid answer")
            }
        }
    }
}

impl Answer {
    pub(crate) fn is_overload(&self) -> bool {
        matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
    }

    /// `Retry-After` in seconds. A date is not read: this clock and that one may differ.
    fn retry_after(&self) -> Option<Duration> {
        let value = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
        value.trim().parse().ok().map(Duration::from_secs)
    }
}

/// How an endpoint is reached.
pub(crate) struct Dial<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) tls: Option<&'a tls::Outgoing>,
    pub(crate) connect_timeout: Duration,
    pub(crate) handshake_timeout: Duration,
    /// What the connection begins with: a PROXY header.
    pub(crate) proxy_header: Option<&'a [u8]>,
}

/// Connects, asks, and checks the answer.
///
/// # Errors
/// Everything that is not a valid upgrade.
pub(crate) async fn handshake(dial: Dial<'_>, head: &[u8], upgrade: &Upgrade) -> Result<Accepted, Failure> {
    let mut stream = connect(&dial).await?;
    timeout(dial.handshake_timeout, ask(&mut stream, head))
        .await
        .map_err(|_| Failure::AnswerTimeout)?
        .and_then(|(answer, early)| validate(answer, upgrade).map(|headers| (headers, early)))
        .map(|((headers, protocol, deflate), early)| Accepted { stream, early, headers, protocol, deflate })
}

/// Connects, with TLS where the upstream has it.
///
/// # Errors
/// It cannot be done, or not in `connect_timeout`.
pub(crate) async fn connect(dial: &Dial<'_>) -> Result<Stream, Failure> {
    timeout(dial.connect_timeout, connect_in_time(dial)).await.map_err(|_| Failure::ConnectTimeout)?
}

async fn connect_in_time(dial: &Dial<'_>) -> Result<Stream, Failure> {
    let server = &dial.endpoint.server;
    let (host, port) = match server {
        ServerAddress::Unix(path) => {
            let mut unix = UnixStream::connect(path).await.map_err(Failure::Connect)?;
            unix.write_all(dial.proxy_header.unwrap_or_default()).await.map_err(Failure::Connect)?;
            return Ok(Stream::Unix(Box::new(unix)));
        }
        ServerAddress::Tcp { host, port } => (host.as_str(), *port),
        // Its servers are known by their addresses.
        ServerAddress::Srv(name) => (name.as_str(), 0),
    };
    let known = dial.endpoint.at.or_else(|| Some((host.parse::<std::net::IpAddr>().ok()?, port).into()));
    let mut tcp = match known {
        Some(address) => connect_to(address).await.map_err(Failure::Connect)?,
        None if port == 0 => return Err(Failure::Dns(io::ErrorKind::NotFound.into())),
        // In a box, as TLS: every handshake would carry their size, and is moved once.
        None => Box::pin(connect_by_name(host, port)).await?,
    };
    if let Some(header) = dial.proxy_header {
        tcp.write_all(header).await.map_err(Failure::Connect)?;
    }
    let Some(tls) = dial.tls else { return Ok(Stream::Tcp(tcp)) };
    let tls = Box::pin(tls.connect(server.verified_name().unwrap_or(host), tcp)).await.map_err(Failure::Tls)?;
    Ok(Stream::Upstream(Box::new(tls)))
}

/// Connects to the first address of a name that takes it.
async fn connect_by_name(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let mut failed = io::ErrorKind::AddrNotAvailable.into();
    for address in tokio::net::lookup_host((host, port)).await.map_err(Failure::Dns)? {
        match connect_to(address).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => failed = error,
        }
    }
    Err(Failure::Connect(failed))
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_nodelay(true)?;
    unpaced(&socket, address);
    // We speak first and at once: what ends TCP's handshake goes out with our first bytes, one packet and one wake-up of
    // the server less. Where it cannot be had, nothing is lost.
    let _ = set_tcp_quickack(&socket, false);
    socket.connect(address).await
}

/// The answer to an upgrade: a 101, or a refusal with its body. With what came behind a 101.
pub(crate) async fn ask(stream: &mut Stream, head: &[u8]) -> Result<(Answer, Bytes), Failure> {
    let sent = stream.write_all(head).await;
    if sent.is_ok() {
        let _ = stream.flush().await;
    }
    // An upstream may answer and close before it has read everything: its answer counts.
    let mut buffer = BytesMut::with_capacity(1024);
    loop {
        if let Some((status, headers)) = parse_head(&mut buffer)? {
            if status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok((Answer { status, headers, body: Bytes::new() }, buffer.freeze()));
            }
            if status.is_informational() {
                continue;
            }
            // RFC 9112 section 6.3: these have none, whatever their fields say; and 2xx to an upgrade is no answer.
            let bodiless = status.is_success() || status == StatusCode::NOT_MODIFIED;
            let length = content_length(&headers)?;
            let body = match bodiless {
                true => Bytes::new(),
                false => timeout(BODY_TIMEOUT, read_body(stream, &headers, length, buffer)).await.unwrap_or_default(),
            };
            return Ok((Answer { status, headers, body }, Bytes::new()));
        }
        if buffer.len() >= MAX_HEAD {
            return Err(Failure::Invalid("head too large"));
        }
        match stream.read_buf(&mut buffer).await {
            Ok(0) if buffer.is_empty() => return Err(Failure::Closed),
            Ok(0) => return Err(Failure::Invalid("head cut off")),
            Ok(_) => {}
            // In TLS 1.3 a server that does not like our certificate says so after the handshake.
            Err(error) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
                return Err(Failure::Tls(error));
            }
            Err(_) => return Err(Failure::Closed),
        }
    }
}

/// Takes a complete head off the front of the buffer.
fn parse_head(buffer: &mut BytesMut) -> Result<Option<(StatusCode, HeaderMap)>, Failure> {
    let mut fields = [MaybeUninit::uninit(); MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let len = match parser.parse_response_with_uninit_headers(&mut response, buffer, &mut fields) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Failure::Invalid("too many headers")),
        Err(_) => return Err(Failure::Invalid("not HTTP")),
    };
    let status = StatusCode::from_u16(response.code.unwrap_or_default()).map_err(|_| Failure::Invalid("no status"))?;
    // HTTP/1.0 knows no upgrade (RFC 9110 section 7.8): whoever says this did not read what it was asked.
    if status == StatusCode::SWITCHING_PROTOCOLS && response.version == Some(0) {
        return Err(Failure::Invalid("101 in HTTP/1.0"));
    }
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for field in response.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Failure::Invalid("bad header name"))?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| Failure::Invalid("bad header value"))?;
        headers.append(name, value);
    }
    buffer.advance(len);
    Ok(Some((status, headers)))
}

/// The length that an answer claims. Two that differ, and one that is no number, are errors that nothing recovers from
/// (RFC 9112 section 6.3): where such a body ends is a matter of opinion.
fn content_length(headers: &HeaderMap) -> Result<Option<usize>, Failure> {
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for part in value.as_bytes().split(|&byte| byte == b',') {
            let digits = part.trim_ascii();
            let claimed = digits
                .iter()
                .all(u8::is_ascii_digit)
                .then_some(digits)
                .and_then(|digits| str::from_utf8(digits).ok()?.parse::<usize>().ok());
            match (claimed, length) {
                (Some(claimed), None) => length = Some(claimed),
                (Some(claimed), Some(earlier)) if claimed == earlier => {}
                _ => return Err(Failure::Invalid("no single Content-Length")),
            }
        }
    }
    Ok(length)
}

/// The body of a refusal as far as it can be had: none at all rather than a part (RFC 9112 section 6).
async fn read_body(stream: &mut Stream, headers: &HeaderMap, length: Option<usize>, mut body: BytesMut) -> Bytes {
    let chunked = request::has_token(headers, header::TRANSFER_ENCODING, "chunked");
    loop {
        if chunked {
            match unchunk(&body) {
                Ok(Some(whole)) => return whole,
                Ok(None) => {}
                Err(()) => return Bytes::new(),
            }
        } else if let Some(length) = length
            && body.len() >= length
        {
            return body.split_to(length).freeze();
        }
        if body.len() > MAX_BODY || length.is_some_and(|length| length > MAX_BODY) {
            return Bytes::new();
        }
        match stream.read_buf(&mut body).await {
            // Without a length, the end of the connection is the end of the body.
            Ok(0) if !chunked && length.is_none() => return body.freeze(),
            Ok(0) | Err(_) => return Bytes::new(),
            Ok(_) => {}
        }
    }
}

/// A chunked body (RFC 9112 section 7.1). `None`: not all of it is here.
fn unchunk(mut data: &[u8]) -> Result<Option<Bytes>, ()> {
    let mut out = BytesMut::new();
    loop {
        let (start, size) = match httparse::parse_chunk_size(data) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(()),
        };
        let size = usize::try_from(size).map_err(|_| ())?;
        if size == 0 {
            return Ok(Some(out.freeze()));
        }
        if size > MAX_BODY {
            return Err(());
        }
        let Some(chunk) = data.get(start..start + size) else { return Ok(None) };
        out.extend_from_slice(chunk);
        let Some(rest) = data.get(start + size + 2..) else { return Ok(None) };
        data = rest;
    }
}

/// What becomes of these bytes as an answer, for the fuzz target.
pub(crate) fn judge(data: &mut BytesMut, upgrade: &Upgrade) {
    while let Ok(Some((status, headers))) = parse_head(data) {
        let _ = content_length(&headers);
        let _ = unchunk(data);
        let chose = headers.get(header::SEC_WEBSOCKET_PROTOCOL).cloned();
        let valid = validate(Answer { status, headers, body: Bytes::new() }, upgrade);
        if let Ok((headers, protocol, _)) = valid {
            assert_eq!(status, StatusCode::SWITCHING_PROTOCOLS);
            assert_eq!(protocol, chose);
            assert!(!headers.contains_key(header::CONNECTION) && !headers.contains_key(header::UPGRADE));
        }
    }
}

type Validated = (HeaderMap, Option<HeaderValue>, Option<HeaderValue>);

/// RFC 6455 section 4.1: what a client must check in the answer, and what this client's own client would.
fn validate(answer: Answer, upgrade: &Upgrade) -> Result<Validated, Failure> {
    if answer.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(match answer.status.is_success() {
            true => Failure::Invalid("2xx to an upgrade"),
            false => Failure::Refused(Box::new(answer)),
        });
    }
    let mut headers = answer.headers;
    if !request::asks_for_websocket(&headers) {
        return Err(Failure::Invalid("101 to something else"));
    }
    let mut accepts = headers.get_all(header::SEC_WEBSOCKET_ACCEPT).iter();
    if accepts.next() != Some(&accept_key(&upgrade.key)) || accepts.next().is_some() {
        return Err(Failure::Invalid("wrong Sec-WebSocket-Accept"));
    }
    let protocol = single(&mut headers, header::SEC_WEBSOCKET_PROTOCOL)?;
    if let Some(protocol) = &protocol
        && !upgrade.protocols.iter().any(|offered| offered.as_bytes() == protocol.as_bytes())
    {
        return Err(Failure::Invalid("a subprotocol that was not offered"));
    }
    let deflate = single(&mut headers, header::SEC_WEBSOCKET_EXTENSIONS)?.filter(|value| !value.is_empty());
    if let Some(deflate) = &deflate {
        let name = deflate.to_str().ok().filter(|text| !text.contains(',')).and_then(request::extension_name);
        if upgrade.deflate.is_none() || !name.is_some_and(|name| name.eq_ignore_ascii_case("permessage-deflate")) {
            return Err(Failure::Invalid("an extension that was not offered"));
        }
    }
    headers.remove(header::CONTENT_LENGTH);
    strip_hop_by_hop(&mut headers);
    Ok((headers, protocol, deflate))
}

fn single(headers: &mut HeaderMap, name: HeaderName) -> Result<Option<HeaderValue>, Failure> {
    if headers.get_all(&name).iter().count() > 1 {
        return Err(Failure::Invalid("a Sec-WebSocket header twice"));
    }
    Ok(headers.remove(name))
}

/// RFC 6455 section 4.2.2: proof that the handshake was read.
pub(crate) fn accept_key(key: &HeaderValue) -> HeaderValue {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(ACCEPT_GUID);
    let mut text = [0; 28];
    let len = base64::prelude::BASE64_STANDARD.encode_slice(hash.finalize(), &mut text).unwrap_or_default();
    // Base64 is always a header value.
    HeaderValue::from_bytes(&text[..len]).unwrap_or(HeaderValue::from_static(""))
}

/// Header fields that speak of one connection only (RFC 9110 section 7.6.1), and those that `Connection` names. Whether
/// it named any.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) -> bool {
    let nominated = request::list(headers, header::CONNECTION)
        .filter(|name| !["upgrade", "keep-alive", "close"].iter().any(|usual| name.eq_ignore_ascii_case(usual)));
    let nominated: Vec<HeaderName> = nominated.map(|name| name.parse().unwrap_or(header::CONNECTION)).collect();
    // Those that are there, and not all that could be: a removal looks for its name.
    let is_gone = |name: &&HeaderName| is_hop_by_hop(name.as_str()) || nominated.contains(name) && !is_protected(name);
    let gone: Vec<HeaderName> = headers.keys().filter(is_gone).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
    !nominated.is_empty()
}

/// Fields that a peer cannot have removed by naming them in `Connection`.
fn is_protected(name: &HeaderName) -> bool {
    let text = name.as_str();
    matches!(
        text,
        "authorization" | "cookie" | "host" | "origin" | "forwarded" | "set-cookie" | "traceparent" | "tracestate"
    ) || matches!(text, "x-real-ip" | "x-request-id")
        || text.starts_with("x-forwarded-")
        || text.starts_with("sec-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrade() -> Upgrade {
        Upgrade {
            key: HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
            protocols: vec!["chat".into()],
            deflate: None,
        }
    }

    fn check(lines: &[(&'static str, &'static str)], expected: Result<(), &str>) {
        let mut headers = HeaderMap::new();
        headers.append("Upgrade", HeaderValue::from_static("WebSocket"));
        headers.append("Connection", HeaderValue::from_static("Upgrade"));
        headers.append("Sec-WebSocket-Accept", HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        for (name, value) in lines {
            match *value {
                "" => drop(headers.remove(*name)),
                value => drop(headers.append(*name, HeaderValue::from_static(value))),
            }
        }
        let answer = Answer { status: StatusCode::SWITCHING_PROTOCOLS, headers, body: Bytes::new() };
        let got = match validate(answer, &upgrade()) {
            Ok(_) => Ok(()),
            Err(Failure::Invalid(why)) => Err(why),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn every_claim_of_a_101_is_checked() {
        check(&[], Ok(()));
        check(&[("Sec-WebSocket-Protocol", "chat")], Ok(()));
        check(&[("Sec-WebSocket-Protocol", "other")], Err("a subprotocol that was not offered"));
        check(&[("Sec-WebSocket-Extensions", "permessage-deflate")], Err("an extension that was not offered"));
        check(&[("Sec-WebSocket-Accept", "")], Err("wrong Sec-WebSocket-Accept"));
        check(&[("Sec-WebSocket-Accept", "AAAA")], Err("wrong Sec-WebSocket-Accept"));
        check(&[("Upgrade", "")], Err("101 to something else"));
        check(&[("Connection", "")], Err("101 to something else"));
    }

    fn parsed(head: &str) -> Result<Option<(StatusCode, HeaderMap)>, &'static str> {
        parse_head(&mut BytesMut::from(head)).map_err(|failure| match failure {
            Failure::Invalid(why) => why,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn http_1_0_upgrades_nothing() {
        assert_eq!(parsed("HTTP/1.0 101 Switching\r\nUpgrade: websocket\r\n\r\n"), Err("101 in HTTP/1.0"));
        assert!(parsed("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n").unwrap().is_some());
        assert!(parsed("HTTP/1.0 403 No\r\n\r\n").unwrap().is_some());
    }

    #[test]
    fn an_answer_has_one_length_or_none() {
        for (fields, expected) in [
            ("", Ok(None)),
            ("Content-Length: 5\r\n", Ok(Some(5))),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Ok(Some(5))),
            ("Content-Length: 5, 5\r\n", Ok(Some(5))),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", Err(())),
            ("Content-Length: 5, 6\r\n", Err(())),
            ("Content-Length: +5\r\n", Err(())),
            ("Content-Length: 5x\r\n", Err(())),
            ("Content-Length:\r\n", Err(())),
            ("Content-Length: 99999999999999999999999\r\n", Err(())),
        ] {
            let (_, headers) = parsed(&format!("HTTP/1.1 403 No\r\n{fields}\r\n")).unwrap().unwrap();
            assert_eq!(content_length(&headers).map_err(drop), expected, "{fields}");
        }
    }

    #[test]
    fn a_chunked_body_is_joined() {
        assert_eq!(unchunk(b"3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n").unwrap().unwrap(), "abcde");
        assert_eq!(unchunk(b"3\r\nabc\r\n2\r\nd"), Ok(None));
        assert_eq!(unchunk(b"zz\r\n"), Err(()));
    }

    #[test]
    fn a_nominated_header_goes_unless_it_is_ours_to_keep() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("upgrade, x-secret, cookie, x-forwarded-for"));
        for name in ["x-secret", "cookie", "x-forwarded-for", "te"] {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["cookie", "x-forwarded-for"]);
    }
}
