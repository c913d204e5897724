//! The figures the governor must reach.

use std::fmt::Write as _;

use crate::{
    bench,
    policy::Choice,
    report::{Job, Plan, Run, median, run_all},
    scenario::Measure,
};

/// Recovery of 99 % over what nobody could beat, at a million clients.
const RECOVERY: f64 = 1.12;
/// Worse than the static bound by at most this, in any scenario.
const TOLERANCE: f64 = 1.03;
const WASTE: f64 = 0.01;
const GOODPUT: f64 = 0.95;
const JAIN: f64 = 0.98;
/// Fewer outages for each of a hundred tenants are too few to tell favour from luck.
const ENOUGH: usize = 40_000;
const DECISION_NS: f64 = 1000.0;
const MILLION: u32 = 1_000_000;

/// Runs the governor and the static bound at 1 x through the scenarios, the full restart also with a million clients
/// and `seeds / 6` seeds; the report and whether every figure was reached.
pub fn check(plan: &Plan) -> (String, bool) {
    let (own, plain) = (Choice::Own, Choice::Bound(1.0));
    let mut out = String::new();
    let mut good = true;
    let mut verdict = |ok: bool, what: String| {
        good &= ok;
        let _ = writeln!(out, "{} {what}", if ok { "ok    " } else { "MISSED" });
    };
    let job = |scenario, policy, clients, seed| Job { scenario, policy, clients, seed };
    let of = |runs: &[Run], what: fn(&Run) -> f64| median(runs.iter().map(what)).0;
    let names = plan.names();
    let mut jobs: Vec<Job> = Vec::new();
    for &name in &names {
        for policy in [own, plain] {
            jobs.extend((1..=plan.seeds).map(|seed| job(name, policy, plan.clients, seed)));
        }
    }
    let compared = jobs.len();
    if plan.scenarios.is_empty() {
        jobs.extend((1..=plan.seeds.div_ceil(7)).map(|seed| job("S1", own, MILLION, seed)));
    }
    let runs: Vec<Run> = run_all(&jobs).into_iter().flatten().collect();
    let (runs, million) = runs.split_at(compared);
    let mut crashes = 0;
    for (name, runs) in names.into_iter().zip(runs.chunks(2 * plan.seeds as usize)) {
        let (ours, theirs) = runs.split_at(plan.seeds as usize);
        let (a, b) = (of(ours, |r| r.value), of(theirs, |r| r.value));
        match ours[0].measure {
            Measure::Goodput(..) => {
                verdict(a >= b / TOLERANCE, format!("{name}: goodput {:.1} %, static {:.1} %", 100.0 * a, 100.0 * b));
                verdict(a >= GOODPUT, format!("{name}: goodput {:.1} % of capacity", 100.0 * a));
            }
            _ => verdict(a <= b * TOLERANCE, format!("{name}: t99 {a:.1} s, static {b:.1} s")),
        }
        let waste = of(ours, |r| r.waste);
        verdict(waste <= WASTE, format!("{name}: {:.2} % of the handshakes were for nothing", 100.0 * waste));
        let refused: u64 = ours.iter().map(|r| r.refused_in_peace).sum();
        verdict(refused == 0, format!("{name}: {refused} refused under 75 % load"));
        if ours[0].outages >= ENOUGH {
            let jain = of(ours, |r| r.jain_tenants);
            verdict(jain >= JAIN, format!("{name}: Jain's index over tenants {jain:.3}"));
        }
        crashes += ours.iter().map(|r| r.crashes).sum::<u32>();
    }
    if !million.is_empty() {
        let (value, bound) = (of(million, |r| r.value), of(million, |r| r.bound));
        let ratio = value / bound;
        verdict(
            ratio <= RECOVERY,
            format!("S1 with 1,000,000: t99 {value:.1} s, {ratio:.3} x the bound of {bound:.1} s"),
        );
        let waste = of(million, |r| r.waste);
        verdict(
            waste <= WASTE,
            format!("S1 with 1,000,000: {:.2} % of the handshakes were for nothing", 100.0 * waste),
        );
        crashes += million.iter().map(|r| r.crashes).sum::<u32>();
    }
    verdict(crashes == 0, format!("{crashes} endpoints crashed over all scenarios and seeds"));
    let cost = bench::decision();
    verdict(cost <= DECISION_NS, format!("a decision takes {cost:.0} ns"));
    (out, good)
}
