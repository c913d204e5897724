//! Each endpoint by itself, for upstreams with `endpoint_metrics`. Written anew at each scrape: an endpoint that is gone
//! has no series.

use prometheus::IntGaugeVec;
use tidegate_governor::EndpointSnapshot;

use super::Make;

pub(crate) struct Endpoints {
    up: IntGaugeVec,
    sessions: IntGaugeVec,
    limit: IntGaugeVec,
    handshakes: IntGaugeVec,
}

impl Endpoints {
    pub(super) fn new(make: &mut Make) -> Self {
        const WHICH: &[&str] = &["upstream", "endpoint"];
        Self {
            up: make.gauge(
                "endpoint_up",
                "With endpoint_metrics: 1; 0: down by health check, resting after failures, or removed and not yet without \
                 sessions.",
                WHICH,
            ),
            sessions: make.gauge("endpoint_sessions", "With endpoint_metrics: sessions that an endpoint holds.", WHICH),
            limit: make.gauge(
                "endpoint_sessions_limit",
                "With endpoint_metrics: sessions that an endpoint may hold, where a limit is known. source: declared, \
                 announced, learned.",
                &["upstream", "endpoint", "source"],
            ),
            handshakes: make.gauge(
                "endpoint_handshakes_in_flight",
                "With endpoint_metrics: handshakes with an endpoint that are under way.",
                WHICH,
            ),
        }
    }

    pub(crate) fn reset(&self) {
        for gauges in [&self.up, &self.sessions, &self.limit, &self.handshakes] {
            gauges.reset();
        }
    }

    pub(crate) fn show(&self, upstream: &str, endpoints: &[EndpointSnapshot]) {
        for endpoint in endpoints {
            let which = [upstream, endpoint.key.as_str()];
            let up = endpoint.weight > 0 && !endpoint.down && endpoint.cooling_until.is_none();
            self.up.with_label_values(&which).set(up.into());
            self.sessions.with_label_values(&which).set(endpoint.sessions.into());
            self.handshakes.with_label_values(&which).set(endpoint.handshakes.into());
            if let Some(limit) = endpoint.max_sessions.limit() {
                let labels = [upstream, endpoint.key.as_str(), endpoint.max_sessions.source()];
                self.limit.with_label_values(&labels).set(limit.into());
            }
        }
    }
}
