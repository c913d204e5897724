//! Forward authentication: another server is asked whether a request may pass, as Traefik and nginx' `auth_request` do.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tidegate_config::ForwardAuth;
use tokio::{task::spawn_local, time::timeout};

use super::{denied, field, unavailable};
use crate::{
    body::Body,
    endpoint::Endpoint,
    gate::Denied,
    tls::Outgoing,
    upstream::{self, Dial, MAX_HEAD, MAX_HEADERS, strip_hop_by_hop},
};

/// Longest body of a refusal that is passed back, in bytes.
const MAX_BODY: usize = 64 << 10;

/// Asks, over TLS where the server has it, and gives the request the header fields that the answer has for it.
///
/// # Errors
/// The answer is a refusal, which is passed back, or there is none that counts.
pub(super) async fn ask(server: &ForwardAuth, tls: Option<&Outgoing>, parts: &mut Parts) -> Result<(), Denied> {
    // What the server says of the client, the client cannot have said.
    let copied: Vec<HeaderName> = server.response_headers.iter().filter_map(|name| field(name)).collect();
    for name in &copied {
        parts.headers.remove(name);
    }
    let asked = timeout(server.timeout, exchange(server, tls, question(server, parts))).await;
    let answer = match asked {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            tracing::warn!(server = server.host, error, "the auth server does not answer");
            return Err(unavailable());
        }
        Err(_) => {
            tracing::warn!(server = server.host, "the auth server does not answer in time");
            return Err(unavailable());
        }
    };
    let status = answer.status();
    if status.is_success() {
        for name in copied {
            for value in answer.headers().get_all(&name) {
                parts.headers.append(name.clone(), value.clone());
            }
        }
        return Ok(());
    }
    let is_refusal = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        || status.is_redirection() && answer.headers().contains_key(header::LOCATION);
    if !is_refusal {
        tracing::warn!(server = server.host, %status, "the auth server's answer is neither yes nor no");
        return Err(unavailable());
    }
    let (head, body) = answer.into_parts();
    let mut reply = Response::new(Body::from(body));
    *reply.status_mut() = status;
    *reply.headers_mut() = head.headers;
    let headers = reply.headers_mut();
    strip_hop_by_hop(headers);
    headers.remove(header::CONTENT_LENGTH);
    // Whatever the client has sent behind its request, it was not meant as a request.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Err(denied(reply))
}

/// The request without its body, and what it is for.
fn question(server: &ForwardAuth, parts: &Parts) -> Request<Empty<Bytes>> {
    let mut question = Request::new(Empty::new());
    *question.uri_mut() = server.target.parse().unwrap_or_default();
    let headers = question.headers_mut();
    for (name, value) in &parts.headers {
        let is_of_the_body = [header::CONTENT_LENGTH, header::EXPECT, header::HOST].contains(name);
        if !is_of_the_body && !name.as_str().starts_with("sec-websocket-") {
            headers.append(name.clone(), value.clone());
        }
    }
    strip_hop_by_hop(headers);
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    for (name, value) in [
        ("host", server.host.as_str()),
        ("x-forwarded-method", parts.method.as_str()),
        ("x-forwarded-uri", target),
        ("x-original-method", parts.method.as_str()),
        ("x-original-uri", target),
    ] {
        // A method, and a target that was read from a request line.
        if let (Some(name), Ok(value)) = (field(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    *question.method_mut() = Method::GET;
    question
}

async fn exchange(
    server: &ForwardAuth,
    tls: Option<&Outgoing>,
    question: Request<Empty<Bytes>>,
) -> Result<Response<Bytes>, String> {
    if server.tls.is_some() != tls.is_some() {
        return Err("its TLS is not loaded".to_owned());
    }
    let endpoint = Endpoint { server: server.address.clone(), at: None, tag: Box::default() };
    let dial = Dial {
        endpoint: &endpoint,
        tls,
        connect_timeout: server.timeout,
        handshake_timeout: server.timeout,
        proxy_header: None,
    };
    let stream = upstream::connect(&dial).await.map_err(|failure| failure.detail())?;
    let mut builder = http1::Builder::new();
    let speaking = builder.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = speaking.map_err(|error| error.to_string())?;
    // Ends when the answer is read, or with the sender.
    spawn_local(connection);
    let answer = sender.send_request(question).await.map_err(|error| error.to_string())?;
    if !crate::request::is_plainly_framed(answer.headers()) {
        return Err("a transfer coding other than chunked".to_owned());
    }
    let (head, body) = answer.into_parts();
    let body = match head.status.is_success() {
        true => Bytes::new(),
        false => Limited::new(body, MAX_BODY).collect().await.map_err(|error| error.to_string())?.to_bytes(),
    };
    Ok(Response::from_parts(head, body))
}
