//! What a run showed.

use std::collections::BTreeMap;

use crate::{Ns, SECOND, client::Kind, nanos, seconds};

/// How often the capacity of the fleet is noted.
pub(crate) const SAMPLE: Ns = SECOND / 10;

/// A time without a session that a client wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    pub(crate) since: Ns,
    /// [`Ns::MAX`]: not within the run.
    pub(crate) back: Ns,
    pub(crate) kind: Kind,
    pub(crate) tenant: u16,
}

#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Those that began at or after the measured time did.
    pub(crate) outages: Vec<Outage>,
    /// When a session was first wanted, and when its client's first try could have arrived had nobody held it.
    pub(crate) wishes: Vec<(Ns, Ns)>,
    /// Handshakes per second that the fleet could do, each [`SAMPLE`].
    pub(crate) capacity: Vec<f64>,
    /// Clients with a session, each second.
    pub(crate) connected: Vec<u32>,
    /// Attempts that arrived, each second.
    pub(crate) arrivals: Vec<u32>,
    /// Handshakes an endpoint finished, and those of them nobody waited for any more.
    pub(crate) finished: u64,
    pub(crate) wasted: u64,
    /// Endpoints that fell to what was sent to them.
    pub(crate) crashes: u32,
    pub(crate) attempts: u64,
    /// Refusals before anything happened, under three quarters of the capacity.
    pub(crate) refused_in_peace: u64,
    pub(crate) gave_up: u64,
    pub(crate) events: u64,
    pub(crate) ended_at: Ns,
    pub(crate) measured_from: Ns,
    /// Seconds of a handshake on an idle endpoint.
    pub(crate) base: f64,
}

impl Record {
    /// Seconds until so large a part of those who wanted a session had one; infinite if they had not.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        self.quantile_of(part, |_| true)
    }

    pub(crate) fn quantile_of(&self, part: f64, of: impl Fn(&Outage) -> bool) -> f64 {
        let waits = self.outages.iter().filter(|o| of(o)).map(|o| wait(o.since, o.back)).collect();
        quantile(waits, part)
    }

    /// Seconds from then until 99 % of so many clients have a session, all of whom had one.
    pub(crate) fn whole(&self, from: Ns, clients: u32) -> f64 {
        let away = self.outages.len();
        let missing = (f64::from(clients) * 0.99).ceil() - (f64::from(clients) - away as f64);
        let since = self.outages.iter().map(|o| wait(from, o.back.max(from))).collect();
        quantile(since, (missing / away.max(1) as f64).max(0.0))
    }

    /// What nobody could beat: every first try served at once by the whole fleet, first come, first served, no work
    /// wasted and no client turned away.
    pub(crate) fn bound(&self, part: f64) -> f64 {
        let mut wishes = self.wishes.clone();
        wishes.sort_unstable_by_key(|&(_, arrival)| arrival);
        let (mut sample, mut left) = (0, 0.0);
        let waits = wishes.iter().map(|&(since, arrival)| {
            let first = (arrival / SAMPLE) as usize;
            if first > sample {
                (sample, left) = (first, self.work(first));
            }
            while left < 1.0 {
                sample += 1;
                if sample >= self.capacity.len() {
                    return f64::INFINITY;
                }
                left += self.work(sample);
            }
            left -= 1.0;
            seconds((sample as Ns * SAMPLE).max(arrival) - since) + self.base
        });
        quantile(waits.collect(), part)
    }

    fn work(&self, sample: usize) -> f64 {
        self.capacity.get(sample).map_or(0.0, |rate| rate * seconds(SAMPLE))
    }

    /// Sessions that came to be in this time, over what the fleet could have done.
    pub(crate) fn goodput(&self, from: Ns, to: Ns) -> f64 {
        let back = self.outages.iter().filter(|o| (from..to).contains(&o.back)).count() as f64;
        let could: f64 = ((from / SAMPLE)..(to / SAMPLE)).map(|sample| self.work(sample as usize)).sum();
        back / could
    }

    /// Part of the upstream's work that was for nothing.
    pub(crate) fn waste(&self) -> f64 {
        self.wasted as f64 / self.finished.max(1) as f64
    }

    /// Most attempts in one second from the measured time on.
    pub(crate) fn peak(&self) -> u32 {
        let from = (self.measured_from / SECOND) as usize;
        self.arrivals.iter().skip(from).copied().max().unwrap_or(0)
    }

    /// How evenly the first half of those that came back is spread over tenants, by Jain's index.
    pub(crate) fn jain_of_tenants(&self) -> f64 {
        self.jain(|o| o.tenant)
    }

    pub(crate) fn jain_of_kinds(&self) -> f64 {
        self.jain(|o| o.kind as u16)
    }

    /// How evenly tenants are served within so many seconds.
    pub(crate) fn jain_of_the_served(&self, within: f64, of: impl Fn(&Outage) -> bool) -> f64 {
        let mut tenants: BTreeMap<u16, (f64, f64)> = BTreeMap::new();
        for o in self.outages.iter().filter(|o| of(o)) {
            // Who came at the very end had no time to be served.
            if o.since + nanos(within) > self.ended_at {
                continue;
            }
            let (served, all) = tenants.entry(o.tenant).or_default();
            *all += 1.0;
            *served += f64::from(u8::from(wait(o.since, o.back) <= within));
        }
        jain(tenants.values().map(|(served, all)| served / all))
    }

    fn jain(&self, group: impl Fn(&Outage) -> u16) -> f64 {
        let half = {
            let mut waits: Vec<Ns> = self.outages.iter().map(|o| o.back).collect();
            let middle = waits.len() / 2;
            if waits.is_empty() {
                return 1.0;
            }
            *waits.select_nth_unstable(middle).1
        };
        let groups = self.outages.iter().map(&group).max().map_or(0, |most| usize::from(most) + 1);
        let mut shares = vec![(0.0, 0.0); groups];
        for o in &self.outages {
            let share = &mut shares[usize::from(group(o))];
            share.1 += 1.0;
            share.0 += f64::from(u8::from(o.back <= half));
        }
        jain(shares.iter().filter(|share| share.1 > 0.0).map(|share| share.0 / share.1))
    }

    /// A number that differs if anything went differently.
    #[cfg(test)]
    pub(crate) fn digest(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |x: u64| hash = (hash ^ x).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
        for o in &self.outages {
            add(o.since);
            add(o.back);
        }
        [self.finished, self.wasted, self.attempts, self.ended_at].into_iter().for_each(&mut add);
        self.arrivals.iter().for_each(|&n| add(n.into()));
        hash
    }
}

/// One where all are equal, `1 / n` where one has all.
pub(crate) fn jain(of: impl Iterator<Item = f64>) -> f64 {
    let (mut n, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for x in of {
        n += 1.0;
        sum += x;
        squares += x * x;
    }
    if squares == 0.0 { 1.0 } else { sum * sum / (n * squares) }
}

fn wait(since: Ns, back: Ns) -> f64 {
    if back == Ns::MAX { f64::INFINITY } else { seconds(back - since) }
}

pub(crate) fn quantile(mut of: Vec<f64>, part: f64) -> f64 {
    if of.is_empty() {
        return 0.0;
    }
    let at = ((of.len() as f64 * part).ceil() as usize).clamp(1, of.len()) - 1;
    *of.select_nth_unstable_by(at, f64::total_cmp).1
}
