//! One stream, from its request to its answer, or to the session that it becomes.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Instant,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::sync::oneshot;

use super::{
    Reach,
    message::{self, Incoming},
    traffic::{Open, Traffic},
    tunnel::Tunnel,
};
use crate::{
    body::Body,
    http::{Client, Reply, answer},
    session::Upgraded,
    stream::Stream,
    upload::Source,
};

/// Answers a request. A client that takes it back ends the work on it.
pub(super) async fn serve(
    client: Client,
    reach: Rc<Reach>,
    started: Instant,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    open: Open,
) {
    let traffic = open.traffic().clone();
    let (mut parts, recv) = request.into_parts();
    let has_body = parts.method != Method::HEAD;
    if parts.headers.get(header::EXPECT).is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        // One that is gone is noticed below.
        let _ = respond.send_informational(go_on());
    }
    let read = message::to_http1(&mut parts, recv.is_end_stream());
    let is_websocket = match read.and_then(|is| message::check_host(&parts, |host| reach.covers(host)).map(|()| is)) {
        Ok(is_websocket) => is_websocket,
        Err(rejection) => {
            let reply = client.reject(&Request::from_parts(parts, ()), None, rejection);
            return finish(respond, reply, has_body, &traffic).await;
        }
    };
    let (body, recv) = match is_websocket {
        true => (Source::None, Some(recv)),
        false => (Source::Http2(Incoming::new(recv, &parts.headers, traffic.clone())), None),
    };
    let (begin, begins) = oneshot::channel();
    let answer = answer(&client, started, Box::new(Request::from_parts(parts, body)), Upgraded::http2(begins));
    let Some(reply) = unless_reset(&mut respond, answer).await else { return traffic.taken_back() };
    let Some(recv) = recv.filter(|_| reply.status() == StatusCode::SWITCHING_PROTOCOLS) else {
        return finish(respond, reply, has_body, &traffic).await;
    };
    let (head, _) = message::to_http2(reply, false);
    if let Ok(send) = respond.send_response(head, false) {
        traffic.answered();
        // Whoever waits for it lives as long as the session.
        let _ = begin.send(Stream::Http2(Box::new(Tunnel::new(send, recv, open))));
    }
}

fn go_on() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::CONTINUE;
    response
}

/// The answer; `None`: nobody waits for it any more.
async fn unless_reset(respond: &mut SendResponse<Bytes>, answer: impl Future<Output = Reply>) -> Option<Reply> {
    let mut answer = pin!(answer);
    let answered = poll_fn(|cx| match respond.poll_reset(cx) {
        Poll::Ready(_) => Poll::Ready(None),
        Poll::Pending => answer.as_mut().poll(cx).map(Some),
    });
    answered.await
}

/// Sends an answer that is no session's beginning.
async fn finish(mut respond: SendResponse<Bytes>, reply: Reply, has_body: bool, traffic: &Traffic) {
    let (head, body) = message::to_http2(reply, has_body);
    let is_over = !has_body || body.is_end_stream();
    let Ok(mut send) = respond.send_response(head, is_over) else { return traffic.taken_back() };
    traffic.answered();
    if !is_over && send_body(&mut send, body, traffic).await.is_err() {
        // The rest does not come, or nobody takes it: the client must not think it whole.
        send.send_reset(Reason::INTERNAL_ERROR);
    }
}

/// # Errors
/// The body is cut off, or the stream.
async fn send_body(send: &mut SendStream<Bytes>, mut body: Body, traffic: &Traffic) -> Result<(), ()> {
    loop {
        let frame = poll_fn(|cx| match send.poll_reset(cx) {
            // The client waits no more, and so the endpoint need not go on.
            Poll::Ready(_) => Poll::Ready(Err(())),
            Poll::Pending => pin!(body.frame()).poll(cx).map(Ok),
        });
        match frame.await? {
            None => return send.send_data(Bytes::new(), true).map_err(drop),
            Some(Err(_)) => return Err(()),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => message::send(send, data, traffic).await.map_err(drop)?,
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return send.send_trailers(trailers).map_err(drop);
                }
            },
        }
    }
}
