//! The close contract, row by row: what can happen to a client, and what each side is then told.
//!
//! Rows that end a session name the [`End`], and [`End::close_for`] says what is told; the others are answers before
//! a session, or things that end nothing. `docs/close-codes.md` is generated from here. A row's id is its name in
//! tests and discussions: P before the upgrade, U the upstream's handshake, S in the session, C at the closing
//! handshake, D drain and reload, O overload.

use tidegate_wire::{BadClose, Violation};

use crate::{End, Loss, Refused, Side, Silence};

/// One thing that can happen.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name: a letter for the phase, and a number.
    pub id: &'static str,
    /// What happens.
    pub event: &'static str,
    /// What comes of it.
    pub outcome: Outcome,
}

/// What comes of an event.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// The session ends, for this reason.
    Ends(End),
    /// The handshake is answered with a status: what the client gets, what the upstream sees, and the label `reason`
    /// of `tidegate_handshakes_total`.
    Answered(&'static str, &'static str, &'static str),
    /// Nothing ends: what is done, and where it is counted or logged.
    GoesOn(&'static str, &'static str),
}

use Outcome::{Answered, Ends, GoesOn};
use Side::{Client, Upstream};

const fn row(id: &'static str, event: &'static str, outcome: Outcome) -> Row {
    Row { id, event, outcome }
}

const fn closed(by: Side) -> Outcome {
    Ends(End::Closed { by })
}

const fn unanswered(by: Side, how: Silence) -> Outcome {
    Ends(End::Unanswered { by, how })
}

const fn lost(side: Side, how: Loss) -> Outcome {
    Ends(End::Lost { side, how })
}

const fn breach(by: Side, what: Violation) -> Outcome {
    Ends(End::Violation { by, what })
}

const UNTOUCHED: &str = "not reached";
const PARKED: &str = "waits up to `queue_timeout`, then 101 and Close 1013, or 503 + Retry-After by `on_overload`";

/// Every row.
pub const ROWS: &[Row] = &[
    row("P1", "TLS handshake fails", Answered("TLS alert", UNTOUCHED, "counted in `tidegate_tls_handshakes_total`")),
    row(
        "P2",
        "malformed request, several Hosts or none, a bad key",
        Answered("400", UNTOUCHED, "malformed, host, key, duplicate_header, bad_token, path"),
    ),
    row(
        "P2a",
        "HTTP/2 without TLS (its preface on a cleartext listener)",
        Answered("end of TCP", UNTOUCHED, "http2_preface"),
    ),
    row("P3", "request head over 16 KiB or 100 fields", Answered("431", UNTOUCHED, "headers_too_large")),
    row("P4", "request head not complete in 10 s", Answered("end of TCP", UNTOUCHED, "header_timeout")),
    row(
        "P5",
        "no upgrade, on a `websocket_only` route",
        Answered("426 + `Upgrade: websocket`", UNTOUCHED, "upgrade_token"),
    ),
    row("P6", "`Sec-WebSocket-Version` is not 13", Answered("426 + `Sec-WebSocket-Version: 13`", UNTOUCHED, "version")),
    row("P7", "an upgrade that is no GET", Answered("405", UNTOUCHED, "method")),
    row("P7b", "HTTP/2: `:protocol` is not `websocket`", Answered("501", UNTOUCHED, "upgrade_token")),
    row("P7c", "HTTP/2: a host that the connection is not for", Answered("421", UNTOUCHED, "misdirected")),
    row("P8", "no route", Answered("404", UNTOUCHED, "no_route")),
    row("P9", "Origin not allowed", Answered("403", UNTOUCHED, "origin")),
    row("P9a", "no token, or one that is not good (`jwt`)", Answered("401 + `WWW-Authenticate`", UNTOUCHED, "auth")),
    row(
        "P9b",
        "the auth server says no (`forward_auth`)",
        Answered("its own answer: 401, 403 or a redirect", UNTOUCHED, "auth"),
    ),
    row("P9c", "the auth server gives no answer that counts", Answered("503", UNTOUCHED, "auth_unavailable")),
    row("P10", "an upgrade with a body or a transfer coding", Answered("400", UNTOUCHED, "body")),
    row(
        "P11",
        "its address exceeds `handshake_rate_per_ip`, and still does after `queue_timeout`",
        Ends(End::Refused(Refused::RateLimited)),
    ),
    row("P11a", "its address has `max_sessions_per_ip`", Ends(End::Refused(Refused::TooManySessions))),
    row(
        "P11b",
        "as P11 and P11a, a plain request, or `on_ip_limit = \"429\"` or `\"503\"`",
        Answered("429 or 503 + Retry-After, at once", UNTOUCHED, "rate, sessions_per_ip"),
    ),
    row(
        "P12",
        "`max_waiting` clients are parked, or `max_waiting_bytes` of memory held for those that are",
        Answered("503 + Retry-After, at once", UNTOUCHED, "overload"),
    ),
    row(
        "P12a",
        "the process is short of descriptors, memory or time",
        Answered("503 + Retry-After, at once", UNTOUCHED, "short_of_files, short_of_memory, short_of_time"),
    ),
    row(
        "P13",
        "tidegate drains",
        Answered(
            "503 + Retry-After, `Connection: close`; HTTP/2: GOAWAY",
            "let go of, if it was being asked",
            "draining",
        ),
    ),
    row(
        "P14",
        "frames before the 101",
        GoesOn(
            "kept as far as the read of the head brought them (16 KiB at most), or 256 bytes of them after it, relayed behind the validated 101",
            "-",
        ),
    ),
    row("P15", "the client leaves before the 101", Answered("-", "let go of", "client_gone")),
    row("P16", "extensions are offered", GoesOn("permessage-deflate is passed on, every other offer is not", "-")),
    row(
        "P17",
        "HTTP/2: more streams at once than `http2_max_streams`",
        Answered("RST_STREAM(REFUSED_STREAM)", UNTOUCHED, "the last allowed in `tidegate_limit_hits_total`"),
    ),
    row(
        "P18",
        "HTTP/2: frames that carry nothing, requests taken back, heads without an end",
        Answered("GOAWAY(ENHANCE_YOUR_CALM); sessions as S16", "as S16", "`tidegate_limit_hits_total`"),
    ),
    row("U1", "no endpoint, or all cool down after failures", Ends(End::Refused(Refused::NoUpstream))),
    row("U2", "every endpoint is at its own cap", Ends(End::Refused(Refused::UpstreamFull))),
    row("U3", "no address for a name", Answered(PARKED, UNTOUCHED, "no_endpoint; by status: 502 upstream_dns")),
    row(
        "U4",
        "connection refused",
        Answered(
            "the next endpoint; none left: as U1; by status: 502",
            UNTOUCHED,
            "no_endpoint; by status: 502 upstream_connect",
        ),
    ),
    row(
        "U5",
        "no connection in `connect_timeout`",
        Answered("the next endpoint; none left: 504", "let go of", "upstream_timeout"),
    ),
    row("U6", "TLS with the upstream fails", Answered("502", "TLS alert", "upstream_tls")),
    row("U7", "the upstream closes without an answer", Answered("502", "-", "upstream_handshake")),
    row("U8", "no answer in `handshake_timeout`", Answered("504", "let go of", "upstream_timeout")),
    row(
        "U9",
        "another status than 101, 503 or 429",
        Answered("the same status, header and body", "-", "upstream_status"),
    ),
    row("U10", "a redirect", Answered("passed on, not followed", "-", "upstream_status")),
    row("U11", "2xx to an upgrade", Answered("502", "let go of", "upstream_handshake")),
    row(
        "U12",
        "101 with a wrong or no `Sec-WebSocket-Accept`, no `Upgrade`, or in HTTP/1.0",
        Answered("502", "let go of", "upstream_handshake"),
    ),
    row(
        "U13",
        "101 with a subprotocol or an extension that was not offered",
        Answered("502", "let go of", "upstream_handshake"),
    ),
    row("U14", "403 from an application that wanted to close", Answered("403", "-", "upstream_status")),
    row("U15", "103 and other interim answers", GoesOn("dropped; the wait goes on", "-")),
    row("U16", "101, but the client has left meanwhile", Ends(End::ClientGone)),
    row("U17", "101 and a Close behind it", closed(Upstream)),
    row(
        "U18",
        "an answer with two lengths that differ, or one that is no number",
        Answered("502", "let go of", "upstream_handshake"),
    ),
    row("S1", "the client closes: 1000", closed(Client)),
    row("S2", "the client closes: 1001", closed(Client)),
    row("S3", "the client closes: empty", closed(Client)),
    row("S4", "the client closes: 3000 to 4999", closed(Client)),
    row("S5", "the client fails the connection: 1002, 1003, 1007, 1009, 1010, 1011", closed(Client)),
    row("S6", "the client closes: 1012 to 1014", closed(Client)),
    row("S7", "the upstream closes: 1000", closed(Upstream)),
    row("S8", "the upstream closes: empty", closed(Upstream)),
    row("S9", "the upstream closes: 1001, 1008, 1011, 1012, 1013 and the like", closed(Upstream)),
    row("S10", "the upstream closes: 3000 to 4999", closed(Upstream)),
    row(
        "S11",
        "the upstream sends a Close with a code that may not be sent",
        breach(Upstream, Violation::Close(BadClose::Code(1006))),
    ),
    row(
        "S12",
        "the client sends a Close with a code that may not be sent",
        breach(Client, Violation::Close(BadClose::Code(1006))),
    ),
    row("S13", "a Close of one byte", breach(Client, Violation::Close(BadClose::Length))),
    row("S14", "a Close whose reason is not UTF-8", breach(Client, Violation::Close(BadClose::Reason))),
    row("S15", "the client ends TCP without a Close", lost(Client, Loss::Fin)),
    row("S16", "the client is reset", lost(Client, Loss::Reset)),
    row("S17", "the client gives no sign of life", lost(Client, Loss::PingTimeout)),
    row("S18", "the client is lost inside a frame", lost(Client, Loss::MidFrame)),
    row("S19", "the upstream ends TCP without a Close", lost(Upstream, Loss::Fin)),
    row("S20", "the upstream is reset", lost(Upstream, Loss::Reset)),
    row("S21", "the upstream gives no sign of life", lost(Upstream, Loss::PingTimeout)),
    row("S22", "the upstream is lost inside a frame", lost(Upstream, Loss::MidFrame)),
    row("S23", "a TLS error on a leg", lost(Client, Loss::Reset)),
    row("S24", "a client's frame without a mask", breach(Client, Violation::Unmasked)),
    row("S25", "an upstream's frame with a mask", breach(Upstream, Violation::Masked)),
    row("S26", "a reserved bit", breach(Client, Violation::Rsv)),
    row("S27", "a reserved opcode", breach(Client, Violation::Opcode)),
    row("S28", "a continuation of nothing, a message inside another", breach(Client, Violation::Fragmentation)),
    row("S29", "a control frame over 125 bytes, or fragmented", breach(Client, Violation::Control)),
    row("S30", "a length that is not minimal, or has its top bit set", breach(Client, Violation::Length)),
    row(
        "S31",
        "a client's message over `max_message_size`",
        breach(Client, Violation::MessageTooBig { limit: 64 << 20 }),
    ),
    row(
        "S32",
        "an upstream's message over `max_message_size`",
        breach(Upstream, Violation::MessageTooBig { limit: 64 << 20 }),
    ),
    row("S33", "text that is not UTF-8", breach(Client, Violation::Utf8)),
    row(
        "S34",
        "a message that inflates beyond measure",
        GoesOn("not inflated here: `max_message_size` is of bytes on the wire, and the endpoints' limits hold", "-"),
    ),
    row("S35", "text on a route for binary, or the reverse", GoesOn("a route takes both: it passes", "-")),
    row("S36", "more frames a second than `frame_rate`", breach(Client, Violation::FrameFlood)),
    row("S37", "more control frames a second than `control_rate`", breach(Client, Violation::ControlFlood)),
    row("S39", "no frame of an endpoint for `idle_timeout`", Ends(End::Idle)),
    row("S38", "the token that let it in expires (`jwt`)", Ends(End::AuthExpired)),
    row("S40", "`max_lifetime` is over", Ends(End::MaxAge)),
    row("S41", "the client takes nothing for `write_timeout`", Ends(End::Stalled { side: Client })),
    row("S42", "the upstream takes nothing for `write_timeout`", Ends(End::Stalled { side: Upstream })),
    row(
        "S43",
        "memory runs short",
        GoesOn("no session ends for it, each borrows at most a buffer a direction; newcomers: P12a", "-"),
    ),
    row("S44", "a health check finds the endpoint down, `on_down = \"close\"`", Ends(End::EndpointDown)),
    row("S45", "a reload removes the endpoint, `on_remove = \"close\"`", Ends(End::EndpointRemoved)),
    row("S46", "a bug in tidegate", Ends(End::Internal)),
    row("S47", "no descriptor is left", GoesOn("an open session needs no further one; newcomers: P12a, O6", "-")),
    row("S48", "data behind a Close", GoesOn("read and thrown away", "`after_close`")),
    row("S49", "a second Close", GoesOn("read and thrown away", "`after_close`")),
    row("S50", "both ends vanish at once", GoesOn("nobody is left to be told", "verdict `both-lost`")),
    row(
        "C1",
        "both ends close at once",
        GoesOn("each gets the other's Close, which is its answer", "verdict `agreed`, `crossed`"),
    ),
    row("C2", "the answer has another code", GoesOn("passed on as it is", "verdict `agreed`, `reply_differs`")),
    row("C3", "the client closed; the upstream ends TCP instead", unanswered(Client, Silence::NoClose)),
    row("C4", "the client closed; the upstream is silent for `close_timeout`", unanswered(Client, Silence::Silent)),
    row("C5", "the client closed; the upstream is reset", unanswered(Client, Silence::Lost)),
    row("C6", "the upstream closed; the client ends TCP instead", unanswered(Upstream, Silence::NoClose)),
    row("C7", "the upstream closed; the client is silent for `close_timeout`", unanswered(Upstream, Silence::Silent)),
    row(
        "C8",
        "tidegate closed; the client answers anything",
        GoesOn("its code is no opinion; the upstream is told next", "verdict `enforced`"),
    ),
    row(
        "C9",
        "tidegate closed; the client never answers",
        GoesOn(
            "end of TCP after `close_timeout`; the upstream is told next",
            "leg end `no-reply`, `tidegate_close_timeouts_total`",
        ),
    ),
    row("C10", "an end closes after tidegate has", GoesOn("counts as its answer", "verdict `enforced`, `crossed`")),
    row(
        "C11",
        "a Close behind data that a leg does not take",
        GoesOn("reset after `close_timeout`", "verdict `unclosable`, `undelivered_to_client` or `_upstream`"),
    ),
    row("C12", "both Closes passed, but a peer never ends TCP", GoesOn("let go of after 2 s", "leg end `no-fin`")),
    row(
        "C13",
        "HTTP/2: a stream has no room for its Close within `close_timeout`",
        GoesOn("RST_STREAM(CANCEL)", "verdict `unclosable`"),
    ),
    row("C14", "a drain begins while a session closes", GoesOn("it closes as before", "-")),
    row("D1", "a reload that leaves the route as it was", GoesOn("the session does not notice", "-")),
    row("D2", "a reload that keeps the endpoint", GoesOn("the session does not notice", "-")),
    row("D3", "a reload removes the endpoint", Ends(End::EndpointRemoved)),
    row("D4", "a reload removes the route", Ends(End::RouteRemoved)),
    row("D5", "a reload changes limits", GoesOn("they hold for new sessions", "-")),
    row(
        "D6",
        "a reload with a bad file",
        GoesOn("nothing changes", "`tidegate_config_reloads_total{result=\"failure\"}`"),
    ),
    row("D7", "SIGTERM", Ends(End::Drain)),
    row("D8", "the drain window is over", Ends(End::Drain)),
    row(
        "D9",
        "a shutdown for good",
        GoesOn("as D7: tidegate is not told whether it will be back, and `route-removed` (D4) says what is gone", "-"),
    ),
    row("D10", "a second SIGTERM", Ends(End::Drain)),
    row("D11", "SIGKILL", GoesOn("nothing can be said: 1006", "-")),
    row("D12", "a new process takes over the listeners", Ends(End::Drain)),
    row(
        "D13",
        "a drain begins during a handshake",
        Answered("503 + Retry-After; behind a 101: 1012", "let go of", "draining"),
    ),
    row("D14", "certificates and logs are rotated", GoesOn("the session does not notice", "-")),
    row("D15", "the upstream itself closes many sessions: 1001, 1012", closed(Upstream)),
    row("D16", "a drain while the client sends a large message", Ends(End::Drain)),
    row(
        "D17",
        "a supervisor gives less time than the drain window",
        GoesOn("it kills what is left: D11. `drain.window` belongs 3 s below its grace", "-"),
    ),
    row(
        "O1",
        "`max_sessions` is reached, every endpoint has as many handshakes in flight as it takes (declared or measured), \
         or more goes through than may (`max_message_rate`, ...); no place within `queue_timeout`. The access log's \
         `limit` says which",
        Ends(End::Refused(Refused::Overloaded)),
    ),
    row(
        "O2",
        "the same, `on_overload = \"503\"`; or it is not set, and the client is Engine.IO's or Kubernetes'",
        Answered("503 + Retry-After, at once", UNTOUCHED, "overload"),
    ),
    row(
        "O2a",
        "O1, O3 or O4, the client came back before its time three times on end, `on_overload` is not set",
        Answered(
            "503 + Retry-After, after its wait",
            UNTOUCHED,
            "overload, `tidegate_limit_hits_total{limit=\"early_returns\"}`",
        ),
    ),
    row(
        "O2b",
        "clients of its address were refused as in O1 to O4 in the last 5 s, none has been let in since, and it is beyond \
         the connections of a second that are heard (`early_returns`)",
        Answered(
            "503 + Retry-After, with TLS alert 80 (internal_error), before it is heard",
            UNTOUCHED,
            "`tidegate_limit_hits_total{limit=\"early_returns\", action=\"drop\"}`",
        ),
    ),
    row(
        "O2c",
        "the same, beyond ten times as many",
        Answered("RST", UNTOUCHED, "`tidegate_limit_hits_total{limit=\"early_returns\", action=\"reset\"}`"),
    ),
    row("O3", "every endpoint is full", Ends(End::Refused(Refused::UpstreamFull))),
    row("O4", "the upstream answers 503 or 429", Ends(End::Refused(Refused::UpstreamOverloaded))),
    row(
        "O5",
        "an upstream's limit falls below the sessions it has",
        GoesOn("they stay; nobody new enters until there are fewer", "`tidegate_governor_limit`, `_in_use`"),
    ),
    row(
        "O6",
        "no descriptor is left for a new connection",
        Answered(
            "503 + Retry-After to one, the rest waits",
            UNTOUCHED,
            "`tidegate_accept_errors_total{kind=\"emfile\"}`",
        ),
    ),
    row("O7", "the upstream itself closes: 1013", closed(Upstream)),
    row(
        "O8",
        "handshakes come faster than they are let in",
        Answered(
            "parked: O1; over `max_waiting` or `max_waiting_bytes`: 503 + a spread Retry-After, at once",
            UNTOUCHED,
            "overload",
        ),
    ),
    row(
        "O9",
        "TLS handshakes come faster than they can be made",
        Answered("end of TCP after 10 s", UNTOUCHED, "counted in `tidegate_tls_handshakes_total`"),
    ),
];

/// What holds in every row: its name, and the rule.
pub const RULES: &[(&str, &str)] = &[
    (
        "R1",
        "The first Close of an end wins and reaches the other as it is, code and reason; empty stays empty. So \
         does the answer.",
    ),
    ("R2", "A Close that may not be sent is its sender's violation, never translated."),
    (
        "R3",
        "tidegate's own codes: 1001, 1002, 1007, 1008, 1009, 1011, 1012, 1013, 1014 to a client; 1001, 1002, \
         1007, 1008, 1009, 1011 to an upstream. Never 1000, 3000 to 4999, 1005, 1006 or 1015.",
    ),
    ("R4", "One Close a leg. Nothing follows it."),
    ("R5", "What came first is the cause; nothing changes it after the first Close is written."),
    ("R6", "No Close inside a frame: a frame too large for a buffer leaves as complete fragments."),
    (
        "R7",
        "Every wait has an end: `close_timeout`, 2 s for an upstream's end of TCP, 2 s and 16 MiB for a lingering \
         leg, `write_timeout`. What came in time counts, also where tidegate had no time to read it.",
    ),
    ("R8", "A client's Close is answered by its upstream: the answer proves that all before it was read."),
    ("R9", "Close, half-close, read on for a bounded time, close. A reset only for one that takes nothing."),
    (
        "R10",
        "Where tidegate ends a healthy session the client is told first, and what it had sent by its answer is \
         delivered. Where a client breaks a rule the upstream is told first, and what it says before its answer \
         (1 s at most) is delivered.",
    ),
    (
        "R11",
        "An upstream that is left is told `detach`; one whose client is lost, `client_lost`; one whose client is \
         thrown out, 1001.",
    ),
    ("R12", "One line in the access log a session, one count; the verdict never comes from an echoed code."),
    ("R13", "Pings and pongs pass. tidegate's own go to a silent leg alone, and only their answers stay here."),
    ("R14", "One word for a cause: in the reason, in the log, in the metrics."),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let ids: HashSet<_> = ROWS.iter().map(|row| row.id).collect();
        assert_eq!(ids.len(), ROWS.len());
    }

    /// The phases and how many rows the contract has in each: none is left out, whatever stands between them.
    #[test]
    fn no_row_is_missing() {
        let ids: HashSet<_> = ROWS.iter().map(|row| row.id).chain(RULES.iter().map(|(id, _)| *id)).collect();
        let phases = [("P", 16), ("U", 17), ("S", 50), ("C", 14), ("D", 17), ("O", 9), ("R", 14)];
        let wanted = phases.iter().flat_map(|(phase, last)| (1..=*last).map(move |n| format!("{phase}{n}")));
        let missing: Vec<_> = wanted.filter(|id| !ids.contains(id.as_str())).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn every_end_that_a_session_can_have_is_in_the_contract() {
        // By cause: what differs only in its detail is told alike.
        let told: HashSet<_> = ROWS
            .iter()
            .filter_map(|row| match row.outcome {
                Ends(end) => Some(end.cause()),
                _ => None,
            })
            .collect();
        let missing: Vec<_> = End::examples().into_iter().filter(|end| !told.contains(end.cause())).collect();
        let known = ["client-lost", "upstream-rate-limited"];
        assert!(missing.iter().all(|end| known.contains(&end.cause())), "{missing:?}");
    }
}
