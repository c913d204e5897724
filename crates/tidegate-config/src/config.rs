//! A configuration that is valid by construction: what the rest of tidegate reads.

mod tls;

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use ipnet::IpNet;
use tidegate_governor::{Bounds as Protection, Limits as Capacity};
use tidegate_session::Policy;
use tidegate_wire::Limits as Frames;

use crate::{
    file::{FilePath, Place},
    pools::{Affinity, Health, NameServer},
    sharing::Sharing,
};
pub use tls::{ClientAuth, KeyPair, ListenTls, NamedPair, Tls, TlsVersion, UnknownName, UpstreamTls};

/// Everything one configuration file says, checked and with its defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Worker threads; 0: one per core.
    pub workers: usize,
    /// Where clients connect. At least one.
    pub listeners: Vec<Listener>,
    /// Most specific first: the first that matches serves.
    pub routes: Vec<Arc<Route>>,
    /// By name.
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
    /// TLS of all listeners and upstreams.
    pub tls: Tls,
    /// How SIGTERM ends sessions.
    pub drain: Drain,
    /// What the process keeps for the sessions that it has.
    pub protection: Protection,
    /// Connections a second of one address that are heard while its clients are refused. `None`: all.
    pub early_returns: Option<u32>,
    /// Where the operator looks.
    pub admin: Admin,
    /// What is written, and where.
    pub log: Log,
}

/// A socket address or the path of a unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// `127.0.0.1:8080`, `[::]:8080`.
    Tcp(SocketAddr),
    /// `unix:/run/tidegate.sock`.
    Unix(PathBuf),
}

/// One `[[listen]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Where it listens; its identity across reloads and its metric label.
    pub address: Address,
    /// Where the address stands.
    pub place: Place,
    /// Certificates and whom they are for, where it speaks TLS.
    pub tls: Option<ListenTls>,
    /// Most streams of one HTTP/2 connection at a time, 1 to 1000. Default 100.
    pub http2_max_streams: u32,
    /// Which proxies stand before it, and how they say who the client is.
    pub trust: Arc<Trust>,
}

/// What a listener believes of those who connect to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Those who may say who the client is. Empty: nobody, and the client is whoever connects.
    pub proxies: Vec<Proxy>,
    /// Every connection begins with such a PROXY header; `None`: none does.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The header field that a trusted proxy says the client's address in.
    pub header: ForwardedFamily,
}

/// Who may say who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Whoever connects from one of these addresses.
    Net(IpNet),
    /// Whoever connects over a unix socket.
    Unix,
}

/// Versions of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// Either.
    Any,
    /// The line of text.
    V1,
    /// The binary header.
    V2,
}

/// The header fields that carry the client's address from proxy to proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedFamily {
    /// `X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and `X-Real-IP`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// One `[[route]]`, with `[defaults]` where it is silent.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Identity across reloads and metric label.
    pub name: String,
    /// Which hosts.
    pub host: Host,
    /// Prefix on whole segments; starts with `/`.
    pub path: String,
    /// Only requests that offer this subprotocol.
    pub subprotocol: Option<String>,
    /// Only requests that have all of these header fields; sorted.
    pub headers: Vec<Field>,
    /// Allowed `Origin` values, `scheme://host[:port]`, where `*.` may stand before the host; empty: any, also none.
    pub origins: Vec<String>,
    /// The name of its upstream.
    pub upstream: String,
    /// The session's contract.
    pub policy: Arc<Policy>,
    /// What frames may be.
    pub frames: Frames,
    /// TCP (and TLS) to the upstream. Default 3 s.
    pub connect_timeout: Duration,
    /// The upstream's whole answer to the upgrade. Default 10 s.
    pub handshake_timeout: Duration,
    /// How a refusal for overload is told; `None`: as suits the client that a request shows.
    pub on_overload: Option<OnOverload>,
    /// Most handshakes parked, and for how long: the governor's, but by route.
    pub max_waiting: u32,
    /// Most memory for them, in bytes. Default 320 MiB.
    pub max_waiting_bytes: u64,
    /// Wait before the 101 when full. Default 2.5 s.
    pub queue_timeout: Duration,
    /// Lowest hint. Default 1 s.
    pub retry_after: Duration,
    /// What becomes of sessions whose endpoint is removed.
    pub on_remove: OnRemove,
    /// Plain HTTP requests get 426.
    pub websocket_only: bool,
    /// How the upstream is told who the client is. Default [`ForwardAs::XForwarded`].
    pub forward_as: ForwardAs,
    /// What one client address may have.
    pub per_ip: PerIp,
    /// The token that a request must bring.
    pub jwt: Option<Arc<Jwt>>,
    /// Who is asked whether it may pass.
    pub forward_auth: Option<Arc<ForwardAuth>>,
    /// Most that the paced endings of one cause may take. Default 5 s.
    pub spread: Duration,
}

/// Which hosts a route serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Every host.
    Any,
    /// This one, in lower case, without port.
    Exact(String),
    /// Every name below this one: `*.example.com` is kept as `.example.com`.
    Below(String),
}

/// A header field that a request must have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field {
    /// In lower case.
    pub name: String,
    /// Its whole value; `None`: any.
    pub value: Option<String>,
}

/// How a refusal for overload is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnOverload {
    /// 101, then Close 1013 with the hint.
    Close1013,
    /// 503 with Retry-After.
    Http503,
    /// 1013 to requests with an `Origin` (scripts in browsers cannot see a status), 503 to others.
    Auto,
}

/// Which JSON Web Tokens let a request pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// A public key in PEM, a set of keys (JWKS), or a secret.
    pub key: FilePath,
    /// The only one that is taken.
    pub algorithm: JwtAlgorithm,
    /// What `iss` must be.
    pub issuer: Option<String>,
    /// What `aud` must be, or hold.
    pub audience: Option<String>,
    /// How far clocks may differ. Default 30 s.
    pub leeway: Duration,
    /// The cookie that may bring the token.
    pub cookie: Option<String>,
    /// The query parameter that may bring it.
    pub query: Option<String>,
    /// Whether a session ends when its token does. Default true.
    pub close_at_expiry: bool,
}

/// How tokens are signed (RFC 7518 section 3.1, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the RFC names them")]
pub enum JwtAlgorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Es256,
    Es384,
    EdDsa,
}

/// Who is asked whether a request may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardAuth {
    /// Where it is.
    pub address: ServerAddress,
    /// What it is called, for `Host`.
    pub host: String,
    /// TLS with it.
    pub tls: Option<UpstreamTls>,
    /// Path and query to ask for.
    pub target: String,
    /// For its whole answer. Default 3 s.
    pub timeout: Duration,
    /// Fields of its answer that the request takes upstream, in lower case.
    pub response_headers: Vec<String>,
}

/// What one client address may have of a route; an IPv6 address stands for its /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerIp {
    /// Sessions and handshakes in flight. `None`: as many as it likes.
    pub max_sessions: Option<u32>,
    /// Requests a second. `None`: as many as it likes.
    pub rate: Option<u32>,
    /// Requests that may come at once before the rate counts. Default 20.
    pub burst: u32,
    /// How it is told; `None`: as overload is, and a plain request by 429.
    pub told: Option<OnIpLimit>,
}

/// How a client is told that its address has or does too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnIpLimit {
    /// 101, then Close 1013 with the hint.
    Close1013,
    /// 429 with Retry-After.
    Http429,
    /// 503 with Retry-After.
    Http503,
}

/// The header fields in which an upstream is told who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardAs {
    /// `X-Forwarded-*` and `X-Real-IP`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// Both.
    Both,
}

/// What becomes of sessions whose endpoint a reload removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRemove {
    /// 1012, paced.
    Close,
    /// They go on.
    Keep,
}

/// One `[upstream.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Its endpoints. May be empty: then nobody is served, for a while.
    pub servers: Vec<Server>,
    /// Which endpoint a new session gets.
    pub balance: Balance,
    /// Whether a client goes where it went before.
    pub affinity: Affinity,
    /// How often names are looked up; `None`: at each dial.
    pub resolve_interval: Option<Duration>,
    /// The name server to ask; `None`: the system.
    pub resolver: Option<NameServer>,
    /// How endpoints are asked whether they are well.
    pub health: Option<Health>,
    /// Further endpoints that are tried for a client that does not wait. Default 3.
    pub retries: u32,
    /// How long a new endpoint's share grows.
    pub slow_start: Option<Duration>,
    /// Declared capacity, and how clients wait for it.
    pub capacity: Capacity,
    /// Whose turn it is when clients have to wait.
    pub sharing: Sharing,
    /// Whether what endpoints announce of their capacity counts. Default yes.
    pub announced_capacity: bool,
    /// TLS to the endpoints.
    pub tls: Option<UpstreamTls>,
    /// Each connection to an endpoint begins with a PROXY header of version 2 that says who the client is.
    pub proxy_protocol: bool,
    /// Metrics show each endpoint by itself, too. Default no.
    pub endpoint_metrics: bool,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `host:port` as written, or `unix:PATH`; identity across reloads.
    pub address: ServerAddress,
    /// Where the address stands.
    pub place: Place,
    /// Share of new sessions, 1 to 256. Default 1.
    pub weight: u32,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServerAddress {
    /// A name or an IP address, and a port.
    Tcp {
        /// DNS name in lower case, or IP address (IPv6 without brackets).
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
    /// A service: the DNS name, in lower case, of SRV records (RFC 2782) that say where its servers are.
    Srv(String),
}

/// Which endpoint a new session gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Fewest live sessions per weight. The default: sessions last, so counts are what differs.
    LeastSessions,
    /// The better of two drawn at random.
    PowerOfTwo,
    /// In turn.
    RoundRobin,
    /// By what [`Affinity::Hash`] says; without it, as [`Balance::LeastSessions`].
    Hash,
}

/// `[drain]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Closes are spread over most of it; at its end the rest is told at once. Default 30 s.
    pub window: Duration,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// `/metrics`, `/livez`, `/readyz`. Default `127.0.0.1:9180`. `None`: off.
    pub address: Option<Address>,
    /// Where the address stands, if it does.
    pub place: Place,
    /// A unix socket that also takes commands. Default none.
    pub socket: Option<FilePath>,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Where access lines go. Default stdout.
    pub access: AccessLog,
    /// Where that stands, if it does.
    pub place: Place,
    /// Level of the process log on stderr, as `RUST_LOG` has it. Default `info`.
    pub level: String,
    /// JSON or text; `None`: JSON unless stderr is a terminal.
    pub json: Option<bool>,
}

/// Where access lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Standard output.
    Stdout,
    /// Nowhere.
    Off,
    /// Appended to this file; reopened on SIGUSR1.
    File(PathBuf),
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            address: Some(Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 9180)))),
            place: Place::default(),
            socket: None,
        }
    }
}

impl Address {
    /// Whether the kernel chooses the port: two such addresses that look the same are not.
    pub(crate) fn is_any_port(&self) -> bool {
        matches!(self, Self::Tcp(address) if address.port() == 0)
    }
}

/// As the file writes it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// As the file writes it; an IPv6 address in brackets.
impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Srv(name) => write!(f, "srv:{name}"),
        }
    }
}

impl ServerAddress {
    /// Whom a certificate must be for. Of a service: its domain, for what DNS has led to is nobody's word (RFC 6125
    /// section 6.2.1). `None`: a unix socket has no name.
    #[must_use]
    pub fn verified_name(&self) -> Option<&str> {
        match self {
            Self::Tcp { host, .. } => Some(host),
            Self::Unix(_) => None,
            Self::Srv(name) => {
                let mut domain = name.as_str();
                while let Some((_, rest)) = domain.split_once('.').filter(|(label, _)| label.starts_with('_')) {
                    domain = rest;
                }
                Some(domain)
            }
        }
    }
}

/// As the file writes it; `*` for every host.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Below(suffix) => write!(f, "*{suffix}"),
        }
    }
}
