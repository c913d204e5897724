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
    /// What names lead to.
    found: HashMap<ServerAddress, Found>,
    /// Whether some endpoints may stand by for others.
    pub(crate) have_standbys: bool,
}

/// An address that a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) at: SocketAddr,
    /// Its share among those of the name.
    pub(crate) weight: u32,
    /// Of a service: those with a higher number stand by.
    pub(crate) priority: u16,
}

impl Located {
    /// Of a host, whose addresses are all equal.
    pub(crate) fn alone(at: SocketAddr) -> Self {
        Self { at, weight: 1, priority: 0 }
    }
}

#[derive(Default)]
struct Found {
    /// Each with how many answers it was missing from.
    known: Vec<(Located, u8)>,
    /// The highest priority number that new clients may go to.
    open_to: u16,
}

impl Members {
    /// A reload. What was found for names that stay is kept while they are looked up.
    pub(crate) fn configure(&mut self, upstream: &Upstream) {
        self.servers.clone_from(&upstream.servers);
        self.sticky = upstream.sticky().cloned();
        let looked_up = upstream.resolve_interval.is_some();
        self.found.retain(|address, _| looked_up && upstream.servers.iter().any(|it| it.address == *address));
        self.have_standbys = self.found.values().any(Found::has_standbys);
    }

    /// Each endpoint once, with its weight. One that only the last answers are missing, or that stands by, takes nobody
    /// new: weight 0. A host without an answer is an endpoint itself, and looked up at each dial.
    pub(crate) fn list(&self) -> Vec<(Endpoint, u32)> {
        let mut keys = HashSet::new();
        let mut list = Vec::new();
        for server in &self.servers {
            let all = match self.found.get(&server.address) {
                Some(found) => found.list(server.weight),
                None if matches!(server.address, ServerAddress::Srv(_)) => Vec::new(),
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

    /// A name leads there now. Returns the addresses that it has no longer.
    pub(crate) fn answered(&mut self, server: &ServerAddress, answer: &[Located]) -> Vec<SocketAddr> {
        let Found { known, .. } = self.found.entry(server.clone()).or_default();
        for (located, missed) in known.iter_mut() {
            match answer.iter().find(|new| new.at == located.at) {
                Some(new) => (*located, *missed) = (new.clone(), 0),
                None => *missed += 1,
            }
        }
        let new: Vec<_> = answer.iter().filter(|new| known.iter().all(|(old, _)| old.at != new.at)).cloned().collect();
        known.extend(new.into_iter().map(|located| (located, 0)));
        let gone = known.iter().filter(|(_, missed)| *missed >= MISSES).map(|(located, _)| located.at).collect();
        known.retain(|(_, missed)| *missed < MISSES);
        self.have_standbys = self.found.values().any(Found::has_standbys);
        gone
    }

    /// Opens each service to its lowest priority of which an endpoint is well, or to all where none is (RFC 2782). Whether
    /// that changes anything.
    pub(crate) fn stand_by(&mut self, is_well: impl Fn(&ServerAddress, SocketAddr) -> bool) -> bool {
        let mut changed = false;
        for (server, found) in &mut self.found {
            let here = found.known.iter().filter(|(_, missed)| *missed == 0).map(|(located, _)| located);
            let well = here.filter(|located| is_well(server, located.at)).map(|located| located.priority).min();
            let open_to = well.unwrap_or(u16::MAX);
            changed |= std::mem::replace(&mut found.open_to, open_to) != open_to;
        }
        changed
    }
}

impl Found {
    fn has_standbys(&self) -> bool {
        self.known.windows(2).any(|pair| pair[0].0.priority != pair[1].0.priority)
    }

    fn list(&self, weight: u32) -> Vec<(Option<SocketAddr>, u32)> {
        let takes = |located: &Located, missed: u8| missed == 0 && located.priority <= self.open_to;
        let share = |located: &Located, missed| if takes(located, missed) { weight * located.weight } else { 0 };
        self.known.iter().map(|(located, missed)| (Some(located.at), share(located, *missed))).collect()
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

    fn located(last: u8, weight: u32, priority: u16) -> Located {
        Located { at: address(last), weight, priority }
    }

    fn hosts(last: &[u8]) -> Vec<Located> {
        last.iter().map(|&last| located(last, 1, 0)).collect()
    }

    fn shown(members: &Members) -> Vec<(String, u32)> {
        members.list().into_iter().map(|(endpoint, weight)| (endpoint.to_string(), weight)).collect()
    }

    #[test]
    fn a_service_is_open_to_its_lowest_priority_that_is_well() {
        let server = ServerAddress::Srv("_ws._tcp.chat.internal".into());
        let mut members = Members {
            servers: vec![Server { address: server.clone(), place: Place::default(), weight: 2 }],
            ..Members::default()
        };
        assert!(shown(&members).is_empty(), "no answer yet");
        members.answered(&server, &[located(1, 3, 10), located(2, 1, 10), located(3, 5, 20), located(4, 1, 30)]);
        let mut weights = |well: &[u8]| {
            let changed = members.stand_by(|_, at| well.iter().any(|&last| at == address(last)));
            (changed, members.list().into_iter().map(|(_, weight)| weight).collect::<Vec<_>>())
        };
        assert_eq!(weights(&[1, 2, 3, 4]), (true, vec![6, 2, 0, 0]));
        assert_eq!(weights(&[2, 3, 4]), (false, vec![6, 2, 0, 0]), "one of them is enough");
        assert_eq!(weights(&[3, 4]), (true, vec![6, 2, 10, 0]));
        assert_eq!(weights(&[4]), (true, vec![6, 2, 10, 2]));
        assert_eq!(weights(&[]), (true, vec![6, 2, 10, 2]), "none is better than another");
        assert_eq!(weights(&[1, 2, 3, 4]), (true, vec![6, 2, 0, 0]));
        assert!(members.have_standbys);
        members.answered(&server, &[located(3, 5, 20)]);
        assert!(members.stand_by(|_, _| true));
        let last = shown(&members);
        assert_eq!(last.iter().map(|(_, weight)| *weight).collect::<Vec<_>>(), [0, 0, 10, 0], "the others are missing");
    }

    #[test]
    fn an_address_takes_nobody_once_it_is_missing_and_is_gone_after_three_answers() {
        let server = ServerAddress::Tcp { host: "chat.internal".into(), port: 80 };
        let mut members = Members {
            servers: vec![Server { address: server.clone(), place: Place::default(), weight: 7 }],
            ..Members::default()
        };
        assert_eq!(shown(&members), [("chat.internal:80".into(), 7)], "no answer yet");
        assert!(members.answered(&server, &hosts(&[1, 2])).is_empty());
        assert_eq!(shown(&members), [("10.0.0.1:80".into(), 7), ("10.0.0.2:80".into(), 7)]);
        assert!(members.answered(&server, &hosts(&[2, 3])).is_empty());
        assert_eq!(shown(&members)[0], ("10.0.0.1:80".into(), 0));
        assert!(members.answered(&server, &hosts(&[1])).is_empty());
        assert_eq!(shown(&members)[0], ("10.0.0.1:80".into(), 7), "it was another part of the addresses");
        assert!(members.answered(&server, &hosts(&[1])).is_empty());
        assert_eq!(members.answered(&server, &hosts(&[1])), [address(2), address(3)]);
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
