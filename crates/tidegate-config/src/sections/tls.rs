//! The keys of TLS: with clients, with servers, and what holds for both.

use std::time::Duration;

use crate::{
    choices::{self, spellings},
    keys::{
        Key,
        Kind::{self, Choice, Count, List, Tables, Text},
        Presence::{Default, Required, Unset},
        Section,
    },
    units::LONGEST,
};

const PEM: Kind = Text("the path of a PEM file");

const PRIVATE_KEY: Key = Key {
    name: "key",
    kind: PEM,
    presence: Required,
    doc: "Its private key, in PEM, without passphrase.",
    reason: "Only the operator has it.",
};

const MIN_VERSION: Key = Key {
    name: "min_version",
    kind: Choice(|| spellings(choices::MIN_VERSION)),
    presence: Default(r#""1.2""#),
    doc: "The oldest version that is spoken. Ciphers and groups are rustls's own choice.",
    reason: "1.2 as rustls speaks it (forward secrecy and AEAD only) has no known weakness; older versions have.",
};

pub(crate) static LISTEN_TLS: Section = Section {
    title: "[[listen]] tls",
    doc: "`tls = { certificate = \"cert.pem\", key = \"key.pem\" }`. Files that change are taken up by a reload and by \
          themselves (`[tls] reload_interval`): no session ends for it.",
    keys: &[
        Key {
            name: "certificate",
            kind: PEM,
            presence: Required,
            doc: "The certificate chain, leaf first, in PEM. Clients that name no server (SNI), or one that no \
                  certificate is for, get this one.",
            reason: "Only the operator has one.",
        },
        PRIVATE_KEY,
        Key {
            name: "sni",
            kind: Tables,
            presence: Unset("one certificate for all"),
            doc: "More certificates, each for the server names in it: `sni = [{ certificate = \"b.pem\", key = \
                  \"b.key\" }]`. An exact name before a `*.` one; no two certificates for the same.",
            reason: "Most listeners have one.",
        },
        Key {
            name: "unknown_name",
            kind: Choice(|| spellings(choices::UNKNOWN_NAME)),
            presence: Default(r#""default""#),
            doc: "What a client gets that names a server that no certificate is for, or none: `\"default\"` is \
                  `certificate`, `\"refuse\"` the alert `unrecognized_name`.",
            reason: "Clients that connect to an address name no server.",
        },
        Key {
            name: "client_ca",
            kind: PEM,
            presence: Unset("clients show no certificate"),
            doc: "Authorities (PEM) of which a client must have a certificate. The server is told it in `Client-Cert` \
                  (RFC 9440); what a client itself writes there never passes.",
            reason: "Only the operator has clients with certificates.",
        },
        Key {
            name: "client_crl",
            kind: PEM,
            presence: Unset("nothing is revoked"),
            doc: "Revocation lists (PEM) of these authorities. A client's certificate without a list of its \
                  authority's is refused.",
            reason: "Short-lived certificates need none.",
        },
        Key {
            name: "client_auth",
            kind: Choice(|| spellings(choices::CLIENT_AUTH)),
            presence: Default(r#""required""#),
            doc: "With `client_ca`: whether a client without a certificate is refused. One with a wrong certificate \
                  always is.",
            reason: "Whoever names an authority means it.",
        },
        MIN_VERSION,
    ],
};

pub(crate) static SNI: Section = Section {
    title: "[[listen]] tls sni",
    doc: "`sni = [{ certificate = \"b.pem\", key = \"b.key\", names = [\"*.b.example\"] }]`.",
    keys: &[
        Key {
            name: "certificate",
            kind: PEM,
            presence: Required,
            doc: "The certificate chain, leaf first, in PEM.",
            reason: "Only the operator has one.",
        },
        PRIVATE_KEY,
        Key {
            name: "names",
            kind: List("host names"),
            presence: Unset("the DNS names in the certificate"),
            doc: "The server names that it is for: `chat.example.com`, or `*.example.com` for every name one label \
                  below.",
            reason: "A certificate says itself what it is for.",
        },
    ],
};

pub(crate) static UPSTREAM_TLS: Section = Section {
    title: "[upstream.NAME] tls",
    doc: "`tls = { ca = \"ca.pem\", server_name = \"chat.internal\" }`. The server is always verified: there is no key \
          to switch that off. Not for `unix:` servers.",
    keys: CLIENT_KEYS,
};

pub(crate) static FORWARD_AUTH_TLS: Section = Section {
    title: "[[route]] forward_auth tls",
    doc: "`tls = { ca = \"ca.pem\" }`: as that of an upstream. Files that change are taken up by themselves.",
    keys: CLIENT_KEYS,
};

/// Of whoever is spoken to.
const CLIENT_KEYS: &[Key] = &[
    Key {
        name: "ca",
        kind: PEM,
        presence: Unset("the system's roots"),
        doc: "Trust these roots (PEM) and no others.",
        reason: "The system's roots are the ones that the operator already keeps up to date.",
    },
    Key {
        name: "server_name",
        kind: Text("a host name"),
        presence: Unset("the server's host"),
        doc: "The name to verify and to send as SNI.",
        reason: "A certificate carries the name that it is reached by.",
    },
    Key {
        name: "certificate",
        kind: PEM,
        presence: Unset("no certificate"),
        doc: "A certificate chain (PEM) to show to servers that ask for one. Needs `key`.",
        reason: "Few servers ask.",
    },
    Key {
        name: "key",
        kind: PEM,
        presence: Unset("no certificate"),
        doc: "Its private key, in PEM, without passphrase.",
        reason: "Few servers ask.",
    },
    MIN_VERSION,
];

pub(crate) static TLS: Section = Section {
    title: "[tls]",
    doc: "TLS of all listeners and upstreams.",
    keys: &[
        Key {
            name: "handshake_timeout",
            kind: Kind::Duration { least: Duration::from_millis(100), most: LONGEST, off: false },
            presence: Default(r#""10s""#),
            doc: "How long a client may take for its TLS handshake, waiting for its turn included. Then its \
                  connection is closed.",
            reason: "As HAProxy's examples have it: several lost packets on a bad line, but no more.",
        },
        Key {
            name: "max_handshakes",
            kind: Count { least: 1, most: 1_000_000 },
            presence: Default("1024"),
            doc: "TLS handshakes under way at once on one worker, counted from a whole ClientHello on. More wait for \
                  their turn, within `handshake_timeout`.",
            reason: "What a core can finish in half a second, and about 20 MiB. After a restart all clients come at \
                     once: those that wait cost nothing, those that are begun too early time out together.",
        },
        Key {
            name: "reload_interval",
            kind: Kind::Duration { least: Duration::from_millis(100), most: LONGEST, off: true },
            presence: Default(r#""10s""#),
            doc: "How often the files of certificates, keys and authorities are looked at. What has changed is taken \
                  up if it is right; else what was loaded before stays, and a later change is looked at again.",
            reason: "Well within the minute that Kubernetes takes to bring a secret, and a few stat calls.",
        },
    ],
};
