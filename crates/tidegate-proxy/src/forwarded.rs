//! Who the client is, when proxies stand in front, and how the upstream is told.
//!
//! Whoever connects is believed only where its listener trusts it; then the client is the right-most address of the
//! chain that is not itself trusted. The chain that goes upstream begins there: what stands further left was written by
//! somebody whom nobody trusts.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, uri::Authority};
use tidegate_config::{ForwardAs, ForwardedFamily, Trust};

use crate::digits;

const FORWARDED: HeaderName = http::header::FORWARDED;
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Longest request id that is taken over, in bytes. As long as any known format needs.
const MAX_REQUEST_ID: usize = 128;

/// What is known of a request's way to us.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// From the client to whoever connected to us. Empty: a unix socket without a word of who is behind it.
    chain: Vec<SocketAddr>,
    /// Whether whoever connected may say so.
    pub(crate) trusted: bool,
    https: bool,
    /// As the client called the first proxy, where a trusted one says so.
    host: Option<String>,
    port: Option<u16>,
    /// A trusted proxy's name for this request.
    pub(crate) request_id: Option<String>,
    /// The trace that the request belongs to (W3C Trace Context, section 3.2.2.3).
    pub(crate) trace_id: Option<String>,
}

/// Reads what the proxies in front say, if it counts. `peer`: who connected; `None`: over a unix socket. `tls`: to us.
pub(crate) fn read(headers: &HeaderMap, peer: Option<SocketAddr>, trust: &Trust, tls: bool) -> Origin {
    let mut origin = Origin {
        chain: peer.into_iter().collect(),
        trusted: trust.trusts(peer.map(|peer| peer.ip())),
        https: tls,
        host: None,
        port: None,
        request_id: None,
        trace_id: trace_id(headers),
    };
    if !origin.trusted {
        return origin;
    }
    origin.request_id = last(headers, REQUEST_ID).filter(|id| is_request_id(id)).map(str::to_owned);
    match trust.header {
        ForwardedFamily::XForwarded => {
            let listed = headers.get_all(FOR).iter().rev().filter_map(|value| value.to_str().ok());
            origin.follow(listed.flat_map(|value| value.rsplit(',')).map(address), trust);
            let text = |name| last(headers, name);
            origin.take(text(PROTO), text(HOST), text(PORT));
        }
        ForwardedFamily::Forwarded => {
            let values = headers.get_all(FORWARDED).iter().rev().filter_map(|value| value.to_str().ok());
            let hops = values.flat_map(|value| split(value, ',').into_iter().rev()).map(Hop::parse).collect::<Vec<_>>();
            let followed = origin.follow(hops.iter().map(|hop| hop.address), trust);
            if let Some(first) = followed.checked_sub(1).and_then(|last| hops.get(last)) {
                origin.take(first.proto.as_deref(), first.host.as_deref(), None);
            }
        }
    }
    origin
}

impl Origin {
    /// The client; port 0 where nobody says which. `None`: a unix socket without a word of who is behind it.
    pub(crate) fn client(&self) -> Option<SocketAddr> {
        self.chain.first().copied()
    }

    /// Follows the chain from its right end to the first address that is not trusted, or is none. Says how many it took.
    fn follow(&mut self, hops: impl Iterator<Item = Option<SocketAddr>>, trust: &Trust) -> usize {
        let mut count = 0;
        for hop in hops {
            let Some(hop) = hop else { break };
            self.chain.insert(0, hop);
            count += 1;
            if !trust.trusts(Some(hop.ip())) {
                break;
            }
        }
        count
    }

    /// What a trusted proxy says of how the client came, each as far as it can be read.
    fn take(&mut self, proto: Option<&str>, host: Option<&str>, port: Option<&str>) {
        match proto.map(str::to_ascii_lowercase).as_deref() {
            Some("https" | "wss") => self.https = true,
            Some("http" | "ws") => self.https = false,
            _ => {}
        }
        let is_host = |host: &&str| host.parse::<Authority>().is_ok_and(|host| !host.as_str().contains('@'));
        self.host = host.filter(is_host).map(str::to_owned);
        self.port = port.and_then(|port| port.parse().ok()).filter(|port| *port != 0);
    }

    /// Makes these header fields, of which those are gone that it [replaces](Self::replaces), say it to the upstream;
    /// `host` is what the client called us, `id` our name for the request.
    pub(crate) fn write(&self, headers: &mut HeaderMap, how: ForwardAs, host: &str, id: &str) {
        // Addresses, words, numbers, and what was read from a header: each can be written into one.
        let value = |text: &[u8]| HeaderValue::from_bytes(text).unwrap_or(HeaderValue::from_static(""));
        let host = self.host.as_deref().unwrap_or(host);
        let proto = if self.https { "https" } else { "http" };
        if matches!(how, ForwardAs::XForwarded | ForwardAs::Both) {
            if let Some(client) = self.client() {
                // The client, which the chain begins with.
                let mut addresses = Vec::with_capacity(16 * self.chain.len());
                digits::ip(&mut addresses, plain(client));
                let real = value(&addresses);
                for hop in self.chain.iter().skip(1) {
                    addresses.extend_from_slice(b", ");
                    digits::ip(&mut addresses, plain(*hop));
                }
                headers.insert(FOR, value(&addresses));
                headers.insert(REAL_IP, real);
            }
            headers.insert(PROTO, HeaderValue::from_static(proto));
            // It is an authority.
            let port = self.port.or_else(|| host.rsplit_once(':')?.1.parse().ok());
            let usual = HeaderValue::from_static(if self.https { "443" } else { "80" });
            headers.insert(PORT, port.map_or(usual, HeaderValue::from));
            headers.insert(HOST, value(host.as_bytes()));
        }
        if matches!(how, ForwardAs::Forwarded | ForwardAs::Both) {
            let mut nodes = self.chain.iter().map(|hop| node(*hop));
            let first = nodes.next().unwrap_or_else(|| "for=unknown".to_owned());
            let mut text = format!("{first};proto={proto};host=\"{host}\"");
            for node in nodes {
                text.push_str(", ");
                text.push_str(&node);
            }
            headers.insert(FORWARDED, value(text.as_bytes()));
        }
        headers.insert(REQUEST_ID, value(self.request_id.as_deref().unwrap_or(id).as_bytes()));
    }

    /// Whether a field of the request is ours to say; of a stranger's, the word for it that is not passed on. A
    /// stranger's `X-Forwarded-` anything is; a trusted proxy may have more of them than we know.
    pub(crate) fn replaces(&self, name: &str) -> Option<Option<&'static str>> {
        let why = match name {
            "x-request-id" => "untrusted_request_id",
            "forwarded" | "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "x-forwarded-port"
            | "x-real-ip" => "untrusted_forwarded",
            other if !self.trusted && other.starts_with("x-forwarded-") => "untrusted_forwarded",
            _ => return None,
        };
        Some((!self.trusted).then_some(why))
    }
}

/// One element of `Forwarded` (RFC 7239 section 4).
struct Hop {
    address: Option<SocketAddr>,
    proto: Option<String>,
    host: Option<String>,
}

impl Hop {
    fn parse(element: &str) -> Self {
        let mut hop = Self { address: None, proto: None, host: None };
        for pair in split(element, ';') {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let value = value.trim();
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => hop.address = address(value),
                "proto" => hop.proto = Some(value.to_owned()),
                "host" => hop.host = Some(value.to_owned()),
                _ => {}
            }
        }
        hop
    }
}

/// Splits where the separator stands outside of quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c: char| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
    .collect()
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`; a port that is not said is 0.
/// `None`: `unknown`, a name, or nothing that can be read.
fn address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0));
    let found = ip.or_else(|_| text.parse::<SocketAddr>()).ok()?;
    Some(SocketAddr::new(found.ip().to_canonical(), found.port()))
}

fn plain(hop: SocketAddr) -> IpAddr {
    hop.ip().to_canonical()
}

/// RFC 7239 section 6.
fn node(hop: SocketAddr) -> String {
    match plain(hop) {
        IpAddr::V4(ip) => format!("for={ip}"),
        IpAddr::V6(ip) => format!("for=\"[{ip}]\""),
    }
}

/// The last value of a field that may be a list: the one that whoever connected to us wrote.
fn last(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    value.rsplit(',').next().map(str::trim)
}

fn is_request_id(text: &str) -> bool {
    (1..=MAX_REQUEST_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn trace_id(headers: &HeaderMap) -> Option<String> {
    let mut parts = headers.get(TRACEPARENT)?.to_str().ok()?.split('-').skip(1);
    let id = parts.next()?;
    let is_id = id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use tidegate_config::Proxy;

    use super::*;
    use crate::head::clean;

    fn trust(header: ForwardedFamily) -> Trust {
        let nets = ["10.0.0.0/8", "fd00::/8"].map(|net| Proxy::Net(net.parse().unwrap()));
        Trust { proxies: nets.to_vec(), header, ..Trust::default() }
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).fold(
            HeaderMap::new(),
            |mut all, (name, value)| {
                all.append(name, value);
                all
            },
        )
    }

    /// Who the client is by `X-Forwarded-For`, and the chain that goes on.
    #[track_caller]
    fn check_x(peer: &str, said: &[&'static str], client: &str, chain: &str) {
        let mut fields = headers(&[]);
        for value in said {
            fields.append(FOR, HeaderValue::from_static(value));
        }
        let origin = read(&fields, Some(peer.parse().unwrap()), &trust(ForwardedFamily::XForwarded), false);
        assert_eq!(origin.client().unwrap().ip().to_string(), client);
        clean(&mut fields, &origin, ForwardAs::XForwarded, "example.com", None, "1");
        assert_eq!(fields[FOR], chain);
        assert_eq!(fields[REAL_IP], client);
        assert_eq!(fields.get_all(FOR).iter().count(), 1);
    }

    #[test]
    fn the_client_is_the_right_most_that_is_not_trusted() {
        check_x("192.0.2.1:9", &[], "192.0.2.1", "192.0.2.1");
        check_x("192.0.2.1:9", &["198.51.100.1"], "192.0.2.1", "192.0.2.1");
        check_x("10.0.0.1:9", &[], "10.0.0.1", "10.0.0.1");
        check_x("10.0.0.1:9", &["192.0.2.1"], "192.0.2.1", "192.0.2.1, 10.0.0.1");
        check_x("10.0.0.1:9", &["6.6.6.6, 192.0.2.1"], "192.0.2.1", "192.0.2.1, 10.0.0.1");
        check_x("10.0.0.1:9", &["6.6.6.6", "192.0.2.1,10.0.0.2"], "192.0.2.1", "192.0.2.1, 10.0.0.2, 10.0.0.1");
        check_x("10.0.0.1:9", &["10.0.0.3,10.0.0.2"], "10.0.0.3", "10.0.0.3, 10.0.0.2, 10.0.0.1");
        check_x("10.0.0.1:9", &["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2", "10.0.0.2, 10.0.0.1");
        check_x("10.0.0.1:9", &["6.6.6.6, "], "10.0.0.1", "10.0.0.1");
        check_x("10.0.0.1:9", &["192.0.2.1:4711"], "192.0.2.1", "192.0.2.1, 10.0.0.1");
        check_x("[fd00::1]:9", &["[2001:db8::1]:4711"], "2001:db8::1", "2001:db8::1, fd00::1");
        check_x("[::ffff:10.0.0.1]:9", &["::ffff:192.0.2.1"], "192.0.2.1", "192.0.2.1, 10.0.0.1");
    }

    #[track_caller]
    fn check_forwarded(said: &'static str, expected: &str) {
        let mut fields = headers(&[("forwarded", said), ("x-forwarded-for", "6.6.6.6")]);
        let peer = Some("10.0.0.1:9".parse().unwrap());
        let origin = read(&fields, peer, &trust(ForwardedFamily::Forwarded), false);
        clean(&mut fields, &origin, ForwardAs::Forwarded, "us.example", None, "1");
        assert_eq!(fields[FORWARDED], expected);
        assert!(!fields.contains_key(FOR), "what is not written is removed");
    }

    #[test]
    fn rfc_7239_is_read_and_written() {
        check_forwarded(
            "for=192.0.2.1;proto=https;host=example.com",
            "for=192.0.2.1;proto=https;host=\"example.com\", for=10.0.0.1",
        );
        check_forwarded(
            "for=6.6.6.6, For=\"[2001:db8::1]:47\" ; Proto=HTTPS, for=10.9.9.9;by=x;proto=http",
            "for=\"[2001:db8::1]\";proto=https;host=\"us.example\", for=10.9.9.9, for=10.0.0.1",
        );
        check_forwarded("for=\"_hidden, for=1.1.1.1\"", "for=10.0.0.1;proto=http;host=\"us.example\"");
        check_forwarded("for=unknown;host=evil", "for=10.0.0.1;proto=http;host=\"us.example\"");
        check_forwarded(";;,=,for=192.0.2.1", "for=192.0.2.1;proto=http;host=\"us.example\", for=10.0.0.1");
    }

    #[test]
    fn a_stranger_says_nothing_and_a_trusted_proxy_all() {
        let said = [
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "public.example:8443"),
            ("x-forwarded-port", "8443"),
            ("x-forwarded-prefix", "/app"),
            ("x-request-id", "abc-123"),
            ("x-real-ip", "6.6.6.6"),
        ];
        let written = |peer: &str| {
            let mut fields = headers(&said);
            let origin = read(&fields, Some(peer.parse().unwrap()), &trust(ForwardedFamily::XForwarded), false);
            let replaced = clean(&mut fields, &origin, ForwardAs::Both, "us.example:8080", None, "0000002a");
            let field = |name: &str| fields.get(name).map(|value| value.to_str().unwrap().to_owned());
            let fields = ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix"];
            (fields.map(field), field("x-request-id").unwrap(), replaced.len())
        };
        let some = |text: &str| Some(text.to_owned());
        let ours = [some("http"), some("us.example:8080"), some("8080"), None];
        assert_eq!(written("192.0.2.1:9"), (ours, "0000002a".into(), 6));
        let theirs = [some("https"), some("public.example:8443"), some("8443"), some("/app")];
        assert_eq!(written("10.0.0.1:9"), (theirs, "abc-123".into(), 0));
    }

    #[test]
    fn an_unreadable_id_is_none() {
        for bad in ["", "a b", "\u{7f}", &"x".repeat(129)] {
            assert!(!is_request_id(bad), "{bad}");
        }
        let trace = |value| trace_id(&headers(&[("traceparent", value)]));
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").as_deref(), Some(id));
        assert_eq!(trace("00-4BF92F-00f067aa0ba902b7-01"), None);
    }

    #[test]
    fn a_unix_socket_without_a_word_is_nobody() {
        let mut fields = headers(&[]);
        let origin = read(&fields, None, &Trust::default(), false);
        assert_eq!(origin.client(), None);
        clean(&mut fields, &origin, ForwardAs::Both, "localhost", None, "1");
        assert!(!fields.contains_key(FOR));
        assert_eq!(fields[FORWARDED], "for=unknown;proto=http;host=\"localhost\"");
    }
}
