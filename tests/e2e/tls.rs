//! A TLS listener and those who speak no TLS to it.

use harness::certificate::Certificate;
use harness::{Echo, Handshake, Setup, Tidegate, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn stage() -> (Tidegate, Certificate, Echo) {
    let (certificate, echo) = (Certificate::new(), Echo::start().await);
    let gate = Setup::proxy_to(echo.address()).tls(&certificate).start().await;
    (gate, certificate, echo)
}

/// Sends these bytes; gives what comes back to the connection's end.
async fn answer_to(gate: &Tidegate, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(gate.address()).await.expect("a connection");
    stream.write_all(bytes).await.expect("room to send");
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = within("the connection's end", stream.read_to_end(&mut answer)).await;
    answer
}

async fn wait_for(gate: &Tidegate, result: &str, count: f64) {
    let labels = [("result", result)];
    gate.metrics_where(result, |metrics| metrics.sum("tidegate_tls_handshakes_total", &labels) == count).await;
}

#[tokio::test]
async fn what_is_no_tls_gets_an_alert_and_no_http() {
    const ALERT: u8 = 21;
    let (gate, certificate, _echo) = stage().await;
    let plain = Handshake::to(gate.address()).encode();
    for bytes in [&plain[..], &[0xff; 64]] {
        let answer = answer_to(&gate, bytes).await;
        assert_eq!(answer.first(), Some(&ALERT), "{answer:?}");
    }
    wait_for(&gate, "failed", 2.0).await;
    let _client = Handshake::to(gate.address()).open_tls(&certificate).await;
    wait_for(&gate, "ok", 1.0).await;
}

#[tokio::test]
async fn a_tls_handshake_that_stalls_is_not_waited_for() {
    const RECORD_OF_A_HELLO_THAT_NEVER_COMES: &[u8] = &[22, 3, 1, 1, 0, 1, 0];
    let (gate, _certificate, _echo) = stage().await;
    answer_to(&gate, RECORD_OF_A_HELLO_THAT_NEVER_COMES).await;
    wait_for(&gate, "timeout", 1.0).await;
}
