//! The configuration in force.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::{change::Change, config::Config};

/// The configuration in force, which readers see without waiting.
#[derive(Debug)]
pub struct Live {
    current: ArcSwap<Generation>,
    /// Held while one configuration takes the place of another, so that each change starts where the last ended.
    swapping: Mutex<()>,
}

/// A configuration and its place in the row of those that were in force.
#[derive(Clone, Debug)]
pub struct Generation {
    /// From 1; one more with each change that is one.
    pub number: u64,
    /// What is in force.
    pub config: Arc<Config>,
}

impl Live {
    /// Puts the first configuration in force, as generation 1.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let first = Generation { number: 1, config: Arc::new(config) };
        Self { current: ArcSwap::from_pointee(first), swapping: Mutex::new(()) }
    }

    /// What is in force now. A session keeps what it began with.
    #[must_use]
    pub fn load(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Puts another configuration in force and says what that touches.
    ///
    /// One that says the same changes nothing: neither the generation nor the `Arc` that readers hold.
    pub fn swap(&self, next: Config) -> Change {
        // The guarded value is nothing: a panic elsewhere cannot have broken it.
        let _swapping = self.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current.load();
        let change = Change::between(&before.config, &next);
        if !change.is_noop() {
            self.current.store(Arc::new(Generation { number: before.number + 1, config: Arc::new(next) }));
        }
        change
    }
}
