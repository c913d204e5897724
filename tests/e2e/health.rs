//! Health checks: an endpoint that is down gets no new session.

use std::net::SocketAddr;

use harness::certificate::Certificate;
use harness::raw::Close;
use harness::{Backend, Frame, Handshake, Metrics, Peer, Runtime, Setup, Tidegate, http, ports::free_address};
use serde_json::{Value, json};

use crate::pools::pool;
use crate::session::assert_ours;

const QUICK: &str = "interval = \"100ms\", timeout = \"2s\", fall = 2, rise = 2";

async fn server(node: &Runtime, options: &Value) -> Backend {
    Backend::new(node.script("health-server", options)).await
}

/// Routes to these servers, which are asked as this table says.
async fn start(servers: &[SocketAddr], health: &str, defaults: &str) -> Tidegate {
    let config = format!("{}\n[defaults]\n{defaults}\n", pool(servers, &format!("health = {{ {health}, {QUICK} }}")));
    Setup::new(config).start().await
}

fn turned(metrics: &Metrics, to: &str) -> f64 {
    metrics.sum("tidegate_health_transitions_total", &[("to", to)])
}

fn checks(metrics: &Metrics, result: &str) -> f64 {
    metrics.sum("tidegate_health_checks_total", &[("result", result)])
}

async fn wait_for(gate: &Tidegate, to: &str, count: f64) -> Metrics {
    gate.metrics_where(to, |metrics| turned(metrics, to) >= count).await
}

async fn echoes(client: &mut Peer) {
    client.send(Frame::text("x")).await;
    assert_eq!(client.text().await, "x");
}

/// A session from beginning to end.
async fn visit(gate: &Tidegate) {
    let mut client = Handshake::to(gate.address()).open().await;
    echoes(&mut client).await;
    client.send(Frame::close(1000, "")).await;
    assert_eq!(client.close().await, Close::new(1000, ""));
}

#[tokio::test]
async fn a_server_that_stops_answering_pings_gets_no_new_session_until_it_does_again() {
    let Some(node) = Runtime::node() else { return };
    let (mut sick, mut well) = (server(&node, &json!({})).await, server(&node, &json!({})).await);
    let health = "kind = \"websocket\", path = \"/up?a=b\", host = \"chat.example\", subprotocol = \"chat\"";
    let gate = start(&[sick.address(), well.address()], health, "keepalive_interval = \"off\"").await;
    let check = sick.event("check").await;
    assert_eq!((&check["path"], &check["host"]), (&json!("/up?a=b"), &json!("chat.example")));
    assert_eq!(check["protocol"], "chat");
    let checked = sick.event("checked").await;
    assert_eq!((&checked["code"], &checked["reason"]), (&json!(1000), &json!("health check")));

    let mut held = [Handshake::to(gate.address()).open().await, Handshake::to(gate.address()).open().await];
    sick.event("open").await;
    well.event("open").await;
    sick.tell(&json!({ "mute": true })).await;
    let metrics = wait_for(&gate, "down", 1.0).await;
    assert!(checks(&metrics, "upstream_timeout") >= 2.0 && checks(&metrics, "ok") >= 1.0);
    assert_eq!(metrics.sum("tidegate_upstream_endpoints", &[("state", "unhealthy")]), 1.0);
    sick.events();
    for _ in 0..6 {
        visit(&gate).await;
    }
    assert!(sick.events().iter().all(|event| event["event"] != "open"), "a new session on a server that is down");
    for client in &mut held {
        echoes(client).await;
    }
    let port = sick.address().port().to_string();
    let log = gate.output();
    let line = log.lines().find(|line| line.contains("endpoint is down")).expect("a line in the log");
    assert!(line.contains(&port) && line.contains("WARN") && line.contains("upstream_timeout"), "{line}");

    sick.tell(&json!({ "mute": false })).await;
    wait_for(&gate, "up", 1.0).await;
    let _first = Handshake::to(gate.address()).open().await;
    let _second = Handshake::to(gate.address()).open().await;
    sick.event("open").await;
}

#[tokio::test]
async fn sessions_of_a_server_that_is_down_leave_if_they_are_to() {
    let Some(node) = Runtime::node() else { return };
    let mut sick = server(&node, &json!({})).await;
    let health = "kind = \"websocket\", on_down = \"close\"";
    let gate = start(&[sick.address()], health, "spread = \"0s\"").await;
    let mut client = Handshake::to(gate.address()).open().await;
    echoes(&mut client).await;
    sick.tell(&json!({ "mute": true })).await;
    let close = client.close().await;
    assert_ours(&close, 1012, "upstream-unhealthy");
    client.answer_close(&close).await;
    assert_eq!(sick.closed().await["code"], 1001);
    wait_for(&gate, "down", 1.0).await;
}

#[tokio::test]
async fn when_all_are_down_clients_are_told_to_come_back() {
    let Some(node) = Runtime::node() else { return };
    let mut sick = server(&node, &json!({})).await;
    let health = "kind = \"http\", path = \"/healthz\", status = \"200-204\"";
    let gate = start(&[sick.address()], health, "queue_timeout = \"300ms\"").await;
    visit(&gate).await;
    sick.tell(&json!({ "status": 302 })).await;
    let metrics = wait_for(&gate, "down", 1.0).await;
    assert!(checks(&metrics, "upstream_status") >= 2.0);
    let mut refused = Handshake::to(gate.address()).open().await;
    let close = refused.close().await;
    assert_ours(&close, 1013, "no-upstream");
    refused.answer_close(&close).await;
    let engine_io = Handshake::to(gate.address()).path("/?EIO=4").refusal().await;
    assert_eq!((engine_io.status, engine_io.header("Retry-After").is_some()), (503, true));
    assert_eq!(http::get(gate.address(), "/").await.status, 503, "a plain request, too");
    sick.tell(&json!({ "status": 204 })).await;
    wait_for(&gate, "up", 1.0).await;
    visit(&gate).await;
}

#[tokio::test]
async fn a_client_that_waits_goes_in_when_its_server_is_up() {
    let Some(node) = Runtime::node() else { return };
    let address = free_address();
    let gate = start(&[address], "kind = \"tcp\"", "queue_timeout = \"20s\"").await;
    wait_for(&gate, "down", 1.0).await;
    let handshake = Handshake::to(gate.address());
    let waiting = tokio::spawn(async move { handshake.open().await });
    gate.metrics_where("a client that waits", |metrics| metrics.waiting() == 1.0).await;
    let _server = server(&node, &json!({ "port": address.port() })).await;
    let mut client = waiting.await.expect("a session");
    echoes(&mut client).await;
    assert_eq!(turned(&gate.metrics().await, "up"), 1.0);
}

#[tokio::test]
async fn checks_speak_tls_where_sessions_do() {
    let Some(node) = Runtime::node() else { return };
    let (certificate, stranger) = (Certificate::new(), Certificate::new());
    let files = json!({ "certificate": certificate.certificate_file(), "key": certificate.key_file() });
    let mut backend = server(&node, &files).await;
    let port = backend.address().port();
    let config = |ca: &Certificate| {
        let keys = format!(
            "tls = {{ ca = \"{}\" }}\nhealth = {{ kind = \"websocket\", {QUICK} }}",
            ca.certificate_file().display()
        );
        pool(&[backend.address()], &keys).replace(&backend.address().to_string(), &format!("localhost:{port}"))
    };
    let (trusting, distrusting) = (config(&certificate), config(&stranger));
    let gate = Setup::new(trusting.clone()).start().await;
    assert_eq!(backend.event("checked").await["code"], 1000);
    visit(&gate).await;
    assert!(gate.reload(&distrusting).await);
    let metrics = wait_for(&gate, "down", 1.0).await;
    assert!(checks(&metrics, "upstream_tls") >= 2.0);
    // A reload may also mend it, or have nobody asked any more.
    assert!(gate.reload(&trusting).await);
    wait_for(&gate, "up", 1.0).await;
    visit(&gate).await;
    assert!(gate.reload(&distrusting).await);
    wait_for(&gate, "down", 2.0).await;
    let unasked = trusting.lines().filter(|line| !line.starts_with("health")).collect::<Vec<_>>().join("\n");
    assert!(gate.reload(&unasked).await);
    visit(&gate).await;
}
