//! The keys of the servers and of what they can take.

use std::time::Duration as Time;

use crate::{
    choices::{self, spellings},
    keys::{
        Key,
        Kind::{ByteRate, Choice, Count, Duration, Flag, List, Rate, Size, Table, Tables, Text},
        Presence::{Default, Required, Unset},
        Section,
    },
    units::{LARGEST, LONGEST},
};

/// Sessions are counted in 32 bits.
const MOST_SESSIONS: u64 = u32::MAX as u64;

pub(crate) static UPSTREAM: Section = Section {
    title: "[upstream.NAME]",
    doc: "A group of equal servers. NAME is a metric label, with the rules of a route's name.",
    keys: &[
        Key {
            name: "servers",
            kind: List("servers"),
            presence: Required,
            doc: "`\"host:port\"`, `\"unix:PATH\"`, `\"srv:NAME\"` or `{ address, weight }`. May be empty: then everybody is \
                  refused.",
            reason: "Only the operator knows them.",
        },
        Key {
            name: "max_sessions",
            kind: Count { least: 1, most: MOST_SESSIONS },
            presence: Unset("unlimited"),
            doc: "Most sessions over all servers. Above it clients wait `queue_timeout`, then are refused.",
            reason: "Capacity is learned where it is not declared.",
        },
        Key {
            name: "max_sessions_per_server",
            kind: Count { least: 1, most: MOST_SESSIONS },
            presence: Unset("learned"),
            doc: "Most sessions on one server. Not declared, it is what the server announces; else, once it has ended \
                  sessions with 1013 to clients of several addresses for seconds on end, a twentieth less than it held \
                  then, growing again after a minute. Until then its 1013 is passed on, and nothing more.",
            reason: "Capacity is learned where it is not declared.",
        },
        Key {
            name: "max_handshakes_per_server",
            kind: Count { least: 1, most: MOST_SESSIONS },
            presence: Unset("measured"),
            doc: "Most handshakes in flight on one server.",
            reason: "What a server takes shows in how fast it answers.",
        },
        Key {
            name: "max_message_rate",
            kind: Rate { most: MOST_SESSIONS },
            presence: Default(r#""off""#),
            doc: "Messages a second through all sessions of the upstream, both ways, above which nobody new is let in: \
                  clients wait `queue_timeout`, then are refused. Measured once a second; sessions that are open go on.",
            reason: "What a message costs only the application knows.",
        },
        Key {
            name: "max_byte_rate",
            kind: ByteRate { most: LARGEST },
            presence: Default(r#""off""#),
            doc: "Payload of them a second, both ways, as it is on the wire, above which nobody new is let in.",
            reason: "What a server or its network can carry only the operator knows.",
        },
        Key {
            name: "max_buffered_bytes",
            kind: Size { least: 1, most: LARGEST },
            presence: Unset("unlimited"),
            doc: "Bytes of all sessions of the upstream that came from one side and have not left on the other, above \
                  which nobody new is let in: its servers or its clients do not keep up. One direction of a session holds \
                  1.1 MiB at most.",
            reason: "A process has `[protection]`; only what several upstreams share needs parts.",
        },
        Key {
            name: "announced_capacity",
            kind: Flag,
            presence: Default("true"),
            doc: "Heed what a server says of itself in its 101, and in a refusal: `tidegate-capacity: sessions=N`, or the \
                  `application_utilization` of ORCA's `endpoint-load-metrics` (text or JSON) and \
                  `endpoint-load-metrics-json`, from 0.7 on and for a minute. A 101 without either takes it back; \
                  `max_sessions_per_server` outranks it. Clients never see these headers, \
                  heeded or not.",
            reason: "A server knows best what it can hold.",
        },
        Key {
            name: "classes",
            kind: Tables,
            presence: Unset("no class before another"),
            doc: "Classes of clients with a share of the admissions each, for when clients have to wait.",
            reason: "Only the operator knows who matters more.",
        },
        Key {
            name: "tenant",
            kind: Text(r#""client_ip", "host", "path:N", "header:NAME" or "cookie:NAME""#),
            presence: Unset("all clients are of one tenant"),
            doc: "What tells whose client it is: the client's address (an IPv6 address stands for its /64), the host it \
                  asks for, the Nth segment of its path, a header or a cookie. When clients have to wait the tenants of a \
                  class take turns, however many clients each of them brings: strictly once the queue stands, before that \
                  as soon as one is 32 turns ahead of another. Where sessions are limited, and room is left for fewer than \
                  want in, it is for the tenant that holds the fewest. Clients that lack it are one tenant. A \
                  header or cookie is believed from whoever sends it: who may choose it can be a new tenant each time, \
                  and take more turns than is its due. Live-reloadable: who waits already stays in its place.",
            reason: "Only the application knows what a tenant is; among clients of one, newest first serves best when \
                     there are too many.",
        },
        Key {
            name: "max_tenants",
            kind: Count { least: 1, most: 1_000_000 },
            presence: Default("10000"),
            doc: "Most tenants of a class that are told apart at a time: those with clients that wait, and those that \
                  had a turn before the others. Any further ones share 64 places, so a flood of made-up tenants costs \
                  neither memory nor more than a round of so many turns. Where more than that (or 65,531) hold sessions, who \
                  holds the fewest is not known, and turns alone count. Only with `tenant`.",
            reason: "As many as may wait by one route; each costs some 200 bytes while it waits or holds sessions.",
        },
        Key {
            name: "balance",
            kind: Choice(|| spellings(choices::BALANCE)),
            presence: Default(r#""least_sessions""#),
            doc: "Which server a new session gets: the one with the fewest sessions for its weight, the better of two \
                  drawn at random, each in turn, or the one that all with the same `hash_on` get. A plain request \
                  gets the better of two, or what `hash_on` or `sticky` says.",
            reason: "Sessions last, so their counts are what differs between servers.",
        },
        Key {
            name: "hash_on",
            kind: Text(r#""client_ip", "header:NAME" or "cookie:NAME""#),
            presence: Unset("no hash"),
            doc: "What `balance = \"hash\"` hashes: the client's address, a request header or a cookie. A server that \
                  comes or goes moves only its own share (rendezvous hashing, by weight). A request without it goes \
                  where the fewest sessions are, and so does one whose server takes nobody.",
            reason: "Only the application knows what belongs together.",
        },
        Key {
            name: "sticky",
            kind: Table,
            presence: Unset("no cookie"),
            doc: "A cookie takes a client back to the server it was on: for Socket.IO with polling, SignalR, SockJS.",
            reason: "A WebSocket alone needs none.",
        },
        Key {
            name: "retries",
            kind: Count { least: 0, most: 100 },
            presence: Default("3"),
            doc: "How many further servers are tried where one cannot be reached, or says 503 to an upgrade: for clients \
                  that are told by a status, and for plain requests. Nothing is retried of which a server may have \
                  taken a byte. A client that may wait is tried with others for `queue_timeout`.",
            reason: "Four servers that cannot be reached are seldom an accident of each.",
        },
        Key {
            name: "resolve_interval",
            kind: Duration { least: Time::from_secs(1), most: LONGEST, off: true },
            presence: Default(r#""10s""#),
            doc: "How often the names of servers are looked up. Each address of a name is a server of its own, with the \
                  name's weight; addresses are of one family, the one that the system prefers. An address that an answer \
                  lacks gets no new session; when three answers on end lack it, its sessions are treated as `on_remove` \
                  says. While a name is not found its last addresses stay. `\"off\"`: a name is one server, looked up at \
                  each dial, and so is `localhost`.",
            reason: "Short enough for a server that moves, long enough for any name server.",
        },
        Key {
            name: "resolver",
            kind: Text("the address of a name server"),
            presence: Unset("the system's resolver"),
            doc: "The name server to ask, by its IP address. Then a name is looked up when its answer's TTL is over, if \
                  that is sooner than `resolve_interval` (but once a second at most), and IPv6 addresses count where \
                  there is no IPv4 one. Needs the build feature `dns`.",
            reason: "The system knows its hosts file and its search domains, but not the TTL.",
        },
        Key {
            name: "health",
            kind: Table,
            presence: Unset("no checks"),
            doc: "Ask the servers regularly whether they are well. One that is down gets no new session; when all are, \
                  clients wait and are told 1013 `no-upstream`, or 503. Without it, a server is known by how it \
                  answers clients.",
            reason: "Only the operator knows what may be asked.",
        },
        Key {
            name: "slow_start",
            kind: Duration { least: Time::from_secs(1), most: LONGEST, off: true },
            presence: Default(r#""off""#),
            doc: "How long the share of a server that is new, or up again, grows from a tenth to the whole.",
            reason: "Without it a newcomer still gets at most twice its share under `\"least_sessions\"`, and handshakes \
                     no faster than it answers.",
        },
        Key {
            name: "tls",
            kind: Table,
            presence: Unset("plain TCP"),
            doc: "Speak TLS to the servers; `{}` verifies with the system's roots.",
            reason: "Most servers stand in the same network.",
        },
        Key {
            name: "proxy_protocol",
            kind: Choice(|| spellings(choices::PROXY_PROTOCOL_OUT)),
            presence: Default(r#""off""#),
            doc: "`\"v2\"`: each connection to a server begins, before TLS, with a PROXY protocol header that says the \
                  client's address. Connections for plain HTTP are then not kept for the next request.",
            reason: "A server that does not expect it takes it for a broken request.",
        },
        Key {
            name: "endpoint_metrics",
            kind: Flag,
            presence: Default("false"),
            doc: "Show each server by itself, too: `tidegate_endpoint_up`, `_sessions`, `_sessions_limit` and \
                  `_handshakes_in_flight`, with its address as the label `endpoint`. Its series go when it does.",
            reason: "Four series for each address that a server ever had: with names whose addresses change all the \
                     time a Prometheus would remember them all. `/governor` shows them in any case.",
        },
    ],
};

pub(crate) static SERVER: Section = Section {
    title: "[upstream.NAME] servers",
    doc: "`servers = [\"127.0.0.1:3000\", { address = \"127.0.0.1:3001\", weight = 2 }]`. \
          `\"srv:_ws._tcp.chat.example.com\"` is a service: its SRV records (RFC 2782) say where its servers are. Each \
          address of a record's target is a server, with the record's weight. Those of a higher priority number stand \
          by: they get new sessions while all of the lower ones are down by health check or rest after failures. Needs \
          `resolver`. Over TLS a service's servers must have a certificate for its domain (`chat.example.com`), not for \
          the targets, or for `server_name`.",
    keys: &[
        Key {
            name: "address",
            kind: Text(r#"a server such as "127.0.0.1:3000", "unix:/run/app.sock" or "srv:_ws._tcp.example.com""#),
            presence: Required,
            doc: "`host:port`, `unix:PATH` or `srv:NAME`. Its identity across reloads.",
            reason: "Only the operator knows it.",
        },
        Key {
            name: "weight",
            kind: Count { least: 1, most: 256 },
            presence: Default("1"),
            doc: "Its share of new sessions. Of a service: what the weights of its records are multiplied by.",
            reason: "Equal servers are the common case.",
        },
    ],
};
