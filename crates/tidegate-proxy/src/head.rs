//! The request head that goes upstream.
//!
//! That of an upgrade is written by hand because the field names of `Sec-WebSocket-*` must have the RFC's spelling, which some servers
//! insist on and hyper's client cannot produce. Names and values were checked by the `http` crate.

use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};
use tidegate_config::ForwardAs;

use crate::{forwarded::Origin, request::Upgrade, upstream::strip_hop_by_hop};

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");

/// Leaves of a request's header fields those that go upstream, tidegate's own among them: `certificate` is the one that
/// the client has shown, as RFC 9440 section 2.1 writes it. Gives one word for each that does not go there as it came.
pub(crate) fn clean(
    headers: &mut HeaderMap,
    origin: &Origin,
    how: ForwardAs,
    host: &str,
    certificate: Option<&HeaderValue>,
    id: &str,
) -> Vec<&'static str> {
    let mut sanitized = Vec::new();
    // First what the client may have removed, then what is ours to say.
    if strip_hop_by_hop(headers) {
        sanitized.push("nominated");
    }
    let is_certified = certificate.is_some() || !origin.trusted;
    let gone: Vec<(HeaderName, Option<&'static str>)> = headers
        .keys()
        .filter_map(|name| {
            let why = match name.as_str() {
                // A certificate is what was shown here; where none was, a trusted proxy's word of one stands. Nobody
                // else's does (RFC 9440 section 4).
                "client-cert" | "client-cert-chain" => is_certified.then_some(Some("untrusted_client_cert"))?,
                // A server that turns `-` into `_` could take it for ours.
                name if name.contains('_') => Some("underscore"),
                name => origin.replaces(name)?,
            };
            Some((name.clone(), why))
        })
        .collect();
    for (name, why) in gone {
        if let Some(why) = why {
            sanitized.extend(std::iter::repeat_n(why, headers.get_all(&name).iter().count()));
        }
        headers.remove(name);
    }
    if let Some(certificate) = certificate {
        headers.insert(CLIENT_CERT, certificate.clone());
    }
    origin.write(headers, how, host, id);
    sanitized
}

/// Beside what a client says, its head has of ours no more than this, in bytes.
const OURS: usize = 128;

/// How many bytes a head has, or a few more: as it came, and as it goes upstream.
pub(crate) fn len(request: &Parts) -> usize {
    let fields = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    request.uri.path_and_query().map_or(1, |target| target.as_str().len()) + fields.sum::<usize>() + OURS
}

/// The head of an upgrade whose fields are [`clean`].
/// `len`: its [length](len).
pub(crate) fn write(request: &Parts, upgrade: &Upgrade, host: &str, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len);
    let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
    for part in ["GET ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    field(&mut out, "Host", host.as_bytes());
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
    for (name, value) in request.headers.iter().filter(|(name, _)| !is_written_above(name)) {
        title_case(&mut out, name.as_str());
        for part in [b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn is_written_above(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "content-length"
            | "sec-websocket-version"
            | "sec-websocket-key"
            | "sec-websocket-protocol"
            | "sec-websocket-extensions"
            | "sec-websocket-accept"
    )
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// `user-agent` as `User-Agent`.
fn title_case(out: &mut Vec<u8>, name: &str) {
    let start = out.len();
    out.extend_from_slice(name.as_bytes());
    let mut first = true;
    for byte in &mut out[start..] {
        if first {
            byte.make_ascii_uppercase();
        }
        first = *byte == b'-';
    }
}

#[cfg(test)]
mod tests {
    use tidegate_config::{Proxy, Trust};

    use super::*;
    use crate::forwarded;

    const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");

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
            key: HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
            protocols: vec!["a".into(), "b".into()],
            deflate: Some("permessage-deflate".into()),
        };
        let certificate = HeaderValue::from_static(":c2hvd24=:");
        let mut request = request.into_parts().0;
        let peer = Some("192.0.2.1:4711".parse().unwrap());
        let origin = forwarded::read(&request.headers, peer, &Trust::default(), true);
        let how = ForwardAs::XForwarded;
        let mut sanitized = clean(&mut request.headers, &origin, how, "example.com", Some(&certificate), "0000002a");
        let head = write(&request, &upgrade, "example.com", len(&request));
        sanitized.sort_unstable();
        let forged = ["untrusted_client_cert", "untrusted_client_cert", "untrusted_forwarded", "untrusted_forwarded"];
        assert_eq!(sanitized[..2], ["nominated", "underscore"]);
        assert_eq!(sanitized[2..], forged);
        assert_eq!(
            String::from_utf8(head).unwrap(),
            "GET /ws?room=1 HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\
             Cookie: a=b\r\nUser-Agent: test\r\nClient-Cert: :c2hvd24=:\r\nX-Forwarded-For: 192.0.2.1\r\nX-Real-Ip: 192.0.2.1\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Host: example.com\r\n\
             X-Request-Id: 0000002a\r\n\r\n"
        );
    }

    #[test]
    fn a_certificate_is_what_was_shown_or_what_a_trusted_proxy_says() {
        let proxy = "192.0.2.1:4711".parse().unwrap();
        let trusting = Trust { proxies: vec![Proxy::Net(std::net::SocketAddr::ip(&proxy).into())], ..Trust::default() };
        let told = |trust: &Trust, shown: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(CLIENT_CERT, HeaderValue::from_static(":c2FpZA==:"));
            headers.insert(CLIENT_CERT_CHAIN, HeaderValue::from_static(":Y2hhaW4=:"));
            let origin = forwarded::read(&headers, Some(proxy), trust, true);
            let shown = shown.map(HeaderValue::from_static);
            let sanitized = clean(&mut headers, &origin, ForwardAs::Both, "a", shown.as_ref(), "0000002a");
            let [leaf, chain] = [CLIENT_CERT, CLIENT_CERT_CHAIN].map(|name| headers.remove(name));
            (leaf.map(|leaf| leaf.to_str().unwrap().to_owned()), chain.is_some(), sanitized.len())
        };
        assert_eq!(told(&Trust::default(), None), (None, false, 2));
        assert_eq!(told(&Trust::default(), Some(":c2hvd24=:")), (Some(":c2hvd24=:".into()), false, 2));
        assert_eq!(told(&trusting, None), (Some(":c2FpZA==:".into()), true, 0));
        assert_eq!(told(&trusting, Some(":c2hvd24=:")), (Some(":c2hvd24=:".into()), false, 2));
    }
}
