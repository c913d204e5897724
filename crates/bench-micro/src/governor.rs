//! Who may enter.

use std::{hint::black_box, time::Duration};

use tidegate_governor::{Ask, Balance, Governor, Limits, Mode, Outcome, Verdict};

use crate::{Operation, now};

fn governor(servers: usize, max_sessions: Option<u32>) -> Governor {
    let limits = Limits {
        max_sessions,
        max_sessions_per_server: Some(10_000),
        max_handshakes_per_server: None,
        max_waiting: 0,
        queue_timeout: Duration::from_millis(2500),
        retry_after: Duration::from_secs(1),
        spread: Duration::from_secs(5),
        mode: Mode::Enforce,
        ..Limits::default()
    };
    let mut governor = Governor::new(limits, 7);
    let names: Vec<String> = (0..servers).map(|number| format!("192.0.2.{number}:3000")).collect();
    let names: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    governor.set_endpoints(&names, Balance::LeastSessions, now());
    governor
}

/// A handshake and the end of its session: the decision, what came of it, and the permit's return.
fn admit(governor: &mut Governor, now: std::time::Instant) {
    let Verdict::Admit(mut permit) = governor.admit(Ask::default(), now) else { panic!("there is room") };
    governor.observe(&mut permit, Outcome::Established { latency: Duration::from_millis(1) }, now);
    governor.release(black_box(permit), now);
    assert!(governor.poll_event(now).is_none());
}

pub(crate) fn of_three() -> Operation {
    let (mut governor, now) = (governor(3, None), now());
    Box::new(move || admit(black_box(&mut governor), now))
}

pub(crate) fn of_a_hundred() -> Operation {
    let (mut governor, now) = (governor(100, None), now());
    Box::new(move || admit(black_box(&mut governor), now))
}

pub(crate) fn refused() -> Operation {
    let (mut governor, now) = (governor(3, Some(0)), now());
    Box::new(move || {
        let verdict = black_box(&mut governor).admit(Ask::default(), now);
        assert!(matches!(black_box(verdict), Verdict::Refuse(_)));
    })
}
