//! The gauge against an endpoint that carries `capacity` handshakes at once and queues the others.

use super::*;
use crate::tests::base;

const BASE: Duration = Duration::from_millis(50);

/// Keeps the endpoint as busy as the gauge allows (and `demand` asks) for some rounds; returns the bound.
fn run(gauge: &mut Gauge, now: &mut Instant, capacity: u32, demand: u32, rounds: u32) -> u32 {
    for _ in 0..rounds {
        let in_flight = gauge.bound(None).0.min(demand);
        let latency = BASE.mul_f64(f64::from(in_flight.max(capacity)) / f64::from(capacity));
        *now += latency;
        (0..in_flight).for_each(|_| gauge.on_established(latency, in_flight, None, *now));
    }
    gauge.bound(None).0
}

#[test]
fn an_endpoint_that_shows_no_strain_is_not_bound() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    for demand in [10, 100, 500] {
        let bound = run(&mut gauge, &mut now, 1000, demand, 20);
        assert!(bound >= 2 * demand, "{bound}");
    }
    assert_eq!(run(&mut gauge, &mut now, 10_000, 5000, 20), LOOSE);
    assert_eq!(gauge.bound(None).1, Cap::Unlimited);
}

#[test]
fn an_endpoint_that_slows_settles_near_what_it_carries() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    run(&mut gauge, &mut now, 100, 20, 50);
    let bound = run(&mut gauge, &mut now, 100, 5000, 100);
    assert!((90..=150).contains(&bound), "{bound}");
    // A brown-out to a fifth.
    let bound = run(&mut gauge, &mut now, 20, 5000, 200);
    assert!((15..=50).contains(&bound), "{bound}");
    // And back.
    let bound = run(&mut gauge, &mut now, 100, 5000, 400);
    assert!((90..=200).contains(&bound), "{bound}");
}

#[test]
fn the_base_is_the_usual_latency_and_half_of_it_is_news() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    let mut served_in = |ms: u64| {
        for _ in 0..WINDOW_SAMPLES {
            now += Duration::from_millis(100);
            gauge.on_established(Duration::from_millis(ms), 1, None, now);
        }
        (gauge.base.expect("a window is full") * 1e3).round() as u64
    };
    assert_eq!([50, 42, 56, 20].map(&mut served_in), [50, 48, 50, 20]);
}

#[test]
fn in_quiet_times_its_latency_tells_what_it_can_do() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    assert_eq!(gauge.shown_rate(now), 0.0);
    for _ in 0..50 {
        now += Duration::from_millis(500);
        gauge.on_established(BASE, 1, None, now);
    }
    let rate = gauge.shown_rate(now);
    assert!((18.0..=20.0).contains(&rate), "two a second came, one at a time in 50 ms: {rate}");
}

#[test]
fn after_an_outage_it_begins_at_four_and_doubles_each_good_round() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    run(&mut gauge, &mut now, 1000, 20, 50);
    gauge.restart();
    let bounds: Vec<u32> = (0..5).map(|_| run(&mut gauge, &mut now, 1000, 5000, 1)).collect();
    assert_eq!(bounds, [8, 16, 32, 64, 128]);
}

#[test]
fn a_cold_endpoint_holds_the_ramp() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    run(&mut gauge, &mut now, 1000, 20, 50);
    gauge.restart();
    let bound = run(&mut gauge, &mut now, 1, 5000, 20);
    assert!(bound <= 8, "{bound}");
}

#[test]
fn an_endpoint_that_comes_back_cold_is_soon_given_as_many_as_it_carried_before() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    run(&mut gauge, &mut now, 100, 80, 50);
    gauge.restart();
    let began = now;
    // Four times slower, however few there are: it takes many windows until it is warm.
    while gauge.bound(None).0 < 75 {
        let in_flight = gauge.bound(None).0;
        for _ in 0..in_flight {
            now += BASE * 4 / in_flight;
            gauge.on_established(BASE * 4, in_flight, None, now);
        }
        assert!(now - began < Duration::from_secs(2), "{:?}", gauge.bound(None));
    }
}

#[test]
fn an_endpoint_that_became_slower_for_good_is_not_held_down_for_ever() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    run(&mut gauge, &mut now, 1000, 500, 50);
    let slower = BASE * 3;
    for _ in 0..400 {
        let in_flight = gauge.bound(None).0.min(500);
        now += slower;
        (0..in_flight).for_each(|_| gauge.on_established(slower, in_flight, None, now));
    }
    assert!(gauge.bound(None).0 >= 500, "{:?}", gauge.bound(None));
}

#[test]
fn a_bound_at_which_nobody_queues_grows() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    run(&mut gauge, &mut now, 3, 3, 50);
    while gauge.bound(None).0 > 2 {
        now += WINDOW_SHORTEST;
        (0..10).for_each(|_| gauge.on_dropped(now));
    }
    let bound = run(&mut gauge, &mut now, 3, 5000, 100);
    assert!((3..=4).contains(&bound), "{bound}");
}

#[test]
fn few_that_are_slow_are_not_too_many() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    run(&mut gauge, &mut now, 100, 5000, 100);
    let before = gauge.bound(None).0;
    // What it carried is forgotten; then clients come by the wave, and are slow for another reason.
    now += Duration::from_secs(3600);
    for round in 0..200 {
        let in_flight = if round % 4 == 0 { before * 2 / 5 } else { before / 5 };
        now += BASE;
        (0..in_flight).for_each(|_| gauge.on_established(2 * BASE, in_flight, None, now));
    }
    assert_eq!(gauge.bound(None).0, before);
}

#[test]
fn one_failure_in_peace_does_not_choke_a_later_burst() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    run(&mut gauge, &mut now, 1000, 1, 50);
    gauge.on_dropped(now);
    let bound = run(&mut gauge, &mut now, 1000, 5000, 8);
    assert!(bound >= 500, "{bound}");
}

#[test]
fn a_mass_of_timeouts_cuts_once() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    run(&mut gauge, &mut now, 100, 100, 50);
    let before = gauge.bound(None).0;
    (0..500).for_each(|_| gauge.on_dropped(now));
    let bound = gauge.bound(None).0;
    assert!((before * 6 / 10..before * 8 / 10).contains(&bound), "{before} to {bound}");
}

#[test]
fn a_declared_bound_is_only_undercut_after_an_outage() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    assert_eq!(gauge.bound(Some(25)), (25, Cap::Declared(25)));
    gauge.restart();
    assert_eq!(gauge.bound(Some(25)), (4, Cap::Measured(4)));
    assert_eq!(gauge.bound(Some(3)), (3, Cap::Declared(3)));
    for in_flight in 4..25 {
        now += BASE;
        gauge.on_established(BASE, in_flight, Some(25), now);
    }
    assert_eq!(gauge.bound(Some(25)), (25, Cap::Declared(25)));
    assert!(!gauge.recovering);
}

#[test]
fn what_is_not_known_is_not_sent_to_each_of_many_but_earned_by_answers() {
    let (mut alone, mut of_many, now) = (Gauge::default(), Gauge::default(), base());
    alone.begin(1, false);
    of_many.begin(16, false);
    assert_eq!((alone.bound(None).0, of_many.bound(None).0), (LOOSE, BLIND / 16));
    for gauge in [&mut alone, &mut of_many] {
        (0..5).for_each(|_| gauge.on_established(BASE, 1, None, now));
        assert_eq!(gauge.bound(None).0, START as u32 + 5 * BLIND_GAIN);
    }
}

#[test]
fn an_endpoint_that_answers_nobody_is_not_sent_more_and_more() {
    let (mut gauge, now) = (Gauge::default(), base());
    (1..=1000).for_each(|in_flight| gauge.on_dial(in_flight, now));
    assert_eq!(gauge.bound(None).0, LOOSE, "all at once");
    gauge.on_dial(1001, now + GLANCE);
    assert_eq!(gauge.bound(None).0, START as u32);
}

#[test]
fn what_a_new_endpoint_is_swamped_with_at_first_is_not_what_it_can_take() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    // 500 at once before one that carries 40: it is done with them after seconds, and then with many in a row.
    (1..=500).for_each(|in_flight| gauge.on_dial(in_flight, now));
    now += Duration::from_secs(4);
    for answered in 0..100 {
        now += BASE / 8;
        gauge.on_established(Duration::from_secs(4), 500 - answered, None, now);
    }
    let bound = gauge.bound(None).0;
    assert!(bound <= 8 + 100, "{bound}");
}

#[test]
fn of_a_swamp_that_shares_its_processor_no_latency_is_taken_for_the_base() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    for in_flight in 1..=480 {
        gauge.on_dial(in_flight, now);
        now += Duration::from_micros(500);
    }
    // 40 at once would have taken 200 ms: these take twelve times as long, each of them.
    now += Duration::from_secs(2);
    for in_flight in (9..=480).rev() {
        gauge.on_established(Duration::from_millis(2400), in_flight, None, now);
        now += Duration::from_millis(1);
        assert!(!gauge.is_known() && gauge.bound(None).0 == 8, "{in_flight}: {:?}", gauge.bound(None));
    }
    let bound = run(&mut gauge, &mut now, 40, 5000, 100);
    assert!((30..=80).contains(&bound), "{bound}");
}

#[test]
fn a_failure_in_a_swamp_does_not_make_its_answers_count() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    (1..=480).for_each(|in_flight| gauge.on_dial(in_flight, now));
    now += Duration::from_secs(2);
    gauge.on_dropped(now);
    (9..480).rev().for_each(|in_flight| gauge.on_established(Duration::from_secs(2), in_flight, None, now));
    assert_eq!(gauge.bound(None).0, RESTART as u32);
}

#[test]
fn a_swamp_that_nobody_holds_back_is_over_when_it_is_answered() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    (1..=100).for_each(|in_flight| gauge.on_dial(in_flight, now));
    now += BASE * 6;
    // As in observe mode: for each that is answered another begins.
    for _ in 0..1000 {
        now += BASE * 6 / 100;
        gauge.on_established(BASE * 6, 100, None, now);
    }
    assert!(gauge.bound(None).0 >= 100, "{:?}", gauge.bound(None));
}

#[test]
fn a_newcomer_beside_others_that_are_known_begins_as_one_that_was_down() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    gauge.begin(2, true);
    let bounds: Vec<u32> = (0..3).map(|_| run(&mut gauge, &mut now, 1000, 5000, 1)).collect();
    assert_eq!(bounds, [8, 16, 32]);
}

#[test]
fn at_its_bound_nothing_is_forgotten_and_strain_is_never_taken_for_the_base() {
    for capacity in [2, 3, 25] {
        let (mut gauge, mut now) = (Gauge::default(), base());
        run(&mut gauge, &mut now, capacity, capacity, 100);
        // The others of its clients keep it five times as slow, for an hour.
        let begin = now;
        while now < begin + Duration::from_secs(3600) {
            let in_flight = gauge.bound(None).0;
            now += 5 * BASE;
            (0..in_flight).for_each(|_| gauge.on_established(5 * BASE, in_flight, None, now));
        }
        let bound = gauge.bound(None).0;
        assert!((2..=capacity * 2).contains(&bound), "{bound} where {capacity} are carried");
    }
}

#[test]
fn an_endpoint_that_is_busy_from_its_first_moment_is_not_taken_to_be_slow() {
    let (mut gauge, mut now) = (Gauge::default(), base());
    gauge.begin(20, false);
    // Twenty at once, which it carries; each takes half as long or half as long again as the other.
    for round in 0..2000_u32 {
        now += BASE / 20;
        gauge.on_established(BASE.mul_f64(0.5 + f64::from(round % 7) / 6.0), 20, None, now);
    }
    assert!(gauge.bound(None).0 >= 30, "{}", gauge.bound(None).0);
}
