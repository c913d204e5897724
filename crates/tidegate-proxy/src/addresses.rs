//! What each client address has and does: its sessions on a route, and how often it asks.
//!
//! One table for all workers, locked once a request where a route has such a limit, never for a message.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tidegate_config::PerIp;

/// Most addresses that are remembered; some 8 MB. When that many are active, one more is not limited.
const MOST: usize = 100_000;
/// How often the table is searched for addresses that can be forgotten, when it is full.
const SWEEP: Duration = Duration::from_secs(1);

/// Who has what.
#[derive(Default)]
pub(crate) struct Addresses {
    hasher: RandomState,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<Key, Entry>,
    swept: Option<Instant>,
}

/// A route, and an address or the /64 of one.
type Key = (u64, IpAddr);

struct Entry {
    sessions: u32,
    /// When the requests so far are paid for (GCRA's theoretical arrival time).
    paid: Instant,
}

/// One session of an address; given back when this is dropped.
pub(crate) struct Held {
    table: Arc<Addresses>,
    key: Key,
}

/// Too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// It may ask again after this time.
    Rate(Duration),
    Sessions,
}

/// An address as one number: IPv4 whole, IPv6 by the /64 that one household has.
pub(crate) fn network(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64,
    }
}

impl Addresses {
    /// A request of this address.
    ///
    /// # Errors
    /// Its rate is exceeded; then it does not count.
    pub(crate) fn ask(&self, route: &str, ip: IpAddr, limits: &PerIp, now: Instant) -> Result<(), Exceeded> {
        let Some(rate) = limits.rate else { return Ok(()) };
        let interval = Duration::from_secs(1) / rate;
        let tolerance = interval * (limits.burst - 1);
        let mut inner = self.lock();
        let Some(entry) = inner.entry(self.key(route, ip), now) else { return Ok(()) };
        let paid = entry.paid.max(now);
        let ahead = paid - now;
        if ahead > tolerance {
            return Err(Exceeded::Rate(ahead - tolerance));
        }
        entry.paid = paid + interval;
        Ok(())
    }

    /// A session of this address. `None`: it is not counted.
    ///
    /// # Errors
    /// It has as many as it may.
    pub(crate) fn hold(
        self: &Arc<Self>,
        route: &str,
        ip: IpAddr,
        limits: &PerIp,
        now: Instant,
    ) -> Result<Option<Box<Held>>, Exceeded> {
        let Some(most) = limits.max_sessions else { return Ok(None) };
        let key = self.key(route, ip);
        let mut inner = self.lock();
        let Some(entry) = inner.entry(key, now) else { return Ok(None) };
        if entry.sessions >= most {
            return Err(Exceeded::Sessions);
        }
        entry.sessions += 1;
        Ok(Some(Box::new(Held { table: self.clone(), key })))
    }

    /// How many addresses are remembered.
    pub(crate) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    fn key(&self, route: &str, ip: IpAddr) -> Key {
        let ip = match ip.to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (!0 << 64))),
            v4 => v4,
        };
        (self.hasher.hash_one(route), ip)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What is known of an address; `None`: there is no room for it.
    fn entry(&mut self, key: Key, now: Instant) -> Option<&mut Entry> {
        if self.entries.len() >= MOST && !self.entries.contains_key(&key) {
            if self.swept.is_none_or(|swept| now - swept >= SWEEP) {
                self.swept = Some(now);
                self.entries.retain(|_, entry| entry.sessions > 0 || entry.paid > now);
            }
            if self.entries.len() >= MOST {
                return None;
            }
        }
        Some(self.entries.entry(key).or_insert(Entry { sessions: 0, paid: now }))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(entry) = self.table.lock().entries.get_mut(&self.key) {
            entry.sessions = entry.sessions.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn limits(max_sessions: Option<u32>, rate: Option<u32>, burst: u32) -> PerIp {
        PerIp { max_sessions, rate, burst, told: None }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let (table, limits, start) = (Addresses::default(), limits(None, Some(10), 3), clock::now());
        let ask = |ms| table.ask("r", ip("192.0.2.1"), &limits, start + Duration::from_millis(ms));
        assert_eq!([ask(0), ask(0), ask(0)], [Ok(()); 3]);
        assert_eq!(ask(0), Err(Exceeded::Rate(Duration::from_millis(100))));
        assert_eq!(ask(60), Err(Exceeded::Rate(Duration::from_millis(40))));
        assert_eq!([ask(100), ask(200)], [Ok(()); 2]);
        assert!(ask(200).is_err());
        assert_eq!([ask(5000), ask(5000), ask(5000)], [Ok(()); 3], "rest is not saved up beyond the burst");
        assert!(ask(5000).is_err());
    }

    #[test]
    fn sessions_come_back_and_belong_to_a_route_and_a_network() {
        let (table, limits, now) = (Arc::new(Addresses::default()), limits(Some(1), None, 1), clock::now());
        let hold = |route, address| table.hold(route, ip(address), &limits, now);
        let first = hold("r", "2001:db8::1").unwrap().unwrap();
        assert_eq!(hold("r", "2001:db8::ffff:2").err(), Some(Exceeded::Sessions), "the same /64");
        assert!(hold("r", "2001:db8:0:1::1").is_ok() && hold("other", "2001:db8::1").is_ok());
        drop(first);
        assert!(hold("r", "2001:db8::1").is_ok());
        let v4 = hold("r", "192.0.2.1").unwrap().unwrap();
        assert!(hold("r", "::ffff:192.0.2.1").is_err());
        assert!(hold("r", "192.0.2.2").is_ok());
        drop(v4);
    }

    #[test]
    fn a_full_table_forgets_those_who_are_gone_and_limits_nobody_new() {
        let (table, now) = (Arc::new(Addresses::default()), clock::now());
        let address = |n: usize| IpAddr::from((n as u32).to_be_bytes());
        let limits = limits(Some(1), Some(1), 1);
        let held: Vec<_> = (0..MOST).map(|n| table.hold("r", address(n), &limits, now).unwrap()).collect();
        assert!(table.hold("r", address(MOST), &limits, now).is_ok_and(|held| held.is_none()));
        assert!(table.hold("r", address(0), &limits, now).is_err(), "whoever is known stays limited");
        drop(held);
        assert!(table.hold("r", address(MOST), &limits, now + SWEEP).is_ok_and(|held| held.is_some()));
        assert_eq!(table.len(), 1);
    }
}
