//! Who the client is behind proxies, and how the upstream is told: PROXY protocol, `Forwarded`, `X-Forwarded-*`.

use std::net::SocketAddr;

use harness::certificate::Certificate;
use harness::http::{self, only};
use harness::script::closed_with;
use harness::{Frame, Handshake, Peer, PeerProxy, Runtime, Setup, Tidegate, Upstream, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener};

/// Whoever connects from loopback is a proxy.
const TRUST: &str = "trusted_proxies = [\"127.0.0.0/8\"]";
const SOMEBODY: &str = "trusted_proxies = [\"192.0.2.0/24\"]";
const CLIENT_V1: &[u8] = b"PROXY TCP4 198.51.100.7 203.0.113.1 4711 443\r\n";

/// A header of version 2 for 198.51.100.7, with these bytes of extra fields.
fn client_v2(more: &[u8]) -> Vec<u8> {
    let length = (12 + more.len() as u16).to_be_bytes();
    let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11";
    [&fixed[..], &length, &[198, 51, 100, 7, 203, 0, 113, 1, 18, 103, 1, 187], more].concat()
}

async fn gate(upstream: &Upstream, listener: &str) -> Tidegate {
    Setup::proxy_to(upstream.address()).listener(listener).start().await
}

/// Sends these bytes in front of a handshake; gives the header fields that the upstream sees.
async fn seen_behind(gate: &Tidegate, upstream: &Upstream, start: &[u8]) -> Vec<(String, String)> {
    let mut stream = TcpStream::connect(gate.address()).await.expect("a connection");
    let request = Handshake::to(gate.address()).encode();
    // In two parts, so that the header is not there all at once.
    let (first, second) = start.split_at(start.len() / 2);
    stream.write_all(first).await.expect("room to send");
    stream.write_all(&[second, &request].concat()).await.expect("room to send");
    let arrival = upstream.arrival().await;
    let headers = arrival.headers.clone();
    drop(arrival);
    headers
}

/// The header fields that the upstream sees of this handshake, whose session then ends.
async fn seen_of(handshake: Handshake, upstream: &Upstream) -> Vec<(String, String)> {
    let (_client, headers) = tokio::join!(handshake.open(), async {
        let arrival = upstream.arrival().await;
        let headers = arrival.headers.clone();
        arrival.upgrade(&[]).await;
        headers
    });
    headers
}

/// What comes back, to the connection's end, for these bytes.
async fn answer_to(gate: &Tidegate, bytes: &[u8]) -> Vec<u8> {
    answer_at(gate.address(), bytes).await
}

async fn answer_at(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(bytes).await.expect("room to send");
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = within("the connection's end", stream.read_to_end(&mut answer)).await;
    answer
}

async fn refused(gate: &Tidegate, result: &str, count: f64) {
    let labels = [("result", result)];
    gate.metrics_where(result, |metrics| metrics.sum("tidegate_proxy_headers_total", &labels) == count).await;
}

#[tokio::test]
async fn a_proxy_header_says_who_the_client_is() {
    let upstream = Upstream::bind().await;
    let gate = gate(&upstream, &format!("{TRUST}\nproxy_protocol = \"v1v2\"")).await;
    for header in [CLIENT_V1.to_vec(), client_v2(b""), client_v2(&[4; 1000])] {
        let headers = seen_behind(&gate, &upstream, &header).await;
        assert_eq!(only(&headers, "x-forwarded-for"), Some("198.51.100.7"));
        assert_eq!(only(&headers, "x-real-ip"), Some("198.51.100.7"));
    }
    let local = seen_behind(&gate, &upstream, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").await;
    assert_eq!(only(&local, "x-forwarded-for"), Some("127.0.0.1"), "the proxy speaks for itself");
    refused(&gate, "ok", 4.0).await;
    let lines = gate.wait_for_records(4).await;
    let of_client = lines.iter().filter(|line| line.text("client_ip") == "198.51.100.7").count();
    assert_eq!(of_client, 3, "{lines:#?}");
}

#[tokio::test]
async fn a_connection_without_its_proxy_header_gets_no_word() {
    let upstream = Upstream::bind().await;
    let keys = format!("{TRUST}\nproxy_protocol = \"v2\"");
    let gate = gate(&upstream, &keys).await;
    let plain = Handshake::to(gate.address()).encode();
    for (count, bad) in [plain, CLIENT_V1.to_vec(), client_v2(&[4; 4096])].iter().enumerate() {
        assert_eq!(answer_to(&gate, bad).await, b"", "no HTTP");
        refused(&gate, "malformed", count as f64 + 1.0).await;
    }
    answer_to(&gate, &client_v2(b"")[..20]).await;
    refused(&gate, "timeout", 1.0).await;
}

#[tokio::test]
async fn a_stranger_may_not_say_who_it_is() {
    let upstream = Upstream::bind().await;
    let mut gate = gate(&upstream, &format!("{SOMEBODY}\nproxy_protocol = \"v1v2\"")).await;
    assert_eq!(answer_to(&gate, &client_v2(b"")).await, b"");
    refused(&gate, "untrusted", 1.0).await;
    // A reload can make it none.
    let config =
        format!("[[route]]\nupstream = \"backend\"\n[upstream.backend]\nservers = [\"{}\"]\n", upstream.address());
    gate.set_listener(format!("{TRUST}\nproxy_protocol = \"v1v2\""));
    assert!(gate.reload(&config).await);
    let headers = seen_behind(&gate, &upstream, &client_v2(b"")).await;
    assert_eq!(only(&headers, "x-forwarded-for"), Some("198.51.100.7"));
}

#[tokio::test]
async fn the_header_stands_before_tls() {
    let (certificate, upstream) = (Certificate::new(), Upstream::bind().await);
    let setup = Setup::proxy_to(upstream.address()).tls(&certificate);
    let gate = setup.listener(format!("{TRUST}\nproxy_protocol = \"v2\"")).start().await;
    let mut stream = TcpStream::connect(gate.address()).await.expect("a connection");
    stream.write_all(&client_v2(b"")).await.expect("room to send");
    let mut tls = certificate.connect(stream).await;
    tls.write_all(&Handshake::to(gate.address()).encode()).await.expect("room to send");
    let headers = upstream.arrival().await.headers;
    assert_eq!(only(&headers, "x-forwarded-for"), Some("198.51.100.7"));
    assert_eq!(only(&headers, "x-forwarded-proto"), Some("https"));
    assert_eq!(only(&headers, "x-forwarded-port").map(str::to_owned), Some(gate.address().port().to_string()));
}

#[tokio::test]
async fn haproxy_in_front_says_who_the_client_is() {
    let Some(node) = Runtime::node() else { return };
    for (option, versions) in [("send-proxy", "v1"), ("send-proxy-v2", "v2")] {
        let mut backend = node.backend(&json!({})).await;
        let setup = Setup::proxy_to(backend.address());
        let gate = setup.listener(format!("{TRUST}\nproxy_protocol = \"{versions}\"")).start().await;
        let server = format!("{} {option}", gate.address());
        let Some(haproxy) = PeerProxy::haproxy("tcp", "", &server).await else { return };
        // A client of its own address, which only the header can tell.
        let mut client = from_address("127.0.0.77", haproxy.address()).await;
        let opened = backend.opened().await;
        assert_eq!(opened["headers"]["x-forwarded-for"], "127.0.0.77", "{option}: {opened}");
        client.send(Frame::close(4001, "bye")).await;
        assert_eq!(client.close().await.code, Some(4001));
        assert_eq!(gate.record().await.text("client_ip"), "127.0.0.77");
    }
}

#[tokio::test]
async fn nginx_in_front_passes_tls_on_and_says_who_the_client_is() {
    let (Some(node), certificate) = (Runtime::node(), Certificate::new()) else { return };
    let mut backend = node.backend(&json!({})).await;
    let setup = Setup::proxy_to(backend.address()).tls(&certificate);
    let mut gate = setup.listener(format!("{TRUST}\nproxy_protocol = \"v1\"")).start().await;
    let passes = format!("proxy_pass {};\nproxy_protocol on;", gate.address());
    let Some(nginx) = PeerProxy::nginx_stream(&passes).await else { return };
    let mut client = Handshake::to(nginx.address())
        .open_over(certificate.connect(connect_from("127.0.0.76", nginx.address()).await).await)
        .await;
    let opened = backend.opened().await;
    assert_eq!(opened["headers"]["x-forwarded-for"], "127.0.0.76", "{opened}");
    assert_eq!(opened["headers"]["x-forwarded-proto"], "https", "{opened}");
    client.send(Frame::text("close 1012 soon")).await;
    let close = client.close().await;
    assert_eq!((close.code, close.reason.as_str()), (Some(1012), "soon"));
    client.answer_close(&close).await;
    assert_eq!(gate.record().await.text("client_ip"), "127.0.0.76");

    // The same nginx, once it is nobody's that is believed.
    gate.set_listener(format!("tls = {{ {} }}\n{SOMEBODY}\nproxy_protocol = \"v1\"", certificate.keys()));
    let config = "[[route]]\nupstream = \"backend\"\n[upstream.backend]\nservers = []\n";
    assert!(gate.reload(config).await);
    assert_eq!(answer_at(nginx.address(), &certificate.hello()).await, b"");
    refused(&gate, "untrusted", 1.0).await;
}

/// A connection from one of the addresses that loopback has.
async fn connect_from(address: &str, to: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(address.parse().expect("an address"), 0)).expect("an address of loopback");
    socket.connect(to).await.expect("a connection")
}

/// A session from there.
async fn from_address(address: &str, to: SocketAddr) -> Peer {
    Handshake::to(to).open_over(connect_from(address, to).await).await
}

#[tokio::test]
async fn the_client_is_the_right_most_that_nobody_vouches_for() {
    let upstream = Upstream::bind().await;
    let gate = gate(&upstream, TRUST).await;
    let said = Handshake::to(gate.address())
        .header("X-Forwarded-For", "6.6.6.6, 198.51.100.7, 127.0.0.9")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "chat.example.com")
        .header("X-Request-Id", "from-the-edge-1")
        .header("Forwarded", "for=6.6.6.6")
        .header("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .header("Tracestate", "vendor=1");
    let headers = seen_of(said, &upstream).await;
    let field = |name| only(&headers, name);
    assert_eq!(field("x-forwarded-for"), Some("198.51.100.7, 127.0.0.9, 127.0.0.1"));
    assert_eq!(field("x-real-ip"), Some("198.51.100.7"));
    assert_eq!(field("x-forwarded-proto"), Some("https"));
    assert_eq!(field("x-forwarded-host"), Some("chat.example.com"));
    assert_eq!(field("x-forwarded-port"), Some("443"));
    assert_eq!(field("x-request-id"), Some("from-the-edge-1"));
    assert_eq!(field("forwarded"), None);
    assert_eq!(field("traceparent"), Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    assert_eq!(field("tracestate"), Some("vendor=1"));
    let line = gate.record().await;
    assert_eq!(line.text("client_ip"), "198.51.100.7");
    assert_eq!(line.text("request_id"), "from-the-edge-1");
    assert_eq!(line.text("trace_id"), "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[tokio::test]
async fn what_a_stranger_says_is_replaced() {
    let upstream = Upstream::bind().await;
    let gate = gate(&upstream, SOMEBODY).await;
    let said = Handshake::to(gate.address())
        .header("X-Forwarded-For", "6.6.6.6")
        .header("X-Real-IP", "6.6.6.6")
        .header("X-Forwarded-Prefix", "/admin")
        .header("X-Request-Id", "mine")
        .header("Connection", "X-Request-Id, X-Real-IP");
    let headers = seen_of(said, &upstream).await;
    let line = gate.record().await;
    assert_eq!(only(&headers, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(only(&headers, "x-real-ip"), Some("127.0.0.1"));
    assert_eq!(only(&headers, "x-forwarded-prefix"), None);
    assert_eq!(only(&headers, "x-request-id"), Some(line.text("id")), "the id of the access log");
    let metrics = gate.metrics().await;
    let replaced = |kind| metrics.sum("tidegate_sanitized_headers_total", &[("kind", kind)]);
    assert_eq!((replaced("untrusted_forwarded"), replaced("untrusted_request_id")), (3.0, 1.0));
}

#[tokio::test]
async fn rfc_7239_is_spoken_in_and_out() {
    let upstream = Upstream::bind().await;
    let setup = Setup::proxy_with_defaults(upstream.address(), "forward_as = \"forwarded\"");
    let gate = setup.listener(format!("{TRUST}\nforwarded_header = \"forwarded\"")).start().await;
    let said = Handshake::to(gate.address())
        .header("Forwarded", "for=\"[2001:db8::7]:4711\";proto=https;host=chat.example.com, for=127.0.0.9")
        .header("X-Forwarded-For", "6.6.6.6");
    let headers = seen_of(said, &upstream).await;
    let expected = "for=\"[2001:db8::7]\";proto=https;host=\"chat.example.com\", for=127.0.0.9, for=127.0.0.1";
    assert_eq!(only(&headers, "forwarded"), Some(expected));
    assert_eq!(only(&headers, "x-forwarded-for"), None);
}

/// A configuration whose upstream is told by the PROXY protocol.
fn announcing(server: SocketAddr) -> Setup {
    Setup::new(format!(
        "[[route]]\nname = \"main\"\nupstream = \"backend\"\n\n\
         [upstream.backend]\nservers = [\"{server}\"]\nproxy_protocol = \"v2\"\n"
    ))
}

#[tokio::test]
async fn nginx_behind_learns_the_client_by_proxy_protocol() {
    let says = "location / { default_type text/plain; return 200 '$proxy_protocol_addr $proxy_protocol_server_port'; }";
    let Some(nginx) = PeerProxy::nginx("proxy_protocol", says).await else { return };
    let gate = announcing(nginx.address()).listener(TRUST).start().await;
    for client in ["198.51.100.7", "198.51.100.8"] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\nConnection: close\r\n\r\n");
        let answer = http::exchange(gate.address(), request.as_bytes()).await;
        let expected = format!("{client} {}", gate.address().port());
        assert_eq!((answer.status, answer.text()), (200, expected), "no connection of another client's is used");
    }
}

#[tokio::test]
async fn haproxy_behind_learns_the_client_by_proxy_protocol() {
    let Some(python) = Runtime::python() else { return };
    let mut backend = python.backend(&json!({})).await;
    let server = backend.address().to_string();
    let Some(haproxy) = PeerProxy::haproxy("http", "accept-proxy", &format!("{server}\n option forwardfor")).await
    else {
        return;
    };
    let gate = announcing(haproxy.address()).start().await;
    let mut client = from_address("127.0.0.78", gate.address()).await;
    let opened = backend.opened().await;
    let chain = opened["headers"]["x-forwarded-for"].to_string();
    assert!(chain.contains("127.0.0.78"), "{opened}");
    client.send(Frame::text("close 1012 soon")).await;
    assert_eq!(client.close().await.code, Some(1012));
}

#[tokio::test]
async fn unix_sockets_on_both_sides() {
    let Some(node) = Runtime::node() else { return };
    let directory = harness::scratch::Scratch::new("sockets");
    let (front, back) = (directory.join("front.sock"), directory.join("back.sock"));
    // The second gate listens on a unix socket, behind the first.
    let mut backend = node.backend(&json!({})).await;
    let second = Setup::new(format!(
        "[[route]]\nname = \"main\"\nupstream = \"backend\"\n[upstream.backend]\nservers = [\"{}\"]\n\
         [[listen]]\naddress = \"unix:{}\"\ntrusted_proxies = [\"unix:\"]\nproxy_protocol = \"v2\"\n",
        backend.address(),
        back.display()
    ));
    let second = second.start().await;
    let first = Setup::new(format!(
        "[[route]]\nname = \"main\"\nupstream = \"next\"\n[upstream.next]\nservers = [\"unix:{}\"]\nproxy_protocol = \"v2\"\n\
         [[listen]]\naddress = \"unix:{}\"\n",
        back.display(),
        front.display()
    ));
    let first = first.start().await;
    let mut client = from_address("127.0.0.79", first.address()).await;
    assert_eq!(backend.opened().await["headers"]["x-forwarded-for"], "127.0.0.79");
    client.send(Frame::close(1000, "done")).await;
    assert_eq!(client.close().await.code, Some(1000));
    assert!(closed_with(&backend.closed().await, 1000, "done"));
    assert_eq!(second.record().await.text("client_ip"), "127.0.0.79");

    // Over its own unix socket nobody knows the client.
    let stream = tokio::net::UnixStream::connect(&front).await.expect("a connection");
    let mut client = Handshake::to(first.address()).open_over(stream).await;
    let opened = backend.opened().await;
    assert_eq!(opened["headers"]["x-forwarded-for"], Value::Null, "{opened}");
    client.send(Frame::close(4001, "bye")).await;
    assert_eq!(client.close().await.code, Some(4001));
    assert!(closed_with(&backend.closed().await, 4001, "bye"));
    // Taken by a live listener, the path is not stolen.
    assert!(UnixListener::bind(&front).is_err());
}
