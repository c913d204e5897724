//! Who is believed when it says who the client is.

use std::net::IpAddr;

use crate::config::{Proxy, Trust};

impl Trust {
    /// Whether whoever connects from there is a trusted proxy; `None`: over a unix socket.
    #[must_use]
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        let peer = peer.map(|peer| peer.to_canonical());
        self.proxies.iter().any(|proxy| match (proxy, peer) {
            (Proxy::Unix, None) => true,
            (Proxy::Net(net), Some(peer)) => net.contains(&peer),
            _ => false,
        })
    }
}
