//! Sessions on one worker share it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use harness::raw::pair;
use harness::{Frame, Setup, Upstream};

const MIB: u64 = 1 << 20;

/// A proxy that has all its sessions on one worker.
pub(crate) fn one_worker(server: SocketAddr) -> Setup {
    Setup::new(format!(
        "workers = 1\n\n[[route]]\nupstream = \"backend\"\n\n[upstream.backend]\nservers = [\"{server}\"]\n"
    ))
}

/// Counted in bytes and not in seconds: how much bulk passes while a message of chat makes its round trip says how
/// long the chat waits for its turn, on a fast machine and on a busy one. The chat has a thread of its own, so that it
/// waits for the proxy's turns and not for this test's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_has_its_turn_beside_twenty_bulk_streams() {
    const STREAMS: usize = 20;
    /// A turn of each stream, 2 MiB, on the way there and on the way back; and as much again for what the sockets on
    /// either side held already.
    const MOST: u64 = 8 * STREAMS as u64 * MIB;
    let upstream = Upstream::bind().await;
    let gate = one_worker(upstream.address()).start().await;
    let passed = Arc::new(AtomicU64::new(0));
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..STREAMS {
        let (mut taker, mut giver) = pair(gate.address(), &upstream).await;
        let passed = passed.clone();
        streams.spawn(async move { giver.flood().await });
        streams.spawn(async move {
            loop {
                passed.fetch_add(taker.frame().await.payload.len() as u64, Relaxed);
            }
        });
    }
    harness::eventually("bulk in full flow", async || (passed.load(Relaxed) > STREAMS as u64 * MIB).then_some(()))
        .await;

    let proxy = gate.address();
    let mut meanwhile = tokio::task::spawn_blocking(move || {
        let alone = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        alone.block_on(chat(proxy, &upstream, &passed))
    })
    .await
    .unwrap();
    meanwhile.sort_unstable();
    let p99 = meanwhile[meanwhile.len() * 99 / 100];
    assert!(p99 > 0, "no bulk passed beside the chat");
    assert!(p99 <= MOST, "{} MiB of bulk passed while one message of chat made its round trip", p99 / MIB);
}

/// What passed of the bulk during each of the round trips of a chat.
async fn chat(proxy: SocketAddr, upstream: &Upstream, passed: &AtomicU64) -> Vec<u64> {
    const MESSAGES: usize = 200;
    let (mut client, mut server) = pair(proxy, upstream).await;
    let mut meanwhile = Vec::with_capacity(MESSAGES);
    for number in 0..MESSAGES {
        let before = passed.load(Relaxed);
        client.send(Frame::text(&number.to_string())).await;
        let word = server.frame().await;
        server.send(word).await;
        assert_eq!(client.text().await, number.to_string());
        meanwhile.push(passed.load(Relaxed) - before);
    }
    meanwhile
}
