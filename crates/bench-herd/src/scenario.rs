//! What befalls the servers, and what is made of it.

use std::{
    net::SocketAddr,
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant},
};

use bench_herd::{Bystanders, Capacity, Crowd, Haste, Herd, Kind, P99, Server};
use bench_rig::{Contender, Rig, clock, free_address};

use crate::{served::Served, stage::Stage};

/// Seconds of a handshake on an idle server.
const BASE: f64 = 0.2;
/// How long a dead server stays away.
const DOWN: Duration = Duration::from_secs(3);
/// How long a session is wanted where there are too many, and how long then none.
const STAY: Duration = Duration::from_secs(2);
/// How long bystanders are watched before anything happens.
const REST: Duration = Duration::from_secs(8);
/// What is waited for, in bounds.
const PATIENCE: f64 = 2.5;
/// Twenty to a round: what a mixed public has.
const KINDS: [Kind; 20] = {
    use Kind::{Exponential as E, Fixed as F, GivesUp as G, Hinted as H, Immediate as I};
    [I, E, F, I, H, I, E, F, I, G, I, E, F, I, H, I, E, F, E, G]
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    Crash,
    Overload,
    OneOfTwo,
}

/// What became of a scenario behind one proxy.
pub(crate) struct Outcome {
    pub(crate) scenario: &'static str,
    pub(crate) contender: Contender,
    pub(crate) clients: usize,
    /// The least time in which 99 % can be back.
    pub(crate) bound: Option<Duration>,
    /// And that in which they were.
    pub(crate) t99: Option<Duration>,
    /// Clients with a session at the end.
    pub(crate) useful: usize,
    /// Sessions begun over those that could have been.
    pub(crate) goodput: Option<f64>,
    /// Handshakes that the server did for nobody, over all.
    pub(crate) wasted: f64,
    /// Attempts per second over the capacity.
    pub(crate) offered: f64,
    pub(crate) stopped: u64,
    /// 99 % of the bystanders' round trips, before and while it happened.
    pub(crate) rest: Option<P99>,
    pub(crate) busy: Option<P99>,
    pub(crate) bystanders_lost: u64,
}

impl Scenario {
    pub(crate) const ALL: [Self; 3] = [Self::Crash, Self::OneOfTwo, Self::Overload];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash, back at 25 %",
            Self::Overload => "ten times too many",
            Self::OneOfTwo => "one of two dies",
        }
    }

    /// One server's capacity.
    fn capacity(self, clients: usize) -> Capacity {
        let clients = clients as f64;
        Capacity::warm(
            match self {
                Self::Crash => clients / 16.0,
                Self::Overload => clients / 40.0,
                Self::OneOfTwo => clients / 20.0,
            },
            BASE,
        )
    }

    pub(crate) fn run(self, contender: Contender, rig: &Rig, clients: usize) -> Result<Vec<Outcome>, String> {
        let fail = |error: std::io::Error| error.to_string();
        let capacity = self.capacity(clients);
        let count = if self == Self::OneOfTwo { 2 } else { 1 };
        let mut servers = Vec::new();
        for number in 0..count {
            let address = free_address().map_err(fail)?;
            servers.push((address, Served::start(address, number, capacity)?));
        }
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let chat = Server::start(any, 99, Capacity::warm(10_000.0, 0.001), Haste::AtOnce).map_err(fail)?;
        let rate = capacity.rate * count as f64;
        let warm_after = if self == Self::Crash { Duration::from_secs(15) } else { Duration::ZERO };
        let stage = Stage {
            servers: servers.iter().map(|(address, _)| *address).collect(),
            bystanders: chat.address,
            // Sessions are short where there are too many: then those that can be there at once are the tighter bound.
            most_sessions: if self == Self::Overload { (rate * (STAY.as_secs_f64() + BASE)) as usize } else { clients },
            rate: (self != Self::Overload).then_some(rate),
            warm_after,
        };
        let proxy = stage.start(contender, rig)?;
        let bystanders = Bystanders::start(proxy.address, chat.address).map_err(fail)?;
        let crowd = Crowd {
            clients,
            kinds: KINDS.to_vec(),
            to: proxy.address,
            within: Duration::from_secs_f64(clients as f64 / (0.8 * rate)),
            stay: None,
        };
        let mut run =
            Run { contender, clients, capacity, servers, bystanders, rest: None, steady: self == Self::Overload };
        match self {
            Self::Overload => {
                run.at_rest();
                // A client is in for 2 s and out for 2 s, if it can: ten times what the server can take.
                let kinds = KINDS.into_iter().filter(|kind| *kind != Kind::GivesUp).collect();
                let stay = Some((STAY, STAY));
                let herd = Herd::start(Crowd { kinds, stay, within: Duration::from_secs(4), ..crowd }).map_err(fail)?;
                run.overload(&herd)
            }
            Self::Crash | Self::OneOfTwo => {
                let fill = crowd.within;
                let herd = Herd::start(crowd).map_err(fail)?;
                run.fill(&herd, fill)?;
                run.at_rest();
                if self == Self::Crash { run.crash(&herd, warm_after) } else { run.one_of_two(&herd) }
            }
        }
    }
}

/// A scenario under way.
struct Run {
    contender: Contender,
    clients: usize,
    capacity: Capacity,
    servers: Vec<(SocketAddr, Served)>,
    bystanders: Bystanders,
    rest: Option<P99>,
    /// What counts is the part of the capacity that is used, all the time.
    steady: bool,
}

/// Where the counters stood.
struct Mark {
    at: Instant,
    greeted: u64,
    attempts: u64,
    through: i64,
}

impl Run {
    /// Waits until all are in.
    fn fill(&self, herd: &Herd, within: Duration) -> Result<(), String> {
        let wanted = self.clients * 998 / 1000;
        let useful = || self.useful(herd);
        clock::until(3 * within + Duration::from_secs(10), || (useful() >= wanted).then_some(()))
            .ok_or_else(|| format!("only {} of {} clients come in", useful(), self.clients))
    }

    /// Watches the bystanders while nothing happens.
    fn at_rest(&mut self) {
        thread::sleep(Duration::from_secs(1));
        let _ = self.bystanders.p99();
        thread::sleep(REST);
        self.rest = self.bystanders.p99();
    }

    /// Clients with a session that somebody serves.
    fn useful(&self, herd: &Herd) -> usize {
        self.servers.iter().map(|(_, served)| herd.seen.with(served.number)).sum()
    }

    fn mark(&self, herd: &Herd) -> Mark {
        Mark {
            through: self.servers.iter().map(|(_, served)| served.through()).sum(),
            greeted: herd.seen.greeted.load(Relaxed),
            attempts: herd.seen.attempts.load(Relaxed),
            at: clock::now(),
        }
    }

    /// It dies by SIGKILL, and another in its place starts cold.
    fn crash(mut self, herd: &Herd, warm_after: Duration) -> Result<Vec<Outcome>, String> {
        let (address, dead) = self.servers.pop().ok_or("no server")?;
        drop(dead);
        thread::sleep(DOWN);
        let capacity = Capacity { cold: 0.25, warm_after, ..self.capacity };
        self.servers.push((address, Served::start(address, 10, capacity)?));
        Ok(vec![self.recovery(Scenario::Crash, herd, capacity.bound(0.99 * self.clients as f64))])
    }

    /// One dies by SIGKILL; the other has to take all.
    fn one_of_two(mut self, herd: &Herd) -> Result<Vec<Outcome>, String> {
        drop(self.servers.remove(0));
        let lost = 0.99 * self.clients as f64 - self.useful(herd) as f64;
        let bound = self.capacity.bound(lost);
        Ok(vec![self.recovery(Scenario::OneOfTwo, herd, bound)])
    }

    fn recovery(&self, scenario: Scenario, herd: &Herd, bound: Duration) -> Outcome {
        let began = clock::now();
        let mark = self.mark(herd);
        let wanted = self.clients * 99 / 100;
        let t99 =
            self.watch(herd, bound.mul_f64(PATIENCE), || (self.useful(herd) >= wanted).then(|| clock::now() - began));
        Outcome { bound: Some(bound), t99, ..self.outcome(scenario.name(), herd, &mark, 1.0) }
    }

    /// Waits until `done` says something, at most so long.
    fn watch<T>(&self, herd: &Herd, patience: Duration, done: impl Fn() -> Option<T>) -> Option<T> {
        let began = clock::now();
        let traced = std::env::var_os("HERD_TRACE").is_some();
        let mut said = 0;
        clock::until(patience, || {
            let passed = clock::now() - began;
            if traced && passed.as_secs() >= said {
                said += 1;
                self.trace(herd, passed);
            }
            done()
        })
    }

    /// For whoever wants to know why.
    fn trace(&self, herd: &Herd, passed: Duration) {
        let count = |count: &std::sync::atomic::AtomicU64| count.load(Relaxed);
        let at_work: Vec<u64> = self.servers.iter().map(|(_, served)| count(&served.stats.at_work)).collect();
        let seen = &herd.seen;
        eprintln!(
            "{:5.1} s: {} in, {at_work:?} at work; attempts {}, greeted {}, closed {}, statuses {}, nothing {}; \
             slowest bystander {:.2} ms",
            passed.as_secs_f64(),
            self.useful(herd),
            count(&seen.attempts),
            count(&seen.greeted),
            count(&seen.closed),
            count(&seen.statuses),
            count(&seen.nothing),
            self.bystanders.slowest().as_secs_f64() * 1000.0,
        );
    }

    /// Steady, then at two fifths of its speed.
    fn overload(mut self, herd: &Herd) -> Result<Vec<Outcome>, String> {
        let mut outcomes = Vec::new();
        let span = Duration::from_secs(20);
        // The rush of the beginning is over, and so is what is learned from it.
        self.watch(herd, Duration::from_secs(10), || None::<()>);
        for (scenario, health) in [(Scenario::Overload.name(), 1000), ("brown-out to 40 %", 400)] {
            if health < 1000 {
                self.servers[0].1.health(health)?;
            }
            let _ = self.bystanders.p99();
            let mark = self.mark(herd);
            self.watch(herd, span, || None::<()>);
            outcomes.push(self.outcome(scenario, herd, &mark, health as f64 / 1000.0));
        }
        Ok(outcomes)
    }

    /// What became of it since the mark; `health`: the part of the capacity that there was.
    fn outcome(&self, scenario: &'static str, herd: &Herd, mark: &Mark, health: f64) -> Outcome {
        let busy = self.bystanders.p99();
        let now = self.mark(herd);
        let seconds = (now.at - mark.at).as_secs_f64();
        let capacity = self.capacity.rate * health;
        let greeted = (now.greeted - mark.greeted) as f64;
        let through = (now.through - mark.through).max(1) as f64;
        Outcome {
            scenario,
            contender: self.contender,
            clients: self.clients,
            bound: None,
            t99: None,
            useful: self.useful(herd),
            goodput: self.steady.then_some(greeted / (capacity * seconds)),
            wasted: ((through - greeted) / through).max(0.0),
            offered: (now.attempts - mark.attempts) as f64 / seconds / capacity,
            stopped: herd.seen.stopped.load(Relaxed),
            rest: self.rest,
            busy,
            bystanders_lost: self.bystanders.lost(),
        }
    }
}
