//! One line of the access log.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::json::{Object, key};
use crate::{digits, endpoint::Endpoint};

/// One line. Fields that do not apply are left out.
pub(crate) struct Line<'a> {
    pub(crate) ts: SystemTime,
    pub(crate) level: &'static str,
    /// `session`, `refused` for a client that never got one, or `http` for a plain request.
    pub(crate) event: &'static str,
    /// Joins it to the `id` of a close reason.
    pub(crate) id: u32,
    /// The name that a trusted proxy gave the request.
    pub(crate) request_id: Option<&'a str>,
    /// The trace that it belongs to.
    pub(crate) trace_id: Option<&'a str>,
    pub(crate) route: &'a str,
    pub(crate) listener: &'a str,
    /// `None`, written as an empty one: it came by a unix socket.
    pub(crate) client_ip: Option<IpAddr>,
    pub(crate) host: &'a str,
    /// Query values are not logged: tokens stand there.
    pub(crate) path: &'a str,
    pub(crate) tls: bool,
    /// Of the request: `HTTP/1.1`, `HTTP/2.0`.
    pub(crate) http_version: &'static str,
    /// 0: the client left before its answer.
    pub(crate) status: u16,
    /// Left out if empty, as is the next.
    pub(crate) verdict: &'a str,
    pub(crate) cause: &'a str,
    pub(crate) handshake_s: f64,
    /// Which limit it did not get past.
    pub(crate) limit: Option<&'static str>,
    pub(crate) hint_s: Option<u32>,
    pub(crate) session: Option<SessionPart<'a>>,
    pub(crate) http: Option<HttpPart<'a>>,
}

/// What only a plain request has.
pub(crate) struct HttpPart<'a> {
    pub(crate) method: &'a str,
    pub(crate) upstream: &'a str,
    /// The last that was asked.
    pub(crate) endpoint: Option<&'a Endpoint>,
    /// Why the answer is tidegate's own.
    pub(crate) error: Option<&'static str>,
    pub(crate) duration_s: f64,
}

/// What only a session has. What is false or 0 is left out.
pub(crate) struct SessionPart<'a> {
    pub(crate) upstream: &'a str,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) subprotocol: Option<&'a str>,
    /// What an upstream that closed with 1000 left undone.
    pub(crate) premature: Option<&'static str>,
    pub(crate) closed_by: &'static str,
    /// From the first Close on a leg to its answer.
    pub(crate) ack_ms: Option<u64>,
    /// Two Closes met on the way: neither is an answer.
    pub(crate) crossed: bool,
    /// The answer had another code than the Close it answers.
    pub(crate) reply_differs: bool,
    /// Bytes of frames that came when this side could not be given them any more.
    pub(crate) undelivered_to_client: u32,
    pub(crate) undelivered_to_upstream: u32,
    pub(crate) duration_s: f64,
    pub(crate) legs: Legs<'a>,
    pub(crate) config_generation: u64,
}

/// Both legs of a session.
pub(crate) struct Legs<'a> {
    pub(crate) client: LegPart<'a>,
    pub(crate) upstream: LegPart<'a>,
}

/// One leg of a session.
pub(crate) struct LegPart<'a> {
    /// The Close that was put on it.
    pub(crate) sent: Option<ClosePart<'a>>,
    /// The Close that came from it.
    pub(crate) received: Option<ClosePart<'a>>,
    pub(crate) end: &'static str,
    /// Frames and payload bytes that came from it.
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// Bytes that came behind its Close; left out if none did.
    pub(crate) after_close: u32,
}

/// A Close. No code: an empty one.
pub(crate) struct ClosePart<'a> {
    pub(crate) code: Option<u16>,
    pub(crate) reason: &'a str,
}

impl Line<'_> {
    /// Appends it, and what ends it.
    pub(super) fn write(&self, out: &mut Vec<u8>, stamp: &mut Stamp) {
        Object::write(out, |line| {
            line.word(key!("ts"), stamp.at(self.ts));
            line.word(key!("level"), self.level);
            line.word(key!("event"), self.event);
            line.word(key!("id"), str::from_utf8(&digits::hex(self.id)).unwrap_or_default());
            some(line, key!("request_id"), self.request_id);
            some(line, key!("trace_id"), self.trace_id);
            line.text(key!("route"), self.route);
            line.text(key!("listener"), self.listener);
            line.ip(key!("client_ip"), self.client_ip);
            line.text(key!("host"), self.host);
            line.text(key!("path"), self.path);
            line.flag(key!("tls"), self.tls);
            line.word(key!("http_version"), self.http_version);
            line.number(key!("status"), self.status);
            for (key, word) in [(key!("verdict"), self.verdict), (key!("cause"), self.cause)] {
                if !word.is_empty() {
                    line.word(key, word);
                }
            }
            some(line, key!("limit"), self.limit);
            line.seconds(key!("handshake_s"), self.handshake_s);
            if let Some(hint) = self.hint_s {
                line.number(key!("hint_s"), hint);
            }
            if let Some(session) = &self.session {
                session.write(line);
            }
            if let Some(http) = &self.http {
                http.write(line);
            }
        });
        out.push(b'\n');
    }
}

impl SessionPart<'_> {
    fn write(&self, line: &mut Object<'_>) {
        line.text(key!("upstream"), self.upstream);
        line.shown(key!("endpoint"), self.endpoint);
        some(line, key!("subprotocol"), self.subprotocol);
        some(line, key!("premature"), self.premature);
        line.word(key!("closed_by"), self.closed_by);
        if let Some(ack) = self.ack_ms {
            line.number(key!("ack_ms"), ack);
        }
        for (key, flag) in [(key!("crossed"), self.crossed), (key!("reply_differs"), self.reply_differs)] {
            if flag {
                line.flag(key, flag);
            }
        }
        unless_zero(line, key!("undelivered_to_client"), self.undelivered_to_client);
        unless_zero(line, key!("undelivered_to_upstream"), self.undelivered_to_upstream);
        line.seconds(key!("duration_s"), self.duration_s);
        line.object(key!("legs"), |legs| {
            legs.object(key!("client"), |leg| self.legs.client.write(leg));
            legs.object(key!("upstream"), |leg| self.legs.upstream.write(leg));
        });
        line.number(key!("config_generation"), self.config_generation);
    }
}

impl LegPart<'_> {
    fn write(&self, leg: &mut Object<'_>) {
        for (key, close) in [(key!("sent"), &self.sent), (key!("received"), &self.received)] {
            match close {
                Some(close) => leg.object(key, |object| close.write(object)),
                None => leg.null(key),
            }
        }
        leg.word(key!("end"), self.end);
        leg.number(key!("frames"), self.frames);
        leg.number(key!("bytes"), self.bytes);
        unless_zero(leg, key!("after_close"), self.after_close);
    }
}

impl ClosePart<'_> {
    fn write(&self, close: &mut Object<'_>) {
        match self.code {
            Some(code) => close.number(key!("code"), code),
            None => close.null(key!("code")),
        }
        close.text(key!("reason"), self.reason);
    }
}

impl HttpPart<'_> {
    fn write(&self, line: &mut Object<'_>) {
        line.text(key!("method"), self.method);
        line.text(key!("upstream"), self.upstream);
        if let Some(endpoint) = self.endpoint {
            line.shown(key!("endpoint"), endpoint);
        }
        some(line, key!("error"), self.error);
        line.seconds(key!("duration_s"), self.duration_s);
    }
}

fn some(object: &mut Object<'_>, key: &'static str, value: Option<&str>) {
    if let Some(value) = value {
        object.text(key, value);
    }
}

fn unless_zero(object: &mut Object<'_>, key: &'static str, value: u32) {
    if value != 0 {
        object.number(key, value);
    }
}

/// The time of the last line, written out: the next is mostly of the same second.
#[derive(Default)]
pub(super) struct Stamp {
    second: u64,
    text: String,
}

impl Stamp {
    /// This time by RFC 3339, to the millisecond.
    fn at(&mut self, time: SystemTime) -> &str {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != since.as_secs() || self.text.is_empty() {
            self.second = since.as_secs();
            self.text = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(self.second)).to_string();
        }
        // Behind `2026-01-02T03:04:05`.
        self.text.truncate(19);
        let millis = since.subsec_millis();
        let digits = [millis / 100, millis / 10 % 10, millis % 10].map(|digit| char::from(b'0' + digit as u8));
        self.text.extend(['.'].into_iter().chain(digits).chain(['Z']));
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_as_humantime_writes_it() {
        let mut stamp = Stamp::default();
        for millis in [1_700_000_000_007, 1_700_000_000_999, 1_700_000_001_000, 951_782_400_120] {
            let time = UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(stamp.at(time), humantime::format_rfc3339_millis(time).to_string());
        }
    }
}
