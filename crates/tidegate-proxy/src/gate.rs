//! What a request must pass before an upstream is asked: what its address may have, and who its sender is.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use http::{HeaderValue, StatusCode, header, request::Parts};
use tidegate_config::OnIpLimit;
use tidegate_session::Refused;

use crate::{
    addresses::Exceeded,
    auth, clock,
    http::{Reply, own_reply},
    session::Facts,
};

/// Who asks to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visitor {
    /// An upgrade, for which so many bytes are held if it is made to wait; `by_status`: who is told by a status, and so
    /// at once, where the route does not say how it is told.
    Upgrade { by_status: bool, held: u32 },
    /// A plain request.
    Plain,
}

/// Why it is not let in.
pub(crate) enum Denied {
    /// To be told by a Close behind a 101.
    Close { why: Refused, retry_after: u32 },
    /// An answer of its own.
    Answer { reply: Reply, reason: &'static str },
}

impl Denied {
    /// The metric label.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Close { why: Refused::TooManySessions, .. } => SESSIONS,
            Self::Close { .. } => RATE,
            Self::Answer { reason, .. } => reason,
        }
    }
}

const RATE: &str = "rate";
const SESSIONS: &str = "sessions_per_ip";

/// Lets a request in, perhaps after a wait, or says why not.
///
/// # Errors
/// It must not come in.
pub(crate) async fn enter(facts: &mut Facts, parts: &mut Parts, visitor: Visitor) -> Result<(), Denied> {
    limit(facts, visitor).await?;
    auth::check(facts, parts).await
}

/// What its address may have and do.
async fn limit(facts: &mut Facts, visitor: Visitor) -> Result<(), Denied> {
    let limits = facts.route.per_ip;
    if limits.rate.is_none() && limits.max_sessions.is_none() {
        return Ok(());
    }
    let shared = facts.client.worker.shared.clone();
    // Nobody to count by: whoever may reach a unix socket is the operator's choice.
    let Some(ip) = facts.client.peer.map(|peer| peer.ip()) else { return Ok(()) };
    let status = match (limits.told, visitor) {
        (Some(OnIpLimit::Http429), _) => Some(StatusCode::TOO_MANY_REQUESTS),
        (Some(OnIpLimit::Http503), _) => Some(StatusCode::SERVICE_UNAVAILABLE),
        (_, Visitor::Plain) => Some(StatusCode::TOO_MANY_REQUESTS),
        (None, Visitor::Upgrade { by_status: true, .. }) => Some(StatusCode::SERVICE_UNAVAILABLE),
        (Some(OnIpLimit::Close1013), _) | (None, Visitor::Upgrade { by_status: false, .. }) => None,
    };
    let ask = |facts: &mut Facts| {
        let (route, now) = (facts.route.name.clone(), clock::now());
        if visitor != Visitor::Plain && facts.held().is_none() {
            let held = shared.addresses.hold(&route, ip, &limits, now)?;
            facts.hold(held);
        }
        shared.addresses.ask(&route, ip, &limits, now)
    };
    let mut asked = ask(facts);
    let parked = match (asked, status, visitor) {
        (Err(_), None, Visitor::Upgrade { held, .. }) => Parked::enter(facts, held),
        _ => None,
    };
    if let Some(parked) = &parked {
        // The wait is the pace: a client that comes back at once comes no sooner than this.
        while let Err(exceeded) = asked
            && let Some(left) = parked.until.checked_duration_since(clock::now()).filter(|left| !left.is_zero())
        {
            let turn = match exceeded {
                Exceeded::Rate(turn) => turn.min(left),
                Exceeded::Sessions => left,
            };
            tokio::time::sleep(turn).await;
            asked = ask(facts);
        }
    }
    let Err(exceeded) = asked else { return Ok(()) };
    let (why, limit, text, least) = match exceeded {
        Exceeded::Rate(turn) => (Refused::RateLimited, "handshake_rate", "too many requests", turn),
        Exceeded::Sessions => (Refused::TooManySessions, SESSIONS, "too many sessions", Duration::ZERO),
    };
    let retry_after = facts.route.retry_after.max(least).as_secs_f64().ceil() as u32;
    shared.metrics.limit_hits.with_label_values(&[limit, if parked.is_some() { "close" } else { "reject" }]).inc();
    if parked.is_some() {
        return Err(Denied::Close { why, retry_after });
    }
    let reason = if why == Refused::RateLimited { RATE } else { SESSIONS };
    let mut reply = own_reply(status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE), text);
    reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    Err(Denied::Answer { reply, reason })
}

/// A place among those that wait here; as many as their route may park.
struct Parked {
    shared: std::sync::Arc<crate::shared::Shared>,
    until: Instant,
    held: u32,
}

impl Parked {
    fn enter(facts: &Facts, held: u32) -> Option<Self> {
        let (route, shared) = (&facts.route, facts.client.worker.shared.clone());
        // Drawn, so that those who came together do not all leave together.
        let share = 0.8 + 0.2 * f64::from(crate::random()) / f64::from(u32::MAX);
        let parked = Self { until: clock::now() + route.queue_timeout.mul_f64(share), shared, held };
        let clients = parked.shared.parked.fetch_add(1, Relaxed) + 1;
        let bytes = parked.shared.parked_bytes.fetch_add(held.into(), Relaxed) + u64::from(held);
        (clients <= route.max_waiting as usize && bytes <= route.max_waiting_bytes).then_some(parked)
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.shared.parked.fetch_sub(1, Relaxed);
        self.shared.parked_bytes.fetch_sub(self.held.into(), Relaxed);
    }
}
