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
    capacity::Capacity, endpoint::Endpoint, members::is_for_servers, shared::Shared, task::Task, worker::Leave,
};

/// A name is looked up no more often, whatever its answer's TTL, and no more seldom after a failure than [`SOON`].
const LEAST: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(5);

/// One name of one upstream.
struct Lookups {
    upstream: Arc<Upstream>,
    server: ServerAddress,
    host: String,
    port: u16,
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
        ServerAddress::Tcp { host, port } if is_name(host) => Some((server.address.clone(), host.clone(), *port)),
        _ => None,
    });
    let start = |(server, host, port)| {
        let (upstream, finder) = (upstream.clone(), finder.clone());
        let (capacity, shared) = (Arc::downgrade(capacity), shared.clone());
        tokio::spawn(Lookups { upstream, server, host, port, interval, finder, capacity, shared }.run()).into()
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
            let found = self.finder.find(&self.host).await.and_then(|(ips, valid)| Ok((self.usable(&ips)?, valid)));
            let (Some(capacity), Some(shared)) = (self.capacity.upgrade(), self.shared.upgrade()) else { return };
            let (upstream, host) = (self.upstream.name.as_str(), self.host.as_str());
            let result = if found.is_ok() { "ok" } else { "failed" };
            shared.metrics.resolver_lookups.with_label_values(&[upstream, result]).inc();
            let next = match found {
                Ok((addresses, valid)) => {
                    if failing {
                        tracing::info!(upstream, host, "name found again");
                    }
                    let gone = capacity.resolved(&self.server, &addresses);
                    if !gone.is_empty() {
                        self.leave(&shared, &gone);
                    }
                    valid.map_or(self.interval, |valid| valid.clamp(LEAST, self.interval.max(LEAST)))
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(upstream, host, %error, "name not found; its last addresses stay");
                    }
                    self.interval.min(SOON)
                }
            };
            failing = result == "failed";
            drop((capacity, shared));
            tokio::time::sleep(next).await;
        }
    }

    fn usable(&self, ips: &[IpAddr]) -> io::Result<Vec<SocketAddr>> {
        let usable: Vec<_> = ips.iter().filter(|ip| is_for_servers(**ip)).map(|ip| (*ip, self.port).into()).collect();
        if usable.is_empty() {
            return Err(io::Error::other(if ips.is_empty() { "no address" } else { "no address of a server" }));
        }
        Ok(usable)
    }

    fn leave(&self, shared: &Shared, gone: &[SocketAddr]) {
        tracing::info!(upstream = self.upstream.name, host = self.host, addresses = ?gone, "addresses are gone");
        let endpoint = |at: &SocketAddr| Endpoint { server: self.server.clone(), at: Some(*at), tag: Box::default() };
        let endpoints = gone.iter().map(|at| Arc::new(endpoint(at))).collect();
        shared.leave(Leave { upstream: self.upstream.name.clone(), endpoints, end: End::EndpointRemoved });
    }
}

/// Who is asked.
#[derive(Clone)]
pub(crate) enum Finder {
    /// The system: files, name servers, and whatever else it has.
    System,
    /// A name server of the operator's choice.
    #[cfg(feature = "dns")]
    Server(Box<hickory_resolver::TokioResolver>),
}

impl Finder {
    /// Who an upstream's names are asked of.
    ///
    /// # Errors
    /// This build cannot ask a name server.
    pub(crate) fn new(upstream: &Upstream) -> io::Result<Self> {
        match upstream.resolver {
            None => Ok(Self::System),
            #[cfg(feature = "dns")]
            Some(server) => name_server(server).map(Box::new).map(Self::Server),
            #[cfg(not(feature = "dns"))]
            Some(_) => Err(io::Error::other(format!(
                "upstream `{}`: this tidegate was built without the feature `dns`, which `resolver` needs",
                upstream.name
            ))),
        }
    }

    /// The addresses, all of one family so that no server is counted twice, and how long they hold.
    async fn find(&self, host: &str) -> io::Result<(Vec<IpAddr>, Option<Duration>)> {
        match self {
            Self::System => {
                // In the order that RFC 6724 gives them: the first is of the family that is to be used.
                let all: Vec<IpAddr> = tokio::net::lookup_host((host, 0)).await?.map(|at| at.ip()).collect();
                let v4 = all.first().is_some_and(IpAddr::is_ipv4);
                Ok((all.into_iter().filter(|ip| ip.is_ipv4() == v4).collect(), None))
            }
            #[cfg(feature = "dns")]
            Self::Server(resolver) => {
                // Without search domains: the name is whole.
                let found = resolver.lookup_ip(format!("{host}.")).await.map_err(io::Error::other)?;
                let valid = found.valid_until().saturating_duration_since(crate::clock::now());
                Ok((found.iter().collect(), Some(valid)))
            }
        }
    }
}

#[cfg(feature = "dns")]
fn name_server(server: SocketAddr) -> io::Result<hickory_resolver::TokioResolver> {
    use hickory_resolver::{
        Resolver,
        config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig},
        net::runtime::TokioRuntimeProvider,
    };
    let mut name_server = NameServerConfig::udp_and_tcp(server.ip());
    for connection in &mut name_server.connections {
        connection.port = server.port();
    }
    let config = ResolverConfig::from_name_servers(vec![name_server]);
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    options.timeout = Duration::from_secs(2);
    builder.build().map_err(io::Error::other)
}
