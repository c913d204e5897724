//! The keys that say whose turn it is when the clients of an upstream have to wait.

use crate::keys::{
    Key,
    Kind::{List, Share, Text},
    Presence::Required,
    Section,
};

pub(crate) static CLASS: Section = Section {
    title: "[upstream.NAME] classes",
    doc: "`[[upstream.NAME.classes]]`: clients that a share of the admissions is set aside for while the upstream takes \
          fewer than ask. At most three; a client is of the first class that has a rule for it, and of the class \
          `default` where none has. What a class does not use the others have, so a share costs nothing while its \
          clients stay away. It counts for who waits: who is told 503 at once takes no turn. Sessions are not ended for \
          it. Live-reloadable: who waits already stays in its place.",
    keys: &[
        Key {
            name: "name",
            kind: Text("a name"),
            presence: Required,
            doc: "Metric label, with the rules of a route's name; not `default`.",
            reason: "The operator is told by it who was refused.",
        },
        Key {
            name: "share",
            kind: Share,
            presence: Required,
            doc: "Its part of the admissions, above 0. What all classes leave over is that of `default`; if that is \
                  nothing, its clients get one turn in a thousand or so.",
            reason: "Only the operator knows what they are worth.",
        },
        Key {
            name: "clients",
            kind: List("rules"),
            presence: Required,
            doc: "Whose it is; one rule that matches is enough. `\"client_ip:10.0.0.0/8\"`, `\"path:/vip\"` (a prefix of \
                  whole segments), `\"header:NAME=VALUE\"`, `\"cookie:NAME=VALUE\"`; without `=VALUE` any value will do. \
                  Values are compared as they are; a header that stands twice matches nothing. A header or cookie is \
                  believed from whoever sends it: name one that clients cannot guess, that a proxy in front sets or \
                  removes, or that `forward_auth` brings (`response_headers`), which is asked before.",
            reason: "Only the application knows them.",
        },
    ],
};
