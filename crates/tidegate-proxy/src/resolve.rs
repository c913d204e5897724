//! Looks up the names of an upstream's servers again and again: each address is an endpoint.
//!
//! What was last found stays in force while nothing is found. An address that has gone takes nobody new at once, and its
//! sessions leave when it stays away.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak},
    time::Duration,
};

use tidegate_config::{ServerAddress, Upstream};
use tidegate_session::End;

use crate::{
    capacity::Capacity,
    endpoint::Endpoint,
    finder::Finder,
    members::{Located, is_for_servers},
    shared::Shared,
    task::Task,
    worker::Leave,
};

/// A name is looked up no more often, whatever its answer's TTL, and no more seldom after a failure than [`SOON`].
const LEAST: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(5);

/// One name of one upstream.
struct Lookups {
    upstream: Arc<Upstream>,
    server: ServerAddress,
    interval: Duration,
    finder: Finder,
    capacity: Weak<Capacity>,
    shared: Weak<Shared>,
}

/// Looks up the names of this upstream from now on.
pub(crate) fn watch(
    upstream: &Arc<Upstream>,
    finder: &Finder,
    capacity: &Arc<Capacity>,
    shared: &Weak<Shared>,
) -> Vec<Task> {
    let Some(interval) = upstream.resolve_interval else { return Vec::new() };
    let names = upstream.servers.iter().filter_map(|server| match &server.address {
        ServerAddress::Tcp { host, .. } if is_name(host) => Some(server.address.clone()),
        ServerAddress::Srv(_) => Some(server.address.clone()),
        _ => None,
    });
    let start = |server| {
        let (upstream, finder) = (upstream.clone(), finder.clone());
        let (capacity, shared) = (Arc::downgrade(capacity), shared.clone());
        tokio::spawn(Lookups { upstream, server, interval, finder, capacity, shared }.run()).into()
    };
    names.map(start).collect()
}

/// `localhost` is this host, whichever of its addresses the server is bound to (RFC 6761 section 6.3): one endpoint.
fn is_name(host: &str) -> bool {
    host.parse::<IpAddr>().is_err() && host != "localhost" && !host.ends_with(".localhost")
}

impl Lookups {
    async fn run(self) {
        let mut failing = false;
        loop {
            let found = self.finder.find(&self.server).await.and_then(|(all, valid)| Ok((usable(all)?, valid)));
            let (Some(capacity), Some(shared)) = (self.capacity.upgrade(), self.shared.upgrade()) else { return };
            let (upstream, name) = (self.upstream.name.as_str(), &self.server);
            let result = if found.is_ok() { "ok" } else { "failed" };
            shared.metrics.resolver_lookups.with_label_values(&[upstream, result]).inc();
            let next = match found {
                Ok((addresses, valid)) => {
                    if failing {
                        tracing::info!(upstream, %name, "name found again");
                    }
                    let gone = capacity.resolved(&self.server, &addresses);
                    if !gone.is_empty() {
                        self.leave(&shared, &gone);
                    }
                    valid.map_or(self.interval, |valid| valid.clamp(LEAST, self.interval.max(LEAST)))
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(upstream, %name, %error, "name not found; its last addresses stay");
                    }
                    self.interval.min(SOON)
                }
            };
            failing = result == "failed";
            drop((capacity, shared));
            tokio::time::sleep(next).await;
        }
    }

    fn leave(&self, shared: &Shared, gone: &[SocketAddr]) {
        tracing::info!(upstream = self.upstream.name, name = %self.server, addresses = ?gone, "addresses are gone");
        let endpoint = |at: &SocketAddr| Endpoint { server: self.server.clone(), at: Some(*at), tag: Box::default() };
        let endpoints = gone.iter().map(|at| Arc::new(endpoint(at))).collect();
        shared.leave(Leave { upstream: self.upstream.name.clone(), endpoints, end: End::EndpointRemoved });
    }
}

/// Those that servers may have; at least one.
fn usable(all: Vec<Located>) -> io::Result<Vec<Located>> {
    let none = all.is_empty();
    let usable: Vec<_> = all.into_iter().filter(|located| is_for_servers(located.at.ip())).collect();
    if usable.is_empty() {
        return Err(io::Error::other(if none { "no address" } else { "no address of a server" }));
    }
    Ok(usable)
}
