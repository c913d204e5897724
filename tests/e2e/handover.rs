//! SIGUSR2 and the commands of the admin socket: another process takes the listeners over, and nobody is refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::certificate::Certificate;
use harness::raw::Close;
use harness::{Echo, Frame, Handshake, Peer, Setup, Tidegate, eventually};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use crate::session::assert_ours;

const DRAIN: &str = "\n[drain]\nwindow = \"2s\"\n";

fn echoing(echo: &Echo) -> String {
    format!(
        "[[route]]\nname = \"main\"\nupstream = \"backend\"\n\n\
         [upstream.backend]\nservers = [\"{}\"]\n{DRAIN}",
        echo.address()
    )
}

/// Connects `CONNECTS` times over four seconds, over TLS where a certificate is trusted. Every one must get its session.
/// Says how many it has begun.
async fn constant_stream<const CONNECTS: usize>(
    gate: SocketAddr,
    trusted: Option<Arc<Certificate>>,
    begun: Arc<AtomicUsize>,
) {
    let mut clients = JoinSet::new();
    let mut clock = tokio::time::interval(Duration::from_secs(4) / CONNECTS as u32);
    for _ in 0..CONNECTS {
        clock.tick().await;
        begun.fetch_add(1, Ordering::Relaxed);
        let trusted = trusted.clone();
        clients.spawn(async move {
            match trusted {
                None => come_and_go(Handshake::to(gate).open().await).await,
                Some(trusted) => come_and_go(Handshake::to(gate).open_tls(&trusted).await).await,
            }
        });
    }
    assert_eq!(clients.join_all().await.len(), CONNECTS);
}

async fn come_and_go(mut client: Peer<impl AsyncRead + AsyncWrite + Unpin>) {
    client.send(Frame::close(1000, "done")).await;
    let close = client.close().await;
    // One that the old process took may be told to go before it is heard.
    assert!(matches!(close.code, Some(1000 | 1012)), "{close:?}");
}

#[tokio::test]
async fn an_upgrade_refuses_nobody() {
    let echo = Echo::start().await;
    let gate = Setup::new(echoing(&echo)).start().await;
    let before = Handshake::to(gate.address()).open().await;
    upgrade_in_full_flow::<800>(gate, None, before).await;
}

#[tokio::test]
async fn an_upgrade_refuses_nobody_over_tls() {
    let (echo, certificate) = (Echo::start().await, Arc::new(Certificate::new()));
    let gate = Setup::new(echoing(&echo)).tls(&certificate).start().await;
    let before = Handshake::to(gate.address()).open_tls(&certificate).await;
    upgrade_in_full_flow::<400>(gate, Some(Arc::clone(&certificate)), before).await;
}

async fn upgrade_in_full_flow<const CONNECTS: usize>(
    mut gate: Tidegate,
    trusted: Option<Arc<Certificate>>,
    mut before: Peer<impl AsyncRead + AsyncWrite + Unpin>,
) {
    let begun = Arc::new(AtomicUsize::new(0));
    let stream = tokio::spawn(constant_stream::<CONNECTS>(gate.address(), trusted, Arc::clone(&begun)));
    let in_full_flow = async |share: usize| {
        let enough = || (begun.load(Ordering::Relaxed) > CONNECTS * share / 4).then_some(());
        eventually("a stream of connects", async || enough()).await;
    };
    in_full_flow(1).await;
    gate.upgrade();
    let second = gate.successor().await;
    let close = before.close().await;
    assert_ours(&close, 1012, "restarting");
    before.answer_close(&close).await;
    let status = gate.exit().await;
    assert_eq!(status.code(), Some(0), "{status}");

    // And again, from the one that took over.
    in_full_flow(2).await;
    second.upgrade();
    eventually("the end of the second", async || (!second.is_running()).then_some(())).await;
    let third = gate.successor().await;
    assert_ne!(third.id(), second.id());
    stream.await.expect("no connect is refused");
    assert_eq!(gate.ask("/readyz").await.status, 200);
    third.terminate().await;
}

#[tokio::test]
async fn a_failed_upgrade_changes_nothing() {
    let echo = Echo::start().await;
    let mut gate = Setup::new(echoing(&echo)).admin_socket().start().await;
    let mut client = Handshake::to(gate.address()).open().await;

    gate.write_config("[[route]]\nname = \"main\"\nupstream = \"nobody\"\n");
    gate.upgrade();
    eventually("the failure in the log", async || gate.output().contains("upgrade failed").then_some(())).await;
    client.send(Frame::text("still here")).await;
    assert_eq!(client.text().await, "still here");
    let mut newcomer = Handshake::to(gate.address()).open().await;
    newcomer.send(Frame::close(1000, "")).await;
    assert_eq!(newcomer.close().await, Close::new(1000, ""));
    assert!(!gate.has_exited());
}

#[tokio::test]
async fn commands_wait_and_say_what_came_of_them() {
    let echo = Echo::start().await;
    let mut gate = Setup::new(echoing(&echo)).admin_socket().start().await;
    let said = |output: &std::process::Output| {
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };

    let reload = said(&gate.command("reload").await);
    assert_eq!(reload, (Some(0), "reloaded: nothing has changed\n".to_owned(), String::new()));
    gate.write_config(&echoing(&echo).replace("2s", "3s"));
    assert_eq!(said(&gate.command("reload").await).1, "reloaded\n");

    let client = Handshake::to(gate.address()).open().await;
    let (code, out, _) = said(&gate.command("upgrade").await);
    let successor = gate.successor().await;
    assert_eq!((code, out), (Some(0), format!("process {} has taken over\n", successor.id())));
    drop(client);
    assert_eq!(gate.exit().await.code(), Some(0));

    // The same socket now leads to the successor.
    let drain = said(&gate.command("drain").await);
    assert_eq!(drain, (Some(0), "drained: 0 sessions were told\n".to_owned(), String::new()));
    eventually("the successor's end", async || (!successor.is_running()).then_some(())).await;
    let (code, _, error) = said(&gate.command("drain").await);
    assert!(code == Some(1) && error.contains("does tidegate run"), "{error}");
}

#[tokio::test]
async fn the_admin_socket_is_the_owners() {
    use std::os::unix::fs::PermissionsExt as _;

    let echo = Echo::start().await;
    let gate = Setup::new(echoing(&echo)).admin_socket().start().await;
    let socket = gate.access_log().with_file_name("admin.sock");
    let mode = std::fs::metadata(socket).expect("an admin socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Whoever can only look cannot command.
    let refused = gate.ask("/reload").await;
    assert_eq!(refused.status, 404);
}
