//! Sessions on one worker share it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use harness::raw::{Ending, pair};
use harness::{Frame, Setup, Upstream, eventually, within};
use tokio::task::JoinSet;

const MIB: u64 = 1 << 20;

/// A proxy that has all its sessions on one worker, and none ended because a peer of a test answers no ping.
pub(crate) fn one_worker(server: SocketAddr) -> Setup {
    Setup::new(format!(
        "workers = 1\n\n[defaults]\nkeepalive_interval = \"off\"\n\n\
         [[route]]\nupstream = \"backend\"\n\n[upstream.backend]\nservers = [\"{server}\"]\n"
    ))
}

/// Counted in bytes and not in seconds: how much bulk passes while a message of chat makes its round trip says how
/// long the chat waits for its turn, on a fast machine and on a busy one. The chat has a thread of its own, so that it
/// waits for the proxy's turns and not for this test's. While that thread waits for a processor itself, bulk goes on
/// passing: the usual round trip is held to the letter, and a rare one is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_has_its_turn_beside_twenty_bulk_streams() {
    const STREAMS: usize = 20;
    /// A turn of each stream on the way there and on the way back: 1 MiB and a last read.
    const USUAL: u64 = STREAMS as u64 * 2 * (MIB + MIB / 8);
    /// A turn of 2 MiB of each on either way, and as much again for what the sockets held already.
    const RARE: u64 = 8 * STREAMS as u64 * MIB;
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
    eventually("bulk in full flow", async || (passed.load(Relaxed) > STREAMS as u64 * MIB).then_some(())).await;

    let proxy = gate.address();
    let chat = tokio::task::spawn_blocking(move || {
        let alone = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        alone.block_on(chat(proxy, &upstream, &passed))
    });
    let mut meanwhile = tokio::select! {
        meanwhile = chat => meanwhile.unwrap(),
        ended = streams.join_next() => panic!("a bulk stream ended: {ended:?}"),
    };
    meanwhile.sort_unstable();
    let at = |percent: usize| meanwhile[meanwhile.len() * percent / 100];
    let (usual, rare) = (at(50), at(90));
    assert!(
        usual <= USUAL && rare <= RARE,
        "{} MiB of bulk passed while one message of chat made its round trip, for one of ten {} MiB",
        usual / MIB,
        rare / MIB
    );
}

/// What passed of the bulk during each round trip of a chat, where any did, until enough of it has. When this test is
/// kept from its work, bulk rests.
async fn chat(proxy: SocketAddr, upstream: &Upstream, passed: &AtomicU64) -> Vec<u64> {
    const ENOUGH: u64 = 3 << 30;
    let (mut client, mut server) = pair(proxy, upstream).await;
    let mut meanwhile = Vec::new();
    while meanwhile.iter().sum::<u64>() < ENOUGH {
        let before = passed.load(Relaxed);
        client.send(Frame::text("how are you?")).await;
        let word = server.frame().await;
        server.send(word).await;
        assert_eq!(client.text().await, "how are you?");
        meanwhile.extend(Some(passed.load(Relaxed) - before).filter(|&bulk| bulk >= MIB));
    }
    meanwhile
}

/// Counted in sessions and not in seconds: this test's own thread learns of the ends and of the message in the order in
/// which they came to it.
#[tokio::test]
async fn a_message_does_not_wait_for_the_ends_of_hundreds_whose_server_died() {
    const LOST: usize = 600;
    let upstream = Upstream::bind().await;
    let gate = one_worker(upstream.address()).start().await;
    let (mut client, mut server) = pair(gate.address(), &upstream).await;
    let (mut clients, mut servers) = (Vec::new(), Vec::new());
    for _ in 0..LOST {
        let (client, server) = pair(gate.address(), &upstream).await;
        clients.push(client);
        servers.push(server);
    }
    let (listening, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (mut ends, mut chat) = (JoinSet::new(), JoinSet::new());
    // All of it waits for the worker when it looks again.
    gate.stopped_for(Duration::from_millis(200), async {
        for mut server in servers {
            server.shut_down().await;
            let (listening, over) = (listening.clone(), over.clone());
            ends.spawn(async move {
                listening.fetch_add(1, Relaxed);
                assert_eq!(server.end().await, Ending::Fin);
                over.fetch_add(1, Relaxed);
            });
        }
        client.send(Frame::text("how are you?")).await;
        let (hears, over) = (listening.clone(), over.clone());
        chat.spawn(async move {
            hears.fetch_add(1, Relaxed);
            assert_eq!(server.frame().await, Frame::text("how are you?"));
            over.load(Relaxed)
        });
        eventually("all listen", async || (listening.load(Relaxed) == LOST + 1).then_some(())).await;
    })
    .await;
    let before = within("the message", chat.join_next()).await.expect("a chat").expect("the message");
    assert!(before < LOST / 4, "it came behind {before} ends");
    within("every end", ends.join_all()).await;
    assert_eq!(over.load(Relaxed), LOST);
}
