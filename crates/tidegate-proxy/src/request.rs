//! A client's request: what may become a WebSocket, and what is refused with which status.
//!
//! hyper has parsed the head; what it leaves to its user is checked here: Host, body, tokens, duplicates, and paths
//! that two readers could read in two ways.

use std::borrow::Cow;

use base64::Engine as _;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header, uri::Authority};

/// Most tokens in a list of subprotocols or extensions. More than any client offers.
const MAX_TOKENS: usize = 64;

/// Why a request gets no WebSocket, before any upstream is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) status: StatusCode,
    /// The metric label `reason`.
    pub(crate) reason: &'static str,
    /// For whoever reads the answer.
    pub(crate) text: &'static str,
    /// The limit that it is for, as the configuration calls it.
    pub(crate) limit: Option<&'static str>,
}

impl Rejection {
    pub(crate) const fn new(status: StatusCode, reason: &'static str, text: &'static str) -> Self {
        Self { status, reason, text, limit: None }
    }

    const fn bad(reason: &'static str, text: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason, text)
    }
}

/// A valid opening handshake (RFC 6455 section 4.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upgrade {
    /// `Sec-WebSocket-Key`, 24 characters of base64.
    pub(crate) key: HeaderValue,
    /// The subprotocols offered, in the client's order.
    pub(crate) protocols: Vec<String>,
    /// The offers of permessage-deflate, as they came; every other extension is not passed on.
    pub(crate) deflate: Option<String>,
}

/// Whom the request is for: the host, lower case or not, with or without port.
///
/// # Errors
/// No Host or several, one that is none, or one that contradicts the request target (RFC 9112 section 3.2).
pub(crate) fn host<B>(request: &Request<B>) -> Result<String, Rejection> {
    let bad = Rejection::bad("host", "one valid Host is needed");
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(bad) };
    let host = host.to_str().map_err(|_| bad)?;
    if !is_usual(host) {
        let authority: Authority = host.parse().map_err(|_| bad)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(bad);
        }
    }
    match request.uri().authority() {
        Some(target) if !target.as_str().eq_ignore_ascii_case(host) => {
            Err(Rejection::bad("host", "Host and request target differ"))
        }
        _ => Ok(host.to_owned()),
    }
}

/// Whether it is a name or an IPv4 address, perhaps with a port: an authority without a doubt.
fn is_usual(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "80"));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    !name.is_empty() && name.bytes().all(is_name) && port.parse::<u16>().is_ok_and(|_| !port.starts_with('+'))
}

/// Refuses paths that a backend could read in another way than the router did, instead of normalising them.
///
/// # Errors
/// Empty or dot segments, encoded or not, encoded separators and control bytes, backslashes.
pub(crate) fn check_path(path: &str) -> Result<(), Rejection> {
    let bad = Err(Rejection::bad("path", "ambiguous path"));
    if !path.starts_with('/') || path.bytes().any(|byte| byte <= b' ' || matches!(byte, b'\\' | b'#' | 0x7f)) {
        return bad;
    }
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return bad;
        }
        let Some(plain) = decode(segment) else { return bad };
        if matches!(&*plain, b"." | b"..")
            || plain.iter().any(|byte| *byte < b' ' || matches!(byte, b'/' | b'\\' | 0x7f))
        {
            return bad;
        }
    }
    Ok(())
}

/// Refuses what is no request for a resource at all, whatever the route: a tunnel, and an echo of what the proxy adds.
///
/// # Errors
/// CONNECT or TRACE.
pub(crate) fn check_method(method: &Method) -> Result<(), Rejection> {
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(Rejection::new(StatusCode::METHOD_NOT_ALLOWED, "method", "no CONNECT, no TRACE"));
    }
    Ok(())
}

/// Refuses a plain request whose body is not for us to understand (RFC 9112 section 6.1).
///
/// # Errors
/// A transfer coding other than chunked.
pub(crate) fn check_framing(headers: &HeaderMap) -> Result<(), Rejection> {
    if !is_plainly_framed(headers) {
        return Err(Rejection::new(StatusCode::NOT_IMPLEMENTED, "body", "no transfer coding but chunked"));
    }
    Ok(())
}

/// Whether a message's body, once it is read, is as it was sent: without a transfer coding but chunked.
pub(crate) fn is_plainly_framed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    codings.next().is_none_or(chunked) && codings.next().is_none()
}

/// Percent-decodes; `None` where a `%` does not stand before two hexadecimal digits.
fn decode(segment: &str) -> Option<Cow<'_, [u8]>> {
    if !segment.contains('%') {
        return Some(segment.as_bytes().into());
    }
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let (high, low) = (char::from(bytes.next()?), char::from(bytes.next()?));
                (high.to_digit(16)? * 16 + low.to_digit(16)?) as u8
            }
            byte => byte,
        });
    }
    Some(out.into())
}

/// Whether the request asks for a WebSocket at all.
pub(crate) fn asks_for_websocket(headers: &HeaderMap) -> bool {
    has_token(headers, header::UPGRADE, "websocket") && has_token(headers, header::CONNECTION, "upgrade")
}

/// Reads the opening handshake of a request that [asks for one](asks_for_websocket).
///
/// # Errors
/// Whatever RFC 6455 section 4.2.1 does not allow, and a body: an upgrade has none, and one that claims to have may
/// be an attempt to slip a second request past the proxy.
pub(crate) fn upgrade<B>(request: &Request<B>) -> Result<Upgrade, Rejection> {
    let headers = request.headers();
    if request.version() != Version::HTTP_11 {
        return Err(Rejection::bad("http_version", "an upgrade needs HTTP/1.1"));
    }
    if request.method() != Method::GET {
        return Err(Rejection::new(StatusCode::METHOD_NOT_ALLOWED, "method", "an upgrade is a GET"));
    }
    let has_length = headers.get_all(header::CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0");
    if has_length || headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Rejection::bad("body", "an upgrade has no body"));
    }
    if list(headers, header::UPGRADE).count() > 1 {
        return Err(Rejection::bad("upgrade_token", "only websocket can be upgraded to"));
    }
    match only(headers, header::SEC_WEBSOCKET_VERSION)?.map(HeaderValue::as_bytes) {
        Some(b"13") => {}
        _ => {
            return Err(Rejection::new(StatusCode::UPGRADE_REQUIRED, "version", "Sec-WebSocket-Version: 13 is needed"));
        }
    }
    // With room for what four letters may stand for at the end.
    let mut nonce = [0; 18];
    let key = only(headers, header::SEC_WEBSOCKET_KEY)?
        .filter(|key| base64::prelude::BASE64_STANDARD.decode_slice(key.as_bytes(), &mut nonce) == Ok(16))
        .ok_or(Rejection::bad("key", "Sec-WebSocket-Key must be 16 bytes in base64"))?;
    Ok(Upgrade { key: key.clone(), protocols: protocols(headers)?, deflate: deflate(headers)? })
}

/// A `Sec-WebSocket-Key` of our own.
pub(crate) fn fresh_key() -> HeaderValue {
    let nonce: Vec<u8> = (0..4).flat_map(|_| crate::random().to_ne_bytes()).collect();
    // Base64 is always a header value.
    HeaderValue::try_from(base64::prelude::BASE64_STANDARD.encode(nonce)).unwrap_or(HeaderValue::from_static(""))
}

/// The one value of a header that may stand once.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<&HeaderValue>, Rejection> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Rejection::bad("duplicate_header", "a Sec-WebSocket header stands twice")),
    }
}

fn protocols(headers: &HeaderMap) -> Result<Vec<String>, Rejection> {
    let bad = Rejection::bad("bad_token", "unreadable Sec-WebSocket-Protocol");
    let mut protocols: Vec<String> = Vec::new();
    for value in headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
        for token in value.to_str().map_err(|_| bad)?.split(',').map(str::trim) {
            if !is_token(token) || protocols.len() == MAX_TOKENS || protocols.iter().any(|known| known == token) {
                return Err(bad);
            }
            protocols.push(token.to_owned());
        }
    }
    Ok(protocols)
}

/// Keeps the offers of permessage-deflate. Several are legal, one better than the other (RFC 7692 section 5.1).
fn deflate(headers: &HeaderMap) -> Result<Option<String>, Rejection> {
    let bad = Rejection::bad("bad_token", "unreadable Sec-WebSocket-Extensions");
    let (mut kept, mut count) = (Vec::new(), 0);
    for value in headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS) {
        for offer in value.to_str().map_err(|_| bad)?.split(',').map(str::trim) {
            count += 1;
            let name = extension_name(offer).ok_or(bad)?;
            if count > MAX_TOKENS {
                return Err(bad);
            }
            if name.eq_ignore_ascii_case("permessage-deflate") {
                kept.push(offer);
            }
        }
    }
    Ok((!kept.is_empty()).then(|| kept.join(", ")))
}

/// The name of an extension whose parameters can be read (RFC 6455 section 9.1).
pub(crate) fn extension_name(offer: &str) -> Option<&str> {
    let mut parts = offer.split(';').map(str::trim);
    let name = parts.next().filter(|name| is_token(name))?;
    let readable = parts.all(|parameter| match parameter.split_once('=') {
        None => is_token(parameter),
        Some((key, value)) => {
            let (key, value) = (key.trim_end(), value.trim_start());
            let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            is_token(key) && is_token(bare)
        }
    });
    readable.then_some(name)
}

/// Whether a comma-separated header holds this token, in any case.
pub(crate) fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let mut values = headers.get_all(name).iter();
    // Mostly it is all there is.
    values.any(|value| {
        value.as_bytes().eq_ignore_ascii_case(token.as_bytes())
            || tokens(value).any(|found| found.eq_ignore_ascii_case(token))
    })
}

/// The members of a comma-separated header.
pub(crate) fn list(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).iter().flat_map(tokens)
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    let text = value.to_str().unwrap_or_default();
    text.split(',').map(str::trim_ascii).filter(|token| !token.is_empty())
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(edit: impl FnOnce(&mut Request<()>)) -> Request<()> {
        let mut request = Request::builder()
            .uri("/ws")
            .header("Host", "example.com")
            .header("Upgrade", "websocket")
            .header("Connection", "keep-alive, Upgrade")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())
            .unwrap();
        edit(&mut request);
        request
    }

    fn set(name: &'static str, value: &'static str) -> impl Fn(&mut Request<()>) {
        move |request| drop(request.headers_mut().insert(name, HeaderValue::from_static(value)))
    }

    fn add(name: &'static str, value: &'static str) -> impl Fn(&mut Request<()>) {
        move |request| {
            request.headers_mut().append(name, HeaderValue::from_static(value));
        }
    }

    #[test]
    fn what_a_handshake_may_not_be() {
        let check = |edit: &dyn Fn(&mut Request<()>), status: u16, reason: &str| {
            let rejection = upgrade(&request(edit)).unwrap_err();
            assert_eq!((rejection.status.as_u16(), rejection.reason), (status, reason));
        };
        check(&|request| *request.version_mut() = Version::HTTP_10, 400, "http_version");
        check(&|request| *request.method_mut() = Method::POST, 405, "method");
        check(&set("content-length", "44"), 400, "body");
        check(&set("transfer-encoding", "chunked"), 400, "body");
        check(&set("upgrade", "websocket, h2c"), 400, "upgrade_token");
        check(&set("sec-websocket-version", "8"), 426, "version");
        check(&|request| drop(request.headers_mut().remove("sec-websocket-version")), 426, "version");
        check(&add("sec-websocket-version", "13"), 400, "duplicate_header");
        check(&add("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), 400, "duplicate_header");
        check(&set("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"), 400, "key");
        check(&set("sec-websocket-key", "c2hvcnQ="), 400, "key");
        check(&set("sec-websocket-protocol", "chat, chat"), 400, "bad_token");
        check(&set("sec-websocket-protocol", "a b"), 400, "bad_token");
        check(&set("sec-websocket-extensions", "permessage-deflate; ="), 400, "bad_token");
    }

    #[test]
    fn only_deflate_is_passed_on() {
        let offers = "x-webkit, permessage-deflate; client_max_window_bits, permessage-deflate";
        let upgrade = upgrade(&request(set("sec-websocket-extensions", offers))).unwrap();
        assert_eq!(upgrade.deflate.unwrap(), "permessage-deflate; client_max_window_bits, permessage-deflate");
    }

    #[test]
    fn a_transfer_coding_is_chunked_or_none() {
        let plain = |values: &[&'static str]| {
            let fields = values.iter().map(|value| (header::TRANSFER_ENCODING, HeaderValue::from_static(value)));
            is_plainly_framed(&fields.collect())
        };
        assert!(plain(&[]) && plain(&["chunked"]) && plain(&["Chunked"]));
        assert!(!plain(&["gzip, chunked"]) && !plain(&["chunked", "chunked"]) && !plain(&["xchunked"]));
    }

    #[test]
    fn paths_that_can_be_read_in_two_ways() {
        for bad in ["/ws/../admin", "/ws/%2e%2e/admin", "//ws", "/ws//x", "/a%2fb", "/a\\b", "/a%00", "/%zz", "/./a"] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
        for good in ["/", "/ws", "/ws/", "/a.b/c%20d", "/%E2%82%AC"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn one_host_that_is_one() {
        assert_eq!(host(&request(|_| {})).unwrap(), "example.com");
        assert!(host(&request(|request| drop(request.headers_mut().remove("host")))).is_err());
        assert!(host(&request(add("host", "other"))).is_err());
        assert!(host(&request(set("host", "user@example.com"))).is_err());
        assert!(host(&request(set("host", "a b"))).is_err());
        assert!(host(&request(|request| *request.uri_mut() = "http://other/ws".parse().unwrap())).is_err());
    }
}
