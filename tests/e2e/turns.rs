//! Whose turn it is when an upstream takes fewer than ask: classes by their shares, tenants one after the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use harness::http::only;
use harness::{Backend, Frame, Handshake, Peer, Runtime, Setup, Tidegate, Upstream, eventually};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::session::assert_ours;

/// A real server that takes its time for each handshake, and a proxy that lets in one after the other.
async fn slow(keys: &str) -> Option<(Backend, Tidegate)> {
    slow_for("120s", keys).await
}

/// The same, where clients wait so long.
async fn slow_for(wait: &str, keys: &str) -> Option<(Backend, Tidegate)> {
    let backend = Runtime::node()?.backend(&json!({ "handshake_ms": 20 })).await;
    let gate = Setup::new(config(backend.address(), keys).replace("120s", wait)).start().await;
    Some((backend, gate))
}

fn config(server: SocketAddr, keys: &str) -> String {
    format!(
        "[defaults]\nqueue_timeout = \"120s\"\n\n[[route]]\nname = \"main\"\nupstream = \"backend\"\n\n\
         [upstream.backend]\nservers = [\"{server}\"]\nmax_handshakes_per_server = 1\n{keys}\n"
    )
}

fn classes(gold: &str) -> String {
    format!("[[upstream.backend.classes]]\nname = \"gold\"\nshare = {gold}\nclients = [\"header:X-Plan=gold\"]")
}

/// Clients that ask for a session at once, and stay.
#[derive(Default)]
struct Crowd(JoinSet<Peer>);

impl Crowd {
    /// So many more, each with this header field.
    fn join(&mut self, gate: &Tidegate, clients: usize, (name, value): (&str, &str)) {
        for _ in 0..clients {
            let handshake = Handshake::to(gate.address()).header(name, value);
            self.0.spawn(async move { handshake.open().await });
        }
    }
}

/// Waits until at least so many clients wait, which are all but those let in meanwhile.
async fn parked(gate: &Tidegate, clients: usize) {
    gate.metrics_where("a crowd", |metrics| metrics.waiting() >= clients as f64).await;
}

/// Who the next so many are that come in, by a header field; `-` without.
async fn next(backend: &mut Backend, field: &str, clients: usize) -> BTreeMap<String, usize> {
    let mut who = BTreeMap::new();
    for _ in 0..clients {
        let opened = backend.opened().await;
        *who.entry(opened["headers"][field].as_str().unwrap_or("-").to_owned()).or_default() += 1;
    }
    who
}

async fn governor(gate: &Tidegate) -> Value {
    let whole: Value = serde_json::from_slice(&gate.ask("/governor").await.body).expect("JSON");
    whole["upstreams"]["backend"].clone()
}

#[tokio::test]
async fn a_tenant_that_floods_keeps_nobody_out() {
    // More than can be served in time, so that turns become strict.
    const FLOOD: usize = 800;
    const TENANTS: usize = 5;
    const EACH: usize = 8;
    let Some((mut backend, gate)) = slow_for("12s", "tenant = \"header:X-Tenant\"").await else { return };
    let mut crowd = Crowd::default();
    crowd.join(&gate, FLOOD, ("X-Tenant", "flood"));
    eventually("a queue that stands", async || (governor(&gate).await["overloaded"] == true).then_some(())).await;
    let before = gate.metrics().await.waiting() as usize;
    for tenant in 0..TENANTS {
        crowd.join(&gate, EACH, ("X-Tenant", &format!("t{tenant}")));
    }
    parked(&gate, before + TENANTS * EACH / 2).await;

    // From the first of the others on, until the last of them is in.
    let mut who: BTreeMap<String, usize> = BTreeMap::new();
    while who.values().sum::<usize>() < TENANTS * EACH + who.get("flood").copied().unwrap_or_default() {
        let opened = backend.opened().await;
        let tenant = opened["headers"]["x-tenant"].as_str().expect("a tenant").to_owned();
        if !who.is_empty() || tenant != "flood" {
            *who.entry(tenant).or_default() += 1;
        }
    }
    let (sum, squares) = who.values().fold((0.0, 0.0), |(sum, squares), &n| (sum + n as f64, squares + (n * n) as f64));
    let jain = sum * sum / (who.len() as f64 * squares);
    assert!(who.len() == TENANTS + 1 && jain >= 0.98, "{jain} of {who:?}");

    let tenants = gate.metrics().await.metric("tidegate_governor_tenants", &[]);
    assert!((1.0..=TENANTS as f64 + 1.0).contains(&tenants), "{tenants}");
    assert!(!gate.metrics_page().await.contains("flood"), "no tenant is a label");
}

#[tokio::test]
async fn an_address_is_a_tenant_where_that_is_asked_for() {
    let Some((mut backend, gate)) = slow("tenant = \"client_ip\"\nmax_tenants = 2").await else { return };
    let mut crowd = JoinSet::new();
    for _ in 0..60 {
        let handshake = Handshake::to(gate.address());
        crowd.spawn(async move { handshake.open_from([127, 0, 0, 2]).await });
    }
    parked(&gate, 50).await;
    let handshake = Handshake::to(gate.address());
    crowd.spawn(async move { handshake.open_from([127, 0, 0, 3]).await });
    let turns = async {
        for turn in 1.. {
            if backend.opened().await["headers"]["x-forwarded-for"] == "127.0.0.3" {
                return turn;
            }
        }
        unreachable!("a loop without end")
    };
    // Some had been let in before it asked.
    let turn = turns.await;
    assert!(turn < 45, "after {turn} of the crowd");
}

#[tokio::test]
async fn a_class_has_its_share_in_a_flood_and_the_others_have_what_it_leaves() {
    const TURNS: usize = 40;
    let Some((mut backend, gate)) = slow(&classes("0.75")).await else { return };
    let mut crowd = Crowd::default();
    crowd.join(&gate, 200, ("X-Plan", "free"));
    parked(&gate, 180).await;
    crowd.join(&gate, TURNS, ("X-Plan", "gold"));
    backend.event_where("open", |open| open["headers"]["x-plan"] == "gold").await;
    let gold = next(&mut backend, "x-plan", TURNS - 4).await["gold"];
    assert!(gold.abs_diff((TURNS - 4) * 3 / 4) <= 3, "{gold} of {TURNS}");

    let seen = governor(&gate).await;
    let (gold, rest) = (&seen["classes"]["gold"], &seen["classes"]["default"]);
    assert_eq!((&gold["share"], &rest["share"]), (&json!(0.75), &json!(0.25)), "{seen}");
    assert!(gold["used"].as_u64() > rest["used"].as_u64() && rest["waiting"].as_u64() > Some(100), "{seen}");
    let number = |value: &Value| value.as_u64().expect("a number");
    assert!((0..=1).contains(&(number(&gold["used"]) - number(&gold["admitted"]))), "a handshake is used: {seen}");

    // When none of the class is left, all turns are the others'.
    gate.metrics_where("no gold", |metrics| {
        metrics.sum("tidegate_governor_class_waiting", &[("class", "gold")]) == 0.0
    })
    .await;
    let _before = backend.events();
    // The last of them may be in its handshake still.
    assert!(next(&mut backend, "x-plan", 11).await["free"] >= 10);

    // Another share, in the midst of it.
    assert!(gate.reload(&config(backend.address(), &classes("0.2"))).await);
    crowd.join(&gate, TURNS, ("X-Plan", "gold"));
    backend.event_where("open", |open| open["headers"]["x-plan"] == "gold").await;
    let gold = next(&mut backend, "x-plan", TURNS).await["gold"];
    assert!(gold.abs_diff(TURNS / 5) <= 3, "{gold} of {TURNS} after the reload");
    assert_eq!(governor(&gate).await["classes"]["gold"]["share"], json!(0.2));
}

#[tokio::test]
async fn refusals_are_counted_by_class() {
    let upstream = Upstream::bind().await;
    let keys = format!("max_sessions = 1\n{}", classes("0.5"));
    let config = config(upstream.address(), &keys).replace("120s", "0s");
    let gate = Setup::new(config).start().await;
    let gold = Handshake::to(gate.address()).header("X-Plan", "gold");
    let (_client, _server) = tokio::join!(gold.open(), upstream.accept());
    for handshake in [&gold, &Handshake::to(gate.address()), &gold] {
        assert_ours(&handshake.open().await.close().await, 1013, "overloaded");
    }
    let metrics = gate.metrics().await;
    let of = |name: &str, class: &str, result: &str| {
        let labels = [("class", class), ("result", result)];
        metrics.sum(name, if result.is_empty() { &labels[..1] } else { &labels })
    };
    let clients = |class, result| of("tidegate_governor_class_clients_total", class, result);
    assert_eq!(
        (clients("gold", "admitted"), clients("gold", "refused"), clients("default", "refused")),
        (1.0, 2.0, 1.0)
    );
    assert_eq!(of("tidegate_governor_class_in_use", "gold", ""), 1.0);
    let seen = &governor(&gate).await["classes"]["gold"];
    assert_eq!((&seen["used"], &seen["refused"]), (&json!(1), &json!(2)), "{seen}");
}

#[tokio::test]
async fn a_tenant_that_fills_the_queue_gives_way_to_one_that_has_nobody_in_it() {
    const MOST: usize = 30;
    let Some(node) = Runtime::node() else { return };
    let backend = node.backend(&json!({})).await;
    let keys = format!("max_sessions = 1\ntenant = \"header:X-Tenant\"\n{}", classes("0.5"));
    let config = config(backend.address(), &keys).replace("\"120s\"", &format!("\"120s\"\nmax_waiting = {MOST}"));
    let gate = Setup::new(config).start().await;
    let first = Handshake::to(gate.address()).header("X-Tenant", "flood").open().await;
    let mut flood = JoinSet::new();
    for _ in 0..MOST {
        let handshake = Handshake::to(gate.address()).header("X-Tenant", "flood");
        flood.spawn(async move { handshake.attempt().await.map(|_| ()) });
    }
    gate.metrics_where("a full queue", |metrics| metrics.waiting() == MOST as f64).await;
    let one_more = Handshake::to(gate.address()).header("X-Tenant", "flood").refusal().await;
    assert_eq!(one_more.status, 503);

    // Another tenant, and another class.
    for (name, value) in [("X-Tenant", "other"), ("X-Plan", "gold")] {
        let mut crowd = Crowd::default();
        crowd.join(&gate, 1, (name, value));
        let gone = flood.join_next().await.expect("a flood").expect("no failure").expect_err("one that gives way");
        assert_eq!((gone.status, gone.header("Retry-After").is_some()), (503, true));
        assert_eq!(gate.metrics().await.waiting(), MOST as f64);
        crowd.0.abort_all();
        gate.metrics_where("it is gone", |metrics| metrics.waiting() == (MOST - 1) as f64).await;
        let handshake = Handshake::to(gate.address()).header("X-Tenant", "flood");
        flood.spawn(async move { handshake.attempt().await.map(|_| ()) });
        gate.metrics_where("a full queue again", |metrics| metrics.waiting() == MOST as f64).await;
    }
    drop(first);
    flood.join_next().await.expect("a flood").expect("no failure").expect("one that comes in");
}

#[tokio::test]
async fn a_place_that_becomes_free_is_for_the_tenant_that_holds_fewer() {
    let upstream = Upstream::bind().await;
    let keys = "max_sessions = 4\ntenant = \"header:X-Tenant\"";
    let gate = Setup::new(config(upstream.address(), keys)).start().await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let handshake = Handshake::to(gate.address()).header("X-Tenant", "many");
        held.push(tokio::join!(handshake.open(), upstream.accept()));
    }
    let mut crowd = Crowd::default();
    crowd.join(&gate, 6, ("X-Tenant", "many"));
    parked(&gate, 6).await;
    crowd.join(&gate, 3, ("X-Tenant", "few"));
    parked(&gate, 9).await;

    let mut inside = Vec::new();
    for expected in ["few", "few", "many"] {
        let (mut client, mut server) = held.pop().expect("four of them");
        client.send(Frame::close(1000, "")).await;
        let close = server.close().await;
        server.answer_close(&close).await;
        let arrival = upstream.arrival().await;
        assert_eq!(only(&arrival.headers, "x-tenant"), Some(expected));
        inside.push(arrival.upgrade(&[]).await);
    }
}
