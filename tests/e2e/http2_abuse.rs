//! HTTP/2 as nobody needs it. Each kind ends its own connection and costs no memory; others go on.

use harness::certificate::Certificate;
use harness::metrics::name;
use harness::{Echo, Http2, Setup, Tidegate, Upstream};
use serde_json::json;

async fn stage(keys: &str) -> (Tidegate, Certificate, Echo) {
    let (certificate, echo) = (Certificate::new(), Echo::start().await);
    let setup = Setup::proxy_with_defaults(echo.address(), "websocket_only = true");
    let gate = setup.tls(&certificate).listener(keys).start().await;
    (gate, certificate, echo)
}

#[tokio::test]
async fn floods_end_in_goaway_and_not_in_memory() {
    const MOST_GROWTH: u64 = 16 << 20;
    let (gate, certificate, _echo) = stage("").await;
    let Some(mut bystander) = Http2::connect(&gate, &certificate).await else { return };
    bystander.ask("main").await;
    bystander.opened("main").await;
    let before = gate.peak_memory();
    for (kind, count, limit) in [
        ("ping", 200_000, "http2_overhead"),
        ("settings", 200_000, "http2_overhead"),
        ("priority", 200_000, "http2_overhead"),
        ("window", 200_000, "http2_overhead"),
        ("empty-data", 200_000, "http2_flood"),
        ("continuation", 200_000, "http2_flood"),
        ("reset", 20_000, "http2_flood"),
        // A large field in the table, and streams of nothing but references to it.
        ("hpack", 90, "http2_flood"),
    ] {
        let mut client = Http2::connect(&gate, &certificate).await.expect("Python is there");
        if kind == "empty-data" {
            client.ask("main").await;
            client.opened("main").await;
        }
        client.tell(json!({ "do": "flood", "kind": kind, "count": count })).await;
        assert_eq!(client.event("goaway").await["code"], "ENHANCE_YOUR_CALM", "{kind}");
        client.event("lost").await;
        let hits = [("limit", limit), ("action", "goaway")];
        gate.metrics_where(kind, |metrics| metrics.sum(name::LIMIT_HITS, &hits) > 0.0).await;
        bystander.send("main", kind).await;
        assert_eq!(bystander.text("main").await, kind);
    }
    let grown = gate.peak_memory() - before;
    assert!(grown < MOST_GROWTH, "{grown} bytes more");
}

#[tokio::test]
async fn a_client_is_told_how_many_streams_it_may_have() {
    let (gate, certificate, _echo) = stage("http2_max_streams = 2").await;
    let Some(mut client) = Http2::connect(&gate, &certificate).await else { return };
    assert_eq!(client.event("settings").await["streams"], 2);
    for name in ["one", "two"] {
        client.ask(name).await;
        client.opened(name).await;
    }
    let hits = [("limit", "http2_max_streams"), ("action", "wait")];
    assert_eq!(gate.metrics().await.sum(name::LIMIT_HITS, &hits), 1.0);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_and_kept_nowhere() {
    let (gate, certificate, _echo) = stage("").await;
    let Some(mut client) = Http2::connect(&gate, &certificate).await else { return };
    let before = gate.peak_memory();
    let big = json!([["x-big", "y".repeat(20_000)]]);
    let answer = client.answer(json!({ "do": "request", "name": "big", "headers": big })).await;
    assert_eq!(answer.status, 431, "{answer:?}");
    let many: Vec<_> = (0..120).map(|i| [format!("x-{i}"), String::new()]).collect();
    let answer = client.answer(json!({ "do": "request", "name": "many", "headers": many })).await;
    assert_eq!(answer.status, 431, "{answer:?}");
    // What is left of a block that nobody reads to its end is of no use for the next.
    let mut client = Http2::connect(&gate, &certificate).await.expect("Python is there");
    // One that has asked for something is not on the clock of a first request.
    let answer = client.answer(json!({ "do": "request", "name": "small", "headers": [] })).await;
    assert_eq!(answer.status, 426, "{answer:?}");
    client.tell(json!({ "do": "flood", "kind": "fields", "count": 2000 })).await;
    assert_eq!(client.event("goaway").await["code"], "COMPRESSION_ERROR");
    client.event("lost").await;
    let malformed = |metrics: &harness::Metrics| metrics.sum(name::HANDSHAKES, &[("reason", "malformed")]) == 1.0;
    gate.metrics_where("the malformed head", malformed).await;
    let grown = gate.peak_memory() - before;
    assert!(grown < 16 << 20, "{grown} bytes more");
}

#[tokio::test]
async fn a_connection_that_never_asks_is_not_kept() {
    let upstream = Upstream::bind().await;
    let certificate = Certificate::new();
    let gate = Setup::proxy_to(upstream.address()).tls(&certificate).start().await;
    let Some(mut client) = Http2::connect(&gate, &certificate).await else { return };
    assert_eq!(client.event("goaway").await["code"], "NO_ERROR");
    client.event("lost").await;
    assert_eq!(gate.record().await.cause(), "header_timeout");
}

#[tokio::test]
async fn requests_that_are_taken_back_one_after_the_other_are_no_use_either() {
    let (certificate, upstream) = (Certificate::new(), Upstream::bind().await);
    let gate = Setup::proxy_to(upstream.address()).tls(&certificate).start().await;
    let Some(mut client) = Http2::connect(&gate, &certificate).await else { return };
    for i in 0..101 {
        let name = i.to_string();
        client.ask(&name).await;
        let asked = upstream.arrival().await;
        client.tell(json!({ "do": "reset", "name": name })).await;
        assert_eq!(asked.rest_to_end().await, b"");
    }
    assert_eq!(client.event("goaway").await["code"], "ENHANCE_YOUR_CALM");
    let hits = [("limit", "http2_resets"), ("action", "goaway")];
    gate.metrics_where("the limit", |metrics| metrics.sum(name::LIMIT_HITS, &hits) == 1.0).await;
}
