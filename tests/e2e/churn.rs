//! Sessions come and go, and leave nothing behind.

use harness::raw::Close;
use harness::{Echo, Frame, Handshake, Peer, Tidegate, eventually};
use tokio::task::JoinSet;

use crate::fairness::one_worker;

const MIB: u64 = 1 << 20;

/// Sessions that all open, echo a word, some of them a large message at the same time, and close.
async fn wave(gate: &Tidegate, sessions: usize, large: usize) {
    let mut working = JoinSet::new();
    for number in 0..sessions {
        let handshake = Handshake::to(gate.address());
        working.spawn(async move {
            let mut client = handshake.open().await;
            client.send(Frame::text("a word")).await;
            assert_eq!(client.text().await, "a word");
            (number, client)
        });
    }
    let mut clients: Vec<(usize, Peer)> = working.join_all().await;
    let mut working = JoinSet::new();
    for (number, mut client) in clients.drain(..) {
        working.spawn(async move {
            if number < large {
                let message = Frame::binary(vec![7; MIB as usize]);
                client.send(message.clone()).await;
                assert_eq!(client.message().await.payload, message.payload);
            }
            client.send(Frame::close(1000, "")).await;
            assert_eq!(client.close().await, Close::new(1000, ""));
        });
    }
    working.join_all().await;
    gate.metrics_where("no open session", |metrics| metrics.open() == 0.0).await;
}

#[tokio::test]
async fn after_bursts_memory_and_descriptors_come_back() {
    /// The worker's pool of empty buffers keeps none for long; this is what the allocator does not give back.
    const MOST_KEPT: u64 = 8 * MIB;
    let echo = Echo::start().await;
    let gate = one_worker(echo.address()).start().await;
    // What is brought about once: workers' runtimes, tables that have grown, the first buffers.
    wave(&gate, 200, 0).await;
    let (memory, files) = (gate.memory(), gate.open_files());
    for _ in 0..5 {
        wave(&gate, 200, 60).await;
    }
    let come_back = async || {
        eventually("memory and descriptors to come back", async || {
            (gate.memory() <= memory + MOST_KEPT && gate.open_files() <= files).then_some(())
        })
        .await;
    };
    come_back().await;
    // Thousands of short ones.
    for _ in 0..10 {
        wave(&gate, 300, 0).await;
    }
    come_back().await;
}
