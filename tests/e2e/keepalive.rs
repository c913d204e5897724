//! Endings that time brings: silence, idleness, age.

use std::time::Duration;

use harness::raw::{Close, opcode};
use harness::{Frame, Peer};

use crate::session::{Session, assert_ours, hint};

const KEEPALIVE: &str = "keepalive_interval = \"200ms\"\nkeepalive_timeout = \"300ms\"";

/// Answers pings until a Close comes.
async fn close_of_a_living_peer(peer: &mut Peer) -> Close {
    loop {
        let frame = peer.frame().await;
        match frame.opcode {
            opcode::PING => peer.send(Frame::new(opcode::PONG, frame.payload)).await,
            opcode::CLOSE => return Close::from(&frame),
            _ => panic!("wanted pings and a Close, got {frame:?}"),
        }
    }
}

#[tokio::test]
async fn upstream_gives_no_sign_of_life_then_client_gets_1014() {
    let Session { gate, mut client, server, .. } = Session::open_with(KEEPALIVE).await;
    let close = close_of_a_living_peer(&mut client).await;
    assert_ours(&close, 1014, "upstream-timeout");
    hint(&close);
    client.answer_close(&close).await;
    drop(server);
    let record = gate.record().await;
    assert_eq!((record.verdict(), record.cause()), ("upstream-lost", "upstream-timeout"));
}

#[tokio::test]
async fn client_gives_no_sign_of_life_then_upstream_gets_1011() {
    let Session { gate, client, mut server, .. } = Session::open_with(KEEPALIVE).await;
    let close = close_of_a_living_peer(&mut server).await;
    assert_ours(&close, 1011, "client-lost");
    drop(client);
    server.answer_close(&close).await;
    assert_eq!(gate.record().await.verdict(), "client-lost");
}

/// Answers some pings of tidegate's.
async fn answer_pings(peer: &mut Peer) {
    for _ in 0..5 {
        let ping = peer.frame().await;
        assert_eq!((ping.opcode, ping.payload.len()), (opcode::PING, 8), "a ping of tidegate's own has a nonce");
        peer.send(Frame::new(opcode::PONG, ping.payload)).await;
    }
}

#[tokio::test]
async fn peers_that_answer_pings_stay() {
    let keepalive = "keepalive_interval = \"100ms\"\nkeepalive_timeout = \"5s\"";
    let Session { gate, mut client, mut server, .. } = Session::open_with(keepalive).await;
    tokio::join!(answer_pings(&mut client), answer_pings(&mut server));
    // A pong that answers tidegate's ping is not passed on.
    client.send(Frame::text("still here")).await;
    loop {
        let frame = server.frame().await;
        assert_ne!(frame.opcode, opcode::PONG, "a pong that was tidegate's to consume");
        if frame == Frame::text("still here") {
            break;
        }
    }
    assert_eq!(gate.metrics().await.open(), 1.0);
}

#[tokio::test]
async fn peers_that_answered_while_tidegate_had_no_time_stay() {
    let keepalive = "keepalive_interval = \"200ms\"\nkeepalive_timeout = \"2s\"";
    let Session { gate, mut client, mut server, .. } = Session::open_with(keepalive).await;
    let (of_client, of_server) = tokio::join!(client.frame(), server.frame());
    assert_eq!((of_client.opcode, of_server.opcode), (opcode::PING, opcode::PING));
    gate.stopped_for(Duration::from_millis(2500), async {
        client.send(Frame::new(opcode::PONG, of_client.payload)).await;
        server.send(Frame::new(opcode::PONG, of_server.payload)).await;
    })
    .await;
    tokio::join!(answer_pings(&mut client), answer_pings(&mut server));
    assert_eq!(gate.metrics().await.open(), 1.0);
}

#[tokio::test]
async fn idle_session_ends_with_1001_on_both_sides() {
    let Session { gate, mut client, mut server, .. } = Session::open_with("idle_timeout = \"300ms\"").await;
    let close = client.close().await;
    assert_ours(&close, 1001, "idle-timeout");
    client.answer_close(&close).await;
    let close = server.close().await;
    assert_ours(&close, 1001, "idle-timeout");
    server.answer_close(&close).await;
    let record = gate.record().await;
    assert_eq!((record.verdict(), record.closed_by(), record.cause()), ("enforced", "proxy", "idle-timeout"));
}

#[tokio::test]
async fn old_session_ends_with_1012_and_a_hint() {
    let Session { gate, mut client, mut server, .. } = Session::open_with("max_lifetime = \"500ms\"").await;
    let close = client.close().await;
    assert_ours(&close, 1012, "max-age");
    hint(&close);
    client.answer_close(&close).await;
    let close = server.close().await;
    assert_ours(&close, 1001, "max-age");
    server.answer_close(&close).await;
    assert_eq!(gate.record().await.verdict(), "enforced");
}

#[tokio::test]
async fn a_client_that_takes_nothing_ends_as_a_slow_consumer() {
    let Session { gate, client, mut server, .. } = Session::open_with("write_timeout = \"500ms\"").await;
    let (record, ()) = tokio::join!(gate.record(), server.flood());
    assert_eq!(record.cause(), "slow-consumer");
    drop(client);
}

#[tokio::test]
async fn an_upstream_that_takes_nothing_ends_the_session_as_slow() {
    let Session { gate, mut client, server, .. } = Session::open_with("write_timeout = \"500ms\"").await;
    let (record, ()) = tokio::join!(gate.record(), client.flood());
    assert_eq!(record.cause(), "upstream-slow");
    assert!(record.leg("client").starts_with("sent 1013, "), "{}", record.line());
    assert_eq!(gate.metrics().await.sum("tidegate_write_stalls_total", &[("side", "upstream")]), 1.0);
    drop(server);
}
