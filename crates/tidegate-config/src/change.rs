//! What going from one configuration to the next touches.

use std::{collections::BTreeMap, sync::Arc};

use crate::config::{Address, Config, Listener, OnRemove, Route, ServerAddress, Upstream};

/// What going from one [`Config`] to the next touches.
///
/// New sessions simply meet the next configuration. For those that live, [`fate`](Change::fate) answers; whatever it
/// does not end goes on untouched.
#[derive(Clone, Debug)]
pub struct Change {
    /// Names of routes that are gone; their sessions are told 1001. A renamed route is not gone.
    pub routes_removed: Vec<String>,
    /// Names of routes that are new.
    pub routes_added: Vec<String>,
    /// Servers that are gone, by upstream; also all of those of an upstream that is gone.
    pub endpoints_removed: BTreeMap<String, Vec<ServerAddress>>,
    /// Servers that are new, by upstream.
    pub endpoints_added: BTreeMap<String, Vec<ServerAddress>>,
    /// Addresses to bind.
    pub listeners_added: Vec<Listener>,
    /// Addresses to let go. Their sessions go on.
    pub listeners_removed: Vec<Address>,
    /// Addresses that stay with another certificate, or now with or without TLS.
    pub listeners_changed: Vec<Listener>,
    /// Keys whose new value a running process does not take: `workers`, `admin.address`, ...
    pub needs_restart: Vec<&'static str>,
    is_noop: bool,
    /// Where sessions belong now, by the name of the route that they came by.
    homes: BTreeMap<String, Home>,
}

/// What becomes of a live session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Keep,
    /// Its route is gone: 1001 `route-removed`, spread.
    RouteRemoved,
    /// Its server is gone: 1012 `rebalance`, spread.
    EndpointRemoved,
}

#[derive(Clone, Debug)]
struct Home {
    upstream: Arc<Upstream>,
    on_remove: OnRemove,
}

impl Change {
    /// Compares two configurations.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut homes: BTreeMap<String, Home> =
            new.routes.iter().map(|route| (route.name.clone(), home(route, new))).collect();
        let mut routes_removed = Vec::new();
        for route in old.routes.iter().filter(|route| !has_route(new, &route.name)) {
            match new.routes.iter().find(|other| other.matches_same(route)) {
                Some(renamed) => _ = homes.insert(route.name.clone(), home(renamed, new)),
                None => routes_removed.push(route.name.clone()),
            }
        }
        let added = new.routes.iter().filter(|route| !has_route(old, &route.name));
        Self {
            routes_removed,
            routes_added: added.map(|route| route.name.clone()).collect(),
            endpoints_removed: endpoints_missing(old, new),
            endpoints_added: endpoints_missing(new, old),
            listeners_added: new.listeners.iter().filter(|it| listener(old, &it.address).is_none()).cloned().collect(),
            listeners_removed: old
                .listeners
                .iter()
                .filter(|it| listener(new, &it.address).is_none())
                .map(|it| it.address.clone())
                .collect(),
            listeners_changed: new
                .listeners
                .iter()
                .filter(|it| listener(old, &it.address).is_some_and(|before| before.tls != it.tls))
                .cloned()
                .collect(),
            needs_restart: needs_restart(old, new),
            is_noop: old == new,
            homes,
        }
    }

    /// Whether the two say the same. Files may differ in comments, order and the spelling of values.
    #[must_use]
    pub fn is_noop(&self) -> bool {
        self.is_noop
    }

    /// What becomes of a session that came by this route and lives on this server.
    ///
    /// It stays if its server is one of those that its route now leads to, through whichever upstream. A route that
    /// is renamed but matches the same requests is the same route. Asked with a session of an older generation, it
    /// answers by the route's name alone. A change that is none ends nothing.
    #[must_use]
    pub fn fate(&self, route: &str, endpoint: &ServerAddress) -> Fate {
        // Not even a session that an older configuration kept or is already ending.
        if self.is_noop {
            return Fate::Keep;
        }
        match self.homes.get(route) {
            None => Fate::RouteRemoved,
            Some(home) if home.upstream.servers.iter().any(|server| server.address == *endpoint) => Fate::Keep,
            Some(home) => match home.on_remove {
                OnRemove::Keep => Fate::Keep,
                OnRemove::Close => Fate::EndpointRemoved,
            },
        }
    }
}

fn home(route: &Route, config: &Config) -> Home {
    let upstream = config.upstreams.get(&route.upstream).expect("a route's upstream exists in a valid configuration");
    Home { upstream: Arc::clone(upstream), on_remove: route.on_remove }
}

fn has_route(config: &Config, name: &str) -> bool {
    config.routes.iter().any(|route| route.name == name)
}

fn listener<'c>(config: &'c Config, address: &Address) -> Option<&'c Listener> {
    config.listeners.iter().find(|listener| listener.address == *address)
}

/// The servers that `these` has and `those` has not, by upstream.
fn endpoints_missing(these: &Config, those: &Config) -> BTreeMap<String, Vec<ServerAddress>> {
    let missing = these.upstreams.values().map(|upstream| {
        let kept = those.upstreams.get(&upstream.name).map_or(&[][..], |other| &other.servers);
        let is_missing = |address: &&ServerAddress| kept.iter().all(|server| server.address != **address);
        let addresses = upstream.servers.iter().map(|server| &server.address).filter(is_missing).cloned();
        (upstream.name.clone(), addresses.collect::<Vec<_>>())
    });
    missing.filter(|(_, addresses)| !addresses.is_empty()).collect()
}

fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    [
        ("workers", old.workers != new.workers),
        ("admin.address", old.admin.address != new.admin.address),
        ("admin.socket", old.admin.socket != new.admin.socket),
        ("log.access", old.log.access != new.log.access),
        ("log.level", old.log.level != new.log.level),
        ("log.format", old.log.json != new.log.json),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(key))
    .collect()
}
