//! A process that is short of time. Of descriptors: [`overload`](super::overload).

use harness::{Echo, Frame, Handshake, Setup, Tidegate, eventually};
use serde_json::Value;

const LAG: (&str, &str) = ("limit", "lag");

/// What `/governor` says of the time that the process has.
async fn lag(gate: &Tidegate) -> Value {
    let whole: Value = serde_json::from_slice(&gate.ask("/governor").await.body).expect("JSON");
    whole["process"]["lag"].clone()
}

#[tokio::test]
async fn while_workers_lag_newcomers_are_turned_away_and_told_so_and_sessions_go_on() {
    let echo = Echo::start().await;
    let config = format!(
        "[[route]]\nupstream = \"backend\"\n\n[upstream.backend]\nservers = [\"{}\"]\n\n[protection]\nlag = \"10ms\"\n",
        echo.address()
    );
    let gate = Setup::new(config).start().await;
    let handshake = Handshake::to(gate.address());
    let (mut client, _) = eventually("a session", async || handshake.attempt().await.ok()).await;

    let starved = gate.starve();
    let refusal = eventually("a refusal", async || handshake.attempt().await.err()).await;
    assert_eq!(refusal.status, 503);
    let hint: u64 = refusal.header("Retry-After").expect("a hint").parse().expect("seconds");
    assert!((1..=10).contains(&hint), "{hint}");

    // The operator is served meanwhile, and told.
    let metrics = gate
        .metrics_where("newcomers turned away", |metrics| {
            metrics.sum("tidegate_protection_refused", &[("resource", "lag")]) > 0.0
        })
        .await;
    assert!(metrics.sum("tidegate_limit_hits_total", &[LAG, ("action", "reject")]) >= 1.0);
    assert!(metrics.sum("tidegate_handshakes_total", &[("reason", "short_of_time"), ("status", "503")]) >= 1.0);
    let seen = eventually("the same as JSON", async || {
        Some(lag(&gate).await).filter(|lag| lag["refused"].as_f64() > Some(0.0))
    })
    .await;
    assert!(seen["limit"] == 0.01 && seen["used"].as_f64() > Some(0.009), "{seen}");
    let find = async || gate.records().into_iter().find(|record| record.event() == "refused");
    let refused = eventually("its line", find).await;
    assert_eq!((refused.cause(), refused.text("limit")), ("short_of_time", "lag"));

    // Who is in stays in, and is served.
    client.send(Frame::text("still here")).await;
    assert_eq!(client.text().await, "still here");

    drop(starved);
    let (mut newcomer, _) = eventually("room for a newcomer", async || handshake.attempt().await.ok()).await;
    newcomer.send(Frame::text("here now")).await;
    assert_eq!(newcomer.text().await, "here now");
    gate.metrics_where("nobody turned away", |metrics| metrics.sum("tidegate_protection_refused", &[]) == 0.0).await;
    eventually("the same in /governor", async || Some(lag(&gate).await).filter(|lag| lag["refused"] == 0.0)).await;
}
