//! An endpoint vanishes: S15 to S23, S50, and clients that are held until their turn.

use std::time::Duration;

use tidegate_session::{CloseCode, End, Farewell, Loss, Pass, Policy, Violation};

use crate::driver::{Case, Client, Upstream, s};

#[test]
fn s15_s16_s18_the_client_is_lost_and_the_upstream_told_1011() {
    for how in [Loss::Fin, Loss::Reset, Loss::MidFrame] {
        Case::new().vanishes(Client, how).relays_from(Upstream, false).closes(Upstream, "1011").ends(
            "-",
            "1011 client-lost",
            "client-lost client-lost",
            "lost clean",
        );
    }
}

#[test]
fn s19_s20_s22_the_upstream_is_lost_and_the_client_told_1014() {
    for how in [Loss::Fin, Loss::Reset, Loss::MidFrame] {
        Case::new().vanishes(Upstream, how).relays_from(Client, false).closes(Client, "1014").ends(
            "1014 upstream-lost; retry-after=17",
            "-",
            "upstream-lost upstream-lost",
            "clean lost",
        );
    }
}

#[test]
fn s16_a_write_to_the_client_fails_and_its_end_is_never_seen() {
    let case = Case::new().write_fails(Client).after(s(1));
    assert_eq!(case.told_at(Upstream), s(1));
    case.closes(Upstream, "1011").ends("-", "1011 client-lost", "client-lost client-lost", "lost clean");
}

#[test]
fn s20_a_write_to_the_upstream_fails_and_its_end_is_never_seen() {
    let case = Case::new().write_fails(Upstream).after(s(1));
    assert_eq!(case.told_at(Client), s(1));
    let told = "1014 upstream-lost; retry-after=17";
    case.closes(Client, "1014").ends(told, "-", "upstream-lost upstream-lost", "clean lost");
}

#[test]
fn a_failed_write_and_then_an_end_of_tcp_is_one_loss() {
    let case = Case::new().write_fails(Client).ends_tcp(Client).closes(Upstream, "1011");
    case.ends("-", "1011 client-lost", "client-lost client-lost", "lost clean");
    let case = Case::new().write_fails(Upstream).ends_tcp(Upstream).closes(Client, "1014");
    let told = "1014 upstream-lost; retry-after=17";
    case.ends(told, "-", "upstream-lost upstream-lost", "clean lost");
}

#[test]
fn upstream_lost_code_and_client_lost_are_the_operators() {
    let policy = Policy { upstream_lost_code: CloseCode(1012), client_lost: Farewell::Abort, ..Policy::default() };
    let told = "1012 upstream-lost; retry-after=17";
    let case = Case::with(policy.clone()).vanishes(Upstream, Loss::Fin).closes(Client, "1012");
    case.ends(told, "-", "upstream-lost upstream-lost", "clean lost");
    // Aborted: the upstream sees what it would have seen without a proxy.
    Case::with(policy).vanishes(Client, Loss::Fin).ends("-", "-", "client-lost client-lost", "lost clean");
}

#[test]
fn s50_both_vanish_at_once_and_nobody_is_told() {
    for first in [Client, Upstream] {
        for how in [Loss::Fin, Loss::Reset] {
            let cause = format!("both-lost {}-lost", first.word());
            Case::new().both_vanish(first, how).ends("-", "-", &cause, "lost lost");
        }
    }
}

#[test]
fn a_side_that_vanishes_after_it_was_told_was_told() {
    let told = "1014 upstream-lost; retry-after=17";
    let case = Case::new().vanishes(Upstream, Loss::Fin).vanishes(Client, Loss::Reset);
    case.ends(told, "-", "upstream-lost upstream-lost", "reset lost");
    let case = Case::new().vanishes(Client, Loss::Fin).vanishes(Upstream, Loss::Reset);
    case.ends("-", "1011 client-lost", "client-lost client-lost", "lost reset");
}

#[test]
fn s17_a_silent_client_is_told_for_good_measure_and_the_upstream_at_once() {
    let case = Case::new().clings(Client).after(s(30)).sends_pong(Upstream, b"", Pass::Relay).after(s(10));
    assert_eq!((case.told_at(Client), case.told_at(Upstream)), (s(40), s(40)));
    case.closes(Upstream, "1011").ends(
        "1011 ping-timeout",
        "1011 client-lost",
        "client-lost client-timeout",
        "lost clean",
    );
}

#[test]
fn s21_a_silent_upstream_is_told_for_good_measure_and_the_client_at_once() {
    let case = Case::new().clings(Upstream).after(s(30)).sends_pong(Client, b"", Pass::Relay).after(s(10));
    assert_eq!((case.told_at(Client), case.told_at(Upstream)), (s(40), s(40)));
    case.closes(Client, "1014").ends(
        "1014 upstream-timeout; retry-after=17",
        "1011 ping-timeout",
        "upstream-lost upstream-timeout",
        "clean lost",
    );
}

#[test]
fn a_silent_side_that_takes_no_bytes_either_is_lost_and_not_unclosable() {
    let policy = Policy { write_timeout: s(60), ..Policy::default() };
    let case = Case::with(policy.clone()).clings(Client).blocked(Client).after(s(40));
    case.closes(Upstream, "1011").ends(
        "1011 ping-timeout",
        "1011 client-lost",
        "client-lost client-timeout",
        "lost clean",
    );
    let case = Case::with(policy).clings(Upstream).blocked(Upstream).after(s(40));
    case.closes(Client, "1014").ends(
        "1014 upstream-timeout; retry-after=17",
        "1011 ping-timeout",
        "upstream-lost upstream-timeout",
        "clean lost",
    );
}

// ---- Held clients.

fn held() -> Case {
    Case::new().holding(s(3)).vanishes(Upstream, Loss::Fin).has_told(Client, "-")
}

const TOLD: &str = "1014 upstream-lost; retry-after=17";

#[test]
fn a_held_client_is_told_when_its_time_comes() {
    let case = held().after(Duration::from_millis(2999)).has_told(Client, "-").after(Duration::from_millis(1));
    case.has_told(Client, TOLD).closes(Client, "1014").ends(TOLD, "-", "upstream-lost upstream-lost", "clean lost");
}

#[test]
fn a_held_client_is_told_at_its_first_data() {
    held().after(s(1)).sends_data(Client).has_told(Client, TOLD).closes(Client, "1014").ends(
        TOLD,
        "-",
        "upstream-lost upstream-lost",
        "clean lost",
    );
}

#[test]
fn a_held_client_is_told_at_its_own_close_which_is_thereby_answered() {
    held().closes(Client, "1000").ends(TOLD, "-", "upstream-lost upstream-lost", "clean lost");
}

#[test]
fn a_held_client_that_breaks_a_rule_is_told_why_it_was_held() {
    held().violates(Client, Violation::Rsv).ends(TOLD, "-", "upstream-lost upstream-lost", "no-reply lost");
}

#[test]
fn a_held_client_that_vanishes_makes_both_lost() {
    held().vanishes(Client, Loss::Reset).ends("-", "-", "both-lost upstream-lost", "lost lost");
}

#[test]
fn a_held_clients_pings_are_answered_and_do_not_release_it() {
    held().sends_ping(Client, Pass::Answer).sends_pong(Client, b"x", Pass::Consume).has_told(Client, "-");
}

#[test]
fn a_held_client_is_told_when_tidegate_itself_has_no_more_time() {
    let case = held().ordered(End::Drain, s(1)).has_told(Client, "-").after(s(1)).has_told(Client, TOLD);
    case.closes(Client, "1014").ends(TOLD, "-", "upstream-lost upstream-lost", "clean lost");
}

#[test]
fn a_client_whose_upstream_stopped_answering_is_held_as_well() {
    let case = Case::new().holding(s(3)).after(s(30)).sends_pong(Client, b"", Pass::Relay).after(s(10));
    let told = "1014 upstream-timeout; retry-after=17";
    let case = case.has_told(Upstream, "1011 ping-timeout").has_told(Client, "-").after(s(3)).has_told(Client, told);
    case.closes(Client, "1014").ends(told, "1011 ping-timeout", "upstream-lost upstream-timeout", "clean lost");
}

// ---- A client that is gone before it has its 101.

#[test]
fn p15_u16_an_upstream_whose_client_never_got_its_101_is_told_1001() {
    Case::abandoned().closes(Upstream, "1001").ends("-", "1001 client-gone", "client-lost client-gone", "lost clean");
    Case::abandoned().ends("-", "1001 client-gone", "client-lost client-gone", "lost no-reply");
}
