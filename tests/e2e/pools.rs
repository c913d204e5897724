//! Several endpoints: which of them a client gets, and whether it comes back to the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use harness::raw::Close;
use harness::{Backend, Echo, Frame, Handshake, Runtime, Setup, Tidegate, Upstream, eventually, http};
use serde_json::{Value, json};

use crate::session::exchange;

/// One route to these servers, the upstream with these keys more.
pub(crate) fn pool(servers: &[SocketAddr], keys: &str) -> String {
    let servers: Vec<_> = servers.iter().map(|server| format!("\"{server}\"")).collect();
    format!(
        "[[route]]\nname = \"main\"\nupstream = \"backend\"\n\n\
         [upstream.backend]\nservers = [{}]\n{keys}\n",
        servers.join(", ")
    )
}

async fn start(servers: &[SocketAddr], keys: &str) -> Tidegate {
    Setup::new(pool(servers, keys)).start().await
}

/// Two running scripts of this name.
async fn two_backends(node: &Runtime, script: &str, options: &Value) -> [Backend; 2] {
    [Backend::new(node.script(script, options)).await, Backend::new(node.script(script, options)).await]
}

fn addresses(backends: &[Backend; 2]) -> [SocketAddr; 2] {
    [backends[0].address(), backends[1].address()]
}

/// How many sessions each endpoint had, from the access log.
fn sessions_by_endpoint(gate: &Tidegate) -> BTreeMap<String, usize> {
    let mut by_endpoint = BTreeMap::new();
    for record in gate.records().iter().filter(|record| record.event() == "session") {
        *by_endpoint.entry(record.text("endpoint").to_owned()).or_default() += 1;
    }
    by_endpoint
}

const CLIENTS: usize = 8;

#[tokio::test]
async fn socket_io_polls_and_upgrades_on_one_of_two_sticky_backends() {
    let Some(node) = Runtime::node() else { return };
    let transports = json!(["polling", "websocket"]);
    let mut backends = two_backends(&node, "socketio-server", &json!({ "transports": transports })).await;
    let gate = start(&addresses(&backends), "sticky = { cookie = \"srv\" }\nbalance = \"round_robin\"").await;
    let url = format!("http://{}", gate.address());
    for _ in 0..CLIENTS {
        let options = json!({ "url": url, "transports": transports, "text": "hello", "leave": true });
        let mut client = node.script("socketio-client", &options);
        let echo = client.event("echo").await;
        assert_eq!(
            (&echo["echo"], &echo["began"], &echo["transport"]),
            (&json!("hello"), &json!("polling"), &json!("websocket"))
        );
        client.event("close").await;
    }
    eventually("a line for each session", async || {
        (sessions_by_endpoint(&gate).values().sum::<usize>() == CLIENTS).then_some(())
    })
    .await;
    let mut opened = 0;
    for backend in &mut backends {
        for event in backend.events() {
            assert_ne!(event["event"], "stranger", "a request of a client of the other server: {event}");
            opened += usize::from(event["event"] == "open");
        }
    }
    assert_eq!(opened, CLIENTS);
}

#[tokio::test]
async fn signalr_negotiates_and_connects_on_one_of_two_sticky_backends() {
    let Some(node) = Runtime::node() else { return };
    let mut backends = two_backends(&node, "signalr-server", &json!({})).await;
    let gate = start(&addresses(&backends), "sticky = { cookie = \"srv\" }\nbalance = \"round_robin\"").await;
    let url = format!("http://{}/hub", gate.address());
    for _ in 0..CLIENTS {
        let options = json!({ "url": url, "negotiate": true, "end": [1012, "soon"] });
        let closed = node.script("signalr-client", &options).event("close").await;
        assert_eq!((&closed["code"], &closed["reason"]), (&json!(1012), &json!("soon")), "{closed}");
    }
    let mut opened = 0;
    for backend in &mut backends {
        for event in backend.events() {
            assert_ne!(event["event"], "stranger", "a client that the other server gave its id: {event}");
            opened += usize::from(event["negotiated"] == true);
        }
    }
    assert_eq!(opened, CLIENTS);
}

/// The cookie that an answer sets, without its attributes.
fn cookie(set: Option<&str>) -> String {
    let set = set.expect("a cookie");
    assert!(set.contains("; Path=/; HttpOnly; SameSite=Lax") && !set.contains("Secure"), "{set}");
    set.split(';').next().expect("a pair").to_owned()
}

#[tokio::test]
async fn a_cookie_takes_a_client_back_until_its_endpoint_is_gone() {
    let (one, two) = (Upstream::bind().await, Upstream::bind().await);
    let keys = "sticky = { cookie = \"srv\", secret = \"0123456789abcdef\" }";
    let gate = start(&[one.address(), two.address()], keys).await;
    let open = async |handshake: Handshake| {
        let accepting = async {
            tokio::select! {
                server = one.accept() => (0, server),
                server = two.accept() => (1, server),
            }
        };
        let ((client, response), (at, server)) = tokio::join!(handshake.open_with_response(), accepting);
        let set = response.header("Set-Cookie").map(str::to_owned);
        (client, at, server, set)
    };
    let (mut client, first, mut server, set) = open(Handshake::to(gate.address())).await;
    let cookie_of_first = cookie(set.as_deref());
    for shown in ["127.0.0.1", &one.address().port().to_string(), &two.address().port().to_string()] {
        assert!(!cookie_of_first.contains(shown), "{cookie_of_first}");
    }
    exchange(&mut client, &mut server).await;

    // Fewer sessions elsewhere would have it go there.
    let mut held = vec![(client, server)];
    for _ in 0..3 {
        let handshake = Handshake::to(gate.address()).header("Cookie", &format!("a=b; {cookie_of_first}"));
        let (client, at, server, set) = open(handshake).await;
        assert_eq!((at, set), (first, None), "who has the cookie comes back, and is not told again");
        held.push((client, server));
    }
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {cookie_of_first}\r\nConnection: close\r\n\r\n");
    let answering = async {
        let mut arrival = [&one, &two][first].arrival().await;
        arrival.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi").await;
    };
    let (answer, ()) = tokio::join!(http::exchange(gate.address(), request.as_bytes()), answering);
    assert_eq!((answer.text().as_str(), answer.header("Set-Cookie")), ("hi", None), "a plain request, too");

    // Its endpoint leaves; whoever has its cookie gets the other's.
    let left = [one.address(), two.address()][1 - first];
    assert!(gate.reload(&pool(&[left], keys)).await);
    let handshake = Handshake::to(gate.address()).header("Cookie", &cookie_of_first);
    let (_client, at, _server, set) = open(handshake).await;
    assert_eq!(at, 1 - first);
    assert_ne!(cookie(set.as_deref()), cookie_of_first);
}

#[tokio::test]
async fn over_tls_the_cookie_is_secure() {
    let certificate = harness::certificate::Certificate::new();
    let Some(node) = Runtime::node() else { return };
    let backend = Backend::new(node.script("signalr-server", &json!({}))).await;
    let config = pool(&[backend.address()], "sticky = { cookie = \"srv\", max_age = \"1h\" }");
    let gate = Setup::new(config).tls(&certificate).start().await;
    let mut page = node.script(
        "fetch",
        &json!({
            "url": format!("https://localhost:{}/hub/negotiate", gate.address().port()),
            "method": "POST",
            "ca": certificate.certificate_file(),
        }),
    );
    let answer = page.event("answer").await;
    let set = answer["cookies"][0].as_str().expect("a cookie");
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600; Secure"), "{set}");
}

#[tokio::test]
async fn clients_with_the_same_value_share_an_endpoint_and_others_spread() {
    let servers: Vec<_> = [Upstream::bind().await, Upstream::bind().await, Upstream::bind().await].into();
    let addresses: Vec<_> = servers.iter().map(Upstream::address).collect();
    let gate = start(&addresses, "balance = \"hash\"\nhash_on = \"header:x-user\"").await;
    let mut homes: BTreeMap<String, usize> = BTreeMap::new();
    let mut held = Vec::new();
    for round in 0..3 {
        for user in 0..12 {
            let user = format!("user-{user}");
            let handshake = Handshake::to(gate.address()).header("X-User", &user);
            let accepting = async {
                tokio::select! {
                    server = servers[0].accept() => (0, server),
                    server = servers[1].accept() => (1, server),
                    server = servers[2].accept() => (2, server),
                }
            };
            let (client, (at, server)) = tokio::join!(handshake.open(), accepting);
            let home = *homes.entry(user.clone()).or_insert(at);
            assert_eq!(home, at, "{user} in round {round}");
            held.push((client, server));
        }
    }
    for at in 0..3 {
        assert!(homes.values().any(|home| *home == at), "{homes:?}");
    }
}

#[tokio::test]
async fn a_dead_endpoint_costs_no_client_its_session() {
    let (dead, alive) = (harness::ports::free_address(), harness::Echo::start().await);
    let gate = start(&[dead, alive.address()], "balance = \"round_robin\"").await;
    for _ in 0..6 {
        let mut client = Handshake::to(gate.address()).open().await;
        client.send(Frame::text("x")).await;
        assert_eq!(client.text().await, "x");
        client.send(Frame::close(1000, "")).await;
        assert_eq!(client.close().await, Close::new(1000, ""));
    }
    let metrics = gate.metrics().await;
    let refused = metrics.sum("tidegate_upstream_connects_total", &[("result", "upstream_connect")]);
    let retried = metrics.sum("tidegate_upstream_retries_total", &[("reason", "upstream_connect")]);
    assert!(refused >= 1.0, "the dead one was tried: {refused}");
    assert_eq!(retried, refused, "and each time another");
    assert_eq!(metrics.accepted(), 6.0);
}

#[tokio::test]
async fn each_endpoint_has_metrics_of_its_own_if_it_is_to() {
    let (echo, other) = (Echo::start().await, Echo::start().await);
    let gone = Upstream::bind().await.address();
    let (here, there, nobody) = (echo.address().to_string(), other.address().to_string(), gone.to_string());
    let keys = "endpoint_metrics = true\nmax_sessions_per_server = 7\n\
                health = { kind = \"tcp\", interval = \"100ms\", fall = 1 }";
    let gate = start(&[echo.address(), gone], keys).await;
    let up = |metrics: &harness::Metrics, at: &str| metrics.sum("tidegate_endpoint_up", &[("endpoint", at)]);
    gate.metrics_where("what is wrong", |metrics| up(metrics, &here) == 1.0 && up(metrics, &nobody) == 0.0).await;
    let held = [Handshake::to(gate.address()).open().await, Handshake::to(gate.address()).open().await];
    let metrics = gate.metrics().await;
    let of = |name: &str, at: &str| metrics.metric(name, &[("upstream", "backend"), ("endpoint", at)]);
    assert_eq!((of("tidegate_endpoint_sessions", &here), of("tidegate_endpoint_sessions", &nobody)), (2.0, 0.0));
    assert_eq!(of("tidegate_endpoint_handshakes_in_flight", &here), 0.0);
    let declared = [("endpoint", here.as_str()), ("source", "declared")];
    assert_eq!(metrics.metric("tidegate_endpoint_sessions_limit", &declared), 7.0);

    // One that is removed is there as long as it has sessions.
    let keys = "endpoint_metrics = true\n[defaults]\non_remove = \"keep\"";
    assert!(gate.reload(&pool(&[other.address()], keys)).await);
    let metrics = gate.metrics().await;
    assert_eq!((up(&metrics, &there), up(&metrics, &here)), (1.0, 0.0));
    assert_eq!(metrics.metric("tidegate_endpoint_sessions", &[("endpoint", &here)]), 2.0);
    drop(held);
    let names = |metrics: &harness::Metrics| metrics.count("tidegate_endpoint_up", &[]);
    gate.metrics_where("one endpoint", |metrics| names(metrics) == 1).await;
    assert!(gate.reload(&pool(&[other.address()], "")).await);
    assert_eq!(names(&gate.metrics().await), 0);
}
