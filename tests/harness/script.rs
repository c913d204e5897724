//! Peers in other languages: the scripts of `tests/peers`, which say what happens to them as lines of JSON.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

use crate::clock::within;
use crate::scratch::package_directory;
use crate::tools::{self, Tool};

/// A running script. It is killed on drop.
#[derive(Debug)]
pub struct Script {
    child: Child,
    input: ChildStdin,
    events: mpsc::UnboundedReceiver<Value>,
}

impl Script {
    /// Runs `command`, whose output is events.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn spawn(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let input = child.stdin.take().expect("piped above");
        let mut lines = BufReader::new(child.stdout.take().expect("piped above")).lines();
        let (sender, events) = mpsc::unbounded_channel();
        // Read at once, or a script with much to say would stand still.
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self { child, input, events }
    }

    /// The next event of this kind; others before it are passed over.
    ///
    /// # Panics
    /// When the script ends first, or reports an error.
    pub async fn event(&mut self, kind: &str) -> Value {
        self.event_where(kind, |_| true).await
    }

    /// The next event of this kind of which `holds` is true; others before it are passed over.
    ///
    /// # Panics
    /// As [`Self::event`].
    pub async fn event_where(&mut self, kind: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let what = format!("{kind:?} of a script");
        let waiting = async {
            loop {
                let event = self.events.recv().await.unwrap_or_else(|| panic!("the script ended before {kind:?}"));
                assert_ne!(event["event"], "error", "{event}");
                if event["event"] == kind && holds(&event) {
                    return event;
                }
            }
        };
        within(&what, waiting).await
    }

    /// The next event, whatever it is, and however long it takes.
    ///
    /// # Panics
    /// As [`Self::event`].
    pub async fn next(&mut self) -> Value {
        let event = self.events.recv().await.expect("a running script");
        assert_ne!(event["event"], "error", "{event}");
        event
    }

    /// Every event that has come and was not waited for.
    pub fn events(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }

    /// Gives the script a line of JSON.
    ///
    /// # Panics
    /// When the script has ended.
    pub async fn tell(&mut self, command: &Value) {
        self.input.write_all(format!("{command}\n").as_bytes()).await.expect("a running script");
    }

    /// Kills it, as `kill -9` does, and waits until it is dead.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub async fn kill(&mut self) {
        within("the script's death", self.child.kill()).await.expect("a child of ours");
    }
}

/// An ecosystem that has a client and a server script.
#[derive(Clone, Debug)]
pub struct Runtime {
    name: &'static str,
    program: PathBuf,
    extension: &'static str,
}

impl Runtime {
    /// Node with `ws`; `None` when it cannot be had, which has then been said.
    pub fn node() -> Option<Self> {
        Some(Self { name: "node", program: Tool::Node.need()?, extension: "js" })
    }

    /// Python with `websockets`; as [`Self::node`].
    pub fn python() -> Option<Self> {
        Some(Self { name: "python", program: Tool::Python.need()?, extension: "py" })
    }

    /// All that can be had.
    pub fn all() -> Vec<Self> {
        [Self::node(), Self::python()].into_iter().flatten().collect()
    }

    /// Its name, for messages.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Starts `tests/peers/<name>.<extension>` with one JSON argument.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn script(&self, name: &str, argument: &Value) -> Script {
        let file = package_directory().join("peers").join(name).with_extension(self.extension);
        let mut command = Command::new(&self.program);
        Script::spawn(command.arg(file).arg(argument.to_string()).env("NODE_PATH", tools::node_modules()))
    }

    /// Runs a program of the test's own.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn file(&self, program: &Path) -> Script {
        Script::spawn(Command::new(&self.program).arg(program))
    }

    /// Starts the echo server. Keys: `deflate` (default false), `protocols` (those it speaks, in its order); Node
    /// only: `handshake_ms` (how long it takes for each), `max_sessions` (above it 1013 `full`), `tls` (`cert`, `key`, and as `ca` the authority of which clients must have a certificate; files).
    ///
    /// # Panics
    /// When it does not begin to listen.
    pub async fn backend(&self, options: &Value) -> Backend {
        Backend::new(self.script("server", options)).await
    }

    /// Starts the client. Keys: `url`, `protocols`, `deflate`, `ca`, `cert`, `key` (files), `library` (`"undici"`; Node only),
    /// `messages` (sent one by one, each echo awaited and compared: `{text}`, `{fragments}`, or `{kind, size}`), then
    /// one of `close` (`[]`, `[code]` or `[code, reason]`), `say` (a last message, no echo awaited), `terminate`, or
    /// nothing: wait for the other side's Close.
    pub fn client(&self, options: &Value) -> Script {
        self.script("client", options)
    }

    /// Runs the client to its end; gives its `close` event: `code`, `reason`, and `echoed`, the number of echoes.
    ///
    /// # Panics
    /// When it does not come to a close, or an echo is wrong.
    pub async fn converse(&self, options: &Value) -> Value {
        self.client(options).event("close").await
    }
}

/// A running echo server. A text message that is a command is not echoed: `close`, `close CODE REASON`, `terminate`
/// (its TCP connection), `crash` (the process), `silent` (reads and says nothing more).
#[derive(Debug)]
pub struct Backend {
    script: Script,
    address: SocketAddr,
}

impl Backend {
    /// A server script that says `listening` with its `port`.
    ///
    /// # Panics
    /// When it does not.
    pub async fn new(mut script: Script) -> Self {
        let port = script.event("listening").await["port"].as_u64().and_then(|port| port.try_into().ok());
        Self { script, address: SocketAddr::from(([127, 0, 0, 1], port.expect("a port"))) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next session: `path`, `protocol`, `extensions`, `headers`.
    pub async fn opened(&mut self) -> Value {
        self.script.event("open").await
    }

    /// The next ending as the server sees it: `code` (1005: empty, 1006: none), `reason`.
    pub async fn closed(&mut self) -> Value {
        self.script.event("close").await
    }

    /// As [`Script::event`].
    pub async fn event(&mut self, kind: &str) -> Value {
        self.script.event(kind).await
    }

    /// As [`Script::event_where`].
    pub async fn event_where(&mut self, kind: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.script.event_where(kind, holds).await
    }

    /// As [`Script::tell`].
    pub async fn tell(&mut self, command: &Value) {
        self.script.tell(command).await;
    }

    /// Every event that has come and was not waited for.
    pub fn events(&mut self) -> Vec<Value> {
        self.script.events()
    }

    /// Kills the process.
    pub async fn kill(&mut self) {
        self.script.kill().await;
    }
}

/// What a script's `close` event must hold.
pub fn closed_with(event: &Value, code: u16, reason: &str) -> bool {
    event["code"] == json!(code) && event["reason"] == json!(reason)
}
