//! What `[upstream.NAME]` says of choosing among its servers, of asking after them and of finding them.

use std::{net::SocketAddr, time::Duration};

use crate::{config::Upstream, file::Place};

/// Whether a client's sessions go where its earlier ones went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// Each goes wherever the balance says.
    #[default]
    None,
    /// All with the same value go to the same server.
    Hash(HashOn),
    /// A cookie of tidegate's own names the server.
    Sticky(Sticky),
}

impl Upstream {
    /// Its sticky cookie.
    #[must_use]
    pub fn sticky(&self) -> Option<&Sticky> {
        match &self.affinity {
            Affinity::Sticky(sticky) => Some(sticky),
            _ => None,
        }
    }
}

/// What is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOn {
    /// The client's address, without port.
    ClientIp,
    /// The value of a request header, in lower case.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
}

/// The cookie that names a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// Its name.
    pub cookie: String,
    /// What keeps its value opaque; `None`: drawn when the process starts.
    pub secret: Option<String>,
    /// Its `Path`. Default `/`.
    pub path: String,
    /// Its `SameSite`. Default `Lax`.
    pub same_site: SameSite,
    /// Whether it is `Secure` also where the client came without TLS. Default no.
    pub always_secure: bool,
    /// Its `Max-Age`; `None`: until the browser ends.
    pub max_age: Option<Duration>,
}

/// Who is asked for names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameServer {
    /// Where it is.
    pub address: SocketAddr,
    /// Where that stands.
    pub place: Place,
}

/// How servers are asked whether they are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked.
    pub check: Check,
    /// From the end of one check of a server to the next, a tenth more or less. Default 5 s.
    pub interval: Duration,
    /// For a whole check. Default 2 s.
    pub timeout: Duration,
    /// Good checks on end after which a server is up again. Default 2.
    pub rise: u32,
    /// Failed checks on end after which it is down. Default 3.
    pub fall: u32,
    /// Whether the sessions of a server that is down are ended. Default no.
    pub close_when_down: bool,
}

/// What a check asks of a server, over TLS where sessions are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A connection.
    Tcp,
    /// A GET.
    Http {
        /// Of what, and as which host; `None`: the server's.
        target: Target,
        /// Lowest and highest status that is good.
        status: (u16, u16),
    },
    /// A WebSocket that answers a ping.
    WebSocket {
        /// Where.
        target: Target,
        /// What is offered.
        subprotocol: Option<String>,
    },
}

/// What a check asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// With its query.
    pub path: String,
    /// `Host`; `None`: the server's address.
    pub host: Option<String>,
}

/// Where a browser sends a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// To its own site, and with a navigation to it.
    Lax,
    /// To its own site alone.
    Strict,
    /// From everywhere.
    None,
}

impl SameSite {
    /// As the cookie has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::Strict => "Strict",
            Self::None => "None",
        }
    }
}
