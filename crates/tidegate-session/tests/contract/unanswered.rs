//! An endpoint closes and the other never answers: C3 to C7, C11.
//!
//! What the one that closed is told is never 1000: a client that sees 1000 knows that its upstream said it.

use tidegate_session::{LateReply, Loss, Parting, Policy, Violation};

use crate::driver::{Case, Client, Upstream, s};

fn echoing() -> Policy {
    Policy { late_reply: LateReply::Echo, ..Policy::default() }
}

#[test]
fn c3_client_closes_and_the_upstream_ends_tcp_instead() {
    Case::new().closes(Client, "1000").ends_tcp(Upstream).ends(
        "1014 upstream-no-close",
        "1000",
        "relayed upstream-no-close",
        "clean no-reply",
    );
}

#[test]
fn c6_upstream_closes_and_the_client_ends_tcp_instead() {
    Case::new().closes(Upstream, "1000").ends_tcp(Client).ends(
        "1000",
        "1011 client-no-close",
        "relayed client-no-close",
        "no-reply clean",
    );
}

#[test]
fn c4_client_closes_and_the_upstream_is_silent_for_5_s() {
    let case = Case::new().closes(Client, "1000").after(s(4)).has_told(Client, "-").after(s(1));
    assert_eq!(case.told_at(Client), s(5));
    case.ends("1014 upstream-silent", "1000", "relayed upstream-silent", "clean no-reply");
}

#[test]
fn c7_upstream_closes_and_the_client_is_silent_for_5_s() {
    let case = Case::new().closes(Upstream, "1000").after(s(4)).has_told(Upstream, "-").after(s(1));
    assert_eq!(case.told_at(Upstream), s(5));
    case.ends("1000", "1011 client-silent", "relayed client-silent", "no-reply clean");
}

#[test]
fn c5_client_closes_and_the_upstream_is_reset() {
    Case::new().closes(Client, "1000").vanishes(Upstream, Loss::Reset).ends(
        "1014 upstream-lost",
        "1000",
        "relayed upstream-lost",
        "clean reset",
    );
}

#[test]
fn c5_mirrored_upstream_closes_and_the_client_is_reset() {
    Case::new().closes(Upstream, "1000").vanishes(Client, Loss::Reset).ends(
        "1000",
        "1011 client-lost",
        "relayed client-lost",
        "reset clean",
    );
}

#[test]
fn a_late_reply_may_be_an_echo_of_the_client() {
    Case::with(echoing()).closes(Client, "4000 app").ends_tcp(Upstream).ends(
        "4000 app",
        "4000 app",
        "relayed upstream-no-close",
        "clean no-reply",
    );
    Case::with(echoing()).closes(Client, "empty").ends("empty", "empty", "relayed upstream-silent", "clean no-reply");
}

#[test]
fn a_late_reply_may_be_an_echo_of_the_upstream() {
    Case::with(echoing()).closes(Upstream, "4000 app").ends_tcp(Client).ends(
        "4000 app",
        "4000 app",
        "relayed client-no-close",
        "no-reply clean",
    );
    Case::with(echoing()).closes(Upstream, "empty").ends("empty", "empty", "relayed client-silent", "no-reply clean");
}

#[test]
fn an_end_that_breaks_the_rules_instead_of_answering_has_not_answered() {
    Case::new().closes(Client, "1000").violates(Upstream, Violation::Rsv).ends(
        "1014 upstream-no-close",
        "1000",
        "relayed upstream-no-close",
        "clean no-reply",
    );
    Case::new().closes(Upstream, "1000").violates(Client, Violation::Rsv).ends(
        "1000",
        "1011 client-no-close",
        "relayed client-no-close",
        "no-reply clean",
    );
}

#[test]
fn one_that_closed_and_left_is_told_nothing_when_the_other_is_silent() {
    let case = Case::new().closes(Client, "1000").vanishes(Client, Loss::Reset);
    case.ends("-", "1000", "relayed upstream-silent", "reset no-reply");
    let case = Case::new().closes(Upstream, "1000").vanishes(Upstream, Loss::Reset);
    case.ends("1000", "-", "relayed client-silent", "no-reply reset");
}

#[test]
fn c7_a_silent_client_s_transport_ends_after_the_linger() {
    Case::new().clings(Client).closes(Upstream, "1000").lets_go(Client, Parting::Close).ends(
        "1000",
        "1011 client-silent",
        "relayed client-silent",
        "no-reply clean",
    );
}

#[test]
fn c11_a_client_that_takes_nothing_for_5_s_cannot_be_given_its_close() {
    let case = Case::new().blocked(Client).closes(Upstream, "1000").after(s(5));
    let case = case.lets_go(Client, Parting::Reset);
    case.ends("1000", "1011 client-silent", "unclosable client-silent", "stalled clean");
}

#[test]
fn c11_an_upstream_that_takes_nothing_for_5_s_cannot_be_given_its_close() {
    let case = Case::new().blocked(Upstream).closes(Client, "1000").after(s(5));
    let case = case.lets_go(Upstream, Parting::Reset);
    case.ends("1014 upstream-silent", "1000", "unclosable upstream-silent", "clean stalled");
}

#[test]
fn c11_an_answer_waits_5_s_for_a_client_that_still_takes_what_is_in_front_of_it() {
    let case = Case::new().clings(Client).closes(Client, "1000").blocked(Client).closes(Upstream, "1000");
    let case = case.after(s(4)).takes_bytes(Client, false).lets_go(Client, Parting::Close);
    case.ends("1000", "1000", "agreed client-close", "no-fin clean");
    let case = Case::new().clings(Client).closes(Client, "1000").blocked(Client).closes(Upstream, "1000");
    let case = case.lets_go(Client, Parting::Reset);
    case.ends("1000", "1000", "unclosable client-close", "stalled clean");
}

#[test]
fn a_told_side_whose_transport_fails_is_given_a_second_to_be_read() {
    let case = Case::new().closes(Client, "1000").write_fails(Upstream).after(s(1));
    assert_eq!(case.told_at(Client), s(1));
    case.ends("1014 upstream-lost", "1000", "relayed upstream-lost", "clean reset");
    let case = Case::new().closes(Upstream, "1000").write_fails(Client).after(s(1));
    assert_eq!(case.told_at(Upstream), s(1));
    case.ends("1000", "1011 client-lost", "relayed client-lost", "reset clean");
}
