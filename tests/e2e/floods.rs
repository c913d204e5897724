//! More frames by the second than anybody needs.

use harness::metrics::name;
use harness::raw::opcode;
use harness::{Frame, Peer};

use crate::session::{Session, assert_ours, hint};

/// The default `control_rate` is also the largest burst.
const CONTROLS: usize = 100;
const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

fn burst(frame: &Frame, count: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
    frame.encode(mask).repeat(count)
}

/// Reads to the Close, past whatever was forwarded before the flood was one.
async fn expect_close(peer: &mut Peer, code: u16, cause: &str) {
    let close = peer.close_after_data().await;
    assert_ours(&close, code, cause);
    peer.answer_close(&close).await;
}

#[tokio::test]
async fn a_client_that_floods_with_control_frames_gets_1008() {
    for opcode in [opcode::PING, opcode::PONG] {
        let Session { gate, mut client, mut server, .. } = Session::open().await;
        client.send_bytes(&burst(&Frame::new(opcode, "x"), 10 * CONTROLS, MASK)).await;
        expect_close(&mut client, 1008, "control-flood").await;
        expect_close(&mut server, 1001, "client-rate-limited").await;
        assert_eq!(gate.record().await.cause(), "client-rate-limited");
        let labels = [("limit", "control-rate"), ("action", "close")];
        assert_eq!(gate.metrics().await.sum(name::LIMIT_HITS, &labels), 1.0);
    }
}

#[tokio::test]
async fn an_upstream_that_floods_with_control_frames_is_not_the_clients_fault() {
    let Session { gate, mut client, mut server, .. } = Session::open().await;
    server.send_bytes(&burst(&Frame::new(opcode::PING, "x"), 10 * CONTROLS, None)).await;
    expect_close(&mut server, 1008, "control-flood").await;
    expect_close(&mut client, 1014, "upstream-rate-limited").await;
    assert_eq!(gate.record().await.cause(), "upstream-rate-limited");
}

#[tokio::test]
async fn a_burst_of_pings_within_the_rate_passes() {
    let Session { gate: _gate, mut client, mut server, .. } = Session::open().await;
    client.send_bytes(&burst(&Frame::new(opcode::PING, "x"), CONTROLS, MASK)).await;
    for _ in 0..CONTROLS {
        assert_eq!(server.frame().await, Frame::new(opcode::PING, "x"));
    }
}

#[tokio::test]
async fn a_client_that_floods_with_tiny_frames_gets_1008_where_the_route_has_a_rate() {
    let Session { gate, mut client, mut server, .. } = Session::open_with("frame_rate = \"50/s\"").await;
    client.send_bytes(&burst(&Frame::text("x"), 50, MASK)).await;
    for _ in 0..50 {
        assert_eq!(server.text().await, "x");
    }
    client.send_bytes(&burst(&Frame::text(""), 5000, MASK)).await;
    let close = client.close().await;
    assert_ours(&close, 1008, "rate-limited");
    hint(&close);
    client.answer_close(&close).await;
    expect_close(&mut server, 1001, "client-rate-limited").await;
    assert_eq!(gate.metrics().await.sum(name::LIMIT_HITS, &[("limit", "frame-rate")]), 1.0);
}

#[tokio::test]
async fn an_upstream_may_send_as_many_frames_as_it_likes() {
    let Session { gate: _gate, mut client, mut server, .. } = Session::open_with("frame_rate = \"50/s\"").await;
    server.send_bytes(&burst(&Frame::text("x"), 5000, None)).await;
    for _ in 0..5000 {
        assert_eq!(client.text().await, "x");
    }
}

#[tokio::test]
async fn a_message_of_countless_fragments_ends_with_1008_in_bounded_memory() {
    const FRAGMENTS: usize = 200_000;
    const MOST_MEMORY: u64 = 64 << 20;
    let Session { gate, mut client, mut server, .. } = Session::open().await;
    let mut bytes = Frame::text("x").unfinished().encode(MASK);
    bytes.extend(burst(&Frame::new(opcode::CONTINUATION, "x").unfinished(), FRAGMENTS, MASK));
    let sending = async {
        client.send_bytes(&bytes).await;
        expect_close(&mut client, 1008, "too-many-fragments").await;
    };
    tokio::join!(sending, expect_close(&mut server, 1001, "client-rate-limited"));
    assert_eq!(gate.metrics().await.sum(name::LIMIT_HITS, &[("limit", "fragments")]), 1.0);
    assert!(gate.peak_memory() < MOST_MEMORY);
}
