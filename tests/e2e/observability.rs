//! Metrics and access log: the same truth, counted and written down.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::metrics::name;
use harness::prometheus::Prometheus;
use harness::raw::Close;
use harness::tools::Tool;
use harness::{Echo, Frame, Handshake, Setup};
use tokio::task::JoinSet;

use crate::session::{Session, assert_record};

#[tokio::test]
async fn accepted_is_open_plus_ended_at_every_scrape() {
    const SCRAPES: usize = 200;
    let echo = Echo::start().await;
    let gate = Setup::proxy_to(echo.address()).start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut churn = JoinSet::new();
    for number in 0..8 {
        let (handshake, stop) = (Handshake::to(gate.address()), Arc::clone(&stop));
        churn.spawn(async move {
            let mut sessions = 0_usize;
            while !stop.load(Ordering::Relaxed) {
                let mut client = handshake.open().await;
                match (number + sessions) % 4 {
                    0 => client.reset(),
                    1 => client.hang_up().await,
                    2 => {
                        client.send(Frame::text("x").with_rsv(0b111)).await;
                        assert_eq!(client.close().await.code, Some(1002));
                    }
                    _ => {
                        client.send(Frame::close(4000, "")).await;
                        assert_eq!(client.close().await, Close::new(4000, ""));
                    }
                }
                sessions += 1;
            }
            sessions
        });
    }
    for _ in 0..SCRAPES {
        let metrics = gate.metrics().await;
        let (accepted, open, ended) = (metrics.accepted(), metrics.open(), metrics.ended());
        assert_eq!(accepted, open + ended, "accepted {accepted}, open {open}, ended {ended}");
    }
    stop.store(true, Ordering::Relaxed);
    let sessions: usize = churn.join_all().await.iter().sum();
    let metrics = gate.metrics_where("no open session", |metrics| metrics.open() == 0.0).await;
    assert_eq!(metrics.accepted(), sessions as f64);
    assert_eq!(gate.wait_for_records(sessions).await.len(), sessions);
}

#[tokio::test]
async fn frames_and_bytes_are_counted_while_the_session_lives() {
    let Session { gate, mut client, mut server, .. } = Session::open().await;
    client.send(Frame::text("12345")).await;
    server.text().await;
    server.send(Frame::binary(vec![0; 70_000])).await;
    client.message().await;
    let up = [("direction", "client_to_upstream")];
    let down = [("direction", "upstream_to_client")];
    let metrics = gate
        .metrics_where("the bytes to be counted", |metrics| metrics.sum(name::PAYLOAD_BYTES, &down) == 70_000.0)
        .await;
    assert_eq!(metrics.sum(name::PAYLOAD_BYTES, &up), 5.0);
    assert_eq!(metrics.sum(name::FRAMES, &[up[0], ("opcode", "text")]), 1.0);
    assert_eq!(metrics.open(), 1.0);
}

#[tokio::test]
async fn closes_are_counted_by_who_code_and_cause() {
    let mut session = Session::open().await;
    session.exchange().await;
    let Session { gate, mut client, mut server, .. } = session;
    server.send(Frame::close(4001, "bye")).await;
    let close = client.close().await;
    client.send(close.to_frame()).await;
    assert_eq!(server.close().await, close);
    tokio::join!(client.finish(), server.finish());
    let labels = [("route", "main"), ("side", "upstream"), ("code", "4xxx"), ("cause", "upstream-close")];
    gate.metrics_where("the Close to be counted", |metrics| metrics.sum(name::CLOSES, &labels) == 1.0).await;
}

#[tokio::test]
async fn every_series_is_there_from_the_start() {
    let echo = Echo::start().await;
    let gate = Setup::proxy_to(echo.address()).start().await;
    let metrics = gate.metrics().await;
    for name in
        [name::SESSIONS, name::HANDSHAKES, name::CLOSES, name::RELOADS, name::FRAMES, name::PAYLOAD_BYTES, name::SHED]
    {
        assert!(metrics.has(name), "{name}");
    }
    assert!(metrics.has("process_resident_memory_bytes"));
}

#[tokio::test]
async fn a_session_is_one_line_of_the_access_log() {
    let echo = Echo::start().await;
    let gate = Setup::proxy_to(echo.address()).start().await;
    let mut client = Handshake::to(gate.address()).path("/chat/room?token=secret&user=x").open().await;
    client.send(Frame::text("hello")).await;
    assert_eq!(client.text().await, "hello");
    client.send(Frame::close(4001, "secret reason")).await;
    client.close().await;
    client.finish().await;

    let record = gate.record().await;
    let legs = "sent 4001, received 4001, clean";
    assert_record(&record, "agreed", "client", "client-close", legs, legs);
    assert_eq!((record.text("route"), record.text("upstream")), ("main", "backend"));
    assert_eq!(record.text("endpoint"), echo.address().to_string());
    assert!(record.path().starts_with("/chat/room"), "{}", record.line());
    assert!(!record.line().contains("token=secret"), "{}", record.line());
    assert!(record.number("duration_s") >= 0.0);
}

#[tokio::test]
async fn what_a_peer_says_cannot_forge_the_log() {
    const FORGERY: &str = "x\r\n\u{1b}[2J{\"event\":\"session\"}";
    let echo = Echo::start().await;
    let gate = Setup::proxy_to(echo.address()).start().await;
    let handshake = Handshake::to(gate.address()).header("User-Agent", "\u{9b}2J\u{fffd}");
    let mut client = handshake.open().await;
    client.send(Frame::close(4001, FORGERY)).await;
    assert_eq!(client.close().await, Close::new(4001, FORGERY), "the peers hear it as it is");
    client.finish().await;
    gate.record().await;
    let log = std::fs::read(gate.access_log()).expect("the log");
    let (line, end) = log.split_at(log.len() - 1);
    assert!(end == b"\n" && !line.iter().any(u8::is_ascii_control), "{}", String::from_utf8_lossy(line));
}

#[tokio::test]
async fn a_refused_request_is_in_the_log_but_no_session() {
    let echo = Echo::start().await;
    let config =
        format!("[[route]]\npath = \"/ws\"\nupstream = \"a\"\n[upstream.a]\nservers = [\"{}\"]\n", echo.address());
    let gate = Setup::new(config).start().await;
    assert_eq!(Handshake::to(gate.address()).path("/elsewhere").refusal().await.status, 404);
    let record = gate.record().await;
    assert_eq!((record.verdict(), record.number("status")), ("refused", 404.0));
    let metrics = gate.metrics().await;
    assert_eq!(metrics.accepted(), 0.0);
    assert_eq!(metrics.sum(name::HANDSHAKES, &[("route", "_none"), ("result", "rejected")]), 1.0);
}

#[tokio::test]
async fn prometheus_scrapes_it() {
    let Session { gate, client: _client, server: _server, .. } = Session::open().await;
    let Some(prometheus) = Prometheus::scraping(gate.admin()).await else { return };
    prometheus.wait_for("up", "1").await;
    let series = prometheus.wait_for("tidegate_sessions", "1").await;
    assert_eq!((&series["route"], &series["upstream"]), (&"main".into(), &"backend".into()));
}

#[tokio::test]
async fn promtool_finds_nothing_to_blame() {
    let Some(promtool) = Tool::Promtool.need() else { return };
    let mut session = Session::open().await;
    session.exchange().await;
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    check.stdin.take().expect("piped").write_all(session.gate.metrics_page().await.as_bytes()).expect("it reads");
    let verdict = check.wait_with_output().expect("it ends");
    assert!(verdict.status.success(), "{}", String::from_utf8_lossy(&verdict.stderr));
}

#[tokio::test]
async fn a_rotated_access_log_is_opened_anew() {
    let echo = Echo::start().await;
    let gate = Setup::proxy_to(echo.address()).start().await;
    let rotated = gate.access_log().with_extension("1");
    std::fs::rename(gate.access_log(), &rotated).expect("the log is there from the start");
    gate.reopen_logs();
    harness::eventually("a new log", async || gate.access_log().exists().then_some(())).await;
    let mut client = Handshake::to(gate.address()).open().await;
    client.send(Frame::close(1000, "")).await;
    assert_eq!(gate.record().await.verdict(), "agreed");
    assert_eq!(std::fs::read_to_string(rotated).expect("the old log"), "");
}
