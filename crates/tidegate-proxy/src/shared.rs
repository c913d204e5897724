//! What all workers read: configuration, governors, metrics, log.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use prometheus::GaugeVec;
use tidegate_config::{Affinity, Config, Live, Sharing, Upstream, UpstreamTls};
use tidegate_governor::{Resource, Snapshot, Traffic};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use crate::{
    access::AccessLog,
    addresses::Addresses,
    auth,
    capacity::Capacity,
    clock,
    finder::Finder,
    health,
    ladder::Ladder,
    manners::Manners,
    metrics::Metrics,
    pool::Pool,
    report, resolve, standing, strain,
    tls::{self, Outgoing},
    worker::{self, Leave, Message},
};

/// One for a server.
pub(crate) struct Shared {
    pub(crate) live: Live,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access: AccessLog,
    workers: OnceLock<Vec<worker::Handle>>,
    targets: Mutex<HashMap<String, Arc<Target>>>,
    /// The window of a drain, once it has begun.
    draining: watch::Sender<Option<Duration>>,
    /// Legs that could not be given their Close.
    pub(crate) unclosable: AtomicU64,
    /// Plain requests whose answer is not yet whole.
    pub(crate) exchanges: AtomicUsize,
    /// Connections to the admin listeners.
    pub(crate) admin_connections: AtomicUsize,
    /// What the process itself is short of.
    pub(crate) strain: strain::Current,
    /// Whether some upstream is told of its clients by the PROXY protocol, which also says where they came to.
    pub(crate) announces_clients: AtomicBool,
    /// What requests are checked with.
    pub(crate) auth: ArcSwap<auth::Means>,
    /// What each client address has.
    pub(crate) addresses: Arc<Addresses>,
    /// Who does not heed when it may come back.
    pub(crate) manners: Manners,
    /// Which addresses are no longer heard.
    pub(crate) ladder: Ladder,
    /// Clients that wait until their address may have more.
    pub(crate) parked: AtomicUsize,
    /// What is held for them.
    pub(crate) parked_bytes: AtomicU64,
    /// Nothing more is waited for.
    pub(crate) hurried: AtomicBool,
}

/// A configured upstream as it runs.
pub(crate) struct Target {
    pub(crate) capacity: Arc<Capacity>,
    pub(crate) affinity: Affinity,
    pub(crate) sharing: Sharing,
    /// As last loaded; empty: it speaks no TLS.
    pub(crate) tls: Arc<ArcSwapOption<Outgoing>>,
    pub(crate) pool: Arc<Pool>,
    /// Its connections begin with a PROXY header.
    pub(crate) proxy_protocol: bool,
}

/// What an upstream needs beside its configuration.
pub(crate) struct Means {
    tls: Option<Outgoing>,
    finder: Finder,
}

impl Shared {
    pub(crate) fn new(config: Config, access: AccessLog) -> Self {
        Self {
            live: Live::new(config),
            metrics: Arc::new(Metrics::new()),
            access,
            workers: OnceLock::new(),
            targets: Mutex::default(),
            draining: watch::Sender::new(None),
            unclosable: AtomicU64::new(0),
            exchanges: AtomicUsize::new(0),
            admin_connections: AtomicUsize::new(0),
            strain: strain::Current::default(),
            announces_clients: AtomicBool::new(false),
            auth: ArcSwap::default(),
            addresses: Arc::default(),
            manners: Manners::default(),
            ladder: Ladder::default(),
            parked: AtomicUsize::new(0),
            parked_bytes: AtomicU64::new(0),
            hurried: AtomicBool::new(false),
        }
    }

    pub(crate) fn workers(&self) -> &[worker::Handle] {
        self.workers.get().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn set_workers(&self, workers: Vec<worker::Handle>) {
        // Set once, by the server that starts them.
        let _ = self.workers.set(workers);
    }

    /// How long the slowest worker takes to answer; `None`: one has not within this time, or is gone.
    pub(crate) async fn answer_time(&self, patience: Duration) -> Option<Duration> {
        let asked = clock::now();
        let answers = self.workers().iter().map(|worker| {
            let (answer, answered) = oneshot::channel();
            worker.send(Message::Answer(answer));
            answered
        });
        // All are asked before the first is waited for.
        let answers = answers.collect::<Vec<_>>();
        timeout(patience, async {
            for answer in answers {
                answer.await.ok()?;
            }
            Some(clock::now().saturating_duration_since(asked))
        })
        .await
        .ok()?
    }

    /// Sessions open now.
    pub(crate) fn sessions(&self) -> usize {
        self.workers().iter().map(worker::Handle::sessions).sum()
    }

    /// Connections of clients, those of the sessions among them.
    pub(crate) fn connections(&self) -> usize {
        self.workers().iter().map(worker::Handle::connections).sum()
    }

    /// Handshakes under way that may become sessions.
    pub(crate) fn openings(&self) -> usize {
        self.workers().iter().map(worker::Handle::openings).sum()
    }

    pub(crate) fn draining(&self) -> Option<Duration> {
        *self.draining.borrow()
    }

    /// Returns when a drain begins.
    pub(crate) async fn drain_begins(&self) {
        // The sender is ours: it does not go away.
        let _ = self.draining.subscribe().wait_for(Option::is_some).await;
    }

    pub(crate) fn begin_drain(&self, window: Duration) {
        self.draining.send_replace(Some(window));
        self.metrics.draining.set(1);
    }

    pub(crate) fn hurried(&self) -> bool {
        self.hurried.load(Relaxed)
    }

    /// Ends sessions, wherever they are.
    pub(crate) fn leave(&self, leave: Leave) {
        let leave = Arc::new(leave);
        for worker in self.workers() {
            worker.send(Message::Leave(leave.clone()));
        }
    }

    pub(crate) fn target(&self, upstream: &str) -> Option<Arc<Target>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).get(upstream).cloned()
    }

    /// TLS with each upstream and each auth server that has it: what it is called, as configured, and as loaded.
    pub(crate) fn outgoing<'c>(
        &self,
        config: &'c Config,
    ) -> Vec<(String, &'c UpstreamTls, Arc<ArcSwapOption<Outgoing>>)> {
        let upstreams = config.upstreams.iter().filter_map(|(name, upstream)| {
            Some((format!("upstream {name}"), upstream.tls.as_ref()?, self.target(name)?.tls.clone()))
        });
        let means = self.auth.load();
        let servers = config.routes.iter().filter_map(|route| {
            let tls = route.forward_auth.as_ref()?.tls.as_ref()?;
            Some((format!("auth server of {}", route.name), tls, means.get(&route.name)?.tls.clone()))
        });
        upstreams.chain(servers).collect()
    }

    /// What every upstream of a configuration needs that is about to be.
    ///
    /// # Errors
    /// A file of it is no good, or this build lacks what it asks for.
    pub(crate) fn prepare(config: &Config) -> io::Result<BTreeMap<String, Means>> {
        let tls = |upstream: &Arc<Upstream>| upstream.tls.as_ref().map(tls::outgoing).transpose();
        let finder = |upstream| Finder::new(upstream).map_err(|fault| io::Error::other(fault.message().to_owned()));
        let prepared = |upstream| io::Result::Ok(Means { tls: tls(upstream)?, finder: finder(upstream)? });
        config.upstreams.iter().map(|(name, upstream)| Ok((name.clone(), prepared(upstream)?))).collect()
    }

    /// Makes the upstreams what the configuration says. An upstream that stays keeps its governor and its counts.
    /// Runs on the runtime that keeps the governors' time.
    pub(crate) fn set_targets(self: &Arc<Self>, config: &Config, mut prepared: BTreeMap<String, Means>) {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.retain(|name, _| config.upstreams.contains_key(name));
        self.announces_clients.store(config.upstreams.values().any(|upstream| upstream.proxy_protocol), Relaxed);
        for (name, upstream) in &config.upstreams {
            // Prepared of the same configuration: it has them all.
            let Some(Means { tls, finder }) = prepared.remove(name) else { continue };
            let capacity = match targets.get(name) {
                Some(target) => {
                    target.capacity.configure(upstream, &config.routes);
                    target.capacity.clone()
                }
                None => Capacity::start(upstream, &config.routes, self.metrics.clone()),
            };
            let tls = Arc::new(ArcSwapOption::new(tls.map(Arc::new)));
            let mut attendants = resolve::watch(upstream, &finder, &capacity, &Arc::downgrade(self));
            attendants.extend(health::watch(upstream, tls.clone(), &capacity, Arc::downgrade(self)));
            capacity.attend(attendants);
            let (affinity, sharing) = (upstream.affinity.clone(), upstream.sharing.clone());
            let proxy_protocol = upstream.proxy_protocol;
            let target = Target { capacity, affinity, sharing, tls, pool: Arc::default(), proxy_protocol };
            targets.insert(name.clone(), Arc::new(target));
        }
    }

    /// Tells every governor what went through.
    pub(crate) fn carry(&self, traffic: &HashMap<&str, Traffic>) {
        for (name, target) in self.targets.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            target.capacity.carry(traffic.get(name.as_str()).copied().unwrap_or_default());
        }
    }

    /// What every governor holds, may hold, and why it refuses.
    pub(crate) fn report(&self) -> Vec<u8> {
        let config = self.live.load();
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let upstreams = targets.iter().filter_map(|(name, target)| {
            let upstream = config.config.upstreams.get(name)?;
            let clients = |class: &str, result: &str| {
                self.metrics.governor_class_clients.with_label_values(&[name.as_str(), class, result]).get()
            };
            let seen = target.capacity.snapshot();
            Some((name.as_str(), report::upstream(&seen, target.capacity.advice(), upstream, &clients)))
        });
        let of = |gauge: &GaugeVec, resource: Resource| gauge.with_label_values(&[resource.word()]).get();
        let process = report::process(&config.config.protection, &|resource| {
            (of(&self.metrics.protection_used, resource), of(&self.metrics.protection_refused, resource))
        });
        report::write(&upstreams.collect(), &process)
    }

    /// Brings the gauges of the governors up to date, for a scrape.
    pub(crate) fn observe(&self) {
        let metrics = &self.metrics;
        // An upstream that is no longer configured has no gauges.
        for gauges in [
            &metrics.governor_in_use,
            &metrics.governor_waiting,
            &metrics.governor_waiting_bytes,
            &metrics.governor_waiting_bytes_limit,
            &metrics.governor_class_in_use,
            &metrics.governor_class_waiting,
            &metrics.governor_tenants,
            &metrics.governor_traffic,
            &metrics.governor_traffic_limit,
            &metrics.governor_limit,
            &metrics.governor_handshakes,
            &metrics.governor_handshake_limit,
            &metrics.replicas_advised,
            &metrics.upstream_endpoints,
        ] {
            gauges.reset();
        }
        metrics.endpoints.reset();
        metrics.client_addresses.set(self.addresses.len() as i64);
        let config = self.live.load();
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, target) in targets.iter() {
            let seen = target.capacity.snapshot();
            metrics.governor_in_use.with_label_values(&[name]).set(seen.live.into());
            metrics.governor_waiting.with_label_values(&[name]).set(seen.waiting.into());
            metrics.governor_waiting_bytes.with_label_values(&[name]).set(seen.waiting_bytes as i64);
            metrics.governor_waiting_bytes_limit.with_label_values(&[name]).set(seen.max_waiting_bytes as i64);
            metrics.governor_tenants.with_label_values(&[name]).set(seen.tenants.into());
            if let Some(upstream) = config.config.upstreams.get(name) {
                for (resource, used, most) in report::traffic(&seen.traffic, &upstream.capacity) {
                    metrics.governor_traffic.with_label_values(&[name.as_str(), resource]).set(used as i64);
                    if let Some(most) = most {
                        let labels = [name.as_str(), resource, "declared"];
                        metrics.governor_traffic_limit.with_label_values(&labels).set(most as i64);
                    }
                }
            }
            for (class, used) in standing::by_name(&target.sharing, &seen.classes) {
                metrics.governor_class_in_use.with_label_values(&[name, class]).set(used.live.into());
                metrics.governor_class_waiting.with_label_values(&[name, class]).set(used.waiting.into());
            }
            let configured = seen.endpoints.iter().filter(|endpoint| endpoint.weight > 0);
            let (cooling, healthy): (Vec<_>, Vec<_>) = configured.partition(|e| e.down || e.cooling_until.is_some());
            metrics.upstream_endpoints.with_label_values(&[name, "healthy"]).set(healthy.len() as i64);
            metrics.upstream_endpoints.with_label_values(&[name, "unhealthy"]).set(cooling.len() as i64);
            let configured = config.config.upstreams.get(name);
            if configured.is_some_and(|upstream| upstream.endpoint_metrics) {
                metrics.endpoints.show(name, &seen.endpoints);
            }
            let declared = configured.and_then(|upstream| upstream.capacity.max_sessions);
            if let Some((limit, source)) = session_limit(&seen, declared) {
                metrics.governor_limit.with_label_values(&[name.as_str(), source]).set(limit.into());
            }
            for endpoint in seen.endpoints.iter().filter(|endpoint| endpoint.weight > 0) {
                metrics.governor_handshakes.with_label_values(&[name]).add(endpoint.handshakes.into());
                if let Some(limit) = endpoint.max_handshakes.limit() {
                    let labels = [name.as_str(), endpoint.max_handshakes.source()];
                    metrics.governor_handshake_limit.with_label_values(&labels).add(limit.into());
                }
            }
            if let Some(advice) = target.capacity.advice() {
                metrics.replicas_advised.with_label_values(&[name]).set(advice.replicas.into());
            }
        }
    }
}

/// The sessions that an upstream may hold, and who says so: declared for all of it, or the sum of what its endpoints may.
fn session_limit(seen: &Snapshot, declared: Option<u32>) -> Option<(u32, &'static str)> {
    let mut sources = seen.endpoints.iter().filter(|e| e.weight > 0).map(|e| e.max_sessions.source());
    let first = sources.next().unwrap_or("declared");
    let source = if sources.all(|source| source == first) { first } else { "mixed" };
    let each =
        seen.endpoints.iter().filter(|endpoint| endpoint.weight > 0).map(|endpoint| endpoint.max_sessions.limit());
    let sum = each.sum::<Option<u32>>().map(|sum| (sum, source));
    [declared.map(|most| (most, "declared")), sum].into_iter().flatten().min()
}
