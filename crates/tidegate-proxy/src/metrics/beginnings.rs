//! Series that begin at zero, so that `rate()` sees the first event.

use tidegate_config::Config;

use super::Metrics;

impl Metrics {
    /// Makes the series of what every server has.
    pub(super) fn start_at_zero(&self) {
        for side in ["client", "upstream"] {
            self.keepalive_timeouts.with_label_values(&[side]);
            self.write_stalls.with_label_values(&[side]);
            self.close_timeouts.with_label_values(&[side]);
        }
        for result in ["success", "failure"] {
            self.reloads.with_label_values(&[result]);
            self.tls_reloads.with_label_values(&[result]);
        }
        for kind in ["emfile", "aborted", "other"] {
            self.accept_errors.with_label_values(&[kind]);
        }
    }

    /// Makes the series of a configuration's routes and upstreams.
    pub(crate) fn begin(&self, config: &Config) {
        for route in &config.routes {
            self.sessions.with_label_values(&[&route.name, &route.upstream]);
            if !route.websocket_only {
                self.http_requests.with_label_values(&[route.name.as_str(), "2xx"]);
            }
            self.hot.begin(&route.name);
            for by in [route.jwt.as_ref().map(|_| "jwt"), route.forward_auth.as_ref().map(|_| "forward")]
                .into_iter()
                .flatten()
            {
                for result in ["allowed", "denied", "failed"] {
                    self.auth.with_label_values(&[route.name.as_str(), by, result]);
                }
            }
            for listener in &config.listeners {
                let listener = listener.address.to_string();
                self.handshakes.with_label_values(&[listener.as_str(), &route.name, "accepted", "none", "101"]);
            }
            for (side, cause) in [("client", "client-close"), ("upstream", "upstream-close")] {
                self.closes.with_label_values(&[&route.name, side, "1000", cause]);
            }
        }
        for listener in config.listeners.iter().filter(|listener| listener.trust.proxy_protocol.is_some()) {
            let listener = listener.address.to_string();
            for result in ["ok", "untrusted", "malformed", "timeout", "gone"] {
                self.proxy_headers.with_label_values(&[listener.as_str(), result]);
            }
        }
        for (upstream, config) in &config.upstreams {
            if config.health.is_some() {
                for to in ["up", "down"] {
                    self.health_transitions.with_label_values(&[upstream.as_str(), to]);
                }
            }
            self.upstream_rests.with_label_values(&[upstream.as_str(), "connect"]);
            self.governor_shed.with_label_values(&[upstream, "handshake", "overload"]);
            for (class, _) in config.sharing.shares() {
                for result in ["admitted", "refused"] {
                    self.governor_class_clients.with_label_values(&[upstream.as_str(), class, result]);
                }
            }
            self.announcements.with_label_values(&[upstream.as_str(), "malformed"]);
            self.upstream_connects.with_label_values(&[upstream, "ok"]);
            self.upstream_retries.with_label_values(&[upstream, "upstream_connect"]);
        }
    }
}
