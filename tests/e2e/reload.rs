//! SIGHUP: a new configuration touches only the sessions it must.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::raw::Close;
use harness::{Echo, Frame, Handshake, Peer, Setup, Tidegate, Upstream, clock};
use tokio::join;
use tokio::task::JoinSet;

use crate::session::{assert_ours, exchange, hint};

fn one_route(server: std::net::SocketAddr, defaults: &str) -> String {
    format!(
        "[[route]]\nname = \"main\"\nupstream = \"backend\"\n\n\
         [upstream.backend]\nservers = [\"{server}\"]\n\n[defaults]\n{defaults}\n"
    )
}

/// A route for each path, its upstream of the same name.
fn routes(routes: &[(&str, &[std::net::SocketAddr])]) -> String {
    let tables = routes.iter().map(|(name, servers)| {
        let servers: Vec<_> = servers.iter().map(|server| format!("\"{server}\"")).collect();
        format!(
            "[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nupstream = \"{name}\"\n\n\
             [upstream.{name}]\nservers = [{}]\n\n",
            servers.join(", ")
        )
    });
    tables.collect()
}

async fn open(gate: &Tidegate, path: &str, upstream: &Upstream) -> (Peer, Peer) {
    let handshake = Handshake::to(gate.address()).path(path);
    tokio::join!(handshake.open(), upstream.accept())
}

#[tokio::test]
async fn reloads_under_load_lose_nothing() {
    const CLIENTS: usize = 25;
    const RELOADS: usize = 10;
    let echo = Echo::start().await;
    let gate = Setup::new(one_route(echo.address(), "")).start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let mut client = Handshake::to(gate.address()).open().await;
        let stop = Arc::clone(&stop);
        clients.spawn(async move {
            let mut sequence = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                client.send(Frame::text(&sequence.to_string())).await;
                assert_eq!(client.text().await, sequence.to_string());
                sequence += 1;
            }
            client.send(Frame::close(1000, "counted")).await;
            assert_eq!(client.close().await, Close::new(1000, "counted"));
            sequence
        });
    }
    for reload in 0..RELOADS {
        // Every other one changes something.
        let defaults = if reload % 2 == 0 { "close_timeout = \"4s\"" } else { "" };
        assert!(gate.reload(&one_route(echo.address(), defaults)).await, "reload {reload}: {}", gate.output());
        let mut newcomer = Handshake::to(gate.address()).open().await;
        newcomer.send(Frame::close(1000, "")).await;
        assert_eq!(newcomer.close().await, Close::new(1000, ""));
    }
    stop.store(true, Ordering::Relaxed);
    let sequences = clients.join_all().await;
    assert!(sequences.iter().all(|sequence| *sequence > 0), "{sequences:?}");
}

#[tokio::test]
async fn a_removed_route_ends_its_sessions_and_no_others() {
    let (gone, kept) = (Upstream::bind().await, Upstream::bind().await);
    let before = routes(&[("gone", &[gone.address()]), ("kept", &[kept.address()])]);
    let after = routes(&[("kept", &[kept.address()])]);
    let gate = Setup::new(before).start().await;
    let (mut lost_client, mut lost_server) = open(&gate, "/gone", &gone).await;
    let (mut client, mut server) = open(&gate, "/kept", &kept).await;

    assert!(gate.reload(&after).await);
    let close = lost_client.close().await;
    assert_ours(&close, 1001, "route-removed");
    lost_client.send(close.to_frame()).await;
    let close = lost_server.close().await;
    assert_ours(&close, 1001, "route-removed");
    lost_server.answer_close(&close).await;

    exchange(&mut client, &mut server).await;
    let record = gate.record().await;
    assert_eq!((record.text("route"), record.cause()), ("gone", "route-removed"));
    assert_eq!(Handshake::to(gate.address()).path("/gone").refusal().await.status, 404);
}

#[tokio::test]
async fn a_removed_endpoint_ends_its_sessions_with_1012() {
    let (gone, kept) = (Upstream::bind().await, Upstream::bind().await);
    let gate = Setup::new(routes(&[("chat", &[gone.address()])])).start().await;
    let (mut client, mut server) = open(&gate, "/chat", &gone).await;

    assert!(gate.reload(&routes(&[("chat", &[kept.address()])])).await);
    let close = client.close().await;
    assert_ours(&close, 1012, "rebalance");
    hint(&close);
    client.send(close.to_frame()).await;
    assert_ours(&server.close().await, 1001, "rebalance");

    let (mut client, mut server) = open(&gate, "/chat", &kept).await;
    exchange(&mut client, &mut server).await;
}

#[tokio::test]
async fn an_added_endpoint_touches_no_session() {
    let (old, new) = (Upstream::bind().await, Upstream::bind().await);
    let gate = Setup::new(routes(&[("chat", &[old.address()])])).start().await;
    let (mut client, mut server) = open(&gate, "/chat", &old).await;
    assert!(gate.reload(&routes(&[("chat", &[old.address(), new.address()])])).await);
    exchange(&mut client, &mut server).await;
    assert_eq!(gate.metrics().await.open(), 1.0);
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing() {
    let upstream = Upstream::bind().await;
    let good = routes(&[("chat", &[upstream.address()])]);
    let gate = Setup::new(&*good).start().await;
    let (mut client, mut server) = open(&gate, "/chat", &upstream).await;

    for bad in ["nonsense", "[[route]]\nupstream = \"nowhere\"\n", &good.replace("servers", "severs"), ""] {
        assert!(!gate.reload(bad).await, "{bad:?} was taken");
        exchange(&mut client, &mut server).await;
        let (mut newcomer, mut newcomer_server) = open(&gate, "/chat", &upstream).await;
        exchange(&mut newcomer, &mut newcomer_server).await;
    }
    assert!(gate.output().contains("did you mean"), "the typo is explained in the log: {}", gate.output());
    assert!(gate.reload(&good).await, "a good one is taken again");
}

#[tokio::test]
async fn a_reload_that_changes_nothing_touches_nothing() {
    let upstream = Upstream::bind().await;
    let config = routes(&[("chat", &[upstream.address()])]);
    let gate = Setup::new(&*config).start().await;
    let (mut client, mut server) = open(&gate, "/chat", &upstream).await;
    for _ in 0..3 {
        assert!(gate.reload(&config).await);
        exchange(&mut client, &mut server).await;
    }
    let metrics = gate.metrics().await;
    assert_eq!((metrics.accepted(), metrics.open(), metrics.ended()), (1.0, 1.0, 0.0));
}

#[tokio::test]
async fn a_reload_during_a_handshake_keeps_no_parked_client_from_its_answer() {
    for parked_before in [true, false] {
        let upstream = Upstream::bind().await;
        let config = one_route(upstream.address(), "queue_timeout = \"2s\"\nhandshake_timeout = \"60s\"")
            .replace("[defaults]", "max_sessions = 1\n[defaults]");
        let gate = Setup::new(&*config).start().await;
        let handshake = Handshake::to(gate.address());
        let park = || {
            let handshake = handshake.clone();
            tokio::spawn(async move { handshake.open().await })
        };
        let is_parked = async || {
            gate.metrics_where("a parked client", |metrics| metrics.waiting() == 1.0).await;
        };

        let (mut client, (mut server, parked)) = join!(handshake.open(), async {
            let arrival = upstream.arrival().await;
            if !parked_before {
                assert!(gate.reload(&config).await);
            }
            let parked = park();
            is_parked().await;
            if parked_before {
                assert!(gate.reload(&config).await);
            }
            (arrival.upgrade(&[]).await, parked)
        });
        let begin = clock::now();
        let mut refused = parked.await.expect("a 101");
        let close = refused.close().await;
        assert_ours(&close, 1013, "overloaded");
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}, parked before: {parked_before}", begin.elapsed());
        refused.answer_close(&close).await;
        exchange(&mut client, &mut server).await;
    }
}

/// Reloads while the upstream holds its answer to a handshake, and gives both ends of what it then opens.
async fn open_across_a_reload(gate: &Tidegate, path: &str, upstream: &Upstream, config: &str) -> (Peer, Peer) {
    let handshake = Handshake::to(gate.address()).path(path);
    join!(handshake.open(), async {
        let arrival = upstream.arrival().await;
        assert!(gate.reload(config).await);
        arrival.upgrade(&[]).await
    })
}

#[tokio::test]
async fn a_handshake_whose_route_is_removed_meanwhile_opens_and_is_told_1001() {
    let (gone, kept) = (Upstream::bind().await, Upstream::bind().await);
    let before = routes(&[("gone", &[gone.address()]), ("kept", &[kept.address()])]);
    let after = routes(&[("kept", &[kept.address()])]);
    let gate = Setup::new(before).start().await;
    let (mut client, mut server) = open_across_a_reload(&gate, "/gone", &gone, &after).await;

    let close = client.close().await;
    assert_ours(&close, 1001, "route-removed");
    client.send(close.to_frame()).await;
    let close = server.close().await;
    assert_ours(&close, 1001, "route-removed");
    server.answer_close(&close).await;
    client.finish().await;
    let record = gate.record().await;
    assert_eq!((record.text("route"), record.cause()), ("gone", "route-removed"));
}

#[tokio::test]
async fn a_handshake_whose_endpoint_is_removed_meanwhile_opens_and_is_told_1012() {
    let (gone, kept) = (Upstream::bind().await, Upstream::bind().await);
    let gate = Setup::new(routes(&[("chat", &[gone.address()])])).start().await;
    let after = routes(&[("chat", &[kept.address()])]);
    let (mut client, mut server) = open_across_a_reload(&gate, "/chat", &gone, &after).await;

    let close = client.close().await;
    assert_ours(&close, 1012, "rebalance");
    hint(&close);
    client.send(close.to_frame()).await;
    let close = server.close().await;
    assert_ours(&close, 1001, "rebalance");
    server.answer_close(&close).await;
    client.finish().await;
    assert_eq!(gate.record().await.cause(), "rebalance");
}
