//! What one decision of the governor costs.

use std::time::{Duration, Instant};

use tidegate_governor::{Ask, Balance, Governor, Limits, Mode, Outcome, Parked, Verdict};

/// Mean nanoseconds of one call while 10,000 clients of a hundred tenants wait before twenty endpoints.
#[allow(clippy::disallowed_methods)] // This one measures.
pub(crate) fn decision() -> f64 {
    const ROUNDS: u32 = 100_000;
    let limits = Limits {
        max_handshakes_per_server: Some(20),
        max_waiting: 20_000,
        queue_timeout: Duration::from_millis(2500),
        retry_after: Duration::from_secs(1),
        spread: Duration::from_secs(5),
        mode: Mode::Enforce,
        ..Limits::default()
    };
    let mut governor = Governor::new(limits, 1);
    let keys: Vec<String> = (0..20).map(|e| format!("e{e}")).collect();
    let keys: Vec<(&str, u32)> = keys.iter().map(|key| (key.as_str(), 1)).collect();
    let mut now = Instant::now();
    governor.set_endpoints(&keys, Balance::LeastSessions, now);
    let (mut handshakes, mut sessions, mut calls, mut n) = (Vec::new(), Vec::new(), 0_u32, 0_u64);
    let mut ask = |governor: &mut Governor, now, handshakes: &mut Vec<_>| {
        n += 1;
        let ask = Ask { tenant: n % 100, address: Some(n), ..Ask::default() };
        if let Verdict::Admit(permit) = governor.admit(ask, now) {
            handshakes.push(permit);
        }
    };
    (0..10_400).for_each(|_| ask(&mut governor, now, &mut handshakes));
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        now += Duration::from_micros(100);
        ask(&mut governor, now, &mut handshakes);
        if let Some(mut permit) = handshakes.pop() {
            governor.observe(&mut permit, Outcome::Established { latency: Duration::from_millis(50) }, now);
            sessions.push(permit);
            calls += 1;
        }
        while let Some(event) = governor.poll_event(now) {
            calls += 1;
            if let Parked::Admit(permit) = event.verdict {
                handshakes.push(permit);
            }
        }
        calls += 2;
        if sessions.len() > 1000
            && let Some(permit) = sessions.pop()
        {
            governor.release(permit, now);
            calls += 1;
        }
    }
    let spent = begun.elapsed();
    handshakes.into_iter().chain(sessions).for_each(|permit| governor.release(permit, now));
    spent.as_nanos() as f64 / f64::from(calls)
}
