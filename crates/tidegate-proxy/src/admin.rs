//! Where the operator looks, `/metrics`, `/governor`, `/livez`, `/readyz`, and on the admin socket also commands.

use std::{
    convert::Infallible,
    net::IpAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{task::spawn_local, time::timeout};

use crate::{
    accept::{Accepted, Acceptor, Listening},
    command::{Inbox, Verb},
    shared::Shared,
    stream::Stream,
};

/// Connections served at once: scrapers are few, and slow ones must not pile up.
const MAX_CONNECTIONS: usize = 32;
/// How long one of them may last; one that may command lasts as long as what it asked for.
const MAX_LIFETIME: Duration = Duration::from_secs(30);

/// What an admin listener serves.
pub(crate) struct Admin {
    pub(crate) shared: Arc<Shared>,
    /// Where commands go; `None`: it takes none.
    pub(crate) commands: Option<Inbox>,
}

/// Serves an admin listener for as long as it is let.
pub(crate) async fn serve(listening: Listening, admin: Admin) {
    let mut acceptor = match Acceptor::new(listening) {
        Ok(acceptor) => acceptor,
        Err(error) => return tracing::error!(%error, "the admin listener cannot accept"),
    };
    let admin = Rc::new(admin);
    loop {
        let Ok(accepted) = acceptor.next(false).await else { continue };
        let busy = &admin.shared.admin_connections;
        if busy.load(Relaxed) >= MAX_CONNECTIONS {
            admin.shared.metrics.admin_rejected.inc();
            continue;
        }
        busy.fetch_add(1, Relaxed);
        let admin = admin.clone();
        spawn_local(async move {
            let connection = connection(accepted, &admin);
            match admin.commands {
                Some(_) => connection.await,
                None => _ = timeout(MAX_LIFETIME, connection).await,
            }
            admin.shared.admin_connections.fetch_sub(1, Relaxed);
        });
    }
}

async fn connection(accepted: Accepted, admin: &Admin) {
    let local = accepted.peer.is_none_or(|peer| peer.ip().to_canonical().is_loopback());
    let Ok(stream) = Stream::from_accepted(accepted) else { return };
    let service = service_fn(|request| async move { Ok::<_, Infallible>(admin.answer(&request, local).await) });
    // A scraper that goes away is no error of ours.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(MAX_LIFETIME)
        .max_buf_size(8 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Admin {
    async fn answer(&self, request: &Request<Incoming>, local: bool) -> Response<Full<Bytes>> {
        if local && !names_this_machine(request) {
            // A page in a browser on this machine that was given our address under its own name.
            return self.refuse(StatusCode::FORBIDDEN, "foreign Host\n");
        }
        let (path, shared) = (request.uri().path(), &self.shared);
        if let (Some(verb), Some(commands)) = (Verb::at(path), &self.commands) {
            return match *request.method() {
                Method::POST => obey(commands, verb).await,
                _ => self.refuse(StatusCode::METHOD_NOT_ALLOWED, "POST only\n"),
            };
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return self.refuse(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        }
        match path {
            "/livez" => reply(StatusCode::OK, "ok\n"),
            "/readyz" | "/healthz" => match shared.draining() {
                Some(_) => reply(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
                None => reply(StatusCode::OK, "ok\n"),
            },
            "/metrics" => {
                shared.observe();
                let mut reply = reply(StatusCode::OK, shared.metrics.render());
                let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                reply.headers_mut().insert(header::CONTENT_TYPE, text);
                reply
            }
            "/governor" => {
                let mut reply = reply(StatusCode::OK, shared.report());
                reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                reply
            }
            _ if self.commands.is_some() => {
                reply(StatusCode::NOT_FOUND, "GET /metrics /governor /livez /readyz, POST /reload /drain /upgrade\n")
            }
            _ => reply(StatusCode::NOT_FOUND, "/metrics /governor /livez /readyz\n"),
        }
    }

    fn refuse(&self, status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
        self.shared.metrics.admin_rejected.inc();
        reply(status, text)
    }
}

async fn obey(commands: &Inbox, verb: Verb) -> Response<Full<Bytes>> {
    match commands.ask(verb).await {
        Some(Ok(said)) => reply(StatusCode::OK, said + "\n"),
        Some(Err(why)) => reply(StatusCode::CONFLICT, why + "\n"),
        None => reply(StatusCode::SERVICE_UNAVAILABLE, "busy with other commands\n"),
    }
}

/// Whether the Host of a request from this machine is an address or `localhost`: a name of any other kind was
/// resolved to us by somebody else (DNS rebinding).
fn names_this_machine(request: &Request<Incoming>) -> bool {
    let Some(host) = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()) else { return true };
    let Some(host) = host.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)) else { return false };
    host.eq_ignore_ascii_case("localhost") || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

fn reply(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(text.into()));
    *reply.status_mut() = status;
    reply
}
