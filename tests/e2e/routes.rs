//! Which upstream a request gets, by host, path, subprotocol and header fields, whatever HTTP it comes by.

use harness::certificate::Certificate;
use harness::{Http2, Setup, Upstream, http};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Host, path, subprotocol, a header field, and whose it is.
type Case = (&'static str, &'static str, &'static str, (&'static str, &'static str), &'static str);

const NONE: (&str, &str) = ("x-other", "1");
const CASES: [Case; 11] = [
    ("chat.example", "/", "", NONE, "host"),
    ("CHAT.example:80", "/ws", "", NONE, "host"),
    ("eu.chat.example", "/", "", NONE, "wildcard"),
    ("other.test", "/ws", "", NONE, "path"),
    ("other.test", "/ws/below", "v2", NONE, "subprotocol"),
    ("other.test", "/ws", "v3", NONE, "path"),
    ("other.test", "/ws", "", ("x-version", "2"), "version"),
    ("other.test", "/ws", "", ("x-version", "20"), "path"),
    ("other.test", "/ws", "v2", ("x-version", "2"), "subprotocol"),
    ("other.test", "/api", "", ("x-beta", "anything"), "beta"),
    ("other.test", "/api", "", NONE, "rest"),
];

/// A server that answers every request by its own name.
async fn named(name: &'static str) -> String {
    let upstream = Upstream::bind().await;
    let address = upstream.address();
    tokio::spawn(async move {
        loop {
            let answer = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n{name}", name.len());
            let _ = upstream.arrival().await.try_answer(&answer).await;
        }
    });
    format!("[upstream.{name}]\nservers = [\"{address}\"]\n")
}

async fn stage() -> Setup {
    let mut config = String::new();
    for (name, keys) in [
        ("rest", ""),
        ("beta", "headers = [\"X-Beta\"]"),
        ("version", "path = \"/ws\"\nheaders = [\"X-Version: 2\"]"),
        ("path", "path = \"/ws\""),
        ("subprotocol", "path = \"/ws\"\nsubprotocol = \"v2\""),
        ("host", "host = \"chat.example\""),
        ("wildcard", "host = \"*.chat.example\""),
    ] {
        config += &format!("[[route]]\nname = \"{name}\"\nupstream = \"{name}\"\n{keys}\n{}", named(name).await);
    }
    Setup::new(config)
}

#[tokio::test]
async fn the_most_specific_route_serves() {
    let gate = stage().await.start().await;
    for (host, path, protocol, (name, value), expected) in CASES {
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{name}: {value}\r\nConnection: close\r\n");
        if !protocol.is_empty() {
            head += &format!("Sec-WebSocket-Protocol: {protocol}\r\n");
        }
        let plain = http::exchange(gate.address(), format!("{head}\r\n").as_bytes()).await;
        assert_eq!(
            (plain.status, plain.text().as_str()),
            (403, expected),
            "plain {host} {path} {protocol} {name}: {value}"
        );
        let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        let upgrade = head.replace("Connection: close", &format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{key}"));
        let mut stream = TcpStream::connect(gate.address()).await.expect("a connection");
        stream.write_all(format!("{upgrade}\r\n").as_bytes()).await.expect("room to send");
        let (refused, _) = http::read_response(&mut stream).await.expect("an answer");
        assert_eq!(
            (refused.status, refused.text().as_str()),
            (403, expected),
            "{host} {path} {protocol} {name}: {value}"
        );
    }
}

#[tokio::test]
async fn the_most_specific_route_serves_over_http2() {
    let certificate = Certificate::new();
    let gate = stage().await.tls(&certificate).start().await;
    let Some(mut client) = Http2::connect(&gate, &certificate).await else { return };
    for (i, (host, path, protocol, (field, value), expected)) in CASES.into_iter().enumerate() {
        let mut headers = vec![json!([field, value])];
        if !protocol.is_empty() {
            headers.push(json!(["sec-websocket-protocol", protocol]));
        }
        for kind in ["request", "websocket"] {
            let name = format!("{kind} {i}");
            let asked = json!({ "do": kind, "name": name, "path": path, "authority": host, "headers": headers });
            assert_eq!(client.answer(asked).await.status, 403, "{name}");
            assert_eq!(client.on(&name, "end").await["body"], expected, "{name}");
        }
    }
}
