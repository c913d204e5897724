//! tidegate's own pings, and those that pass (rule R13).

use tidegate_session::{End, Pass, Policy};

use crate::driver::{Case, Client, Upstream, s};

#[test]
fn only_a_silent_leg_is_pinged() {
    let case = Case::new().after(s(20)).sends_data(Client).after(s(10));
    assert_eq!((case.pinged(Client).len(), case.pinged(Upstream).len()), (0, 1));
    let case = case.after(s(9)).sends_data(Upstream).after(s(11));
    assert_eq!((case.pinged(Client).len(), case.pinged(Upstream).len()), (1, 1));
}

#[test]
fn the_answer_to_an_own_ping_is_consumed_and_any_other_pong_passes() {
    for side in [Client, Upstream] {
        let case = Case::new().after(s(30));
        let nonce = case.pinged(side)[0];
        let case = case.sends_pong(side, &nonce, Pass::Consume);
        let mut other = nonce;
        other[7] ^= 1;
        case.sends_pong(side, &other, Pass::Relay).sends_pong(side, b"", Pass::Relay).sends_ping(side, Pass::Relay);
    }
}

#[test]
fn answers_to_own_pings_keep_no_session_from_being_idle() {
    let policy = Policy { idle_timeout: Some(s(50)), ..Policy::default() };
    let mut case = Case::with(policy).after(s(30));
    for side in [Client, Upstream] {
        let nonce = case.pinged(side)[0];
        case = case.sends_pong(side, &nonce, Pass::Consume);
    }
    let case = case.after(s(19)).has_told(Client, "-").after(s(1)).has_told(Client, "1001 idle-timeout");
    assert_eq!(case.told_at(Client), s(50));
}

#[test]
fn an_upstream_is_not_silent_while_nobody_reads_it_for_a_slow_client() {
    let policy = Policy { write_timeout: s(60), ..Policy::default() };
    let case = Case::with(policy).after(s(35)).sends_data(Client).blocked(Client).sends_data(Client).after(s(20));
    let case = case.sends_data(Client).has_told(Upstream, "-").takes_bytes(Client, false);
    // Its pong may still lie in the socket.
    case.after(s(9)).has_told(Upstream, "-").has_told(Client, "-").after(s(1)).has_told(Upstream, "1011 ping-timeout");
}

#[test]
fn a_client_is_not_silent_while_nobody_reads_it_for_a_slow_upstream() {
    let policy = Policy { write_timeout: s(60), ..Policy::default() };
    let case = Case::with(policy).after(s(35)).sends_data(Upstream).blocked(Upstream).sends_data(Upstream).after(s(20));
    let case = case.sends_data(Upstream).has_told(Client, "-").takes_bytes(Upstream, false);
    case.after(s(9)).has_told(Upstream, "-").has_told(Client, "-").after(s(1)).has_told(Client, "1011 ping-timeout");
}

#[test]
fn a_side_that_takes_bytes_lives_though_its_pong_is_late() {
    for side in [Client, Upstream] {
        let mut case = Case::new().blocked(side);
        for _ in 0..20 {
            case = case.after(s(9)).takes_bytes(side, true);
        }
        case.has_told(side, "-");
    }
}

#[test]
fn a_leg_that_spoke_again_is_pinged_after_the_interval_even_if_that_is_the_shorter_time() {
    let policy = Policy { keepalive_interval: Some(s(2)), keepalive_timeout: s(10), ..Policy::default() };
    let case = Case::with(policy).after(s(2)).sends_data(Client).sends_data(Upstream).after(s(2));
    assert_eq!((case.pinged(Client).len(), case.pinged(Upstream).len()), (2, 2));
}

#[test]
fn nothing_is_pinged_once_the_session_ends() {
    let case = Case::new().after(s(29)).ordered(End::Drain, s(0)).after(s(4));
    assert!(case.pinged(Client).is_empty() && case.pinged(Upstream).is_empty());
}

#[test]
fn an_upstream_that_waits_for_the_client_to_be_told_has_its_pings_answered() {
    let case = Case::new().ordered(End::Drain, s(0)).sends_ping(Upstream, Pass::Answer);
    // The client's still reach the upstream, whose pongs come too late for it.
    case.sends_ping(Client, Pass::Relay).sends_pong(Upstream, b"there?", Pass::Consume);
}

#[test]
fn a_ping_that_is_due_when_a_close_is_relayed_does_not_follow_it() {
    for side in [Client, Upstream] {
        let policy = Policy { keepalive_interval: Some(s(10)), ..Policy::default() };
        let case = Case::with(policy).closes_when_due(side, s(10), "1000");
        assert!(case.pinged(side.other()).is_empty());
    }
}
