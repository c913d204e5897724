//! What of the simulator is quick enough for every check.

use crate::{
    engine,
    policy::Choice,
    record::Record,
    scenario::{NAMES, Scenario},
};

const CLIENTS: u32 = 10_000;

/// What was measured on real sockets.
pub(crate) const HERD_PAGE: &str = include_str!("../../../docs/herd.md");

fn run(name: &str, policy: Choice, seed: u64) -> Record {
    engine::run(&Scenario::named(name, CLIENTS, seed).unwrap(), policy, seed)
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_another() {
    let digests = [1, 1, 2].map(|seed| run("S3", Choice::Own, seed).digest());
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0], digests[2]);
}

#[test]
fn after_a_full_restart_all_come_back_near_the_bound_and_nothing_crashes() {
    // Fewer clients before as many endpoints would be endpoints of no size that there is.
    let record = engine::run(&Scenario::named("S1", 50_000, 1).unwrap(), Choice::Own, 1);
    let (t99, bound) = (record.quantile(0.99), record.bound(0.99));
    assert!(t99 <= 1.25 * bound, "{t99} s, bound {bound} s");
    assert_eq!((record.crashes, record.refused_in_peace), (0, 0));
    assert!(record.waste() <= 0.01, "{}", record.waste());
}

#[test]
fn no_policy_beats_the_bound_and_nobody_is_counted_twice() {
    // Under the others a fleet as small as this crashes before it is whole.
    for policy in [Choice::Own, Choice::Bound(1.0), Choice::Bound(4.0)] {
        let record = run("S2", policy, 3);
        let (t50, bound) = (record.quantile(0.5), record.bound(0.5));
        assert!(t50 >= 0.99 * bound, "{policy:?}: {t50} s, bound {bound} s");
        let lost = CLIENTS as usize / 20;
        assert!((lost * 9 / 10..=lost * 11 / 10).contains(&record.outages.len()), "{policy:?}");
    }
}

#[test]
fn every_scenario_runs() {
    for name in NAMES {
        let mut scenario = Scenario::named(name, 2_000, 1).unwrap();
        scenario.horizon = scenario.horizon.min(scenario.measured_from + 60 * crate::SECOND);
        let record = engine::run(&scenario, Choice::Own, 1);
        assert!(!record.outages.is_empty(), "{name}");
    }
}
