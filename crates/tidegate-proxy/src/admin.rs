//! Where the operator looks: `/metrics`, `/livez`, `/readyz`.

use std::{cell::Cell, convert::Infallible, net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{task::spawn_local, time::timeout};

use crate::{
    accept::{Accepted, Acceptor, Listening},
    shared::Shared,
    stream::Stream,
};

/// Connections served at once: scrapers are few, and slow ones must not pile up.
const MAX_CONNECTIONS: usize = 32;
/// How long one of them may last.
const MAX_LIFETIME: Duration = Duration::from_secs(30);

/// Serves the admin listener for as long as the process lives.
pub(crate) async fn serve(listening: Listening, shared: Arc<Shared>) {
    let mut acceptor = match Acceptor::new(listening) {
        Ok(acceptor) => acceptor,
        Err(error) => return tracing::error!(%error, "the admin listener cannot accept"),
    };
    let busy = Rc::new(Cell::new(0));
    loop {
        let Ok(accepted) = acceptor.next().await else { continue };
        if busy.get() == MAX_CONNECTIONS {
            shared.metrics.admin_rejected.inc();
            continue;
        }
        busy.set(busy.get() + 1);
        let (busy, shared) = (busy.clone(), shared.clone());
        spawn_local(async move {
            let _ = timeout(MAX_LIFETIME, connection(accepted, &shared)).await;
            busy.set(busy.get() - 1);
        });
    }
}

async fn connection(accepted: Accepted, shared: &Arc<Shared>) {
    let local = accepted.peer.is_none_or(|peer| peer.ip().to_canonical().is_loopback());
    let Ok(stream) = Stream::from_accepted(accepted) else { return };
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(shared, &request, local)) });
    // A scraper that goes away is no error of ours.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(MAX_LIFETIME)
        .max_buf_size(8 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn answer(shared: &Shared, request: &Request<Incoming>, local: bool) -> Response<Full<Bytes>> {
    let refused = |status, text: &'static str| {
        shared.metrics.admin_rejected.inc();
        reply(status, text)
    };
    if local && !names_this_machine(request) {
        // A page in a browser on this machine that was given our address under its own name.
        return refused(StatusCode::FORBIDDEN, "foreign Host\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
    }
    match request.uri().path() {
        "/livez" => reply(StatusCode::OK, "ok\n"),
        "/readyz" | "/healthz" => match shared.draining() {
            Some(_) => reply(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            None => reply(StatusCode::OK, "ok\n"),
        },
        "/metrics" => {
            shared.observe();
            let mut reply = Response::new(Full::from(shared.metrics.render()));
            let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            reply.headers_mut().insert(header::CONTENT_TYPE, text);
            reply
        }
        _ => reply(StatusCode::NOT_FOUND, "/metrics /livez /readyz\n"),
    }
}

/// Whether the Host of a request from this machine is an address or `localhost`: a name of any other kind was
/// resolved to us by somebody else (DNS rebinding).
fn names_this_machine(request: &Request<Incoming>) -> bool {
    let Some(host) = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()) else { return true };
    let Some(host) = host.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)) else { return false };
    host.eq_ignore_ascii_case("localhost") || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

fn reply(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::from(text));
    *reply.status_mut() = status;
    reply
}
