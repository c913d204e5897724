//! An opening handshake: an upstream is found for it, and what the upstream or the governor says is passed on.

use std::mem;

use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use tidegate_governor::{Ask, Outcome, Reason, Refusal, Wish};
use tidegate_session::{End, Refused};

use super::{
    checks::DRAINING,
    replies::{Answered, failed, own_reply, switching},
};
use crate::{
    affinity,
    announced::{self, Announced},
    capacity::{Admission, Slot},
    chores, clock,
    gate::{self, Denied, Visitor},
    head, overload,
    session::Opening,
    shared::{Shared, Target},
    standing,
    upstream::{self, Accepted, Dial, Failure},
};

/// The longest time to come back after that a client is told, whatever an upstream asks for, in seconds: a day, and
/// five digits.
const LONGEST_HINT: u64 = 86_399;

/// What a header field takes in its map, in bytes: held until the head is written that goes upstream.
const FIELD: usize = 112;

/// Finds this client an upstream, and answers.
pub(super) async fn open(mut opening: Box<Opening>) -> Answered {
    let (route, shared) = (opening.facts.route.clone(), opening.facts.client.worker.shared.clone());
    let Parts { headers, uri, .. } = &opening.parts;
    let has_origin = headers.contains_key(header::ORIGIN);
    let by_status = overload::by_status(route.on_overload, uri.query(), &opening.upgrade.protocols, has_origin);
    let len = head::len(&opening.parts);
    let held = opening.held(len);
    let fields = opening.parts.headers.capacity() * FIELD;
    let visitor = Visitor::Upgrade { by_status, held: held + fields as u32 };
    if let Err(denied) = enter(&mut opening, visitor, &shared).await {
        return deny(opening, denied);
    }
    let Some(target) = shared.target(&route.upstream) else {
        let refusal = Refusal { reason: Reason::NoUpstream, limit: None, retry_after: 1 };
        return refuse(opening, refusal, by_status);
    };
    let (mut admission, wish, class) = admission(&opening, &target, held, by_status);
    let head = opening.write_head(len);
    let found = tokio::select! {
        biased;
        found = find(&opening, &target, &mut admission, &head, by_status) => found,
        // Whoever waits, or is being dialled for, is told at once that it must go elsewhere.
        () = shared.drain_begins() => Err(NoUpstream::Draining),
    };
    let count = |result| {
        let labels = [route.upstream.as_str(), standing::class_name(&target.sharing, class), result];
        shared.metrics.governor_class_clients.with_label_values(&labels).inc();
    };
    let answered: Answered = match found {
        Ok((accepted, slot)) => {
            count("admitted");
            let returned = wish == Wish::Endpoint(slot.id());
            let tls = opening.facts.client.tls;
            let cookie = affinity::set_cookie(&target.affinity, slot.endpoint(), returned, tls);
            return accept(opening, accepted, slot, cookie);
        }
        Err(NoUpstream::Governor(refusal)) => {
            count("refused");
            return refuse(opening, refusal, by_status);
        }
        Err(NoUpstream::Upstream(failure)) => failed(failure),
        Err(NoUpstream::Draining) => DRAINING.into(),
    };
    opening.facts.log_refusal(answered.reply.status().as_u16(), answered.reason, None, None);
    answered
}

/// Past what every visitor must pass.
async fn enter(opening: &mut Opening, visitor: Visitor, shared: &Shared) -> Result<(), Denied> {
    tokio::select! {
        // Mostly it is in at once.
        biased;
        entered = gate::enter(&mut opening.facts, &mut opening.parts, visitor) => entered,
        () = shared.drain_begins() => Err(Denied::draining()),
    }
}

/// Its way to a place, the endpoint that it wants, and its class.
fn admission(opening: &Opening, target: &Target, held: u32, by_status: bool) -> (Admission, Wish, u8) {
    let Opening { facts, parts, .. } = opening;
    let wish = affinity::wish(&target.affinity, &parts.headers, &facts.client, &target.capacity);
    let ask = Ask { bytes: held, ..standing::ask(&target.sharing, parts, &facts.host, &facts.client, wish) };
    (Admission::new(target.capacity.clone(), &facts.route, ask, !by_status), wish, ask.class)
}

/// Why no upstream was found.
enum NoUpstream {
    Governor(Refusal),
    Upstream(Failure),
    Draining,
}

/// Tries endpoints until one accepts, one answers for all, or the governor has none left.
async fn find(
    opening: &Opening,
    target: &Target,
    admission: &mut Admission,
    head: &[u8],
    by_status: bool,
) -> Result<(Accepted, Slot), NoUpstream> {
    let (facts, upgrade) = (&opening.facts, &opening.upgrade);
    let (route, metrics) = (&facts.route, &facts.client.worker.shared.metrics);
    let proxy_header = target.proxy_protocol.then(|| facts.client.proxy_header());
    // What an upstream itself asked for is the least that its client is told.
    let mut floor = route.retry_after.as_secs() as u32;
    let mut failed_before = None;
    loop {
        let mut slot = admission.next().await.map_err(|refusal| {
            NoUpstream::Governor(Refusal { retry_after: refusal.retry_after.max(floor), ..refusal })
        })?;
        if let Some(reason) = failed_before {
            metrics.upstream_retries.with_label_values(&[route.upstream.as_str(), reason]).inc();
        }
        let endpoint = slot.endpoint().clone();
        let tls = target.tls.load_full();
        let dial = Dial {
            endpoint: &endpoint,
            tls: tls.as_deref(),
            connect_timeout: route.connect_timeout,
            handshake_timeout: route.handshake_timeout,
            proxy_header: proxy_header.as_deref(),
        };
        // In a box: those who wait do not hold its room.
        let mut failure = match Box::pin(upstream::handshake(dial, head, upgrade)).await {
            Ok(mut accepted) => {
                let said = announced::take(&mut accepted.headers);
                slot.announced(said);
                let latency = slot.established(facts.client.address());
                metrics.upstream_connects.with_label_values(&[&route.upstream, "ok"]).inc();
                metrics.upstream_connect_duration.with_label_values(&[&route.upstream]).observe(latency.as_secs_f64());
                // Those that were asked together answer together. The endpoint is not kept from the next meanwhile.
                if admission.has_waited() {
                    chores::turn().await;
                }
                return Ok((accepted, slot));
            }
            Err(failure) => failure,
        };
        if let Failure::Refused(answer) = &mut failure
            && let said @ (Announced::Sessions(_) | Announced::Used(_) | Announced::Malformed) =
                announced::take(&mut answer.headers)
        {
            slot.announced(said);
        }
        metrics.upstream_connects.with_label_values(&[&route.upstream, failure.reason()]).inc();
        let (reason, detail) = (failure.reason(), failure.detail());
        tracing::debug!(upstream = route.upstream, %endpoint, reason, detail, "handshake failed");
        let outcome = failure.outcome();
        failed_before = Some(reason);
        match (&failure, outcome) {
            // Nobody took a byte of the request: another endpoint may.
            (Failure::Connect(_) | Failure::Dns(_), _) if !by_status => admission.failed(slot, outcome),
            (Failure::Connect(_) | Failure::Dns(_) | Failure::ConnectTimeout, _) => {
                admission.failed(slot, outcome);
                if admission.is_exhausted() {
                    return Err(NoUpstream::Upstream(failure));
                }
            }
            (Failure::Refused(answer), Outcome::Overloaded { retry_after }) => {
                floor = floor.max(retry_after.map_or(0, |after| after.as_secs().min(LONGEST_HINT) as u32));
                let of_this_client = answer.status == StatusCode::TOO_MANY_REQUESTS;
                if of_this_client {
                    // 429 speaks of this client, not of the endpoint: no other client pays for it.
                    slot.observe(Outcome::Refused);
                } else {
                    admission.failed(slot, outcome);
                }
                if by_status && (of_this_client || admission.is_exhausted()) {
                    return Err(NoUpstream::Upstream(failure));
                }
                if of_this_client {
                    let refusal = admission.wait_out(floor).await;
                    return Err(NoUpstream::Governor(refusal));
                }
            }
            _ => {
                slot.observe(outcome);
                return Err(NoUpstream::Upstream(failure));
            }
        }
    }
}

/// The upstream said yes: so do we.
fn accept(opening: Box<Opening>, mut accepted: Accepted, slot: Slot, cookie: Option<HeaderValue>) -> Answered {
    let mut reply = switching(mem::take(&mut accepted.headers));
    let headers = reply.headers_mut();
    if let Some(protocol) = &accepted.protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol.clone());
    }
    if let Some(deflate) = &accepted.deflate {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, deflate.clone());
    }
    if let Some(cookie) = cookie {
        headers.append(header::SET_COOKIE, cookie);
    }
    opening.begin(accepted, slot);
    Answered { reply, result: "", reason: "" }
}

/// No upstream for this client, for a while: told after a 101, where a script can read it, or as a status.
fn refuse(opening: Box<Opening>, refusal: Refusal, by_status: bool) -> Answered {
    let (why, reason) = match refusal.reason {
        Reason::Overload | Reason::QueueFull => (Refused::Overloaded, "overload"),
        Reason::UpstreamFull => (Refused::UpstreamFull, "upstream_full"),
        Reason::NoUpstream => (Refused::NoUpstream, "no_endpoint"),
        Reason::UpstreamOverloaded => (Refused::UpstreamOverloaded, "upstream_overloaded"),
    };
    let metrics = &opening.facts.client.worker.shared.metrics;
    metrics.governor_shed.with_label_values(&[&opening.facts.route.upstream, "handshake", reason]).inc();
    metrics.governor_hint.with_label_values(&[&opening.facts.route.upstream]).observe(refusal.retry_after.into());
    opening.facts.client.worker.shared.refused(opening.facts.client.address());
    let is_hasty = !by_status && opening.facts.route.on_overload.is_none() && is_hasty(&opening, &refusal);
    if is_hasty {
        metrics.limit_hits.with_label_values(&["early_returns", "reject"]).inc();
    }
    if by_status || is_hasty || refusal.reason == Reason::QueueFull {
        if refusal.reason == Reason::QueueFull {
            metrics.limit_hits.with_label_values(&[refusal.limit.unwrap_or("max_waiting"), "reject"]).inc();
        }
        opening.facts.log_refusal(503, End::Refused(why).cause(), refusal.limit, Some(refusal.retry_after));
        let mut reply = own_reply(StatusCode::SERVICE_UNAVAILABLE, "too busy; come back later");
        reply.headers_mut().insert(header::RETRY_AFTER, refusal.retry_after.into());
        return Answered { reply, result: "rejected", reason };
    }
    close_instead(opening, why, reason, refusal.limit, refusal.retry_after)
}

/// Whether this client does not heed what it is told in a Close. One that sends nothing of its own cannot be told from
/// the others behind its address.
fn is_hasty(Opening { facts, parts, own, .. }: &Opening, refusal: &Refusal) -> bool {
    if own.iter().all(Option::is_none) {
        return false;
    }
    let who = (facts.client.ip(), &facts.host, parts.uri.path_and_query(), own);
    facts.client.worker.shared.manners.refused(who, facts.started, refusal.retry_after, clock::now())
}

/// It does not come in.
fn deny(opening: Box<Opening>, denied: Denied) -> Answered {
    let reason = denied.reason();
    match denied {
        Denied::Close { why, retry_after } => close_instead(opening, why, reason, None, retry_after),
        Denied::Answer { reply, .. } => {
            opening.facts.log_refusal(reply.status().as_u16(), reason, None, None);
            Answered { reply, result: "rejected", reason }
        }
    }
}

/// Tells it after a 101, where a script can read it.
fn close_instead(
    opening: Box<Opening>,
    why: Refused,
    reason: &'static str,
    limit: Option<&'static str>,
    retry_after: u32,
) -> Answered {
    let upgrade = &opening.upgrade;
    let mut reply =
        switching(HeaderMap::from_iter([(header::SEC_WEBSOCKET_ACCEPT, upstream::accept_key(&upgrade.key))]));
    if let Some(first) = upgrade.protocols.first().and_then(|first| HeaderValue::from_str(first).ok()) {
        // A browser that offered subprotocols and is given none fails the connection and shows 1006.
        reply.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, first);
    }
    opening.refuse(why, limit, retry_after);
    Answered { reply, result: "rejected", reason }
}
