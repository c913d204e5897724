//! Servers that have a name: each of its addresses is an endpoint, and they come and go.

use std::net::{Ipv4Addr, SocketAddr};

use harness::name_server::NameServer;
use harness::{Handshake, Peer, Setup, Tidegate, Upstream};

use crate::session::{assert_ours, exchange};

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Two servers on one port, and whoever knows their name.
async fn stage(addresses: &[Ipv4Addr], defaults: &str) -> (Tidegate, NameServer, Upstream, Upstream) {
    let one = Upstream::bind().await;
    let two = Upstream::bind_to(SocketAddr::from((TWO, one.address().port()))).await;
    let names = NameServer::start(addresses).await;
    let config = format!(
        "[[route]]\nname = \"main\"\nupstream = \"backend\"\n\n[upstream.backend]\nservers = [\"chat.internal:{}\"]\n\
         resolver = \"{}\"\nresolve_interval = \"1s\"\n\n[defaults]\n{defaults}\n",
        one.address().port(),
        names.address()
    );
    let gate = Setup::new(config).start().await;
    gate.metrics_where("the first answer", |metrics| endpoints(metrics) == addresses.len() as f64).await;
    lookups(&gate, "ok", 1.0).await;
    (gate, names, one, two)
}

fn endpoints(metrics: &harness::Metrics) -> f64 {
    metrics.sum("tidegate_upstream_endpoints", &[])
}

/// Waits for so many more lookups with this result.
async fn lookups(gate: &Tidegate, result: &str, more: f64) {
    let count = |metrics: &harness::Metrics| metrics.sum("tidegate_resolver_lookups_total", &[("result", result)]);
    let before = count(&gate.metrics().await);
    gate.metrics_where("lookups", |metrics| count(metrics) >= before + more).await;
}

async fn open(gate: &Tidegate, upstream: &Upstream) -> (Peer, Peer) {
    let handshake = Handshake::to(gate.address());
    tokio::join!(handshake.open(), upstream.accept())
}

#[tokio::test]
async fn addresses_come_and_go_and_their_sessions_leave() {
    let (gate, names, one, two) = stage(&[ONE], "spread = \"0s\"").await;
    let (mut stays, mut its_server) = open(&gate, &one).await;
    names.say(Some(&[ONE, TWO]));
    gate.metrics_where("a second endpoint", |metrics| endpoints(metrics) == 2.0).await;
    let (mut leaves, mut server) = open(&gate, &two).await;
    exchange(&mut leaves, &mut server).await;

    // An answer that lacks it, and one that does not: it was only another part of the addresses.
    names.say(Some(&[ONE]));
    gate.metrics_where("no second endpoint", |metrics| endpoints(metrics) == 1.0).await;
    names.say(Some(&[ONE, TWO]));
    gate.metrics_where("a second endpoint", |metrics| endpoints(metrics) == 2.0).await;
    exchange(&mut leaves, &mut server).await;

    names.say(Some(&[ONE]));
    let close = leaves.close().await;
    assert_ours(&close, 1012, "rebalance");
    leaves.answer_close(&close).await;
    assert_eq!(server.close().await.code, Some(1001));
    exchange(&mut stays, &mut its_server).await;
    open(&gate, &one).await;
}

#[tokio::test]
async fn sessions_of_an_address_that_is_gone_stay_if_they_are_to() {
    let (gate, names, one, two) = stage(&[TWO], "on_remove = \"keep\"").await;
    let (mut client, mut server) = open(&gate, &two).await;
    names.say(Some(&[ONE]));
    gate.metrics_where("news", |metrics| endpoints(metrics) == 1.0).await;
    lookups(&gate, "ok", 4.0).await;
    exchange(&mut client, &mut server).await;
    open(&gate, &one).await;
}

#[tokio::test]
async fn while_names_are_not_found_the_last_addresses_stay() {
    let (gate, names, _one, two) = stage(&[TWO], "").await;
    let (mut client, mut server) = open(&gate, &two).await;
    for nothing in [None, Some(&[][..]), Some(&[Ipv4Addr::new(169, 254, 169, 254)][..])] {
        names.say(nothing);
        lookups(&gate, "failed", 2.0).await;
        exchange(&mut client, &mut server).await;
        open(&gate, &two).await;
    }
    assert!(gate.output().contains("name not found; its last addresses stay"));
    names.say(Some(&[TWO]));
    lookups(&gate, "ok", 1.0).await;
    assert!(gate.output().contains("name found again"));
    exchange(&mut client, &mut server).await;
}
