//! How sessions are shared among servers: by weight, by count, by what a client brings, and again after a scale-out.

use std::net::SocketAddr;

use harness::{Echo, Handshake, Metrics, Peer, Setup, Tidegate, Upstream, eventually};
use tokio::task::JoinSet;

use crate::pools::pool;
use crate::session::assert_ours;

/// Servers with their weights, the upstream with these keys more and metrics for each.
fn weighed(servers: &[(SocketAddr, u32)], keys: &str) -> String {
    let servers: Vec<_> =
        servers.iter().map(|(at, weight)| format!("{{ address = \"{at}\", weight = {weight} }}")).collect();
    format!(
        "[[route]]\nname = \"main\"\nupstream = \"backend\"\n\n[upstream.backend]\nservers = [{}]\n\
         endpoint_metrics = true\n{keys}\n",
        servers.join(", ")
    )
}

fn held(metrics: &Metrics, server: &Echo) -> f64 {
    metrics.sum("tidegate_endpoint_sessions", &[("endpoint", &server.address().to_string())])
}

async fn open(gate: &Tidegate, count: usize, sessions: &mut Vec<Peer>) {
    for _ in 0..count {
        sessions.push(Handshake::to(gate.address()).open().await);
    }
}

#[tokio::test]
async fn every_balance_deals_by_weight_and_counts_go_on_over_a_reload() {
    let (one, two, new) = (Echo::start().await, Echo::start().await, Echo::start().await);
    for (balance, sessions, expected, off) in
        [("least_sessions", 9, 3.0, 0.0), ("round_robin", 9, 3.0, 0.0), ("p2c", 60, 20.0, 12.0)]
    {
        let servers = [(one.address(), 1), (two.address(), 2)];
        let keys = format!("balance = \"{balance}\"");
        let gate = Setup::new(weighed(&servers, &keys)).start().await;
        let mut open_ones = Vec::new();
        open(&gate, sessions, &mut open_ones).await;
        let metrics = gate.metrics_where("all of them", |metrics| metrics.open() == sessions as f64).await;
        let got = held(&metrics, &one);
        assert!((got - expected).abs() <= off, "{balance}: {got} of {sessions}");
        assert_eq!(held(&metrics, &two), sessions as f64 - got);
        if balance != "least_sessions" {
            continue;
        }
        // What each holds is not forgotten: the one that is new is the emptiest by as much as the others have.
        let servers = [servers[0], servers[1], (new.address(), 1)];
        assert!(gate.reload(&weighed(&servers, &keys)).await);
        open(&gate, 3, &mut open_ones).await;
        let metrics = gate.metrics_where("three more", |metrics| metrics.open() == 12.0).await;
        assert_eq!([&one, &two, &new].map(|server| held(&metrics, server)), [3.0, 6.0, 3.0]);
    }
}

/// Whose of the servers each user's session is.
async fn homes(gate: &Tidegate, servers: &[Upstream], users: usize) -> Vec<SocketAddr> {
    let mut homes = Vec::new();
    for user in 0..users {
        let cookie = format!("a=b; uid=user-{user}");
        let handshake = Handshake::to(gate.address()).header("Cookie", &cookie);
        let accepting = servers.iter().map(|server| Box::pin(async { (server.accept().await, server.address()) }));
        let (_client, ((_server, at), ..)) =
            tokio::join!(handshake.open(), futures_util::future::select_all(accepting));
        homes.push(at);
    }
    homes
}

#[tokio::test]
async fn a_server_that_leaves_moves_only_those_whose_cookie_led_to_it() {
    const USERS: usize = 24;
    let servers = [Upstream::bind().await, Upstream::bind().await, Upstream::bind().await];
    let all: Vec<_> = servers.iter().map(Upstream::address).collect();
    let keys = "balance = \"hash\"\nhash_on = \"cookie:uid\"";
    let gate = Setup::new(pool(&all, keys)).start().await;
    let before = homes(&gate, &servers, USERS).await;
    for at in &all {
        assert!(before.contains(at), "nobody on one of three: {before:?}");
    }
    assert!(gate.reload(&pool(&all[..2], keys)).await);
    let without = homes(&gate, &servers[..2], USERS).await;
    for (before, after) in before.iter().zip(&without) {
        assert!(*before == *after || *before == all[2], "{before} moved to {after}");
    }
    assert!(gate.reload(&pool(&all, keys)).await);
    assert_eq!(homes(&gate, &servers, USERS).await, before, "back where they were");
}

/// A client that comes back as soon as it is told to go for its age.
async fn comes_back(gate: SocketAddr) {
    loop {
        let mut client = Handshake::to(gate).open().await;
        let close = client.close().await;
        assert_ours(&close, 1012, "max-age");
        client.answer_close(&close).await;
    }
}

#[tokio::test]
async fn after_a_scale_out_max_age_moves_sessions_over_and_not_all_at_once() {
    const CLIENTS: usize = 12;
    let (one, two) = (Echo::start().await, Echo::start().await);
    let keys = "\n[defaults]\nmax_lifetime = \"2s\"\nmax_lifetime_jitter = 0.9";
    let gate = Setup::new(weighed(&[(one.address(), 1)], keys)).start().await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(comes_back(gate.address()));
    }
    let half = CLIENTS as f64 / 2.0;
    gate.metrics_where("all of them", |metrics| held(metrics, &one) == 2.0 * half).await;
    assert!(gate.reload(&weighed(&[(one.address(), 1), (two.address(), 1)], keys)).await);
    let even =
        |metrics: &Metrics| (held(metrics, &one) - half).abs() <= 1.0 && (held(metrics, &two) - half).abs() <= 1.0;
    gate.metrics_where("the new server to have its half", even).await;

    let many = async || Some(gate.records()).filter(|ended| ended.len() >= 2 * CLIENTS);
    let ended = eventually("as many to end as began together, twice", many).await;
    let ages: Vec<f64> = ended.iter().map(|record| record.number("duration_s")).collect();
    let (least, most) = (ages.iter().copied().fold(f64::MAX, f64::min), ages.iter().copied().fold(0.0, f64::max));
    assert!(least > 0.1 && most - least > 0.4, "they began together and must not end together: {ages:?}");
    assert!(clients.try_join_next().is_none(), "a client heard something else");
}
