//! Every metric there is: its name, its labels, its unit and what it means.
//!
//! Label values come from the configuration or from enums in the code, never from a client: how many series there
//! are does not depend on who connects.

mod beginnings;
mod endpoints;
mod make;

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use prometheus::{
    Encoder, GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};
use tidegate_governor::{Resource, Strain, Usage};
use tidegate_session::{End, Loss, Record, Side};
use tidegate_wire::{CloseFrame, Violation};

use crate::counters::HotCounters;
use endpoints::Endpoints;
use make::Make;

const HANDSHAKE_BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const HINT_BUCKETS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 900.0, 3600.0];
const SESSION_BUCKETS: &[f64] = &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0];

/// All metrics of one server.
pub(crate) struct Metrics {
    registry: Registry,
    reference: String,
    /// Held shared while metrics change that belong together, and alone while they are read: so that accepted =
    /// open + ended at every scrape.
    together: RwLock<()>,
    pub(crate) sessions: IntGaugeVec,
    pub(crate) handshakes: IntCounterVec,
    pub(crate) http_requests: IntCounterVec,
    pub(crate) handshake_duration: HistogramVec,
    pub(crate) session_duration: HistogramVec,
    pub(crate) closes: IntCounterVec,
    pub(crate) premature: IntCounterVec,
    pub(crate) hot: HotCounters,
    pub(crate) protocol_errors: IntCounterVec,
    pub(crate) limit_hits: IntCounterVec,
    pub(crate) sanitized_headers: IntCounterVec,
    pub(crate) proxy_headers: IntCounterVec,
    pub(crate) client_addresses: IntGauge,
    pub(crate) auth: IntCounterVec,
    pub(crate) governor_limit: IntGaugeVec,
    pub(crate) governor_in_use: IntGaugeVec,
    pub(crate) governor_waiting: IntGaugeVec,
    pub(crate) governor_waiting_bytes: IntGaugeVec,
    pub(crate) governor_waiting_bytes_limit: IntGaugeVec,
    pub(crate) governor_class_in_use: IntGaugeVec,
    pub(crate) governor_class_waiting: IntGaugeVec,
    pub(crate) governor_class_clients: IntCounterVec,
    pub(crate) governor_tenants: IntGaugeVec,
    pub(crate) governor_traffic: IntGaugeVec,
    pub(crate) governor_traffic_limit: IntGaugeVec,
    pub(crate) governor_handshakes: IntGaugeVec,
    pub(crate) governor_handshake_limit: IntGaugeVec,
    pub(crate) governor_hint: HistogramVec,
    pub(crate) replicas_advised: IntGaugeVec,
    pub(crate) announcements: IntCounterVec,
    pub(crate) governor_shed: IntCounterVec,
    pub(crate) upstream_connects: IntCounterVec,
    pub(crate) upstream_retries: IntCounterVec,
    pub(crate) upstream_connect_duration: HistogramVec,
    pub(crate) upstream_endpoints: IntGaugeVec,
    pub(crate) endpoints: Endpoints,
    pub(crate) upstream_rests: IntCounterVec,
    pub(crate) health_checks: IntCounterVec,
    pub(crate) resolver_lookups: IntCounterVec,
    pub(crate) health_transitions: IntCounterVec,
    pub(crate) keepalive_timeouts: IntCounterVec,
    pub(crate) write_stalls: IntCounterVec,
    pub(crate) close_timeouts: IntCounterVec,
    pub(crate) reloads: IntCounterVec,
    pub(crate) last_reload_successful: IntGauge,
    pub(crate) last_reload_success: IntGauge,
    pub(crate) draining: IntGauge,
    pub(crate) protection_used: GaugeVec,
    pub(crate) protection_refused: GaugeVec,
    pub(crate) tls_handshakes: IntCounterVec,
    pub(crate) tls_reloads: IntCounterVec,
    pub(crate) tls_not_after: IntGaugeVec,
    pub(crate) connections: IntCounterVec,
    pub(crate) accept_errors: IntCounterVec,
    pub(crate) admin_rejected: IntCounter,
    pub(crate) task_panics: IntCounter,
    pub(crate) log_lines_dropped: IntCounter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut make = Make::default();
        make.gauge("build_info", "Always 1; the version is in the label.", &["version"])
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let metrics = Self {
            together: RwLock::new(()),
            sessions: make.gauge("sessions", "Sessions open now.", &["route", "upstream"]),
            handshakes: make.counter(
                "handshakes_total",
                "Requests that asked for a WebSocket, or were refused before they could be passed on, by how they \
                 ended: each in exactly one. accepted = open sessions + session_closes_total.",
                &["listener", "route", "result", "reason", "status"],
            ),
            http_requests: make.counter(
                "http_requests_total",
                "Plain HTTP requests that were passed on, when their answer was over. code_class: 2xx to 5xx, none (the \
                 client left before its answer), other.",
                &["route", "code_class"],
            ),
            handshake_duration: make.histogram(
                "handshake_duration_seconds",
                "From the request to our answer, waiting included.",
                &["route"],
                HANDSHAKE_BUCKETS,
            ),
            session_duration: make.histogram(
                "session_duration_seconds",
                "How long ended sessions lasted.",
                &["route"],
                SESSION_BUCKETS,
            ),
            closes: make.counter(
                "session_closes_total",
                "Sessions ended: who ended it (client, upstream, proxy), with which code, and why. code: the number \
                 for 1000 to 1015, 3xxx, 4xxx, none (an empty Close), abrupt (no Close).",
                &["route", "side", "code", "cause"],
            ),
            premature: make.counter(
                "premature_closes_total",
                "Closes 1000 of an upstream that left something undone: in-message (inside a fragmented message), \
                 untaken (it had not taken all that the client sent), no-message (none had passed either way). They \
                 are relayed all the same.",
                &["route", "kind"],
            ),
            hot: make.hot(),
            protocol_errors: make.counter(
                "protocol_errors_total",
                "Frames that RFC 6455 forbids, by who sent them.",
                &["side", "kind"],
            ),
            limit_hits: make.counter(
                "limit_hits_total",
                "Limits that were reached, and what was done.",
                &["limit", "action"],
            ),
            sanitized_headers: make.counter(
                "sanitized_headers_total",
                "Request headers that did not go upstream as they came.",
                &["kind"],
            ),
            proxy_headers: make.counter(
                "proxy_headers_total",
                "PROXY protocol headers of incoming connections: ok, or why the connection was refused (untrusted, \
                 malformed, timeout, gone).",
                &["listener", "result"],
            ),
            auth: make.counter(
                "auth_total",
                "Requests that were asked who they are: by (jwt, forward), result (allowed, denied, or failed: nobody \
                 could say, and the request was refused).",
                &["route", "by", "result"],
            ),
            client_addresses: make.plain_gauge(
                "client_addresses",
                "Client addresses that are remembered for limits by address; at 100000 a new one is not limited.",
            ),
            governor_limit: make.gauge(
                "governor_limit",
                "Sessions an upstream may hold, as far as a limit is known. source: declared, announced (by its endpoints), \
                 learned, or mixed.",
                &["upstream", "source"],
            ),
            governor_in_use: make.gauge(
                "governor_in_use",
                "Sessions and handshakes in flight that count against the limit.",
                &["upstream"],
            ),
            governor_waiting: make.gauge("governor_waiting", "Clients parked before their 101.", &["upstream"]),
            governor_waiting_bytes: make.gauge(
                "governor_waiting_bytes",
                "Memory held for clients parked before their 101, in bytes.",
                &["upstream"],
            ),
            governor_waiting_bytes_limit: make.gauge(
                "governor_waiting_bytes_limit",
                "Most memory for clients parked before their 101, in bytes: max_waiting_bytes of all routes to the \
                 upstream.",
                &["upstream"],
            ),
            governor_class_in_use: make.gauge(
                "governor_class_in_use",
                "Sessions and handshakes in flight of each class of clients. class: as configured, or default.",
                &["upstream", "class"],
            ),
            governor_class_waiting: make.gauge(
                "governor_class_waiting",
                "Clients of each class parked before their 101.",
                &["upstream", "class"],
            ),
            governor_class_clients: make.counter(
                "governor_class_clients_total",
                "Clients of each class that were let in, or refused by the governor. result: admitted, refused.",
                &["upstream", "class", "result"],
            ),
            governor_tenants: make.gauge(
                "governor_tenants",
                "Tenants that are told apart now: those with clients that wait, and those that had a turn before the \
                 others. At max_tenants of a class further ones share places.",
                &["upstream"],
            ),
            governor_traffic: make.gauge(
                "governor_traffic",
                "What goes through an upstream, measured once a second. resource: messages and bytes (of payload) a second, \
                 buffered_bytes that have not left.",
                &["upstream", "resource"],
            ),
            governor_traffic_limit: make.gauge(
                "governor_traffic_limit",
                "What may go through an upstream before nobody new is let in, where a limit is declared.",
                &["upstream", "resource", "source"],
            ),
            governor_handshakes: make.gauge(
                "governor_handshakes_in_flight",
                "Handshakes with endpoints that are under way.",
                &["upstream"],
            ),
            governor_handshake_limit: make.gauge(
                "governor_handshake_limit",
                "Handshakes that may be under way, by where the limits of the endpoints come from: declared or measured. \
                 Endpoints that have none yet do not count.",
                &["upstream", "source"],
            ),
            governor_hint: make.histogram(
                "governor_hint_seconds",
                "After how long refused clients were told to come back.",
                &["upstream"],
                HINT_BUCKETS,
            ),
            replicas_advised: make.gauge(
                "replicas_advised",
                "Endpoints that an upstream should have, for its peak of the last ten minutes with one of them lost; \
                 /governor says why. None while it is not known what one can take.",
                &["upstream"],
            ),
            announcements: make.counter(
                "capacity_announcements_total",
                "Answers of endpoints to upgrades that said something of their capacity. result: ok, malformed.",
                &["upstream", "result"],
            ),
            governor_shed: make.counter(
                "governor_shed_total",
                "Clients that were refused an upstream, by stage and reason.",
                &["upstream", "stage", "reason"],
            ),
            upstream_connects: make.counter(
                "upstream_connects_total",
                "Handshakes with endpoints, by how they ended.",
                &["upstream", "result"],
            ),
            upstream_retries: make.counter(
                "upstream_retries_total",
                "Handshakes and plain requests that went to another endpoint, by what the one before it had done: as in \
                 upstream_connects_total.",
                &["upstream", "reason"],
            ),
            upstream_connect_duration: make.histogram(
                "upstream_connect_duration_seconds",
                "From the dial to the validated 101.",
                &["upstream"],
                HANDSHAKE_BUCKETS,
            ),
            upstream_endpoints: make.gauge(
                "upstream_endpoints",
                "Endpoints by state; unhealthy: down by health check, or resting after failures.",
                &["upstream", "state"],
            ),
            endpoints: Endpoints::new(&mut make),
            upstream_rests: make.counter(
                "upstream_rests_total",
                "Rests of endpoints: for a while no client went there. cause: connect, timeout, failure (other), \
                 overload (a 503).",
                &["upstream", "cause"],
            ),
            resolver_lookups: make.counter(
                "resolver_lookups_total",
                "Lookups of names of servers. While they fail the last addresses stay. result: ok, failed.",
                &["upstream", "result"],
            ),
            health_checks: make.counter(
                "health_checks_total",
                "Health checks of endpoints, by what they found: ok, or as in upstream_connects_total.",
                &["upstream", "result"],
            ),
            health_transitions: make.counter(
                "health_transitions_total",
                "Endpoints that a health check found down, or up again.",
                &["upstream", "to"],
            ),
            keepalive_timeouts: make.counter(
                "keepalive_timeouts_total",
                "Sides that gave no sign of life after a ping.",
                &["side"],
            ),
            write_stalls: make.counter("write_stalls_total", "Sides that took nothing for write_timeout.", &["side"]),
            close_timeouts: make.counter("close_timeouts_total", "Sides that never answered a Close.", &["side"]),
            reloads: make.counter("config_reloads_total", "Reloads asked for, by result.", &["result"]),
            last_reload_successful: make
                .plain_gauge("config_last_reload_successful", "Whether the last reload, or the start, succeeded."),
            last_reload_success: make.plain_gauge(
                "config_last_reload_success_timestamp_seconds",
                "When the configuration in force was loaded.",
            ),
            draining: make.plain_gauge("draining", "1 from the beginning of a drain."),
            protection_used: make.share(
                "protection_used",
                "What the process uses: files and memory as a share of what it may have, lag in seconds.",
                &["resource"],
            ),
            protection_refused: make.share(
                "protection_refused",
                "The share of newcomers that get 503 because the process itself is short of something, 0 to 1.",
                &["resource"],
            ),
            tls_handshakes: make.counter(
                "tls_handshakes_total",
                "TLS handshakes of clients, by how they ended. reason: full or resumed; or why it came to nothing: \
                 handshake_timeout, max_handshakes (it waited for its turn so long), not_tls, incompatible (no common \
                 version, cipher or protocol), unknown_name, no_client_certificate, client_certificate (it is not \
                 valid), alert (the client refused), client_gone, other.",
                &["listener", "result", "reason", "version"],
            ),
            tls_reloads: make.counter(
                "tls_reloads_total",
                "Changes of certificate, key and authority files that were taken up by themselves, or refused: then \
                 what was loaded before stays.",
                &["result"],
            ),
            tls_not_after: make.gauge(
                "tls_certificate_not_after_timestamp_seconds",
                "When the first certificate of a chain in force expires, by the chain's file.",
                &["certificate"],
            ),
            connections: make.counter(
                "client_connections_total",
                "Connections of clients, TLS done, by the HTTP they speak: 1.1 or 2.",
                &["listener", "http"],
            ),
            accept_errors: make.counter("accept_errors_total", "Failures of accept.", &["kind"]),
            admin_rejected: make
                .plain_counter("admin_rejected_total", "Requests to the admin listener that were refused."),
            task_panics: make.plain_counter("task_panics_total", "Bugs: tasks that panicked. The process lives on."),
            log_lines_dropped: make
                .plain_counter("log_lines_dropped_total", "Access lines lost because their reader does not keep up."),
            registry: make.registry,
            reference: make.reference,
        };
        metrics.start_at_zero();
        metrics
    }

    /// Keeps metrics together: nothing is scraped while this is held.
    pub(crate) fn together(&self) -> RwLockReadGuard<'_, ()> {
        self.together.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// One session is over.
    pub(crate) fn closed(&self, route: &str, upstream: &str, record: &Record) {
        let side = record.end.initiator().map_or("proxy", Side::word);
        let code = close_label(record);
        let _together = self.together();
        self.sessions.with_label_values(&[route, upstream]).dec();
        self.closes.with_label_values(&[route, side, &code, record.end.cause()]).inc();
        if let Some(what) = record.premature {
            self.premature.with_label_values(&[route, what.word()]).inc();
        }
        match record.end {
            End::Lost { side, how: Loss::PingTimeout } => {
                self.keepalive_timeouts.with_label_values(&[side.word()]).inc();
            }
            End::Stalled { side } => self.write_stalls.with_label_values(&[side.word()]).inc(),
            _ => {}
        }
        for side in Side::BOTH {
            if record.leg(side).end == tidegate_session::LegEnd::NoReply {
                self.close_timeouts.with_label_values(&[side.word()]).inc();
            }
        }
    }

    /// A side broke a rule, or reached a limit.
    pub(crate) fn violation(&self, by: Side, what: Violation) {
        if what.is_limit() {
            self.limit_hits.with_label_values(&[what.word(), "close"]).inc();
        } else {
            self.protocol_errors.with_label_values(&[by.word(), what.word()]).inc();
        }
    }

    /// What the process uses.
    pub(crate) fn used(&self, usage: &Usage) {
        let lag = usage.lag.map(|lag| lag.as_secs_f64());
        for (resource, used) in Resource::ALL.into_iter().zip([usage.files, usage.memory, lag]) {
            if let Some(used) = used {
                self.protection_used.with_label_values(&[resource.word()]).set(used);
            }
        }
    }

    /// Which share of newcomers it turns away.
    pub(crate) fn refusing(&self, strain: Option<Strain>) {
        for resource in Resource::ALL {
            let refused = strain.filter(|strain| strain.resource == resource).map_or(0.0, |strain| strain.refuse);
            self.protection_refused.with_label_values(&[resource.word()]).set(refused);
        }
    }

    /// The text format of Prometheus.
    pub(crate) fn render(&self) -> Vec<u8> {
        let families = {
            let _alone = self.together.write().unwrap_or_else(PoisonError::into_inner);
            self.registry.gather()
        };
        let mut out = Vec::with_capacity(16 << 10);
        // Only an I/O error or an empty family could fail, and there is neither.
        let _ = TextEncoder::new().encode(&families, &mut out);
        out
    }
}

/// The code of whoever ended it: what the client or the upstream said, or what the client was told.
fn close_label(record: &Record) -> String {
    let said: Option<&CloseFrame> = match record.end {
        End::Closed { by } | End::Unanswered { by, .. } => record.leg(by).received.as_ref(),
        End::Lost { .. } => return "abrupt".into(),
        End::Violation { by, .. } => record.leg(by).sent.as_ref(),
        _ => record.client.sent.as_ref(),
    };
    match said.map(CloseFrame::code) {
        None => "abrupt".into(),
        Some(None) => "none".into(),
        Some(Some(code)) => match code.0 {
            3000..=3999 => "3xxx".into(),
            4000..=4999 => "4xxx".into(),
            code => code.to_string(),
        },
    }
}

/// `docs/metrics.md`.
#[must_use]
pub fn reference_markdown() -> String {
    let table = Metrics::new().reference;
    format!(
        "# Metrics\n\nGenerated from `crates/tidegate-proxy/src/metrics.rs`. Served as `/metrics` on the admin \
         listener. Every name starts with `tidegate_`; beside them stand the `process_*` metrics of the Prometheus \
         client library.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n{table}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_metrics_can_be_made_and_rendered() {
        let text = String::from_utf8(Metrics::new().render()).unwrap();
        assert!(text.contains("tidegate_build_info{version="), "{text}");
        assert!(text.contains("tidegate_config_reloads_total{result=\"failure\"} 0"), "{text}");
    }
}
