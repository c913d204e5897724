//! `docs/close-codes.md`, from the code that decides.

use std::fmt::Write as _;

use crate::{
    Detail, End, Loss, Policy, Refused, Side, Silence, Told, Verdict, Words,
    contract::{Outcome, ROWS, RULES},
};

/// The reference of every ending: what the client hears, what the upstream hears, and the word in metrics and log.
#[must_use]
pub fn reference_markdown() -> String {
    let policy = Policy::default();
    let mut out = String::from(HEAD);
    // Writing to a String cannot fail.
    for row in ROWS {
        let (client, upstream, verdict, counted) = match row.outcome {
            Outcome::Ends(end) => (
                told(end, Side::Client, &policy),
                told(end, Side::Upstream, &policy),
                format!("`{}`", end.verdict().word()),
                counted(end),
            ),
            Outcome::Answered(client, upstream, reason) => {
                (client.into(), upstream.into(), "`refused`".into(), reason.into())
            }
            Outcome::GoesOn(what, counted) => (what.into(), "-".into(), "-".into(), counted.into()),
        };
        let _ = writeln!(out, "| {} | {} | {client} | {upstream} | {verdict} | {counted} |", row.id, row.event);
    }
    out.push_str(RULES_HEAD);
    for (id, rule) in RULES {
        let _ = writeln!(out, "| {id} | {rule} |");
    }
    out.push_str(CAUSES);
    for end in End::examples() {
        let (client, upstream) = (told(end, Side::Client, &policy), told(end, Side::Upstream, &policy));
        let _ = writeln!(out, "| {} | {client} | {upstream} | `{}` |", event(end), end.cause());
    }
    out.push_str(TAIL);
    for (verdict, meaning) in [
        (Verdict::Agreed, "both endpoints' Closes were seen"),
        (Verdict::Relayed, "one endpoint closed, the other never answered"),
        (Verdict::Enforced, "tidegate ended it"),
        (Verdict::ClientLost, "the client vanished without a Close"),
        (Verdict::UpstreamLost, "the upstream vanished without a Close"),
        (Verdict::BothLost, "both vanished"),
        (Verdict::Unclosable, "a leg that was still there could not be given its Close"),
    ] {
        let _ = writeln!(out, "| `{}` | {meaning} |", verdict.word());
    }
    out
}

const HEAD: &str = "\
# Close codes

Generated from `End::close_for` in `crates/tidegate-session`, the only place where a reason becomes a code. The
table shows the default policy; `upstream_lost_code`, `client_lost`, `detach`, `late_reply` and `rewrite` change it by
route.

1000 is never tidegate's own word: a client that sees 1000, or an empty Close, knows that its upstream sent or
answered that Close. 1005, 1006 and 1015 are never on the wire. A Close that an endpoint sends passes unchanged,
behind all data sent before it; only a rule of `rewrite` gives a client another code, with the upstream's own reason.

Over HTTP/2 (RFC 8441) read 200 for 101, END_STREAM for the end of TCP, RST_STREAM for a reset; the end of the
connection is the end of TCP for each of its streams.

## The contract

The verdict is the word of the access log. The last column is the `cause` of `tidegate_session_closes_total` and of
the access log where a session ends, with the metrics that count it besides; where none began it is the `reason` of
`tidegate_handshakes_total` and of the access log; else where it can be seen.

| row | what happens | the client gets | the upstream gets | verdict | counted and logged as |
|---|---|---|---|---|---|
";

const RULES_HEAD: &str = "
## Rules

| rule | |
|---|---|
";

const CAUSES: &str = "
## Every end of a session

| what happened | the client hears | the upstream hears | `cause` |
|---|---|---|---|
";

const TAIL: &str = "
Every reason of tidegate's ends in `; id=xxxxxxxx`, which is `id` in the access log. `retry-after=N` is in whole
seconds and already spread per client; a client that honours it needs no random of its own.

## Verdicts

| `verdict` | meaning |
|---|---|
";

fn event(end: End) -> String {
    match end {
        End::Closed { by } => format!("{} closes", by.word()),
        End::Unanswered { by, how } => {
            let how = match how {
                Silence::NoClose => "ends TCP without a Close",
                Silence::Silent => "says nothing for `close_timeout`",
                Silence::Lost => "is reset",
            };
            format!("{} closes; the {} {how}", by.word(), by.other().word())
        }
        End::Lost { side, how } => {
            let how = match how {
                Loss::Fin => "ends TCP without a Close",
                Loss::Reset => "is reset",
                Loss::MidFrame => "ends inside a frame",
                Loss::PingTimeout => "gives no sign of life for `keepalive_timeout`",
            };
            format!("{} {how}", side.word())
        }
        End::Violation { by, what } => format!("{} breaks a rule: {}", by.word(), what.word()),
        End::Stalled { side } => format!("{} takes nothing for `write_timeout`", side.word()),
        End::Idle => "no frame of an endpoint for `idle_timeout`".into(),
        End::MaxAge => "`max_lifetime` is over".into(),
        End::Drain => "tidegate drains".into(),
        End::RouteRemoved => "a reload removes the route".into(),
        End::EndpointRemoved => "a reload removes the endpoint".into(),
        End::EndpointDown => "a health check finds the endpoint down".into(),
        End::AuthExpired => "the token that let it in expires".into(),
        End::Refused(Refused::RateLimited) => "its address asks too often".into(),
        End::Refused(Refused::TooManySessions) => "its address has as many sessions as it may".into(),
        End::Refused(_) => "no upstream within `queue_timeout`".into(),
        End::ClientGone => "the client is gone before its 101".into(),
        End::Internal => "a bug in tidegate".into(),
    }
}

/// The cause, and the metrics that count it beside `tidegate_session_closes_total`.
fn counted(end: End) -> String {
    let cause = end.cause();
    let besides = match end {
        End::Refused(Refused::RateLimited) => "`tidegate_limit_hits_total{limit=\"handshake_rate\"}`",
        End::Refused(Refused::TooManySessions) => "`tidegate_limit_hits_total{limit=\"sessions_per_ip\"}`",
        End::Refused(_) => "`tidegate_governor_shed_total`",
        End::Lost { how: Loss::PingTimeout, .. } => "`tidegate_keepalive_timeouts_total`",
        End::Stalled { .. } => "`tidegate_write_stalls_total`",
        End::Unanswered { how: Silence::NoClose | Silence::Silent, .. } => "`tidegate_close_timeouts_total`",
        End::Violation { what, .. } => {
            let (metric, label) = match what.is_limit() {
                true => ("limit_hits", "limit"),
                false => ("protocol_errors", "kind"),
            };
            return format!("`{cause}`, `tidegate_{metric}_total{{{label}=\"{}\"}}`", what.word());
        }
        _ => return format!("`{cause}`"),
    };
    format!("`{cause}`, {besides}")
}

fn told(end: End, side: Side, policy: &Policy) -> String {
    match end.close_for(side, policy) {
        Told::Nothing if matches!(end, End::Refused(_)) => "not reached".into(),
        Told::Nothing => "(gone)".into(),
        Told::Relay => match end {
            End::Closed { by } if by == side => "the other's answer".into(),
            _ => "that Close".into(),
        },
        Told::Echo => "an echo".into(),
        Told::Abort => "end of TCP".into(),
        Told::Close(words) => close(&words),
    }
}

fn close(words: &Words) -> String {
    let detail = match words.detail {
        Detail::None => String::new(),
        Detail::Limit(limit) => format!("; limit={limit}"),
        Detail::Word(word) => format!("; detail={word}"),
    };
    let hint = if words.hint { "; retry-after=N" } else { "" };
    format!("{} `{}{detail}{hint}`", words.code, words.cause)
}
