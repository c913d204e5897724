//! What real clients report when the upstream ends their session, each Close having passed through tidegate.
//!
//! The table of docs/clients.md holds what they report today, also where that is not what was sent, so that a library
//! that changes its mind is noticed.

use futures_util::{SinkExt, StreamExt};
use harness::scratch::package_directory;
use harness::{Backend, Runtime, Setup, Tidegate, browser};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// The table's first row: what the upstream sends.
const SENT: [&str; 8] = ["1000 done", "empty", "1008", "1011", "1012", "1013", "1014", "4001 bye"];

/// What the table of docs/clients.md says of this client.
fn row(client: &str) -> [String; SENT.len()] {
    let page = std::fs::read_to_string(package_directory().join("../docs/clients.md")).expect("docs/clients.md");
    let start = format!("| {client} |");
    let line = page.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("no row {start:?}"));
    let cells: Vec<_> = line.trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    cells.try_into().unwrap_or_else(|cells| panic!("{SENT:?} and not as many: {cells:?}"))
}

/// Compares the client's row with what it hears at each Close.
async fn check(client: &str, mut hear: impl AsyncFnMut(&'static str) -> String) {
    assert_eq!(row("sent"), SENT, "the table is of what is sent here");
    let mut differences = Vec::new();
    for (close, expected) in SENT.into_iter().zip(row(client)) {
        let heard = hear(close).await;
        if heard != expected {
            differences.push(format!("at {close:?} it heard {heard:?}, not {expected:?}"));
        }
    }
    assert!(differences.is_empty(), "{client}: {differences:#?}");
}

/// A Close of the table as arguments of `close()`.
fn arguments(close: &str) -> Value {
    match close.split_once(' ') {
        Some((code, reason)) => json!([code.parse::<u16>().expect("a code"), reason]),
        None => close.parse::<u16>().map_or_else(|_| json!([]), |code| json!([code])),
    }
}

/// A Close of the table as a command to an echo server.
fn command(close: &str) -> String {
    if close == "empty" { "close".to_owned() } else { format!("close {close}") }
}

/// A client's event as a cell of the table.
fn words(closed: &Value) -> String {
    let mut words = Vec::new();
    words.extend(closed["what"].as_str().map(str::to_owned));
    words.extend(closed["code"].as_u64().map(|code| code.to_string()));
    words.extend(closed["reason"].as_str().filter(|reason| !reason.is_empty()).map(str::to_owned));
    words.extend((closed["wasClean"] == false).then(|| "unclean".to_owned()));
    words.extend((closed["again"] == true).then(|| "+".to_owned()));
    words.join(" ")
}

/// A tidegate in front of an echo server on Node.
async fn echo(node: &Runtime) -> (Tidegate, Backend) {
    let backend = node.backend(&json!({})).await;
    (Setup::proxy_to(backend.address()).start().await, backend)
}

async fn check_browser(kind: browser::Kind) {
    let (Some(mut browser), Some(node)) = (kind.start().await, Runtime::node()) else { return };
    let (gate, _backend) = echo(&node).await;
    check(kind.name(), async |close| {
        browser.open_socket(close, &gate.url("/")).await;
        browser.call_socket(close, "send", json!([command(close)])).await;
        words(&browser.socket_closed(close).await)
    })
    .await;
}

/// Checks a client whose script sends `say`.
async fn check_script(client: &str, runtime: Option<Runtime>, script: &str, library: &str) {
    let (Some(runtime), Some(node)) = (runtime, Runtime::node()) else { return };
    let (gate, _backend) = echo(&node).await;
    check(client, async |close| {
        let options = json!({ "url": gate.url("/"), "library": library, "say": command(close) });
        words(&runtime.script(script, &options).event("close").await)
    })
    .await;
}

/// Checks a client that speaks a protocol of its own with a server of its own, and asks it for its `end`.
async fn check_protocol(client: &str, peers: &str, scheme: &str, hear: impl Fn(Value) -> String) {
    let Some(node) = Runtime::node() else { return };
    let backend = Backend::new(node.script(&format!("{peers}-server"), &json!({}))).await;
    let gate = Setup::proxy_to(backend.address()).start().await;
    let url = format!("{scheme}://{}/", gate.address());
    check(client, async |close| {
        let options = json!({ "url": url, "end": arguments(close) });
        hear(node.script(&format!("{peers}-client"), &options).event("close").await)
    })
    .await;
}

#[tokio::test]
async fn chromium_reports_what_the_table_says() {
    check_browser(browser::Kind::Chromium).await;
}

#[tokio::test]
async fn firefox_reports_what_the_table_says() {
    check_browser(browser::Kind::Firefox).await;
}

#[tokio::test]
async fn ws_reports_what_the_table_says() {
    check_script("ws", Runtime::node(), "client", "ws").await;
}

#[tokio::test]
async fn undici_reports_what_the_table_says() {
    check_script("undici", Runtime::node(), "client", "undici").await;
}

#[tokio::test]
async fn websockets_reports_what_the_table_says() {
    check_script("websockets", Runtime::python(), "client", "websockets").await;
}

#[tokio::test]
async fn aiohttp_reports_what_the_table_says() {
    check_script("aiohttp", Runtime::python(), "aiohttp-client", "aiohttp").await;
}

#[tokio::test]
async fn tungstenite_reports_what_the_table_says() {
    let Some(node) = Runtime::node() else { return };
    let (gate, _backend) = echo(&node).await;
    check("tungstenite", async |close| {
        let (mut client, _) = tokio_tungstenite::connect_async(gate.url("/")).await.expect("a 101");
        client.send(Message::text(command(close))).await.expect("an open socket");
        match harness::within("a Close", client.next()).await {
            Some(Ok(Message::Close(None))) => "none".to_owned(),
            Some(Ok(Message::Close(Some(close)))) => {
                format!("{} {}", u16::from(close.code), close.reason).trim().to_owned()
            }
            other => format!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn socket_io_reports_what_the_table_says() {
    check_protocol("Socket.IO", "socketio", "http", |mut closed| {
        assert_eq!(closed["what"].take(), "transport close", "whatever the code");
        words(&closed)
    })
    .await;
}

#[tokio::test]
async fn graphql_ws_reports_what_the_table_says() {
    check_protocol("graphql-ws", "graphql-ws", "ws", |closed| words(&closed)).await;
}

#[tokio::test]
async fn signalr_reports_what_the_table_says() {
    check_protocol("SignalR", "signalr", "http", |closed| words(&closed)).await;
}

#[tokio::test]
async fn phoenix_reports_what_the_table_says() {
    check_protocol("Phoenix", "phoenix", "ws", |closed| words(&closed)).await;
}
