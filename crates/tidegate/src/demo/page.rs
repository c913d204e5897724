//! The page: three files, what it shows, and what it asks for.
//!
//! Only a page that came from here may ask: a request must name this machine as its Host, and what changes something
//! must carry that Host as its Origin. So no other site can reach it through a visitor's browser, not even by a name
//! of its own that resolves to this machine (DNS rebinding).

use std::{convert::Infallible, net::IpAddr, net::SocketAddr, path::PathBuf, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::Sender,
    task::JoinSet,
    time::sleep,
};

use super::{
    observe,
    stage::{Board, Scene},
};

/// For a request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Rest after an accept that failed.
const REST: Duration = Duration::from_millis(100);
/// Nothing but this server's own files, and WebSockets.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws:; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: (&str, &str) = ("text/html; charset=utf-8", include_str!("page.html"));
const STYLE: (&str, &str) = ("text/css; charset=utf-8", include_str!("page.css"));
const SCRIPT: (&str, &str) = ("text/javascript; charset=utf-8", include_str!("page.js"));

/// What the page's server knows.
pub(crate) struct Page {
    pub(crate) board: Rc<Board>,
    pub(crate) ask: Sender<Scene>,
    /// The ports of the tunnel and of tidegate.
    pub(crate) ports: (u16, u16),
    pub(crate) access_log: PathBuf,
    pub(crate) admin: Option<SocketAddr>,
}

type Reply = Response<Full<Bytes>>;

/// Serves it until dropped.
pub(crate) async fn serve(listener: TcpListener, page: Page) {
    let page = Rc::new(page);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => drop(connections.spawn_local(connection(socket, page.clone()))),
                Err(_) => sleep(REST).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(socket: TcpStream, page: Rc<Page>) {
    let service = service_fn(|request| {
        let page = page.clone();
        async move { Ok::<_, Infallible>(page.answer(&request).await) }
    });
    // A browser that goes away is no error of ours.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

impl Page {
    async fn answer<B>(&self, request: &Request<B>) -> Reply {
        let Some(host) = own_host(request.headers()) else { return plain(StatusCode::FORBIDDEN, "foreign Host\n") };
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/") => reply(StatusCode::OK, HTML.0, HTML.1),
            (&Method::GET, "/page.css") => reply(StatusCode::OK, STYLE.0, STYLE.1),
            (&Method::GET, "/page.js") => reply(StatusCode::OK, SCRIPT.0, SCRIPT.1),
            (&Method::GET, "/state") => reply(StatusCode::OK, "application/json", self.state().await),
            (&Method::POST, path) if is_same_origin(request.headers(), host) => match path.strip_prefix("/scene/") {
                Some(scene) => self.ask_for(scene),
                None => plain(StatusCode::NOT_FOUND, "not found\n"),
            },
            (&Method::POST, _) => plain(StatusCode::FORBIDDEN, "foreign Origin\n"),
            _ => plain(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    /// One scene at a time.
    fn ask_for(&self, scene: &str) -> Reply {
        let Some(scene) = Scene::named(scene) else { return plain(StatusCode::NOT_FOUND, "no such scene\n") };
        if self.board.scene.get() != Scene::Calm || self.ask.try_send(scene).is_err() {
            return plain(StatusCode::CONFLICT, "the last scene is not over\n");
        }
        self.board.scene.set(scene);
        plain(StatusCode::OK, "ok\n")
    }

    async fn state(&self) -> String {
        let samples = match self.admin {
            Some(admin) => observe::samples(admin).await.unwrap_or_default(),
            None => Vec::new(),
        };
        json!({
            "scene": self.board.scene.get().word(),
            "ports": { "tunnel": self.ports.0, "tidegate": self.ports.1 },
            "configuration": *self.board.configuration.borrow(),
            "log": observe::last_lines(&self.access_log).unwrap_or_default(),
            "metrics": samples,
            "metrics_url": self.admin.map(|admin| format!("http://{admin}/metrics")),
        })
        .to_string()
    }
}

/// The Host, if it is an address or `localhost`: a name of any other kind was resolved to us by somebody else.
fn own_host(headers: &HeaderMap) -> Option<&str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return None };
    let host = host.to_str().ok()?;
    let uri: Uri = host.parse().ok()?;
    let name = uri.host()?;
    let is_own = name.eq_ignore_ascii_case("localhost") || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    is_own.then_some(host)
}

fn is_same_origin(headers: &HeaderMap, host: &str) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next().and_then(|origin| origin.to_str().ok()), origins.next()) {
        (Some(origin), None) => origin.strip_prefix("http://") == Some(host),
        _ => false,
    }
}

fn plain(status: StatusCode, text: &'static str) -> Reply {
    reply(status, "text/plain; charset=utf-8", text)
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::sync::mpsc::{Receiver, channel};

    use super::*;

    fn page() -> (Page, Receiver<Scene>) {
        let board = Rc::new(Board { scene: Cell::new(Scene::Calm), configuration: RefCell::default() });
        let (ask, asked) = channel(1);
        (Page { board, ask, ports: (1, 2), access_log: PathBuf::new(), admin: None }, asked)
    }

    async fn status(page: &Page, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        page.answer(&request.body(()).unwrap()).await.status().as_u16()
    }

    #[tokio::test]
    async fn only_its_own_page_may_ask() {
        let (page, mut asked) = page();
        let (host, origin) = (("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080"));
        for (headers, expected) in [
            (&[host][..], 403),
            (&[origin][..], 403),
            (&[host, ("origin", "http://127.0.0.1:3000")][..], 403),
            (&[host, ("origin", "null")][..], 403),
            (&[host, origin, ("origin", "http://evil.example")][..], 403),
            (&[("host", "evil.example:8080"), ("origin", "http://evil.example:8080")][..], 403),
            (&[host, host, origin][..], 403),
            (&[host, origin][..], 200),
        ] {
            assert_eq!(status(&page, "POST", "/scene/crash", headers).await, expected, "{headers:?}");
        }
        assert_eq!(asked.try_recv(), Ok(Scene::Crash));
        assert_eq!(status(&page, "POST", "/scene/freeze", &[host, origin]).await, 409);
        assert_eq!(status(&page, "POST", "/scene/calm", &[host, origin]).await, 404);
    }

    #[tokio::test]
    async fn it_is_served_by_every_name_of_this_machine() {
        let (page, _asked) = page();
        for host in ["127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:8080"] {
            for path in ["/", "/page.css", "/page.js", "/state"] {
                assert_eq!(status(&page, "GET", path, &[("host", host)]).await, 200, "{host} {path}");
            }
        }
        for host in ["rebound.example:8080", "127.0.0.1.example", ""] {
            assert_eq!(status(&page, "GET", "/", &[("host", host)]).await, 403, "{host}");
        }
        assert_eq!(status(&page, "GET", "/other", &[("host", "localhost")]).await, 404);
    }
}
