//! Requests before there is a WebSocket: what is refused, how, and that nothing of it reaches an upstream.

use harness::raw::Close;
use harness::{Frame, Handshake, Setup, Tidegate, Upstream, eventually, http};

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

#[tokio::test]
async fn bad_requests_are_refused_and_reach_no_upstream() {
    let (gate, upstream) = stage().await;
    let good = Handshake::to(gate.address()).path("/open");
    let strict = Handshake::to(gate.address()).path("/strict");
    let long = "x".repeat(100_000);
    let cases = [
        ("version 12", good.clone().replace("Sec-WebSocket-Version", "12"), 426),
        ("no version", good.clone().without("Sec-WebSocket-Version"), 426),
        ("key that is no base64", good.clone().replace("Sec-WebSocket-Key", "not base64 at all!!"), 400),
        ("key of 15 bytes", good.clone().replace("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAA"), 400),
        ("empty key", good.clone().replace("Sec-WebSocket-Key", ""), 400),
        ("no key", good.clone().without("Sec-WebSocket-Key"), 400),
        ("two keys", good.clone().header("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="), 400),
        ("POST", good.clone().method("POST").header("Content-Length", "0"), 405),
        ("a body", good.clone().header("Content-Length", "4").followed_by(b"body"), 400),
        ("a chunked body", good.clone().header("Transfer-Encoding", "chunked").followed_by(b"0\r\n\r\n"), 400),
        ("two Hosts", good.clone().header("Host", "other.example.com"), 400),
        ("no Host", good.clone().without("Host"), 400),
        ("no route", good.clone().path("/elsewhere"), 404),
        ("path that only begins like a route", good.clone().path("/opened"), 404),
        ("encoded dots", good.clone().path("/open/%2e%2e/strict"), 400),
        ("plain dots", good.clone().path("/open/../strict"), 400),
        ("encoded slash", good.clone().path("/open%2fstrict"), 400),
        ("double slash", good.clone().path("/open//x"), 400),
        ("huge header", good.clone().header("X-Long", &long), 431),
        ("huge target", good.clone().path(&format!("/open?{long}")), 431),
        ("no upgrade where only WebSockets are served", strict.clone().without("Upgrade").without("Connection"), 426),
        ("origin that is not allowed", strict.clone().header("Origin", "https://evil.example.com"), 403),
    ];
    for (name, request, status) in cases {
        let response = http::exchange(gate.address(), &request.encode()).await;
        assert_eq!(response.status, status, "{name}: {response:?}");
        if name.contains("version") {
            assert_eq!(response.header("Sec-WebSocket-Version"), Some("13"), "{name}");
        }
        if name == "no upgrade where only WebSockets are served" {
            assert_eq!(response.header("Upgrade"), Some("websocket"), "{name}");
        }
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
        .header("X-Hop", "secret")
        .replace("Connection", "Upgrade, X-Hop");
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
        assert_eq!(arrival.header("Cookie"), Some("session=1"));
        assert_eq!(arrival.header("X-Hop"), None, "a field that Connection names ends here");
        arrival.upgrade(&[]).await
    });
    drop((client, server));
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
    let early = Frame::text("eager").encode(Some([1, 2, 3, 4]));
    let handshake = Handshake::to(gate.address()).path("/open").followed_by(&early);
    let (_client, mut server) = tokio::join!(handshake.open(), upstream.accept());
    assert_eq!(server.text().await, "eager");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_101_leaves_no_upstream_behind() {
    let (gate, upstream) = stage().await;
    let mut client = tokio::net::TcpStream::connect(gate.address()).await.expect("a connection");
    let request = Handshake::to(gate.address()).path("/open").encode();
    tokio::io::AsyncWriteExt::write_all(&mut client, &request).await.expect("room to send");
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
        let mut client = tokio::net::TcpStream::connect(gate.address()).await.expect("a connection");
        tokio::io::AsyncWriteExt::write_all(&mut client, b"GET /open HTTP/1.1\r\nHo").await.expect("room to send");
    }
    eventually("the connections to be gone", async || (gate.open_files() <= before).then_some(())).await;
}
