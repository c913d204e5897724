//! What `[upstream.NAME]` says of whose turn it is when clients have to wait.

use ipnet::IpNet;

/// Which clients are of one class, and which of one tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sharing {
    /// At most [`Sharing::MOST_CLASSES`]; the first that has a rule for a client is its class.
    pub classes: Vec<Class>,
    /// What tells tenants apart; `None`: all clients are of one.
    pub tenant: Option<TenantBy>,
}

/// Clients that a share of the admissions is set aside for.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// Its metric label; never [`Sharing::REST`].
    pub name: String,
    /// Above 0, at most 1; those of an upstream's classes add up to 1 at most.
    pub share: f64,
    /// A client that one of these matches is of this class. Never empty.
    pub clients: Vec<Rule>,
}

/// Which clients are of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Whose address is one of these.
    ClientIp(IpNet),
    /// Whose path has this prefix on whole segments.
    Path(String),
    /// Whose header has this value, or any; the name in lower case.
    Header(String, Option<String>),
    /// Whose cookie has this value, or any.
    Cookie(String, Option<String>),
}

/// What is the same for all clients of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantBy {
    /// The client's address; an IPv6 address stands for its /64.
    ClientIp,
    /// The host that was asked for, without port.
    Host,
    /// This segment of the path, from 1.
    Path(u8),
    /// The value of a request header, its name in lower case.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
}

impl Sharing {
    /// Most classes that an upstream may have beside [`Self::REST`].
    pub const MOST_CLASSES: usize = 3;
    /// The class of all other clients.
    pub const REST: &str = "default";

    /// The classes in the governor's order with what is set aside for each; [`Self::REST`] is the last.
    pub fn shares(&self) -> impl Iterator<Item = (&str, f64)> {
        let rest = (1.0 - self.classes.iter().map(|class| class.share).sum::<f64>()).max(0.0);
        self.classes.iter().map(|class| (class.name.as_str(), class.share)).chain([(Self::REST, rest)])
    }
}
