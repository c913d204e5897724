//! An endpoint closes and the other answers: rules R1, R4 and R8.

use tidegate_session::{Loss, Pass, Premature};

use crate::driver::{Case, Client, Upstream, s};

/// Everything an endpoint may say (S1 to S10).
const CLOSES: &[&str] = &[
    "1000",
    "1000 bye",
    "1001 page left",
    "empty",
    "3000 library",
    "4001 {\"json\": true}",
    "4999 ünï",
    "1002",
    "1003",
    "1007",
    "1008 policy",
    "1009",
    "1010",
    "1011 error",
    "1012",
    "1013 overloaded; retry-after=9",
    "1014",
];

#[test]
fn s1_to_s6_client_closes_then_upstream_hears_its_words_and_client_the_answer() {
    for close in CLOSES {
        for answer in CLOSES {
            Case::new().closes(Client, close).has_told(Client, "-").closes(Upstream, answer).ends(
                answer,
                close,
                "agreed client-close",
                "clean clean",
            );
        }
    }
}

#[test]
fn s7_to_s10_upstream_closes_then_client_hears_its_words_and_upstream_the_answer() {
    for close in CLOSES {
        for answer in CLOSES {
            Case::new().closes(Upstream, close).has_told(Upstream, "-").closes(Client, answer).ends(
                close,
                answer,
                "agreed upstream-close",
                "clean clean",
            );
        }
    }
}

#[test]
fn s48_client_data_behind_its_close_is_discarded() {
    let case = Case::new().closes(Client, "1000").relays_from(Client, false).relays_from(Upstream, true);
    case.sends_data(Client).sends_data(Upstream).closes(Upstream, "1000").ends(
        "1000",
        "1000",
        "agreed client-close",
        "clean clean",
    );
}

#[test]
fn s48_upstream_data_behind_its_close_is_discarded() {
    let case = Case::new().closes(Upstream, "1000").relays_from(Upstream, false).relays_from(Client, true);
    case.sends_data(Upstream).sends_data(Client).closes(Client, "1000").ends(
        "1000",
        "1000",
        "agreed upstream-close",
        "clean clean",
    );
}

#[test]
fn s49_a_second_close_of_either_side_is_discarded() {
    for side in [Client, Upstream] {
        let case = Case::new().closes(side, "1000 first").closes(side, "4000 second").closes(side.other(), "1001");
        let case = case.closes(side, "4000 third");
        let cause = format!("agreed {}-close", side.word());
        let (client, upstream) = if side == Client { ("1001", "1000 first") } else { ("1000 first", "1001") };
        let record = case.ends(client, upstream, &cause, "clean clean");
        assert_eq!(record.leg(side).received.as_ref().map(|close| close.reason()), Some("first"));
    }
}

#[test]
fn c1_crossing_closes_are_each_others_answers() {
    Case::new().closes(Client, "4001 mine").closes(Upstream, "4002 yours").ends(
        "4002 yours",
        "4001 mine",
        "agreed client-close",
        "clean clean",
    );
}

#[test]
fn c2_an_answer_with_another_code_passes_as_it_is() {
    for side in [Client, Upstream] {
        let record = Case::new().closes(side, "4000 app").closes(side.other(), "1000");
        let (client, upstream) = if side == Client { ("1000", "4000 app") } else { ("4000 app", "1000") };
        record.ends(client, upstream, &format!("agreed {}-close", side.word()), "clean clean");
    }
}

#[test]
fn c12_closing_handshake_done_but_the_upstream_never_ends_tcp() {
    let case = Case::new().clings(Upstream).closes(Upstream, "1000").closes(Client, "1000").after(s(4));
    case.ends("1000", "1000", "agreed upstream-close", "clean no-fin");
}

#[test]
fn c12_closing_handshake_done_but_the_client_never_ends_tcp() {
    let case = Case::new().clings(Client).closes(Client, "1000").closes(Upstream, "1000").after(s(2));
    case.ends("1000", "1000", "agreed client-close", "no-fin clean");
}

#[test]
fn a_client_that_half_closes_behind_its_close_still_hears_the_answer() {
    Case::new().closes(Client, "1000").ends_tcp(Client).after(s(1)).closes(Upstream, "1000 ok").ends(
        "1000 ok",
        "1000",
        "agreed client-close",
        "clean clean",
    );
}

#[test]
fn an_upstream_that_half_closes_behind_its_close_still_hears_the_answer() {
    Case::new().closes(Upstream, "1000").ends_tcp(Upstream).after(s(1)).closes(Client, "1000 ok").ends(
        "1000",
        "1000 ok",
        "agreed upstream-close",
        "clean clean",
    );
}

#[test]
fn a_client_that_is_reset_behind_its_close_has_closed_all_the_same() {
    Case::new().closes(Client, "1000").vanishes(Client, Loss::Reset).closes(Upstream, "1000").ends(
        "-",
        "1000",
        "agreed client-close",
        "reset clean",
    );
}

#[test]
fn a_close_read_from_a_side_that_takes_no_more_bytes_is_relayed() {
    Case::new().write_fails(Client).closes(Client, "4000 app").closes(Upstream, "4000").ends(
        "4000",
        "4000 app",
        "agreed client-close",
        "clean clean",
    );
}

#[test]
fn pings_of_a_side_that_was_told_are_not_answered_for_nothing_follows_a_close() {
    for side in [Client, Upstream] {
        Case::new().closes(side, "1000").sends_ping(side.other(), Pass::Consume);
    }
}

#[test]
fn a_1000_that_comes_too_soon_passes_and_is_noticed() {
    let case = || Case::new().closes(Upstream, "1000").premature(Premature::InMessage).closes(Client, "1000");
    let record = case().ends("1000", "1000", "agreed upstream-close", "clean clean");
    assert_eq!(record.premature, Some(Premature::InMessage));
    // Another code claims no success, and a client's Close is its own affair.
    let other = Case::new().closes(Upstream, "1001").premature(Premature::InMessage).closes(Client, "1000");
    assert_eq!(other.ends("1001", "1000", "agreed upstream-close", "clean clean").premature, None);
    let client = Case::new().closes(Client, "1000").closes(Upstream, "1000").premature(Premature::NoMessage);
    assert_eq!(client.ends("1000", "1000", "agreed client-close", "clean clean").premature, None);
}
