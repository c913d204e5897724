//! Which newcomers are turned away because the process is short of something. Read for every request, so it is one
//! number.

use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed},
};

use tidegate_governor::{Resource, Strain};

/// Newcomers of this many are counted.
const WHOLE: u32 = 1 << 16;
/// Most descriptors that no client gets: for the admin listeners, logs and files that are read again. With few in all
/// it is half of what `[protection] files` leaves.
const RESERVE: f64 = 16.0;

/// What newcomers meet.
pub(crate) struct Current {
    /// The last look's outcome: in the upper bits what is short, in the lower which part of [`WHOLE`] is refused.
    strain: AtomicU32,
    /// Descriptors that the process may have; the kernel gives the lowest that is free, so its number tells at once how
    /// many there are, long before the next look.
    files: AtomicI32,
}

/// What becomes of an accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Newcomer {
    /// It is heard.
    Heard,
    /// There is no descriptor left even to tell it why.
    Dropped,
}

impl Default for Current {
    fn default() -> Self {
        Self { strain: AtomicU32::new(0), files: AtomicI32::new(i32::MAX) }
    }
}

impl Current {
    pub(crate) fn set(&self, strain: Option<Strain>) {
        let packed = strain.map_or(0, |Strain { resource, refuse }| {
            let part = (refuse * f64::from(WHOLE - 1)).ceil() as u32;
            (resource as u32) << 16 | part
        });
        self.strain.store(packed, Relaxed);
    }

    /// How many descriptors there may be.
    pub(crate) fn set_files(&self, limit: u64) {
        self.files.store(i32::try_from(limit).unwrap_or(i32::MAX), Relaxed);
    }

    /// A connection was accepted.
    pub(crate) fn accepted(&self, socket: &OwnedFd, share: f64) -> Newcomer {
        let (number, files) = (f64::from(socket.as_raw_fd()), f64::from(self.files.load(Relaxed)));
        let left = files * (1.0 - share);
        if number >= files - RESERVE.min(left / 2.0) {
            return Newcomer::Dropped;
        }
        if number >= files - left {
            self.set(Some(Strain { resource: Resource::Files, refuse: 1.0 }));
        }
        Newcomer::Heard
    }

    /// For one newcomer: what it is refused for. It is drawn who is.
    pub(crate) fn refuses(&self) -> Option<Resource> {
        let packed = self.strain.load(Relaxed);
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
