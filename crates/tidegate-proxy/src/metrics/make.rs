//! Making a metric registers it and writes its row of the reference.

use std::fmt::Write as _;

use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector,
};

use crate::counters::HotCounters;

/// Makes metrics, and the reference with them.
#[derive(Default)]
pub(super) struct Make {
    pub(super) registry: Registry,
    pub(super) reference: String,
}

impl Make {
    pub(super) fn counter(&mut self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register("counter", name, help, labels, IntCounterVec::new(options(name, help), labels))
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register("gauge", name, help, labels, IntGaugeVec::new(options(name, help), labels))
    }

    pub(super) fn share(&mut self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register("gauge", name, help, labels, GaugeVec::new(options(name, help), labels))
    }

    pub(super) fn plain_counter(&mut self, name: &str, help: &str) -> IntCounter {
        self.register("counter", name, help, &[], IntCounter::with_opts(options(name, help)))
    }

    pub(super) fn plain_gauge(&mut self, name: &str, help: &str) -> IntGauge {
        self.register("gauge", name, help, &[], IntGauge::with_opts(options(name, help)))
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let options = HistogramOpts::new(format!("tidegate_{name}"), help).buckets(buckets.to_vec());
        self.register("histogram", name, help, labels, HistogramVec::new(options, labels))
    }

    pub(super) fn hot(&mut self) -> HotCounters {
        #[cfg(target_os = "linux")]
        let _ = self.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()));
        let hot = HotCounters::default();
        for (kind, name, help, labels) in HotCounters::REFERENCE {
            self.describe(kind, name, help, labels);
        }
        let _ = self.registry.register(Box::new(hot.clone()));
        hot
    }

    fn register<C: Collector + Clone + 'static>(
        &mut self,
        kind: &str,
        name: &str,
        help: &str,
        labels: &[&str],
        made: prometheus::Result<C>,
    ) -> C {
        self.describe(kind, name, help, labels);
        // Names and labels are constants, and a test makes them all.
        let metric = made.unwrap_or_else(|error| panic!("{name}: {error}"));
        self.registry.register(Box::new(metric.clone())).unwrap_or_else(|error| panic!("{name}: {error}"));
        metric
    }

    fn describe(&mut self, kind: &str, name: &str, help: &str, labels: &[&str]) {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(self.reference, "| `tidegate_{name}` | {kind} | {labels} | {help} |");
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(format!("tidegate_{name}"), help)
}
