//! The keys of `[defaults]`, which are also keys of every `[[route]]`.

use std::time::Duration as Time;

use crate::{
    choices::{self, spellings},
    keys::{
        Key,
        Kind::{self, Choice, Codes, Count, Duration, Flag, Rate, Share, Size},
        Presence::{Default, Unset},
        Section,
    },
    units::{LARGEST, LONGEST},
};

/// Most that a rate may be: above it a limit limits nothing.
pub(super) const MOST_A_SECOND: u64 = 1_000_000;

/// A wait that must happen: zero would fail everything.
const WAIT: Kind = Duration { least: Time::from_millis(1), most: LONGEST, off: false };

/// A wait that may be left out.
const WAIT_OR_OFF: Kind = Duration { least: Time::from_millis(1), most: LONGEST, off: true };

pub(crate) static DEFAULTS: Section = Section {
    title: "[defaults]",
    doc: "What holds for every route that does not say otherwise. Each of these keys may also stand in a `[[route]]`.",
    keys: &[
        Key {
            name: "connect_timeout",
            kind: WAIT,
            presence: Default(r#""3s""#),
            doc: "TCP (and TLS) to the upstream.",
            reason: "One lost SYN is sent again after 1 s; three seconds forgive that and still leave time for \
                     another server.",
        },
        Key {
            name: "handshake_timeout",
            kind: WAIT,
            presence: Default(r#""10s""#),
            doc: "The upstream's whole answer to the upgrade, or the head of its answer to a plain HTTP request, from \
                  the end of an upload on.",
            reason: "Below the 20 s after which patient clients give up.",
        },
        Key {
            name: "idle_timeout",
            kind: WAIT_OR_OFF,
            presence: Default(r#""off""#),
            doc: "No frame of an endpoint either way for so long: 1001 `idle-timeout`. tidegate's own pings do not \
                  count.",
            reason: "Silence is what most sessions do; keepalive finds the dead ones.",
        },
        Key {
            name: "keepalive_interval",
            kind: WAIT_OR_OFF,
            presence: Default(r#""30s""#),
            doc: "A side that is silent for so long is pinged; `\"off\"`: never.",
            reason: "Below the 60 s idle timeouts of common middleboxes.",
        },
        Key {
            name: "keepalive_timeout",
            kind: WAIT,
            presence: Default(r#""10s""#),
            doc: "A pinged side that sends nothing for so long is lost.",
            reason: "Ten seconds outlast a change of the mobile network.",
        },
        Key {
            name: "write_timeout",
            kind: WAIT,
            presence: Default(r#""10s""#),
            doc: "A side that takes nothing for so long is a slow consumer: 1013.",
            reason: "As long as a ping may stay unanswered.",
        },
        Key {
            name: "max_lifetime",
            kind: WAIT_OR_OFF,
            presence: Default(r#""off""#),
            doc: "The longest a session may live: 1012 `max-age`.",
            reason: "Nothing healthy is ended without being asked for.",
        },
        Key {
            name: "max_lifetime_jitter",
            kind: Share,
            presence: Default("0.1"),
            doc: "Share of `max_lifetime` by which each session's is shortened at random.",
            reason: "Sessions that began together must not end together.",
        },
        Key {
            name: "close_timeout",
            kind: WAIT,
            presence: Default(r#""5s""#),
            doc: "For the answer to a Close.",
            reason: "Half of what the least patient common peer waits.",
        },
        Key {
            name: "max_message_size",
            kind: Size { least: 1, most: LARGEST },
            presence: Default(r#""64MiB""#),
            doc: "Longest message on the wire, both ways; decided by the header, payload unread: 1009.",
            reason: "What common servers take at most; nothing is buffered, so it costs no memory.",
        },
        Key {
            name: "max_fragments",
            kind: Count { least: 1, most: u32::MAX as u64 },
            presence: Default("131072"),
            doc: "Most frames of one message: 1008.",
            reason: "Twice what the Autobahn suite sends.",
        },
        Key {
            name: "frame_rate",
            kind: Rate { most: MOST_A_SECOND },
            presence: Default(r#""off""#),
            doc: "Data frames a second that a client may send.",
            reason: "Only the application knows what is too many.",
        },
        Key {
            name: "control_rate",
            kind: Rate { most: MOST_A_SECOND },
            presence: Default(r#""100/s""#),
            doc: "Control frames a second that either end may send.",
            reason: "No known client comes near; a flood of pings costs the other end more than its sender.",
        },
        Key {
            name: "validate_utf8",
            kind: Flag,
            presence: Default("true"),
            doc: "Whether uncompressed text must be UTF-8: 1007.",
            reason: "RFC 6455 section 8.1 has the receiver fail it anyway.",
        },
        Key {
            name: "queue_timeout",
            kind: Duration { least: Time::ZERO, most: LONGEST, off: false },
            presence: Default(r#""2500ms""#),
            doc: "Longest wait for room before the 101; each is drawn from 0.8 to 1.0 of it. `\"0s\"`: refused at once.",
            reason: "Shorter than the shortest connect timeout of a common client.",
        },
        Key {
            name: "max_waiting",
            kind: Count { least: 0, most: 1_000_000 },
            presence: Default("20000"),
            doc: "Most handshakes that wait before the 101, per route; above it 503. Where the upstream has a `tenant` or \
                  `classes`, it is one of the tenant with the most of them that is told 503, of the class with the most \
                  for its share: a newcomer of the others takes its place.",
            reason: "Each costs a socket and some 5 KiB, over TLS 13: a storm takes 100 to 260 MiB, and `max_waiting_bytes` \
                     at most. Those told 503 come back late: some libraries stay away for a minute and more after a \
                     status.",
        },
        Key {
            name: "max_waiting_bytes",
            kind: Size { least: 1, most: LARGEST },
            presence: Default(r#""320MiB""#),
            doc: "Most memory for the handshakes that wait before the 101, per route; above it 503, and who gives way is as \
                  for `max_waiting`. Counted is what a waiting client costs by measurement: what was read of it, its head \
                  as it goes upstream, twice what is logged of its path, and 4 KiB; 8 more over TLS; 24 more where its \
                  head came in pieces. Those who wait for their address are counted apart.",
            reason: "Room for `max_waiting` browsers over TLS, each with a head of 2 KiB. Heads may have 16 KiB: a number \
                     alone bounds nothing.",
        },
        Key {
            name: "on_overload",
            kind: Choice(|| spellings(choices::ON_OVERLOAD)),
            presence: Unset(
                "503 at once to a request with `EIO=` in its query (Engine.IO, which Socket.IO speaks) or with the \
                 subprotocol `v4.channel.k8s.io`; 503 after the wait to a client that came back before its time three \
                 times on end; `\"1013\"` to every other",
            ),
            doc: "How a refusal for overload is told: 101 and Close 1013, or 503 with Retry-After; `\"auto\"`: 1013 to \
                  requests with an `Origin`, 503 to others. Whatever is said here, or in `[defaults]`, holds for every \
                  client.",
            reason: "A script in a browser cannot see a status, but it sees a close code. Engine.IO notices a Close \
                     before its first packet only after 20 s, and behind `kubectl` a person waits.",
        },
        Key {
            name: "max_sessions_per_ip",
            kind: Count { least: 1, most: u32::MAX as u64 },
            presence: Unset("unlimited"),
            doc: "Most sessions of one client address on one route, those that are being opened included; an IPv6 \
                  address stands for its /64. Above it clients wait `queue_timeout`, then are refused.",
            reason: "A whole company or mobile network may share one address.",
        },
        Key {
            name: "handshake_rate_per_ip",
            kind: Rate { most: MOST_A_SECOND },
            presence: Default(r#""off""#),
            doc: "Requests a second of one client address on one route, upgrades and plain HTTP together; an IPv6 address \
                  stands for its /64. An upgrade above it waits for its turn, at most `queue_timeout`, then is refused.",
            reason: "A whole company or mobile network may share one address.",
        },
        Key {
            name: "handshake_burst_per_ip",
            kind: Count { least: 1, most: MOST_A_SECOND },
            presence: Default("20"),
            doc: "Requests of one client address that may come at once before `handshake_rate_per_ip` counts.",
            reason: "A page and its reconnecting tabs.",
        },
        Key {
            name: "on_ip_limit",
            kind: Choice(|| spellings(choices::ON_IP_LIMIT)),
            presence: Unset("as `on_overload` has it; 429 to plain requests"),
            doc: "How a client is told that its address has or does too much: a wait, then 101 and Close 1013; or at \
                  once 429 or 503 with Retry-After. Plain requests get a status in any case.",
            reason: "It is one kind of overload; some libraries never come back after a 429.",
        },
        Key {
            name: "retry_after",
            // The hint is whole seconds of at most five digits.
            kind: Duration { least: Time::from_secs(1), most: Time::from_secs(24 * 3600), off: false },
            presence: Default(r#""1s""#),
            doc: "Lowest hint that a refused client is given; the governor raises it.",
            reason: "Where back-off starts; it doubles with each attempt.",
        },
        Key {
            name: "upstream_lost_code",
            kind: Choice(|| spellings(choices::UPSTREAM_LOST_CODE)),
            presence: Default("1014"),
            doc: "What a client hears when its upstream is lost.",
            reason: "The truth, which browsers take. 1011 stops graphql-ws for ever; 1012 claims a restart.",
        },
        Key {
            name: "client_lost",
            kind: Choice(|| spellings(choices::CLIENT_LOST)),
            presence: Default(r#""close""#),
            doc: "What an upstream hears when its client is lost: Close 1011, or the end of TCP without a Close. A \
                  SignalR route wants `\"abort\"`: its stateful reconnect is forfeited by any Close.",
            reason: "Lost is not left: servers that resume sessions can tell the two apart. SignalR cannot be \
                     recognised before its first message.",
        },
        Key {
            name: "detach",
            kind: Choice(|| spellings(choices::DETACH)),
            presence: Default("1001"),
            doc: "What an upstream hears when tidegate ends a healthy session.",
            reason: "tidegate really is going away from it.",
        },
        Key {
            name: "late_reply",
            kind: Choice(|| spellings(choices::LATE_REPLY)),
            presence: Default(r#""truthful""#),
            doc: "What the end that closed first hears if the other never answers: 1014 to a client and 1011 to an \
                  upstream, or an echo of its own Close.",
            reason: "1000 then proves that the other end saw the Close.",
        },
        Key {
            name: "rewrite",
            kind: Codes,
            presence: Default("{}"),
            doc: "What a client is told in place of a close code of its upstream's: `{ 1001 = 1012 }` tells every 1001 as \
                  1012, with the upstream's own reason. For an upstream that closes first: its answer to a client's \
                  Close passes as it is, and so does a Close without a code. From every code that may be sent, to 1001, \
                  1002, 1007 to 1009, 1011 to 1014 or 3000 to 4999; at most 32 rules. A route's table stands in place \
                  of that of `[defaults]`; the access log has both codes.",
            reason: "Whoever closes knows why. But some clients never come back after a 1001, even if all that their \
                     server meant was a restart.",
        },
        Key {
            name: "on_remove",
            kind: Choice(|| spellings(choices::ON_REMOVE)),
            presence: Default(r#""close""#),
            doc: "What becomes of the sessions of a server that a reload removed, or of an address that its name has no \
                  longer: 1012, paced, or nothing.",
            reason: "A server is removed to be switched off.",
        },
        Key {
            name: "websocket_only",
            kind: Flag,
            presence: Default("false"),
            doc: "Whether plain HTTP requests get 426 instead of being passed on to the upstream. They are no sessions: no \
                  limit or queue applies to them.",
            reason: "Many libraries fall back to HTTP on the same path.",
        },
        Key {
            name: "forward_as",
            kind: Choice(|| spellings(choices::FORWARD_AS)),
            presence: Default(r#""x-forwarded""#),
            doc: "How the upstream is told who the client is: `X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and \
                  `X-Real-IP`, or `Forwarded` (RFC 7239), or both. The chain of addresses begins with the client. What \
                  is not written is removed.",
            reason: "What most servers read.",
        },
        Key {
            name: "spread",
            kind: Duration { least: Time::ZERO, most: LONGEST, off: false },
            presence: Default(r#""5s""#),
            doc: "Most that the paced endings of one cause may take; `\"0s\"`: all at once.",
            reason: "Only spread Closes spread a herd of clients that come back at once.",
        },
    ],
};
