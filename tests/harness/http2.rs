//! A client of Python's `h2`: `tests/peers/http2-client.py`, told what to do line by line.
//!
//! Commands are `{"do": …}`: `request` (`name`, `path`, `method`, `headers`, `body`; `open`: the body goes on),
//! `websocket` (also `protocol`, `scheme`, `authority`, `end`, `without`), `text`, `bulk` (`count` messages of `size`),
//! `close` (`code`, `reason`), `end`, `reset` (`code`), `hold` (acknowledge no more), `goaway`, `fin`, `rst`, and
//! `flood` (`kind`, `count`). Every stream has a `name`.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::certificate::Certificate;
use crate::clock::PATIENCE;
use crate::raw::Close;
use crate::script::{Runtime, Script};
use crate::tidegate::Tidegate;

/// One HTTP/2 connection. It ends on drop.
#[derive(Debug)]
pub struct Http2 {
    script: Script,
    /// Events that nobody has asked for yet.
    seen: VecDeque<Value>,
}

impl Http2 {
    /// Connects over TLS; `None` when there is no Python, which has then been said.
    ///
    /// # Panics
    /// When HTTP/2 is not what the two agree on.
    pub async fn connect(gate: &Tidegate, trusted: &Certificate) -> Option<Self> {
        Self::connect_with(gate, trusted, json!({})).await
    }

    /// As [`Self::connect`], with options of the script: `window`, bytes that the client takes of each stream; `sni`,
    /// whom it asks for; `ca`, an authority to trust instead.
    ///
    /// # Panics
    /// As [`Self::connect`].
    pub async fn connect_with(gate: &Tidegate, trusted: &Certificate, mut options: Value) -> Option<Self> {
        options["port"] = json!(gate.address().port());
        if options["ca"].is_null() {
            options["ca"] = json!(trusted.certificate_file());
        }
        let script = Runtime::python()?.script("http2-client", &options);
        let mut this = Self { script, seen: VecDeque::new() };
        assert_eq!(this.event("connected").await["alpn"], "h2");
        Some(this)
    }

    /// Gives a command.
    pub async fn tell(&mut self, command: Value) {
        self.script.tell(&command).await;
    }

    /// The first event of this kind that was not taken yet.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn event(&mut self, kind: &str) -> Value {
        self.take(|event| event["event"] == kind).await
    }

    /// As [`Self::event`], on this stream.
    pub async fn on(&mut self, name: &str, kind: &str) -> Value {
        self.take(|event| event["event"] == kind && event["name"] == name).await
    }

    /// Asks, and gives the answer's status and fields.
    ///
    /// # Panics
    /// When no answer comes.
    pub async fn answer(&mut self, command: Value) -> Answer {
        let name = command["name"].as_str().expect("a name").to_owned();
        self.tell(command).await;
        Answer::from(&self.on(&name, "answer").await)
    }

    /// Asks for a WebSocket.
    pub async fn ask(&mut self, name: &str) {
        self.tell(json!({ "do": "websocket", "name": name })).await;
    }

    /// Waits until a WebSocket is open.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn opened(&mut self, name: &str) {
        let answer = Answer::from(&self.on(name, "answer").await);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Sends a text message.
    pub async fn send(&mut self, name: &str, text: &str) {
        self.tell(json!({ "do": "text", "name": name, "text": text })).await;
    }

    /// The next message's text.
    pub async fn text(&mut self, name: &str) -> String {
        self.on(name, "message").await["text"].as_str().expect("a text").to_owned()
    }

    /// Sends a Close.
    pub async fn say(&mut self, name: &str, close: &Close) {
        let mut command = json!({ "do": "close", "name": name });
        if let Some(code) = close.code {
            command["code"] = json!(code);
            command["reason"] = json!(close.reason);
        }
        self.tell(command).await;
    }

    /// The Close that comes.
    pub async fn close(&mut self, name: &str) -> Close {
        let close = self.on(name, "close").await;
        let code = close["code"].as_u64().and_then(|code| code.try_into().ok()).filter(|code| *code != 1005);
        Close { code, reason: close["reason"].as_str().unwrap_or_default().to_owned() }
    }

    /// Answers a Close, sees the stream end by END_STREAM, and ends it.
    ///
    /// # Panics
    /// When it is reset before it has ended.
    pub async fn finish(&mut self, name: &str, answer: &Close) {
        self.say(name, answer).await;
        self.ended(name).await;
        self.tell(json!({ "do": "end", "name": name })).await;
    }

    /// Waits for END_STREAM.
    ///
    /// # Panics
    /// When the stream is reset instead.
    pub async fn ended(&mut self, name: &str) {
        let over = self.take(|it| it["name"] == name && (it["event"] == "end" || it["event"] == "reset")).await;
        assert_eq!(over["event"], "end", "{over}");
    }

    async fn take(&mut self, holds: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.seen.iter().position(&holds) {
            return self.seen.remove(at).expect("found above");
        }
        loop {
            let next = tokio::time::timeout(PATIENCE, self.script.next()).await;
            let event = next.unwrap_or_else(|_| panic!("waited in vain; not asked for yet: {:#?}", self.seen));
            if holds(&event) {
                return event;
            }
            self.seen.push_back(event);
        }
    }
}

/// The head of an answer.
#[derive(Debug)]
pub struct Answer {
    /// `:status`.
    pub status: u16,
    headers: Value,
}

impl Answer {
    fn from(event: &Value) -> Self {
        let headers = event["headers"].clone();
        let mut this = Self { status: 0, headers };
        this.status = this.header(":status").and_then(|status| status.parse().ok()).expect("a status");
        this
    }

    /// A header field's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.as_array()?.iter().find(|field| field[0] == name)?[1].as_str()
    }
}
