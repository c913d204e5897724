//! Which newcomers are turned away because the process is short of something. Read for every request, so it is one
//! number.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tidegate_governor::{Resource, Strain};

/// Newcomers of this many are counted.
const WHOLE: u32 = 1 << 16;

/// The last look's outcome: in the upper bits what is short, in the lower which part of [`WHOLE`] is refused.
#[derive(Default)]
pub(crate) struct Current(AtomicU32);

impl Current {
    pub(crate) fn set(&self, strain: Option<Strain>) {
        let packed = strain.map_or(0, |Strain { resource, refuse }| {
            let part = (refuse * f64::from(WHOLE - 1)).ceil() as u32;
            (resource as u32) << 16 | part
        });
        self.0.store(packed, Relaxed);
    }

    /// For one newcomer: what it is refused for. It is drawn who is.
    pub(crate) fn refuses(&self) -> Option<Resource> {
        let packed = self.0.load(Relaxed);
        let part = packed % WHOLE;
        if part == 0 || crate::random() % WHOLE > part {
            return None;
        }
        Resource::ALL.get((packed >> 16) as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_refused_as_were_to_be() {
        let current = Current::default();
        assert_eq!(current.refuses(), None);
        for (refuse, bounds) in [(1.0, 4000..=4000), (0.5, 1800..=2200), (0.001, 0..=40)] {
            current.set(Some(Strain { resource: Resource::Lag, refuse }));
            let refused = (0..4000).filter(|_| current.refuses() == Some(Resource::Lag)).count();
            assert!(bounds.contains(&refused), "{refuse}: {refused}");
        }
    }
}
