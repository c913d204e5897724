//! The usual stage: one tidegate, one upstream, one session through them.

use harness::raw::{Close, pair};
use harness::{Peer, Record, Setup, Tidegate, Upstream};

/// One session, both of its ends in the test's hands.
pub(crate) struct Session {
    pub(crate) gate: Tidegate,
    pub(crate) upstream: Upstream,
    /// The client's end.
    pub(crate) client: Peer,
    /// The upstream's end.
    pub(crate) server: Peer,
}

impl Session {
    /// Opens one with the default configuration.
    pub(crate) async fn open() -> Self {
        Self::open_with("").await
    }

    /// Opens one with these `[defaults]`.
    pub(crate) async fn open_with(defaults: &str) -> Self {
        let upstream = Upstream::bind().await;
        let gate = Setup::proxy_with_defaults(upstream.address(), defaults).start().await;
        let (client, server) = pair(gate.address(), &upstream).await;
        Self { gate, upstream, client, server }
    }

    /// Sends a word each way, and so proves that the session lives.
    pub(crate) async fn exchange(&mut self) {
        exchange(&mut self.client, &mut self.server).await;
    }
}

/// Sends a word each way.
pub(crate) async fn exchange(client: &mut Peer, server: &mut Peer) {
    client.send(harness::Frame::text("to the upstream")).await;
    assert_eq!(server.text().await, "to the upstream");
    server.send(harness::Frame::text("to the client")).await;
    assert_eq!(client.text().await, "to the client");
}

/// Whether a Close is tidegate's own: this code and cause, and an `id`.
#[track_caller]
pub(crate) fn assert_ours(close: &Close, code: u16, cause: &str) {
    assert_eq!((close.code, close.cause()), (Some(code), cause), "{close:?}");
    let id = close.parameter("id").unwrap_or_else(|| panic!("no id in {close:?}"));
    assert!(id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{close:?}");
    assert!(close.reason.len() <= 123 && close.reason.is_ascii(), "{close:?}");
}

/// The seconds of a Close's hint.
#[track_caller]
pub(crate) fn hint(close: &Close) -> u64 {
    let seconds = close.parameter("retry-after").unwrap_or_else(|| panic!("no hint in {close:?}"));
    seconds.parse().unwrap_or_else(|_| panic!("no whole seconds in {close:?}"))
}

/// What the access log must say: verdict, who closed, cause, the client's leg, the upstream's.
#[track_caller]
pub(crate) fn assert_record(
    record: &Record,
    verdict: &str,
    closed_by: &str,
    cause: &str,
    client: &str,
    upstream: &str,
) {
    let found = (record.verdict(), record.closed_by(), record.cause(), record.leg("client"), record.leg("upstream"));
    let wanted = (verdict, closed_by, cause, client.to_owned(), upstream.to_owned());
    assert_eq!(found, wanted, "{}", record.line());
}
