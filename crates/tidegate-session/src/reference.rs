//! `docs/close-codes.md`, from the code that decides.

use std::fmt::Write as _;

use crate::{Detail, End, Loss, Policy, Side, Silence, Told, Verdict, Words};

/// The reference of every ending: what the client hears, what the upstream hears, and the word in metrics and log.
#[must_use]
pub fn reference_markdown() -> String {
    let policy = Policy::default();
    let mut out = String::from(HEAD);
    for end in End::examples() {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| {} | {} | {} | `{}` |",
            event(end),
            told(end, Side::Client, &policy),
            told(end, Side::Upstream, &policy),
            end.cause(),
        );
    }
    out.push_str(TAIL);
    for verdict in [
        (Verdict::Agreed, "both endpoints' Closes were seen"),
        (Verdict::Relayed, "one endpoint closed, the other never answered"),
        (Verdict::Enforced, "tidegate ended it"),
        (Verdict::ClientLost, "the client vanished without a Close"),
        (Verdict::UpstreamLost, "the upstream vanished without a Close"),
        (Verdict::BothLost, "both vanished"),
        (Verdict::Unclosable, "a leg that was still there could not be given its Close"),
    ] {
        let _ = writeln!(out, "| `{}` | {} |", verdict.0.word(), verdict.1);
    }
    out
}

const HEAD: &str = "\
# Close codes

Generated from `End::close_for` in `crates/tidegate-session`, the only place where a reason becomes a code. The
table shows the default policy; `upstream_lost_code`, `client_lost`, `detach` and `late_reply` change it by route.

1000 is never tidegate's own word: a client that sees 1000, or an empty Close, knows that its upstream sent or
answered that Close. 1005, 1006 and 1015 are never on the wire. A Close that an endpoint sends passes unchanged,
behind all data sent before it.

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
        End::Refused(_) => "no upstream within `queue_timeout`".into(),
        End::ClientGone => "the client is gone before its 101".into(),
        End::Internal => "a bug in tidegate".into(),
    }
}

fn told(end: End, side: Side, policy: &Policy) -> String {
    match end.close_for(side, policy) {
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
