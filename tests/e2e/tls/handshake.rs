//! A TLS listener and those who speak no TLS to it.

use harness::certificate::Certificate;
use harness::{Echo, Handshake, Setup, Tidegate, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::handshakes;

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

#[tokio::test]
async fn what_is_no_tls_gets_an_alert_and_no_http() {
    const ALERT: u8 = 21;
    let (gate, certificate, _echo) = stage().await;
    let plain = Handshake::to(gate.address()).encode();
    for bytes in [&plain[..], &[0xff; 64]] {
        let answer = answer_to(&gate, bytes).await;
        assert_eq!(answer.first(), Some(&ALERT), "{answer:?}");
    }
    handshakes(&gate, "not_tls", 2.0).await;
    let _client = Handshake::to(gate.address()).open_tls(&certificate).await;
    handshakes(&gate, "full", 1.0).await;
}

#[tokio::test]
async fn a_tls_handshake_that_stalls_is_not_waited_for() {
    const RECORD_OF_A_HELLO_THAT_NEVER_COMES: &[u8] = &[22, 3, 1, 1, 0, 1, 0];
    let (certificate, echo) = (Certificate::new(), Echo::start().await);
    let gate = Setup::new(config(&echo, "handshake_timeout = \"300ms\"")).tls(&certificate).start().await;
    answer_to(&gate, RECORD_OF_A_HELLO_THAT_NEVER_COMES).await;
    handshakes(&gate, "handshake_timeout", 1.0).await;
}

#[tokio::test]
async fn no_more_handshakes_than_may_be_are_under_way_at_once() {
    let (certificate, echo) = (Certificate::new(), Echo::start().await);
    let one = config(&echo, "max_handshakes = 1\nhandshake_timeout = \"1m\"");
    let gate = Setup::new(one).tls(&certificate).start().await;
    let waits = async |count| {
        let waits = [("limit", "max_handshakes"), ("action", "wait")];
        gate.metrics_where("a wait", |metrics| metrics.sum("tidegate_limit_hits_total", &waits) == count).await
    };
    // It has said hello, and says nothing more.
    let mut holder = TcpStream::connect(gate.address()).await.expect("a connection");
    holder.write_all(&certificate.hello()).await.expect("room to send");
    holder.read_u8().await.expect("an answer to the hello");
    // Those who have said nothing at all have no turn to lose.
    let silent = TcpStream::connect(gate.address()).await.expect("a connection");
    let handshake = Handshake::to(gate.address());
    let waiting = handshake.open_tls(&certificate);
    let (_client, ()) = tokio::join!(waiting, async {
        waits(1.0).await;
        drop(holder);
    });
    drop(silent);
    handshakes(&gate, "client_gone", 2.0).await;

    let mut holder = TcpStream::connect(gate.address()).await.expect("a connection");
    holder.write_all(&certificate.hello()).await.expect("room to send");
    holder.read_u8().await.expect("an answer to the hello");
    assert!(gate.reload(&config(&echo, "max_handshakes = 1\nhandshake_timeout = \"300ms\"")).await);
    assert_eq!(answer_to(&gate, &certificate.hello()).await, Vec::<u8>::new());
    handshakes(&gate, "max_handshakes", 1.0).await;
    assert!(gate.reload(&config(&echo, "max_handshakes = 2")).await);
    let _client = handshake.open_tls(&certificate).await;
}

/// One worker, so that there is one queue.
fn config(echo: &Echo, tls: &str) -> String {
    let address = echo.address();
    format!(
        "workers = 1\n[tls]\n{tls}\n[[route]]\nupstream = \"backend\"\n[upstream.backend]\nservers = [\"{address}\"]\n"
    )
}
