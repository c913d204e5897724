//! One health check of one endpoint.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};
use tidegate_config::{Check, Health, ServerAddress, Target};
use tokio::time::timeout;
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

use futures_util::{SinkExt, StreamExt};

use crate::{
    endpoint::Endpoint,
    stream::Stream,
    upstream::{self, Dial, Failure},
};

/// What an endpoint may greet a check with, in bytes.
const MAX_GREETING: usize = 1 << 20;
/// How long the answer to our Close is waited for. It decides nothing: the pong has come.
const LEAVE: Duration = Duration::from_secs(1);
const PAYLOAD: Bytes = Bytes::from_static(b"tidegate");

/// Whether this endpoint is well.
///
/// # Errors
/// Why it is not.
pub(crate) async fn probe(dial: &Dial<'_>, health: &Health) -> Result<(), Failure> {
    timeout(health.timeout, probe_in_time(dial, health)).await.unwrap_or(Err(Failure::AnswerTimeout))
}

async fn probe_in_time(dial: &Dial<'_>, health: &Health) -> Result<(), Failure> {
    let endpoint = dial.endpoint;
    let stream = upstream::connect(dial).await?;
    match &health.check {
        Check::Tcp => Ok(()),
        Check::Http { target, status } => http(stream, endpoint, target, *status).await,
        Check::WebSocket { target, subprotocol } => websocket(stream, endpoint, target, subprotocol.as_deref()).await,
    }
}

async fn http(mut stream: Stream, endpoint: &Endpoint, target: &Target, good: (u16, u16)) -> Result<(), Failure> {
    let (path, host) = (&target.path, host(target, endpoint));
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tidegate-health\r\nConnection: close\r\n\r\n");
    let (answer, _) = upstream::ask(&mut stream, head.as_bytes()).await?;
    match answer.status.as_u16() {
        status if (good.0..=good.1).contains(&status) => Ok(()),
        _ => Err(Failure::Refused(Box::new(answer))),
    }
}

async fn websocket(
    stream: Stream,
    endpoint: &Endpoint,
    target: &Target,
    subprotocol: Option<&str>,
) -> Result<(), Failure> {
    let invalid = |_| Failure::Invalid("a path or host that cannot be asked for");
    let uri = format!("ws://{}{}", host(target, endpoint), target.path);
    let mut request = uri.into_client_request().map_err(|error| invalid(error.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, HeaderValue::from_static("tidegate-health"));
    if let Some(subprotocol) = subprotocol {
        let value = HeaderValue::try_from(subprotocol).map_err(|error| invalid(error.to_string()))?;
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .max_message_size(Some(MAX_GREETING))
        .max_frame_size(Some(MAX_GREETING));
    let (mut socket, _) = client_async_with_config(request, stream, Some(config)).await.map_err(failure)?;
    socket.send(Message::Ping(PAYLOAD)).await.map_err(|_| Failure::Closed)?;
    loop {
        match socket.next().await {
            Some(Ok(Message::Pong(payload))) if payload == PAYLOAD => break,
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Failure::Closed),
            Some(Ok(_)) => {}
        }
    }
    let close = CloseFrame { code: CloseCode::Normal, reason: "health check".into() };
    let leave = async {
        if socket.close(Some(close)).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    // It answers, or it does not.
    let _ = timeout(LEAVE, leave).await;
    Ok(())
}

/// As whom the endpoint is asked.
fn host(target: &Target, endpoint: &Endpoint) -> String {
    match (&target.host, &endpoint.server) {
        (Some(host), _) => host.clone(),
        (None, ServerAddress::Unix(_)) => "localhost".to_owned(),
        (None, ServerAddress::Srv(_)) => endpoint.to_string(),
        (None, server) => server.to_string(),
    }
}

fn failure(error: Error) -> Failure {
    match error {
        Error::Http(answer) => {
            let (parts, _) = answer.into_parts();
            Failure::Refused(Box::new(upstream::Answer {
                status: parts.status,
                headers: parts.headers,
                body: Bytes::new(),
            }))
        }
        Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed => Failure::Closed,
        _ => Failure::Invalid("no valid answer to an upgrade"),
    }
}
