//! More clients than the upstream may have.

use std::net::SocketAddr;
use std::time::Duration;

use harness::certificate::Certificate;
use harness::metrics::name;
use harness::raw::{Close, pair};
use harness::{Echo, Frame, Handshake, Peer, Setup, Tidegate, Upstream, clock, eventually};
use tokio::task::{JoinHandle, JoinSet};

use crate::session::{assert_ours, exchange, hint};

/// A tidegate whose upstream takes one session.
async fn one_at_most(server: SocketAddr, defaults: &str) -> Tidegate {
    Setup::new(one_session_at_a_time(server, defaults)).start().await
}

fn one_session_at_a_time(server: SocketAddr, defaults: &str) -> String {
    format!(
        "[[route]]\nname = \"main\"\nupstream = \"backend\"\n\n\
         [upstream.backend]\nservers = [\"{server}\"]\nmax_sessions = 1\n\n[defaults]\n{defaults}\n"
    )
}

#[tokio::test]
async fn a_client_too_many_gets_1013_with_a_hint() {
    let upstream = Upstream::bind().await;
    let gate = one_at_most(upstream.address(), "queue_timeout = \"200ms\"\nretry_after = \"3s\"").await;
    let (mut client, mut server) = pair(gate.address(), &upstream).await;

    let handshake = Handshake::to(gate.address())
        .header("Sec-WebSocket-Protocol", "first, second")
        .header("Sec-WebSocket-Extensions", "permessage-deflate");
    let (mut refused, response) = handshake.open_with_response().await;
    assert_eq!(response.header("Sec-WebSocket-Protocol"), Some("first"), "or a browser would see 1006");
    assert_eq!(response.header("Sec-WebSocket-Extensions"), None);
    let close = refused.close().await;
    assert_ours(&close, 1013, "overloaded");
    assert!(hint(&close) >= 3, "{close:?}");
    refused.answer_close(&close).await;

    exchange(&mut client, &mut server).await;
    let metrics = gate.metrics().await;
    assert_eq!(metrics.accepted(), 1.0, "a refusal is no session");
    assert_eq!(metrics.sum(name::HANDSHAKES, &[("result", "rejected"), ("status", "101")]), 1.0);
    assert_eq!(metrics.sum(name::SHED, &[]), 1.0);
    let record = gate.record().await;
    assert_eq!((record.event(), record.text("id")), ("refused", close.parameter("id").expect("checked above")));
    assert_eq!(record.text("limit"), "max_sessions");
}

#[tokio::test]
async fn a_client_that_speaks_before_it_is_refused_hears_why_all_the_same() {
    let upstream = Upstream::bind().await;
    let gate = one_at_most(upstream.address(), "queue_timeout = \"200ms\"").await;
    let _the_one = pair(gate.address(), &upstream).await;
    let early = Frame::binary(vec![7; 1 << 20]).encode(Some([1, 2, 3, 4]));
    let mut refused = Handshake::to(gate.address()).followed_by(&early).open().await;
    let close = refused.close().await;
    assert_ours(&close, 1013, "overloaded");
    refused.answer_close(&close).await;
}

#[tokio::test]
async fn a_waiting_client_enters_when_there_is_room() {
    let upstream = Upstream::bind().await;
    let gate = one_at_most(upstream.address(), "queue_timeout = \"20s\"").await;
    let (mut client, mut server) = pair(gate.address(), &upstream).await;

    let handshake = Handshake::to(gate.address());
    let (mut second, mut second_server) = tokio::join!(handshake.open(), async {
        client.send(Frame::close(1000, "")).await;
        assert_eq!(server.close().await, Close::new(1000, ""));
        server.answer_close(&Close::new(1000, "")).await;
        upstream.accept().await
    });
    exchange(&mut second, &mut second_server).await;
}

#[tokio::test]
async fn a_route_may_refuse_with_503_at_once() {
    let upstream = Upstream::bind().await;
    let gate = one_at_most(upstream.address(), "queue_timeout = \"60s\"\non_overload = \"503\"").await;
    let (mut client, mut server) = pair(gate.address(), &upstream).await;

    let response = Handshake::to(gate.address()).refusal().await;
    assert_eq!(response.status, 503);
    let seconds = response.header("Retry-After").expect("Retry-After");
    seconds.parse::<u32>().expect("whole seconds");
    exchange(&mut client, &mut server).await;
}

#[tokio::test]
async fn past_the_cap_of_waiting_clients_there_is_503() {
    let upstream = Upstream::bind().await;
    let gate = one_at_most(upstream.address(), "queue_timeout = \"20s\"\nmax_waiting = 1").await;
    let (mut client, mut server) = pair(gate.address(), &upstream).await;

    // Of two more, one waits and the other is turned away; which is which is theirs to race for.
    let mut answers = JoinSet::new();
    for _ in 0..2 {
        let handshake = Handshake::to(gate.address());
        answers.spawn(async move { handshake.attempt().await });
    }
    let refused = answers.join_next().await.expect("two of them").expect("an answer").expect_err("a refusal");
    assert_eq!(refused.status, 503);
    assert!(refused.header("Retry-After").is_some());

    client.send(Frame::close(1000, "")).await;
    server.close().await;
    server.answer_close(&Close::new(1000, "")).await;
    upstream.accept().await;
    let waited = answers.join_next().await.expect("one more").expect("an answer");
    assert!(waited.is_ok(), "the one that waited enters");
}

#[tokio::test]
async fn past_the_memory_for_waiting_clients_there_is_503() {
    let upstream = Upstream::bind().await;
    let defaults = "queue_timeout = \"60s\"\nmax_waiting_bytes = \"32KiB\"";
    let gate = one_at_most(upstream.address(), defaults).await;
    let (client, server) = pair(gate.address(), &upstream).await;
    let first = park(&gate, "/", 1).await;
    let wordy = Handshake::to(gate.address()).header("Cookie", &"x".repeat(14 << 10));

    let refused = wordy.refusal().await;
    assert_eq!(refused.status, 503);
    refused.header("Retry-After").expect("a hint").parse::<u32>().expect("whole seconds");
    let record = gate.record().await;
    assert_eq!((record.event(), record.text("limit")), ("refused", "max_waiting_bytes"));
    let metrics = gate.metrics().await;
    assert_eq!(metrics.sum(name::LIMIT_HITS, &[("limit", "max_waiting_bytes"), ("action", "reject")]), 1.0);
    assert_eq!(metrics.sum("tidegate_governor_waiting_bytes_limit", &[]), 32768.0);
    let held = metrics.sum("tidegate_governor_waiting_bytes", &[]);
    assert!((2048.0..16384.0).contains(&held), "{held}");
    let seen = gate.ask("/governor").await;
    let seen: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
    let queue = &seen["upstreams"]["backend"]["queue"];
    assert_eq!(queue["bytes"], serde_json::json!({ "used": held as u64, "limit": 32768, "source": "declared" }));
    assert_eq!(queue["clients"]["used"], 1);

    // With more of it the same client waits, and comes in when it is its turn.
    assert!(gate.reload(&one_session_at_a_time(upstream.address(), &defaults.replace("32", "128"))).await);
    let waiting = tokio::spawn(async move { wordy.open().await });
    let metrics = gate.metrics_where("two that wait", |metrics| metrics.waiting() == 2.0).await;
    assert!(metrics.sum("tidegate_governor_waiting_bytes", &[]) > held + 28672.0, "its head, twice");
    let ((), server) = tokio::join!(leave(client, server), upstream.accept());
    let ((), mut server) = tokio::join!(leave(first.await.expect("a 101"), server), upstream.accept());
    exchange(&mut waiting.await.expect("a 101"), &mut server).await;
    assert_eq!(gate.metrics().await.sum("tidegate_governor_waiting_bytes", &[]), 0.0);
}

#[tokio::test]
async fn an_upstream_that_says_503_is_told_as_1013_with_its_own_time() {
    for answer in ["503 Service Unavailable", "429 Too Many Requests"] {
        let upstream = Upstream::bind().await;
        let gate = Setup::proxy_with_defaults(upstream.address(), "queue_timeout = \"200ms\"").start().await;
        let handshake = Handshake::to(gate.address());
        let (mut client, ()) = tokio::join!(handshake.open(), async {
            let answer = format!("HTTP/1.1 {answer}\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
            upstream.arrival().await.answer(&answer).await;
        });
        let close = client.close().await;
        assert_ours(&close, 1013, "upstream-overloaded");
        assert!(hint(&close) >= 7, "{close:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_refuses_connections_is_told_as_1013() {
    let nobody = Upstream::bind().await.address();
    let gate = Setup::proxy_with_defaults(nobody, "queue_timeout = \"200ms\"").start().await;
    let mut client = Handshake::to(gate.address()).open().await;
    let close = client.close().await;
    assert_ours(&close, 1013, "no-upstream");
    hint(&close);
    let metrics = gate.metrics().await;
    assert_eq!((metrics.accepted(), metrics.open()), (0.0, 0.0));
}

#[tokio::test]
async fn an_upstream_that_comes_back_while_a_client_waits_gets_it() {
    let upstream = Upstream::bind().await;
    let address = upstream.address();
    drop(upstream);
    let gate = Setup::proxy_with_defaults(address, "queue_timeout = \"20s\"").start().await;
    let handshake = Handshake::to(gate.address());
    let (mut client, mut server) = tokio::join!(handshake.open(), async {
        gate.metrics_where("a failed connect", |metrics| metrics.sum("tidegate_upstream_connects_total", &[]) > 0.0)
            .await;
        Upstream::bind_to(address).await.accept().await
    });
    exchange(&mut client, &mut server).await;
}

#[tokio::test]
async fn where_the_route_says_503_an_unreachable_upstream_is_502() {
    let nobody = Upstream::bind().await.address();
    let gate = Setup::proxy_with_defaults(nobody, "on_overload = \"503\"").start().await;
    assert_eq!(Handshake::to(gate.address()).refusal().await.status, 502);
}

#[tokio::test]
async fn a_tidegate_out_of_descriptors_keeps_its_sessions_and_recovers() {
    const OPEN_FILES: u32 = 64;
    let echo = Echo::start().await;
    let gate = Setup::proxy_to(echo.address()).open_files(OPEN_FILES).start().await;
    let handshake = Handshake::to(gate.address());
    let mut client = handshake.open().await;

    let mut crowd = Vec::new();
    for _ in 0..2 * OPEN_FILES {
        crowd.push(tokio::net::TcpStream::connect(gate.address()).await.expect("room in the backlog"));
    }
    says(&mut client, "in the crowd").await;
    drop(crowd);
    // Until it has looked again it refuses.
    let (mut newcomer, _) = eventually("room for a newcomer", async || handshake.attempt().await.ok()).await;
    says(&mut newcomer, "behind the crowd").await;
    says(&mut client, "still here").await;
}

#[tokio::test]
async fn a_tidegate_out_of_descriptors_says_so_in_tls_where_tls_is_spoken() {
    const OPEN_FILES: u32 = 64;
    const ALERT_INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];
    let (certificate, echo) = (Certificate::new(), Echo::start().await);
    let gate = Setup::proxy_to(echo.address()).tls(&certificate).open_files(OPEN_FILES).start().await;
    let mut crowd = Vec::new();
    for _ in 0..2 * OPEN_FILES {
        crowd.push(tokio::net::TcpStream::connect(gate.address()).await.expect("room in the backlog"));
    }
    let turned_away = async || {
        for silent in &crowd {
            let mut told = [0; ALERT_INTERNAL_ERROR.len() + 1];
            match silent.try_read(&mut told) {
                Ok(0) | Err(_) => {}
                Ok(length) => return Some(told[..length].to_vec()),
            }
        }
        None
    };
    assert_eq!(eventually("one that is turned away", turned_away).await, ALERT_INTERNAL_ERROR);
}

/// Sends a word to an echo and hears it.
async fn says(client: &mut Peer, word: &str) {
    client.send(Frame::text(word)).await;
    assert_eq!(client.text().await, word);
}

#[tokio::test]
async fn a_tidegate_short_of_descriptors_turns_newcomers_away_and_says_so() {
    const OPEN_FILES: u32 = 256;
    let echo = Echo::start().await;
    let gate = Setup::proxy_to(echo.address()).open_files(OPEN_FILES).start().await;
    let handshake = Handshake::to(gate.address());
    let mut sessions = Vec::new();
    let refusal = eventually("a refusal", async || match handshake.attempt().await {
        Ok((session, _)) => {
            sessions.push(session);
            None
        }
        Err(refusal) => Some(refusal),
    })
    .await;
    assert_eq!(refusal.status, 503, "not a silence, and not a 101 that leads nowhere");
    let hint: u64 = refusal.header("Retry-After").expect("a hint").parse().expect("seconds");
    assert!((1..=10).contains(&hint), "{hint}");

    // The operator is served all the same, and told.
    let metrics = gate.metrics().await;
    assert!(metrics.sum("tidegate_limit_hits_total", &[("limit", "files"), ("action", "reject")]) >= 1.0);
    assert!(metrics.sum("tidegate_handshakes_total", &[("reason", "short_of_files"), ("status", "503")]) >= 1.0);
    gate.metrics_where("the use", |metrics| metrics.sum("tidegate_protection_used", &[("resource", "files")]) > 0.8)
        .await;

    // Those who are there go on, and when some have gone there is room.
    for session in &mut sessions {
        says(session, "still here").await;
    }
    sessions.truncate(sessions.len() / 2);
    eventually("room for a newcomer", async || handshake.attempt().await.ok()).await;
}

/// A tidegate with two routes, `/one` and `/other`, of these keys, to one upstream that takes one session.
async fn two_routes(server: SocketAddr, one: &str, other: &str, defaults: &str) -> Tidegate {
    let route =
        |name, keys| format!("[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nupstream = \"backend\"\n{keys}\n\n");
    let routes = route("one", one) + &route("other", other);
    let upstream = format!("[upstream.backend]\nservers = [\"{server}\"]\nmax_sessions = 1\n");
    Setup::new(format!("{routes}{upstream}\n[defaults]\n{defaults}\n")).start().await
}

/// Opens a session by `path` while the upstream takes it.
async fn enter(gate: &Tidegate, path: &str, upstream: &Upstream) -> (Peer, Peer) {
    let handshake = Handshake::to(gate.address()).path(path);
    tokio::join!(handshake.open(), upstream.accept())
}

/// A client on its way in by `path`, when `waiting` wait with it.
async fn park(gate: &Tidegate, path: &str, waiting: u8) -> JoinHandle<Peer> {
    let handshake = Handshake::to(gate.address()).path(path);
    let parked = tokio::spawn(async move { handshake.open().await });
    gate.metrics_where("a parked client", |metrics| metrics.waiting() == f64::from(waiting)).await;
    parked
}

/// Ends a session, both of whose ends are the test's.
async fn leave(mut client: Peer, mut server: Peer) {
    client.send(Frame::close(1000, "")).await;
    assert_eq!(server.close().await, Close::new(1000, ""));
    server.answer_close(&Close::new(1000, "")).await;
    assert_eq!(client.close().await, Close::new(1000, ""));
    client.finish().await;
}

#[tokio::test]
async fn a_route_may_have_its_clients_wait_less_than_the_default() {
    let upstream = Upstream::bind().await;
    let (less, default) = ("queue_timeout = \"300ms\"", "queue_timeout = \"5s\"");
    let gate = two_routes(upstream.address(), less, "", default).await;
    let _the_one = enter(&gate, "/other", &upstream).await;

    let begin = clock::now();
    let mut refused = Handshake::to(gate.address()).path("/one").open().await;
    assert_ours(&refused.close().await, 1013, "overloaded");
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_route_may_have_its_clients_wait_longer_than_the_default() {
    let upstream = Upstream::bind().await;
    let (longer, default) = ("queue_timeout = \"60s\"", "queue_timeout = \"300ms\"");
    let gate = two_routes(upstream.address(), longer, "", default).await;
    let (client, server) = enter(&gate, "/other", &upstream).await;

    let patient = park(&gate, "/one", 1).await;
    let begin = clock::now();
    let mut refused = Handshake::to(gate.address()).path("/other").open().await;
    assert_ours(&refused.close().await, 1013, "overloaded");
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(gate.metrics().await.waiting(), 1.0, "the patient one, who came first, still waits");

    let ((), mut second_server) = tokio::join!(leave(client, server), upstream.accept());
    exchange(&mut patient.await.expect("a 101"), &mut second_server).await;
}

#[tokio::test]
async fn a_route_may_have_fewer_clients_wait_than_another_of_the_same_upstream() {
    let upstream = Upstream::bind().await;
    let gate = two_routes(upstream.address(), "max_waiting = 1", "", "queue_timeout = \"60s\"").await;
    let (client, server) = enter(&gate, "/other", &upstream).await;

    let first = park(&gate, "/one", 1).await;
    let begin = clock::now();
    let refused = Handshake::to(gate.address()).path("/one").refusal().await;
    assert_eq!(refused.status, 503);
    assert!(refused.header("Retry-After").is_some());
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    let second = park(&gate, "/other", 2).await;

    let ((), mut server) = tokio::join!(leave(client, server), upstream.accept());
    let mut client = first.await.expect("a 101");
    exchange(&mut client, &mut server).await;
    let ((), mut server) = tokio::join!(leave(client, server), upstream.accept());
    exchange(&mut second.await.expect("a 101"), &mut server).await;
}

#[tokio::test]
async fn no_client_is_told_to_stay_away_for_a_day() {
    for seconds in ["4000000", "4294967295", "4294967299", "99999999999999999999"] {
        let upstream = Upstream::bind().await;
        let gate = Setup::proxy_with_defaults(upstream.address(), "queue_timeout = \"200ms\"").start().await;
        let handshake = Handshake::to(gate.address());
        let (mut client, ()) = tokio::join!(handshake.open(), async {
            let answer =
                format!("HTTP/1.1 429 Too Many Requests\r\nRetry-After: {seconds}\r\nContent-Length: 0\r\n\r\n");
            upstream.arrival().await.answer(&answer).await;
        });
        let close = client.close().await;
        assert_ours(&close, 1013, "upstream-overloaded");
        assert!((1..=86_399).contains(&hint(&close)), "{seconds}: {close:?}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_heed_when_it_may_come_back_is_told_by_a_status() {
    let upstream = Upstream::bind().await;
    let gate = one_at_most(upstream.address(), "queue_timeout = \"200ms\"\nretry_after = \"60s\"").await;
    let (client, server) = pair(gate.address(), &upstream).await;
    let hasty = Handshake::to(gate.address()).header("Cookie", "id=hasty");
    for _ in 0..3 {
        assert_ours(&hasty.open().await.close().await, 1013, "overloaded");
    }
    for _ in 0..2 {
        let begin = clock::now();
        let refusal = hasty.refusal().await;
        assert_eq!(refusal.status, 503);
        assert!(refusal.header("Retry-After").is_some_and(|after| after.parse::<u32>().is_ok_and(|after| after >= 60)));
        assert!(begin.elapsed() > Duration::from_millis(150), "it is no quicker told: {:?}", begin.elapsed());
    }
    let other = Handshake::to(gate.address()).header("Cookie", "id=other");
    assert_ours(&other.open().await.close().await, 1013, "overloaded");
    // Who sends nothing of its own may be many behind one address.
    for _ in 0..5 {
        assert_ours(&Handshake::to(gate.address()).open().await.close().await, 1013, "overloaded");
    }
    let metrics = gate.metrics().await;
    assert_eq!(metrics.sum("tidegate_limit_hits_total", &[("limit", "early_returns"), ("action", "reject")]), 2.0);

    // Nobody pays for haste where there is room.
    let ((), mut server) = tokio::join!(leave(client, server), async {
        let (mut client, mut server) = tokio::join!(hasty.open(), upstream.accept());
        exchange(&mut client, &mut server).await;
        client.send(Frame::close(1000, "")).await;
        server
    });
    assert_eq!(server.close().await, Close::new(1000, ""));
}

#[tokio::test]
async fn where_the_operator_says_1013_it_is_1013_for_the_hasty_too() {
    let upstream = Upstream::bind().await;
    let gate = one_at_most(upstream.address(), "queue_timeout = \"0s\"\non_overload = \"1013\"").await;
    let _the_one = pair(gate.address(), &upstream).await;
    for _ in 0..8 {
        assert_ours(&Handshake::to(gate.address()).open().await.close().await, 1013, "overloaded");
    }
}
