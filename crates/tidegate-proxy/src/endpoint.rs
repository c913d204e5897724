//! One endpoint of an upstream, as those who dial it and count for it know it.

use std::{fmt, net::SocketAddr};

use tidegate_config::ServerAddress;

/// A server of the configuration, at one of its addresses.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    /// As the file has it: what a reload compares, and the name that TLS verifies.
    pub(crate) server: ServerAddress,
    /// Where its name leads. `None`: the file has the address itself, or each dial looks the name up.
    pub(crate) at: Option<SocketAddr>,
    /// What a sticky cookie calls it; empty: nothing does.
    pub(crate) tag: Box<str>,
}

impl Endpoint {
    /// Whether it is the same one, whatever cookies call it.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (&self.server, self.at) == (&other.server, other.at)
    }
}

/// Its address, as metrics and logs have it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(address) => address.fmt(f),
            None => self.server.fmt(f),
        }
    }
}
