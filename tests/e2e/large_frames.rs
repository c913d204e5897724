//! Large frames that nobody looks into go through kernel pipes; what arrives, and what is said when it cannot, is the
//! same as for small ones.

use std::time::Duration;

use harness::metrics::name;
use harness::raw::{Ending, opcode, pair};
use harness::{Frame, Metrics, Peer, Setup, Upstream};
use tokio::task::JoinSet;

use crate::session::{Session, assert_ours, exchange};

const LARGE: usize = 300_000;

/// So many large frames that the next one goes through a pipe.
async fn warm_up(from: &mut Peer, to: &mut Peer) {
    for byte in 0..3 {
        let frame = Frame::binary(vec![byte; LARGE]);
        tokio::join!(from.send(frame.clone()), async { assert_eq!(to.frame().await, frame) });
    }
}

fn limit_hits(metrics: &Metrics, limit: &str) -> f64 {
    metrics.sum(name::LIMIT_HITS, &[("limit", limit), ("action", "copy")])
}

/// A sequence that looks random, and is the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn frames(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        for number in 0..60 {
            let len = match self.below(4) {
                0 => self.below(1 << 20),
                1 => self.below(200),
                _ => LARGE + self.below(LARGE),
            };
            let payload: Vec<u8> = (0..len).map(|i| (i * 31 + number) as u8 & 0x7f).collect();
            match self.below(6) {
                0 => frames.push(Frame::new(opcode::TEXT, payload)),
                1 => {
                    frames.push(Frame::binary(payload.clone()).unfinished());
                    frames.push(Frame::new(opcode::PING, "between"));
                    frames.push(Frame::new(opcode::CONTINUATION, payload));
                }
                _ => frames.push(Frame::binary(payload)),
            }
        }
        frames
    }
}

/// Sends the frames in pieces that have nothing to do with where they begin and end.
async fn send_in_pieces(peer: &mut Peer, frames: &[Frame], mask: Option<[u8; 4]>, mut dice: Dice) {
    let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.encode(mask)).collect();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let most = [10, 2_000, 300_000][dice.below(3)];
        let (piece, later) = rest.split_at((1 + dice.below(most)).min(rest.len()));
        peer.send_bytes(piece).await;
        rest = later;
        tokio::task::yield_now().await;
    }
}

async fn expect(peer: &mut Peer, frames: &[Frame]) {
    for (number, frame) in frames.iter().enumerate() {
        assert!(peer.frame().await == *frame, "frame {number} of {} bytes came otherwise", frame.payload.len());
    }
}

#[tokio::test]
async fn frames_of_any_size_arrive_whole_however_they_are_cut() {
    for seed in 0..4 {
        let Session { gate, mut client, mut server, .. } = Session::open().await;
        assert_eq!(gate.pipes(), 0, "no frame came yet");
        let frames = Dice(seed).frames();
        tokio::join!(
            send_in_pieces(&mut client, &frames, Some([5, 250, 17, 99]), Dice(seed + 100)),
            expect(&mut server, &frames)
        );
        tokio::join!(send_in_pieces(&mut server, &frames, None, Dice(seed + 200)), expect(&mut client, &frames));
        exchange(&mut client, &mut server).await;
        assert!(gate.pipes() > 0, "nothing went through a kernel pipe");
    }
}

#[tokio::test]
async fn who_dies_inside_a_spliced_frame_does_not_cut_it() {
    for reset in [false, true] {
        let Session { gate: _gate, mut client, mut server, .. } = Session::open().await;
        warm_up(&mut server, &mut client).await;
        server.send_unfinished(Frame::binary(vec![7; LARGE]), 50_000).await;
        if reset {
            server.reset()
        } else {
            server.hang_up().await
        }
        assert_ours(&client.close().await, 1014, "upstream-lost");

        let Session { gate: _gate, mut client, mut server, .. } = Session::open().await;
        warm_up(&mut client, &mut server).await;
        client.send_unfinished(Frame::binary(vec![7; LARGE]), 50_000).await;
        if reset {
            client.reset()
        } else {
            client.hang_up().await
        }
        assert_ours(&server.close().await, 1011, "client-lost");
    }
}

/// The next frame that is not tidegate's ping.
async fn frame_of_a_peer(to: &mut Peer) -> Frame {
    loop {
        let frame = to.frame().await;
        match frame.opcode {
            opcode::PING => to.send(Frame::new(opcode::PONG, frame.payload)).await,
            _ => return frame,
        }
    }
}

#[tokio::test]
async fn who_sends_the_rest_of_a_large_frame_slowly_is_not_taken_for_lost() {
    let keepalive = "keepalive_interval = \"500ms\"\nkeepalive_timeout = \"1s\"";
    let Session { gate, mut client, mut server, .. } = Session::open_with(keepalive).await;
    let frame = Frame::binary(vec![7; LARGE]);
    let bytes = frame.encode(Some([1, 2, 3, 4]));
    let sending = async {
        for _ in 0..3 {
            client.send_bytes(&bytes).await;
        }
        let (start, rest) = bytes.split_at(60_000);
        client.send_bytes(start).await;
        // No answer to a ping can come in here, for six seconds.
        let mut beat = tokio::time::interval(Duration::from_millis(100));
        for piece in rest.chunks(4_000) {
            beat.tick().await;
            client.send_bytes(piece).await;
        }
        client.send(Frame::text("done")).await;
    };
    let receiving = async {
        for number in 0..4 {
            assert!(frame_of_a_peer(&mut server).await == frame, "frame {number}");
        }
        assert_eq!(frame_of_a_peer(&mut server).await, Frame::text("done"));
    };
    tokio::join!(sending, receiving);
    assert!(gate.pipes() > 0, "nothing went through a kernel pipe");
}

#[tokio::test]
async fn a_drain_speaks_to_both_sides_of_a_frame_that_is_half_in_a_pipe() {
    let Session { gate, mut client, mut server, .. } = Session::open().await;
    warm_up(&mut server, &mut client).await;
    warm_up(&mut client, &mut server).await;
    server.send_unfinished(Frame::binary(vec![7; LARGE]), 50_000).await;
    client.send_unfinished(Frame::binary(vec![7; LARGE]), 50_000).await;
    gate.terminate();
    assert_ours(&client.close().await, 1012, "restarting");
    // The client finishes its frame and answers; what it sent before its Close may still reach the upstream whole.
    client.send_rest(Frame::binary(vec![7; LARGE]), 50_000).await;
    client.send(Frame::close(1012, "")).await;
    let close = server.close_after_data().await;
    assert!(close.code.is_some(), "{close:?}");
}

#[tokio::test]
async fn a_reader_that_stops_stops_a_writer_of_large_frames_and_loses_none() {
    const FRAMES: usize = 400;
    let Session { gate, mut client, mut server, .. } = Session::open().await;
    warm_up(&mut client, &mut server).await;
    let sending = async {
        for number in 0..FRAMES {
            client.send(Frame::binary(vec![number as u8; 2 * LARGE])).await;
        }
    };
    tokio::pin!(sending);
    let stalled = tokio::time::timeout(Duration::from_secs(1), &mut sending).await;
    assert!(stalled.is_err(), "240 MB went somewhere although nobody reads");
    let receiving = async {
        for number in 0..FRAMES {
            assert!(server.frame().await == Frame::binary(vec![number as u8; 2 * LARGE]), "frame {number}");
        }
    };
    tokio::join!(sending, receiving);
    assert!(gate.pipes() > 0, "nothing went through a kernel pipe");
}

#[tokio::test]
async fn where_no_pipe_is_left_frames_are_copied() {
    const SESSIONS: usize = 70;
    let upstream = Upstream::bind().await;
    let gate = Setup::new(format!(
        "workers = 1\n[[route]]\nupstream = \"backend\"\n[upstream.backend]\nservers = [\"{}\"]\n",
        upstream.address()
    ))
    .start()
    .await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let (mut client, mut server) = pair(gate.address(), &upstream).await;
        warm_up(&mut client, &mut server).await;
        client.send_unfinished(Frame::binary(vec![7; LARGE]), 70_000).await;
        sessions.push((client, server));
    }
    gate.metrics_where("no pipe left", |metrics| limit_hits(metrics, "pipes") >= 1.0).await;
    let mut finishing = JoinSet::new();
    for (mut client, mut server) in sessions {
        finishing.spawn(async move {
            client.send_rest(Frame::binary(vec![7; LARGE]), 70_000).await;
            assert!(server.frame().await == Frame::binary(vec![7; LARGE]));
            exchange(&mut client, &mut server).await;
        });
    }
    finishing.join_all().await;
}

#[tokio::test]
async fn a_frame_in_more_pieces_than_a_pipe_takes_is_copied() {
    let upstream = Upstream::bind().await;
    let gate = Setup::proxy_to(upstream.address()).start().await;
    let (mut one, mut server_of_one) = pair(gate.address(), &upstream).await;
    let (mut other, mut server_of_other) = pair(gate.address(), &upstream).await;
    warm_up(&mut one, &mut server_of_one).await;
    warm_up(&mut other, &mut server_of_other).await;
    let frame = Frame::binary(vec![7; 1 << 20]);
    let bytes = frame.encode(Some([1, 2, 3, 4]));
    // Turn by turn, so that the pieces of one do not lie side by side in memory.
    for piece in bytes.chunks(500) {
        one.send_bytes(piece).await;
        other.send_bytes(piece).await;
    }
    assert!(server_of_one.frame().await == frame);
    assert!(server_of_other.frame().await == frame);
    assert!(limit_hits(&gate.metrics().await, "pipe_size") >= 1.0);
    exchange(&mut one, &mut server_of_one).await;
}

/// What still comes of a frame that is given up has to be read although it wakes nobody: to close a socket over unread
/// bytes resets the connection, behind the Close that its sender may not have seen yet.
#[tokio::test]
async fn bytes_of_a_large_frame_that_is_given_up_do_not_reset_its_sender() {
    let Session { mut gate, mut client, mut server, .. } = Session::open_with("close_timeout = \"500ms\"").await;
    warm_up(&mut client, &mut server).await;
    client.send_unfinished(Frame::binary(vec![7; LARGE]), 50_000).await;
    let held = |metrics: &Metrics| metrics.sum("tidegate_buffered_bytes", &[]);
    gate.metrics_where("the first part in a pipe", |metrics| held(metrics) >= 50_000.0).await;
    // Fewer than are missing: nobody is woken for them.
    client.send_bytes(&[7; 40_000]).await;
    gate.terminate();
    let leaving = async {
        let close = server.close().await;
        server.answer_close(&close).await;
    };
    tokio::join!(gate.exit(), leaving);
    assert!(!client.is_torn_down(), "a reset came behind the Close");
    assert_ours(&client.close().await, 1012, "restarting");
    assert_eq!(client.end().await, Ending::Fin);
}
