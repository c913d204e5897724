//! The clients of docs/clients.md, as they stand there: when a Close has a hint they wait as long, with the real
//! libraries.

use std::path::Path;
use std::time::{Duration, Instant};

use harness::scratch::{Scratch, package_directory};
use harness::script::Script;
use harness::tools::node_modules;
use harness::{Backend, Runtime, Setup, Tidegate, clock};
use serde_json::{Value, json};

const HINT: Duration = Duration::from_secs(2);
/// What a library and a busy machine may add to it.
const SLACK: Duration = Duration::from_millis(1500);

/// The code block of this library, with the server's address put in.
fn documented(library: &str, comment: &str, gate: &Tidegate) -> String {
    let page = std::fs::read_to_string(docs().join("clients.md")).expect("docs/clients.md");
    let mark = format!("\n{comment} {library}\n");
    let (_, rest) = page.split_once(&mark).unwrap_or_else(|| panic!("docs/clients.md has a block {mark:?}"));
    let (block, _) = rest.split_once("\n```").expect("the block ends");
    block
        .replace("wss://example.com", &gate.url(""))
        .replace("https://example.com", &format!("http://{}", gate.address()))
}

fn docs() -> std::path::PathBuf {
    package_directory().join("../docs")
}

/// Runs a documented client with `more` of the test's behind it, by which it asks for its end.
fn javascript(node: &Runtime, directory: &Path, block: &str, more: &str) -> Script {
    std::fs::copy(docs().join("tidegate-reconnect.js"), directory.join("tidegate-reconnect.js")).expect("a copy");
    std::os::unix::fs::symlink(node_modules(), directory.join("node_modules")).expect("a link");
    std::fs::write(directory.join("package.json"), r#"{"type": "module"}"#).expect("a file");
    // Browsers have it; Node has it from 22 on. What a library says for people, SignalR for one, is no event.
    let browser =
        "import { WebSocket } from 'undici';\nglobalThis.WebSocket = WebSocket;\nconsole.info = console.error;\n";
    std::fs::write(directory.join("browser.js"), browser).expect("a file");
    let program = directory.join("client.js");
    std::fs::write(&program, format!("import './browser.js';\n{block}\n{more}\n")).expect("a file");
    node.file(&program)
}

/// The server's sessions: the first is ended with a hint, the second must not come before the hint is over.
async fn honours(backend: &mut Backend) {
    backend.opened().await;
    let began = clock::now();
    backend.opened().await;
    judge(began);
}

#[track_caller]
fn judge(began: Instant) {
    let waited = clock::now() - began;
    assert!(waited >= HINT - Duration::from_millis(100), "it waited {waited:?} instead of {HINT:?}");
    assert!(waited <= HINT + SLACK, "it waited {waited:?} instead of {HINT:?}");
}

fn end() -> Value {
    json!([1013, "busy; retry-after=2; id=00c0ffee"])
}

/// A library with a server script of its own.
async fn check_protocol(library: &str, peers: &str, more: &str) {
    let Some(node) = Runtime::node() else { return };
    let mut backend = Backend::new(node.script(&format!("{peers}-server"), &json!({}))).await;
    let gate = Setup::proxy_to(backend.address()).start().await;
    let directory = Scratch::new("documented");
    let block = documented(library, "//", &gate);
    let _client = javascript(&node, directory.path(), &block, &more.replace("END", &end().to_string()));
    honours(&mut backend).await;
}

#[tokio::test]
async fn phoenix() {
    check_protocol(
        "phoenix",
        "phoenix",
        "const channel = socket.channel('room:1');\nchannel.join().receive('ok', () => channel.push('end', { close: END }));",
    )
    .await;
}

#[tokio::test]
async fn graphql_ws() {
    check_protocol(
        "graphql-ws",
        "graphql-ws",
        "const request = { query: 'subscription { end }', variables: { end: END } };\n\
         client.subscribe(request, { next() {}, error() {}, complete() {} });",
    )
    .await;
}

#[tokio::test]
async fn socket_io() {
    check_protocol("socket.io", "socketio", "socket.once('connect', () => socket.emit('end', ...END));").await;
}

#[tokio::test]
async fn signalr() {
    check_protocol("signalr", "signalr", "connection.send('end', ...END);").await;
}

/// A client that tidegate itself refuses: 101, and at once 1013 with a hint.
struct Refused {
    gate: Tidegate,
    _backend: Backend,
    _occupant: harness::Peer,
}

impl Refused {
    async fn stage(node: &Runtime) -> Self {
        let backend = node.backend(&json!({})).await;
        let config = format!(
            "[[route]]\nname = \"main\"\nupstream = \"backend\"\nqueue_timeout = \"0s\"\nretry_after = \"2s\"\n\n\
             [upstream.backend]\nservers = [\"{}\"]\nmax_sessions = 1\n",
            backend.address()
        );
        let gate = Setup::new(config).start().await;
        let occupant = harness::Handshake::to(gate.address()).open().await;
        Self { gate, _backend: backend, _occupant: occupant }
    }

    /// The first refusal and the second: as far apart as the first one's hint says.
    async fn honoured(&self) {
        let first = self.gate.wait_for_records(1).await.remove(0);
        let began = clock::now();
        let hint = Duration::from_secs_f64(first.number("hint_s"));
        assert!(hint >= HINT, "{hint:?}");
        harness::eventually("a second refusal", async || (self.gate.records().len() > 1).then_some(())).await;
        let waited = clock::now() - began;
        let (least, most) = (hint - Duration::from_millis(200), hint + SLACK);
        assert!(waited >= least && waited <= most, "it waited {waited:?} instead of {hint:?}");
    }
}

#[tokio::test]
async fn plain() {
    let Some(node) = Runtime::node() else { return };
    let stage = Refused::stage(&node).await;
    let directory = Scratch::new("documented");
    let _client = javascript(&node, directory.path(), &documented("plain", "//", &stage.gate), "");
    stage.honoured().await;
}

#[tokio::test]
async fn websockets() {
    let (Some(node), Some(python)) = (Runtime::node(), Runtime::python()) else { return };
    let stage = Refused::stage(&node).await;
    let directory = Scratch::new("documented");
    let program = directory.join("client.py");
    std::fs::write(&program, documented("websockets", "#", &stage.gate)).expect("a file");
    let _client = python.file(&program);
    stage.honoured().await;
}

#[test]
fn the_module_is_one_kibibyte() {
    let size = std::fs::metadata(docs().join("tidegate-reconnect.js")).expect("the module").len();
    assert!(size <= 1024, "{size} bytes");
}
