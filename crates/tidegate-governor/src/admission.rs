//! The words in which the governor and the owner of the sockets speak.

use std::time::{Duration, Instant};

use crate::holders::HolderId;

/// An endpoint of this governor. Never given to another endpoint, even after its own has gone away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub(crate) u32);

/// A parked client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    /// How many parked before it.
    pub(crate) serial: u64,
    /// Its place in the queue's table.
    pub(crate) place: u32,
}

/// A client asks to enter. `Ask::default()` is a client like any other that asks for the first time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// Endpoints that have turned this client away already. One of them is given to it again only when it has cooled
    /// down and no other can take the client. A timeout or a 5xx alone brings no cool-down, so a caller that asks again
    /// after one may be sent to the same endpoint at once.
    pub tried: &'a [EndpointId],
    /// The deadline of the first ask when this client asks again, so that it waits `queue_timeout` once in all.
    /// `None` on the first ask.
    pub deadline: Option<Instant>,
    /// Where it should go if it can.
    pub wish: Wish,
    /// 0 to 3 ([`CLASSES`](crate::CLASSES) - 1); what each is guaranteed is in [`Limits::shares`](crate::Limits::shares). Without shares 3 gets what there
    /// is and the others next to nothing, so where nothing is configured everybody is of one class. Default 0.
    pub class: u8,
    /// Whose client this is: any number that is the same for all clients of one tenant. Tenants that wait take turns,
    /// however many clients each of them has, and where sessions are limited those go first that hold fewer. Default 0:
    /// all are of one tenant.
    pub tenant: u64,
    /// What the caller holds for this client while it waits. Default 0.
    pub bytes: u32,
    /// The client's address as a number (IPv4 whole, IPv6 its /64): in overload who came back at once after a refusal
    /// goes behind who stayed away. `None`: not known, treated as never refused.
    pub address: Option<u64>,
}

impl Ticket {
    /// Where a table of those who wait may keep it: below the most that ever waited at once, and its alone until its
    /// [`Event`]. One that gave way to a newcomer may have lost it to that before.
    pub fn place(self) -> usize {
        self.place as usize
    }
}

/// Where a client should go. It goes elsewhere when that endpoint cannot take it, and never waits for it alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Wherever the balance says.
    #[default]
    Any,
    /// To the endpoint that all clients with this hash go to. An endpoint that comes or goes moves its own share of the
    /// clients and no other: rendezvous hashing, by weight. Make it with [`hash`](fn@crate::hash).
    Hash(u64),
    /// To this one, which it has been to before.
    Endpoint(EndpointId),
}

/// What becomes of an [`Ask`].
#[derive(Debug)]
pub enum Verdict {
    /// Dial now.
    Admit(Permit),
    /// Hold the client without an answer; an [`Event`] comes at the latest at this deadline.
    Wait(Ticket, Instant),
    /// Answer now.
    Refuse(Refusal),
}

/// The wait of a parked client is over.
#[derive(Debug)]
pub struct Event {
    /// Whose.
    pub ticket: Ticket,
    /// And how.
    pub verdict: Parked,
}

/// How a wait ended.
#[derive(Debug)]
pub enum Parked {
    /// Dial now.
    Admit(Permit),
    /// Answer now.
    Refuse(Refusal),
}

/// The right to one handshake with an endpoint, and to the session that comes of it.
///
/// It cannot be cloned and comes back exactly once, through [`Governor::release`](crate::Governor::release).
#[derive(Debug)]
#[must_use = "a permit that is not released holds its place for ever"]
pub struct Permit {
    /// The endpoint to dial.
    pub endpoint: EndpointId,
    /// How many permits were issued before it.
    pub(crate) serial: u64,
    pub(crate) stage: Stage,
    pub(crate) class: u8,
    pub(crate) holder: HolderId,
}

/// Where the holder of a [`Permit`] stands. Each step is taken once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Handshake,
    Session,
    Ended,
}

/// Why a client does not enter, and when it may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Which limit it was: the configuration's key, or `handshakes_measured`, `sessions_learned` and the like. `None`:
    /// none was in its way, an endpoint's rest or the turn of others was.
    pub limit: Option<&'static str>,
    /// Whole seconds, already jittered for this client.
    pub retry_after: u32,
}

/// Why a client does not enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// `max_sessions` is reached or what is left is for tenants that hold fewer, more goes through than may, or every
    /// endpoint has as many handshakes in flight as it can take.
    Overload,
    /// Every endpoint holds as many sessions as it may.
    UpstreamFull,
    /// No endpoint is configured, or every one cools down after failures.
    NoUpstream,
    /// An endpoint said so itself, and no other can take the client.
    UpstreamOverloaded,
    /// `max_waiting` clients are parked, or `max_waiting_bytes` held for them, and this one's tenant has the most of
    /// them, or had when another took its place. Told at once, by an HTTP status.
    QueueFull,
}

/// How a handshake went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A valid 101.
    Established {
        /// From the dial to the 101.
        latency: Duration,
    },
    /// The connection was refused or the host unreachable.
    ConnectFailed,
    /// No answer in time, to the dial or to the request.
    TimedOut,
    /// A 5xx other than 503, a connection closed without an answer, a bad 101.
    Failed,
    /// 503 or 429.
    Overloaded {
        /// What its `Retry-After` asked for.
        retry_after: Option<Duration>,
    },
    /// Any other answer, 4xx for example. Says nothing about the endpoint's load.
    Refused,
    /// Our client went away first.
    Cancelled,
}
