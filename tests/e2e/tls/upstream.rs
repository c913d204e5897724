//! TLS with servers: whom they are trusted by, and what they are shown.

use harness::certificate::{Authority, Certificate};
use harness::script::closed_with;
use harness::{Handshake, Runtime, Setup};
use serde_json::json;

fn gate_to(port: u16, options: &str) -> Setup {
    let upstream = format!("servers = [\"localhost:{port}\"]\ntls = {{ {options} }}");
    Setup::new(format!("[[route]]\nupstream = \"backend\"\n[upstream.backend]\n{upstream}\n"))
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_gets_ours_and_no_other() {
    let Some(node) = Runtime::node() else { return };
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = theirs.issue(&["chat.internal"]);
    let options = json!({
        "tls": { "cert": server.certificate_file(), "key": server.key_file(), "ca": ours.file() }
    });
    let mut backend = node.backend(&options).await;
    let port = backend.address().port();
    let trust = format!("ca = \"{}\", server_name = \"chat.internal\"", theirs.file().display());

    let identity = ours.issue(&["tidegate"]);
    for version in ["1.2", "1.3"] {
        let all = format!("{trust}, {}, min_version = \"{version}\"", identity.keys());
        let gate = gate_to(port, &all).start().await;
        let closed = node
            .converse(&json!({ "url": gate.url("/"), "messages": [{ "text": "sealed" }], "close": [1000, "done"] }))
            .await;
        assert!(closed_with(&closed, 1000, "done"), "{closed}");
        assert_eq!(backend.opened().await["certificate"], "tidegate");
    }

    let stranger = theirs.issue(&["tidegate"]);
    let not_theirs = trust.replace(&theirs.file().display().to_string(), &ours.file().display().to_string());
    // In TLS 1.3 a server judges our certificate after the handshake, and may just close.
    let (ours_to_say, theirs_to_say) = (&["upstream_tls"][..], &["upstream_tls", "upstream_handshake"][..]);
    let wrong = [
        ("no certificate", trust.clone(), theirs_to_say),
        ("one of another authority", format!("{trust}, {}", stranger.keys()), theirs_to_say),
        ("another name", format!("ca = \"{}\", {}", theirs.file().display(), identity.keys()), ours_to_say),
        ("another authority", format!("{not_theirs}, {}", identity.keys()), ours_to_say),
    ];
    for (what, options, reasons) in wrong {
        let gate = gate_to(port, &options).start().await;
        assert_eq!(Handshake::to(gate.address()).refusal().await.status, 502, "{what}");
        let metrics = gate.metrics().await;
        let refused = |reason: &&str| metrics.sum("tidegate_upstream_connects_total", &[("result", reason)]);
        assert_eq!(reasons.iter().map(refused).sum::<f64>(), 1.0, "{what}");
    }
}

#[tokio::test]
async fn the_certificate_for_servers_is_renewed_by_itself() {
    let Some(node) = Runtime::node() else { return };
    let (ours, server) = (Authority::new(), Certificate::new());
    let options = json!({ "tls": { "cert": server.certificate_file(), "key": server.key_file(), "ca": ours.file() } });
    let mut backend = node.backend(&options).await;
    let (first, second) = (ours.issue(&["first"]), ours.issue(&["second"]));
    let options = format!("ca = \"{}\", {}", server.certificate_file().display(), first.keys());
    let port = backend.address().port();
    let upstream = format!("servers = [\"localhost:{port}\"]\ntls = {{ {options} }}");
    let config = format!(
        "[tls]\nreload_interval = \"100ms\"\n[[route]]\nupstream = \"backend\"\n[upstream.backend]\n{upstream}\n"
    );
    let gate = Setup::new(config).start().await;
    let _one = Handshake::to(gate.address()).open().await;
    assert_eq!(backend.opened().await["certificate"], "first");
    first.become_like(&second);
    gate.metrics_where("a renewal", |metrics| {
        metrics.sum("tidegate_tls_reloads_total", &[("result", "success")]) >= 1.0
    })
    .await;
    let _other = Handshake::to(gate.address()).open().await;
    assert_eq!(backend.opened().await["certificate"], "second");
}
