//! WebSockets over HTTP/2 (RFC 8441), to every end: END_STREAM is a FIN, RST_STREAM a reset, GOAWAY a drain's word.

use harness::certificate::Certificate;
use harness::metrics::name;
use harness::raw::{Close, opcode};
use harness::{Frame, Http2, Peer, Setup, Tidegate, Upstream};
use serde_json::json;

use crate::session::{assert_ours, assert_record, hint};

/// A tidegate with TLS, an upstream in the test's hands, and a client's connection.
struct Stage {
    gate: Tidegate,
    certificate: Certificate,
    upstream: Upstream,
    client: Http2,
}

impl Stage {
    async fn set(defaults: &str) -> Option<Self> {
        Self::set_with(defaults, json!({})).await
    }

    async fn set_with(defaults: &str, options: serde_json::Value) -> Option<Self> {
        let (certificate, upstream) = (Certificate::new(), Upstream::bind().await);
        let gate = Setup::proxy_with_defaults(upstream.address(), defaults).tls(&certificate).start().await;
        let client = Http2::connect_with(&gate, &certificate, options).await?;
        Some(Self { gate, certificate, upstream, client })
    }

    async fn open(&mut self, name: &str) -> Peer {
        self.client.ask(name).await;
        let server = self.upstream.accept().await;
        self.client.opened(name).await;
        server
    }

    async fn exchange(&mut self, name: &str, server: &mut Peer) {
        self.client.send(name, "to the upstream").await;
        assert_eq!(server.text().await, "to the upstream");
        server.send(Frame::text("to the client")).await;
        assert_eq!(self.client.text(name).await, "to the client");
    }
}

#[tokio::test]
async fn closes_pass_both_ways_and_the_stream_ends_behind_them() {
    let Some(mut stage) = Stage::set("").await else { return };
    for (close, answer) in [
        (Close::new(1000, "done"), Close::new(1000, "done")),
        (Close::empty(), Close::empty()),
        (Close::new(4001, "mine"), Close::new(4002, "yours")),
    ] {
        let mut server = stage.open("client first").await;
        stage.exchange("client first", &mut server).await;
        stage.client.say("client first", &close).await;
        assert_eq!(server.close().await, close);
        server.answer_close(&answer).await;
        assert_eq!(stage.client.close("client first").await, answer);
        stage.client.ended("client first").await;
        stage.client.tell(json!({ "do": "end", "name": "client first" })).await;

        let mut server = stage.open("upstream first").await;
        server.send(Frame::text("last")).await;
        server.send(close.to_frame()).await;
        assert_eq!(stage.client.text("upstream first").await, "last");
        assert_eq!(stage.client.close("upstream first").await, close);
        stage.client.finish("upstream first", &answer).await;
        assert_eq!(server.close().await, answer);
        server.finish().await;
    }
    for record in stage.gate.wait_for_records(6).await {
        assert_eq!((record.verdict(), record.text("http_version")), ("agreed", "HTTP/2.0"), "{}", record.line());
        assert_eq!(record.number("status"), 200.0);
        let ends = ["client", "upstream"].map(|side| record.leg(side).ends_with(", clean"));
        assert_eq!(ends, [true, true], "{}", record.line());
    }
    let metrics = stage.gate.metrics().await;
    assert_eq!(metrics.sum(name::HANDSHAKES, &[("result", "accepted"), ("status", "200")]), 6.0);
    assert_eq!(metrics.sum("tidegate_client_connections_total", &[("http", "2")]), 1.0);
}

#[tokio::test]
async fn a_lost_upstream_is_told_to_its_client_alone() {
    let Some(mut stage) = Stage::set("").await else { return };
    let mut other = stage.open("other").await;
    for reset in [false, true] {
        let server = stage.open("main").await;
        match reset {
            true => server.reset(),
            false => server.hang_up().await,
        }
        let close = stage.client.close("main").await;
        assert_ours(&close, 1014, "upstream-lost");
        hint(&close);
        stage.client.finish("main", &close).await;
    }
    stage.exchange("other", &mut other).await;
}

#[tokio::test]
async fn a_stream_that_its_client_ends_or_resets_is_a_lost_client() {
    let Some(mut stage) = Stage::set("").await else { return };
    let mut other = stage.open("other").await;
    for (i, way) in ["end", "reset"].into_iter().enumerate() {
        let mut server = stage.open("main").await;
        stage.client.tell(json!({ "do": way, "name": "main" })).await;
        let close = server.close().await;
        assert_ours(&close, 1011, "client-lost");
        server.answer_close(&close).await;
        let records = stage.gate.wait_for_records(i + 1).await;
        let (client, upstream) = ("sent none, received none, lost", "sent 1011, received 1011, clean");
        assert_record(&records[i], "client-lost", "client", "client-lost", client, upstream);
    }
    // Our END_STREAM answers the client's; nothing answers a reset.
    stage.client.ended("main").await;
    stage.exchange("other", &mut other).await;
}

#[tokio::test]
async fn a_lost_connection_is_the_loss_of_all_its_clients() {
    for way in ["fin", "rst"] {
        let Some(mut stage) = Stage::set("").await else { return };
        let servers = [stage.open("one").await, stage.open("two").await];
        stage.client.tell(json!({ "do": way })).await;
        for mut server in servers {
            let close = server.close().await;
            assert_ours(&close, 1011, "client-lost");
            server.answer_close(&close).await;
        }
        for record in stage.gate.wait_for_records(2).await {
            assert_eq!(record.verdict(), "client-lost", "{}", record.line());
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_takes_its_upstreams_handshake_along() {
    let Some(mut stage) = Stage::set("").await else { return };
    stage.client.ask("main").await;
    let arrival = stage.upstream.arrival().await;
    stage.client.tell(json!({ "do": "reset", "name": "main" })).await;
    assert_eq!(arrival.rest_to_end().await, b"");
    assert_eq!(stage.gate.record().await.cause(), "client-gone");
}

#[tokio::test]
async fn what_a_client_sends_before_its_answer_arrives_behind_it() {
    let Some(mut stage) = Stage::set("").await else { return };
    stage.client.ask("main").await;
    stage.client.send("main", "early").await;
    let arrival = stage.upstream.arrival().await;
    let mut server = arrival.upgrade(&[]).await;
    stage.client.opened("main").await;
    assert_eq!(server.text().await, "early");
}

#[tokio::test]
async fn a_drain_says_goaway_and_1012_to_every_stream() {
    let Some(mut stage) = Stage::set("[drain]\nwindow = \"3s\"").await else { return };
    let names = ["one", "two", "three"];
    let mut servers = Vec::new();
    for name in names {
        servers.push(stage.open(name).await);
    }
    stage.gate.terminate();
    assert_eq!(stage.client.event("goaway").await["code"], "NO_ERROR");
    let mut late = Http2::connect(&stage.gate, &stage.certificate).await.expect("Python is there");
    // As RFC 8441 section 3 has it, which leaves time for a GOAWAY to come first.
    late.event("settings").await;
    let refused = late.answer(json!({ "do": "websocket", "name": "late" })).await;
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    for name in names {
        let close = stage.client.close(name).await;
        assert_ours(&close, 1012, "restarting");
        hint(&close);
        stage.client.finish(name, &close).await;
    }
    for mut server in servers {
        let close = server.close().await;
        assert_ours(&close, 1001, "restarting");
        server.answer_close(&close).await;
    }
    assert_eq!(stage.client.event("lost").await["how"], "fin");
    assert_eq!(stage.gate.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_one_stream_holds_up_no_other() {
    let Some(mut stage) = Stage::set_with("write_timeout = \"2s\"", json!({ "window": 65_536 })).await else { return };
    let mut other = stage.open("other").await;
    let mut server = stage.open("main").await;
    stage.client.tell(json!({ "do": "hold", "name": "main" })).await;
    let before = stage.gate.peak_memory();
    let flood = tokio::spawn(async move {
        server.flood().await;
        server
    });
    for _ in 0..20 {
        stage.exchange("other", &mut other).await;
    }
    // Its Close cannot be said: the stream is reset, and nothing else.
    assert_eq!(stage.client.on("main", "reset").await["code"], "CANCEL");
    flood.await.expect("the flood's end");
    let record = stage.gate.record().await;
    assert_eq!((record.verdict(), record.cause()), ("unclosable", "slow-consumer"), "{}", record.line());
    assert!(stage.gate.peak_memory() - before < 8 << 20, "nothing piles up");
    stage.exchange("other", &mut other).await;
}

#[tokio::test]
async fn an_upstream_that_takes_nothing_holds_up_no_other_stream() {
    const MIB: usize = 1 << 20;
    let Some(mut stage) = Stage::set("write_timeout = \"60s\"").await else { return };
    let mut other = stage.open("other").await;
    let mut server = stage.open("main").await;
    let before = stage.gate.peak_memory();
    stage.client.tell(json!({ "do": "bulk", "name": "main", "size": MIB, "count": 32 })).await;
    for _ in 0..20 {
        stage.exchange("other", &mut other).await;
    }
    assert!(stage.gate.peak_memory() - before < 8 * MIB as u64, "what the upstream does not take is not fetched");
    // All of it comes, once it is wanted.
    for _ in 0..32 {
        assert_eq!(server.message().await.payload.len(), MIB);
    }
    stage.client.on("main", "sent").await;
}

#[tokio::test]
async fn a_ping_is_the_clients_to_answer() {
    let Some(mut stage) = Stage::set("").await else { return };
    let mut server = stage.open("main").await;
    server.send(Frame::new(opcode::PING, "beat")).await;
    assert_eq!(server.frame().await, Frame::new(opcode::PONG, "beat"));
}
