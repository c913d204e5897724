//! Which certificate a client gets, by the name that it asks for, and what it can agree on.

use harness::certificate::{Authority, Certificate};
use harness::openssl::Openssl;
use harness::{Echo, Setup, Tidegate};

use super::handshakes;

/// A default certificate and, by SNI, one for its own name and all below another, and one with a name from the
/// configuration.
async fn stage(more: &str) -> (Tidegate, Authority, Vec<Certificate>, Echo) {
    let (authority, echo) = (Authority::new(), Echo::start().await);
    let names: [&[&str]; 3] = [&["default.example"], &["a.example", "*.b.example"], &["c.example", "d.example"]];
    let certificates = names.map(|names| authority.issue(names));
    let [default, by_itself, by_name] = &certificates;
    let listener = format!(
        "tls = {{ {}, sni = [{{ {} }}, {{ {}, names = [\"d.example\"] }}]{more} }}",
        default.keys(),
        by_itself.keys(),
        by_name.keys()
    );
    let gate = Setup::proxy_to(echo.address()).listener(listener).start().await;
    (gate, authority, certificates.into(), echo)
}

#[tokio::test]
async fn each_name_has_its_certificate() {
    let Some(openssl) = Openssl::new() else { return };
    let (gate, authority, _certificates, _echo) = stage("").await;
    let cases = [
        (Some("a.example"), "a.example"),
        (Some("A.Example"), "a.example"),
        (Some("a.example."), "a.example"),
        (Some("x.b.example"), "a.example"),
        (Some("d.example"), "c.example"),
        // Its certificate has the name, but the configuration does not.
        (Some("c.example"), "default.example"),
        // A wildcard is one label, and not none.
        (Some("x.y.b.example"), "default.example"),
        (Some("b.example"), "default.example"),
        (Some("unknown.example"), "default.example"),
        (None, "default.example"),
    ];
    let authority = authority.file().display().to_string();
    for (name, subject) in cases {
        let mut arguments = vec!["-CAfile", &authority];
        arguments.extend(name.map_or(vec!["-noservername"], |name| vec!["-servername", name]));
        let said = openssl.session(gate.address(), &arguments).await;
        assert!(said.contains(&format!("subject=CN={subject}")), "{name:?}: {said}");
        assert!(said.contains("Verification:OK") && said.contains("101SwitchingProtocols"), "{name:?}: {said}");
    }
}

#[tokio::test]
async fn an_unknown_name_can_be_refused() {
    let Some(openssl) = Openssl::new() else { return };
    let (gate, ..) = stage(", unknown_name = \"refuse\"").await;
    let unknown: [&[&str]; 3] =
        [&["-servername", "unknown.example"], &["-servername", "b.example"], &["-noservername"]];
    for arguments in unknown {
        let said = openssl.session(gate.address(), arguments).await;
        assert!(said.contains("unrecognizedname"), "{arguments:?}: {said}");
        assert!(!said.contains("BEGINCERTIFICATE"), "{arguments:?}: {said}");
    }
    for name in ["default.example", "x.b.example", "d.example"] {
        let said = openssl.session(gate.address(), &["-servername", name]).await;
        assert!(said.contains("101SwitchingProtocols"), "{name}: {said}");
    }
    handshakes(&gate, "unknown_name", 3.0).await;
    handshakes(&gate, "full", 3.0).await;
}

#[tokio::test]
async fn versions_and_protocols_that_are_not_spoken_are_refused() {
    let Some(openssl) = Openssl::new() else { return };
    let (both, ..) = stage("").await;
    for version in ["-tls1_2", "-tls1_3"] {
        let said = openssl.session(both.address(), &[version, "-alpn", "http/1.1"]).await;
        assert!(said.contains("101SwitchingProtocols") && said.contains("ALPNprotocol:http/1.1"), "{version}: {said}");
    }
    let metrics = handshakes(&both, "full", 2.0).await;
    for version in ["TLSv1_2", "TLSv1_3"] {
        assert_eq!(metrics.sum("tidegate_tls_handshakes_total", &[("version", version)]), 1.0, "{version}");
    }
    let said = openssl.session(both.address(), &["-alpn", "smtp"]).await;
    assert!(said.contains("noapplicationprotocol"), "{said}");
    handshakes(&both, "incompatible", 1.0).await;

    let (newest, ..) = stage(", min_version = \"1.3\"").await;
    let said = openssl.session(newest.address(), &["-tls1_2"]).await;
    assert!(said.contains("protocolversion"), "{said}");
    handshakes(&newest, "incompatible", 1.0).await;
    assert!(openssl.session(newest.address(), &["-tls1_3"]).await.contains("101SwitchingProtocols"));
}
