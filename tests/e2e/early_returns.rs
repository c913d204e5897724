//! Addresses that come back at once, again and again, while there is no room.

use std::net::SocketAddr;

use harness::certificate::Certificate;
use harness::raw::pair;
use harness::{Handshake, Setup, Tidegate, Upstream, clock, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::session::{assert_ours, exchange};

const HEARD: &[u8] = b"HTTP/1.1 101";
const TURNED_AWAY: &[u8] = b"HTTP/1.1 503";
/// `internal_error` (RFC 8446 section 6).
const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 80];

/// A tidegate whose upstream takes one session, and that hears three connections a second of an address that is refused.
fn full_with_one(server: SocketAddr) -> Setup {
    Setup::new(format!(
        "[[route]]\nname = \"main\"\nupstream = \"backend\"\n\n\
         [upstream.backend]\nservers = [\"{server}\"]\nmax_sessions = 1\n\n\
         [defaults]\nqueue_timeout = \"200ms\"\n\n[protection]\nearly_returns = \"3/s\"\nlag = \"off\"\n"
    ))
}

/// How the answer to these bytes begins.
async fn answer(address: SocketAddr, bytes: Vec<u8>) -> Vec<u8> {
    let mut answer = Vec::with_capacity(64);
    // To be reset is an answer, too.
    if let Ok(mut stream) = TcpStream::connect(address).await {
        let _ = stream.write_all(&bytes).await;
        let _ = within("an answer", stream.read_buf(&mut answer)).await;
    }
    answer
}

/// How many of so many handshakes at once are heard, turned away and reset, behind these bytes.
async fn come(gate: &Tidegate, times: usize, start: &[u8]) -> [usize; 3] {
    let handshake = [start, &Handshake::to(gate.address()).encode()].concat();
    let mut all: JoinSet<_> = (0..times).map(|_| answer(gate.address(), handshake.clone())).collect();
    let mut counts = [0; 3];
    while let Some(answer) = all.join_next().await {
        let answer = answer.expect("no panic");
        let rung = [HEARD, TURNED_AWAY, b""].iter().position(|start| answer.starts_with(start)).expect("b\"\" fits");
        counts[rung] += 1;
    }
    counts
}

async fn turned_away(gate: &Tidegate, action: &str) -> f64 {
    gate.metrics().await.sum("tidegate_limit_hits_total", &[("limit", "early_returns"), ("action", action)])
}

#[tokio::test]
async fn who_comes_back_too_often_is_not_heard_and_then_not_answered_until_there_is_room() {
    let upstream = Upstream::bind().await;
    let gate = full_with_one(upstream.address()).start().await;
    let (client, mut server) = pair(gate.address(), &upstream).await;
    let handshake = Handshake::to(gate.address());
    assert_ours(&handshake.open().await.close().await, 1013, "overloaded");

    let begin = clock::now();
    let [heard, told, reset] = come(&gate, 200, b"").await;
    let seconds = begin.elapsed().as_secs() as usize + 2;
    assert!(heard <= 3 * seconds, "{heard} in {seconds} s");
    assert!(told > 0 && reset > 0, "{told} told, {reset} not");
    assert_eq!(turned_away(&gate, "drop").await + turned_away(&gate, "reset").await, 200.0 - heard as f64);
    assert!(turned_away(&gate, "reset").await > 0.0);
    assert_ours(&handshake.open_from([127, 0, 0, 2]).await.close().await, 1013, "overloaded");

    // Some are heard each second, so what comes when there is room comes in. From then on all are heard.
    drop(client);
    server.close().await;
    drop(server);
    let knock = async {
        loop {
            answer(gate.address(), handshake.encode()).await;
        }
    };
    tokio::select! {
        () = knock => {}
        _server = within("one that comes in", upstream.accept()) => {}
    }
    gate.metrics_where("room", |metrics| metrics.sum("tidegate_governor_in_use", &[]) == 0.0).await;
    let (mut client, mut server) = pair(gate.address(), &upstream).await;
    exchange(&mut client, &mut server).await;
    assert_eq!(come(&gate, 20, b"").await, [20, 0, 0]);
}

#[tokio::test]
async fn it_is_an_alert_where_tls_is_spoken_before_any_of_it() {
    let (certificate, upstream) = (Certificate::new(), Upstream::bind().await);
    let gate = full_with_one(upstream.address()).tls(&certificate).start().await;
    let handshake = Handshake::to(gate.address());
    let (_client, _server) = tokio::join!(handshake.open_tls(&certificate), upstream.accept());
    let mut refused = handshake.open_tls(&certificate).await;
    assert_ours(&refused.close().await, 1013, "overloaded");
    // Those that are heard are waited for to begin; the fourth of a second is not.
    let mut waiting = JoinSet::new();
    for _ in 0..12 {
        waiting.spawn(answer(gate.address(), Vec::new()));
    }
    let first = within("an alert", waiting.join_next()).await.expect("one of twelve").expect("no panic");
    assert_eq!(first, ALERT);
}

#[tokio::test]
async fn behind_a_proxy_those_count_whom_it_speaks_for() {
    let upstream = Upstream::bind().await;
    let keys = "trusted_proxies = [\"127.0.0.0/8\"]\nproxy_protocol = \"v1v2\"";
    let gate = full_with_one(upstream.address()).listener(keys).start().await;
    let start = |host: u8| format!("PROXY TCP4 198.51.100.{host} 203.0.113.1 4711 443\r\n").into_bytes();
    let connect = async || TcpStream::connect(gate.address()).await.expect("a connection");
    let mut stream = connect().await;
    stream.write_all(&start(1)).await.expect("room to send");
    let handshake = Handshake::to(gate.address());
    let (_client, _server) = tokio::join!(handshake.open_over(stream), upstream.accept());

    assert_eq!(come(&gate, 1, &start(7)).await, [1, 0, 0], "refused");
    let [_, told, _] = come(&gate, 20, &start(7)).await;
    assert!(told > 0);
    assert_eq!(come(&gate, 1, &start(8)).await, [1, 0, 0], "another client of the same proxy");
}

#[tokio::test]
async fn a_proxy_that_is_trusted_is_always_heard() {
    let upstream = Upstream::bind().await;
    let gate = full_with_one(upstream.address()).listener("trusted_proxies = [\"127.0.0.0/8\"]").start().await;
    let (_client, _server) = pair(gate.address(), &upstream).await;
    assert_ours(&Handshake::to(gate.address()).open().await.close().await, 1013, "overloaded");
    assert_eq!(come(&gate, 40, b"").await, [40, 0, 0]);
}
