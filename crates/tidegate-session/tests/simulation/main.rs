//! Whole sessions over virtual time: two peers that do anything, networks that do anything, and between them a
//! [`Session`](tidegate_session::Session) driven as the proxy drives it, over real bytes and real scanners.
//!
//! One seed is one session. `TIDEGATE_SIM_SESSIONS` says how many; `TIDEGATE_SIM_SEED` runs one and prints its trace.

mod checks;
mod network;
mod peer;
mod plan;
mod proxy;
mod rng;
#[path = "../../../tidegate-wire/tests/strict/mod.rs"]
mod strict;
mod world;

use std::{collections::BTreeMap, thread};

use world::World;

/// About ten seconds of an unoptimised build.
const SESSIONS: u64 = 10_000;

#[test]
fn sessions_keep_the_contract_whatever_their_peers_do() {
    if let Some(seed) = number("TIDEGATE_SIM_SEED") {
        let mut world = World::new(seed, true);
        world.run();
        checks::check(&world);
        println!("{}", world.trace());
        return;
    }
    let sessions = number("TIDEGATE_SIM_SESSIONS").unwrap_or(SESSIONS);
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let shares: Vec<_> = (0..threads).map(|first| thread::spawn(move || share(first, threads, sessions))).collect();
    let mut verdicts = BTreeMap::new();
    for share in shares {
        let counted = share.join().unwrap_or_else(|_| panic!("a session broke its promises: see its seed above"));
        for (verdict, count) in counted {
            *verdicts.entry(verdict).or_insert(0) += count;
        }
    }
    println!("{sessions} sessions: {verdicts:?}");
    for verdict in ["agreed", "relayed", "enforced", "client-lost", "upstream-lost", "both-lost", "unclosable"] {
        assert!(sessions < 10_000 || verdicts.contains_key(verdict), "none was {verdict}: the simulation is too tame");
    }
}

fn share(first: u64, step: u64, sessions: u64) -> BTreeMap<&'static str, u64> {
    let mut verdicts = BTreeMap::new();
    for seed in (first..sessions).step_by(step as usize) {
        let mut world = World::new(seed, false);
        world.run();
        checks::check(&world);
        *verdicts.entry(world.record().verdict.word()).or_insert(0) += 1;
    }
    verdicts
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..200 {
        let run = || {
            let mut world = World::new(seed, true);
            world.run();
            world.trace()
        };
        assert_eq!(run(), run(), "seed {seed}");
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number: {value}")))
}
