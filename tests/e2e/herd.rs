//! A herd comes back to a server that was down: the small sister of `cargo xtask bench herd`.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bench_herd::{Capacity, Crowd, Haste, Herd, Kind, Server};
use harness::{Setup, clock, eventually};

const CLIENTS: usize = 300;
const RATE: f64 = 60.0;

#[tokio::test]
async fn a_herd_is_back_soon_after_its_server_and_little_is_done_for_nobody() {
    let warm = Capacity::warm(RATE, 0.1);
    let first = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), 1, warm, Haste::Usual).expect("a server");
    let address = first.address;
    let gate = Setup::proxy_to(address).start().await;
    let crowd = Crowd {
        clients: CLIENTS,
        kinds: vec![Kind::Immediate, Kind::Exponential, Kind::Fixed, Kind::Hinted],
        to: gate.address(),
        within: Duration::from_secs_f64(CLIENTS as f64 / (0.8 * RATE)),
        stay: None,
    };
    let herd = Herd::start(crowd).expect("a herd");
    let seen = herd.seen.clone();
    eventually("all come in", async || (seen.with(1) == CLIENTS).then_some(())).await;

    drop(first);
    eventually("some come back in vain", async || (seen.attempts.load(Relaxed) > CLIENTS as u64 + 20).then_some(()))
        .await;
    let cold = Capacity { cold: 0.25, warm_after: Duration::from_secs(3), ..warm };
    let back = clock::now();
    let second = Server::start(address, 2, cold, Haste::Usual).expect("the same address");
    let wanted = CLIENTS * 99 / 100;
    eventually("99 % are back", async || (seen.with(2) >= wanted).then_some(())).await;
    let (took, bound) = (clock::now() - back, cold.bound(wanted as f64));
    assert!(took < 3 * bound + Duration::from_secs(3), "{took:?} where {bound:?} is possible");

    let in_vain = |started: u64, at_work: u64| started.saturating_sub(at_work + seen.with(2) as u64);
    let wasted = in_vain(second.stats.started.load(Relaxed), second.stats.at_work.load(Relaxed));
    assert!(wasted <= CLIENTS as u64 / 20, "{wasted} handshakes for nobody");
    assert_eq!(seen.stopped.load(Relaxed), 0);
}
