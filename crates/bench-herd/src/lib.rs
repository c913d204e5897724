//! A herd on real sockets: thousands of clients that come back each in its library's way, and a server whose handshakes
//! cost it real time, so that too many at once ruin it. What the simulator does with numbers, with connections.

mod aside;
pub mod bystanders;
pub mod client;
pub mod herd;
pub mod server;
pub mod work;

pub use aside::Haste;
pub use bystanders::{Bystanders, P99};
pub use client::Kind;
pub use herd::{Crowd, Herd};
pub use server::Server;
pub use work::Capacity;
