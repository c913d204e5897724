//! Takes up certificates that change on disk, while all else stays as it is.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use tidegate_config::{Address, Config, Fault, FilePath};

use super::{Incoming, Outgoing, incoming, outgoing, stamp::Stamp};
use crate::{clock, shared::Shared, worker::Listener};

/// How often it is asked whether it is time to look: an interval that a reload has shortened holds that soon.
const GLANCE: Duration = Duration::from_secs(1);

/// A file and when the first certificate in it expires.
type Expiry = (FilePath, SystemTime);

/// Looks at the files of the configuration in force, every `reload_interval`, for ever.
pub(crate) async fn watch(shared: Arc<Shared>, listener: impl Fn(&Address) -> Option<Arc<Listener>>) {
    let mut last = clock::now();
    let mut refused = Refused::default();
    loop {
        let interval = shared.live.load().config.tls.reload_interval;
        tokio::time::sleep(interval.unwrap_or(GLANCE).min(GLANCE)).await;
        if interval.is_some_and(|interval| last + interval <= clock::now()) {
            last = clock::now();
            refresh(&shared, &listener, &mut refused);
        }
    }
}

/// Says when the certificates expire that are now in force.
pub(crate) fn publish(shared: &Shared, listener: impl Fn(&Address) -> Option<Arc<Listener>>) {
    let config = shared.live.load().config.clone();
    let incoming = config.listeners.iter().filter_map(|listen| listener(&listen.address)?.tls.load_full());
    let outgoing = shared.outgoing(&config);
    let outgoing = outgoing.iter().filter_map(|(_, _, tls)| tls.load_full());
    let expiries: Vec<Expiry> =
        incoming.flat_map(|tls| tls.expiries.clone()).chain(outgoing.filter_map(|tls| tls.expiry.clone())).collect();
    let gauges = &shared.metrics.tls_not_after;
    // A scrape sees all of them.
    let _together = shared.metrics.together();
    gauges.reset();
    for (file, not_after) in expiries {
        let seconds = not_after.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        gauges.with_label_values(&[&file.as_ref().display().to_string()]).set(seconds);
    }
}

fn refresh(shared: &Shared, listener: &impl Fn(&Address) -> Option<Arc<Listener>>, refused: &mut Refused) {
    let config: Arc<Config> = shared.live.load().config.clone();
    let mut changed = false;
    let mut take = |what: String, outcome| match outcome {
        Outcome::Same => _ = refused.0.remove(&what),
        Outcome::Taken => {
            refused.0.remove(&what);
            changed = true;
            shared.metrics.tls_reloads.with_label_values(&["success"]).inc();
            tracing::info!(what, "changed certificates taken up");
        }
        // Tried again each time, for a file may be half written; said once.
        Outcome::Refused(why) if refused.0.get(&what) != Some(&why) => {
            shared.metrics.tls_reloads.with_label_values(&["failure"]).inc();
            tracing::error!(what, why, "changed certificates refused, those loaded before stay");
            refused.0.insert(what, why);
        }
        Outcome::Refused(_) => {}
    };
    for listen in &config.listeners {
        let (Some(settings), Some(listener)) = (&listen.tls, listener(&listen.address)) else { continue };
        let load = |before: &Incoming, faults: &mut Vec<Fault>| Incoming::load(settings, Some(before), faults);
        take(listener.name.clone(), replace(&listener.tls, Stamp::of(incoming::files(settings)), load));
    }
    for (what, settings, tls) in shared.outgoing(&config) {
        let load = |_: &Outgoing, faults: &mut Vec<Fault>| Outgoing::load(settings, faults);
        take(what, replace(&tls, Stamp::of(outgoing::files(settings)), load));
    }
    if changed {
        publish(shared, listener);
    }
}

/// Why the files of what were refused when they were last looked at.
#[derive(Default)]
struct Refused(HashMap<String, String>);

enum Outcome {
    Same,
    Taken,
    Refused(String),
}

/// What is loaded from files.
trait Loaded {
    fn stamp(&self) -> &Stamp;
    fn expiries(&self) -> &[Expiry];
}

impl Loaded for Incoming {
    fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    fn expiries(&self) -> &[Expiry] {
        &self.expiries
    }
}

impl Loaded for Outgoing {
    fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    fn expiries(&self) -> &[Expiry] {
        self.expiry.as_slice()
    }
}

/// Loads anew what does not look as it did, and puts it in the place of what was, if it is good.
fn replace<T: Loaded>(
    current: &ArcSwapOption<T>,
    stamp: Stamp,
    load: impl FnOnce(&T, &mut Vec<Fault>) -> Option<T>,
) -> Outcome {
    let Some(before) = current.load_full().filter(|before| *before.stamp() != stamp) else { return Outcome::Same };
    let mut faults = Vec::new();
    let Some(next) = load(&before, &mut faults) else {
        let mut errors = faults.iter().filter(|fault| !fault.is_warning()).map(Fault::message);
        return Outcome::Refused(errors.next().unwrap_or_default().to_owned());
    };
    let now = SystemTime::now();
    // One that had expired before is no reason to refuse another one's renewal.
    let expired = next.expiries().iter().find(|expiry| expiry.1 <= now && !before.expiries().contains(expiry));
    if let Some((file, _)) = expired {
        return Outcome::Refused(file.fault("the certificate has expired").message().to_owned());
    }
    current.store(Some(Arc::new(next)));
    Outcome::Taken
}
