//! One endpoint closes and the other never answers: 1000 is not invented for it.

use std::time::Duration;

use harness::raw::{Close, Ending};
use harness::{Frame, Peer, Tidegate};

use crate::session::{Session, assert_ours, assert_record};

const SHORT: &str = "close_timeout = \"500ms\"";

#[derive(Clone, Copy)]
enum Silence {
    Fin,
    Silent,
    Reset,
}

async fn keep_silent(peer: Peer, how: Silence) -> Option<Peer> {
    match how {
        Silence::Fin => peer.hang_up().await,
        Silence::Reset => peer.reset(),
        Silence::Silent => return Some(peer),
    }
    None
}

#[tokio::test]
async fn client_closes_and_upstream_does_not_answer_then_client_gets_1014() {
    let cases =
        [(Silence::Fin, "upstream-no-close"), (Silence::Silent, "upstream-silent"), (Silence::Reset, "upstream-lost")];
    for (how, cause) in cases {
        let Session { gate, mut client, mut server, .. } = Session::open_with(SHORT).await;
        client.send(Frame::close(1000, "done")).await;
        assert_eq!(server.close().await, Close::new(1000, "done"));
        let _kept = keep_silent(server, how).await;
        assert_ours(&client.close().await, 1014, cause);
        client.finish().await;
        let record = gate.record().await;
        assert_eq!((record.verdict(), record.closed_by(), record.cause()), ("relayed", "client", cause));
    }
}

#[tokio::test]
async fn upstream_closes_and_client_does_not_answer_then_upstream_gets_1011() {
    let cases =
        [(Silence::Fin, "client-no-close"), (Silence::Silent, "client-silent"), (Silence::Reset, "client-lost")];
    for (how, cause) in cases {
        let Session { gate, mut client, mut server, .. } = Session::open_with(SHORT).await;
        server.send(Frame::close(1000, "done")).await;
        assert_eq!(client.close().await, Close::new(1000, "done"));
        let _kept = keep_silent(client, how).await;
        let close = server.close().await;
        assert_ours(&close, 1011, cause);
        server.answer_close(&close).await;
        let record = gate.record().await;
        assert_eq!((record.verdict(), record.closed_by(), record.cause()), ("relayed", "upstream", cause));
    }
}

#[tokio::test]
async fn an_answer_that_came_in_time_counts_though_tidegate_had_no_time_to_read_it() {
    for by_client in [true, false] {
        let Session { gate, client, server, .. } = Session::open_with("close_timeout = \"2s\"").await;
        let (mut closer, mut other) = if by_client { (client, server) } else { (server, client) };
        closer.send(Frame::close(1000, "done")).await;
        assert_eq!(other.close().await, Close::new(1000, "done"));
        gate.stopped_for(Duration::from_millis(2500), other.send(Frame::close(4001, "read"))).await;
        assert_eq!(closer.close().await, Close::new(4001, "read"), "by the client: {by_client}");
        tokio::join!(closer.finish(), other.finish());
        assert_eq!(gate.record().await.verdict(), "agreed");
    }
}

#[tokio::test]
async fn a_route_may_echo_the_unanswered_close() {
    let defaults = format!("{SHORT}\nlate_reply = \"echo\"");
    let Session { gate, mut client, mut server, .. } = Session::open_with(&defaults).await;
    client.send(Frame::close(4001, "done")).await;
    assert_eq!(server.close().await, Close::new(4001, "done"));
    assert_eq!(client.close().await, Close::new(4001, "done"));
    client.finish().await;
    assert_record(
        &gate.record().await,
        "relayed",
        "client",
        "upstream-silent",
        "sent 4001, received 4001, clean",
        "sent 4001, received none, no-reply",
    );
}

#[tokio::test]
async fn a_client_that_does_not_answer_tidegate_is_not_waited_for() {
    let Session { gate, mut client, mut server, .. } = Session::open_with(IDLE).await;
    assert_ours(&client.close().await, 1001, "idle-timeout");
    let close = server.close().await;
    server.answer_close(&close).await;
    assert_eq!(client.end().await, Ending::Fin);
    drop(client);
    assert_unanswered(&gate, "client").await;
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_tidegate_is_not_waited_for() {
    let Session { gate, mut client, mut server, .. } = Session::open_with(IDLE).await;
    let close = client.close().await;
    client.answer_close(&close).await;
    assert_ours(&server.close().await, 1001, "idle-timeout");
    assert_eq!(server.end().await, Ending::Fin);
    drop(server);
    assert_unanswered(&gate, "upstream").await;
}

const IDLE: &str = "idle_timeout = \"200ms\"\nclose_timeout = \"500ms\"";

async fn assert_unanswered(gate: &Tidegate, side: &str) {
    let record = gate.record().await;
    assert_eq!(record.leg(side), "sent 1001, received none, no-reply", "{}", record.line());
    assert_eq!(gate.metrics().await.sum("tidegate_close_timeouts_total", &[("side", side)]), 1.0);
}
