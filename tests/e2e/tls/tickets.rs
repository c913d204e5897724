//! Resumption: by tickets, over a renewal, never with early data, and never past a change of whom to trust.

use std::fs;

use harness::certificate::{Authority, Certificate};
use harness::openssl::Openssl;
use harness::scratch::Scratch;
use harness::{Echo, Runtime, Setup};
use serde_json::json;

use super::handshakes;
use crate::tls::clients::shown;

#[tokio::test]
async fn sessions_are_resumed_over_a_renewal_and_without_early_data() {
    let Some(openssl) = Openssl::new() else { return };
    let (echo, directory) = (Echo::start().await, Scratch::new("tickets"));
    let (first, second) = (Certificate::new(), Certificate::new());
    let config = format!(
        "[[route]]\nname = \"main\"\nupstream = \"backend\"\n[upstream.backend]\nservers = [\"{}\"]\n",
        echo.address()
    );
    let gate = Setup::new(&config).tls(&first).start().await;
    for (i, version) in ["-tls1_2", "-tls1_3"].into_iter().enumerate() {
        let resumed = (2 * i) as f64;
        let file = directory.join(version).display().to_string();
        let said = openssl.session(gate.address(), &[version, "-sess_out", &file]).await;
        assert!(said.contains("New,TLSv1."), "{said}");
        let said = openssl.session(gate.address(), &[version, "-sess_in", &file, "-sess_out", &file]).await;
        assert!(said.contains("Reused,TLSv1."), "{said}");
        handshakes(&gate, "resumed", resumed + 1.0).await;

        first.become_like(&second);
        assert!(gate.reload(&config).await, "{}", gate.output());
        let said = openssl.session(gate.address(), &[version, "-sess_in", &file]).await;
        assert!(said.contains("Reused,TLSv1."), "{said}");
        handshakes(&gate, "resumed", resumed + 2.0).await;
    }
    let early = directory.join("early");
    fs::write(&early, "GET / HTTP/1.1\r\n\r\n").expect("a file");
    let (file, early) = (directory.join("-tls1_3").display().to_string(), early.display().to_string());
    let said = openssl.session(gate.address(), &["-sess_in", &file, "-early_data", &early]).await;
    assert!(!said.contains("Earlydatawasaccepted"), "{said}");
    assert!(said.contains("Reused,TLSv1.3") && said.contains("MaxEarlyData:0"), "{said}");
}

#[tokio::test]
async fn a_ticket_stands_for_its_clients_certificate_until_its_authority_is_another() {
    let (Some(openssl), Some(node)) = (Openssl::new(), Runtime::node()) else { return };
    let (directory, authority, other) = (Scratch::new("tickets"), Authority::new(), Authority::new());
    let (server, client) = (Certificate::new(), authority.issue(&["client"]));
    let mut backend = node.backend(&json!({})).await;
    let config = format!(
        "[[route]]\nname = \"main\"\nupstream = \"backend\"\n[upstream.backend]\nservers = [\"{}\"]\n",
        backend.address()
    );
    let trust = |authority: &Authority| {
        format!("tls = {{ {}, client_ca = \"{}\" }}", server.keys(), authority.file().display())
    };
    let mut gate = Setup::new(&config).listener(trust(&authority)).start().await;
    for version in ["-tls1_2", "-tls1_3"] {
        let file = directory.join(version).display().to_string();
        let (cert, key) = (client.certificate_file().display().to_string(), client.key_file().display().to_string());
        let full = [version, "-sess_out", &file, "-cert", &cert, "-key", &key];
        let said = openssl.session(gate.address(), &full).await;
        assert!(said.contains("New,TLSv1."), "{said}");
        assert_eq!(shown(&mut backend).await.as_deref(), Some(client.der()));
        let said = openssl.session(gate.address(), &[version, "-sess_in", &file]).await;
        assert!(said.contains("Reused,TLSv1."), "{said}");
        assert_eq!(shown(&mut backend).await.as_deref(), Some(client.der()));
    }
    gate.set_listener(trust(&other));
    assert!(gate.reload(&config).await, "{}", gate.output());
    for version in ["-tls1_2", "-tls1_3"] {
        let file = directory.join(version).display().to_string();
        let said = openssl.session(gate.address(), &[version, "-sess_in", &file]).await;
        assert!(!said.contains("101SwitchingProtocols"), "{said}");
    }
    handshakes(&gate, "no_client_certificate", 2.0).await;
}
