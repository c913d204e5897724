//! What goes through the sessions of an upstream is a resource of its own: above its limits nobody new comes in.

use std::net::SocketAddr;

use harness::raw::pair;
use harness::{Echo, Frame, Handshake, Metrics, Peer, Setup, Tidegate, Upstream};
use serde_json::{Value, json};

use crate::session::assert_ours;

async fn limited(server: SocketAddr, limit: &str) -> Tidegate {
    let config = format!(
        "[defaults]\nqueue_timeout = \"200ms\"\nclose_timeout = \"500ms\"\n\n\
         [[route]]\nname = \"main\"\nupstream = \"backend\"\n\n[upstream.backend]\nservers = [\"{server}\"]\n{limit}\n"
    );
    Setup::new(config).start().await
}

fn used(metrics: &Metrics, resource: &str) -> f64 {
    metrics.sum("tidegate_governor_traffic", &[("resource", resource)])
}

/// One that asks now is refused, and the operator is told why.
async fn refuses(gate: &Tidegate, resource: &str, why: &str) -> Value {
    let close = Handshake::to(gate.address()).open().await.close().await;
    assert_ours(&close, 1013, "overloaded");
    let whole: Value = serde_json::from_slice(&gate.ask("/governor").await.body).expect("JSON");
    let seen = &whole["upstreams"]["backend"];
    assert!(seen["refuses"].as_str().is_some_and(|refuses| refuses.starts_with(why)), "{seen}");
    let limit = &seen["traffic"][resource];
    assert!(limit["used"].as_u64() > limit["limit"].as_u64() && limit["source"] == "declared", "{seen}");
    assert_eq!(seen["traffic"].as_object().map(serde_json::Map::len), Some(3));
    limit["limit"].clone()
}

async fn echoes(client: &mut Peer, text: &str) {
    client.send(Frame::text(text)).await;
    assert_eq!(client.text().await, text);
}

#[tokio::test]
async fn above_a_rate_of_messages_or_bytes_nobody_new_comes_in_and_who_is_there_goes_on() {
    for (limit, resource, length, most) in [
        ("max_message_rate = \"50/s\"", "messages", 10, json!(50)),
        ("max_byte_rate = \"20KiB/s\"", "bytes", 4000, json!(20 << 10)),
    ] {
        let echo = Echo::start().await;
        let gate = limited(echo.address(), limit).await;
        let handshake = Handshake::to(gate.address());
        let (mut busy, mut quiet) = (handshake.open().await, handshake.open().await);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let text = "x".repeat(length);
        let talking = tokio::spawn(async move {
            let mut stopped = stopped;
            while stopped.try_recv().is_err() {
                echoes(&mut busy, &text).await;
            }
            busy
        });
        let bound = most.as_f64().expect("a number");
        let metrics = gate.metrics_where("much talk", |metrics| used(metrics, resource) > bound).await;
        let declared = [("resource", resource), ("source", "declared")];
        assert_eq!(metrics.sum("tidegate_governor_traffic_limit", &declared), bound);
        assert_eq!(refuses(&gate, resource, &format!("{resource}: ")).await, most);
        echoes(&mut quiet, "still here").await;

        stop.send(()).expect("a talker");
        let _busy = talking.await.expect("no failure");
        gate.metrics_where("less talk", |metrics| used(metrics, resource) < bound).await;
        echoes(&mut handshake.open().await, "in").await;
    }
}

#[tokio::test]
async fn while_too_much_is_held_for_those_who_do_not_read_nobody_new_comes_in() {
    let upstream = Upstream::bind().await;
    // When everything stands still, what is held is what the client's socket did not take: some part of a frame.
    let gate = limited(upstream.address(), "max_buffered_bytes = 1").await;
    let (idle, mut server) = pair(gate.address(), &upstream).await;
    let flooding = tokio::spawn(async move { server.flood().await });
    let held = |metrics: &Metrics| metrics.sum("tidegate_buffered_bytes", &[("direction", "upstream_to_client")]);
    gate.metrics_where("a stall", |metrics| used(metrics, "buffered_bytes") > 1.0 && held(metrics) > 1.0).await;
    assert_eq!(refuses(&gate, "buffered_bytes", "bytes buffered: ").await, json!(1));

    drop(idle);
    gate.metrics_where("an empty buffer", |metrics| held(metrics) == 0.0 && used(metrics, "buffered_bytes") == 0.0)
        .await;
    flooding.abort();
    let _in = pair(gate.address(), &upstream).await;
}
