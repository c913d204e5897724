//! Servers that have a name: each of its addresses is an endpoint, and they come and go.

use std::net::{Ipv4Addr, SocketAddr};

use harness::certificate::Authority;
use harness::name_server::{NameServer, Service};
use harness::{Echo, Frame, Handshake, Peer, Runtime, Setup, Tidegate, Upstream, eventually};
use serde_json::json;

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

/// A service that an upstream is, with these keys more. Names are looked up again by their TTL alone.
async fn service(services: &[Service], keys: &str) -> (Tidegate, NameServer) {
    let names = NameServer::start(&[]).await;
    names.say_services(services);
    let config = format!(
        "[[route]]\nname = \"main\"\nupstream = \"backend\"\n\n[upstream.backend]\n\
         servers = [\"srv:_ws._tcp.chat.internal\"]\nresolver = \"{}\"\nresolve_interval = \"1h\"\n{keys}\n",
        names.address()
    );
    let gate = Setup::new(config).start().await;
    let first = [("result", "ok")];
    gate.metrics_where("an answer", |metrics| metrics.sum("tidegate_resolver_lookups_total", &first) >= 1.0).await;
    (gate, names)
}

fn record(priority: u16, weight: u16, server: &Upstream) -> Service {
    Service { priority, weight, at: server.address() }
}

/// Opens so many sessions; how many each server has got, and all of them.
async fn spread_over(gate: &Tidegate, servers: &[Upstream], count: usize) -> (Vec<usize>, Vec<(Peer, Peer)>) {
    let (mut got, mut held) = (vec![0; servers.len()], Vec::new());
    for _ in 0..count {
        let arrives = async {
            let arrivals = servers.iter().map(|server| Box::pin(server.accept()));
            let (peer, index, _) = futures_util::future::select_all(arrivals).await;
            (peer, index)
        };
        let handshake = Handshake::to(gate.address());
        let (client, (server, index)) = tokio::join!(handshake.open(), arrives);
        got[index] += 1;
        held.push((client, server));
    }
    (got, held)
}

#[tokio::test]
async fn a_services_records_say_where_its_servers_are_and_how_much_each_gets() {
    let mut servers = vec![Upstream::bind().await, Upstream::bind_to(SocketAddr::from((TWO, 0))).await];
    // Standing by; nobody is there.
    let nobody = Service { priority: 20, weight: 65535, at: Upstream::bind().await.address() };
    let records = [record(10, 60, &servers[0]), record(10, 20, &servers[1]), nobody];
    let (gate, names) = service(&records, "balance = \"round_robin\"").await;
    let (got, mut held) = spread_over(&gate, &servers, 8).await;
    assert_eq!(got, [6, 2], "by weight, and none to whom stands by");
    assert_eq!(endpoints(&gate.metrics().await), 2.0);

    // Another answer when the TTL is over: other weights, and a server more on another port.
    servers.push(Upstream::bind().await);
    names.say_services(&[record(10, 1, &servers[0]), record(10, 1, &servers[1]), record(10, 2, &servers[2])]);
    gate.metrics_where("the news", |metrics| endpoints(metrics) == 3.0).await;
    let (got, more) = spread_over(&gate, &servers, 8).await;
    assert_eq!(got, [2, 2, 4]);
    held.extend(more);
    for (client, server) in &mut held {
        exchange(client, server).await;
    }
}

/// Opens a session; where it went.
async fn goes_to(gate: &Tidegate, held: &mut Vec<Peer>) -> String {
    let all = |metrics: &harness::Metrics| metrics.sum("tidegate_endpoint_sessions", &[]);
    let before = gate.metrics().await;
    held.push(Handshake::to(gate.address()).open().await);
    let after = gate.metrics_where("a session more", |metrics| all(metrics) > all(&before)).await;
    let of = |metrics: &harness::Metrics, at: &str| metrics.sum("tidegate_endpoint_sessions", &[("endpoint", at)]);
    let endpoints = after.label_values("tidegate_endpoint_sessions", "endpoint");
    endpoints.into_iter().find(|at| of(&after, at) > of(&before, at)).expect("one has a session more")
}

#[tokio::test]
async fn those_of_a_services_next_priority_stand_by_until_they_are_needed() {
    for health in ["", "health = { kind = \"websocket\", interval = \"100ms\", fall = 1, rise = 1 }"] {
        let (first, standby) = (Echo::start().await, Echo::start_at(SocketAddr::from((TWO, 0))).await);
        let (at, other) = (first.address(), standby.address());
        let records = [(1, at), (2, other)].map(|(priority, at)| Service { priority, weight: 0, at });
        let (gate, _names) = service(&records, &format!("endpoint_metrics = true\n{health}")).await;
        let mut held = Vec::new();
        for _ in 0..3 {
            assert_eq!(goes_to(&gate, &mut held).await, at.to_string());
        }
        // It takes nobody more, and whoever comes next is served all the same.
        drop(first);
        for _ in 0..3 {
            assert_eq!(goes_to(&gate, &mut held).await, other.to_string(), "{health}");
        }
        // It is there again, and the other stands by: what that holds it keeps.
        let _back = Echo::start_at(at).await;
        let is_back = async || (goes_to(&gate, &mut held).await == at.to_string()).then_some(());
        eventually("the first to be asked again", is_back).await;
        for _ in 0..3 {
            assert_eq!(goes_to(&gate, &mut held).await, at.to_string(), "{health}");
        }
        for client in &mut held {
            client.send(Frame::text("here")).await;
            assert_eq!(client.text().await, "here");
        }
    }
}

#[tokio::test]
async fn a_services_targets_that_cannot_be_asked_about_leave_all_as_it_was() {
    let server = Upstream::bind().await;
    let (gate, names) = service(&[record(0, 0, &server)], "").await;
    let (mut client, mut peer) = open(&gate, &server).await;
    names.say(None);
    lookups(&gate, "failed", 2.0).await;
    names.say(Some(&[]));
    names.say_services(&[]);
    lookups(&gate, "failed", 2.0).await;
    exchange(&mut client, &mut peer).await;
    open(&gate, &server).await;
}

#[tokio::test]
async fn a_services_certificate_is_for_its_domain_and_for_no_target() {
    let Some(node) = Runtime::node() else { return };
    let authority = Authority::new();
    for (name, keys, status) in [
        ("chat.internal", "", 101),
        ("127-0-0-1.internal", "", 502),
        ("_ws._tcp.chat.internal", "", 502),
        ("127-0-0-1.internal", ", server_name = \"127-0-0-1.internal\"", 101),
    ] {
        let certificate = authority.issue(&[name]);
        let files = json!({ "cert": certificate.certificate_file(), "key": certificate.key_file() });
        let backend = node.backend(&json!({ "tls": files })).await;
        let tls = format!("tls = {{ ca = \"{}\"{keys} }}", authority.file().display());
        let (gate, _names) = service(&[Service { priority: 0, weight: 0, at: backend.address() }], &tls).await;
        let opened = Handshake::to(gate.address()).attempt().await.map_or_else(|refusal| refusal.status, |_| 101);
        assert_eq!(opened, status, "{name}{keys}");
    }
}
