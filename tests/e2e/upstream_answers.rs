//! Upstreams that cannot be reached, or answer a handshake in ways that no client is to see.

use std::net::SocketAddr;
use std::time::Duration;

use harness::certificate::Certificate;
use harness::metrics::name;
use harness::{Echo, Frame, Handshake, Setup, Tidegate, Upstream, clock, http, within};
use socket2::{Domain, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::session::exchange;

async fn assert_failed(gate: &Tidegate, reason: &str, what: &str) {
    let labels = [("result", "failed"), ("reason", reason)];
    assert_eq!(gate.metrics().await.sum(name::HANDSHAKES, &labels), 1.0, "{what}");
    let record = gate.record().await;
    assert_eq!((record.event(), record.cause()), ("refused", reason), "{what}");
}

#[tokio::test]
async fn a_head_without_end_is_502() {
    let upstream = Upstream::bind().await;
    let gate = Setup::proxy_to(upstream.address()).start().await;
    let handshake = Handshake::to(gate.address());
    let (response, ()) = tokio::join!(handshake.refusal(), async {
        let mut arrival = upstream.arrival().await;
        let field = format!("X-Long: {}\r\n", "x".repeat(1 << 20));
        // It is not read to its end.
        let _ = arrival.try_answer(&format!("HTTP/1.1 101 Switching Protocols\r\n{field}")).await;
    });
    assert_eq!(response.status, 502);
    assert_failed(&gate, "upstream_handshake", "1 MiB of head").await;
}

#[tokio::test]
async fn a_head_of_too_many_fields_is_502() {
    let upstream = Upstream::bind().await;
    let gate = Setup::proxy_to(upstream.address()).start().await;
    let handshake = Handshake::to(gate.address());
    let fields: Vec<_> = (0..100).map(|_| ("X-Odd", "x")).collect();
    let (response, _server) =
        tokio::join!(handshake.refusal(), async { upstream.arrival().await.upgrade(&fields).await });
    assert_eq!(response.status, 502);
    assert_failed(&gate, "upstream_handshake", "104 fields").await;
}

#[tokio::test]
async fn half_an_answer_is_504() {
    for half in ["HTTP/1.1 10", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n", HINTS] {
        let upstream = Upstream::bind().await;
        let gate = Setup::proxy_with_defaults(upstream.address(), "handshake_timeout = \"300ms\"").start().await;
        let handshake = Handshake::to(gate.address());
        let (response, _arrival) = tokio::join!(handshake.refusal(), async {
            let mut arrival = upstream.arrival().await;
            arrival.answer(half).await;
            arrival
        });
        assert_eq!(response.status, 504, "{half:?}");
        assert_failed(&gate, "upstream_timeout", half).await;
    }
}

const HINTS: &str = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n";

#[tokio::test]
async fn any_number_of_provisional_answers_is_passed_over() {
    let upstream = Upstream::bind().await;
    let gate = Setup::proxy_to(upstream.address()).start().await;
    let handshake = Handshake::to(gate.address());
    let (mut client, mut server) = tokio::join!(handshake.open(), async {
        let mut arrival = upstream.arrival().await;
        arrival.answer(&HINTS.repeat(100)).await;
        arrival.upgrade(&[]).await
    });
    exchange(&mut client, &mut server).await;
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_502() {
    let upstream = Upstream::bind().await;
    let gate = Setup::proxy_to(upstream.address()).start().await;
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let (response, ()) =
        tokio::join!(http::get(gate.address(), "/"), async { upstream.arrival().await.answer(switching).await });
    assert_eq!(response.status, 502);
}

#[tokio::test]
async fn a_200_that_looks_like_an_upgrade_opens_nothing() {
    let upstream = Upstream::bind().await;
    let gate = Setup::proxy_to(upstream.address()).start().await;
    let handshake = Handshake::to(gate.address()).followed_by(&Frame::text("eager").encode(Some([1, 2, 3, 4])));
    let (response, rest) = tokio::join!(handshake.refusal(), async {
        let mut arrival = upstream.arrival().await;
        arrival
            .answer("HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n")
            .await;
        arrival.rest_to_end().await
    });
    assert_eq!(response.status, 502);
    assert!(rest.is_empty(), "nothing goes upstream before a 101");
    assert_failed(&gate, "upstream_handshake", "a 200").await;
}

#[tokio::test]
async fn an_answer_that_can_be_read_in_two_ways_is_502() {
    for answer in [
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello",
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 5, 50\r\n\r\nhello",
        "HTTP/1.1 403 Forbidden\r\nContent-Length: -5\r\n\r\nhello",
        "HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ] {
        let upstream = Upstream::bind().await;
        let gate = Setup::proxy_to(upstream.address()).start().await;
        let handshake = Handshake::to(gate.address());
        let (response, ()) = tokio::join!(handshake.refusal(), async { upstream.arrival().await.answer(answer).await });
        assert_eq!(response.status, 502, "{answer:?}");
        assert_failed(&gate, "upstream_handshake", answer).await;
    }
}

#[tokio::test]
async fn a_refusal_whose_body_never_ends_is_answered_by_its_status() {
    let cases = [
        ("HTTP/1.1 403 Forbidden\r\n\r\nbegun", 403),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\n", 403),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", 304),
        ("HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 502),
    ];
    for (answer, status) in cases {
        let upstream = Upstream::bind().await;
        let gate = Setup::proxy_with_defaults(upstream.address(), "handshake_timeout = \"25s\"").start().await;
        let handshake = Handshake::to(gate.address());
        let begin = clock::now();
        let (response, _arrival) = tokio::join!(handshake.refusal(), async {
            let mut arrival = upstream.arrival().await;
            arrival.answer(answer).await;
            arrival
        });
        assert_eq!(response.status, status, "{answer:?}");
        assert!(begin.elapsed() < Duration::from_secs(8), "{answer:?}: {:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn a_client_that_never_reads_a_large_answer_is_let_go_of() {
    const MORE_THAN_SOCKETS_HOLD: usize = 64 << 20;
    let upstream = Upstream::bind().await;
    let gate = Setup::proxy_to(upstream.address()).start().await;
    let mut client = TcpStream::connect(gate.address()).await.expect("a connection");
    let request = format!("GET /large HTTP/1.1\r\nHost: {}\r\n\r\n", gate.address());
    client.write_all(request.as_bytes()).await.expect("room for a request");

    let mut arrival = upstream.arrival().await;
    let begin = clock::now();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {MORE_THAN_SOCKETS_HOLD}\r\n\r\n");
    arrival.answer(&head).await;
    let body = "x".repeat(MORE_THAN_SOCKETS_HOLD);
    let taken = within("the end of the connection to the upstream", arrival.try_answer(&body)).await;
    assert!(taken.is_err(), "64 MiB went somewhere although nobody reads");
    // The bound is 10 s without progress.
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let record = gate.record().await;
    assert_eq!((record.path(), record.number("status")), ("/large", 200.0), "{}", record.line());
    drop(client);
}

#[tokio::test]
async fn another_server_takes_whom_one_turns_away() {
    let (one, other) = (Upstream::bind().await, Upstream::bind().await);
    let servers = format!("servers = [\"{}\", \"{}\"]", one.address(), other.address());
    let gate = Setup::new(format!("[[route]]\nupstream = \"backend\"\n[upstream.backend]\n{servers}\n")).start().await;
    let handshake = Handshake::to(gate.address());
    let (mut client, mut server) = tokio::join!(handshake.open(), async {
        let (mut turns_away, takes) = tokio::select! {
            arrival = one.arrival() => (arrival, &other),
            arrival = other.arrival() => (arrival, &one),
        };
        turns_away.answer("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n").await;
        takes.accept().await
    });
    exchange(&mut client, &mut server).await;
}

/// A listener that takes no connections, and what keeps it from doing so.
async fn mute() -> (SocketAddr, Socket, Vec<TcpStream>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    socket.listen(0).expect("a bound socket");
    let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
    let mut waiting = Vec::new();
    // What the kernel accepts for nobody is few; the next one is left without an answer.
    while let Ok(taken) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        waiting.push(taken.expect("a connection"));
    }
    (address, socket, waiting)
}

#[tokio::test]
async fn a_server_that_takes_no_connection_is_504() {
    let (address, _socket, _waiting) = mute().await;
    let gate = Setup::proxy_with_defaults(address, "connect_timeout = \"300ms\"").start().await;
    assert_eq!(Handshake::to(gate.address()).refusal().await.status, 504);
    assert_failed(&gate, "upstream_timeout", "no connection").await;
}

fn over_tls(server: &str, options: &str) -> Setup {
    let upstream = format!("servers = [\"{server}\"]\ntls = {{ {options} }}");
    Setup::new(format!("[[route]]\nupstream = \"backend\"\n[upstream.backend]\n{upstream}\n"))
}

#[tokio::test]
async fn an_upstream_is_reached_over_tls_when_it_is_who_it_should_be() {
    let (certificate, other) = (Certificate::new(), Certificate::new());
    let echo = Echo::start().await;
    let server = Setup::proxy_to(echo.address()).tls(&certificate).start().await;
    let by_name = format!("localhost:{}", server.address().port());
    let by_address = server.address().to_string();
    let trust = |certificate: &Certificate| format!("ca = \"{}\"", certificate.certificate_file().display());

    for address in [&by_name, &by_address] {
        let gate = over_tls(address, &trust(&certificate)).start().await;
        let mut client = Handshake::to(gate.address()).open().await;
        client.send(Frame::text("sealed")).await;
        assert_eq!(client.text().await, "sealed");
    }
    let plain_server = Setup::proxy_to(echo.address()).start().await;
    let plain = plain_server.address().to_string();
    let cases = [
        ("another authority", &by_name, trust(&other)),
        ("the system's authorities", &by_name, String::new()),
        ("another name", &by_name, trust(&certificate) + ", server_name = \"example.com\""),
        ("no TLS at all", &plain, trust(&certificate)),
    ];
    for (what, address, options) in cases {
        let gate = over_tls(address, &options).start().await;
        assert_eq!(Handshake::to(gate.address()).refusal().await.status, 502, "{what}");
        assert_failed(&gate, "upstream_tls", what).await;
    }
}
