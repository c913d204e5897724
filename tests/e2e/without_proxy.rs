//! The harness itself, with no proxy between its peers: what fails here is not tidegate's fault.

use harness::browser::Kind;
use harness::certificate::Certificate;
use harness::raw::{Close, Ending, pair};
use harness::script::closed_with;
use harness::{Echo, Frame, Handshake, Runtime, Upstream};
use serde_json::json;

#[tokio::test]
async fn raw_peers_understand_each_other() {
    let upstream = Upstream::bind().await;
    let (mut client, mut server) = pair(upstream.address(), &upstream).await;
    client.send(Frame::text("Grüße")).await;
    assert_eq!(server.text().await, "Grüße");
    tokio::join!(client.exchange_pattern(1 << 22), server.exchange_pattern(1 << 22));
    client.send(Frame::close(4001, "bye")).await;
    let close = server.close().await;
    assert_eq!(close, Close::new(4001, "bye"));
    server.send(close.to_frame()).await;
    server.hang_up().await;
    assert_eq!(client.close().await, close);
    assert_eq!(client.end().await, Ending::Fin);
}

#[tokio::test]
async fn a_reset_is_told_from_an_orderly_end() {
    let upstream = Upstream::bind().await;
    let (client, mut server) = pair(upstream.address(), &upstream).await;
    client.reset();
    assert_eq!(server.end().await, Ending::Reset);
}

#[tokio::test]
async fn raw_clients_understand_real_backends() {
    for runtime in Runtime::all() {
        let mut backend = runtime.backend(&json!({})).await;
        let mut client = Handshake::to(backend.address()).path("/x").open().await;
        assert_eq!(backend.opened().await["path"], "/x");
        client.send(Frame::text("Grüße")).await;
        assert_eq!(client.text().await, "Grüße");
        client.send(Frame::text("close 4001 bye")).await;
        let close = client.close().await;
        assert_eq!(close, Close::new(4001, "bye"));
        client.answer_close(&close).await;
        client.hang_up().await;
        assert!(closed_with(&backend.closed().await, 4001, "bye"));
    }
}

#[tokio::test]
async fn real_clients_understand_the_raw_echo() {
    let echo = Echo::start().await;
    for runtime in Runtime::all() {
        let messages = json!([{ "text": "Grüße" }, { "fragments": ["a", "b"] }, { "kind": "binary", "size": 1 << 20 }]);
        let url = format!("ws://{}/", echo.address());
        let closed = runtime.converse(&json!({ "url": url, "messages": messages, "close": [4001, "bye"] })).await;
        assert!(closed_with(&closed, 4001, "bye") && closed["echoed"] == 3, "{}: {closed}", runtime.name());
    }
}

#[tokio::test]
async fn browsers_understand_the_raw_echo() {
    for kind in [Kind::Chromium, Kind::Firefox] {
        let Some(mut browser) = kind.start().await else { continue };
        let echo = Echo::start().await;
        browser.open_socket("a", &format!("ws://{}/", echo.address())).await;
        browser.call_socket("a", "close", json!([3001, "bye"])).await;
        let closed = browser.socket_closed("a").await;
        assert!(closed_with(&closed, 3001, "bye") && closed["wasClean"] == true, "{}: {closed}", kind.name());
        let value = json!({ "a": [1, "b", null, true] });
        assert_eq!(browser.evaluate(&format!("Promise.resolve({value})")).await, value, "{}", kind.name());
    }
}

#[test]
fn certificates_can_be_made() {
    let certificate = Certificate::new();
    assert!(certificate.certificate_file().exists() && certificate.key_file().exists());
}
