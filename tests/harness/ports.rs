//! Ports for processes that must be told one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// The range handed out: below the ephemeral range (from 32768 on Linux), so that no outgoing connection of a test
/// takes a port between our choice and the process's bind.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// An address on loopback that nothing listens on.
///
/// # Panics
/// When the whole range is taken.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run side by side start at different places.
    let offset = (std::process::id() as u16).wrapping_mul(97);
    (0..COUNT)
        .map(|_| {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + offset.wrapping_add(step) % COUNT))
        })
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("a free port on loopback")
}
