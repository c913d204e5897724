//! Many runs, and what they come to.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    engine,
    policy::Choice,
    record::quantile,
    scenario::{Measure, NAMES, Scenario},
};

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Names of scenarios; empty: all.
    pub scenarios: Vec<String>,
    /// Clients of the fleet.
    pub clients: u32,
    /// Seeds 1 to this.
    pub seeds: u64,
    /// Every policy, or only the governor and the static bound at 1 x.
    pub full: bool,
}

/// One run, reduced to what is compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Seconds, or a part of the capacity.
    pub(crate) value: f64,
    pub(crate) bound: f64,
    pub(crate) waste: f64,
    pub(crate) crashes: u32,
    pub(crate) peak: f64,
    pub(crate) attempts: f64,
    pub(crate) jain_tenants: f64,
    pub(crate) jain_kinds: f64,
    pub(crate) refused_in_peace: u64,
    /// Outages that were measured.
    pub(crate) outages: usize,
    pub(crate) measure: Measure,
}

/// A scenario and a policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) scenario: &'static str,
    pub(crate) policy: Choice,
    pub(crate) clients: u32,
    pub(crate) seed: u64,
}

impl Job {
    /// About how long it takes, to begin with the longest.
    fn effort(self) -> u64 {
        let scenario = match self.scenario {
            "S6b" => 10,
            "S6a" | "S6c" => 5,
            _ => 2,
        };
        let policy = if self.policy == Choice::Own { 2 } else { 1 };
        u64::from(self.clients) * scenario * policy
    }

    pub(crate) fn run(self) -> Option<Run> {
        let scenario = Scenario::named(self.scenario, self.clients, self.seed)?;
        let record = engine::run(&scenario, self.policy, self.seed);
        let value = match scenario.measure {
            // It fell before anything had befallen it, and nobody was in to be counted out.
            Measure::Recovery if record.outages.is_empty() => f64::INFINITY,
            Measure::Recovery => record.quantile(0.99),
            Measure::Goodput(from, to) => record.goodput(from, to),
            Measure::Victims => record.quantile_of(0.99, |o| o.tenant != 0),
            Measure::Whole(from) => record.whole(from, self.clients),
        };
        let per_client = f64::from(scenario.clients()).max(1.0);
        Some(Run {
            value,
            bound: if scenario.measure == Measure::Recovery { record.bound(0.99) } else { f64::NAN },
            waste: record.waste(),
            crashes: record.crashes,
            peak: f64::from(record.peak()) / (scenario.server.rate * scenario.endpoints as f64),
            attempts: record.attempts as f64 / (record.outages.len() as f64).clamp(1.0, per_client * 1e3),
            jain_tenants: match scenario.measure {
                Measure::Victims => record.jain_of_the_served(5.0, |o| o.tenant != 0),
                _ => record.jain_of_tenants(),
            },
            jain_kinds: record.jain_of_kinds(),
            refused_in_peace: record.refused_in_peace,
            outages: record.outages.len(),
            measure: scenario.measure,
        })
    }
}

/// Runs them on all cores, the longest first; results in the order of the jobs.
pub(crate) fn run_all(jobs: &[Job]) -> Vec<Option<Run>> {
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(jobs[i].effort()));
    let (next, done) = (AtomicUsize::new(0), Mutex::new(vec![None; jobs.len()]));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let Some(&i) = order.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                    let run = jobs[i].run();
                    done.lock().unwrap_or_else(PoisonError::into_inner)[i] = run;
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Median, and the interval that holds the true one with 95 % certainty: order statistics of a binomial.
pub(crate) fn median(of: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut all: Vec<f64> = of.collect();
    all.sort_unstable_by(f64::total_cmp);
    let n = all.len();
    let spread = (0.98 * (n as f64).sqrt()).ceil() as usize;
    let (low, high) = ((n / 2).saturating_sub(spread), (n / 2 + spread).min(n.saturating_sub(1)));
    (quantile(all.clone(), 0.5), all.get(low).copied().unwrap_or(f64::NAN), all.get(high).copied().unwrap_or(f64::NAN))
}

impl Plan {
    pub(crate) fn names(&self) -> Vec<&'static str> {
        let wanted = |name: &&str| self.scenarios.is_empty() || self.scenarios.iter().any(|s| s == name);
        NAMES.into_iter().filter(wanted).collect()
    }
}

/// The table of the plan, as Markdown.
///
/// # Errors
/// A scenario that there is not.
pub fn table(plan: &Plan) -> Result<String, String> {
    if let Some(unknown) = plan.scenarios.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(format!("no scenario is called {unknown}; there are {}", NAMES.join(", ")));
    }
    let policies = if plan.full { Choice::all() } else { vec![Choice::Own, Choice::Bound(1.0)] };
    let mut jobs = Vec::new();
    for scenario in plan.names() {
        for &policy in &policies {
            jobs.extend((1..=plan.seeds).map(|seed| Job { scenario, policy, clients: plan.clients, seed }));
        }
    }
    let runs = run_all(&jobs);
    let mut rows: BTreeMap<(usize, usize), Vec<Run>> = BTreeMap::new();
    for (job, run) in jobs.iter().zip(runs) {
        let scenario = NAMES.iter().position(|name| *name == job.scenario);
        let policy = policies.iter().position(|policy| *policy == job.policy);
        if let (Some(scenario), Some(policy), Some(run)) = (scenario, policy, run) {
            rows.entry((scenario, policy)).or_default().push(run);
        }
    }
    let mut out = String::new();
    let mut last = usize::MAX;
    for ((scenario, policy), runs) in &rows {
        if *scenario != last {
            last = *scenario;
            let it = Scenario::named(NAMES[last], plan.clients, 1).ok_or("no such scenario")?;
            let bound = median(runs.iter().map(|run| run.bound)).0;
            let _ = write!(out, "\n### {}: {}\n\n", it.name, it.title);
            let measured = match it.measure {
                Measure::Recovery if bound.is_finite() => format!("t99 in s (bound {bound:.1})"),
                Measure::Recovery | Measure::Whole(_) => "t99 in s".into(),
                Measure::Goodput(..) => "goodput".into(),
                Measure::Victims => "t99 of the other tenants in s".into(),
            };
            let _ = writeln!(
                out,
                "| policy | {measured} | wasted | crashes | peak / capacity | attempts | Jain tenants | Jain libraries |"
            );
            let _ = writeln!(out, "|---|---:|---:|---:|---:|---:|---:|---:|");
        }
        let of = |what: fn(&Run) -> f64| median(runs.iter().map(what)).0;
        let (value, low, high) = median(runs.iter().map(|run| run.value));
        let value = match runs[0].measure {
            Measure::Goodput(..) => format!("{:.1} % [{:.1}, {:.1}]", 100.0 * value, 100.0 * low, 100.0 * high),
            _ if value.is_infinite() => "never".into(),
            _ => format!("{value:.1} [{low:.1}, {high:.1}]"),
        };
        let _ = writeln!(
            out,
            "| {} | {value} | {:.2} % | {:.0} | {:.1} | {:.1} | {:.3} | {:.3} |",
            policies[*policy].name(),
            100.0 * of(|run| run.waste),
            of(|run| f64::from(run.crashes)),
            of(|run| run.peak),
            of(|run| run.attempts),
            of(|run| run.jain_tenants),
            of(|run| run.jain_kinds),
        );
    }
    Ok(out)
}
