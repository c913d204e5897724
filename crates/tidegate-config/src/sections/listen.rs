//! The keys of what clients connect to.

use crate::{
    choices::{self, spellings},
    keys::{
        Key,
        Kind::{Choice, Count, Flag, List, Table, Text},
        Presence::{Default, Required, Unset},
        Section,
    },
};

pub(crate) static LISTEN: Section = Section {
    title: "[[listen]]",
    doc: "Where clients connect. At least one; no two with the same address.",
    keys: &[
        Key {
            name: "address",
            kind: Text(r#"an address such as "0.0.0.0:8080" or "unix:/run/tidegate.sock""#),
            presence: Required,
            doc: "IP address and port, or `unix:PATH`. Its identity across reloads.",
            reason: "An open port is never a guess.",
        },
        Key {
            name: "tls",
            kind: Table,
            presence: Unset("plain TCP"),
            doc: "Speak TLS with this certificate. Not on a unix socket.",
            reason: "Only the operator has the key.",
        },
        Key {
            name: "http2",
            kind: Flag,
            presence: Default("true"),
            doc: "Offer HTTP/2 (ALPN `h2`) beside HTTP/1.1 to clients that speak TLS: WebSockets by Extended CONNECT \
                  (RFC 8441), and plain requests. Without `tls` there is none. A reload changes it for new connections.",
            reason: "A browser that has the page over HTTP/2 opens its WebSockets on the same connection: no second \
                     handshake, and every ending is told as over HTTP/1.1.",
        },
        Key {
            name: "http2_max_streams",
            kind: Count { least: 1, most: 1000 },
            presence: Default("100"),
            doc: "Most streams (sessions and plain requests) of one HTTP/2 connection at a time. A client is told and \
                  waits, or opens another connection; a stream above it is refused unread (REFUSED_STREAM). Each may \
                  hold 64 KiB that its upstream has not taken. A reload changes it for new connections.",
            reason: "The least that RFC 9113 recommends; a connection lost takes no more sessions with it.",
        },
        Key {
            name: "trusted_proxies",
            kind: List("addresses and networks"),
            presence: Unset("nobody is trusted: the client is whoever connects"),
            doc: "The proxies in front, which may say who the client is: `\"10.0.0.0/8\"`, `\"192.0.2.7\"`, \
                  `\"2001:db8::/32\"`, or `\"unix:\"` for whoever connects over a unix socket. What they say in \
                  `forwarded_header`, `X-Forwarded-Proto`, `-Host`, `-Port` and `X-Request-Id` is believed: the client is \
                  the right-most address that is not itself trusted. What anybody else says there is replaced.",
            reason: "Whoever is believed can claim any address.",
        },
        Key {
            name: "proxy_protocol",
            kind: Choice(|| spellings(choices::PROXY_PROTOCOL)),
            presence: Default(r#""off""#),
            doc: "Every connection must begin with a PROXY protocol header of this version, before TLS, within 10 s and \
                  2 KiB; `\"v1v2\"`: of either. Needs `trusted_proxies`: a connection from anybody else is refused.",
            reason: "A header that may be left out could be left out by those who had better not.",
        },
        Key {
            name: "forwarded_header",
            kind: Choice(|| spellings(choices::FORWARDED_HEADER)),
            presence: Default(r#""x-forwarded-for""#),
            doc: "Where a trusted proxy says the client's address. Only this one is read: a proxy that writes one often \
                  passes the other as a client wrote it.",
            reason: "What nginx, HAProxy and cloud load balancers write.",
        },
    ],
};
