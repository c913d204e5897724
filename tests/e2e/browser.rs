//! What a page in a browser hears.

use harness::browser::Kind;
use harness::certificate::Certificate;
use harness::raw::pair;
use harness::{Backend, Echo, Record, Runtime, Setup, Tidegate, eventually};
use serde_json::{Value, json};

use crate::pools::pool;

/// Each of these tests, in each browser.
macro_rules! in_each_browser {
    ($($test:ident)*) => {
        mod chromium {
            $(#[tokio::test] async fn $test() { super::$test(super::Kind::Chromium).await; })*
        }
        mod firefox {
            $(#[tokio::test] async fn $test() { super::$test(super::Kind::Firefox).await; })*
        }
    };
}

in_each_browser! {
    hears_its_backend_and_tidegate
    hears_overload
    closes_and_its_backend_hears_it
    loads_its_page_anew_and_its_backend_hears_it
    opens_its_sockets_on_the_pages_http2_connection
    socket_io_polls_and_upgrades_over_http2_on_one_of_two_sticky_backends
    sockjs_runs_by_every_transport_on_one_of_two_sticky_backends
}

fn assert_heard(closed: &Value, code: u16, cause: &str) {
    assert_eq!((&closed["code"], &closed["wasClean"]), (&json!(code), &json!(true)), "{closed}");
    assert!(closed["reason"].as_str().is_some_and(|reason| reason.starts_with(cause)), "{closed}");
}

async fn hears_its_backend_and_tidegate(kind: Kind) {
    let Some(mut browser) = kind.start().await else { return };
    let Some(node) = Runtime::node() else { return };

    let backend: Backend = node.backend(&json!({ "deflate": true })).await;
    let gate = Setup::proxy_to(backend.address()).start().await;
    for (id, say, code, reason) in [("a", "close 1000 done", 1000, "done"), ("b", "close 4001 bye", 4001, "bye")] {
        browser.open_socket(id, &gate.url("/")).await;
        browser.call_socket(id, "send", json!([say])).await;
        assert_heard(&browser.socket_closed(id).await, code, reason);
    }

    browser.open_socket("lost", &gate.url("/")).await;
    browser.call_socket("lost", "send", json!(["terminate"])).await;
    assert_heard(&browser.socket_closed("lost").await, 1014, "upstream-lost; retry-after=");

    browser.open_socket("drained", &gate.url("/")).await;
    gate.terminate();
    assert_heard(&browser.socket_closed("drained").await, 1012, "restarting; retry-after=");
}

async fn hears_overload(kind: Kind) {
    let Some(mut browser) = kind.start().await else { return };
    let upstream = harness::Upstream::bind().await;
    let config = format!(
        "[[route]]\nupstream = \"backend\"\n\n[upstream.backend]\nservers = [\"{}\"]\nmax_sessions = 1\n\n\
         [defaults]\nqueue_timeout = \"200ms\"\n",
        upstream.address()
    );
    let gate = Setup::new(config).start().await;
    let _the_one = pair(gate.address(), &upstream).await;
    browser.begin_socket("refused", &gate.url("/")).await;
    assert_heard(&browser.socket_closed("refused").await, 1013, "overloaded; retry-after=");
}

async fn closes_and_its_backend_hears_it(kind: Kind) {
    let Some(mut browser) = kind.start().await else { return };
    let echo = Echo::start().await;
    let gate = Setup::proxy_to(echo.address()).start().await;
    browser.open_socket("mine", &gate.url("/")).await;
    browser.call_socket("mine", "close", json!([3001, "enough"])).await;
    assert_heard(&browser.socket_closed("mine").await, 3001, "enough");
    assert_eq!(gate.record().await.leg("upstream"), "sent 3001, received 3001, clean");
}

async fn loads_its_page_anew_and_its_backend_hears_it(kind: Kind) {
    let Some(mut browser) = kind.start().await else { return };
    let echo = Echo::start().await;
    let gate = Setup::proxy_to(echo.address()).start().await;
    browser.open_socket("left", &gate.url("/")).await;
    browser.evaluate("setTimeout(() => location.reload())").await;
    assert_eq!(gate.record().await.leg("upstream"), "sent 1001, received 1001, clean");
}

/// Serves the page's request and the sessions behind it, whichever comes.
async fn page_and_echo(upstream: harness::Upstream) {
    loop {
        let mut arrival = upstream.arrival().await;
        if arrival.header("Upgrade").is_none() {
            let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<!doctype html>";
            let _ = arrival.try_answer(page).await;
            continue;
        }
        let mut server = arrival.upgrade(&[]).await;
        tokio::spawn(async move {
            match server.text().await.as_str() {
                "terminate" => server.reset(),
                "wait" => {
                    let close = server.close().await;
                    server.answer_close(&close).await;
                }
                _ => {
                    server.send(harness::Frame::close(4001, "bye")).await;
                    server.close().await;
                    server.finish().await;
                }
            }
        });
    }
}

async fn opens_its_sockets_on_the_pages_http2_connection(kind: Kind) {
    let Some(mut browser) = kind.start_trusting().await else { return };
    let (certificate, upstream) = (Certificate::new(), harness::Upstream::bind().await);
    let mut gate = Setup::proxy_to(upstream.address()).tls(&certificate).start().await;
    tokio::spawn(page_and_echo(upstream));
    browser.go_to(&gate.secure_url("https", "/page")).await;
    browser.define_sockets().await;
    for id in ["theirs", "lost", "mine", "drained"] {
        browser.open_socket(id, &gate.secure_url("wss", "/ws")).await;
    }
    for (id, word) in [("theirs", "close"), ("lost", "terminate"), ("mine", "wait"), ("drained", "wait")] {
        browser.call_socket(id, "send", json!([word])).await;
    }
    assert_heard(&browser.socket_closed("theirs").await, 4001, "bye");
    assert_heard(&browser.socket_closed("lost").await, 1014, "upstream-lost; retry-after=");
    browser.call_socket("mine", "close", json!([3001, "enough"])).await;
    assert_heard(&browser.socket_closed("mine").await, 3001, "enough");
    for record in sessions(&gate, 3).await {
        assert_http2(&record, kind);
    }
    // Alone by now, and so told at once.
    gate.terminate();
    assert_heard(&browser.socket_closed("drained").await, 1012, "restarting; retry-after=");
    assert_eq!(gate.exit().await.code(), Some(0));
    let drained = sessions(&gate, 4).await.remove(3);
    // After our GOAWAY its end is that of the connection.
    assert_eq!(drained.leg("client"), "sent 1012, received 1012, clean", "{}", drained.line());
}

/// The sessions of the access log, when it has as many.
async fn sessions(gate: &Tidegate, count: usize) -> Vec<Record> {
    let all = || gate.records().into_iter().filter(|record| record.event() == "session").collect::<Vec<_>>();
    eventually("a line for each session", async || Some(all()).filter(|it| it.len() == count)).await
}

#[track_caller]
fn assert_http2(record: &Record, kind: Kind) {
    let end = match kind {
        Kind::Chromium => "clean",
        // It forgets a stream that we have ended, and never ends its own half.
        Kind::Firefox => "no-fin",
    };
    // Extended CONNECT: over HTTP/2 there is no other WebSocket.
    assert_eq!((record.text("http_version"), record.number("status")), ("HTTP/2.0", 200.0), "{}", record.line());
    assert_eq!(record.leg("client").rsplit(", ").next(), Some(end), "{}", record.line());
}

/// What the page's Socket.IO client does: it polls, upgrades, says something, and leaves.
const CONVERSE: &str = "new Promise((resolve, reject) => {
    const socket = io({ transports: ['polling', 'websocket'], forceNew: true });
    let began;
    socket.io.on('open', () => (began = socket.io.engine.transport.name));
    socket.on('connect_error', reject);
    socket.on('connect', () => {
        const upgraded = async () => {
            const echo = await socket.emitWithAck('say', 'hello');
            const { name } = socket.io.engine.transport;
            socket.io.engine.once('close', () => resolve({ echo, began, transport: name }));
            socket.disconnect();
        };
        if (socket.io.engine.transport.name === 'websocket') upgraded();
        else socket.io.engine.once('upgrade', upgraded);
    });
})";

async fn socket_io_polls_and_upgrades_over_http2_on_one_of_two_sticky_backends(kind: Kind) {
    let Some(mut browser) = kind.start_trusting().await else { return };
    let Some(node) = Runtime::node() else { return };
    let options = json!({ "transports": ["polling", "websocket"] });
    let [mut one, mut two] = [
        Backend::new(node.script("socketio-server", &options)).await,
        Backend::new(node.script("socketio-server", &options)).await,
    ];
    let servers = [one.address(), two.address()];
    let config = pool(&servers, "sticky = { cookie = \"srv\" }");
    let gate = Setup::new(config).tls(&Certificate::new()).start().await;

    // Each name has cookies of its own, and so is a new client, until both servers have had one.
    let mut clients = 0;
    let mut opened = [0, 0];
    while opened.contains(&0) {
        assert!(clients < 40, "all go to one server: {opened:?}");
        browser.go_to(&format!("https://c{clients}.localhost:{}/", gate.address().port())).await;
        clients += 1;
        let said = browser.evaluate(CONVERSE).await;
        assert_eq!(said, json!({ "echo": "hello", "began": "polling", "transport": "websocket" }));
        for (backend, opened) in [&mut one, &mut two].into_iter().zip(&mut opened) {
            for event in backend.events() {
                assert_ne!(event["event"], "stranger", "a request of a client of the other server: {event}");
                *opened += usize::from(event["event"] == "open");
            }
        }
    }
    for record in sessions(&gate, clients).await {
        assert_http2(&record, kind);
        assert!(record.path().contains("transport="), "{}", record.line());
    }
    let metrics = gate.metrics().await;
    let connections = |http| metrics.sum("tidegate_client_connections_total", &[("http", http)]);
    assert!(connections("2") >= 1.0 && connections("1.1") == 0.0, "nothing went another way");
    let plain = gate.records().into_iter().filter(|record| record.event() == "http").collect::<Vec<_>>();
    assert!(plain.len() > clients && plain.iter().all(|record| record.text("http_version") == "HTTP/2.0"));
}

/// What the page's SockJS client does by one transport: it hears three echoes and a Close.
fn by_sockjs(transport: &str) -> String {
    format!(
        "new Promise((resolve) => {{
            const socket = new SockJS('/echo', null, {{ transports: ['{transport}'] }});
            const heard = [];
            let transport;
            socket.onopen = () => {{
                transport = socket.transport;
                socket.send('1');
            }};
            socket.onmessage = ({{ data }}) => {{
                heard.push(data);
                socket.send(heard.length < 3 ? String(heard.length + 1) : 'end 4001 bye');
            }};
            socket.onclose = ({{ code, reason }}) => resolve({{ heard, transport, code, reason }});
        }})"
    )
}

async fn sockjs_runs_by_every_transport_on_one_of_two_sticky_backends(kind: Kind) {
    const TRANSPORTS: [&str; 4] = ["websocket", "xhr-streaming", "eventsource", "xhr-polling"];
    let Some(mut browser) = kind.start_trusting().await else { return };
    let Some(node) = Runtime::node() else { return };
    for (scheme, version) in [("http", "HTTP/1.1"), ("https", "HTTP/2.0")] {
        let [mut one, mut two] = [
            Backend::new(node.script("sockjs-server", &json!({}))).await,
            Backend::new(node.script("sockjs-server", &json!({}))).await,
        ];
        let setup = Setup::new(pool(&[one.address(), two.address()], "sticky = { cookie = \"srv\" }"));
        let certificate = Certificate::new();
        let gate = if scheme == "https" { setup.tls(&certificate) } else { setup }.start().await;
        let mut clients = 0;
        let mut opened = [0, 0];
        while opened.contains(&0) {
            assert!(clients < 40, "all go to one server: {opened:?}");
            browser.go_to(&format!("{scheme}://c{clients}.localhost:{}/", gate.address().port())).await;
            clients += 1;
            for transport in TRANSPORTS {
                let heard = browser.evaluate(&by_sockjs(transport)).await;
                let expected = json!({
                    "heard": ["1", "2", "3"], "transport": transport, "code": 4001, "reason": "bye"
                });
                assert_eq!(heard, expected, "{scheme}");
            }
            for (backend, opened) in [&mut one, &mut two].into_iter().zip(&mut opened) {
                *opened += backend.events().iter().filter(|event| event["event"] == "open").count();
            }
        }
        assert_eq!(opened[0] + opened[1], clients * TRANSPORTS.len(), "each client stays with its server");
        for record in gate.records() {
            assert_eq!(record.text("http_version"), version, "{}", record.line());
        }
    }
}
