//! An endpoint breaks a rule: S11 to S14, S24 to S37.

use std::time::Duration;

use tidegate_session::{Farewell, Loss, Policy, Violation};
use tidegate_wire::BadClose;

use crate::driver::{Case, Client, Upstream};

/// What was done, what its doer is told, and the cause as the client's doing and as the upstream's.
#[rustfmt::skip]
const BREACHES: &[(Violation, &str, &str)] = &[
    (Violation::Close(BadClose::Code(1005)), "1002 protocol-error; detail=close-code", "protocol-error"),   // S11, S12
    (Violation::Close(BadClose::Length), "1002 protocol-error; detail=close-length", "protocol-error"),     // S13
    (Violation::Close(BadClose::Reason), "1007 protocol-error; detail=close-reason", "protocol-error"),     // S14
    (Violation::Rsv, "1002 protocol-error; detail=rsv", "protocol-error"),                                  // S26
    (Violation::Opcode, "1002 protocol-error; detail=opcode", "protocol-error"),                            // S27
    (Violation::Fragmentation, "1002 protocol-error; detail=continuation", "protocol-error"),               // S28
    (Violation::Control, "1002 protocol-error; detail=control", "protocol-error"),                          // S29
    (Violation::Length, "1002 protocol-error; detail=length", "protocol-error"),                            // S30
    (Violation::MessageTooBig { limit: 1000 }, "1009 message-too-big; limit=1000", "message-too-big"),      // S31, S32
    (Violation::Utf8, "1007 invalid-utf8", "protocol-error"),                                               // S33
    (Violation::TooManyFragments { limit: 9 }, "1008 too-many-fragments; limit=9", "rate-limited"),
    (Violation::ControlFlood, "1008 control-flood", "rate-limited"),                                        // S37
];

#[test]
fn the_client_breaks_a_rule_and_the_upstream_is_told_1001() {
    for (what, offence, cause) in BREACHES {
        let cause = format!("client-{cause}");
        check_client(*what, offence, &cause);
    }
    check_client(Violation::Unmasked, "1002 protocol-error; detail=unmasked", "client-protocol-error"); // S24
    check_client(Violation::FrameFlood, "1008 rate-limited; retry-after=17", "client-rate-limited"); // S36
}

#[test]
fn the_upstream_breaks_a_rule_and_the_client_is_told_1014() {
    for (what, offence, cause) in BREACHES {
        check_upstream(*what, offence, &format!("upstream-{cause}"));
    }
    check_upstream(Violation::Masked, "1002 protocol-error; detail=masked", "upstream-protocol-error"); // S25
}

/// The upstream first: what it has to say to the good frames before the bad one still arrives.
fn check_client(what: Violation, offence: &str, cause: &str) {
    let case = Case::new().violates(Client, what).has_told(Client, "-").has_told(Upstream, &format!("1001 {cause}"));
    let case = case.relays_from(Client, false).relays_from(Upstream, true).sends_data(Upstream);
    let case = case.closes(Upstream, "1001").has_told(Client, offence).relays_from(Upstream, false);
    assert_eq!(case.order(), [Upstream, Client]);
    case.ends(offence, &format!("1001 {cause}"), &format!("enforced {cause}"), "clean clean");
}

#[test]
fn a_client_that_broke_a_rule_waits_a_second_for_an_upstream_that_does_not_answer() {
    let case = Case::new().violates(Client, Violation::Rsv);
    let case = case.after(Duration::from_millis(999)).has_told(Client, "-").relays_from(Upstream, true);
    let case = case.after(Duration::from_millis(1)).has_told(Client, "1002 protocol-error; detail=rsv");
    case.relays_from(Upstream, false).sends_data(Upstream).ends(
        "1002 protocol-error; detail=rsv",
        "1001 client-protocol-error",
        "enforced client-protocol-error",
        "clean no-reply",
    );
}

#[test]
fn a_client_that_broke_a_rule_is_told_as_soon_as_nothing_more_can_come_for_it() {
    let told = ("1002 protocol-error; detail=rsv", "1001 client-protocol-error", "enforced client-protocol-error");
    let case = || Case::new().violates(Client, Violation::Rsv).has_told(Client, "-");
    let ended = case().ends_tcp(Upstream).has_told(Client, told.0);
    ended.ends(told.0, told.1, told.2, "clean no-reply");
    let reset = case().vanishes(Upstream, Loss::Reset).has_told(Client, told.0);
    reset.ends(told.0, told.1, told.2, "clean reset");
    let bad = case().violates(Upstream, Violation::Opcode).has_told(Client, told.0);
    bad.ends(told.0, told.1, told.2, "clean no-reply");
    let stuck = case().blocked(Upstream).after(Duration::from_secs(1)).has_told(Client, told.0);
    stuck.ends(told.0, told.1, "unclosable client-protocol-error", "clean stalled");
}

#[test]
fn a_close_of_the_upstreams_own_is_no_word_for_a_client_that_broke_a_rule_before() {
    let case = Case::new().violates(Client, Violation::Opcode).closes(Upstream, "4000 mine");
    let record = case.ends(
        "1002 protocol-error; detail=opcode",
        "1001 client-protocol-error",
        "enforced client-protocol-error",
        "clean clean",
    );
    assert!(record.closing.crossed, "it cannot have seen what it was told");
}

#[test]
fn a_client_that_vanishes_while_its_violation_is_answered_is_told_nothing() {
    let case = Case::new().violates(Client, Violation::Rsv).write_fails(Client).after(Duration::from_secs(2));
    case.closes(Upstream, "1001").ends(
        "-",
        "1001 client-protocol-error",
        "enforced client-protocol-error",
        "lost clean",
    );
}

#[test]
fn a_process_that_ends_waits_for_no_upstream_of_a_client_that_broke_a_rule() {
    let case =
        Case::new().violates(Client, Violation::Rsv).hurried().has_told(Client, "1002 protocol-error; detail=rsv");
    case.ends(
        "1002 protocol-error; detail=rsv",
        "1001 client-protocol-error",
        "enforced client-protocol-error",
        "clean no-reply",
    );
}

fn check_upstream(what: Violation, offence: &str, cause: &str) {
    let case = Case::new().violates(Upstream, what).relays_from(Client, false).relays_from(Upstream, false);
    let record = case.closes(Client, "1014");
    record.ends(&format!("1014 {cause}"), offence, &format!("enforced {cause}"), "clean clean");
}

#[test]
fn a_violation_of_the_other_side_after_a_violation_changes_nothing() {
    let case = Case::new().violates(Client, Violation::Rsv).violates(Upstream, Violation::Rsv);
    case.ends(
        "1002 protocol-error; detail=rsv",
        "1001 client-protocol-error",
        "enforced client-protocol-error",
        "clean no-reply",
    );
    let case = Case::new().violates(Upstream, Violation::Rsv).violates(Client, Violation::Rsv);
    case.ends(
        "1014 upstream-protocol-error",
        "1002 protocol-error; detail=rsv",
        "enforced upstream-protocol-error",
        "no-reply clean",
    );
}

#[test]
fn a_client_that_breaks_a_rule_while_tidegate_leaves_is_told_no_second_time() {
    let case = Case::new().ordered(tidegate_session::End::Drain, Duration::ZERO);
    let case = case.violates(Client, Violation::Opcode).closes(Upstream, "1001");
    case.ends("1012 restarting; retry-after=17", "1001 restarting", "enforced restarting", "no-reply clean");
}

#[test]
fn an_upstream_that_breaks_a_rule_while_the_client_leaves_is_told_at_once_and_gets_no_more_data() {
    let case = Case::new().ordered(tidegate_session::End::Drain, Duration::ZERO);
    let case = case.relays_from(Client, true).violates(Upstream, Violation::Opcode);
    let case = case.has_told(Upstream, "1001 restarting").relays_from(Client, false);
    case.closes(Client, "1000").ends(
        "1012 restarting; retry-after=17",
        "1001 restarting",
        "enforced restarting",
        "clean no-reply",
    );
}

#[test]
fn an_upstream_that_is_left_without_a_close_gets_no_more_data_either() {
    let policy = Policy { detach: Farewell::Abort, ..Policy::default() };
    let case = Case::with(policy).ordered(tidegate_session::End::Drain, Duration::ZERO);
    let case = case.violates(Upstream, Violation::Opcode).relays_from(Client, false).closes(Client, "1000");
    case.ends("1012 restarting; retry-after=17", "-", "enforced restarting", "clean clean");
}

#[test]
fn a_violation_is_told_even_where_a_lost_client_would_not_be() {
    let policy = Policy { client_lost: Farewell::Abort, detach: Farewell::Abort, ..Policy::default() };
    Case::with(policy).violates(Client, Violation::Rsv).closes(Upstream, "1001").ends(
        "1002 protocol-error; detail=rsv",
        "1001 client-protocol-error",
        "enforced client-protocol-error",
        "clean clean",
    );
}
