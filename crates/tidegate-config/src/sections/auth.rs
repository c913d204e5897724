//! The keys of `[route.jwt]` and `[route.forward_auth]`.

use std::time::Duration as Time;

use crate::{
    choices::{self, spellings},
    keys::{
        Key,
        Kind::{Choice, Duration, Flag, List, Table, Text},
        Presence::{Default, Required, Unset},
        Section,
    },
};

pub(crate) static JWT: Section = Section {
    title: "[[route]] jwt",
    doc: "`jwt = { key = \"public.pem\", algorithm = \"RS256\" }`: every request must bring a JSON Web Token that is signed \
          with this key and not expired, else it gets 401. The first counts of: `Authorization: Bearer`, `cookie`, \
          `query`. The request goes upstream as it came. Needs the cargo feature `jwt`, which is on by default.",
    keys: &[
        Key {
            name: "key",
            kind: Text("the path of a file"),
            presence: Required,
            doc: "A public key in PEM, a set of keys (JWKS), or, for `HS*`, a secret of at least 32 bytes. Read at the \
                  start and at a reload.",
            reason: "Only the operator has it.",
        },
        Key {
            name: "algorithm",
            kind: Choice(|| spellings(choices::JWT_ALGORITHM)),
            presence: Required,
            doc: "The only one that is taken, whatever a token says of itself.",
            reason: "A token that chooses its algorithm chooses its key.",
        },
        Key {
            name: "issuer",
            kind: Text("a text"),
            presence: Unset("any, also none"),
            doc: "What `iss` must be.",
            reason: "One key mostly serves one issuer.",
        },
        Key {
            name: "audience",
            kind: Text("a text"),
            presence: Unset("any, also none"),
            doc: "What `aud` must be, or hold.",
            reason: "Only the operator knows for whom tokens are issued.",
        },
        Key {
            name: "leeway",
            kind: Duration { least: Time::ZERO, most: Time::from_secs(3600), off: false },
            presence: Default(r#""30s""#),
            doc: "How far the clocks of issuer and tidegate may differ, for `exp` and `nbf`; whole seconds.",
            reason: "Clocks that are kept at all differ by less.",
        },
        Key {
            name: "cookie",
            kind: Text("the name of a cookie"),
            presence: Unset("no cookie"),
            doc: "The cookie that may bring the token. List `origins`, too.",
            reason: "Cookies come along from every site.",
        },
        Key {
            name: "query",
            kind: Text("the name of a query parameter"),
            presence: Unset("no parameter"),
            doc: "The parameter of the query that may bring the token, for browsers can set no header field. Its value, \
                  like every one of the query, is not logged.",
            reason: "What stands in an address is easily passed on.",
        },
        Key {
            name: "close_at_expiry",
            kind: Flag,
            presence: Default("true"),
            doc: "Whether a session ends when its token does (and `leeway` is over): 1008 `auth-expired`.",
            reason: "A token says how long it may be believed.",
        },
    ],
};

pub(crate) static FORWARD_AUTH: Section = Section {
    title: "[[route]] forward_auth",
    doc: "`forward_auth = { url = \"http://127.0.0.1:9000/verify\" }`: for every request this server is asked first, with \
          a GET that has the request's header fields and `X-Forwarded-Method`, `X-Forwarded-Uri`, `X-Original-Method` and \
          `X-Original-URI`. 2xx lets it pass; 401, 403 and redirects are passed back with their header fields and body; \
          anything else, or nothing in time, is 503.",
    keys: &[
        Key {
            name: "url",
            kind: Text(r#"a URL such as "http://127.0.0.1:9000/verify""#),
            presence: Required,
            doc: "Whom to ask: `http://` or `https://`.",
            reason: "Only the operator knows it.",
        },
        Key {
            name: "tls",
            kind: Table,
            presence: Unset("verified with the system's roots"),
            doc: "How a server at `https://` is verified.",
            reason: "What it is asked holds the clients' secrets, and what it says is believed.",
        },
        Key {
            name: "timeout",
            kind: Duration { least: Time::from_millis(1), most: Time::from_secs(60), off: false },
            presence: Default(r#""3s""#),
            doc: "For its whole answer, the connection included.",
            reason: "It stands in front of every handshake.",
        },
        Key {
            name: "response_headers",
            kind: List("names of header fields"),
            presence: Unset("none"),
            doc: "Fields of a 2xx that the request takes upstream, such as `X-User`. A client's own fields of these names are \
                  removed first.",
            reason: "Only the operator knows which the upstream believes.",
        },
    ],
};
