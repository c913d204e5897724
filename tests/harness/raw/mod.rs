//! A WebSocket peer of our own that forgives nothing, and can itself break every rule.
//!
//! It shares no code with tidegate, so that a mistake in tidegate's codec is not repeated here.

mod frame;
mod handshake;
mod inbound;
mod judge;
mod pattern;
mod peer;
mod upstream;

pub use frame::{Frame, opcode};
pub use handshake::Handshake;
pub use inbound::{Ending, Event};
pub use judge::Sender;
pub use peer::{Close, Message, Peer};
pub use upstream::{Arrival, Echo, Upstream, pair};
