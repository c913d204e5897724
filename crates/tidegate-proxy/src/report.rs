//! `/governor`: every limit, where it comes from, how much of it is used, and why somebody is refused, as JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use tidegate_config as config;
use tidegate_governor::{
    Admitted, Advice, Bounds, Cap, EndpointSnapshot, Limits, Mode, Refused, Resource, Snapshot, Traffic,
};

use crate::standing;

#[derive(Serialize)]
pub(crate) struct Upstream {
    mode: &'static str,
    sessions: Limit,
    waiting: u32,
    /// Their number and their memory.
    queue: BTreeMap<&'static str, Flow>,
    /// Tenants that are told apart now.
    tenants: u32,
    overloaded: bool,
    /// Why nobody can enter now.
    refuses: Option<String>,
    replicas_advised: Option<Replicas>,
    admitted: BTreeMap<&'static str, u64>,
    refused: BTreeMap<&'static str, u64>,
    /// Clients that lost their place in the queue, and that left it.
    shed: u64,
    left: u64,
    /// A second, or held.
    traffic: BTreeMap<&'static str, Flow>,
    classes: BTreeMap<String, Class>,
    endpoints: Vec<Endpoint>,
}

/// As [`Limit`], of what goes through, or waits.
#[derive(Serialize)]
struct Flow {
    used: u64,
    limit: Option<u64>,
    source: &'static str,
}

/// The clients of one class.
#[derive(Serialize)]
struct Class {
    /// Of the admissions while all classes have clients that wait.
    share: f64,
    used: u32,
    waiting: u32,
    admitted: u64,
    refused: u64,
}

#[derive(Serialize)]
struct Endpoint {
    address: String,
    weight: u32,
    sessions: Limit,
    handshakes: Limit,
    /// Why it takes no new client now.
    refuses: Option<String>,
}

/// How much is used, how much there may be (`null`: no limit is known), and who says so.
#[derive(Serialize)]
struct Limit {
    used: u32,
    limit: Option<u32>,
    source: &'static str,
}

#[derive(Serialize)]
struct Replicas {
    replicas: u32,
    reason: String,
}

/// One upstream as its governor sees it; `clients` are those of a class that came to this result.
pub(crate) fn upstream(
    seen: &Snapshot,
    advice: Option<Advice>,
    config: &config::Upstream,
    clients: &dyn Fn(&str, &str) -> u64,
) -> Upstream {
    let declared = &config.capacity;
    let Admitted { direct, parked, observed } = seen.admitted;
    let Refused { overload, upstream_full, no_upstream, upstream_overloaded, queue_full } = seen.refused;
    Upstream {
        mode: if declared.mode == Mode::Observe { "observe" } else { "enforce" },
        sessions: Limit::of(seen.live, declared.max_sessions.map_or(Cap::Unlimited, Cap::Declared)),
        waiting: seen.waiting,
        queue: [
            ("clients", Flow::declared(seen.waiting.into(), seen.max_waiting.into())),
            ("bytes", Flow::declared(seen.waiting_bytes, seen.max_waiting_bytes)),
        ]
        .into(),
        tenants: seen.tenants,
        overloaded: seen.overloaded,
        refuses: seen.refuses.clone(),
        replicas_advised: advice.map(|Advice { replicas, reason }| Replicas { replicas, reason }),
        admitted: [("direct", direct), ("parked", parked), ("observed", observed)].into(),
        refused: [
            ("overload", overload),
            ("upstream_full", upstream_full),
            ("no_endpoint", no_upstream),
            ("upstream_overloaded", upstream_overloaded),
            ("queue_full", queue_full),
        ]
        .into(),
        shed: seen.shed,
        left: seen.cancelled,
        traffic: traffic(&seen.traffic, declared)
            .map(|(resource, used, limit)| {
                let source = if limit.is_some() { "declared" } else { "unlimited" };
                (resource, Flow { used, limit, source })
            })
            .into(),
        classes: standing::by_name(&config.sharing, &seen.classes)
            .zip(config.sharing.shares())
            .map(|((name, used), (_, share))| {
                let (admitted, refused) = (clients(name, "admitted"), clients(name, "refused"));
                (name.to_owned(), Class { share, used: used.live, waiting: used.waiting, admitted, refused })
            })
            .collect(),
        endpoints: seen.endpoints.iter().map(Endpoint::of).collect(),
    }
}

/// What goes through, and what may, by what it is called.
pub(crate) fn traffic(seen: &Traffic, declared: &Limits) -> [(&'static str, u64, Option<u64>); 3] {
    [
        ("messages", seen.messages, declared.max_message_rate),
        ("bytes", seen.bytes, declared.max_byte_rate),
        ("buffered_bytes", seen.buffered, declared.max_buffered_bytes),
    ]
}

/// What the process may use of one resource: shares, or seconds.
#[derive(Serialize)]
struct Share {
    used: f64,
    limit: Option<f64>,
    /// The share of newcomers that is turned away for it.
    refused: f64,
}

/// What the process uses of what it may; `seen` is what was last found of a resource: used, and refused for it.
pub(crate) fn process(bounds: &Bounds, seen: &dyn Fn(Resource) -> (f64, f64)) -> impl Serialize + use<> {
    let limits = [Some(bounds.files), Some(bounds.memory), bounds.lag.map(|lag| lag.as_secs_f64())];
    let shares = Resource::ALL.into_iter().zip(limits).map(|(resource, limit)| {
        let (used, refused) = seen(resource);
        (resource.word(), Share { used, limit, refused })
    });
    shares.collect::<BTreeMap<_, _>>()
}

/// Every upstream, by name, and the process.
pub(crate) fn write(upstreams: &BTreeMap<&str, Upstream>, process: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Whole<'a, P> {
        upstreams: &'a BTreeMap<&'a str, Upstream>,
        process: &'a P,
    }
    let whole = Whole { upstreams, process };
    // Names, numbers and texts: nothing that JSON cannot say.
    let mut text = serde_json::to_vec_pretty(&whole).unwrap_or_default();
    text.push(b'\n');
    text
}

impl Endpoint {
    fn of(seen: &EndpointSnapshot) -> Self {
        Self {
            address: seen.key.clone(),
            weight: seen.weight,
            sessions: Limit::of(seen.sessions, seen.max_sessions),
            handshakes: Limit::of(seen.handshakes, seen.max_handshakes),
            refuses: seen.refuses.clone(),
        }
    }
}

impl Flow {
    fn declared(used: u64, limit: u64) -> Self {
        Self { used, limit: Some(limit), source: "declared" }
    }
}

impl Limit {
    fn of(used: u32, cap: Cap) -> Self {
        Self { used, limit: cap.limit(), source: cap.source() }
    }
}
