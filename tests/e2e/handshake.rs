//! Requests before there is a WebSocket: what is refused, how, and that nothing of it reaches an upstream.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::metrics::name;
use harness::raw::Close;
use harness::{Frame, Handshake, Setup, Tidegate, Upstream, eventually, http, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ROUTES: &str = "
[[route]]
name = \"open\"
path = \"/open\"
upstream = \"backend\"

[[route]]
name = \"strict\"
path = \"/strict\"
upstream = \"backend\"
websocket_only = true
origins = [\"https://app.example.com\"]
";

async fn stage() -> (Tidegate, Upstream) {
    let upstream = Upstream::bind().await;
    let config = format!("{ROUTES}\n[upstream.backend]\nservers = [\"{}\"]\n", upstream.address());
    (Setup::new(config).start().await, upstream)
}

/// What is sent, the answer's status, and its reason in the metrics.
type BadRequest = (&'static str, Handshake, u16, &'static str);

fn not_a_handshake(good: &Handshake) -> Vec<BadRequest> {
    let good = || good.clone();
    vec![
        ("version 12", good().replace("Sec-WebSocket-Version", "12"), 426, "version"),
        ("no version", good().without("Sec-WebSocket-Version"), 426, "version"),
        ("two versions", good().header("Sec-WebSocket-Version", "8"), 400, "duplicate_header"),
        ("key that is no base64", good().replace("Sec-WebSocket-Key", "not base64 at all!!"), 400, "key"),
        ("key of 15 bytes", good().replace("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAA"), 400, "key"),
        ("empty key", good().replace("Sec-WebSocket-Key", ""), 400, "key"),
        ("no key", good().without("Sec-WebSocket-Key"), 400, "key"),
        ("two keys", good().header("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="), 400, "duplicate_header"),
        ("POST", good().method("POST").header("Content-Length", "0"), 405, "method"),
        ("DELETE", good().method("DELETE"), 405, "method"),
        ("HTTP/1.0", good().version("HTTP/1.0"), 400, "http_version"),
        ("websocket and h2c", good().replace("Upgrade", "websocket, h2c"), 400, "upgrade_token"),
        ("a body", good().header("Content-Length", "4").followed_by(b"body"), 400, "body"),
        ("a chunked body", good().header("Transfer-Encoding", "chunked").followed_by(b"0\r\n\r\n"), 400, "body"),
        ("unreadable subprotocol", good().header("Sec-WebSocket-Protocol", "a b"), 400, "bad_token"),
        ("subprotocol twice", good().header("Sec-WebSocket-Protocol", "chat, chat"), 400, "bad_token"),
        ("65 subprotocols", good().header("Sec-WebSocket-Protocol", &tokens(65)), 400, "bad_token"),
        ("65 extensions", good().header("Sec-WebSocket-Extensions", &tokens(65)), 400, "bad_token"),
        ("unreadable extension", good().header("Sec-WebSocket-Extensions", "permessage-deflate; ="), 400, "bad_token"),
    ]
}

fn not_for_us(good: &Handshake) -> Vec<BadRequest> {
    let good = || good.clone();
    vec![
        ("two Hosts", good().header("Host", "other.example.com"), 400, "host"),
        ("no Host", good().without("Host"), 400, "host"),
        ("Host that is none", good().replace("Host", "a b"), 400, "host"),
        ("Host with a user", good().replace("Host", "user@example.com"), 400, "host"),
        ("target of another Host", good().path("http://other.example.com/open"), 400, "host"),
        ("no route", good().path("/elsewhere"), 404, "no_route"),
        ("path that only begins like a route", good().path("/opened"), 404, "no_route"),
        ("encoded dots", good().path("/open/%2e%2e/strict"), 400, "path"),
        ("plain dots", good().path("/open/../strict"), 400, "path"),
        ("encoded slash", good().path("/open%2fstrict"), 400, "path"),
        ("encoded NUL", good().path("/open/%00"), 400, "path"),
        ("double slash", good().path("/open//x"), 400, "path"),
        ("backslash", good().path("/open\\strict"), 400, "path"),
        ("carriage return in a value", good().header("X-Odd", "a\rb"), 400, "malformed"),
        ("NUL in a value", good().header("X-Odd", "a\0b"), 400, "malformed"),
        ("folded header", good().header("X-Odd", "a\r\n b"), 400, "malformed"),
        ("huge header", good().header("X-Long", &"x".repeat(100_000)), 431, "headers_too_large"),
        (
            "20 KiB of headers",
            (0..20).fold(good(), |all, n| all.header(&format!("X-{n}"), &"x".repeat(1024))),
            431,
            "headers_too_large",
        ),
        ("101 headers", (0..96).fold(good(), |all, n| all.header(&format!("X-{n}"), "x")), 431, "headers_too_large"),
        ("huge target", good().path(&format!("/open?{}", "x".repeat(100_000))), 431, "headers_too_large"),
    ]
}

fn not_for_strangers(strict: &Handshake) -> Vec<BadRequest> {
    let strict = || strict.clone();
    let from = |origin: &str| strict().header("Origin", origin);
    vec![
        ("no upgrade", strict().without("Upgrade").without("Connection"), 426, "upgrade_token"),
        ("h2c", strict().replace("Upgrade", "h2c"), 426, "upgrade_token"),
        ("no Connection: upgrade", strict().without("Connection"), 426, "upgrade_token"),
        ("another origin", from("https://evil.example.com"), 403, "origin"),
        ("origin that ends alike", from("https://evil-app.example.com"), 403, "origin"),
        ("origin of another scheme", from("http://app.example.com"), 403, "origin"),
        ("null origin", from("null"), 403, "origin"),
        ("no origin", strict(), 403, "origin"),
        ("two origins", from("https://app.example.com").header("Origin", "https://app.example.com"), 403, "origin"),
    ]
}

fn tokens(count: usize) -> String {
    (0..count).map(|n| format!("t{n}")).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn bad_requests_are_refused_and_counted_and_reach_no_upstream() {
    let (gate, upstream) = stage().await;
    let good = Handshake::to(gate.address()).path("/open");
    let strict = Handshake::to(gate.address()).path("/strict");
    let cases = [not_a_handshake(&good), not_for_us(&good), not_for_strangers(&strict)].concat();
    let mut counts: BTreeMap<_, f64> = BTreeMap::new();
    for (name, request, status, reason) in cases {
        let response = http::exchange(gate.address(), &request.encode()).await;
        assert_eq!(response.status, status, "{name}: {response:?}");
        let version = (reason == "version").then_some("13");
        assert_eq!(response.header("Sec-WebSocket-Version"), version, "{name}");
        let upgrade = (reason == "upgrade_token" && status == 426).then_some("websocket");
        assert_eq!(response.header("Upgrade"), upgrade, "{name}");
        *counts.entry(reason).or_default() += 1.0;
        gate.metrics_where(&format!("{name} to be counted as {reason}"), |metrics| {
            metrics.sum(name::HANDSHAKES, &[("result", "rejected"), ("reason", reason)]) == counts[reason]
        })
        .await;
    }
    // Connections are accepted in order: had any of those reached the upstream, it would be there before this one.
    let last = good.path("/open/last");
    let (_client, arrival) = tokio::join!(last.open(), async {
        let arrival = upstream.arrival().await;
        assert_eq!(arrival.path(), "/open/last");
        arrival.upgrade(&[]).await
    });
    drop(arrival);
}

#[tokio::test]
async fn http_2_without_tls_is_no_malformed_request() {
    let (gate, _upstream) = stage().await;
    let mut client = TcpStream::connect(gate.address()).await.expect("a connection");
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("room to send");
    let mut answer = Vec::new();
    let _ = within("the connection's end", client.read_to_end(&mut answer)).await;
    assert!(answer.is_empty(), "HTTP/1 is noise to a client of HTTP/2: {answer:?}");
    gate.metrics_where("a preface to be counted", |metrics| {
        metrics.sum(name::HANDSHAKES, &[("result", "rejected"), ("reason", "http2_preface")]) == 1.0
            && metrics.sum(name::HANDSHAKES, &[("reason", "malformed")]) == 0.0
    })
    .await;
    assert_eq!(gate.record().await.cause(), "http2_preface");
}

#[tokio::test]
async fn a_request_target_with_the_same_host_becomes_a_path() {
    let (gate, upstream) = stage().await;
    let handshake = Handshake::to(gate.address()).path(&format!("http://{}/open?x", gate.address()));
    let (_client, _server) = tokio::join!(handshake.open(), async {
        let arrival = upstream.arrival().await;
        assert_eq!(arrival.path(), "/open?x");
        arrival.upgrade(&[]).await
    });
}

#[tokio::test]
async fn a_request_behind_a_refused_upgrade_reaches_nobody() {
    let (gate, upstream) = stage().await;
    let second = Handshake::to(gate.address()).path("/open/second").encode();
    let request = Handshake::to(gate.address()).path("/open/first").followed_by(&second).encode();
    let mut client = TcpStream::connect(gate.address()).await.expect("a connection");
    client.write_all(&request).await.expect("room to send");
    let mut arrival = upstream.arrival().await;
    arrival.answer("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
    let mut answers = Vec::new();
    within("the connection's end", client.read_to_end(&mut answers)).await.expect("no reset");
    let answers = String::from_utf8(answers).expect("text").to_lowercase();
    assert!(answers.starts_with("http/1.1 403 ") && answers.contains("\r\nconnection: close\r\n"), "{answers}");
    assert_eq!(answers.matches("http/1.1 ").count(), 1, "{answers}");
    assert!(arrival.rest_to_end().await.is_empty(), "the first request's connection had more than its head");
    let third = Handshake::to(gate.address()).path("/open/third");
    tokio::join!(third.open(), async {
        let arrival = upstream.arrival().await;
        assert_eq!(arrival.path(), "/open/third");
        arrival.upgrade(&[]).await
    });
}

#[tokio::test]
async fn a_head_that_drips_is_not_waited_for() {
    let (gate, _upstream) = stage().await;
    let mut client = TcpStream::connect(gate.address()).await.expect("a connection");
    client.write_all(b"GET /open HTTP/1.1\r\nX-Drip: ").await.expect("room to send");
    let (mut reader, mut writer) = client.split();
    let mut answer = Vec::new();
    let dripping = async {
        let mut drops = tokio::time::interval(Duration::from_millis(500));
        loop {
            drops.tick().await;
            let _ = writer.write_all(b"x").await;
        }
    };
    tokio::select! {
        _ = within("the connection's end", reader.read_to_end(&mut answer)) => {}
        () = dripping => {}
    }
    let labels = [("result", "rejected"), ("reason", "header_timeout")];
    gate.metrics_where("the timeout to be counted", |metrics| metrics.sum(name::HANDSHAKES, &labels) == 1.0).await;
}

#[tokio::test]
async fn an_allowed_origin_enters() {
    let (gate, upstream) = stage().await;
    let handshake = Handshake::to(gate.address()).path("/strict/x").header("Origin", "https://app.example.com");
    let (mut client, mut server) = tokio::join!(handshake.open(), upstream.accept());
    crate::session::exchange(&mut client, &mut server).await;
}

#[tokio::test]
async fn the_upstream_gets_a_clean_request() {
    let (gate, upstream) = stage().await;
    let handshake = Handshake::to(gate.address())
        .path("/open/a/b?token=1&x=%20")
        .header("X-Forwarded-For", "6.6.6.6")
        .header("X-Forwarded-Proto", "https")
        .header("Cookie", "session=1")
        .header("Forwarded", "for=6.6.6.6")
        .header("X_Forwarded_For", "6.6.6.6")
        .header("X-Hop", "secret")
        .replace("Connection", "Upgrade, X-Hop, Cookie, X-Forwarded-For, Sec-WebSocket-Key");
    let (client, server) = tokio::join!(handshake.open(), async {
        let arrival = upstream.arrival().await;
        assert_eq!(arrival.start_line, "GET /open/a/b?token=1&x=%20 HTTP/1.1");
        let has = |name: &str| arrival.headers.iter().any(|(key, _)| key == name);
        for name in ["Sec-WebSocket-Key", "Sec-WebSocket-Version"] {
            assert!(has(name), "with the RFC's spelling: {:?}", arrival.headers);
        }
        assert_eq!(arrival.header("X-Forwarded-For"), Some("127.0.0.1"), "the client's own word does not count");
        assert_eq!(arrival.header("X-Forwarded-Proto"), Some("http"));
        assert_eq!(arrival.header("X-Forwarded-Host"), arrival.header("Host"));
        for name in ["Forwarded", "X_Forwarded_For", "X-Hop"] {
            assert_eq!(arrival.header(name), None, "{name} ends here");
        }
        assert_eq!(arrival.header("Cookie"), Some("session=1"), "but no client may have it taken away");
        arrival.upgrade(&[]).await
    });
    drop((client, server));
    let metrics = gate.metrics().await;
    for (kind, count) in [("nominated", 1.0), ("underscore", 1.0), ("untrusted_forwarded", 3.0)] {
        assert_eq!(metrics.sum("tidegate_sanitized_headers_total", &[("kind", kind)]), count, "{kind}");
    }
}

#[tokio::test]
async fn a_bad_answer_of_the_upstream_is_502() {
    let answers = [
        ("no HTTP", "what?\r\n\r\n"),
        ("200", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("101 without accept", "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
        (
            "101 with a wrong accept",
            "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
        ),
    ];
    for (name, answer) in answers {
        // Each with its own, for an endpoint that fails again and again is left alone for a while.
        let (gate, upstream) = stage().await;
        let handshake = Handshake::to(gate.address()).path("/open");
        let (response, ()) = tokio::join!(handshake.refusal(), async { upstream.arrival().await.answer(answer).await });
        assert_eq!(response.status, 502, "{name}");
    }
}

#[tokio::test]
async fn a_choice_of_the_upstream_that_was_not_offered_is_502() {
    for field in [("Sec-WebSocket-Protocol", "unasked"), ("Sec-WebSocket-Extensions", "permessage-deflate")] {
        let (gate, upstream) = stage().await;
        let handshake = Handshake::to(gate.address()).path("/open");
        let (response, _server) =
            tokio::join!(handshake.refusal(), async { upstream.arrival().await.upgrade(&[field]).await });
        assert_eq!(response.status, 502, "{field:?}");
    }
}

#[tokio::test]
async fn an_end_instead_of_an_answer_is_502() {
    let (gate, upstream) = stage().await;
    let handshake = Handshake::to(gate.address()).path("/open");
    let (response, ()) = tokio::join!(handshake.refusal(), async { drop(upstream.arrival().await) });
    assert_eq!(response.status, 502);
}

#[tokio::test]
async fn a_refusal_of_the_upstream_passes_through() {
    let (gate, upstream) = stage().await;
    let handshake = Handshake::to(gate.address()).path("/open");
    let (response, ()) = tokio::join!(handshake.refusal(), async {
        let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 5\r\n\r\nno...";
        upstream.arrival().await.answer(answer).await;
    });
    assert_eq!((response.status, response.text().as_str()), (401, "no..."));
    assert_eq!(response.header("WWW-Authenticate"), Some("Basic"));

    let (response, ()) = tokio::join!(handshake.refusal(), async {
        let answer = "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n";
        upstream.arrival().await.answer(answer).await;
    });
    assert_eq!((response.status, response.header("Location")), (302, Some("/login")));
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_504() {
    let upstream = Upstream::bind().await;
    let gate = Setup::proxy_with_defaults(upstream.address(), "handshake_timeout = \"300ms\"").start().await;
    let handshake = Handshake::to(gate.address());
    let (response, _arrival) = tokio::join!(handshake.refusal(), upstream.arrival());
    assert_eq!(response.status, 504);
}

#[tokio::test]
async fn an_early_hint_before_the_101_is_passed_over() {
    let (gate, upstream) = stage().await;
    let handshake = Handshake::to(gate.address()).path("/open");
    let (mut client, mut server) = tokio::join!(handshake.open(), async {
        let mut arrival = upstream.arrival().await;
        arrival.answer("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n").await;
        arrival.upgrade(&[]).await
    });
    crate::session::exchange(&mut client, &mut server).await;
}

#[tokio::test]
async fn a_close_right_behind_the_101_is_the_upstreams_word() {
    let (gate, upstream) = stage().await;
    let handshake = Handshake::to(gate.address()).path("/open");
    let (mut client, mut server) = tokio::join!(handshake.open(), async {
        let mut server = upstream.accept().await;
        server.send(Frame::close(4403, "not you")).await;
        server
    });
    let close = Close::new(4403, "not you");
    assert_eq!(client.close().await, close);
    client.answer_close(&close).await;
    assert_eq!(server.close().await, close);
}

#[tokio::test]
async fn what_a_client_sends_before_the_101_is_kept() {
    let (gate, upstream) = stage().await;
    // The last is more than any buffer for a head.
    let texts = ["eager".to_owned(), "more".to_owned(), "x".repeat(100_000)];
    let early: Vec<u8> = texts.iter().flat_map(|text| Frame::text(text).encode(Some([1, 2, 3, 4]))).collect();
    let handshake = Handshake::to(gate.address()).path("/open").followed_by(&early);
    let (_client, mut server) = tokio::join!(handshake.open(), upstream.accept());
    for text in texts {
        assert_eq!(server.text().await, text);
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_101_leaves_no_upstream_behind() {
    let (gate, upstream) = stage().await;
    let mut client = TcpStream::connect(gate.address()).await.expect("a connection");
    let request = Handshake::to(gate.address()).path("/open").encode();
    client.write_all(&request).await.expect("room to send");
    let arrival = upstream.arrival().await;
    drop(client);
    // Either the dial was aborted, or the upstream is told at once that its client is gone.
    let mut server = arrival.upgrade(&[]).await;
    if let harness::raw::Event::Frame(frame) = server.event().await {
        assert_eq!(Close::from(&frame).code, Some(1001));
    }
    eventually("no session to be open", async || (gate.metrics().await.open() == 0.0).then_some(())).await;
}

#[tokio::test]
async fn abandoned_requests_leave_nothing_behind() {
    let (gate, _upstream) = stage().await;
    let before = gate.open_files();
    for _ in 0..50 {
        let mut client = TcpStream::connect(gate.address()).await.expect("a connection");
        client.write_all(b"GET /open HTTP/1.1\r\nHo").await.expect("room to send");
    }
    eventually("the connections to be gone", async || (gate.open_files() <= before).then_some(())).await;
}
