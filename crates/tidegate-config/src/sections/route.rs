//! The keys of which requests go where, and what is asked of them.

use crate::keys::{
    Key,
    Kind::{List, Table, Text},
    Presence::{Default, Required, Unset},
    Section,
};

pub(crate) static ROUTE: Section = Section {
    title: "[[route]]",
    doc: "Which requests go to which upstream. The most specific route that matches serves: an exact host before \
          `*.host` before any host, then the longer path, then a route with a subprotocol before one without, then the one with more `headers`. Any key \
          of `[defaults]` may stand here too and holds for this route.",
    keys: &[
        Key {
            name: "name",
            kind: Text("a name"),
            presence: Unset("host + path (+ `#` + subprotocol)"),
            doc: "Identity across reloads and the metric label. Up to 128 visible ASCII characters except `\"` and \
                  `\\`; not starting with `_`. No two routes share one.",
            reason: "What a route matches identifies it as long as nobody names it.",
        },
        Key {
            name: "host",
            kind: Text("a host name"),
            presence: Unset("any host"),
            doc: "`chat.example.com`, or `*.example.com` for every name below it. Without port; case does not matter.",
            reason: "Most installations serve one site.",
        },
        Key {
            name: "path",
            kind: Text("a path"),
            presence: Default(r#""/""#),
            doc: "A prefix of whole segments, compared as the client wrote it: `/ws` matches `/ws` and `/ws/x` but not \
                  `/wsx`; `/ws/` matches `/ws/` and `/ws/x` but not `/ws`.",
            reason: "Every path.",
        },
        Key {
            name: "subprotocol",
            kind: Text("a subprotocol"),
            presence: Unset("any, also none"),
            doc: "Only requests that offer this subprotocol; case matters.",
            reason: "Most servers speak one.",
        },
        Key {
            name: "headers",
            kind: List("header fields"),
            presence: Unset("any"),
            doc: "Only requests that have all of these header fields: `\"X-Version: 2\"` is one with this whole value, case \
                  matters, `\"X-Beta\"` one with any. The route needs a `name`.",
            reason: "Host and path tell most requests apart. What a header says is whatever its sender likes.",
        },
        Key {
            name: "origins",
            kind: List("origins"),
            presence: Unset("any, also none"),
            doc: "Allowed values of `Origin`: `https://app.example.com`, or `https://*.example.com` for every name below \
                  it; `null` must be listed to be allowed. A request without a listed one gets 403, but for a plain HTTP \
                  request without any.",
            reason: "Clients that are no browsers send none.",
        },
        Key {
            name: "jwt",
            kind: Table,
            presence: Unset("no token is asked for"),
            doc: "Requests must bring a JSON Web Token.",
            reason: "Most servers ask for themselves.",
        },
        Key {
            name: "forward_auth",
            kind: Table,
            presence: Unset("nobody is asked"),
            doc: "Another server is asked whether a request may pass.",
            reason: "Most servers decide for themselves.",
        },
        Key {
            name: "upstream",
            kind: Text("the name of an upstream"),
            presence: Required,
            doc: "Where its requests go: NAME of an `[upstream.NAME]`.",
            reason: "A route leads somewhere.",
        },
    ],
};
