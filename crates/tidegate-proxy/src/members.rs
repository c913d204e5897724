//! Who stands behind an upstream: its servers, each at the addresses that its name has.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use tidegate_config::{Server, ServerAddress, Sticky, Upstream};

use crate::{affinity, endpoint::Endpoint};

/// Answers on end that an address is missing from before its sessions leave it: an answer may show a part of the
/// addresses only, another each time.
const MISSES: u8 = 3;

#[derive(Default)]
pub(crate) struct Members {
    servers: Vec<Server>,
    sticky: Option<Sticky>,
    /// The addresses of names, and how many answers each was missing from.
    found: HashMap<ServerAddress, Vec<(SocketAddr, u8)>>,
}

impl Members {
    /// A reload. What was found for names that stay is kept while they are looked up.
    pub(crate) fn configure(&mut self, upstream: &Upstream) {
        self.servers.clone_from(&upstream.servers);
        self.sticky = upstream.sticky().cloned();
        let looked_up = upstream.resolve_interval.is_some();
        self.found.retain(|address, _| looked_up && upstream.servers.iter().any(|it| it.address == *address));
    }

    /// Each endpoint once, with its weight. One that only the last answers are missing takes nobody new: weight 0. A name
    /// without an answer is an endpoint itself, and looked up at each dial.
    pub(crate) fn list(&self) -> Vec<(Endpoint, u32)> {
        let mut keys = HashSet::new();
        let mut list = Vec::new();
        for server in &self.servers {
            let all = match self.found.get(&server.address) {
                Some(found) => {
                    found.iter().map(|&(at, missed)| (Some(at), if missed == 0 { server.weight } else { 0 })).collect()
                }
                None => vec![(None, server.weight)],
            };
            for (at, weight) in all {
                let mut endpoint = Endpoint { server: server.address.clone(), at, tag: Box::default() };
                let key = endpoint.to_string();
                if let Some(sticky) = &self.sticky {
                    endpoint.tag = affinity::tag(sticky, &key);
                }
                if keys.insert(key) {
                    list.push((endpoint, weight));
                }
            }
        }
        list
    }

    /// A name has these addresses now. Returns those that it has no longer.
    pub(crate) fn answered(&mut self, server: &ServerAddress, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let found = self.found.entry(server.clone()).or_default();
        for (at, missed) in found.iter_mut() {
            *missed = if addresses.contains(at) { 0 } else { *missed + 1 };
        }
        let new: Vec<_> = addresses.iter().filter(|at| found.iter().all(|(known, _)| known != *at)).copied().collect();
        found.extend(new.into_iter().map(|at| (at, 0)));
        let gone = found.iter().filter(|(_, missed)| *missed >= MISSES).map(|(at, _)| *at).collect();
        found.retain(|(_, missed)| *missed < MISSES);
        gone
    }
}

/// Whether a name may lead there. Not to the machine's own metadata service, nor to everybody: an answer of DNS is no
/// word of the operator's.
pub(crate) fn is_for_servers(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !(ip.is_link_local() || ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast()),
        IpAddr::V6(ip) => !(ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast()),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_config::Place;

    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    #[test]
    fn an_address_takes_nobody_once_it_is_missing_and_is_gone_after_three_answers() {
        let server = ServerAddress::Tcp { host: "chat.internal".into(), port: 80 };
        let mut members = Members {
            servers: vec![Server { address: server.clone(), place: Place::default(), weight: 7 }],
            ..Members::default()
        };
        let shown = |members: &Members| -> Vec<(String, u32)> {
            members.list().into_iter().map(|(endpoint, weight)| (endpoint.to_string(), weight)).collect()
        };
        assert_eq!(shown(&members), [("chat.internal:80".into(), 7)], "no answer yet");
        assert!(members.answered(&server, &[address(1), address(2)]).is_empty());
        assert_eq!(shown(&members), [("10.0.0.1:80".into(), 7), ("10.0.0.2:80".into(), 7)]);
        assert!(members.answered(&server, &[address(2), address(3)]).is_empty());
        assert_eq!(shown(&members)[0], ("10.0.0.1:80".into(), 0));
        assert!(members.answered(&server, &[address(1)]).is_empty());
        assert_eq!(shown(&members)[0], ("10.0.0.1:80".into(), 7), "it was another part of the addresses");
        assert!(members.answered(&server, &[address(1)]).is_empty());
        assert_eq!(members.answered(&server, &[address(1)]), [address(2), address(3)]);
        assert_eq!(shown(&members), [("10.0.0.1:80".into(), 7)]);
    }

    #[test]
    fn names_lead_to_servers() {
        for good in ["10.0.0.1", "127.0.0.1", "192.0.2.1", "::1", "2001:db8::1", "fd00::1"] {
            assert!(is_for_servers(good.parse().unwrap()), "{good}");
        }
        for bad in ["169.254.169.254", "0.0.0.0", "224.0.0.1", "::", "fe80::1", "::ffff:169.254.169.254"] {
            assert!(!is_for_servers(bad.parse().unwrap()), "{bad}");
        }
    }
}
