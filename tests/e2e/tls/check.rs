//! `tidegate check` opens the files, and says where each mistake stands.

use std::fs;
use std::process::Command;

use harness::certificate::{Authority, Certificate};
use harness::scratch::Scratch;
use harness::tidegate::binary;

/// Checks a configuration whose line 3 is `tls` of the listener and line 8 that of the upstream.
fn check(listener: &str, upstream: &str) -> (bool, String) {
    let directory = Scratch::new("check");
    let file = directory.join("tidegate.toml");
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n{listener}\n[[route]]\nupstream = \"chat\"\n\
         [upstream.chat]\nservers = [\"localhost:1\"]\n{upstream}\n"
    );
    fs::write(&file, text).expect("the configuration is written");
    let output = Command::new(binary()).args(["check", "--config"]).arg(&file).output().expect("tidegate runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

struct Files {
    directory: Scratch,
    good: Certificate,
    other: Certificate,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let authority = Authority::new();
        let good = authority.issue(&["a.example", "*.b.example"]);
        Self { directory: Scratch::new("files"), good, other: authority.issue(&["c.example"]), authority }
    }

    /// A file with this in it.
    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.directory.join(name);
        fs::write(&path, text).expect("a file is written");
        path.display().to_string()
    }
}

#[test]
fn every_mistake_in_the_files_is_told_where_they_are_named() {
    let files = Files::new();
    let (good, other) = (&files.good, &files.other);
    let (cert, key) = (good.certificate_file().display().to_string(), good.key_file().display().to_string());
    let pair = |cert: &str, key: &str| format!("certificate = \"{cert}\", key = \"{key}\"");
    let missing = files.directory.join("missing.pem").display().to_string();
    let words = files.file("words.pem", "no PEM at all");
    let broken = files.file("broken.pem", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    let no_der = files.file("no-der.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let locked = files.file("locked.pem", locked);
    let no_key = files.file("no-key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let nameless = files.authority.issue(&[]);
    let other_key = other.key_file().display().to_string();
    // Each with the value whose place is told, and what is told of it.
    let cases: [(String, &str, &str); 14] = [
        (pair(&missing, &key), &missing, "No such file"),
        (pair(&words, &key), &words, "no certificate in it"),
        (pair(&key, &words), &key, "no certificate in it"),
        (pair(&broken, &key), &broken, "not PEM"),
        (pair(&no_der, &key), &no_der, "not a certificate"),
        (pair(&cert, &missing), &missing, "No such file"),
        (pair(&cert, &cert), &cert, "no private key in it"),
        (pair(&cert, &locked), &locked, "passphrase"),
        (pair(&cert, &no_key), &no_key, "no key that can be used"),
        (pair(&cert, &other_key), &other_key, "not the key of the certificate"),
        (format!("{}, client_ca = \"{missing}\"", good.keys()), &missing, "No such file"),
        (format!("{}, client_ca = \"{key}\"", good.keys()), &key, "no certificate in it"),
        (format!("{}, client_ca = \"{cert}\", client_crl = \"{words}\"", good.keys()), &words, "no revocation list"),
        (format!("{}, sni = [{{ {} }}]", good.keys(), nameless.keys()), "", "no DNS name in the certificate"),
    ];
    for (keys, place, expected) in cases {
        let listener = format!("tls = {{ {keys} }}");
        let (success, said) = check(&listener, "");
        assert!(!success && said.contains(expected), "{keys}\n{said}");
        // The last value is meant where two are the same.
        let column = listener.rfind(&format!("\"{place}\"")).map(|at| at + 1);
        let place = column.map_or(":3:".to_owned(), |column| format!("tidegate.toml:3:{column}"));
        assert!(said.contains(&place), "{place} is not told:\n{said}");
    }
    for (keys, expected) in [
        (format!("ca = \"{missing}\""), "No such file"),
        (format!("ca = \"{words}\""), "no certificate in it"),
        (format!("certificate = \"{cert}\", key = \"{other_key}\""), "not the key of the certificate"),
    ] {
        let (success, said) = check("", &format!("tls = {{ {keys} }}"));
        assert!(!success && said.contains(expected) && said.contains("tidegate.toml:8:"), "{keys}\n{said}");
    }
}

#[test]
fn a_name_has_one_certificate() {
    let files = Files::new();
    let again = files.authority.issue(&["x.example", "a.example"]);
    let sni = |names: &str| format!("tls = {{ {}, sni = [{{ {}{names} }}] }}", files.good.keys(), again.keys());
    let (success, said) = check(&sni(""), "");
    assert!(!success && said.contains("for `a.example`, too") && said.contains("the other"), "{said}");
    let (success, said) = check(&sni(", names = [\"x.example\"]"), "");
    assert!(success, "{said}");
}

#[test]
fn with_warnings_it_may_run() {
    let files = Files::new();
    let expired = files.authority.issue_until(&["localhost"], 2024);
    let (success, said) = check(&format!("tls = {{ {} }}", expired.keys()), "");
    assert!(success && said.contains("warning") && said.contains("has expired at 2024-01-01T00:00:00Z"), "{said}");
    assert!(said.contains("tidegate.toml:3:"), "{said}");
    let sni = format!("sni = [{{ {}, names = [\"d.example\"] }}]", files.other.keys());
    let (success, said) = check(&format!("tls = {{ {}, {sni} }}", files.good.keys()), "");
    assert!(success && said.contains("warning") && said.contains("not for `d.example`"), "{said}");
    let (success, said) = check(&format!("tls = {{ {} }}", files.good.keys()), "tls = {}");
    assert!(success && !said.contains("warning"), "{said}");
}
