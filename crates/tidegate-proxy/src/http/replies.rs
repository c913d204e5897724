//! What a client is answered.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::checks::DRAINING;
use crate::{
    body::Body,
    gate::Denied,
    request::Rejection,
    upstream::{self, Answer, Failure},
};

/// The longest hint to those who are refused because this process is short of something, in seconds: sessions end and
/// make room all the time.
const RETRY_AFTER_STRAIN: u32 = 10;

pub(crate) type Reply = Response<Body>;

/// How an opening handshake was answered, for the metrics.
pub(super) struct Answered {
    pub(super) reply: Reply,
    pub(super) result: &'static str,
    pub(super) reason: &'static str,
}

/// The upstream failed, or said no in its own words.
pub(super) fn failed(failure: Failure) -> Answered {
    let reason = failure.reason();
    let (code, text) = failure.told();
    match failure {
        Failure::Refused(answer) => Answered { reply: pass_on(*answer), result: "rejected", reason },
        _ => Answered { reply: own_reply(code, text), result: "failed", reason },
    }
}

fn pass_on(answer: Answer) -> Reply {
    let Answer { status, mut headers, body } = answer;
    upstream::strip_hop_by_hop(&mut headers);
    headers.remove(header::CONTENT_LENGTH);
    let mut reply = Response::new(Body::from(body));
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    // Whatever the client has sent behind its request, it was not meant as a request.
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// A 101 with these fields, the proof that the client's key was read among them.
pub(super) fn switching(mut headers: HeaderMap) -> Reply {
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let mut reply = Response::new(Body::default());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *reply.headers_mut() = headers;
    reply
}

/// An answer in tidegate's own words, and the last on its connection.
pub(crate) fn own_reply(code: StatusCode, text: &'static str) -> Reply {
    let mut reply = Response::new(Body::from(format!("{text}\n")));
    *reply.status_mut() = code;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

impl Denied {
    pub(super) fn draining() -> Self {
        Self::Answer { reply: Answered::from(DRAINING).reply, reason: DRAINING.reason }
    }
}

impl From<Rejection> for Answered {
    fn from(rejection: Rejection) -> Self {
        let mut reply = own_reply(rejection.status, rejection.text);
        let headers = reply.headers_mut();
        match rejection.reason {
            "version" => drop(headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))),
            "upgrade_token" if rejection.status == StatusCode::UPGRADE_REQUIRED => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade, close"));
            }
            "method" => drop(headers.insert(header::ALLOW, HeaderValue::from_static("GET"))),
            _ if rejection.status == StatusCode::SERVICE_UNAVAILABLE && rejection.reason != "draining" => {
                // Drawn, so that those who were refused together do not come back together.
                let seconds = 1 + crate::random() % RETRY_AFTER_STRAIN;
                headers.insert(header::RETRY_AFTER, seconds.into());
            }
            "draining" => drop(headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"))),
            _ => {}
        }
        Self { reply, result: "rejected", reason: rejection.reason }
    }
}
