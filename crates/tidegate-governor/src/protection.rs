//! How short the process itself is of something, and which share of the newcomers it therefore turns away.
//!
//! The answer grows with the need: a process that refuses everybody at one value of a gauge, and nobody just below it,
//! swings between the two.

use std::time::Duration;

/// Looks of which the least lag counts: a delay that stays is overload, one that passes is a burst.
const LOOKS: usize = 4;

/// What a process can run short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Descriptors: sockets and files.
    Files,
    /// Memory, of its cgroup or of the machine.
    Memory,
    /// Time: work that is ready waits.
    Lag,
}

/// How much of each may be used. Admission of newcomers ends there; sessions go on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Share of the descriptors that the process may have, 0 to 1. Default 0.95.
    pub files: f64,
    /// Share of the memory that the process may have, 0 to 1. Default 0.95.
    pub memory: f64,
    /// How long work that is ready may wait, for a second on end. Default 1 s; `None`: for ever.
    pub lag: Option<Duration>,
}

/// What is used now; `None`: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Share of the descriptors.
    pub files: Option<f64>,
    /// Share of the memory.
    pub memory: Option<f64>,
    /// How long work just waited.
    pub lag: Option<Duration>,
}

/// What the process is shortest of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strain {
    /// Of what.
    pub resource: Resource,
    /// The share of newcomers to turn away, above 0 and at most 1.
    pub refuse: f64,
}

/// Remembers what it needs of earlier looks.
#[derive(Clone, Debug, Default)]
pub struct Protection {
    lags: [Option<Duration>; LOOKS],
    next: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { files: 0.95, memory: 0.95, lag: Some(Duration::from_secs(1)) }
    }
}

impl Resource {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Files, Self::Memory, Self::Lag];

    /// Part of its bound where refusing begins; at the bound itself everybody is refused. Descriptors are counted
    /// exactly, and a session has two from its beginning to its end: they do not grow by themselves.
    const fn soft(self) -> f64 {
        match self {
            Self::Files => 0.97,
            Self::Memory | Self::Lag => 0.9,
        }
    }

    /// The metric label.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Memory => "memory",
            Self::Lag => "lag",
        }
    }
}

impl Protection {
    /// A look at what is used: what is short, if anything is.
    pub fn observe(&mut self, usage: &Usage, bounds: &Bounds) -> Option<Strain> {
        self.lags[self.next] = usage.lag;
        self.next = (self.next + 1) % LOOKS;
        let lag = self.lags.iter().copied().min().flatten();
        let of = |used: Option<f64>, bound: f64| Some(used? / bound);
        let pressures = [
            (Resource::Files, of(usage.files, bounds.files)),
            (Resource::Memory, of(usage.memory, bounds.memory)),
            (Resource::Lag, bounds.lag.and_then(|bound| of(lag.map(|lag| lag.as_secs_f64()), bound.as_secs_f64()))),
        ];
        let worst = pressures.into_iter().filter_map(|(resource, pressure)| Some((resource, pressure?)));
        let (resource, pressure) = worst.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let soft = resource.soft();
        let refuse = ((pressure - soft) / (1.0 - soft)).clamp(0.0, 1.0);
        (refuse > 0.0).then_some(Strain { resource, refuse })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(used: f64) -> Usage {
        Usage { files: Some(used), ..Usage::default() }
    }

    #[test]
    fn refusing_grows_with_the_need() {
        let bounds = Bounds { memory: 0.8, ..Bounds::default() };
        let memory = |used| Usage { memory: Some(used), ..Usage::default() };
        let refused = |used| Protection::default().observe(&memory(used), &bounds).map_or(0.0, |strain| strain.refuse);
        assert_eq!([refused(0.0), refused(0.71), refused(0.8), refused(1.0)], [0.0, 0.0, 1.0, 1.0]);
        assert!((refused(0.76) - 0.5).abs() < 0.01, "{}", refused(0.76));
    }

    #[test]
    fn nine_tenths_of_the_descriptors_may_be_used() {
        let refused = |used| Protection::default().observe(&files(used), &Bounds::default()).is_some();
        assert_eq!([refused(0.92), refused(0.93)], [false, true]);
    }

    #[test]
    fn the_scarcest_counts() {
        let usage = Usage { files: Some(0.9), memory: Some(0.94), lag: Some(Duration::ZERO) };
        let strain = Protection::default().observe(&usage, &Bounds::default()).unwrap();
        assert_eq!(strain.resource, Resource::Memory);
    }

    #[test]
    fn a_lag_counts_when_it_stays() {
        let (bounds, mut protection) = (Bounds::default(), Protection::default());
        let late = Usage { lag: Some(Duration::from_secs(2)), ..Usage::default() };
        for _ in 1..LOOKS {
            assert_eq!(protection.observe(&late, &bounds), None);
        }
        assert_eq!(protection.observe(&late, &bounds), Some(Strain { resource: Resource::Lag, refuse: 1.0 }));
        let prompt = Usage { lag: Some(Duration::ZERO), ..Usage::default() };
        assert_eq!(protection.observe(&prompt, &bounds), None);
        assert_eq!(protection.observe(&late, &Bounds { lag: None, ..bounds }), None);
    }

    #[test]
    fn what_is_not_known_refuses_nobody() {
        assert_eq!(Protection::default().observe(&Usage::default(), &Bounds::default()), None);
    }
}
