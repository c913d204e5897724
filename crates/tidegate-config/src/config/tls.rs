//! What a configuration says of TLS.

use std::time::Duration;

use super::Host;
use crate::file::FilePath;

/// `[[listen]] tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenTls {
    /// For clients that name no server, or an unknown one.
    pub default: KeyPair,
    /// For those that name a server of theirs.
    pub sni: Vec<NamedPair>,
    /// HTTP/2 is offered. Default true.
    pub http2: bool,
    /// What a client gets that names a server that no certificate is for, or none.
    pub unknown_name: UnknownName,
    /// Whether and of whom clients have certificates.
    pub clients: Option<ClientAuth>,
    /// The oldest version that is spoken. Default 1.2.
    pub min_version: TlsVersion,
}

/// A certificate chain and its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The chain, leaf first.
    pub certificate: FilePath,
    /// The leaf's key.
    pub key: FilePath,
}

/// One of `sni`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPair {
    /// The files.
    pub pair: KeyPair,
    /// The names that it is for; empty: the DNS names in the certificate. Never [`Host::Any`].
    pub names: Vec<Host>,
}

/// What a client gets that names a server that no certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownName {
    /// The default certificate.
    Default,
    /// An alert.
    Refuse,
}

/// Clients' certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// Their authorities, PEM.
    pub ca: FilePath,
    /// Revocation lists, PEM.
    pub crl: Option<FilePath>,
    /// A client without certificate is refused.
    pub required: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// `[upstream.NAME] tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Trust these roots (PEM) instead of the system's.
    pub ca: Option<FilePath>,
    /// Name to verify and to send as SNI; default: the endpoint's host.
    pub server_name: Option<String>,
    /// What is shown to an endpoint that asks for a certificate.
    pub identity: Option<KeyPair>,
    /// The oldest version that is spoken. Default 1.2.
    pub min_version: TlsVersion,
}

/// `[tls]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tls {
    /// A client's whole handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// Handshakes under way at once on one worker. Default 1024.
    pub max_handshakes: u32,
    /// How often files are looked at; `None`: only on a reload. Default 10 s.
    pub reload_interval: Option<Duration>,
}
