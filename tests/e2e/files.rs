//! `tidegate check` opens what the configuration names, beside certificates, and looks where its sockets and its log are
//! to be; each mistake is told where it stands.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Command;

use harness::certificate::public_key;
use harness::ports::free_address;
use harness::scratch::Scratch;
use harness::tidegate::binary;

/// Checks a configuration with these lines more; whether it may run, and what was said.
fn check(directory: &Scratch, text: &str) -> (bool, String) {
    let file = directory.join("tidegate.toml");
    fs::write(&file, text).expect("the configuration is written");
    let output = Command::new(binary()).args(["check", "--config"]).arg(&file).output().expect("tidegate runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

/// Line 5 is free.
fn with_route(line: &str) -> String {
    format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nupstream = \"chat\"\n{line}\n\
         [upstream.chat]\nservers = [\"127.0.0.1:1\"]\n"
    )
}

#[test]
fn keys_of_tokens_are_opened() {
    let directory = Scratch::new("keys");
    let file = |name: &str, text: &str| {
        fs::write(directory.join(name), text).expect("a file is written");
        directory.join(name).display().to_string()
    };
    let public = file("public.pem", &public_key());
    let short = file("short", "a short secret\n");
    let long = file("long", "a secret of more than thirty-two bytes\n");
    let words = file("words", "no key at all");
    let private = file("private.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let empty = file("empty.json", "{\"keys\": []}");
    let broken = file("broken.json", "{\"keys\": [");
    let missing = directory.join("missing.pem").display().to_string();
    let jwt = |key: &str, algorithm: &str| format!("jwt = {{ key = \"{key}\", algorithm = \"{algorithm}\" }}");
    for (key, algorithm, expected) in [
        (&missing, "RS256", "No such file"),
        (&words, "ES256", "neither a public key in PEM nor a set of keys"),
        (&private, "RS256", "no public key (`BEGIN PUBLIC KEY`) in it"),
        (&public, "RS256", "it holds no key of RS256"),
        (&public, "ES384", "it holds no key of ES384"),
        (&public, "EdDSA", "it holds no key of EdDSA"),
        (&public, "HS256", "a PEM file is no secret"),
        (&short, "HS256", "a secret has at least 32 bytes"),
        (&empty, "ES256", "no key of ES256 in it"),
        (&broken, "ES256", "no set of keys (JWKS)"),
        (&"/dev/zero".to_owned(), "HS256", "more than 1048576 bytes"),
    ] {
        let (success, said) = check(&directory, &with_route(&jwt(key, algorithm)));
        assert!(!success && said.contains(expected), "{key} {algorithm}\n{said}");
        assert!(said.contains(&format!("{key}: ")) && said.contains("tidegate.toml:5:15"), "{said}");
    }
    for (key, algorithm) in [(&public, "ES256"), (&long, "HS512")] {
        let (success, said) = check(&directory, &with_route(&jwt(key, algorithm)));
        assert!(success && !said.contains("warning"), "{said}");
    }
}

#[test]
fn places_of_sockets_and_logs_are_looked_at() {
    let directory = Scratch::new("places");
    let path = |name: &str| directory.join(name).display().to_string();
    fs::write(directory.join("file"), "of somebody").expect("a file is written");
    let _live = UnixListener::bind(directory.join("live.sock")).expect("a socket");
    let (here, taken, away) = (path("new.sock"), path("file"), path("no-such-directory/new.sock"));
    let live = path("live.sock");
    // What stands on which line with the path in it, and where the value begins.
    let places: [(&str, usize, usize); 5] = [
        ("[[listen]]\naddress = \"unix:PATH\"", 2, 11),
        ("[admin]\naddress = \"unix:PATH\"", 2, 11),
        ("[admin]\nsocket = \"PATH\"", 2, 10),
        ("[[route]]\nupstream = \"other\"\npath = \"/other\"\n[upstream.other]\nservers = [\"unix:PATH\"]", 5, 12),
        ("[log]\naccess = \"PATH\"", 2, 10),
    ];
    let before = with_route("");
    for (table, line, column) in places {
        let place = format!("tidegate.toml:{}:{column}", before.lines().count() + line);
        let with = |path: &str| check(&directory, &format!("{before}{}\n", table.replace("PATH", path)));
        let (success, said) = with(&away);
        assert!(success && said.contains("warning") && said.contains("its directory is not there yet"), "{said}");
        assert!(said.contains(&place), "{place}: {said}");
        let is_log = table.starts_with("[log]");
        let (wrong, expected) = if is_log { (path(""), "it is a directory") } else { (taken.clone(), "is no socket") };
        let (success, said) = with(&wrong);
        assert!(!success && said.contains(expected) && said.contains(&place), "{place}: {said}");
        for good in [&here, if is_log { &taken } else { &live }] {
            let (success, said) = with(good);
            assert!(success && !said.contains("warning"), "{said}");
        }
    }
    assert_eq!(fs::read_to_string(directory.join("file")).expect("still there"), "of somebody");
    assert!(!directory.join("new.sock").exists(), "nothing is made");
}

#[test]
fn a_file_that_is_no_socket_is_not_taken_for_one_that_nobody_serves() {
    let directory = Scratch::new("no-socket");
    let file = directory.join("file");
    fs::write(&file, "of somebody").expect("a file is written");
    let admin = free_address();
    let config = format!(
        "{}[[listen]]\naddress = \"unix:{}\"\n[admin]\naddress = \"{admin}\"\n",
        with_route(""),
        file.display()
    );
    let name = directory.join("tidegate.toml");
    fs::write(&name, config).expect("the configuration is written");
    let output = Command::new(binary()).args(["run", "--config"]).arg(&name).output().expect("tidegate runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no socket"), "{output:?}");
    assert_eq!(fs::read_to_string(&file).expect("still there"), "of somebody");
}
