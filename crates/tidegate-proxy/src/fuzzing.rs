//! Both sides of the opening handshake as functions of bytes, for the fuzz targets. Not an interface.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use http::{HeaderName, HeaderValue, Request};
use tidegate_config::{ForwardAs, Proxy, Trust};

use crate::{forwarded, head, request, upstream};

/// A client's request head: refused, or the head that goes upstream, which is one request and no more.
///
/// # Panics
/// When what would go upstream is not exactly one well-formed request.
pub fn request(data: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(_)) = parsed.parse(data) else { return };
    let mut builder = Request::builder().method(parsed.method.unwrap_or("GET")).uri(parsed.path.unwrap_or("/"));
    for field in parsed.headers.iter() {
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(field.name.as_bytes()), HeaderValue::from_bytes(field.value))
        else {
            return;
        };
        builder = builder.header(name, value);
    }
    let Ok(request) = builder.body(()) else { return };
    let Ok(host) = request::host(&request) else { return };
    if request::check_path(request.uri().path()).is_err() || !request::asks_for_websocket(request.headers()) {
        return;
    }
    let Ok(upgrade) = request::upgrade(&request) else { return };
    let mut request = request.into_parts().0;
    let peer = Some(SocketAddr::from(([192, 0, 2, 1], 4711)));
    let proxies = vec![Proxy::Net(IpAddr::from([192, 0, 2, 1]).into())];
    let trust = Trust { proxies, ..Trust::default() };
    let origin = forwarded::read(&request.headers, peer, &trust, false);
    head::clean(&mut request.headers, &origin, ForwardAs::Both, &host, None, "0000002a");
    let head = head::write(&request, &upgrade, &host, head::len(&request));

    let mut fields = [httparse::EMPTY_HEADER; 96];
    let mut written = httparse::Request::new(&mut fields);
    assert_eq!(written.parse(&head), Ok(httparse::Status::Complete(head.len())), "{}", head.escape_ascii());
    let count = |name: &str| written.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    for name in ["host", "upgrade", "connection", "sec-websocket-key", "x-forwarded-for", "x-request-id", "forwarded"] {
        assert_eq!(count(name), 1, "{name} in {}", head.escape_ascii());
    }
    assert_eq!(count("transfer-encoding") + count("content-length"), 0, "{}", head.escape_ascii());
}

/// An upstream's answer: refused, or one whose every claim was checked.
pub fn answer(data: &[u8]) {
    let upgrade = request::Upgrade {
        key: HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
        protocols: vec!["chat".to_owned()],
        deflate: Some("permessage-deflate".to_owned()),
    };
    upstream::judge(&mut BytesMut::from(data), &upgrade);
}
