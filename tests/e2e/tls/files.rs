//! Certificates that change on disk: taken up under load without a loss, or not at all.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use harness::certificate::{Authority, Certificate};
use harness::openssl::Openssl;
use harness::raw::Close;
use harness::scratch::Scratch;
use harness::{Echo, Frame, Handshake, Metrics, Setup, Tidegate};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

fn config(echo: &Echo) -> String {
    format!(
        "[tls]\nreload_interval = \"100ms\"\n[[route]]\nname = \"main\"\nupstream = \"backend\"\n\
         [upstream.backend]\nservers = [\"{}\"]\n",
        echo.address()
    )
}

/// A volume as Kubernetes mounts a secret: the files are links through `..data`, which is a link itself.
struct Volume {
    directory: Scratch,
    versions: usize,
}

impl Volume {
    fn new(certificate: &Certificate) -> Self {
        let mut volume = Self { directory: Scratch::new("volume"), versions: 0 };
        volume.update(certificate);
        for name in ["cert.pem", "key.pem"] {
            symlink(Path::new("..data").join(name), volume.file(name)).expect("a link");
        }
        volume
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// All at once, by the rename of one link.
    fn update(&mut self, certificate: &Certificate) {
        self.versions += 1;
        let version = format!("..{}", self.versions);
        fs::create_dir(self.file(&version)).expect("a directory");
        fs::copy(certificate.certificate_file(), self.file(&version).join("cert.pem")).expect("a copy");
        fs::copy(certificate.key_file(), self.file(&version).join("key.pem")).expect("a copy");
        symlink(&version, self.file("..data_tmp")).expect("a link");
        fs::rename(self.file("..data_tmp"), self.file("..data")).expect("a rename");
    }

    fn keys(&self) -> String {
        let (certificate, key) = (self.file("cert.pem"), self.file("key.pem"));
        format!("tls = {{ certificate = \"{}\", key = \"{}\" }}", certificate.display(), key.display())
    }
}

fn reloads(metrics: &Metrics, result: &str) -> f64 {
    metrics.sum("tidegate_tls_reloads_total", &[("result", result)])
}

/// Puts something else in the certificate's place at once: a file seen half written would be one failure more.
fn replace(certificate: &Certificate, text: &[u8]) {
    let file = certificate.certificate_file();
    let new = file.with_extension("new");
    fs::write(&new, text).expect("a new file");
    fs::rename(new, file).expect("it takes the other's place");
}

async fn reloaded(gate: &Tidegate, result: &str, count: f64) {
    gate.metrics_where(result, |metrics| reloads(metrics, result) == count).await;
}

#[tokio::test]
async fn certificates_swapped_under_load_lose_no_connection_and_no_session() {
    const SESSIONS: usize = 20;
    const CONNECTORS: usize = 4;
    const SWAPS: usize = 12;
    let (authority, echo) = (Authority::new(), Echo::start().await);
    let certificates = [authority.issue_for_loopback(), authority.issue_for_loopback()];
    let mut volume = Volume::new(&certificates[0]);
    let gate = Setup::new(config(&echo)).listener(volume.keys()).start().await;
    let (stop, opened) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let trust = Arc::new(authority.issue_for_loopback());
    let mut work = JoinSet::new();
    let address = gate.address();
    for _ in 0..SESSIONS {
        let mut client = Handshake::to(address).open_tls(&trust).await;
        let stop = stop.clone();
        work.spawn(async move {
            let mut sent = 0;
            while !stop.load(Relaxed) {
                exchange(&mut client, sent).await;
                sent += 1;
            }
            close(&mut client).await;
        });
    }
    for _ in 0..CONNECTORS {
        let (stop, opened, trust) = (stop.clone(), opened.clone(), trust.clone());
        work.spawn(async move {
            while !stop.load(Relaxed) {
                let mut client = Handshake::to(address).open_tls(&trust).await;
                exchange(&mut client, 0).await;
                close(&mut client).await;
                opened.fetch_add(1, Relaxed);
            }
        });
    }
    for swap in 1..=SWAPS {
        let before = opened.load(Relaxed);
        volume.update(&certificates[swap % 2]);
        reloaded(&gate, "success", swap as f64).await;
        harness::eventually("connections after a swap", async || {
            (opened.load(Relaxed) > before + CONNECTORS).then_some(())
        })
        .await;
    }
    stop.store(true, Relaxed);
    while let Some(done) = work.join_next().await {
        done.expect("no task lost its connection");
    }
    let total = (opened.load(Relaxed) + SESSIONS) as f64;
    let metrics = gate.metrics_where("all sessions' ends", |metrics| metrics.open() == 0.0).await;
    let ok = |labels: &[(&str, &str)]| metrics.sum("tidegate_tls_handshakes_total", labels);
    assert_eq!((ok(&[]), ok(&[("result", "ok")])), (total, total));
    assert_eq!(metrics.sum("tidegate_session_closes_total", &[("code", "1000")]), total);
    assert_eq!(reloads(&metrics, "failure"), 0.0);
}

async fn exchange(client: &mut harness::Peer<impl AsyncRead + AsyncWrite + Unpin>, number: usize) {
    client.send(Frame::text(&number.to_string())).await;
    assert_eq!(client.text().await, number.to_string());
}

async fn close(client: &mut harness::Peer<impl AsyncRead + AsyncWrite + Unpin>) {
    client.send(Frame::close(1000, "")).await;
    assert_eq!(client.close().await, Close::new(1000, ""));
}

/// The serial number that is shown to a new client.
async fn serial(openssl: &Openssl, gate: &Tidegate) -> String {
    let said = openssl.session(gate.address(), &[]).await;
    let from = said.find("-----BEGINCERTIFICATE-----").unwrap_or_else(|| panic!("no certificate: {said}"));
    let to = said[from..].find("-----ENDCERTIFICATE-----").expect("its end");
    said[from..from + to].to_owned()
}

#[tokio::test]
async fn what_is_wrong_is_not_taken_and_what_is_right_again_is() {
    let Some(openssl) = Openssl::new() else { return };
    let (authority, echo) = (Authority::new(), Echo::start().await);
    let [used, next] = [authority.issue_for_loopback(), authority.issue_for_loopback()];
    let expired = authority.issue_until(&["localhost"], 2024);
    let gate = Setup::new(config(&echo)).tls(&used).start().await;
    let before = serial(&openssl, &gate).await;

    type Spoil = fn(&Certificate, &Certificate);
    let wrong: [(&str, Spoil); 4] = [
        ("not the key", |used, next| replace(used, &fs::read(next.certificate_file()).expect("a certificate"))),
        ("cut off", |used, next| {
            let text = fs::read(next.certificate_file()).expect("a certificate");
            replace(used, &text[..text.len() / 2]);
        }),
        ("empty", |used, _| replace(used, b"")),
        ("gone", |used, _| fs::remove_file(used.certificate_file()).expect("a file less")),
    ];
    for (i, (what, spoil)) in wrong.into_iter().enumerate() {
        spoil(&used, &next);
        reloaded(&gate, "failure", (i + 1) as f64).await;
        assert_eq!(serial(&openssl, &gate).await, before, "{what}");
    }
    // A reload says no, too, and changes nothing.
    assert!(!gate.reload(&config(&echo)).await);
    assert_eq!(serial(&openssl, &gate).await, before);
    assert!(gate.output().contains("those loaded before stay"), "{}", gate.output());

    used.become_like(&next);
    gate.metrics_where("a renewal", |metrics| reloads(metrics, "success") == 1.0).await;
    let renewed = serial(&openssl, &gate).await;
    assert_ne!(renewed, before);

    let failures = reloads(&gate.metrics().await, "failure");
    used.become_like(&expired);
    gate.metrics_where("a refusal", |metrics| reloads(metrics, "failure") > failures).await;
    harness::eventually("the reason", async || gate.output().contains("has expired").then_some(())).await;
    assert_eq!(serial(&openssl, &gate).await, renewed);
}

#[tokio::test]
async fn it_is_known_when_a_certificate_expires() {
    let (authority, echo) = (Authority::new(), Echo::start().await);
    let (first, second) = (authority.issue_until(&["localhost"], 2100), authority.issue_until(&["localhost"], 2101));
    let gate = Setup::new(config(&echo)).tls(&first).start().await;
    let file = first.certificate_file().display().to_string();
    let not_after = |metrics: &Metrics| {
        metrics.sum("tidegate_tls_certificate_not_after_timestamp_seconds", &[("certificate", file.as_str())])
    };
    // 1 January of 2100 and 2101, by `date -u -d 2100-01-01 +%s`.
    assert_eq!(not_after(&gate.metrics().await), 4_102_444_800.0);
    first.become_like(&second);
    gate.metrics_where("the new date", |metrics| not_after(metrics) == 4_133_980_800.0).await;
}

#[tokio::test]
async fn a_reload_switches_a_listener_to_tls_and_back() {
    let (certificate, echo) = (Certificate::new(), Echo::start().await);
    let mut gate = Setup::new(config(&echo)).start().await;
    let mut plain = Handshake::to(gate.address()).open().await;
    gate.set_listener(format!("tls = {{ {} }}", certificate.keys()));
    assert!(gate.reload(&config(&echo)).await);
    let mut sealed = Handshake::to(gate.address()).open_tls(&certificate).await;
    gate.set_listener("");
    assert!(gate.reload(&config(&echo)).await);
    let mut again = Handshake::to(gate.address()).open().await;
    for client in [&mut plain, &mut again] {
        exchange(client, 1).await;
        close(client).await;
    }
    exchange(&mut sealed, 1).await;
    close(&mut sealed).await;
    let records = gate.wait_for_records(3).await;
    assert_eq!(records.iter().filter(|record| record.flag("tls")).count(), 1, "{records:#?}");
}
