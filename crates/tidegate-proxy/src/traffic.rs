//! What goes through each upstream, for its governor: once a second, from what the workers count anyway.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tidegate_governor::Traffic;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{counters::Carried, shared::Shared};

const LOOK: Duration = Duration::from_secs(1);

/// Measures for as long as the process lives.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut clock = interval(LOOK);
    // Late is late: two looks at once would find twice as much in no time.
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = HashMap::new();
    let mut looked: Option<Instant> = None;
    loop {
        let now = clock.tick().await;
        let by_route = shared.metrics.hot.by_route();
        if let Some(looked) = looked {
            let config = shared.live.load();
            let routes = config.config.routes.iter().map(|route| (route.name.as_str(), route.upstream.as_str()));
            shared.carry(&traffic(routes, &before, &by_route, now - looked));
        }
        (before, looked) = (by_route, Some(now));
    }
}

/// Of each upstream that has routes, by what they have carried in all before and after this time.
fn traffic<'c>(
    routes: impl Iterator<Item = (&'c str, &'c str)>,
    before: &HashMap<String, Carried>,
    after: &HashMap<String, Carried>,
    passed: Duration,
) -> HashMap<&'c str, Traffic> {
    let mut all: HashMap<&str, Traffic> = HashMap::new();
    for (route, upstream) in routes {
        let after = after.get(route).copied().unwrap_or_default();
        let before = before.get(route).copied().unwrap_or_default();
        let rate = |after: u64, before| (after.saturating_sub(before) as f64 / passed.as_secs_f64()).round() as u64;
        let sum = all.entry(upstream).or_default();
        sum.messages += rate(after.messages, before.messages);
        sum.bytes += rate(after.bytes, before.bytes);
        sum.buffered += after.buffered;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_carries_what_its_routes_have_carried_since() {
        let carried = |messages, bytes, buffered| Carried { messages, bytes, buffered };
        let before = HashMap::from([("a".to_owned(), carried(100, 1000, 7)), ("b".to_owned(), carried(5, 50, 0))]);
        let after = HashMap::from([
            ("a".to_owned(), carried(300, 1500, 3)),
            ("b".to_owned(), carried(7, 50, 1)),
            ("c".to_owned(), carried(9, 9, 9)),
        ]);
        let routes = [("a", "x"), ("b", "x"), ("c", "y"), ("d", "z")];
        let all = traffic(routes.into_iter(), &before, &after, Duration::from_secs(2));
        assert_eq!(all["x"], Traffic { messages: 101, bytes: 250, buffered: 4 });
        assert_eq!(all["y"], Traffic { messages: 5, bytes: 5, buffered: 9 });
        assert_eq!(all["z"], Traffic::default());
    }
}
