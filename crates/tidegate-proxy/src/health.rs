//! Asks the endpoints of an upstream whether they are well, each by itself, and tells its governor.
//!
//! An endpoint that is down gets no new session. What it holds goes on, unless the operator wants it elsewhere: a session
//! that lives is the better witness.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tidegate_config::{Health, Upstream};
use tidegate_governor::EndpointId;
use tidegate_session::End;

use crate::{
    capacity::Capacity, endpoint::Endpoint, probe, proxy_protocol, shared::Shared, task::Task, tls, upstream::Dial,
    worker::Leave,
};

/// Longest time to the first check of an endpoint: those that come together are not all asked together.
const FIRST: Duration = Duration::from_millis(500);

/// What the checks of one upstream need.
struct Checks {
    upstream: Arc<Upstream>,
    health: Health,
    /// As last loaded.
    tls: Arc<ArcSwapOption<tls::Outgoing>>,
    capacity: Weak<Capacity>,
    shared: Weak<Shared>,
}

/// Checks the endpoints of this upstream from now on, also those that are yet to come. `None`: nothing is to be checked,
/// and nobody is down.
pub(crate) fn watch(
    upstream: &Arc<Upstream>,
    tls: Arc<ArcSwapOption<tls::Outgoing>>,
    capacity: &Arc<Capacity>,
    shared: Weak<Shared>,
) -> Option<Task> {
    let Some(health) = upstream.health.clone() else {
        for (id, _) in capacity.endpoints() {
            capacity.set_health(id, true);
        }
        return None;
    };
    let capacity = Arc::downgrade(capacity);
    let checks = Checks { upstream: upstream.clone(), health, tls, capacity, shared };
    Some(tokio::spawn(Arc::new(checks).run()).into())
}

impl Checks {
    /// One task for each endpoint there is.
    async fn run(self: Arc<Self>) {
        let mut tasks: HashMap<EndpointId, Task> = HashMap::new();
        let Some(mut changes) = self.capacity.upgrade().map(|capacity| capacity.changes()) else { return };
        loop {
            let Some(endpoints) = self.capacity.upgrade().map(|capacity| capacity.endpoints()) else { return };
            tasks.retain(|id, _| endpoints.iter().any(|(known, _)| known == id));
            for (id, endpoint) in endpoints {
                tasks.entry(id).or_insert_with(|| tokio::spawn(self.clone().ask(id, endpoint)).into());
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Asks one endpoint again and again.
    async fn ask(self: Arc<Self>, id: EndpointId, endpoint: Arc<Endpoint>) {
        let Some(up) = self.capacity.upgrade().map(|capacity| capacity.is_up(id)) else { return };
        let mut tally = Tally { up, streak: 0 };
        // No client stands behind a check.
        let local = self.upstream.proxy_protocol.then(|| proxy_protocol::header(None));
        tokio::time::sleep(self.health.interval.min(FIRST).mul_f64(unit())).await;
        loop {
            let (tls, timeout) = (self.tls.load_full(), self.health.timeout);
            let dial = Dial {
                endpoint: &endpoint,
                tls: tls.as_deref(),
                connect_timeout: timeout,
                handshake_timeout: timeout,
                proxy_header: local.as_deref(),
            };
            let found = probe::probe(&dial, &self.health).await;
            let (Some(capacity), Some(shared)) = (self.capacity.upgrade(), self.shared.upgrade()) else { return };
            let result = found.as_ref().map_or_else(|failure| failure.reason(), |()| "ok");
            shared.metrics.health_checks.with_label_values(&[self.upstream.name.as_str(), result]).inc();
            if tally.count(found.is_ok(), &self.health) {
                capacity.set_health(id, tally.up);
                let detail = found.err().map(|failure| failure.detail()).unwrap_or_default();
                self.turned(&shared, &endpoint, tally.up, result, &detail);
            }
            drop((capacity, shared));
            tokio::time::sleep(self.health.interval.mul_f64(0.9 + 0.2 * unit())).await;
        }
    }

    /// It was up and is down, or the other way round.
    fn turned(&self, shared: &Shared, endpoint: &Arc<Endpoint>, up: bool, reason: &str, detail: &str) {
        let upstream = self.upstream.name.as_str();
        let to = if up { "up" } else { "down" };
        shared.metrics.health_transitions.with_label_values(&[upstream, to]).inc();
        if up {
            return tracing::info!(upstream, %endpoint, "endpoint is up");
        }
        tracing::warn!(upstream, %endpoint, reason, detail, "endpoint is down");
        if self.health.close_when_down {
            let leave =
                Leave { upstream: upstream.to_owned(), endpoints: vec![endpoint.clone()], end: End::EndpointDown };
            shared.leave(leave);
        }
    }
}

/// How the last checks of an endpoint went.
#[derive(Debug)]
struct Tally {
    up: bool,
    /// Checks on end that say otherwise.
    streak: u32,
}

impl Tally {
    /// Whether it turned.
    fn count(&mut self, good: bool, health: &Health) -> bool {
        self.streak = if good == self.up { 0 } else { self.streak + 1 };
        let turns = self.streak >= if self.up { health.fall } else { health.rise };
        if turns {
            (self.up, self.streak) = (good, 0);
        }
        turns
    }
}

/// Uniform in `[0, 1]`.
fn unit() -> f64 {
    f64::from(crate::random()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use tidegate_config::Check;

    use super::*;

    #[test]
    fn only_checks_on_end_turn_an_endpoint() {
        let (interval, timeout) = (Duration::from_secs(5), Duration::from_secs(2));
        let health = Health { check: Check::Tcp, interval, timeout, rise: 2, fall: 3, close_when_down: false };
        let mut tally = Tally { up: true, streak: 0 };
        let checks = [
            (false, true),
            (false, true),
            (true, true),
            (false, true),
            (false, true),
            (false, false),
            (false, false),
            (true, false),
            (false, false),
            (true, false),
            (true, true),
            (false, true),
        ];
        for (i, (good, up)) in checks.into_iter().enumerate() {
            let before = tally.up;
            assert_eq!(tally.count(good, &health), before != up, "check {i}");
            assert_eq!(tally.up, up, "check {i}");
        }
    }
}
