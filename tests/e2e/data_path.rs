//! Data reaches the other side as it was sent.

use std::time::Duration;

use harness::certificate::Certificate;
use harness::metrics::name;
use harness::raw::{Close, opcode, pair};
use harness::{Echo, Frame, Handshake, Setup, Upstream};
use tokio::task::JoinSet;

use crate::session::Session;

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn every_kind_of_frame_arrives_as_it_was_sent() {
    let frames = [
        Frame::text("Grüße"),
        Frame::text(""),
        Frame::binary([0, 255, 7]),
        Frame::binary([]),
        Frame::binary(vec![7; 125]),
        Frame::binary(vec![7; 126]),
        Frame::text("frag").unfinished(),
        Frame::new(opcode::PING, "between fragments"),
        Frame::new(opcode::CONTINUATION, "men").unfinished(),
        Frame::new(opcode::CONTINUATION, "ted"),
        Frame::new(opcode::PONG, "unasked"),
    ];
    let mut session = Session::open().await;
    for frame in frames {
        session.client.send(frame.clone()).await;
        assert_eq!(session.server.frame().await, frame);
        session.server.send(frame.clone()).await;
        assert_eq!(session.client.frame().await, frame);
    }
}

#[tokio::test]
async fn a_frame_that_comes_byte_by_byte_arrives() {
    let mut session = Session::open().await;
    let frame = Frame::text("Grüße, byte by byte");
    for byte in frame.encode(Some([9, 8, 7, 6])) {
        session.client.send_bytes(&[byte]).await;
    }
    assert_eq!(session.server.frame().await, frame);
    for byte in frame.encode(None) {
        session.server.send_bytes(&[byte]).await;
    }
    assert_eq!(session.client.frame().await, frame);
}

#[tokio::test]
async fn a_large_frame_that_comes_in_small_pieces_leaves_in_large_ones() {
    const SIZE: usize = 1 << 20;
    // Libraries limit the fragments of a message: Python's `websockets` takes 4096.
    const MOST_FRAGMENTS: usize = SIZE / (32 << 10);
    let Session { gate: _gate, mut client, mut server, .. } = Session::open().await;
    let bytes = Frame::binary(vec![7; SIZE]).encode(Some([1, 2, 3, 4]));
    let sending = async {
        for piece in bytes.chunks(1400) {
            client.send_bytes(piece).await;
            tokio::task::yield_now().await;
        }
    };
    let counting = async {
        let (mut fragments, mut received) = (0, 0);
        while received < SIZE {
            received += server.frame().await.payload.len();
            fragments += 1;
        }
        fragments
    };
    let ((), fragments) = tokio::join!(sending, counting);
    assert!(fragments <= MOST_FRAGMENTS, "{fragments} fragments");
}

#[tokio::test]
async fn many_frames_in_one_segment_arrive() {
    let mut session = Session::open().await;
    let frames: Vec<_> = (0..500).map(|n| Frame::text(&format!("message {n}"))).collect();
    let to_server: Vec<u8> = frames.iter().flat_map(|frame| frame.encode(Some([1, 2, 3, 4]))).collect();
    let to_client: Vec<u8> = frames.iter().flat_map(|frame| frame.encode(None)).collect();
    session.client.send_bytes(&to_server).await;
    session.server.send_bytes(&to_client).await;
    for frame in &frames {
        assert_eq!(session.server.frame().await, *frame);
        assert_eq!(session.client.frame().await, *frame);
    }
}

#[tokio::test]
async fn both_directions_flow_at_once() {
    let Session { gate: _gate, mut client, mut server, .. } = Session::open().await;
    tokio::join!(client.exchange_pattern(8 * MIB), server.exchange_pattern(8 * MIB));
}

#[tokio::test]
async fn a_message_of_256_mib_streams_in_bounded_memory() {
    const SIZE: u64 = 256 * MIB;
    const MOST_MEMORY: u64 = 64 * MIB;
    let Session { gate, mut client, mut server, .. } = Session::open_with("max_message_size = \"512MiB\"").await;
    tokio::join!(client.send_pattern(SIZE), server.expect_pattern(SIZE));
    tokio::join!(server.send_pattern(SIZE), client.expect_pattern(SIZE));
    let peak = gate.peak_memory();
    assert!(peak < MOST_MEMORY, "{peak} bytes at most, for a message of {SIZE}");
}

#[tokio::test]
async fn a_reader_that_stops_stops_the_writer() {
    const MORE_THAN_SOCKETS_HOLD: u64 = 64 * MIB;
    const MOST_MEMORY: u64 = 64 * MIB;
    let Session { gate, mut client, mut server, .. } = Session::open().await;
    {
        let sending = client.send_pattern(MORE_THAN_SOCKETS_HOLD);
        let stalled = tokio::time::timeout(Duration::from_secs(1), sending).await;
        assert!(stalled.is_err(), "64 MiB went somewhere although nobody reads");
    }
    assert!(gate.peak_memory() < MOST_MEMORY);
    // The other direction does not suffer.
    server.send(Frame::text("still here")).await;
    assert_eq!(client.text().await, "still here");
}

#[tokio::test]
async fn a_thousand_sessions_at_once_echo() {
    const SESSIONS: usize = 1000;
    let echo = Echo::start().await;
    let gate = Setup::proxy_to(echo.address()).start().await;
    let mut opening = JoinSet::new();
    for _ in 0..SESSIONS {
        let handshake = Handshake::to(gate.address());
        opening.spawn(async move { handshake.open().await });
    }
    let mut clients = opening.join_all().await;
    gate.metrics_where("1,000 open sessions", |metrics| metrics.open() == SESSIONS as f64).await;

    for (number, client) in clients.iter_mut().enumerate() {
        client.send(Frame::text(&format!("I am {number}"))).await;
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.text().await, format!("I am {number}"));
    }
    for client in &mut clients {
        client.send(Frame::close(1000, "")).await;
    }
    for client in &mut clients {
        assert_eq!(client.close().await, Close::new(1000, ""));
    }
    drop(clients);
    let metrics = gate.metrics_where("no open session", |metrics| metrics.open() == 0.0).await;
    assert_eq!(metrics.sum(name::CLOSES, &[("code", "1000")]), SESSIONS as f64);
}

#[tokio::test]
async fn a_tls_listener_serves_wss() {
    let certificate = Certificate::new();
    let upstream = Upstream::bind().await;
    let gate = Setup::proxy_to(upstream.address()).tls(&certificate).start().await;
    let handshake = Handshake::to(gate.address());
    let (mut client, mut server) = tokio::join!(handshake.open_tls(&certificate), upstream.accept());

    client.send(Frame::text("sealed")).await;
    assert_eq!(server.text().await, "sealed");
    tokio::join!(client.send_pattern(4 * MIB), server.expect_pattern(4 * MIB));
    tokio::join!(server.send_pattern(4 * MIB), client.expect_pattern(4 * MIB));

    client.send(Frame::close(4002, "sealed, too")).await;
    let close = server.close().await;
    server.answer_close(&close).await;
    assert_eq!(client.close().await, close);
    assert_eq!(close, Close::new(4002, "sealed, too"));
    client.finish().await;
}

#[tokio::test]
async fn the_subprotocol_is_the_upstreams_choice() {
    let upstream = Upstream::bind().await;
    let gate = Setup::proxy_to(upstream.address()).start().await;
    let handshake = Handshake::to(gate.address()).header("Sec-WebSocket-Protocol", "first, second");
    let (opened, _server) = tokio::join!(handshake.open_with_response(), async {
        let arrival = upstream.arrival().await;
        assert_eq!(arrival.header("Sec-WebSocket-Protocol"), Some("first, second"));
        arrival.upgrade(&[("Sec-WebSocket-Protocol", "second")]).await
    });
    assert_eq!(opened.1.header("Sec-WebSocket-Protocol"), Some("second"));
}

#[tokio::test]
async fn compressed_messages_pass_untouched() {
    const AGREED: &str = "permessage-deflate; server_no_context_takeover";
    let upstream = Upstream::bind().await;
    let gate = Setup::proxy_to(upstream.address()).start().await;
    let handshake = Handshake::to(gate.address())
        .header("Sec-WebSocket-Extensions", "x-unknown, permessage-deflate; client_max_window_bits");
    let ((mut client, response), mut server) = tokio::join!(handshake.open_with_response(), async {
        let arrival = upstream.arrival().await;
        let offer = arrival.header("Sec-WebSocket-Extensions");
        assert_eq!(offer, Some("permessage-deflate; client_max_window_bits"), "an unknown extension is not offered on");
        arrival.upgrade(&[("Sec-WebSocket-Extensions", AGREED)]).await
    });
    assert_eq!(response.header("Sec-WebSocket-Extensions"), Some(AGREED));

    // Not UTF-8, and none of the proxy's business: it is compressed.
    let compressed = Frame::new(opcode::TEXT, [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]).with_rsv(0b100);
    client.send(compressed.clone()).await;
    assert_eq!(server.frame().await, compressed);
    server.send(compressed.clone()).await;
    assert_eq!(client.frame().await, compressed);
}

#[tokio::test]
async fn sessions_are_kept_apart() {
    let upstream = Upstream::bind().await;
    let gate = Setup::proxy_to(upstream.address()).start().await;
    let mut sessions = Vec::new();
    for _ in 0..20 {
        sessions.push(pair(gate.address(), &upstream).await);
    }
    for (number, (client, _)) in sessions.iter_mut().enumerate() {
        client.send(Frame::text(&number.to_string())).await;
    }
    for (number, (_, server)) in sessions.iter_mut().enumerate() {
        assert_eq!(server.text().await, number.to_string());
    }
}
