//! What endpoints say of their own capacity, and what the operator is told of it.

use std::net::Ipv4Addr;
use std::time::Duration;

use harness::raw::{Close, pair};
use harness::{Frame, Handshake, Peer, Runtime, Setup, Tidegate, Upstream, clock, eventually};
use serde_json::{Value, json};

use crate::session::{assert_ours, exchange};

async fn proxy(upstream: &Upstream, keys: &str) -> Tidegate {
    let config = format!(
        "[[route]]\nname = \"main\"\nupstream = \"backend\"\n\n[upstream.backend]\nservers = [\"{}\"]\n{keys}\n\n\
         [defaults]\nqueue_timeout = \"200ms\"\n",
        upstream.address()
    );
    Setup::new(config).start().await
}

/// A session whose 101 has this field. The client must not see it.
async fn announcing(gate: &Tidegate, upstream: &Upstream, field: (&str, &str)) -> (Peer, Peer) {
    let handshake = Handshake::to(gate.address());
    let ((client, response), server) = tokio::join!(handshake.open_with_response(), async {
        upstream.arrival().await.upgrade(&[field, ("X-Other", "stays")]).await
    });
    assert_eq!((response.header(field.0), response.header("X-Other")), (None, Some("stays")));
    (client, server)
}

async fn governor(gate: &Tidegate) -> Value {
    let answer = gate.ask("/governor").await;
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("application/json")));
    let whole: Value = serde_json::from_slice(&answer.body).expect("JSON");
    whole["upstreams"]["backend"].clone()
}

async fn announcements(gate: &Tidegate, result: &str) -> f64 {
    gate.metrics().await.sum("tidegate_capacity_announcements_total", &[("result", result)])
}

#[tokio::test]
async fn a_server_that_announces_how_many_it_holds_gets_no_more() {
    let upstream = Upstream::bind().await;
    let gate = proxy(&upstream, "").await;
    let (mut client, mut server) = announcing(&gate, &upstream, ("Tidegate-Capacity", "sessions=1")).await;

    let mut refused = Handshake::to(gate.address()).open().await;
    let close = refused.close().await;
    assert_ours(&close, 1013, "upstream-full");
    exchange(&mut client, &mut server).await;

    let seen = governor(&gate).await;
    let endpoint = &seen["endpoints"][0];
    assert_eq!(endpoint["address"], upstream.address().to_string());
    let sessions = &endpoint["sessions"];
    assert_eq!(
        (&sessions["used"], &sessions["limit"], &sessions["source"]),
        (&1.into(), &1.into(), &"announced".into())
    );
    assert_eq!(seen["refuses"], "sessions: 1 held, 1 possible (announced)");
    assert_eq!((&seen["mode"], &seen["refused"]["upstream_full"]), (&"enforce".into(), &1.into()));
    let advised = &seen["replicas_advised"];
    let (replicas, reason) = (advised["replicas"].as_u64().expect("a number"), advised["reason"].as_str());
    assert!(replicas > 1 && reason.is_some_and(|why| why.starts_with("sessions: 1 held, 1 possible")), "{advised}");

    let metrics = gate.metrics().await;
    let of = |labels: &[(&str, &str)], name: &str| metrics.sum(name, labels);
    assert_eq!(of(&[("source", "announced")], "tidegate_governor_limit"), 1.0);
    assert_eq!(of(&[], "tidegate_replicas_advised"), replicas as f64);
    assert_eq!(of(&[("upstream", "backend")], "tidegate_governor_hint_seconds_count"), 1.0);
    assert_eq!(of(&[], "tidegate_governor_handshakes_in_flight"), 0.0);
}

#[tokio::test]
async fn a_101_without_an_announcement_takes_the_one_before_back() {
    let upstream = Upstream::bind().await;
    let gate = proxy(&upstream, "").await;
    let _first = announcing(&gate, &upstream, ("Tidegate-Capacity", "sessions=2")).await;
    assert_eq!(governor(&gate).await["endpoints"][0]["sessions"]["limit"], 2);
    let _second = pair(gate.address(), &upstream).await;
    assert_eq!(governor(&gate).await["endpoints"][0]["sessions"]["limit"], Value::Null);
    let _third = pair(gate.address(), &upstream).await;
    assert_eq!(governor(&gate).await["sessions"]["used"], 3);
}

#[tokio::test]
async fn a_load_report_tells_how_many_a_server_holds() {
    for (name, value) in [
        ("Endpoint-Load-Metrics", "TEXT cpu_utilization=0.2, application_utilization=1.0"),
        ("Endpoint-Load-Metrics", "JSON {\"application_utilization\": 1.0}"),
        ("Endpoint-Load-Metrics-Json", "{\"applicationUtilization\": 1.0}"),
    ] {
        let upstream = Upstream::bind().await;
        let gate = proxy(&upstream, "").await;
        let _session = announcing(&gate, &upstream, (name, value)).await;
        let sessions = &governor(&gate).await["endpoints"][0]["sessions"];
        assert_eq!((&sessions["limit"], &sessions["source"]), (&16.into(), &"announced".into()), "{value}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_and_what_is_switched_off_is_not_heeded() {
    let upstream = Upstream::bind().await;
    let gate = proxy(&upstream, "").await;
    let _session = announcing(&gate, &upstream, ("Tidegate-Capacity", "sessions=lots")).await;
    assert_eq!((announcements(&gate, "malformed").await, announcements(&gate, "ok").await), (1.0, 0.0));
    assert_eq!(governor(&gate).await["endpoints"][0]["sessions"]["source"], "unlimited");

    let gate = proxy(&upstream, "announced_capacity = false").await;
    let _session = announcing(&gate, &upstream, ("Tidegate-Capacity", "sessions=1")).await;
    let _another = announcing(&gate, &upstream, ("Tidegate-Capacity", "sessions=lots")).await;
    assert_eq!((announcements(&gate, "malformed").await, announcements(&gate, "ok").await), (0.0, 0.0));
}

#[tokio::test]
async fn what_the_operator_declares_outranks_what_a_server_announces() {
    let upstream = Upstream::bind().await;
    let gate = proxy(&upstream, "max_sessions_per_server = 3").await;
    let _session = announcing(&gate, &upstream, ("Tidegate-Capacity", "sessions=1")).await;
    let _second = pair(gate.address(), &upstream).await;
    let sessions = &governor(&gate).await["endpoints"][0]["sessions"];
    assert_eq!((&sessions["limit"], &sessions["source"]), (&3.into(), &"declared".into()));
}

/// One client after the other, each from an address of its own.
fn address(client: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 1, 0)) + client)
}

#[tokio::test]
async fn a_server_that_ends_sessions_with_1013_shows_how_many_it_holds() {
    const HOLDS: u32 = 40;
    let Some(node) = Runtime::node() else { return };
    let backend = node.backend(&json!({ "max_sessions": HOLDS })).await;
    let gate = Setup::proxy_with_defaults(backend.address(), "queue_timeout = \"200ms\"").start().await;
    let handshake = Handshake::to(gate.address());
    let mut sessions = Vec::new();
    for client in 0..HOLDS {
        sessions.push(handshake.open_from(address(client)).await);
    }
    // Its own word, as long as it is not known to be about the number.
    let mut client = HOLDS;
    let ours = eventually("a refusal of tidegate's own", async || {
        client += 1;
        let close = handshake.open_from(address(client)).await.close().await;
        (close != Close::new(1013, "full")).then_some(close)
    })
    .await;
    assert_ours(&ours, 1013, "upstream-full");
    assert!(client > HOLDS + 3, "{client}");

    let limit = &governor(&gate).await["endpoints"][0]["sessions"];
    let learned = u64::from((HOLDS + 1) * 95 / 100);
    assert_eq!((&limit["limit"], &limit["source"]), (&learned.into(), &"learned".into()), "{limit}");
    let metrics = gate.metrics().await;
    assert_eq!(metrics.sum("tidegate_governor_limit", &[("source", "learned")]), learned as f64);
    let last = sessions.last_mut().expect("a session");
    last.send(Frame::text("still here")).await;
    assert_eq!(last.text().await, "still here");
}

#[tokio::test]
async fn a_client_that_its_application_sends_away_with_1013_again_and_again_shuts_out_nobody() {
    const MUCH_LONGER_THAN_IT_TAKES: Duration = Duration::from_secs(8);
    let Some(node) = Runtime::node() else { return };
    let backend = node.backend(&json!({})).await;
    // A machine that is busy with other things is not what its clients are to be refused for.
    let gate = Setup::new(format!(
        "[[route]]\nupstream = \"backend\"\n\n[upstream.backend]\nservers = [\"{}\"]\n\n[protection]\nlag = \"off\"\n",
        backend.address()
    ));
    let gate = gate.start().await;
    let handshake = Handshake::to(gate.address());
    let mut sessions = Vec::new();
    for client in 0..30 {
        sessions.push(handshake.open_from(address(client)).await);
    }
    let (begin, mut told) = (clock::now(), 0);
    while begin.elapsed() < MUCH_LONGER_THAN_IT_TAKES || told <= 100 {
        // Behind two addresses.
        let mut client = handshake.open_from(address(told % 2)).await;
        client.send(Frame::text("close 1013 slow down")).await;
        assert_eq!(client.close().await, Close::new(1013, "slow down"));
        client.answer_close(&Close::new(1013, "slow down")).await;
        told += 1;
    }
    let seen = governor(&gate).await;
    assert_eq!(seen["endpoints"][0]["sessions"]["source"], "unlimited", "{seen}");
}
