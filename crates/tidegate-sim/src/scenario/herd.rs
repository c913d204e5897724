//! The herd on real sockets (`cargo xtask bench herd`), in the model: the same clients, servers and times.

use super::{Act, Group, Measure, Scenario};
use crate::{Ns, SECOND, client::Kind, nanos, upstream::Capacity};

/// As `bench herd` calls them in its table, in its order.
pub(crate) const HERD: [&str; 4] =
    ["crash, back at 25 %", "one of two dies", "ten times too many", "brown-out to 40 %"];
/// Seconds of a handshake on an idle server.
const BASE: f64 = 0.2;
/// Twenty to a round.
const KINDS: [Kind; 20] = {
    use Kind::{Exponential as E, Hinted as H, Phoenix as I, Quitter as G, Steady as F};
    [I, E, F, I, H, I, E, F, I, G, I, E, F, I, H, I, E, F, E, G]
};
/// Without those that give up.
const STAYERS: [Kind; 18] = {
    use Kind::{Exponential as E, Hinted as H, Phoenix as I, Steady as F};
    [I, E, F, I, H, I, E, F, I, I, E, F, I, H, I, E, F, E]
};

impl Scenario {
    pub(super) fn of_the_herd(name: &str, clients: u32) -> Option<Self> {
        let title = *HERD.iter().find(|one| **one == name)?;
        let number = HERD.iter().position(|one| *one == name)?;
        let all = f64::from(clients);
        let (rate, endpoints) = [(all / 16.0, 1), (all / 20.0, 2), (all / 40.0, 1), (all / 40.0, 1)][number];
        let mut server =
            Capacity { cold: 1.0, warm_after: 0.0, even: true, crashes: f64::MAX, ..Capacity::fleet(rate) };
        server.base = BASE;
        let fill = nanos(all / (0.8 * rate * endpoints as f64));
        let all_in = Group { span: fill, kinds: &KINDS, ..Group::of(clients) };
        let begin = fill + 4 * SECOND;
        let away = begin + 3 * SECOND;
        let in_and_out =
            Group { span: 4 * SECOND, kinds: &STAYERS, stay: Some(2.0), again: Some(2.0), ..Group::of(clients) };
        let (steady, brown, end): (Ns, Ns, Ns) = (14 * SECOND, 34 * SECOND, 54 * SECOND);
        let (group, script, measured_from, horizon, measure) = match number {
            0 => {
                server.cold = 0.25;
                server.warm_after = 15.0;
                let script = vec![(begin, Act::Stop(0)), (away, Act::Start(0))];
                (all_in, script, begin, away + 60 * SECOND, Measure::Whole(away))
            }
            1 => (all_in, vec![(begin, Act::Stop(0))], begin, begin + 60 * SECOND, Measure::Whole(begin)),
            2 => (in_and_out, Vec::new(), 0, brown, Measure::Goodput(steady, brown)),
            _ => (in_and_out, vec![(brown, Act::Health(0, 0.4))], 0, end, Measure::Goodput(brown, end)),
        };
        Some(Self {
            name: title,
            title,
            endpoints,
            spares: 0,
            server,
            near: true,
            proxies: 1,
            groups: vec![group],
            script,
            scaling: None,
            measured_from,
            horizon,
            measure,
        })
    }
}
