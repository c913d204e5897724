//! tidegate ends a session: S39 to S46, C8 to C10, C14, the D rows, O1, and rule R10.

use tidegate_session::{CloseCode, End, Farewell, Loss, Pass, Policy, Refused};

use crate::driver::{Case, Client, Upstream, s};

const RESTARTING: &str = "1012 restarting; retry-after=17";

fn draining() -> Case {
    Case::new().ordered(End::Drain, s(0))
}

/// Every order that ends a healthy session, and what the client is told.
const ORDERS: &[(End, &str, &str)] = &[
    (End::Drain, RESTARTING, "restarting"),                     // D7
    (End::RouteRemoved, "1001 route-removed", "route-removed"), // D4
    (End::EndpointDown, "1012 upstream-unhealthy; retry-after=17", "upstream-unhealthy"), // S44
    (End::EndpointRemoved, "1012 rebalance; retry-after=17", "rebalance"), // S45
    (End::MaxAge, "1012 max-age; retry-after=17", "max-age"),   // S40
    (End::Idle, "1001 idle-timeout", "idle-timeout"),           // S39
];

#[test]
fn r10_the_client_is_told_first_and_the_upstream_when_it_has_answered() {
    for (end, told, cause) in ORDERS {
        let case = Case::new().ordered(*end, s(0)).has_told(Client, told).has_told(Upstream, "-");
        // Its data is still delivered, the upstream's is not.
        let case = case.relays_from(Client, true).relays_from(Upstream, false).after(s(1)).sends_data(Client);
        let case = case.closes(Client, "1000").relays_from(Client, false);
        assert_eq!(case.order(), [Client, Upstream]);
        assert_eq!(case.told_at(Upstream), s(1));
        let case = case.closes(Upstream, "1001");
        case.ends(told, &format!("1001 {cause}"), &format!("enforced {cause}"), "clean clean");
    }
}

#[test]
fn s38_whoever_is_thrown_out_is_heard_no_longer() {
    let case = Case::new().ordered(End::AuthExpired, s(0));
    let case = case.has_told(Client, "1008 auth-expired").has_told(Upstream, "1001 client-evicted");
    let case = case.relays_from(Client, false).relays_from(Upstream, false);
    let case = case.closes(Client, "1008").closes(Upstream, "1001");
    case.ends("1008 auth-expired", "1001 client-evicted", "enforced auth-expired", "clean clean");
}

#[test]
fn c9_a_client_that_never_answers_keeps_its_upstream_for_5_s() {
    let case = draining().after(s(4)).has_told(Upstream, "-").after(s(1)).has_told(Upstream, "1001 restarting");
    case.closes(Upstream, "1001").ends(RESTARTING, "1001 restarting", "enforced restarting", "no-reply clean");
}

#[test]
fn c8_what_the_client_answers_is_no_opinion() {
    let case = draining().closes(Client, "4000 whatever").closes(Upstream, "1001");
    case.ends(RESTARTING, "1001 restarting", "enforced restarting", "clean clean");
}

#[test]
fn c10_an_upstreams_own_close_is_answered_and_no_data_follows_the_answer() {
    let case = draining().relays_from(Client, true).closes(Upstream, "1000 mine");
    let case = case.has_told(Upstream, "1001 restarting").relays_from(Client, false).closes(Client, "1012");
    case.ends(RESTARTING, "1001 restarting", "enforced restarting", "clean clean");
}

#[test]
fn c10_mirrored_a_clients_own_close_that_crosses_counts_as_its_answer() {
    let case = draining().closes(Client, "1001 page left").closes(Upstream, "1001");
    case.ends(RESTARTING, "1001 restarting", "enforced restarting", "clean clean");
}

#[test]
fn a_client_that_vanishes_instead_of_answering_lets_the_upstream_go() {
    for how in [Loss::Fin, Loss::Reset] {
        let end = if how == Loss::Fin { "no-reply clean" } else { "reset clean" };
        let case = draining().vanishes(Client, how).has_told(Upstream, "1001 restarting").closes(Upstream, "1001");
        case.ends(RESTARTING, "1001 restarting", "enforced restarting", end);
    }
}

#[test]
fn an_upstream_that_vanishes_while_the_client_is_told_is_told_nothing() {
    let case = draining().vanishes(Upstream, Loss::Reset).closes(Client, "1012");
    case.ends(RESTARTING, "-", "enforced restarting", "clean lost");
}

#[test]
fn detach_is_the_operators() {
    let policy = Policy { detach: Farewell::Close(CloseCode(1011)), ..Policy::default() };
    let case = Case::with(policy).ordered(End::Drain, s(0)).closes(Client, "1012").closes(Upstream, "1011");
    case.ends(RESTARTING, "1011 restarting", "enforced restarting", "clean clean");
    let policy = Policy { detach: Farewell::Abort, ..Policy::default() };
    let case = Case::with(policy.clone()).ordered(End::Drain, s(0)).closes(Client, "1012");
    case.ends(RESTARTING, "-", "enforced restarting", "clean clean");
    // One that closes is answered, whatever becomes of one that does not.
    let case = Case::with(policy).ordered(End::Drain, s(0)).closes(Upstream, "4000 app").closes(Client, "1012");
    case.ends(RESTARTING, "4000 app", "enforced restarting", "clean clean");
}

// ---- Orders and their times.

#[test]
fn an_order_waits_for_its_time() {
    let case = Case::new().ordered(End::Drain, s(20)).after(s(19)).has_told(Client, "-").after(s(1));
    assert_eq!(case.told_at(Client), s(20));
}

#[test]
fn d8_d10_a_sooner_order_wins() {
    let case = Case::new().ordered(End::Drain, s(20)).after(s(5)).ordered(End::Drain, s(0));
    assert_eq!(case.has_told(Client, RESTARTING).told_at(Client), s(5));
    let case = Case::new().ordered(End::Drain, s(20)).ordered(End::RouteRemoved, s(10)).after(s(10));
    case.has_told(Client, "1001 route-removed");
}

#[test]
fn a_later_order_changes_nothing() {
    let case = Case::new().ordered(End::RouteRemoved, s(10)).ordered(End::Drain, s(20)).after(s(30));
    case.has_told(Client, "1001 route-removed");
}

#[test]
fn c14_d10_a_session_that_is_being_told_already_is_left_alone() {
    let case = Case::new().closes(Client, "1000").ordered(End::Drain, s(0)).closes(Upstream, "1000");
    case.ends("1000", "1000", "agreed client-close", "clean clean");
    let case = Case::new().closes(Upstream, "1000").ordered(End::Drain, s(0)).closes(Client, "1000");
    case.ends("1000", "1000", "agreed upstream-close", "clean clean");
    let case = draining().ordered(End::RouteRemoved, s(0)).closes(Client, "1012").closes(Upstream, "1001");
    case.ends(RESTARTING, "1001 restarting", "enforced restarting", "clean clean");
}

#[test]
fn an_endpoints_close_outranks_an_order_that_is_not_due() {
    let case = Case::new().ordered(End::Drain, s(20)).closes(Client, "1000").after(s(1)).closes(Upstream, "1000");
    case.ends("1000", "1000", "agreed client-close", "clean clean");
}

#[test]
fn d13_a_session_that_begins_while_tidegate_drains_ends_like_the_others() {
    let case = Case::new().ordered(End::Drain, s(3)).sends_data(Client).after(s(3)).has_told(Client, RESTARTING);
    case.closes(Client, "1012").closes(Upstream, "1001").ends(
        RESTARTING,
        "1001 restarting",
        "enforced restarting",
        "clean clean",
    );
}

#[test]
fn d14_nothing_happens_where_nothing_is_ordered() {
    let policy = Policy { keepalive_interval: None, ..Policy::default() };
    Case::with(policy).after(s(1_000_000)).has_told(Client, "-").has_told(Upstream, "-");
}

// ---- Limits.

#[test]
fn s39_idle_is_off_by_default_and_counts_frames_of_both_endpoints() {
    let policy = Policy { idle_timeout: Some(s(20)), keepalive_interval: None, ..Policy::default() };
    let case = Case::with(policy).after(s(15)).sends_data(Client).after(s(15)).sends_data(Upstream).after(s(15));
    let case = case.sends_ping(Client, Pass::Relay).after(s(15)).sends_pong(Upstream, b"there?", Pass::Relay);
    let case = case.has_told(Client, "-").after(s(20)).has_told(Client, "1001 idle-timeout");
    case.closes(Client, "1001").closes(Upstream, "1001").ends(
        "1001 idle-timeout",
        "1001 idle-timeout",
        "enforced idle-timeout",
        "clean clean",
    );
}

#[test]
fn s40_a_lifetime_is_shortened_at_random_by_up_to_its_jitter() {
    let policy = Policy { max_lifetime: Some(s(1000)), keepalive_interval: None, ..Policy::default() };
    let mut lives = Vec::new();
    for seed in 0..100u64 {
        let case = Case::seeded(policy.clone(), seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).after(s(1000));
        lives.push(case.has_told(Client, "1012 max-age; retry-after=17").told_at(Client));
    }
    assert!(lives.iter().all(|&life| life > s(900) && life <= s(1000)));
    assert!(lives.iter().any(|&life| life < s(925)) && lives.iter().any(|&life| life > s(975)), "{lives:?}");
}

#[test]
fn s41_a_slow_client_is_told_in_its_last_second_and_the_upstream_let_go() {
    let case = Case::new().blocked(Client).after(s(10)).has_told(Client, "1013 slow-consumer; retry-after=17");
    let case = case.has_told(Upstream, "1001 slow-consumer").closes(Upstream, "1001");
    case.ends("1013 slow-consumer; retry-after=17", "1001 slow-consumer", "unclosable slow-consumer", "stalled clean");
}

#[test]
fn s42_a_slow_upstream_is_told_in_its_last_second_and_the_client_to_come_back() {
    let case = Case::new().blocked(Upstream).after(s(10)).has_told(Upstream, "1011 slow-consumer");
    let case = case.has_told(Client, "1013 upstream-slow; retry-after=17").closes(Client, "1013");
    case.ends("1013 upstream-slow; retry-after=17", "1011 slow-consumer", "unclosable upstream-slow", "clean stalled");
}

#[test]
fn s41_a_slow_client_that_takes_its_close_after_all_was_told() {
    let case = Case::new().blocked(Client).after(s(10)).takes_bytes(Client, false).closes(Client, "1013");
    let case = case.closes(Upstream, "1001");
    case.ends("1013 slow-consumer; retry-after=17", "1001 slow-consumer", "enforced slow-consumer", "stalled clean");
}

#[test]
fn s42_a_slow_upstream_that_takes_its_close_after_all_was_told() {
    let case = Case::new().blocked(Upstream).after(s(10)).takes_bytes(Upstream, false).closes(Upstream, "1011");
    let case = case.closes(Client, "1013");
    case.ends("1013 upstream-slow; retry-after=17", "1011 slow-consumer", "enforced upstream-slow", "clean stalled");
}

#[test]
fn a_side_that_takes_some_bytes_is_not_slow_yet() {
    for side in [Client, Upstream] {
        let mut case = Case::new().blocked(side);
        for _ in 0..10 {
            case = case.after(s(9)).takes_bytes(side, true);
        }
        case.has_told(Client, "-").has_told(Upstream, "-");
    }
}

#[test]
fn s46_a_bug_is_told_to_both_as_1011() {
    let case = Case::new().ordered(End::Internal, s(0)).closes(Client, "1011").closes(Upstream, "1011");
    case.ends("1011 internal-error", "1011 internal-error", "enforced internal-error", "clean clean");
}

#[test]
fn o1_a_client_without_an_upstream_is_told_1013_behind_its_101() {
    for (why, cause) in [
        (Refused::Overloaded, "overloaded"),
        (Refused::UpstreamFull, "upstream-full"),
        (Refused::NoUpstream, "no-upstream"),
        (Refused::UpstreamOverloaded, "upstream-overloaded"),
    ] {
        let told = format!("1013 {cause}; retry-after=17");
        let verdict = format!("enforced {cause}");
        Case::refused(why).closes(Client, "1013").ends(&told, "-", &verdict, "clean lost");
        Case::refused(why).sends_data(Client).ends(&told, "-", &verdict, "no-reply lost");
        Case::refused(why).vanishes(Client, Loss::Reset).ends(&told, "-", &verdict, "reset lost");
        Case::refused(why).ordered(End::Drain, s(0)).closes(Client, "1013").ends(&told, "-", &verdict, "clean lost");
    }
}
