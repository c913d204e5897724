//! What happens to a fleet of twenty. Each begins with all clients in, at three quarters of what the fleet can take,
//! unless it is about beginning itself.

use super::{Act, Group, Measure, Scaling, Scenario};
use crate::{
    Ns, SECOND,
    client::Kind,
    draw::Draw,
    nanos,
    upstream::{BASE, Capacity},
};

const ENDPOINTS: usize = 20;
/// What the fleet can take: all clients in a hundred seconds.
const REFILL: f64 = 100.0;
const ALL: u16 = ENDPOINTS as u16;

impl Scenario {
    pub(super) fn of_a_fleet(name: &str, clients: u32, seed: u64) -> Option<Self> {
        let s = Self::full(clients);
        let t0 = s.measured_from;
        let at = |seconds: f64| t0 + nanos(seconds);
        let restart = || restarted(t0, seed);
        let with = |script: Vec<(Ns, Act)>| {
            let mut all = restart();
            all.extend(script);
            all
        };
        let each = |what: fn(u16) -> Act, when: f64| (0..ALL).map(move |e| (at(when), what(e)));
        let mut scenario = match name {
            "S1" => s.of("S1", "full restart", restart()),
            "S2" => s.of("S2", "1 of 20 endpoints dies", vec![(t0, Act::Stop(0))]),
            "S3" => s.of("S3", "a zone (7 of 20) dies", (0..7).map(|e| (t0, Act::Stop(e))).collect()),
            "S4" => s.of(
                "S4",
                "rolling deploy, one a minute",
                (0..ALL)
                    .flat_map(|e| {
                        let begin = f64::from(e) * 60.0;
                        [(at(begin), Act::Stop(e)), (at(begin + 15.0), Act::Start(e))]
                    })
                    .collect(),
            ),
            "S5a" => Self::offered("S5a", "1.2 x capacity offered", clients, 1.2, 60.0, ENDPOINTS),
            "S5b" => Self::offered("S5b", "3 x capacity offered", clients, 3.0, 60.0, ENDPOINTS),
            "S5c" => Self::offered("S5c", "100 x capacity offered", clients, 100.0, 20.0, 4),
            "S6a" => {
                let slide = (1..=10_u32).flat_map(|step| {
                    let (when, health) = (15.0 + 3.0 * f64::from(step), 1.0 - 0.05 * f64::from(step));
                    (0..ALL).map(move |e| (at(when), Act::Health(e, health)))
                });
                s.of("S6a", "full restart, then a slow brown-out to 50 %", with(slide.collect()))
            }
            "S6b" => s.of(
                "S6b",
                "full restart, then a brown-out to 20 %",
                with(each(|e| Act::Health(e, 0.2), 15.0).collect()),
            ),
            "S6c" => s.of(
                "S6c",
                "full restart, half the endpoints at 10 % speed",
                with((0..ALL / 2).map(|e| (t0, Act::Health(e, 0.1))).collect()),
            ),
            "S7" => {
                let flaps = (0..9_u32).flat_map(|n| {
                    let begin = 20.0 * f64::from(n);
                    [(at(begin), Act::Stop(0)), (at(begin + 10.0), Act::Start(0))]
                });
                let mut s = s.of("S7", "one endpoint flaps, 10 s up and 10 s down", flaps.collect());
                // Sessions come and go, so that it is given some each time; half of what the fleet can take.
                (s.groups[0].stay, s.groups[0].again) = (Some(2.0 * REFILL), Some(1.0));
                s.horizon = t0 + nanos(200.0);
                s
            }
            "S8" => {
                let script = vec![(t0, Act::StopProxy(0)), (at(10.0), Act::StartProxy(0))];
                Self { proxies: 3, ..s.of("S8", "1 of 3 proxies restarts", script) }
            }
            "S9" => Self::attack(clients),
            "S10" => {
                let mut s = s.of("S10", "cold start of everything", (0..ALL).map(|e| (0, Act::Cold(e))).collect());
                s.groups[0].from = SECOND;
                s.groups[0].span = 5 * SECOND;
                s.measured_from = 0;
                s
            }
            "S11" => Self::day(clients),
            "S12" => Self { proxies: 3, ..s.of("S12", "full restart behind 3 proxies that share nothing", restart()) },
            "U1" => {
                let pauses = (0..40_u32).flat_map(|n| {
                    let begin = 5.0 * f64::from(n) + 5.0;
                    (0..ALL).flat_map(move |e| {
                        let begin = begin + 0.2 * f64::from(e);
                        [(at(begin), Act::Health(e, 0.0)), (at(begin + 0.4), Act::Health(e, 1.0))]
                    })
                });
                s.of("U1", "full restart, each endpoint pauses 0.4 s of every 5 s", with(pauses.collect()))
            }
            "U2" => {
                let stalls = [(at(5.0), Act::Stall(0, true)), (at(65.0), Act::Stall(0, false))];
                s.of("U2", "full restart, one endpoint takes connections and never answers", with(stalls.into()))
            }
            "U3" => {
                s.of("U3", "full restart, one endpoint lies: 30 % are told 503", with(vec![(t0, Act::Lie(0, 300))]))
            }
            "U4" => {
                let most = ((4.0 * s.server.rate * BASE) as usize).max(4);
                let script = (0..ALL).map(|e| (t0, Act::Most(e, most))).collect();
                s.of("U4", "full restart, endpoints answer 503 above 4 x rate x latency", with(script))
            }
            "U5" => {
                // Memory for a tenth more than an even share, once a fifth of the fleet is away.
                let most = (1.1 * f64::from(clients) / f64::from(ALL)) as u32;
                let mut script = restart();
                script.retain(|&(_, act)| !matches!(act, Act::Start(e) if e >= ALL - 1));
                script.extend((0..ALL).map(|e| (t0, Act::Memory(e, most))));
                s.of("U5", "full restart, 19 of 20 come back, memory for 104 % of the clients", script)
            }
            _ => return None,
        };
        scenario.script.sort_by_key(|&(at, _)| at);
        Some(scenario)
    }

    fn full(clients: u32) -> Self {
        let rate = f64::from(clients) / REFILL / ENDPOINTS as f64;
        let warm = nanos(REFILL / 0.75);
        Self {
            name: "",
            title: "",
            endpoints: ENDPOINTS,
            spares: 0,
            server: Capacity::fleet(rate),
            near: false,
            proxies: 1,
            groups: vec![Group { span: warm, ..Group::of(clients) }],
            script: Vec::new(),
            scaling: None,
            measured_from: warm + 10 * SECOND,
            horizon: warm + 1810 * SECOND,
            measure: Measure::Recovery,
        }
    }

    fn of(&self, name: &'static str, title: &'static str, script: Vec<(Ns, Act)>) -> Self {
        Self { name, title, script, ..self.clone() }
    }

    /// More newcomers each second than the fleet can take.
    fn offered(
        name: &'static str,
        title: &'static str,
        clients: u32,
        times: f64,
        seconds: f64,
        endpoints: usize,
    ) -> Self {
        let s = Self::full(clients);
        let capacity = s.server.rate * endpoints as f64;
        let (calm, begin) = (20.0, 22.0);
        let groups = vec![
            Group { from: 0, span: nanos(calm), ..Group::of((0.75 * capacity * calm) as u32) },
            Group {
                from: nanos(begin),
                span: nanos(seconds),
                gives_up: Some(30 * SECOND),
                ..Group::of((times * capacity * seconds) as u32)
            },
        ];
        let from = nanos(begin + 2.0);
        Self {
            endpoints,
            groups,
            measured_from: nanos(begin),
            horizon: nanos(begin + seconds),
            measure: Measure::Goodput(from, nanos(begin + seconds)),
            ..s.of(name, title, Vec::new())
        }
    }

    /// A hundred tenants at 70 % of the capacity, and one of them also hammers with twice the capacity.
    fn attack(clients: u32) -> Self {
        let s = Self::full(clients);
        let capacity = s.server.rate * s.endpoints as f64;
        let seconds = 60.0;
        let calm = Group { span: nanos(30.0 + seconds), ..Group::of((0.7 * capacity * (30.0 + seconds)) as u32) };
        let attack = Group {
            from: nanos(30.0),
            span: nanos(1.0),
            kinds: &[Kind::Hammer],
            tenant: Some(0),
            ..Group::of((20.0 * capacity) as u32)
        };
        Self {
            groups: vec![calm, attack],
            measured_from: nanos(30.0),
            horizon: nanos(30.0 + seconds),
            measure: Measure::Victims,
            ..s.of("S9", "one of 100 tenants attacks", Vec::new())
        }
    }

    /// A day in two hours: demand between a third and all, sessions of ten minutes, a scaler in the loop, from when the
    /// first third is in: before that it would take it for a fleet that nobody needs.
    fn day(clients: u32) -> Self {
        let s = Self::full(clients);
        let (stay, day) = (600.0, 7200.0);
        let groups = (0..120).map(|minute| {
            let phase = f64::from(minute) / 120.0 * std::f64::consts::TAU;
            let wanted = 2.0 / 3.0 - phase.cos() / 3.0;
            let count = (f64::from(clients) * wanted * 60.0 / stay) as u32;
            Group { from: nanos(f64::from(minute) * 60.0), span: 60 * SECOND, stay: Some(stay), ..Group::of(count) }
        });
        Self {
            endpoints: ENDPOINTS / 2,
            spares: ENDPOINTS,
            groups: groups.collect(),
            scaling: Some(Scaling {
                target: f64::from(clients) / ENDPOINTS as f64,
                every: 15 * SECOND,
                boot: 60 * SECOND,
                calm: 300 * SECOND,
            }),
            measured_from: nanos(stay),
            horizon: nanos(day),
            ..s.of("S11", "a day in two hours, with an autoscaler", Vec::new())
        }
    }
}

/// S: what happens to a fleet. U: what kinds of endpoints there are.
pub(crate) const NAMES: [&str; 21] = [
    "S1", "S2", "S3", "S4", "S5a", "S5b", "S5c", "S6a", "S6b", "S6c", "S7", "S8", "S9", "S10", "S11", "S12", "U1",
    "U2", "U3", "U4", "U5",
];

/// All die at once and come back within five seconds, cold.
fn restarted(t0: Ns, seed: u64) -> Vec<(Ns, Act)> {
    let stops = (0..ALL).map(|e| (t0, Act::Stop(e)));
    let starts = (0..ALL).map(|e| {
        let away = 5.0 * Draw::new(seed, e.into(), 0, 77).unit();
        (t0 + nanos(away), Act::Start(e))
    });
    stops.chain(starts).collect()
}
