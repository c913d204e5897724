//! What the governor promises its caller, one sentence at a time.

use std::time::{Duration, Instant};

use tidegate_governor::{
    Ask, Balance, Cap, EndpointId, Event, Governor, Limits, Mode, Outcome, Parked, Permit, Reason, Refusal, Ticket,
    Traffic, Verdict, Wish,
};

const LATENCY: Duration = Duration::from_millis(20);
const ESTABLISHED: Outcome = Outcome::Established { latency: LATENCY };

fn limits() -> Limits {
    Limits {
        max_sessions: None,
        max_sessions_per_server: None,
        max_handshakes_per_server: None,
        max_waiting: 10_000,
        queue_timeout: ms(2500),
        retry_after: ms(1000),
        spread: ms(5000),
        mode: Mode::Enforce,
        ..Limits::default()
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[allow(clippy::disallowed_methods)]
fn base() -> Instant {
    Instant::now()
}

fn start(limits: Limits, keys: &[&str]) -> (Governor, Vec<EndpointId>, Instant) {
    let (mut governor, now) = (Governor::new(limits, 1), base());
    let endpoints: Vec<_> = keys.iter().map(|&key| (key, 1)).collect();
    let ids = governor.set_endpoints(&endpoints, Balance::LeastSessions, now);
    (governor, ids, now)
}

fn admitted(verdict: Verdict) -> Permit {
    match verdict {
        Verdict::Admit(permit) => permit,
        other => panic!("{other:?}"),
    }
}

fn parked(verdict: Verdict) -> (Ticket, Instant) {
    match verdict {
        Verdict::Wait(ticket, deadline) => (ticket, deadline),
        other => panic!("{other:?}"),
    }
}

fn refused(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::Refuse(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn ask(governor: &mut Governor, now: Instant) -> Verdict {
    governor.admit(Ask::default(), now)
}

/// One handshake with this outcome, over at once.
fn handshake(governor: &mut Governor, outcome: Outcome, now: Instant) -> EndpointId {
    let mut permit = admitted(ask(governor, now));
    let endpoint = permit.endpoint;
    governor.observe(&mut permit, outcome, now);
    governor.release(permit, now);
    endpoint
}

/// A client that cannot wait.
fn at_once(governor: &mut Governor, now: Instant) -> Verdict {
    governor.admit(Ask { deadline: Some(now), ..Ask::default() }, now)
}

/// Waits out the next event.
fn next_event(governor: &mut Governor) -> (Event, Instant) {
    for _ in 0..100 {
        let at = governor.poll_timeout().expect("somebody is parked");
        if let Some(event) = governor.poll_event(at) {
            return (event, at);
        }
    }
    panic!("timers fire and nothing happens");
}

#[test]
fn declared_limits_hold_and_name_their_reason() {
    let two = &["a", "b"][..];
    for (limits, keys, room, reason, limit) in [
        (Limits { max_sessions: Some(3), ..limits() }, two, 3, Reason::Overload, Some("max_sessions")),
        (
            Limits { max_sessions_per_server: Some(3), ..limits() },
            two,
            6,
            Reason::UpstreamFull,
            Some("max_sessions_per_server"),
        ),
        (
            Limits { max_handshakes_per_server: Some(3), ..limits() },
            two,
            6,
            Reason::Overload,
            Some("max_handshakes_per_server"),
        ),
        (limits(), &["a"], 4096, Reason::Overload, Some("handshakes_measured")),
        (limits(), &[], 0, Reason::NoUpstream, None),
    ] {
        let (mut governor, _, now) = start(limits, keys);
        let permits: Vec<_> = (0..room).map(|_| admitted(ask(&mut governor, now))).collect();
        let (ticket, deadline) = parked(ask(&mut governor, now));
        assert!((now + ms(2000)..=now + ms(2500)).contains(&deadline));
        assert_eq!(governor.poll_event(now).map(|e| e.ticket), None);
        assert_eq!(governor.poll_timeout(), Some(deadline));
        let (event, at) = next_event(&mut governor);
        assert_eq!((event.ticket, at), (ticket, deadline));
        let Parked::Refuse(refusal) = event.verdict else { panic!("{event:?}") };
        assert_eq!(refusal, Refusal { reason, limit, retry_after: 1 });
        assert_eq!(governor.poll_timeout(), None);
        permits.into_iter().for_each(|permit| governor.release(permit, now));
        assert_eq!(governor.snapshot(now).live, 0);
    }
}

#[test]
fn sessions_do_not_count_as_handshakes() {
    let (mut governor, ids, now) = start(Limits { max_handshakes_per_server: Some(1), ..limits() }, &["a"]);
    for held in 1..=50 {
        let mut permit = admitted(ask(&mut governor, now));
        governor.observe(&mut permit, ESTABLISHED, now);
        let a = &governor.snapshot(now).endpoints[0];
        assert_eq!((a.id, a.sessions, a.handshakes, a.max_handshakes), (ids[0], held, 0, Cap::Declared(1)));
    }
}

#[test]
fn a_failed_handshake_counts_until_its_permit_comes_back() {
    let (mut governor, _, now) = start(Limits { max_handshakes_per_server: Some(1), ..limits() }, &["a"]);
    let mut permit = admitted(ask(&mut governor, now));
    governor.observe(&mut permit, Outcome::Cancelled, now);
    let (ticket, _) = parked(ask(&mut governor, now));
    assert!(governor.poll_event(now).is_none());
    governor.release(permit, now);
    assert_eq!(governor.poll_event(now).map(|e| e.ticket), Some(ticket));
}

#[test]
fn in_peace_first_come_first_served_and_nobody_overtakes() {
    let (mut governor, _, now) = start(Limits { max_sessions: Some(1), ..limits() }, &["a"]);
    let mut permit = admitted(ask(&mut governor, now));
    let tickets: Vec<_> = (0..5).map(|_| parked(ask(&mut governor, now)).0).collect();
    governor.cancel(tickets[2], now);
    for expected in [0, 1, 3, 4] {
        governor.release(permit, now);
        if expected == 1 {
            parked(ask(&mut governor, now));
        }
        let event = governor.poll_event(now).unwrap();
        assert_eq!(event.ticket, tickets[expected]);
        assert!(governor.poll_event(now).is_none());
        permit = match event.verdict {
            Parked::Admit(permit) => permit,
            Parked::Refuse(refusal) => panic!("{refusal:?}"),
        };
    }
    let snapshot = governor.snapshot(now);
    assert_eq!((snapshot.cancelled, snapshot.admitted.direct, snapshot.admitted.parked), (1, 1, 4));
    governor.release(permit, now);
}

#[test]
fn past_max_waiting_the_answer_comes_at_once() {
    let (mut governor, _, now) = start(Limits { max_sessions: Some(0), max_waiting: 2, ..limits() }, &["a"]);
    parked(ask(&mut governor, now));
    parked(ask(&mut governor, now));
    let refusal = refused(ask(&mut governor, now));
    assert_eq!((refusal.reason, refusal.limit), (Reason::QueueFull, Some("max_waiting")));
    assert_eq!(governor.snapshot(now).refused.queue_full, 1);
}

#[test]
fn past_max_waiting_bytes_too_and_only_as_many_give_way_as_have_to() {
    let some = Limits { max_sessions: Some(0), max_waiting_bytes: 1000, ..limits() };
    let (mut governor, _, now) = start(some.clone(), &["a"]);
    let of = |governor: &mut Governor, tenant, bytes| governor.admit(Ask { tenant, bytes, ..Ask::default() }, now);
    let waiting: Vec<Ticket> = (0..10).map(|_| parked(of(&mut governor, 1, 100)).0).collect();
    let refusal = refused(of(&mut governor, 1, 1));
    assert_eq!((refusal.reason, refusal.limit), (Reason::QueueFull, Some("max_waiting_bytes")));

    parked(of(&mut governor, 2, 250));
    let gone = displaced(&mut governor, now);
    assert_eq!(gone.len(), 3, "{gone:?}");
    assert!(gone.iter().all(|ticket| waiting[7..].contains(ticket)), "the last that came");
    assert_eq!(governor.snapshot(now).waiting_bytes, 950);

    assert_eq!(refused(of(&mut governor, 3, 1001)).limit, Some("max_waiting_bytes"), "more than there is in all");
    governor.set_limits(Limits { max_waiting_bytes: 2000, ..some.clone() }, now);
    parked(of(&mut governor, 1, 1000));
    governor.set_limits(some.clone(), now);
    parked(of(&mut governor, 2, 100));
    assert_eq!(displaced(&mut governor, now).len(), 1, "those above a lower limit keep their places");
    governor.set_limits(Limits { max_waiting: 2, max_waiting_bytes: 5000, ..some }, now);
    parked(of(&mut governor, 2, 900));
    assert_eq!(displaced(&mut governor, now).len(), 1, "a place is a place, however much is held");
}

/// Who gave its place to another.
fn displaced(governor: &mut Governor, now: Instant) -> Vec<Ticket> {
    let next = || match governor.poll_event(now)? {
        Event { ticket, verdict: Parked::Refuse(Refusal { reason: Reason::QueueFull, .. }) } => Some(ticket),
        other => panic!("{other:?}"),
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn a_client_that_asks_again_waits_once_in_all() {
    let (mut governor, _, now) = start(Limits { max_sessions: Some(0), ..limits() }, &["a"]);
    let again = |deadline| Ask { tried: &[], deadline: Some(deadline), ..Ask::default() };
    assert_eq!(parked(governor.admit(again(now + ms(700)), now)).1, now + ms(700));
    assert_eq!(parked(governor.admit(again(now + ms(9000)), now)).1, now + ms(2500), "never longer");
    assert_eq!(refused(governor.admit(again(now), now)).reason, Reason::Overload);
}

#[test]
fn a_refused_connection_sends_the_client_to_the_next_endpoint() {
    let (mut governor, _, now) = start(limits(), &["a", "b"]);
    let first = handshake(&mut governor, Outcome::ConnectFailed, now);
    let tried = [first];
    let permit = admitted(governor.admit(Ask { tried: &tried, deadline: None, ..Ask::default() }, now));
    assert_ne!(permit.endpoint, first);
    governor.release(permit, now);
}

#[test]
fn a_restarting_backend_is_found_again_within_the_wait() {
    let (mut governor, ids, t0) = start(limits(), &["a"]);
    let back_at = t0 + ms(1200);
    assert_eq!(handshake(&mut governor, Outcome::ConnectFailed, t0), ids[0]);
    let (mut dials, mut deadline) = (1, None);
    let mut now = t0;
    loop {
        let ask = Ask { tried: &ids, deadline, ..Ask::default() };
        deadline = Some(parked(governor.admit(ask, now)).1);
        let (event, at) = next_event(&mut governor);
        now = at;
        dials += 1;
        let Parked::Admit(mut permit) = event.verdict else { panic!("refused at {:?}", now - t0) };
        let up = now >= back_at;
        governor.observe(&mut permit, if up { ESTABLISHED } else { Outcome::ConnectFailed }, now);
        governor.release(permit, now);
        if up {
            break;
        }
    }
    assert!(now - t0 <= ms(1600) && dials <= 6, "{:?}, {dials} dials", now - t0);
}

#[test]
fn an_endpoint_that_asks_for_rest_gets_it_and_the_hint_says_so() {
    let (mut governor, _, now) = start(limits(), &["a"]);
    handshake(&mut governor, Outcome::Overloaded { retry_after: Some(ms(20_000)) }, now);
    parked(ask(&mut governor, now));
    let (event, at) = next_event(&mut governor);
    let Parked::Refuse(refusal) = event.verdict else { panic!("dialled while it rests") };
    assert_eq!((refusal.reason, refusal.limit), (Reason::UpstreamOverloaded, None));
    assert!((15..=22).contains(&refusal.retry_after), "{refusal:?}");
    assert!(governor.hint(at) >= 15);
    let a = &governor.snapshot(at).endpoints[0];
    assert_eq!(a.max_handshakes, Cap::Measured(4));
    let until = a.cooling_until.unwrap() - now;
    assert!((ms(18_000)..=ms(22_000)).contains(&until));
    let permit = admitted(ask(&mut governor, now + ms(22_000)));
    governor.release(permit, now + ms(22_000));
}

#[test]
fn another_endpoint_takes_over_from_one_that_asks_for_rest() {
    let (mut governor, _, now) = start(limits(), &["a", "b"]);
    let resting = handshake(&mut governor, Outcome::Overloaded { retry_after: None }, now);
    for _ in 0..10 {
        assert_ne!(handshake(&mut governor, ESTABLISHED, now), resting);
    }
    assert_eq!(governor.hint(now), 1, "the upstream as a whole asked for nothing");
}

#[test]
fn an_idle_governor_hints_what_the_operator_set() {
    let (mut governor, _, now) = start(Limits { retry_after: ms(7000), ..limits() }, &["a"]);
    assert_eq!(governor.hint(now), 7);
}

#[test]
fn observing_admits_everybody_and_counts() {
    let mut limits = Limits { max_sessions: Some(1), max_waiting: 0, mode: Mode::Observe, ..limits() };
    limits.queue_timeout = Duration::ZERO;
    let (mut governor, ids, now) = start(limits, &["a"]);
    let permits: Vec<_> = (0..10).map(|_| admitted(ask(&mut governor, now))).collect();
    let snapshot = governor.snapshot(now);
    assert_eq!((snapshot.refused.overload, snapshot.admitted.observed, snapshot.live), (9, 9, 10));
    refused(governor.admit(Ask { tried: &ids, deadline: None, ..Ask::default() }, now));
    permits.into_iter().for_each(|permit| governor.release(permit, now));
}

#[test]
fn a_higher_limit_lets_the_parked_in() {
    let (mut governor, _, now) = start(Limits { max_sessions: Some(0), ..limits() }, &["a"]);
    let (ticket, _) = parked(ask(&mut governor, now));
    governor.set_limits(limits(), now);
    let event = governor.poll_event(now).unwrap();
    assert_eq!(event.ticket, ticket);
    assert!(matches!(event.verdict, Parked::Admit(_)));
}

#[test]
fn an_endpoint_that_stays_keeps_its_counts_and_one_that_goes_is_counted_down() {
    let (mut governor, ids, now) = start(limits(), &["a", "b"]);
    let permits: Vec<_> = (0..4).map(|_| admitted(ask(&mut governor, now))).collect();
    let kept = governor.set_endpoints(&[("c", 1), ("b", 1)], Balance::RoundRobin, now);
    assert_eq!(kept[1], ids[1]);
    assert_ne!(kept[0], ids[0]);
    let held: Vec<_> =
        governor.snapshot(now).endpoints.iter().map(|e| (e.key.clone(), e.weight, e.handshakes)).collect();
    assert_eq!(held, [("a".into(), 0, 2), ("b".into(), 1, 2), ("c".into(), 1, 0)]);
    assert_ne!(handshake(&mut governor, ESTABLISHED, now), ids[0]);
    permits.into_iter().for_each(|permit| governor.release(permit, now));
    assert!(governor.snapshot(now).endpoints.iter().all(|e| e.key != "a"));
}

#[test]
fn a_dying_endpoint_lets_its_sessions_go_one_after_the_other() {
    let (mut governor, ids, now) = start(Limits { max_handshakes_per_server: Some(10), ..limits() }, &["a"]);
    let mut permits: Vec<_> = (0..10).map(|_| admitted(ask(&mut governor, now))).collect();
    for permit in &mut permits {
        governor.observe(permit, ESTABLISHED, now);
    }
    for (i, permit) in permits.into_iter().enumerate() {
        assert_eq!(governor.pace(ids[0], now), ms(500) * i as u32);
        governor.release(permit, now);
    }
}

#[test]
fn survivors_of_a_quiet_fleet_are_known_by_their_latency() {
    let (mut governor, ids, mut now) = start(limits(), &["a", "b"]);
    let mut permits = Vec::new();
    for _ in 0..800 {
        now += ms(200);
        let mut permit = admitted(ask(&mut governor, now));
        now += ms(50);
        governor.observe(&mut permit, Outcome::Established { latency: ms(50) }, now);
        permits.push(permit);
    }
    // Two a second came to each. At that rate 400 would be too many to be taken back soon, and be dealt over 5 s; one
    // after the other in 50 ms each they are not.
    assert_eq!(governor.pace(ids[0], now), Duration::ZERO);
    let second = governor.pace(ids[0], now);
    assert!((ms(8)..ms(10)).contains(&second), "{second:?}");
    permits.into_iter().for_each(|permit| governor.release(permit, now));
}

#[test]
fn the_longest_spans_do_not_overflow() {
    let forever = Duration::MAX;
    let limits = Limits { max_sessions: Some(0), queue_timeout: forever, retry_after: forever, ..limits() };
    let (mut governor, ids, now) = start(Limits { spread: forever, ..limits }, &["a"]);
    parked(ask(&mut governor, now));
    assert_eq!(governor.hint(now), u32::MAX);
    assert_eq!(governor.pace(ids[0], now), Duration::ZERO);
}

#[test]
fn what_is_no_session_goes_anywhere_but_where_it_was_and_where_there_is_rest() {
    let (mut governor, ids, now) = start(Limits { max_sessions: Some(0), ..limits() }, &["a", "b", "c"]);
    let mut seen = [0; 3];
    for _ in 0..300 {
        let id = governor.suggest(&[], Wish::Any, now).unwrap();
        seen[ids.iter().position(|&known| known == id).unwrap()] += 1;
    }
    assert!(seen.iter().all(|&times| times > 50), "{seen:?}");
    assert_eq!(governor.suggest(&ids[..2], Wish::Any, now), Some(ids[2]));
    assert_eq!(governor.suggest(&ids, Wish::Any, now), None);
    assert_eq!(governor.snapshot(now).issued, 0);

    governor.set_limits(limits(), now);
    let mut permit = admitted(governor.admit(Ask { tried: &ids[1..], deadline: None, ..Ask::default() }, now));
    assert_eq!(permit.endpoint, ids[0]);
    let resting = Outcome::Overloaded { retry_after: Some(ms(5000)) };
    governor.observe(&mut permit, resting, now);
    governor.release(permit, now);
    assert!((0..100).all(|_| governor.suggest(&[], Wish::Any, now) != Some(ids[0])), "it asked for rest");
    assert_eq!(governor.suggest(&ids[1..], Wish::Any, now), Some(ids[0]), "but there is no other");
}

#[test]
fn an_endpoint_that_is_down_takes_nobody_and_keeps_what_it_holds() {
    let (mut governor, ids, now) = start(limits(), &["a", "b"]);
    governor.set_health(ids[0], false, now);
    for _ in 0..4 {
        let mut permit = admitted(governor.admit(Ask::default(), now));
        assert_eq!(permit.endpoint, ids[1]);
        governor.observe(&mut permit, ESTABLISHED, now);
        drop(permit);
        assert_eq!(governor.suggest(&[], Wish::Endpoint(ids[0]), now), Some(ids[1]));
    }
    let seen = governor.snapshot(now);
    assert_eq!((seen.endpoints[0].down, seen.endpoints[1].sessions), (true, 4));
}

#[test]
fn who_waits_because_all_are_down_goes_in_when_one_is_up() {
    let (mut governor, ids, now) = start(limits(), &["a", "b"]);
    ids.iter().for_each(|&id| governor.set_health(id, false, now));
    let (ticket, deadline) = parked(governor.admit(Ask::default(), now));
    let (unlucky, _) = parked(governor.admit(Ask { deadline: Some(now + ms(10)), ..Ask::default() }, now));
    assert!(governor.poll_event(now).is_none() && deadline > now + ms(1000));
    let told = governor.poll_event(now + ms(10)).expect("its wait is over");
    assert!(
        matches!(told.verdict, Parked::Refuse(Refusal { reason: Reason::NoUpstream, .. }) if told.ticket == unlucky)
    );
    governor.set_health(ids[1], true, now + ms(20));
    let let_in = governor.poll_event(now + ms(20)).expect("there is room");
    assert!(matches!(let_in.verdict, Parked::Admit(permit) if permit.endpoint == ids[1] && let_in.ticket == ticket));
}

#[test]
fn who_waits_still_goes_where_it_wants() {
    let limits = Limits { max_sessions_per_server: Some(1), ..limits() };
    let (mut governor, ids, now) = start(limits, &["a", "b"]);
    let (first, second) =
        (admitted(governor.admit(Ask::default(), now)), admitted(governor.admit(Ask::default(), now)));
    let wish = Wish::Endpoint(second.endpoint);
    parked(governor.admit(Ask { wish, ..Ask::default() }, now));
    governor.release(first, now);
    governor.release(second, now);
    let event = governor.poll_event(now).expect("there is room");
    assert!(matches!(event.verdict, Parked::Admit(permit) if wish == Wish::Endpoint(permit.endpoint)), "{ids:?}");
}

#[test]
fn a_reload_forgets_neither_who_is_down_nor_who_is_warm() {
    let (mut governor, ids, now) = start(Limits { max_handshakes_per_server: Some(1000), ..limits() }, &["a", "b"]);
    governor.set_slow_start(Some(ms(30_000)));
    governor.set_health(ids[0], false, now);
    let later = now + ms(60_000);
    let again = governor.set_endpoints(&[("a", 1), ("b", 1), ("c", 1)], Balance::RoundRobin, later);
    assert_eq!(again[..2], ids);
    let mut dealt = |count: usize| {
        (0..count).filter(|_| admitted(governor.admit(Ask::default(), later)).endpoint == ids[1]).count()
    };
    assert_eq!(dealt(110), 100, "ten to the newcomer, none to the one that is down");
    governor.set_endpoints(&[("b", 1)], Balance::RoundRobin, later);
    let back = governor.set_endpoints(&[("a", 1), ("b", 1)], Balance::RoundRobin, later);
    assert!(governor.snapshot(later).endpoints.iter().all(|e| !e.down), "who comes back is asked anew: {back:?}");
}

#[test]
fn what_an_endpoint_announces_counts_until_it_takes_it_back_and_the_operator_outranks_it() {
    let (mut governor, ids, now) = start(limits(), &["a"]);
    governor.announce(ids[0], Some(2), now);
    let permits = [admitted(ask(&mut governor, now)), admitted(ask(&mut governor, now))];
    let (ticket, _) = parked(ask(&mut governor, now));
    let seen = governor.snapshot(now);
    assert_eq!(seen.refuses.as_deref(), Some("sessions: 2 held, 2 possible (announced)"));
    assert_eq!(seen.endpoints[0].max_sessions.source(), "announced");
    assert_eq!(refused(at_once(&mut governor, now)).limit, Some("sessions_announced"));
    governor.announce(ids[0], None, now);
    let event = governor.poll_event(now).unwrap();
    assert_eq!(event.ticket, ticket);
    governor.announce(ids[0], Some(1), now);
    governor.set_limits(Limits { max_sessions_per_server: Some(4), ..limits() }, now);
    permits.into_iter().for_each(|permit| governor.release(permit, now));
    drop(admitted(ask(&mut governor, now)));
    assert_eq!(governor.snapshot(now).refuses, None);
}

#[test]
fn an_endpoint_that_ends_sessions_as_overfull_gets_no_more_for_a_minute() {
    let limits = Limits { max_handshakes_per_server: Some(1000), ..limits() };
    let (mut governor, _, mut now) = start(limits, &["a"]);
    let mut permits: Vec<_> = (0..100).map(|_| admitted(ask(&mut governor, now))).collect();
    for permit in &mut permits {
        governor.observe(permit, ESTABLISHED, now);
    }
    for (address, permit) in permits.iter().take(6).enumerate() {
        assert_eq!(governor.snapshot(now).refuses, None, "one says little");
        governor.overfull(permit, address as u64, now);
        now += ms(1000);
    }
    permits.drain(..10).for_each(|permit| governor.release(permit, now));
    let entered: Vec<_> = (0..5).map(|_| admitted(ask(&mut governor, now))).collect();
    parked(ask(&mut governor, now));
    assert_eq!(governor.snapshot(now).refuses.as_deref(), Some("sessions: 95 held, 95 possible (learned)"));
    assert_eq!(refused(at_once(&mut governor, now)).limit, Some("sessions_learned"));
    now += ms(120_000);
    let advice = governor.advise(None, Duration::from_secs(120), now).unwrap();
    assert!(advice.reason.starts_with("sessions: 95 held, 95 possible, one of 2 endpoints lost"), "{advice:?}");
    entered.into_iter().chain(permits).for_each(|permit| governor.release(permit, now));
}

#[test]
fn nobody_enters_while_more_goes_through_than_may() {
    let bounds = Limits {
        max_message_rate: Some(50_000),
        max_byte_rate: Some(1 << 20),
        max_buffered_bytes: Some(9),
        ..limits()
    };
    let (mut governor, _, now) = start(bounds, &["a"]);
    let quiet = Traffic { messages: 50_000, bytes: 1 << 20, buffered: 9 };
    let over = [
        (
            Traffic { messages: 51_200, ..quiet },
            "max_message_rate",
            "messages: 51,200 a second, 50,000 possible (declared)",
        ),
        (
            Traffic { bytes: 2_000_000, ..quiet },
            "max_byte_rate",
            "bytes: 2,000,000 a second, 1,048,576 possible (declared)",
        ),
        (Traffic { buffered: 10, ..quiet }, "max_buffered_bytes", "bytes buffered: 10, 9 possible (declared)"),
    ];
    for (traffic, limit, why) in over {
        governor.carries(quiet, now);
        let permit = admitted(ask(&mut governor, now));
        governor.carries(traffic, now);
        assert_eq!(governor.snapshot(now).refuses.as_deref(), Some(why));
        assert_eq!(refused(at_once(&mut governor, now)).limit, Some(limit));
        let (ticket, _) = parked(ask(&mut governor, now));
        assert!(governor.poll_event(now).is_none());
        governor.carries(quiet, now);
        let event = governor.poll_event(now).unwrap();
        assert_eq!(event.ticket, ticket);
        let Parked::Admit(entered) = event.verdict else { panic!("{event:?}") };
        for permit in [permit, entered] {
            governor.release(permit, now);
        }
    }
    let limits = Limits { max_message_rate: None, ..limits() };
    governor.carries(over[0].0, now);
    governor.set_limits(limits, now);
    assert_eq!(governor.snapshot(now).refuses, None);
}
