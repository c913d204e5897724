//! SIGTERM: everyone is told 1012 within the window, and the process ends with 0.

use std::time::Duration;

use harness::metrics::name;
use harness::raw::{Close, opcode, pair};
use harness::{Echo, Frame, Handshake, Metrics, Setup, Tidegate, Upstream, clock};
use tokio::task::JoinSet;

use crate::session::{assert_ours, hint};

fn with_window(server: std::net::SocketAddr, window: &str) -> Setup {
    Setup::new(format!(
        "[[route]]\nname = \"main\"\nupstream = \"backend\"\n\n\
         [upstream.backend]\nservers = [\"{server}\"]\n\n[drain]\nwindow = \"{window}\"\n"
    ))
}

/// Opens sessions whose clients answer the Close they get; each task gives that Close.
async fn waiting_clients(gate: &Tidegate, count: usize) -> JoinSet<Close> {
    let mut clients = JoinSet::new();
    for _ in 0..count {
        let mut client = Handshake::to(gate.address()).open().await;
        clients.spawn(async move {
            let close = client.close().await;
            client.answer_close(&close).await;
            close
        });
    }
    clients
}

#[tokio::test]
async fn sigterm_tells_everyone_1012_within_the_window() {
    const WINDOW: Duration = Duration::from_secs(3);
    let echo = Echo::start().await;
    let mut gate = with_window(echo.address(), "3s").start().await;
    let clients = waiting_clients(&gate, 100).await;

    let begin = clock::now();
    gate.terminate();
    let closes = clients.join_all().await;
    for close in &closes {
        assert_ours(close, 1012, "restarting");
        hint(close);
    }
    let status = gate.exit().await;
    let took = begin.elapsed();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < WINDOW + Duration::from_secs(1), "{took:?}");
    assert!(took > WINDOW / 3, "the Closes are spread, not said at once: {took:?}");
    for record in gate.wait_for_records(100).await {
        assert_eq!((record.verdict(), record.closed_by(), record.cause()), ("enforced", "proxy", "restarting"));
    }
}

#[tokio::test]
async fn a_draining_tidegate_takes_nobody_new_and_says_so() {
    let upstream = Upstream::bind().await;
    let mut gate = with_window(upstream.address(), "20s").start().await;
    let (mut client, mut server) = pair(gate.address(), &upstream).await;

    gate.terminate();
    let close = client.close().await;
    // The client has not answered yet, so the drain cannot be over.
    let ready = gate.ask("/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(gate.ask("/livez").await.status, 200);
    assert_eq!(gate.metrics().await.metric(name::DRAINING, &[]), 1.0);
    let refusal = Handshake::to(gate.address()).refusal().await;
    assert_eq!(refusal.status, 503);
    assert!(refusal.header("Retry-After").is_some());

    // The client leg first: what it sends before its answer is still delivered.
    client.send(Frame::text("one last word")).await;
    client.send(close.to_frame()).await;
    assert_eq!(server.text().await, "one last word");
    let close = server.close().await;
    assert_ours(&close, 1001, "restarting");
    server.answer_close(&close).await;
    assert_eq!(gate.exit().await.code(), Some(0), "it does not wait for a window that nobody needs");
}

#[tokio::test]
async fn a_session_that_opens_as_the_drain_begins_is_told_too() {
    // The signal races with the session's first moments; every order must be right.
    for _ in 0..10 {
        let upstream = Upstream::bind().await;
        let mut gate = with_window(upstream.address(), "20s").start().await;
        let (mut client, mut server) = pair(gate.address(), &upstream).await;
        gate.terminate();
        let close = client.close().await;
        assert_ours(&close, 1012, "restarting");
        client.send(close.to_frame()).await;
        let close = server.close().await;
        assert_ours(&close, 1001, "restarting");
        server.answer_close(&close).await;
        assert_eq!(gate.exit().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_second_sigterm_ends_it_at_once_with_closes_still_said() {
    let echo = Echo::start().await;
    let mut gate = with_window(echo.address(), "10m").start().await;
    let mut clients = waiting_clients(&gate, 50).await;

    let begin = clock::now();
    gate.terminate();
    let first = clients.join_next().await.expect("50 clients").expect("a Close");
    assert_ours(&first, 1012, "restarting");
    gate.terminate();
    for close in clients.join_all().await {
        assert_ours(&close, 1012, "restarting");
    }
    gate.exit().await;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_second_sigterm_tells_and_logs_also_the_silent() {
    let upstream = Upstream::bind().await;
    let mut gate = with_window(upstream.address(), "10m").start().await;
    let (mut client, mut server) = pair(gate.address(), &upstream).await;

    gate.terminate();
    let draining = |metrics: &Metrics| metrics.sum(name::DRAINING, &[]) == 1.0;
    // Two signals that come too close are one.
    gate.metrics_where("a drain", draining).await;
    gate.terminate();
    let (status, to_client, to_server) = tokio::join!(gate.exit(), client.close(), server.close());
    assert_ours(&to_client, 1012, "restarting");
    assert_ours(&to_server, 1001, "restarting");
    assert_eq!(status.code(), Some(0), "{status}");
    let record = gate.record().await;
    assert_eq!((record.verdict(), record.closed_by(), record.cause()), ("enforced", "proxy", "restarting"));
    assert_eq!(Some(record.text("id")), to_client.parameter("id"), "the id joins Close and log");
}

#[tokio::test]
async fn a_client_that_never_answers_does_not_hold_the_exit() {
    let upstream = Upstream::bind().await;
    let mut gate = with_window(upstream.address(), "1s").start().await;
    let (mut client, mut server) = pair(gate.address(), &upstream).await;
    gate.terminate();
    assert_ours(&client.close().await, 1012, "restarting");
    assert_ours(&server.close().await, 1001, "restarting");
    gate.exit().await;
}

#[tokio::test]
async fn a_waiting_handshake_is_answered_503_when_the_drain_begins() {
    let upstream = Upstream::bind().await;
    let mut gate = with_window(upstream.address(), "5s").start().await;
    let handshake = Handshake::to(gate.address());
    let (answer, arrival) = tokio::join!(handshake.attempt(), async {
        let arrival = upstream.arrival().await;
        gate.terminate();
        arrival
    });
    let response = answer.expect_err("a refusal");
    assert_eq!(response.status, 503);
    drop(arrival);
    assert_eq!(gate.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_tidegate_without_sessions_ends_at_once() {
    let upstream = Upstream::bind().await;
    let mut gate = with_window(upstream.address(), "10m").start().await;
    gate.terminate();
    assert_eq!(gate.exit().await.code(), Some(0));
}

#[tokio::test]
async fn what_comes_for_a_client_that_was_told_is_counted() {
    let upstream = Upstream::bind().await;
    let gate = with_window(upstream.address(), "2s").start().await;
    let (mut client, mut server) = pair(gate.address(), &upstream).await;
    gate.terminate();
    let close = client.close().await;
    assert_ours(&close, 1012, "restarting");
    server.send(Frame::text("too late")).await;
    server.send(Frame::new(opcode::PING, "?")).await;
    assert_eq!(server.frame().await, Frame::new(opcode::PONG, "?"), "answered on behalf of a client that is told");
    client.answer_close(&close).await;
    assert_ours(&server.close().await, 1001, "restarting");
    server.finish().await;
    assert_eq!(gate.record().await.number("undelivered_to_client"), 10.0);
}
