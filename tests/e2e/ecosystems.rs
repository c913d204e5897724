//! Other people's clients and servers: Node's `ws` and `undici`, Python's `websockets` and `aiohttp`, Socket.IO.

use futures_util::{SinkExt, StreamExt};
use harness::certificate::Certificate;
use harness::metrics::name;
use harness::script::{Script, closed_with};
use harness::{Backend, Echo, Handshake, Runtime, Setup, Tidegate};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

const ROOMY: &str = "max_message_size = \"512MiB\"";

/// Every client with every backend, both of them told `deflate`.
async fn every_pair(deflate: bool, messages: Value) {
    for server in Runtime::all() {
        let mut backend = server.backend(&json!({ "deflate": deflate, "protocols": ["chat.v2", "chat.v1"] })).await;
        let gate = Setup::proxy_with_defaults(backend.address(), ROOMY).start().await;
        for client in Runtime::all() {
            println!("{} talks to {}, deflate: {deflate}", client.name(), server.name());
            let mut conversation = client.client(&json!({
                "url": gate.url("/chat"),
                "deflate": deflate,
                "protocols": ["chat.v1", "chat.v2"],
                "messages": messages,
                "close": [4001, "bye"],
            }));
            let opened = conversation.event("open").await;
            let at_server = backend.opened().await;
            assert_eq!(opened["protocol"], at_server["protocol"], "both ends agree on the subprotocol");
            for end in [&opened, &at_server] {
                let compressed = end["extensions"].as_str().is_some_and(|name| name.contains("permessage-deflate"));
                assert_eq!(compressed, deflate, "{end}");
            }
            let closed = conversation.event("close").await;
            assert!(closed_with(&closed, 4001, "bye"), "{closed}");
            assert_eq!(closed["echoed"], messages.as_array().expect("messages").len());
            let closed = backend.closed().await;
            assert!(closed_with(&closed, 4001, "bye"), "{closed}");
        }
    }
}

#[tokio::test]
async fn every_client_talks_to_every_backend() {
    let messages = json!([
        { "text": "Grüße" },
        { "fragments": ["frag", "men", "ted"] },
        { "kind": "binary", "size": 0 },
        { "kind": "binary", "size": 70_000 },
        { "kind": "text", "size": 1 << 20 },
        { "kind": "binary", "size": 1 << 20 },
    ]);
    every_pair(false, messages).await;
}

#[tokio::test]
async fn every_client_talks_compressed_to_every_backend() {
    let messages = json!([
        { "text": "Grüße" },
        { "fragments": ["frag", "men", "ted"] },
        { "kind": "text", "size": 1 << 20 },
        { "kind": "binary", "size": 1 << 20 },
    ]);
    every_pair(true, messages).await;
}

#[tokio::test]
async fn compression_is_end_to_end() {
    let Some(node) = Runtime::node() else { return };
    let backend = node.backend(&json!({ "deflate": true })).await;
    let gate = Setup::proxy_to(backend.address()).start().await;
    let messages = json!([{ "kind": "text", "size": 1 << 20 }]);
    node.converse(&json!({ "url": gate.url("/"), "deflate": true, "messages": messages, "close": [1000] })).await;
    let metrics = gate.metrics_where("the session's end", |metrics| metrics.open() == 0.0).await;
    for direction in ["client_to_upstream", "upstream_to_client"] {
        let bytes = metrics.sum(name::PAYLOAD_BYTES, &[("direction", direction)]);
        assert!(bytes > 0.0 && bytes < f64::from(1 << 16), "{bytes} bytes {direction} for 1 MiB that compresses well");
    }
}

#[tokio::test]
async fn messages_of_256_mib_pass_between_real_libraries() {
    let messages = json!([{ "kind": "binary", "size": 256 << 20 }]);
    for runtime in Runtime::all() {
        let backend = runtime.backend(&json!({})).await;
        let gate = Setup::proxy_with_defaults(backend.address(), ROOMY).start().await;
        let closed = runtime.converse(&json!({ "url": gate.url("/"), "messages": messages, "close": [1000] })).await;
        assert_eq!((&closed["code"], &closed["echoed"]), (&json!(1000), &json!(1)), "{}", runtime.name());
    }
}

#[tokio::test]
async fn real_clients_speak_wss() {
    let certificate = Certificate::new();
    let echo = Echo::start().await;
    let gate = Setup::proxy_to(echo.address()).tls(&certificate).start().await;
    for client in Runtime::all() {
        let closed = client
            .converse(&json!({
                "url": format!("wss://localhost:{}/", gate.address().port()),
                "ca": certificate.certificate_file(),
                "messages": [{ "text": "sealed" }, { "kind": "binary", "size": 1 << 20 }],
                "close": [1000, "done"],
            }))
            .await;
        assert!(closed_with(&closed, 1000, "done"), "{}: {closed}", client.name());
    }
}

#[tokio::test]
async fn a_thousand_clients_reach_a_node_backend_at_once() {
    const SESSIONS: usize = 1000;
    let Some(node) = Runtime::node() else { return };
    let backend = node.backend(&json!({ "deflate": true })).await;
    let gate = Setup::proxy_to(backend.address()).start().await;
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..SESSIONS {
        let handshake = Handshake::to(gate.address());
        opening.spawn(async move { handshake.open().await });
    }
    let mut clients = opening.join_all().await;
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(harness::Frame::text(&format!("I am {number}"))).await;
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.text().await, format!("I am {number}"));
    }
    assert_eq!(gate.metrics().await.open(), SESSIONS as f64);
}

#[tokio::test]
async fn a_backends_close_reaches_every_client() {
    // 1005 is how libraries report an empty Close.
    let closes = [
        ("close 1000 done", 1000, "done"),
        ("close 1001", 1001, ""),
        ("close 1011 boom", 1011, "boom"),
        ("close 1012 soon", 1012, "soon"),
        ("close 1013 later", 1013, "later"),
        ("close 4001 bye", 4001, "bye"),
    ];
    for server in Runtime::all() {
        let backend = server.backend(&json!({})).await;
        let gate = Setup::proxy_to(backend.address()).start().await;
        for client in Runtime::all() {
            for (say, code, reason) in closes {
                let closed = client.converse(&json!({ "url": gate.url("/"), "say": say })).await;
                assert!(closed_with(&closed, code, reason), "{} to {}: {closed}", server.name(), client.name());
            }
        }
    }
}

#[tokio::test]
async fn an_empty_close_stays_empty() {
    const REPORTED_AS: u16 = 1005;
    let Some(node) = Runtime::node() else { return };
    let mut backend = node.backend(&json!({})).await;
    let gate = Setup::proxy_to(backend.address()).start().await;
    for options in [json!({ "close": [] }), json!({ "say": "close" })] {
        let mut options = options;
        options["url"] = gate.url("/").into();
        let closed = node.converse(&options).await;
        assert!(closed_with(&closed, REPORTED_AS, ""), "{closed}");
        assert!(closed_with(&backend.closed().await, REPORTED_AS, ""));
    }
}

/// A session between these two that has echoed a message.
async fn conversed(server: &Runtime, client: &Runtime) -> (Backend, Tidegate, Script) {
    let backend = server.backend(&json!({})).await;
    let gate = Setup::proxy_to(backend.address()).start().await;
    let mut session = client.client(&json!({ "url": gate.url("/"), "messages": [{ "text": "x" }] }));
    session.event("conversed").await;
    (backend, gate, session)
}

#[tokio::test]
async fn a_killed_backend_is_1014_to_every_client() {
    for server in Runtime::all() {
        for client in Runtime::all() {
            let (mut backend, _gate, mut session) = conversed(&server, &client).await;
            backend.kill().await;
            let closed = session.event("close").await;
            assert_eq!(closed["code"], 1014, "{closed}");
            assert!(closed["reason"].as_str().is_some_and(|reason| reason.starts_with("upstream-lost; ")), "{closed}");
        }
    }
}

#[tokio::test]
async fn a_killed_client_is_1011_to_every_backend() {
    for server in Runtime::all() {
        for client in Runtime::all() {
            let (mut backend, _gate, mut session) = conversed(&server, &client).await;
            session.kill().await;
            let closed = backend.closed().await;
            assert_eq!(closed["code"], 1011, "{closed}");
            assert!(closed["reason"].as_str().is_some_and(|reason| reason.starts_with("client-lost")), "{closed}");
        }
    }
}

#[tokio::test]
async fn undici_sees_what_a_browser_would() {
    let Some(node) = Runtime::node() else { return };
    let backend = node.backend(&json!({ "deflate": true })).await;
    let gate = Setup::proxy_to(backend.address()).start().await;
    let closed = node
        .converse(&json!({
            "library": "undici",
            "url": gate.url("/"),
            "messages": [{ "text": "hello" }, { "kind": "binary", "size": 100_000 }],
            "say": "close 1012 soon",
        }))
        .await;
    assert!(closed_with(&closed, 1012, "soon"), "{closed}");
    assert_eq!(closed["wasClean"], true);
}

#[tokio::test]
async fn aiohttps_own_answer_comes_back() {
    let Some(python) = Runtime::python() else { return };
    let backend = Backend::new(python.script("aiohttp-server", &json!({}))).await;
    let gate = Setup::proxy_to(backend.address()).start().await;
    let mut client = Handshake::to(gate.address()).open().await;
    client.send(harness::Frame::close(4001, "mine")).await;
    assert_eq!(client.close().await.code, Some(1000), "it answers 1000 to everything, and that is the truth");
}

#[tokio::test]
async fn socket_io_runs_over_it() {
    let Some(node) = Runtime::node() else { return };
    let mut backend = Backend::new(node.script("socketio-server", &json!({}))).await;
    let gate = Setup::proxy_to(backend.address()).start().await;
    let url = format!("http://{}", gate.address());
    let mut client = node.script("socketio-client", &json!({ "url": url, "text": "hello", "leave": true }));
    backend.opened().await;
    assert_eq!(client.event("echo").await["echo"], "hello");
    assert_eq!(client.event("close").await["what"], "io client disconnect");
    assert_eq!(backend.closed().await["reason"], "client namespace disconnect");
}

#[tokio::test]
async fn a_tungstenite_client_hears_the_backends_code() {
    let Some(python) = Runtime::python() else { return };
    let backend = python.backend(&json!({})).await;
    let gate = Setup::proxy_to(backend.address()).start().await;
    let (mut client, _) = tokio_tungstenite::connect_async(gate.url("/")).await.expect("a 101");
    client.send(Message::text("hello")).await.expect("an open socket");
    assert_eq!(client.next().await.expect("an echo").expect("an echo"), Message::text("hello"));
    client.send(Message::text("close 4001 bye")).await.expect("an open socket");
    let Some(Ok(Message::Close(Some(close)))) = client.next().await else { panic!("wanted a Close") };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (4001, "bye"));
}
