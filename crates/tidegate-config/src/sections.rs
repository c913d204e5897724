//! Every key of the file: its name, type, bounds, default, what it does and why the default is what it is.
//!
//! This is the one definition. What reads the file takes types, bounds and defaults from here, unknown keys are
//! compared with these names, and the reference is generated from it.

mod auth;
mod defaults;
mod listen;
mod pools;
mod route;
mod sharing;
mod tls;
mod upstream;

use crate::{
    choices::{self, spellings},
    keys::{
        Key,
        Kind::{Choice, Count, Duration, Rate, Share, Table, Tables, Text},
        Presence::{Default, Required, Unset},
        Section,
    },
    units::LONGEST,
};

pub(crate) use auth::{FORWARD_AUTH, JWT};
pub(crate) use defaults::DEFAULTS;
use defaults::MOST_A_SECOND;
pub(crate) use listen::LISTEN;
pub(crate) use pools::{HEALTH, STICKY};
pub(crate) use route::ROUTE;
pub(crate) use sharing::CLASS;
pub(crate) use tls::{FORWARD_AUTH_TLS, LISTEN_TLS, SNI, TLS, UPSTREAM_TLS};
pub(crate) use upstream::{SERVER, UPSTREAM};

/// All of them, in the order of the reference.
pub(crate) static SECTIONS: [&Section; 21] = [
    &ROOT,
    &LISTEN,
    &LISTEN_TLS,
    &SNI,
    &ROUTE,
    &JWT,
    &FORWARD_AUTH,
    &FORWARD_AUTH_TLS,
    &UPSTREAM,
    &SERVER,
    &UPSTREAM_TLS,
    &TLS,
    &STICKY,
    &HEALTH,
    &CLASS,
    &DEFAULTS,
    &DRAIN,
    &GOVERNOR,
    &PROTECTION,
    &ADMIN,
    &LOG,
];

pub(crate) static ROOT: Section = Section {
    title: "top level",
    doc: "Keys before the first table, and the tables themselves.",
    keys: &[
        Key {
            name: "workers",
            kind: Count { least: 0, most: 1024 },
            presence: Default("0"),
            doc: "Worker threads; 0: one per core.",
            reason: "A session lives on one worker, and one worker fills one core.",
        },
        Key {
            name: "listen",
            kind: Tables,
            presence: Required,
            doc: "Where clients connect: one `[[listen]]` for each address.",
            reason: "An open port is never a guess.",
        },
        Key {
            name: "route",
            kind: Tables,
            presence: Required,
            doc: "Which requests go where: one `[[route]]` each. A request that none matches gets 404.",
            reason: "What is not routed is not exposed.",
        },
        Key {
            name: "upstream",
            kind: Table,
            presence: Unset("no upstream"),
            doc: "The servers, by name: `[upstream.NAME]`.",
            reason: "A route names one.",
        },
        Key {
            name: "tls",
            kind: Table,
            presence: Unset("the defaults below"),
            doc: "TLS of all listeners and upstreams.",
            reason: "Each key has a default of its own.",
        },
        Key {
            name: "defaults",
            kind: Table,
            presence: Unset("the defaults below"),
            doc: "What holds for every route that does not say otherwise.",
            reason: "Each key has a default of its own.",
        },
        Key {
            name: "drain",
            kind: Table,
            presence: Unset("the defaults below"),
            doc: "How SIGTERM ends sessions.",
            reason: "Each key has a default of its own.",
        },
        Key {
            name: "governor",
            kind: Table,
            presence: Unset("the defaults below"),
            doc: "Whether clients are refused.",
            reason: "Each key has a default of its own.",
        },
        Key {
            name: "protection",
            kind: Table,
            presence: Unset("the defaults below"),
            doc: "What the process keeps for the sessions that it has.",
            reason: "Each key has a default of its own.",
        },
        Key {
            name: "admin",
            kind: Table,
            presence: Unset("the defaults below"),
            doc: "Where the operator looks.",
            reason: "Each key has a default of its own.",
        },
        Key {
            name: "log",
            kind: Table,
            presence: Unset("the defaults below"),
            doc: "What is written, and where.",
            reason: "Each key has a default of its own.",
        },
    ],
};

pub(crate) static DRAIN: Section = Section {
    title: "[drain]",
    doc: "How SIGTERM ends sessions.",
    keys: &[Key {
        name: "window",
        kind: Duration { least: std::time::Duration::ZERO, most: LONGEST, off: false },
        presence: Default(r#""30s""#),
        doc: "Closes 1012 are spread over most of it; at its end the rest is told at once.",
        reason: "Kubernetes kills after 30 s; systemd grants more.",
    }],
};

pub(crate) static GOVERNOR: Section = Section {
    title: "[governor]",
    doc: "Whether clients are refused.",
    keys: &[Key {
        name: "mode",
        kind: Choice(|| spellings(choices::MODE)),
        presence: Default(r#""enforce""#),
        doc: "`\"observe\"` admits everybody and only counts what would have been refused.",
        reason: "A limit that was written down is meant.",
    }],
};

pub(crate) static PROTECTION: Section = Section {
    title: "[protection]",
    doc: "How much the process itself may use before newcomers get 503 with a `Retry-After`; open sessions and `[admin]` \
          go on. Refusing begins at nine tenths of a bound (97 % of that on files) and grows with the need; at the bound everybody is refused.",
    keys: &[
        Key {
            name: "files",
            kind: Share,
            presence: Default("0.95"),
            doc: "Share of the descriptors that the process may open (`LimitNOFILE`); `1.0`: all.",
            reason: "What is left is for the upstream's side of those who are let in, and for logs.",
        },
        Key {
            name: "memory",
            kind: Share,
            presence: Default("0.95"),
            doc: "Share of the memory of its cgroup, or of the machine where that has no bound; `1.0`: all.",
            reason: "Above it the kernel kills, and every client sees 1006.",
        },
        Key {
            name: "lag",
            kind: Duration { least: std::time::Duration::from_millis(10), most: LONGEST, off: true },
            presence: Default(r#""1s""#),
            doc: "How long work that is ready may wait for a worker, at four looks half a second apart; or `\"off\"`.",
            reason: "A burst passes; a second that stays is more work than there are cores.",
        },
        Key {
            name: "early_returns",
            kind: Rate { most: MOST_A_SECOND },
            presence: Default(r#""off""#),
            doc: "Connections of one client address that are heard in a second while its clients are refused for want of \
                  capacity and none is let in; or as many as it has lately had sessions at once, where that is more. Up \
                  to ten times as many are turned away before TLS and before their request is read, the rest is reset. An \
                  IPv6 address stands for its /64. Not for those whom a `trusted_proxies` address speaks for, unless by \
                  the PROXY protocol.",
            reason: "Behind a balancer or a carrier's NAT thousands have one address, and each of them is to hear the truth. \
                     Where clients come with addresses of their own, `\"32/s\"` spares the TLS handshake of those who do \
                     not heed it; an office whose tabs all reconnect stays below.",
        },
    ],
};

pub(crate) static ADMIN: Section = Section {
    title: "[admin]",
    doc: "Where the operator looks.",
    keys: &[
        Key {
            name: "address",
            kind: Text(r#"an address such as "127.0.0.1:9180", or "off""#),
            presence: Default(r#""127.0.0.1:9180""#),
            doc: "Serves `/metrics`, `/governor`, `/livez` and `/readyz`: IP address and port, `unix:PATH` or `\"off\"`. Not a \
                  `[[listen]]` address.",
            reason: "Loopback: metrics are nobody else's business until someone says so.",
        },
        Key {
            name: "socket",
            kind: Text(r#"a path such as "/run/tidegate/admin.sock", or "off""#),
            presence: Default(r#""off""#),
            doc: "A unix socket that serves what `address` does and takes the commands `tidegate reload`, `tidegate drain` \
                  and `tidegate upgrade`, which wait and say what came of it. Only the user that tidegate runs as may \
                  open it (mode 0600).",
            reason: "Signals do the same; nothing more listens than is asked for.",
        },
    ],
};

pub(crate) static LOG: Section = Section {
    title: "[log]",
    doc: "What is written, and where.",
    keys: &[
        Key {
            name: "access",
            kind: Text(r#""stdout", "off" or the path of a file"#),
            presence: Default(r#""stdout""#),
            doc: "One line for each session at its end: `\"stdout\"`, `\"off\"`, or a file (a path with a `/`), which \
                  SIGUSR1 reopens.",
            reason: "Where service managers and containers collect results.",
        },
        Key {
            name: "level",
            kind: Text(r#"a level such as "info" or "info,tidegate_proxy=debug""#),
            presence: Default(r#""info""#),
            doc: "Level of the process log on stderr: `off`, `error`, `warn`, `info`, `debug` or `trace`, or several \
                  `target=level` with commas.",
            reason: "What changes, not what passes.",
        },
        Key {
            name: "format",
            kind: Choice(|| spellings(choices::FORMAT)),
            presence: Default(r#""auto""#),
            doc: "The process log as JSON or as text; `\"auto\"`: JSON unless stderr is a terminal.",
            reason: "Machines read pipes, people read terminals.",
        },
    ],
};
