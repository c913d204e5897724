//! The request head that goes upstream.
//!
//! That of an upgrade is written by hand because the field names of `Sec-WebSocket-*` must have the RFC's spelling, which some servers
//! insist on and hyper's client cannot produce. Names and values were checked by the `http` crate.

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use crate::{request::Upgrade, upstream::strip_hop_by_hop};

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What tidegate knows of the client itself.
pub(crate) struct Client<'a> {
    /// Its address, without port; empty for a unix socket.
    pub(crate) ip: &'a str,
    /// It came over TLS.
    pub(crate) tls: bool,
    /// The certificate that it has shown, as RFC 9440 section 2.1 writes it.
    pub(crate) certificate: Option<&'a HeaderValue>,
    /// What it called us.
    pub(crate) host: &'a str,
}

/// The header fields that any request takes upstream, tidegate's own among them, and one word for each that does not
/// go there as it came.
pub(crate) fn end_to_end(mut headers: HeaderMap, client: &Client<'_>) -> (HeaderMap, Vec<&'static str>) {
    let mut sanitized = Vec::new();
    let nominated = crate::request::list(&headers, header::CONNECTION)
        .any(|name| !["upgrade", "keep-alive", "close"].iter().any(|usual| name.eq_ignore_ascii_case(usual)));
    if nominated {
        sanitized.push("nominated");
    }
    // First what the client may have removed, then what is ours to say.
    strip_hop_by_hop(&mut headers);
    let mut kept = HeaderMap::with_capacity(headers.len() + 4);
    let proto = if client.tls { "https" } else { "http" };
    for (name, value) in [(FORWARDED_FOR, client.ip), (FORWARDED_PROTO, proto), (FORWARDED_HOST, client.host)] {
        // An address, a word, and a Host that was read from a header: each can be written into one.
        if let Ok(value) = HeaderValue::try_from(value) {
            kept.insert(name, value);
        }
    }
    if let Some(certificate) = client.certificate {
        kept.insert(CLIENT_CERT, certificate.clone());
    }
    for (name, value) in &headers {
        let text = name.as_str();
        if text.contains('_') {
            sanitized.push("underscore");
        } else if text == "forwarded" || text.starts_with("x-forwarded-") {
            sanitized.push("untrusted_forwarded");
        } else if [CLIENT_CERT, CLIENT_CERT_CHAIN].contains(name) {
            // RFC 9440 section 2.4: only ours is believed.
            sanitized.push("untrusted_client_cert");
        } else {
            kept.append(name, value.clone());
        }
    }
    (kept, sanitized)
}

/// The head of an upgrade, and what [`end_to_end`] has to say of it.
pub(crate) fn write(request: Parts, upgrade: &Upgrade, client: &Client<'_>) -> (Vec<u8>, Vec<&'static str>) {
    let (headers, sanitized) = end_to_end(request.headers, client);
    let mut out = Vec::with_capacity(512);
    let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
    for part in ["GET ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    field(&mut out, "Host", client.host.as_bytes());
    field(&mut out, "Upgrade", b"websocket");
    field(&mut out, "Connection", b"Upgrade");
    field(&mut out, "Sec-WebSocket-Version", b"13");
    field(&mut out, "Sec-WebSocket-Key", upgrade.key.as_bytes());
    if !upgrade.protocols.is_empty() {
        field(&mut out, "Sec-WebSocket-Protocol", upgrade.protocols.join(", ").as_bytes());
    }
    if let Some(deflate) = &upgrade.deflate {
        field(&mut out, "Sec-WebSocket-Extensions", deflate.as_bytes());
    }
    for (name, value) in headers.iter().filter(|(name, _)| !is_written_above(name)) {
        field(&mut out, &title_case(name.as_str()), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    (out, sanitized)
}

fn is_written_above(name: &HeaderName) -> bool {
    [
        header::HOST,
        header::CONTENT_LENGTH,
        header::SEC_WEBSOCKET_VERSION,
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_PROTOCOL,
        header::SEC_WEBSOCKET_EXTENSIONS,
        header::SEC_WEBSOCKET_ACCEPT,
    ]
    .contains(name)
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// `user-agent` as `User-Agent`.
fn title_case(name: &str) -> String {
    let mut start = true;
    name.chars()
        .map(|c| {
            let cased = if start { c.to_ascii_uppercase() } else { c };
            start = c == '-';
            cased
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_ours_where_it_must_be() {
        let request = http::Request::builder()
            .uri("/ws?room=1")
            .header("connection", "upgrade, x-internal")
            .header("x-internal", "secret")
            .header("upgrade", "websocket")
            .header("x_forwarded_for", "6.6.6.6")
            .header("x-forwarded-for", "6.6.6.6")
            .header("forwarded", "for=6.6.6.6")
            .header("client-cert", ":Zm9yZ2Vk:")
            .header("client-cert-chain", ":Zm9yZ2Vk:")
            .header("user-agent", "test")
            .header("cookie", "a=b")
            .body(())
            .unwrap();
        let upgrade = Upgrade {
            key: http::HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
            protocols: vec!["a".into(), "b".into()],
            deflate: Some("permessage-deflate".into()),
        };
        let certificate = HeaderValue::from_static(":c2hvd24=:");
        let client = Client { ip: "192.0.2.1", tls: true, certificate: Some(&certificate), host: "example.com" };
        let (head, mut sanitized) = write(request.into_parts().0, &upgrade, &client);
        sanitized.sort_unstable();
        let forged = ["untrusted_client_cert", "untrusted_client_cert", "untrusted_forwarded", "untrusted_forwarded"];
        assert_eq!(sanitized[..2], ["nominated", "underscore"]);
        assert_eq!(sanitized[2..], forged);
        assert_eq!(
            String::from_utf8(head).unwrap(),
            "GET /ws?room=1 HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\
             X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: example.com\r\n\
             Client-Cert: :c2hvd24=:\r\nUser-Agent: test\r\nCookie: a=b\r\n\r\n"
        );
    }
}
