//! What one endpoint says in its Close, the other hears.

use harness::Frame;
use harness::raw::Close;

use crate::session::{Session, assert_record};

/// What an endpoint may say: RFC 6455, and what IANA registered since.
fn lawful_closes() -> Vec<Close> {
    let codes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
    let longest = "ü".repeat(61) + "!";
    let mut closes: Vec<_> = codes.map(|code| Close::new(code, "")).into();
    closes.extend([
        Close::empty(),
        Close::new(1000, "done"),
        Close::new(1011, "boom"),
        Close::new(1012, "restarting; retry-after=4"),
        Close::new(4001, "{\"why\":\"bye\"}"),
        Close::new(4002, &longest),
    ]);
    closes
}

#[tokio::test]
async fn client_closes_then_upstream_hears_it_and_its_answer_comes_back() {
    let mut stage = Session::open().await;
    for close in lawful_closes() {
        let (mut client, mut server) = harness::raw::pair(stage.gate.address(), &stage.upstream).await;
        client.send(close.to_frame()).await;
        assert_eq!(server.close().await, close);
        server.answer_close(&close).await;
        assert_eq!(client.close().await, close);
        client.finish().await;
    }
    stage.exchange().await;
}

#[tokio::test]
async fn upstream_closes_then_client_hears_it_and_its_answer_comes_back() {
    let mut stage = Session::open().await;
    for close in lawful_closes() {
        let (mut client, mut server) = harness::raw::pair(stage.gate.address(), &stage.upstream).await;
        server.send(close.to_frame()).await;
        assert_eq!(client.close().await, close);
        client.answer_close(&close).await;
        assert_eq!(server.close().await, close);
        server.finish().await;
    }
    stage.exchange().await;
}

#[tokio::test]
async fn an_answer_with_another_code_is_the_answer() {
    let Session { gate, mut client, mut server, .. } = Session::open().await;
    client.send(Frame::close(4001, "mine")).await;
    assert_eq!(server.close().await, Close::new(4001, "mine"));
    server.answer_close(&Close::new(1000, "")).await;
    assert_eq!(client.close().await, Close::new(1000, ""));
    client.finish().await;
    let client_leg = "sent 1000, received 4001, clean";
    let record = gate.record().await;
    assert!(record.flag("reply_differs") && !record.flag("crossed"), "{}", record.line());
    assert!(record.number("ack_ms") < 5000.0, "{}", record.line());
    assert_record(&record, "agreed", "client", "client-close", client_leg, "sent 4001, received 1000, clean");
}

#[tokio::test]
async fn closes_that_cross_are_each_others_answer() {
    let Session { gate, mut client, mut server, .. } = Session::open().await;
    // Both are written before either is read.
    client.send(Frame::close(4001, "client")).await;
    server.send(Frame::close(4002, "server")).await;
    assert_eq!(server.close().await, Close::new(4001, "client"));
    assert_eq!(client.close().await, Close::new(4002, "server"));
    tokio::join!(client.finish(), server.finish());
    assert_eq!(gate.record().await.verdict(), "agreed");
}

#[tokio::test]
async fn everything_sent_before_a_close_arrives_before_it() {
    const MESSAGES: usize = 2000;
    let Session { gate: _gate, mut client, mut server, .. } = Session::open().await;
    let mut burst: Vec<u8> = (0..MESSAGES).flat_map(|n| Frame::text(&n.to_string()).encode(None)).collect();
    burst.extend(Frame::close(4003, "that was all").encode(None));
    server.send_bytes(&burst).await;
    for n in 0..MESSAGES {
        assert_eq!(client.text().await, n.to_string());
    }
    assert_eq!(client.close().await, Close::new(4003, "that was all"));
}

#[tokio::test]
async fn a_close_survives_a_peer_that_keeps_sending() {
    let Session { gate: _gate, mut client, mut server, .. } = Session::open().await;
    server.send(Frame::close(4004, "stop")).await;
    // What a client still sends must not become a reset that destroys the Close on its way.
    for _ in 0..64 {
        client.send(Frame::binary(vec![0; 16 * 1024])).await;
    }
    assert_eq!(client.close().await, Close::new(4004, "stop"));
    client.answer_close(&Close::new(4004, "stop")).await;
    assert_eq!(server.close_after_data().await, Close::new(4004, "stop"));
}

#[tokio::test]
async fn frames_behind_a_close_go_nowhere() {
    let Session { gate, mut client, mut server, .. } = Session::open().await;
    let mut bytes = Frame::close(1000, "").encode(Some([1, 2, 3, 4]));
    bytes.extend(Frame::text("too late").encode(Some([1, 2, 3, 4])));
    bytes.extend(Frame::close(4000, "again").encode(Some([1, 2, 3, 4])));
    client.send_bytes(&bytes).await;
    assert_eq!(server.close().await, Close::new(1000, ""));
    server.answer_close(&Close::new(1000, "")).await;
    assert_eq!(client.close().await, Close::new(1000, ""));
    client.finish().await;
    let record = gate.record().await;
    assert_eq!((record.verdict(), record.flag("reply_differs")), ("agreed", false));
    assert!(record.line().contains("\"after_close\":27"), "a text of 14 bytes, a Close of 13: {}", record.line());
}
