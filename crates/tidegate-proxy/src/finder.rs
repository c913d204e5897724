//! Where servers are that have a name: asks the system, or a name server.

use std::{io, net::SocketAddr, time::Duration};

use tidegate_config::{Fault, ServerAddress, Upstream};

use crate::members::Located;

/// Who is asked.
#[derive(Clone)]
pub(crate) enum Finder {
    /// The system: files, name servers, and whatever else it has.
    System,
    /// A name server of the operator's choice.
    #[cfg(feature = "dns")]
    Server(Box<hickory_resolver::TokioResolver>),
}

/// Addresses, and how long they hold, where that is known.
pub(crate) type Answer = (Vec<Located>, Option<Duration>);

impl Finder {
    /// Who an upstream's names are asked of.
    ///
    /// # Errors
    /// This build cannot ask a name server.
    pub(crate) fn new(upstream: &Upstream) -> Result<Self, Fault> {
        match &upstream.resolver {
            None => Ok(Self::System),
            #[cfg(feature = "dns")]
            Some(server) => match dns::resolver(server.address) {
                Ok(resolver) => Ok(Self::Server(Box::new(resolver))),
                Err(error) => Err(server.place.fault(error.to_string())),
            },
            #[cfg(not(feature = "dns"))]
            Some(server) => {
                Err(server.place.fault("`resolver`: this tidegate was built without it (cargo feature `dns`)"))
            }
        }
    }

    /// Where this server is. The addresses of a host are all of one family, so that no server is counted twice.
    ///
    /// # Errors
    /// It cannot be found out now.
    pub(crate) async fn find(&self, server: &ServerAddress) -> io::Result<Answer> {
        match (self, server) {
            #[cfg(feature = "dns")]
            (Self::Server(resolver), ServerAddress::Tcp { host, port }) => dns::host(resolver, host, *port).await,
            #[cfg(feature = "dns")]
            (Self::Server(resolver), ServerAddress::Srv(name)) => dns::service(resolver, name).await,
            (Self::System, ServerAddress::Tcp { host, port }) => {
                // In the order that RFC 6724 gives them: the first is of the family that is to be used.
                let all: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), *port)).await?.collect();
                let v4 = all.first().is_some_and(SocketAddr::is_ipv4);
                Ok((all.into_iter().filter(|at| at.is_ipv4() == v4).map(Located::alone).collect(), None))
            }
            // The configuration allows no service without a name server.
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

#[cfg(feature = "dns")]
mod dns {
    use std::{
        io,
        net::SocketAddr,
        time::{Duration, Instant},
    };

    use futures_util::future::join_all;
    use hickory_resolver::{
        Resolver, TokioResolver,
        config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig},
        net::{NetError, runtime::TokioRuntimeProvider},
        proto::rr::{RData, rdata::SRV},
    };

    use super::Answer;
    use crate::{clock, members::Located};

    pub(super) fn resolver(server: SocketAddr) -> io::Result<TokioResolver> {
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

    /// Without search domains: the name is whole.
    fn whole(name: &str) -> String {
        format!("{}.", name.strip_suffix('.').unwrap_or(name))
    }

    pub(super) async fn host(resolver: &TokioResolver, host: &str, port: u16) -> io::Result<Answer> {
        let found = resolver.lookup_ip(whole(host)).await.map_err(io::Error::other)?;
        let all = found.iter().map(|ip| Located::alone((ip, port).into()));
        Ok((all.collect(), Some(until(found.valid_until()))))
    }

    /// RFC 2782. A target that does not exist is left out; one that cannot be asked about now leaves no answer at all, for
    /// what is missing from an answer has gone.
    pub(super) async fn service(resolver: &TokioResolver, name: &str) -> io::Result<Answer> {
        let found = resolver.srv_lookup(whole(name)).await.map_err(io::Error::other)?;
        let mut valid = found.valid_until();
        let mut records: Vec<&SRV> = Vec::new();
        for record in found.answers() {
            // The target `.`: there is no such service.
            if let RData::SRV(record) = &record.data
                && !record.target.is_root()
            {
                records.push(record);
            }
        }
        records.sort_by_key(|record| record.priority);
        let targets = join_all(records.iter().map(|record| resolver.lookup_ip(record.target.to_string()))).await;
        let mut located: Vec<Located> = Vec::new();
        for (record, target) in weighed(&records).into_iter().zip(targets) {
            let (record, weight) = record;
            let target = match target {
                Ok(target) => target,
                Err(error) if is_nowhere(&error) => continue,
                Err(error) => return Err(io::Error::other(format!("{}: {error}", record.target))),
            };
            valid = valid.min(target.valid_until());
            for ip in target.iter() {
                let at = SocketAddr::from((ip, record.port));
                // In the order of their priorities: the first is the one that counts.
                if located.iter().all(|known| known.at != at) {
                    located.push(Located { at, weight, priority: record.priority });
                }
            }
        }
        Ok((located, Some(until(valid))))
    }

    fn until(valid: Instant) -> Duration {
        valid.saturating_duration_since(clock::now())
    }

    fn is_nowhere(error: &NetError) -> bool {
        error.is_nx_domain() || error.is_no_records_found()
    }

    /// Records, sorted by priority, each with its weight in least terms. Weight 0 beside others is a hundredth of the least
    /// of them, alone it is one as good as another.
    fn weighed<'r>(records: &[&'r SRV]) -> Vec<(&'r SRV, u32)> {
        let mut weighed = Vec::new();
        for equals in records.chunk_by(|one, next| one.priority == next.priority) {
            let divisor = equals.iter().fold(0, |divisor, record| common_divisor(divisor, record.weight)).max(1);
            let factor = if equals.iter().any(|record| record.weight == 0) { 100 } else { 1 };
            let weight = |record: &SRV| (u32::from(record.weight / divisor) * factor).max(1);
            weighed.extend(equals.iter().map(|record| (*record, weight(record))));
        }
        weighed
    }

    fn common_divisor(a: u16, b: u16) -> u16 {
        if b == 0 { a } else { common_divisor(b, a % b) }
    }

    #[cfg(test)]
    mod tests {
        use hickory_resolver::proto::rr::Name;

        use super::*;

        #[test]
        fn weights_are_in_least_terms_within_each_priority() {
            let weights = |records: &[(u16, u16)]| {
                let records: Vec<SRV> =
                    records.iter().map(|&(priority, weight)| SRV::new(priority, weight, 80, Name::root())).collect();
                weighed(&records.iter().collect::<Vec<_>>()).iter().map(|(_, weight)| *weight).collect::<Vec<_>>()
            };
            assert_eq!(weights(&[(0, 60), (0, 20), (0, 20)]), [3, 1, 1]);
            assert_eq!(weights(&[(0, 0), (0, 0)]), [1, 1]);
            assert_eq!(weights(&[(0, 0), (0, 10), (0, 20)]), [1, 100, 200]);
            assert_eq!(weights(&[(1, 65535), (1, 65534), (2, 5), (2, 5)]), [65535, 65534, 1, 1]);
            assert_eq!(weights(&[]), [0; 0]);
        }
    }
}
