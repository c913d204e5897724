//! Who may come in: limits by client address, origins, tokens, and what an auth server says.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use harness::certificate::Authority;
use harness::scratch::Scratch;
use harness::{Backend, Echo, Frame, Handshake, Peer, Runtime, Setup, Tidegate, clock, eventually, http};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::session::{assert_ours, hint};

async fn open_from(address: &str, gate: &Tidegate) -> Peer {
    Handshake::to(gate.address()).open_from(address.parse::<IpAddr>().expect("an address")).await
}

async fn limited(defaults: &str) -> (Tidegate, Echo) {
    let echo = Echo::start().await;
    (Setup::proxy_with_defaults(echo.address(), defaults).start().await, echo)
}

#[tokio::test]
async fn an_address_has_only_so_many_sessions() {
    let (gate, _echo) = limited("max_sessions_per_ip = 2\nqueue_timeout = \"300ms\"").await;
    let first = open_from("127.0.0.2", &gate).await;
    let _second = open_from("127.0.0.2", &gate).await;
    let begin = clock::now();
    let mut third = open_from("127.0.0.2", &gate).await;
    let close = third.close().await;
    assert_ours(&close, 1013, "too-many-sessions");
    hint(&close);
    assert!(begin.elapsed() > Duration::from_millis(200), "the wait is the pace");
    third.answer_close(&close).await;
    let mut other = open_from("127.0.0.3", &gate).await;
    other.send(Frame::text("hello")).await;
    assert_eq!(other.text().await, "hello");

    drop(first);
    gate.metrics_where("a place to come back", |metrics| metrics.open() == 2.0).await;
    let mut again = open_from("127.0.0.2", &gate).await;
    again.send(Frame::text("again")).await;
    assert_eq!(again.text().await, "again");
    let metrics = gate.metrics().await;
    assert!(metrics.sum("tidegate_limit_hits_total", &[("limit", "sessions_per_ip"), ("action", "close")]) >= 1.0);
    assert!(metrics.sum("tidegate_handshakes_total", &[("reason", "sessions_per_ip"), ("status", "101")]) >= 1.0);
    assert_eq!(metrics.metric("tidegate_client_addresses", &[]), 2.0);
}

#[tokio::test]
async fn clients_that_wait_for_their_address_are_bounded_by_memory_too() {
    let defaults = "max_sessions_per_ip = 1\nqueue_timeout = \"4s\"\nmax_waiting_bytes = \"10KiB\"";
    let (gate, _echo) = limited(defaults).await;
    let first = open_from("127.0.0.1", &gate).await;

    // Of two more, one waits and for the other there is no room; which is which is theirs to race for.
    let mut answers = JoinSet::new();
    for _ in 0..2 {
        let handshake = Handshake::to(gate.address());
        answers.spawn(async move { handshake.attempt().await });
    }
    let refused = answers.join_next().await.expect("two of them").expect("an answer").expect_err("a refusal");
    assert_eq!((refused.status, refused.header("Retry-After").is_some()), (503, true));
    drop(first);
    answers.join_next().await.expect("one more").expect("an answer").expect("the one that waited");
}

#[tokio::test]
async fn an_address_that_asks_too_often_waits_for_its_turn() {
    let (gate, _echo) = limited("handshake_rate_per_ip = \"4/s\"\nhandshake_burst_per_ip = 1").await;
    let begin = clock::now();
    for _ in 0..4 {
        let mut client = open_from("127.0.0.2", &gate).await;
        client.send(Frame::text("in")).await;
        assert_eq!(client.text().await, "in");
    }
    assert!(begin.elapsed() > Duration::from_millis(700), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_refused_as_configured() {
    for (told, status) in [("429", 429), ("503", 503)] {
        let keys = format!("handshake_rate_per_ip = \"1/s\"\nhandshake_burst_per_ip = 1\non_ip_limit = \"{told}\"");
        let (gate, _echo) = limited(&keys).await;
        let handshake = Handshake::to(gate.address());
        // However slow the machine is, two in one second will come.
        let refusal = eventually("a refusal", async || handshake.attempt().await.err()).await;
        assert_eq!((refusal.status, refusal.header("Retry-After")), (status, Some("1")));
        let ask = async || Some(http::get(gate.address(), "/").await).filter(|plain| plain.status == status);
        let plain = eventually("a plain refusal", ask).await;
        assert_eq!(plain.header("Retry-After"), Some("1"), "plain requests count, too");
        let _other = open_from("127.0.0.9", &gate).await;
    }
}

#[tokio::test]
async fn who_would_be_told_by_a_status_is_told_by_a_close_where_the_route_says_so() {
    let (gate, _echo) =
        limited("max_sessions_per_ip = 1\nqueue_timeout = \"100ms\"\non_ip_limit = \"1013\"\non_overload = \"503\"")
            .await;
    let _first = open_from("127.0.0.2", &gate).await;
    let close = open_from("127.0.0.2", &gate).await.close().await;
    assert_ours(&close, 1013, "too-many-sessions");
}

#[tokio::test]
async fn a_real_client_reads_why() {
    let Some(python) = Runtime::python() else { return };
    let (gate, _echo) = limited("max_sessions_per_ip = 1\nqueue_timeout = \"0s\"").await;
    let _first = Handshake::to(gate.address()).open().await;
    let closed = python.converse(&json!({ "url": gate.url("/"), "protocols": ["chat"] })).await;
    assert_eq!(closed["code"], 1013, "{closed}");
    let reason = closed["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("too-many-sessions; retry-after="), "{closed}");
}

#[tokio::test]
async fn origins_below_a_site_are_its_own_and_null_is_nobody() {
    let echo = Echo::start().await;
    let gate = Setup::new(format!(
        "[[route]]\nname = \"main\"\norigins = [\"https://*.example.com\"]\nupstream = \"backend\"\n\n\
         [upstream.backend]\nservers = [\"{}\"]\n",
        echo.address()
    ));
    let gate = gate.start().await;
    let from = |origin: &str| Handshake::to(gate.address()).header("Origin", origin);
    let _in = (from("https://app.example.com").open().await, from("https://a.b.example.com").open().await);
    for origin in ["https://example.com", "https://evilexample.com", "https://app.example.com.evil.com", "null"] {
        assert_eq!(from(origin).refusal().await.status, 403, "{origin}");
    }
    assert_eq!(Handshake::to(gate.address()).refusal().await.status, 403, "no Origin");
}

/// A token for these options of `tests/peers/jwt.py`, and the file to check it with.
async fn token(python: &Runtime, keys: &Scratch, mut options: Value) -> (String, String) {
    options["directory"] = json!(keys.path());
    let made = python.script("jwt", &options).event("token").await;
    let text = |field: &str| made[field].as_str().expect("a text").to_owned();
    (text("token"), text("key"))
}

async fn guarded(upstream: SocketAddr, keys: &str) -> Tidegate {
    let route = format!("[[route]]\nname = \"main\"\nupstream = \"backend\"\n{keys}\n");
    Setup::new(format!("{route}\n[upstream.backend]\nservers = [\"{upstream}\"]\n")).start().await
}

async fn bearer(gate: &Tidegate, token: &str) -> Result<Peer, http::Response> {
    let handshake = Handshake::to(gate.address()).header("Authorization", &format!("Bearer {token}"));
    handshake.attempt().await.map(|(peer, _)| peer)
}

#[tokio::test]
async fn tokens_of_every_kind_let_in_and_no_others() {
    let (Some(python), echo) = (Runtime::python(), Echo::start().await) else { return };
    for algorithm in ["RS256", "ES256", "EdDSA", "HS256"] {
        let keys = Scratch::new("keys");
        let good = json!({ "algorithm": algorithm, "exp_in": 600, "claims": { "iss": "us", "aud": ["chat", "mail"] } });
        let (token_, key) = token(&python, &keys, good.clone()).await;
        let settings = "issuer = \"us\", audience = \"chat\", leeway = \"0s\"";
        let jwt = format!("jwt = {{ key = \"{key}\", algorithm = \"{algorithm}\", {settings} }}");
        let gate = guarded(echo.address(), &jwt).await;
        let mut client = bearer(&gate, &token_).await.expect("a 101");
        client.send(Frame::text("in")).await;
        assert_eq!(client.text().await, "in", "{algorithm}");

        let with = |edit: &dyn Fn(&mut Value)| {
            let mut options = good.clone();
            edit(&mut options);
            options
        };
        let mut bad = vec![
            ("expired", with(&|it| it["exp_in"] = json!(-5))),
            ("not valid yet", with(&|it| it["claims"]["nbf"] = json!(4_000_000_000_u64))),
            ("of another issuer", with(&|it| it["claims"]["iss"] = json!("them"))),
            ("for another audience", with(&|it| it["claims"]["aud"] = json!("mail"))),
            ("a claim is missing", with(&|it| *it = json!({ "algorithm": algorithm, "claims": it["claims"].clone() }))),
            ("not a token", with(&|it| it["algorithm"] = json!("none"))),
        ];
        if algorithm != "HS256" {
            bad.push(("of another algorithm", with(&|it| it["algorithm"] = json!("HS256"))));
        }
        for (why, options) in bad {
            let (forged, _) = token(&python, &keys, options).await;
            let refusal = bearer(&gate, &forged).await.expect_err(why);
            assert_eq!(refusal.status, 401, "{algorithm}, {why}");
            let challenge = refusal.header("WWW-Authenticate").expect("a challenge").to_owned();
            assert_eq!(
                challenge,
                format!("Bearer error=\"invalid_token\", error_description=\"{why}\""),
                "{algorithm}"
            );
        }
        // Signed by somebody else.
        let (forged, _) = token(&python, &Scratch::new("keys"), good).await;
        if algorithm != "HS256" {
            assert_eq!(bearer(&gate, &forged).await.expect_err("a forgery").status, 401);
        }
        let none = Handshake::to(gate.address()).refusal().await;
        assert_eq!((none.status, none.header("WWW-Authenticate")), (401, Some("Bearer")));
        assert_eq!(http::get(gate.address(), "/").await.status, 401, "plain requests need one, too");
        let metrics = gate.metrics().await;
        let refused = metrics.sum("tidegate_handshakes_total", &[("reason", "auth"), ("status", "401")]);
        assert!(refused >= 7.0, "{refused}");
        assert!(metrics.sum("tidegate_auth_total", &[("by", "jwt"), ("result", "denied")]) > refused);
    }
}

#[tokio::test]
async fn browsers_bring_tokens_by_cookie_or_query_and_logs_do_not_have_them() {
    let (Some(python), echo) = (Runtime::python(), Echo::start().await) else { return };
    let keys = Scratch::new("keys");
    let (token, key) = token(&python, &keys, json!({ "algorithm": "ES256", "exp_in": 600 })).await;
    let jwt = format!("jwt = {{ key = \"{key}\", algorithm = \"ES256\", cookie = \"session\", query = \"token\" }}");
    let gate = guarded(echo.address(), &jwt).await;
    let url = gate.url(&format!("/?room=1&token={token}"));
    let closed = python.converse(&json!({ "url": url, "messages": [{ "text": "x" }], "close": [4001, "bye"] })).await;
    assert_eq!(closed["code"], 4001);
    let cookie = format!("other=1; session={token}");
    drop(Handshake::to(gate.address()).header("Cookie", &cookie).open().await);
    let lines = gate.wait_for_records(2).await;
    assert_eq!(lines[0].path(), "/?room=...&token=...");
    for line in &lines {
        assert!(!line.line().contains(&token), "{}", line.line());
    }
    assert!(!gate.output().contains(&token));
}

#[tokio::test]
async fn a_session_ends_when_its_token_does() {
    let (Some(python), Some(node)) = (Runtime::python(), Runtime::node()) else { return };
    let mut backend = node.backend(&json!({})).await;
    let keys = Scratch::new("keys");
    let (token, key) = token(&python, &keys, json!({ "algorithm": "EdDSA", "exp_in": 10 })).await;
    let jwt = format!("jwt = {{ key = \"{key}\", algorithm = \"EdDSA\", leeway = \"0s\", query = \"t\" }}");
    let gate = guarded(backend.address(), &jwt).await;
    let closed =
        python.converse(&json!({ "url": gate.url(&format!("/?t={token}")), "messages": [{ "text": "x" }] })).await;
    assert_eq!((&closed["code"], &closed["echoed"]), (&json!(1008), &json!(1)), "{closed}");
    assert!(closed["reason"].as_str().is_some_and(|reason| reason.starts_with("auth-expired; id=")), "{closed}");
    let at_server = backend.closed().await;
    assert_eq!(at_server["code"], 1001, "{at_server}");
    assert!(at_server["reason"].as_str().is_some_and(|reason| reason.starts_with("client-evicted")), "{at_server}");
    let record = gate.record().await;
    assert_eq!((record.verdict(), record.closed_by(), record.cause()), ("enforced", "proxy", "auth-expired"));
}

#[tokio::test]
async fn a_set_of_keys_is_chosen_from_by_name() {
    let (Some(python), echo) = (Runtime::python(), Echo::start().await) else { return };
    let keys = Scratch::new("keys");
    let named = |kid: &str| json!({ "algorithm": "HS256", "exp_in": 600, "header": { "kid": kid } });
    let (good, secret) = token(&python, &keys, named("now")).await;
    let (unknown, _) = token(&python, &keys, named("then")).await;
    let encoded = base64url(&std::fs::read(secret).expect("a secret"));
    let other = base64url(&[7; 40]);
    let set = json!({ "keys": [
        { "kty": "oct", "kid": "old", "alg": "HS256", "k": other },
        { "kty": "oct", "kid": "now", "alg": "HS256", "k": encoded },
    ] });
    std::fs::write(keys.join("set.json"), set.to_string()).expect("the set is written");
    let jwt = format!("jwt = {{ key = \"{}\", algorithm = \"HS256\" }}", keys.join("set.json").display());
    let gate = guarded(echo.address(), &jwt).await;
    bearer(&gate, &good).await.expect("a 101");
    let refusal = bearer(&gate, &unknown).await.expect_err("a name that the set has not");
    assert!(refusal.header("WWW-Authenticate").is_some_and(|it| it.contains("unknown key")), "{refusal:?}");
    // A reload that brings no good key changes nothing.
    std::fs::write(keys.join("set.json"), "{\"keys\": []}").expect("the set is written");
    let config = format!(
        "[[route]]\nname = \"main\"\nupstream = \"backend\"\n{jwt}\n[upstream.backend]\nservers = [\"{}\"]\n",
        echo.address()
    );
    assert!(!gate.reload(&config).await);
    bearer(&gate, &good).await.expect("a 101");
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digits = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        (0..=chunk.len()).map(|i| char::from(DIGITS[(bits >> (18 - 6 * i)) as usize & 63])).collect::<String>()
    };
    bytes.chunks(3).map(digits).collect()
}

/// A route that asks a real auth server, and a backend that shows what it gets.
async fn asking(keys: &str) -> Option<(Tidegate, Backend, Backend)> {
    let node = Runtime::node()?;
    let auth = Backend::new(node.script("auth-server", &json!({}))).await;
    let backend = node.backend(&json!({})).await;
    let url = format!("http://{}/verify?for=chat", auth.address());
    let forward = format!("forward_auth = {{ url = \"{url}\", response_headers = [\"X-User\"]{keys} }}");
    Some((guarded(backend.address(), &forward).await, auth, backend))
}

#[tokio::test]
async fn an_auth_server_lets_in_and_says_who_it_is() {
    let Some((gate, mut auth, mut backend)) = asking(", timeout = \"20s\"").await else { return };
    let handshake = Handshake::to(gate.address())
        .path("/room?id=7")
        .header("Authorization", "good")
        .header("Cookie", "a=b")
        .header("X-User", "root")
        .header("Connection", "X-User");
    let _client = handshake.open().await;
    let asked = auth.event("asked").await;
    assert_eq!((&asked["method"], &asked["url"]), (&json!("GET"), &json!("/verify?for=chat")));
    let headers = &asked["headers"];
    assert_eq!((&headers["x-original-uri"], &headers["x-forwarded-uri"]), (&json!("/room?id=7"), &json!("/room?id=7")));
    assert_eq!((&headers["x-forwarded-method"], &headers["cookie"]), (&json!("GET"), &json!("a=b")));
    assert_eq!((&headers["x-forwarded-for"], &headers["upgrade"]), (&json!("127.0.0.1"), &Value::Null));
    assert_eq!((&headers["x-user"], &headers["sec-websocket-key"]), (&Value::Null, &Value::Null));
    let opened = backend.opened().await;
    assert_eq!(opened["headers"]["x-user"], "alice", "the server's word, not the client's");
    assert_eq!(opened["headers"]["x-other"], Value::Null, "only what is listed");
}

#[tokio::test]
async fn an_auth_servers_refusal_is_passed_back() {
    let Some((gate, _auth, _backend)) = asking(", timeout = \"20s\"").await else { return };
    let says = |word: &str| Handshake::to(gate.address()).header("Authorization", word);
    let who = Handshake::to(gate.address()).refusal().await;
    assert_eq!((who.status, who.text().as_str()), (401, "who are you?"));
    assert_eq!(who.header("WWW-Authenticate"), Some("Basic realm=\"chat\""));
    let bad = says("bad").refusal().await;
    assert_eq!((bad.status, bad.text().as_str()), (403, "no entry"));
    let login = says("login").refusal().await;
    assert_eq!((login.status, login.header("Location")), (302, Some("https://login.example.com/")));
    assert_eq!(login.header("Set-Cookie"), Some("back=here"));
    let plain = http::get(gate.address(), "/page").await;
    assert_eq!((plain.status, plain.text().as_str()), (401, "who are you?"), "plain requests are asked about, too");
}

#[tokio::test]
async fn an_auth_server_that_cannot_say_lets_nobody_in() {
    let Some((gate, mut auth, _backend)) = asking(", timeout = \"500ms\"").await else { return };
    let says = |word: &str| Handshake::to(gate.address()).header("Authorization", word);
    for word in ["broken", "slow"] {
        let refusal = says(word).refusal().await;
        assert_eq!((refusal.status, refusal.header("Retry-After")), (503, Some("5")), "{word}");
        assert!(!refusal.text().contains("stack trace"));
    }
    auth.kill().await;
    assert_eq!(says("good").refusal().await.status, 503, "down");
    let metrics = gate.metrics().await;
    assert_eq!(metrics.sum("tidegate_handshakes_total", &[("reason", "auth_unavailable")]), 3.0);
    assert_eq!(metrics.sum("tidegate_auth_total", &[("by", "forward"), ("result", "failed")]), 3.0);
}

#[tokio::test]
async fn an_auth_server_over_tls_is_verified_or_nobody_comes_in() {
    let Some(node) = Runtime::node() else { return };
    let (ours, theirs) = (Authority::new(), Authority::new());
    let certificate = theirs.issue(&["auth.internal"]);
    let files = json!({ "cert": certificate.certificate_file(), "key": certificate.key_file(), "ca": ours.file() });
    let mut auth = Backend::new(node.script("auth-server", &json!({ "tls": files }))).await;
    let plain = Backend::new(node.script("auth-server", &json!({}))).await;
    let echo = Echo::start().await;
    let at = |scheme: &str, server: &Backend| format!("{scheme}://localhost:{}/verify", server.address().port());
    let (identity, stranger) = (ours.issue(&["tidegate"]), theirs.issue(&["tidegate"]));
    let trust =
        |authority: &Authority| format!("ca = \"{}\", server_name = \"auth.internal\"", authority.file().display());
    let good = format!("{}, {}", trust(&theirs), identity.keys());

    let forward =
        |url: &str, tls: &str| format!("forward_auth = {{ url = \"{url}\", tls = {{ {tls} }}, timeout = \"20s\" }}");
    let gate = guarded(echo.address(), &forward(&at("https", &auth), &good)).await;
    let says = |gate: &Tidegate, word: &str| Handshake::to(gate.address()).header("Authorization", word);
    for _ in 0..2 {
        let mut client = says(&gate, "good").open().await;
        client.send(Frame::text("in")).await;
        assert_eq!(client.text().await, "in");
        let asked = auth.event("asked").await;
        assert_eq!(asked["headers"]["host"], at("https", &auth).split('/').nth(2).expect("an authority"), "{asked}");
    }
    assert_eq!(says(&gate, "bad").refusal().await.status, 403);

    let by_default = format!("forward_auth = {{ url = \"{}\" }}", at("https", &auth));
    let unencrypted = format!("forward_auth = {{ url = \"{}\" }}", at("http", &auth));
    for (what, keys) in [
        ("another authority", forward(&at("https", &auth), &format!("{}, {}", trust(&ours), identity.keys()))),
        (
            "another name",
            forward(&at("https", &auth), &format!("ca = \"{}\", {}", theirs.file().display(), identity.keys())),
        ),
        ("no certificate of ours", forward(&at("https", &auth), &trust(&theirs))),
        ("one of another authority", forward(&at("https", &auth), &format!("{}, {}", trust(&theirs), stranger.keys()))),
        ("the system's roots", by_default),
        ("no TLS there", forward(&at("https", &plain), &good)),
        ("no TLS here", unencrypted),
    ] {
        let gate = guarded(echo.address(), &keys).await;
        assert_eq!(says(&gate, "good").refusal().await.status, 503, "{what}");
        let plain = http::exchange(gate.address(), b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: good\r\n\r\n").await;
        assert_eq!(plain.status, 503, "{what}");
        let labels = [("by", "forward"), ("result", "failed")];
        assert_eq!(gate.metrics().await.sum("tidegate_auth_total", &labels), 2.0, "{what}");
    }
}

#[tokio::test]
async fn an_auth_servers_authority_is_renewed_by_itself() {
    let (Some(node), echo) = (Runtime::node(), Echo::start().await) else { return };
    let (first, second) = (Authority::new(), Authority::new());
    let certificate = second.issue_for_loopback();
    let files = json!({ "cert": certificate.certificate_file(), "key": certificate.key_file() });
    let auth = Backend::new(node.script("auth-server", &json!({ "tls": files }))).await;
    let url = format!("https://localhost:{}/", auth.address().port());
    let forward = format!("forward_auth = {{ url = \"{url}\", tls = {{ ca = \"{}\" }} }}", first.file().display());
    let config = format!(
        "[tls]\nreload_interval = \"100ms\"\n[[route]]\nupstream = \"backend\"\n{forward}\n\
         [upstream.backend]\nservers = [\"{}\"]\n",
        echo.address()
    );
    let gate = Setup::new(config).start().await;
    let asks = || Handshake::to(gate.address()).header("Authorization", "good");
    assert_eq!(asks().refusal().await.status, 503);
    std::fs::copy(second.file(), first.file()).expect("the authority is written");
    let done = [("result", "success")];
    gate.metrics_where("a renewal", |metrics| metrics.sum("tidegate_tls_reloads_total", &done) >= 1.0).await;
    asks().open().await;
}
