//! What the end-to-end tests stand on: a tidegate process of their own, peers that judge every byte, and the real
//! clients and servers of other ecosystems.
//!
//! Everything waits for events with a deadline (see [`clock`]); nothing sleeps and hopes.

pub mod access_log;
pub mod browser;
pub mod certificate;
pub mod clock;
pub mod http;
pub mod http2;
pub mod metrics;
pub mod name_server;
pub mod openssl;
pub mod peer_proxy;
pub mod ports;
pub mod prometheus;
pub mod raw;
pub mod scratch;
pub mod script;
mod starve;
pub mod tidegate;
pub mod tools;

pub use access_log::Record;
pub use clock::{PATIENCE, eventually, within};
pub use http2::Http2;
pub use metrics::Metrics;
pub use peer_proxy::PeerProxy;
pub use raw::{Echo, Frame, Handshake, Peer, Upstream};
pub use script::{Backend, Runtime};
pub use starve::Starved;
pub use tidegate::{Setup, Successor, Tidegate};
