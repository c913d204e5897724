//! What a service manager sees: `sd_notify` on a real notify socket, and socket activation by systemd's own program.

use std::net::SocketAddr;
use std::process::Stdio;

use harness::ports::free_address;
use harness::scratch::Scratch;
use harness::tidegate::binary;
use harness::tools::Tool;
use harness::{Echo, Frame, Handshake, Setup, Tidegate, Upstream, eventually, within};
use tokio::net::UnixDatagram;
use tokio::process::Command;

/// The manager's end of `$NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
    _directory: Scratch,
}

impl Manager {
    async fn start(setup: Setup) -> (Self, Tidegate) {
        let directory = Scratch::new("notify");
        let path = directory.join("notify.sock");
        let socket = UnixDatagram::bind(&path).expect("a notify socket");
        let gate = setup.environment("NOTIFY_SOCKET", path).start().await;
        (Self { socket, _directory: directory }, gate)
    }

    /// The next message that has this line, and all of its lines.
    async fn hears(&self, line: &str) -> Vec<String> {
        let mut buffer = [0; 4096];
        within(line, async {
            loop {
                let length = self.socket.recv(&mut buffer).await.expect("a datagram");
                let lines = String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect::<Vec<_>>();
                if lines.iter().any(|said| said.starts_with(line)) {
                    return lines;
                }
            }
        })
        .await
    }
}

fn number(lines: &[String], name: &str) -> u64 {
    let value = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {lines:?}"))
}

#[tokio::test]
async fn the_service_manager_is_told_every_step() {
    let upstream = Upstream::bind().await;
    let (manager, mut gate) = Manager::start(Setup::proxy_to(upstream.address())).await;
    manager.hears("READY=1").await;

    gate.signal_reload();
    let reloading = manager.hears("RELOADING=1").await;
    assert!(number(&reloading, "MONOTONIC_USEC") > 0);
    manager.hears("READY=1").await;

    gate.terminate();
    let stopping = manager.hears("STOPPING=1").await;
    assert!(number(&stopping, "EXTEND_TIMEOUT_USEC") >= 30_000_000, "the window of the drain");
    assert_eq!(gate.exit().await.code(), Some(0));
}

#[tokio::test]
async fn the_watchdog_hears_while_the_workers_answer() {
    let upstream = Upstream::bind().await;
    let setup = Setup::proxy_to(upstream.address()).environment("WATCHDOG_USEC", "200000");
    let (manager, _gate) = Manager::start(setup).await;
    for _ in 0..3 {
        manager.hears("WATCHDOG=1").await;
    }
}

#[tokio::test]
async fn an_upgrade_names_the_new_main_process() {
    let upstream = Upstream::bind().await;
    let (manager, gate) = Manager::start(Setup::proxy_to(upstream.address())).await;
    gate.upgrade();
    let named = manager.hears("MAINPID=").await;
    let successor = gate.successor().await;
    assert_eq!(number(&named, "MAINPID"), successor.id() as u64);
}

#[tokio::test]
async fn systemd_binds_the_socket() {
    let Some(activate) = Tool::SocketActivate.need() else { return };
    let echo = Echo::start().await;
    let directory = Scratch::new("activated");
    let listen: SocketAddr = free_address();
    let config = directory.join("tidegate.toml");
    let text = format!(
        "[[listen]]\naddress = \"{listen}\"\n\n[[route]]\nupstream = \"backend\"\n\n\
         [upstream.backend]\nservers = [\"{}\"]\n\n[admin]\naddress = \"off\"\n\n[log]\naccess = \"off\"\n",
        echo.address()
    );
    std::fs::write(&config, text).expect("a configuration");
    // It listens itself, waits for the first connection, and then becomes tidegate.
    let mut service = Command::new(activate)
        .arg(format!("--listen={listen}"))
        .arg(binary())
        .args(["run", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("systemd-socket-activate runs");
    eventually("somebody to listen", async || tokio::net::TcpStream::connect(listen).await.ok()).await;

    let mut client = Handshake::to(listen).open().await;
    client.send(Frame::text("hello")).await;
    assert_eq!(client.text().await, "hello");
    client.send(Frame::close(1000, "")).await;
    client.close().await;
    assert!(service.try_wait().expect("a child of ours").is_none());
}
