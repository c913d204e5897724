//! tidegate behind nginx and HAProxy, in front of them, and behind itself: every Close arrives as it was said, and the
//! client is known by its own address.

use std::net::SocketAddr;

use harness::script::closed_with;
use harness::{Backend, PeerProxy, Runtime, Setup, Tidegate};
use serde_json::json;

const CLOSES: [(u16, &str); 4] = [(1000, "done"), (1012, "soon"), (1013, "later"), (4001, "bye")];
const TRUST: &str = "trusted_proxies = [\"127.0.0.0/8\"]";

/// A way from a client to a backend, over other proxies.
struct Chain {
    /// Where clients connect.
    front: SocketAddr,
    /// The one that drains.
    gate: Tidegate,
    /// Held so that they run.
    _others: (Option<PeerProxy>, Option<Tidegate>),
    /// For messages.
    name: &'static str,
}

impl Chain {
    async fn through_gate(server: SocketAddr) -> Tidegate {
        Setup::proxy_to(server).listener(TRUST).start().await
    }

    async fn behind_nginx(backend: SocketAddr) -> Option<Self> {
        let gate = Self::through_gate(backend).await;
        let nginx = PeerProxy::nginx("", &PeerProxy::nginx_pass(gate.address())).await?;
        Some(Self { front: nginx.address(), gate, _others: (Some(nginx), None), name: "behind nginx" })
    }

    async fn behind_haproxy(backend: SocketAddr) -> Option<Self> {
        let gate = Self::through_gate(backend).await;
        let server = format!("{}\n option forwardfor", gate.address());
        let haproxy = PeerProxy::haproxy("http", "", &server).await?;
        Some(Self { front: haproxy.address(), gate, _others: (Some(haproxy), None), name: "behind HAProxy" })
    }

    async fn before_nginx(backend: SocketAddr) -> Option<Self> {
        let nginx = PeerProxy::nginx("", &PeerProxy::nginx_pass(backend)).await?;
        let gate = Self::through_gate(nginx.address()).await;
        Some(Self { front: gate.address(), gate, _others: (Some(nginx), None), name: "in front of nginx" })
    }

    async fn before_haproxy(backend: SocketAddr) -> Option<Self> {
        let haproxy = PeerProxy::haproxy("http", "", &backend.to_string()).await?;
        let gate = Self::through_gate(haproxy.address()).await;
        Some(Self { front: gate.address(), gate, _others: (Some(haproxy), None), name: "in front of HAProxy" })
    }

    async fn behind_itself(backend: SocketAddr) -> Option<Self> {
        let gate = Self::through_gate(backend).await;
        let outer = Self::through_gate(gate.address()).await;
        Some(Self { front: outer.address(), gate, _others: (None, Some(outer)), name: "behind tidegate" })
    }

    async fn before_itself(backend: SocketAddr) -> Option<Self> {
        let inner = Self::through_gate(backend).await;
        let gate = Self::through_gate(inner.address()).await;
        Some(Self { front: gate.address(), gate, _others: (None, Some(inner)), name: "in front of tidegate" })
    }

    fn url(&self) -> String {
        format!("ws://{}/", self.front)
    }
}

/// Both ends' Closes, both ways, then a drain in the middle of a session.
async fn keeps_the_contract(chain: Chain, client: &Runtime, backend: &mut Backend) {
    let name = chain.name;
    for (code, reason) in CLOSES {
        let said = format!("close {code} {reason}");
        let closed = client.converse(&json!({ "url": chain.url(), "messages": [{ "text": "x" }], "say": said })).await;
        assert!(closed_with(&closed, code, reason), "{name}: {closed}");
        assert!(closed_with(&backend.closed().await, code, reason), "{name}");
    }
    for (code, reason) in [(1000, "done"), (4001, "bye")] {
        let options = json!({ "url": chain.url(), "messages": [{ "text": "x" }], "close": [code, reason] });
        let closed = client.converse(&options).await;
        assert!(closed_with(&closed, code, reason), "{name}: {closed}");
        let at_server = backend.closed().await;
        assert!(closed_with(&at_server, code, reason), "{name}: {at_server}");
    }
    let mut session = client.client(&json!({ "url": chain.url(), "messages": [{ "text": "x" }] }));
    session.event("conversed").await;
    let opened = backend.opened().await;
    let forwarded = opened["headers"]["x-forwarded-for"].as_str().unwrap_or_default();
    assert!(forwarded.split(", ").next() == Some("127.0.0.1"), "{name}: {opened}");
    chain.gate.terminate();
    let closed = session.event("close").await;
    assert_eq!(closed["code"], 1012, "{name}: {closed}");
    assert!(closed["reason"].as_str().is_some_and(|reason| reason.starts_with("restarting; ")), "{name}: {closed}");
    let at_server = backend.closed().await;
    assert_eq!(at_server["code"], 1001, "{name}: {at_server}");
}

macro_rules! chain {
    ($test:ident, $make:ident) => {
        #[tokio::test]
        async fn $test() {
            let (Some(node), Some(python)) = (Runtime::node(), Runtime::python()) else { return };
            let mut backend = node.backend(&json!({})).await;
            let Some(chain) = Chain::$make(backend.address()).await else { return };
            keeps_the_contract(chain, &python, &mut backend).await;
        }
    };
}

chain!(behind_nginx_every_close_arrives, behind_nginx);
chain!(behind_haproxy_every_close_arrives, behind_haproxy);
chain!(in_front_of_nginx_every_close_arrives, before_nginx);
chain!(in_front_of_haproxy_every_close_arrives, before_haproxy);
chain!(behind_itself_every_close_arrives, behind_itself);
chain!(in_front_of_itself_every_close_arrives, before_itself);

#[tokio::test]
async fn a_backend_killed_behind_another_proxy_is_1014() {
    let Some(node) = Runtime::node() else { return };
    for made in ["nginx", "haproxy", "tidegate"] {
        let mut backend = node.backend(&json!({})).await;
        let chain = match made {
            "nginx" => Chain::before_nginx(backend.address()).await,
            "haproxy" => Chain::before_haproxy(backend.address()).await,
            _ => Chain::before_itself(backend.address()).await,
        };
        let Some(chain) = chain else { continue };
        let mut session = node.client(&json!({ "url": chain.url(), "messages": [{ "text": "x" }] }));
        session.event("conversed").await;
        backend.kill().await;
        let closed = session.event("close").await;
        assert_eq!(closed["code"], 1014, "{}: {closed}", chain.name);
    }
}
