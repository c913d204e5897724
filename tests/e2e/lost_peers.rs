//! A peer that vanishes does not take the truth with it: the other side is told.

use harness::raw::Close;
use harness::{Frame, Peer};

use crate::session::{Session, assert_ours, assert_record, hint};

/// The ways to leave without a Close.
#[derive(Clone, Copy, Debug)]
enum Exit {
    Fin,
    Reset,
    InsideFrame,
    ResetInsideSmallFrame,
    ResetInsideLargeFrame,
    InsideMessage,
}

const EXITS: [Exit; 6] = [
    Exit::Fin,
    Exit::Reset,
    Exit::InsideFrame,
    Exit::ResetInsideSmallFrame,
    Exit::ResetInsideLargeFrame,
    Exit::InsideMessage,
];

async fn leave(mut peer: Peer, how: Exit) {
    match how {
        Exit::Fin => peer.hang_up().await,
        Exit::Reset => peer.reset(),
        Exit::InsideFrame => {
            peer.send_unfinished(Frame::binary(vec![7; 100_000]), 70_000).await;
            peer.hang_up().await;
        }
        Exit::ResetInsideSmallFrame => {
            peer.send_unfinished(Frame::text("never whole"), 8).await;
            peer.reset();
        }
        Exit::ResetInsideLargeFrame => {
            peer.send_unfinished(Frame::binary(vec![7; 100_000]), 70_000).await;
            peer.reset();
        }
        Exit::InsideMessage => {
            peer.send(Frame::text("begun").unfinished()).await;
            peer.hang_up().await;
        }
    }
}

/// Reads to the Close; no message that the lost peer did not finish may be finished for it.
async fn close_without_a_finished_message(peer: &mut Peer) -> Close {
    loop {
        let frame = peer.frame().await;
        if frame.is_control() {
            return Close::from(&frame);
        }
        assert!(!frame.fin, "a message was finished that nobody finished");
    }
}

#[tokio::test]
async fn upstream_vanishes_then_client_gets_1014() {
    for exit in EXITS {
        let Session { gate, mut client, server, .. } = Session::open().await;
        leave(server, exit).await;
        let close = close_without_a_finished_message(&mut client).await;
        assert_ours(&close, 1014, "upstream-lost");
        hint(&close);
        client.answer_close(&close).await;

        let record = gate.record().await;
        assert_eq!(
            (record.verdict(), record.closed_by(), record.cause()),
            ("upstream-lost", "upstream", "upstream-lost")
        );
        assert_eq!(record.text("id"), close.parameter("id").expect("checked above"), "the id joins Close and log");
    }
}

#[tokio::test]
async fn client_vanishes_then_upstream_gets_1011() {
    for exit in EXITS {
        let Session { gate, client, mut server, .. } = Session::open().await;
        leave(client, exit).await;
        let close = close_without_a_finished_message(&mut server).await;
        assert_ours(&close, 1011, "client-lost");
        server.answer_close(&close).await;

        let record = gate.record().await;
        assert_eq!((record.verdict(), record.closed_by(), record.cause()), ("client-lost", "client", "client-lost"));
    }
}

#[tokio::test]
async fn the_log_says_what_each_leg_of_a_lost_upstream_saw() {
    let Session { gate, mut client, server, .. } = Session::open().await;
    leave(server, Exit::Fin).await;
    let close = client.close().await;
    client.answer_close(&close).await;
    let client_leg = "sent 1014, received 1014, clean";
    let upstream_leg = "sent none, received none, lost";
    assert_record(&gate.record().await, "upstream-lost", "upstream", "upstream-lost", client_leg, upstream_leg);
}

#[tokio::test]
async fn a_route_chooses_the_code_for_a_lost_upstream() {
    for code in [1011, 1012] {
        let Session { gate: _gate, mut client, server, .. } =
            Session::open_with(&format!("upstream_lost_code = {code}")).await;
        leave(server, Exit::Fin).await;
        assert_ours(&client.close().await, code, "upstream-lost");
    }
}

#[tokio::test]
async fn a_route_may_abort_the_upstream_of_a_lost_client() {
    let Session { gate: _gate, client, mut server, .. } = Session::open_with("client_lost = \"abort\"").await;
    leave(client, Exit::Fin).await;
    // No Close before it.
    server.end().await;
}

#[tokio::test]
async fn data_already_read_still_reaches_the_client_of_a_lost_upstream() {
    let Session { gate: _gate, mut client, mut server, .. } = Session::open().await;
    let burst: Vec<u8> = (0..1000).flat_map(|n| Frame::text(&n.to_string()).encode(None)).collect();
    server.send_bytes(&burst).await;
    leave(server, Exit::Fin).await;
    for n in 0..1000 {
        assert_eq!(client.text().await, n.to_string());
    }
    assert_ours(&client.close().await, 1014, "upstream-lost");
}

/// How long a frame is, and how much of it is sent before the other side dies.
const HALVES: [(usize, usize); 2] = [(20_000, 9_000), (1 << 20, 600_000)];

/// Has `from` begin a frame on its way `to` the other side.
async fn begin_a_frame(from: &mut Peer, to: &mut Peer, (length, sent): (usize, usize)) -> Frame {
    let frame = Frame::binary(vec![0xff; length]);
    from.send(Frame::text("before it")).await;
    from.send_unfinished(frame.clone(), sent).await;
    assert_eq!(to.text().await, "before it");
    frame
}

#[tokio::test]
async fn a_client_inside_a_frame_when_the_upstream_dies_still_closes_cleanly() {
    for (exit, halves) in [Exit::Fin, Exit::Reset].into_iter().flat_map(|exit| HALVES.map(|halves| (exit, halves))) {
        let Session { gate, mut client, mut server, .. } = Session::open().await;
        let frame = begin_a_frame(&mut client, &mut server, halves).await;
        leave(server, exit).await;

        let close = client.close().await;
        assert_ours(&close, 1014, "upstream-lost");
        client.send_rest(frame, halves.1).await;
        client.answer_close(&close).await;
        let record = gate.record().await;
        assert_eq!((record.verdict(), record.cause()), ("upstream-lost", "upstream-lost"), "{exit:?} {halves:?}");
        assert_eq!(record.leg("client"), "sent 1014, received 1014, clean", "{exit:?} {halves:?}: {}", record.line());
    }
}

#[tokio::test]
async fn an_upstream_inside_a_frame_when_the_client_dies_still_closes_cleanly() {
    for (exit, halves) in [Exit::Fin, Exit::Reset].into_iter().flat_map(|exit| HALVES.map(|halves| (exit, halves))) {
        let Session { gate, mut client, mut server, .. } = Session::open().await;
        let frame = begin_a_frame(&mut server, &mut client, halves).await;
        leave(client, exit).await;

        let close = server.close().await;
        assert_ours(&close, 1011, "client-lost");
        server.send_rest(frame, halves.1).await;
        server.answer_close(&close).await;
        let record = gate.record().await;
        assert_eq!((record.verdict(), record.cause()), ("client-lost", "client-lost"), "{exit:?} {halves:?}");
        assert_eq!(record.leg("upstream"), "sent 1011, received 1011, clean", "{exit:?} {halves:?}: {}", record.line());
    }
}
