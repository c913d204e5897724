//! Clients with certificates: who may enter, and what its upstream is told.

use harness::certificate::{Authority, Certificate};
use harness::openssl::Openssl;
use harness::script::closed_with;
use harness::{Backend, Echo, Handshake, Runtime, Setup, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::handshakes;

/// The certificate in the `Client-Cert` of the next session, as RFC 9440 has it there.
pub(super) async fn shown(backend: &mut Backend) -> Option<Vec<u8>> {
    let opened = backend.opened().await;
    let value = opened["headers"].get("client-cert")?.as_str().expect("a string");
    let encoded = value.strip_prefix(':').and_then(|value| value.strip_suffix(':')).expect("colons around it");
    Some(base64(encoded))
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_end_matches('=').bytes();
    let digits = digits.map(|c| ALPHABET.iter().position(|digit| *digit == c).expect("base64") as u32);
    let digits: Vec<_> = digits.collect();
    let groups = digits.chunks(4).flat_map(|group| {
        let bits = group.iter().enumerate().map(|(i, digit)| digit << (18 - 6 * i)).sum::<u32>();
        bits.to_be_bytes()[1..group.len()].to_vec()
    });
    groups.collect()
}

fn listener(server: &Certificate, authority: &Authority, more: &str) -> String {
    format!("tls = {{ {}, client_ca = \"{}\"{more} }}", server.keys(), authority.file().display())
}

fn identity(client: &Certificate) -> [String; 4] {
    let (cert, key) = (client.certificate_file(), client.key_file());
    ["-cert".to_owned(), cert.display().to_string(), "-key".to_owned(), key.display().to_string()]
}

fn conversation(gate: &harness::Tidegate, server: &Certificate, client: &Certificate) -> Value {
    json!({
        "url": format!("wss://localhost:{}/", gate.address().port()),
        "ca": server.certificate_file(),
        "cert": client.certificate_file(),
        "key": client.key_file(),
        "messages": [{ "text": "it is me" }],
        "close": [1000, "done"],
    })
}

#[tokio::test]
async fn a_certificate_goes_upstream_and_nobody_enters_without() {
    let Some(openssl) = Openssl::new() else { return };
    let (authority, server) = (Authority::new(), Certificate::new());
    let (client, stranger) = (authority.issue(&["client"]), Authority::new().issue(&["client"]));
    let expired = authority.issue_until(&["client"], 2024);
    for runtime in Runtime::all() {
        let mut backend = runtime.backend(&json!({})).await;
        let gate = Setup::proxy_to(backend.address()).listener(listener(&server, &authority, "")).start().await;
        let closed = runtime.converse(&conversation(&gate, &server, &client)).await;
        assert!(closed_with(&closed, 1000, "done"), "{}: {closed}", runtime.name());
        assert_eq!(shown(&mut backend).await.as_deref(), Some(client.der()), "{}", runtime.name());

        for version in ["-tls1_2", "-tls1_3"] {
            let said = openssl.session(gate.address(), &[version]).await;
            assert!(!said.contains("101SwitchingProtocols") && said.contains("alert"), "{said}");
            for wrong in [&stranger, &expired] {
                let mut arguments = vec![version];
                let identity = identity(wrong);
                arguments.extend(identity.iter().map(String::as_str));
                let said = openssl.session(gate.address(), &arguments).await;
                assert!(!said.contains("101SwitchingProtocols") && said.contains("alert"), "{said}");
            }
        }
        handshakes(&gate, "no_client_certificate", 2.0).await;
        let metrics = handshakes(&gate, "client_certificate", 4.0).await;
        assert_eq!(metrics.sum("tidegate_handshakes_total", &[("result", "accepted")]), 1.0);
    }
}

#[tokio::test]
async fn the_alert_reaches_a_client_that_went_on_sending() {
    let (authority, server, echo) = (Authority::new(), Certificate::new(), Echo::start().await);
    let gate = Setup::proxy_to(echo.address()).listener(listener(&server, &authority, "")).start().await;
    // To a client of TLS 1.3 the handshake is done before the server has seen what it lacks.
    let mut client = server.connect(TcpStream::connect(gate.address()).await.expect("a connection")).await;
    let answer = async {
        client.write_all(&vec![b'x'; 4 << 20]).await?;
        client.read_u8().await
    };
    let error = within("an alert", answer).await.expect_err("no certificate was shown");
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    handshakes(&gate, "no_client_certificate", 1.0).await;
}

#[tokio::test]
async fn a_revoked_certificate_is_refused() {
    let Some(openssl) = Openssl::new() else { return };
    let (authority, server) = (Authority::new(), Certificate::new());
    let (good, revoked) = (authority.issue(&["good"]), authority.issue(&["revoked"]));
    let list = format!(", client_crl = \"{}\"", authority.revoke(&[&revoked]).display());
    let echo = Echo::start().await;
    let gate = Setup::proxy_to(echo.address()).listener(listener(&server, &authority, &list)).start().await;
    for (client, enters) in [(&good, true), (&revoked, false)] {
        let identity = identity(client);
        let said = openssl.session(gate.address(), &identity.each_ref().map(String::as_str)).await;
        assert_eq!(said.contains("101SwitchingProtocols"), enters, "{said}");
    }
    handshakes(&gate, "client_certificate", 1.0).await;
}

#[tokio::test]
async fn where_a_certificate_is_optional_a_client_has_what_it_shows_and_not_what_it_says() {
    let (Some(openssl), Some(node)) = (Openssl::new(), Runtime::node()) else { return };
    let (authority, server) = (Authority::new(), Certificate::new());
    let (client, stranger) = (authority.issue(&["client"]), Authority::new().issue(&["client"]));
    let mut backend = node.backend(&json!({})).await;
    let optional = listener(&server, &authority, ", client_auth = \"optional\"");
    let gate = Setup::proxy_to(backend.address()).listener(optional).start().await;

    let forged =
        Handshake::to(gate.address()).header("Client-Cert", ":Zm9yZ2Vk:").header("Client-Cert-Chain", ":Zm9y:");
    let _session = forged.open_tls(&server).await;
    let opened = backend.opened().await;
    assert_eq!((opened["headers"].get("client-cert"), opened["headers"].get("client-cert-chain")), (None, None));
    let sanitized = [("kind", "untrusted_client_cert")];
    assert_eq!(gate.metrics().await.sum("tidegate_sanitized_headers_total", &sanitized), 2.0);

    node.converse(&conversation(&gate, &server, &client)).await;
    assert_eq!(shown(&mut backend).await.as_deref(), Some(client.der()));

    let identity = identity(&stranger);
    let said = openssl.session(gate.address(), &identity.each_ref().map(String::as_str)).await;
    assert!(!said.contains("101SwitchingProtocols"), "{said}");
    handshakes(&gate, "client_certificate", 1.0).await;
}
