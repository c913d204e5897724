//! The keys of the tables inside `[upstream.NAME]` that say how its servers are chosen and watched.

use std::time::Duration as Time;

use crate::{
    choices::{self, spellings},
    keys::{
        Key,
        Kind::{Choice, Count, Duration, Text},
        Presence::{Default, Required, Unset},
        Section,
    },
    units::LONGEST,
};

pub(crate) static STICKY: Section = Section {
    title: "[upstream.NAME] sticky",
    doc: "`sticky = { cookie = \"srv\" }`: a client's requests, WebSockets and plain ones, go to the server that its first \
          one went to. tidegate sets the cookie (`HttpOnly`) with a 101 and with plain answers. When that server is \
          gone, down or full, the client goes to another and gets its cookie anew.",
    keys: &[
        Key {
            name: "cookie",
            kind: Text("the name of a cookie"),
            presence: Required,
            doc: "Its name; no two upstreams have the same. The value is a keyed hash of the server's address.",
            reason: "It must not be one that the application uses.",
        },
        Key {
            name: "secret",
            kind: Text("16 to 128 characters"),
            presence: Unset("drawn when the process starts"),
            doc: "Key of the hash. Give all tidegates before the same servers the same one: then they agree, also after \
                  a restart.",
            reason: "Nobody can work out an address from a value whose key nobody knows.",
        },
        Key {
            name: "path",
            kind: Text("a path"),
            presence: Default(r#""/""#),
            doc: "Its `Path`.",
            reason: "A fallback over HTTP often has another path than the WebSocket.",
        },
        Key {
            name: "same_site",
            kind: Choice(|| spellings(choices::SAME_SITE)),
            presence: Default(r#""lax""#),
            doc: "Its `SameSite`. `\"none\"`, for pages of other sites, needs `secure = \"always\"`.",
            reason: "What browsers take where nothing is said.",
        },
        Key {
            name: "secure",
            kind: Choice(|| spellings(choices::SECURE)),
            presence: Default(r#""auto""#),
            doc: "Whether it is `Secure`: when the client came over TLS, or always, for a TLS that ends before tidegate.",
            reason: "A client without TLS would not send it back.",
        },
        Key {
            name: "max_age",
            kind: Duration { least: Time::from_secs(1), most: LONGEST, off: true },
            presence: Default(r#""off""#),
            doc: "How long a browser keeps it, from the last answer on; `\"off\"`: until it is closed.",
            reason: "Stickiness is for what a server remembers of a client, which is seldom long.",
        },
    ],
};

pub(crate) static HEALTH: Section = Section {
    title: "[upstream.NAME] health",
    doc: "`health = { kind = \"websocket\", path = \"/ws\" }`: each server is asked by itself, over TLS where sessions are. \
          A server begins as one that is up.",
    keys: &[
        Key {
            name: "kind",
            kind: Choice(|| spellings(choices::CHECK)),
            presence: Required,
            doc: "`\"tcp\"`: it takes a connection. `\"http\"`: a GET of `path` gets a good `status`. `\"websocket\"`: an \
                  upgrade of `path` gets a valid 101, a ping its pong; then tidegate closes with 1000.",
            reason: "A server may answer HTTP long after it can no longer hold a WebSocket, but not every server likes to \
                     be asked for one.",
        },
        Key {
            name: "path",
            kind: Text("a path"),
            presence: Default(r#""/""#),
            doc: "What is asked for, with its query. Not with `\"tcp\"`.",
            reason: "What every server has.",
        },
        Key {
            name: "host",
            kind: Text("a host, with or without port"),
            presence: Unset("the server's address"),
            doc: "The `Host` that is asked. Not with `\"tcp\"`.",
            reason: "The server is asked itself.",
        },
        Key {
            name: "status",
            kind: Text(r#"a status or a range such as "200-299""#),
            presence: Default(r#""200-299""#),
            doc: "Which answers are good. Only with `\"http\"`.",
            reason: "A redirect to a login page says little.",
        },
        Key {
            name: "subprotocol",
            kind: Text("a subprotocol"),
            presence: Unset("none"),
            doc: "What is offered; the server has to choose it. Only with `\"websocket\"`.",
            reason: "Some servers close who offers none.",
        },
        Key {
            name: "interval",
            kind: Duration { least: Time::from_millis(100), most: LONGEST, off: false },
            presence: Default(r#""5s""#),
            doc: "From one check of a server to the next, a tenth more or less.",
            reason: "A handshake every few seconds costs a server nothing.",
        },
        Key {
            name: "timeout",
            kind: Duration { least: Time::from_millis(1), most: LONGEST, off: false },
            presence: Default(r#""2s""#),
            doc: "For a whole check.",
            reason: "Who answers more slowly than that has clients waiting.",
        },
        Key {
            name: "fall",
            kind: Count { least: 1, most: 1000 },
            presence: Default("3"),
            doc: "Failed checks on end after which a server is down.",
            reason: "One may be an accident.",
        },
        Key {
            name: "rise",
            kind: Count { least: 1, most: 1000 },
            presence: Default("2"),
            doc: "Good checks on end after which it is up again.",
            reason: "A server that comes back and goes at once is not back.",
        },
        Key {
            name: "on_down",
            kind: Choice(|| spellings(choices::ON_DOWN)),
            presence: Default(r#""keep""#),
            doc: "What becomes of the sessions of a server that is down: nothing, or 1012 `upstream-unhealthy`, over \
                  the route's `spread`.",
            reason: "A session that lives is the better witness.",
        },
    ],
};
