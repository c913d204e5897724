//! Browsers, driven by `tests/peers/browser.js`.

use serde_json::{Value, json};

use crate::scratch::Scratch;
use crate::script::{Runtime, Script};
use crate::tools::Tool;

/// A browser that can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Over its DevTools protocol.
    Chromium,
    /// Over WebDriver BiDi.
    Firefox,
}

impl Kind {
    /// Its name, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chromium => "Chromium",
            Self::Firefox => "Firefox",
        }
    }

    /// Starts it; `None` when it cannot be had, which has then been said.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(self) -> Option<Browser> {
        self.start_with(false).await
    }

    /// As [`Self::start`]; it takes any certificate.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub async fn start_trusting(self) -> Option<Browser> {
        self.start_with(true).await
    }

    async fn start_with(self, trusting: bool) -> Option<Browser> {
        let tool = match self {
            Self::Chromium => Tool::Chromium,
            Self::Firefox => Tool::Firefox,
        };
        let (program, node) = (tool.need()?, Runtime::node()?);
        let browser = self.name().to_lowercase();
        let profile = Scratch::new(&browser);
        let options =
            json!({ "browser": browser, "program": program, "profile": profile.path(), "trusting": trusting });
        let mut script = node.script("browser", &options);
        // Seconds of work even on an idle machine, so each half may take as long as any other event.
        script.event("started").await;
        script.event("ready").await;
        Some(Browser { script, _profile: profile })
    }
}

/// A running browser with one page. It is killed on drop.
#[derive(Debug)]
pub struct Browser {
    script: Script,
    _profile: Scratch,
}

impl Browser {
    /// Opens another page and waits until it has loaded.
    ///
    /// # Panics
    /// When it does not load.
    pub async fn go_to(&mut self, url: &str) {
        self.script.tell(&json!({ "goto": url })).await;
        self.script.event("loaded").await;
    }

    /// Makes the page that was gone to one that opens sockets.
    ///
    /// # Panics
    /// When the browser has ended.
    pub async fn define_sockets(&mut self) {
        self.script.tell(&json!({ "define": true })).await;
    }

    /// What an expression is on the page, promises awaited.
    ///
    /// # Panics
    /// When it throws.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        self.script.tell(&json!({ "evaluate": expression })).await;
        self.script.event("value").await["value"].take()
    }

    /// Opens a WebSocket from the page and waits until it is open. `id` tells it from others.
    pub async fn open_socket(&mut self, id: &str, url: &str) {
        self.begin_socket(id, url).await;
        self.script.event_where("socket-open", |event| event["id"] == id).await;
    }

    /// Begins to open a WebSocket from the page.
    pub async fn begin_socket(&mut self, id: &str, url: &str) {
        self.script.tell(&json!({ "socket": id, "url": url })).await;
    }

    /// Calls a method of a WebSocket of the page.
    pub async fn call_socket(&mut self, id: &str, method: &str, arguments: Value) {
        self.script.tell(&json!({ "socket": id, "method": method, "arguments": arguments })).await;
    }

    /// What `onclose` of a WebSocket got: `code`, `reason`, `wasClean`.
    pub async fn socket_closed(&mut self, id: &str) -> Value {
        self.script.event_where("socket-close", |event| event["id"] == id).await
    }
}
