//! How many wait of each class and tenant, and who gives way when no more may.
//!
//! Turns alone do not keep a flood from the others' places: it would fill the queue, and nobody else could so much as
//! wait for a turn. So when no more may wait, a newcomer whose own are fewer takes the place of one of the most.

use std::collections::BTreeSet;

use crate::{fair::CLASSES, hash::Numbered};

#[derive(Debug, Default)]
pub(crate) struct Crowds([Crowd; CLASSES]);

#[derive(Debug, Default)]
struct Crowd {
    waiting: u32,
    tenants: Numbered<u64, u32>,
    by_size: BTreeSet<(u32, u64)>,
}

impl Crowds {
    pub(crate) fn join(&mut self, class: usize, tenant: u64) {
        self.0[class].resize(tenant, |size| size + 1);
        self.0[class].waiting += 1;
    }

    pub(crate) fn leave(&mut self, class: usize, tenant: u64) {
        self.0[class].resize(tenant, |size| size.saturating_sub(1));
        self.0[class].waiting -= 1;
    }

    /// Of each class.
    pub(crate) fn waiting(&self) -> [u32; CLASSES] {
        std::array::from_fn(|class| self.0[class].waiting)
    }

    /// The class and tenant that give way to this one; `None`: it is one of the most itself. `costs`: what a turn costs
    /// each class, so that one of twice the share may have twice as many that wait.
    pub(crate) fn gives_way(&self, class: usize, tenant: u64, costs: [u64; CLASSES]) -> Option<(usize, u64)> {
        let weight = |of: usize, more: u32| u64::from(self.0[of].waiting + more) * costs[of];
        let most = (0..CLASSES).max_by_key(|of| weight(*of, 0))?;
        let (from, own) = if most != class && weight(class, 1) < weight(most, 0) {
            (most, 0)
        } else {
            (class, self.0[class].tenants.get(&tenant).copied().unwrap_or_default() + 1)
        };
        let &(size, largest) = self.0[from].by_size.last()?;
        (own < size).then_some((from, largest))
    }
}

impl Crowd {
    fn resize(&mut self, tenant: u64, change: impl Fn(u32) -> u32) {
        let size = self.tenants.entry(tenant).or_default();
        self.by_size.remove(&(*size, tenant));
        *size = change(*size);
        if *size > 0 {
            self.by_size.insert((*size, tenant));
        } else {
            self.tenants.remove(&tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVEN: [u64; CLASSES] = [1; CLASSES];

    #[test]
    fn the_most_give_way_to_those_who_are_fewer() {
        let mut crowds = Crowds::default();
        (0..10).for_each(|_| crowds.join(3, 7));
        (0..3).for_each(|_| crowds.join(3, 8));
        assert_eq!(crowds.gives_way(3, 9, EVEN), Some((3, 7)));
        assert_eq!(crowds.gives_way(3, 8, EVEN), Some((3, 7)));
        assert_eq!(crowds.gives_way(3, 7, EVEN), None, "its own are the most");
        (0..7).for_each(|_| crowds.leave(3, 7));
        assert_eq!(crowds.gives_way(3, 8, EVEN), None, "they are as many");
        assert_eq!(crowds.waiting(), [0, 0, 0, 6]);
        (0..3).for_each(|_| crowds.leave(3, 7));
        (0..3).for_each(|_| crowds.leave(3, 8));
        assert_eq!(crowds.gives_way(0, 0, EVEN), None, "nobody waits");
        assert!(crowds.0.iter().all(|crowd| crowd.tenants.is_empty() && crowd.by_size.is_empty()));
    }

    #[test]
    fn a_class_may_have_as_many_as_its_share() {
        let mut crowds = Crowds::default();
        (0..50).for_each(|tenant| crowds.join(0, tenant));
        (0..50).for_each(|_| crowds.join(3, 0));
        // Class 0 has three quarters of the turns.
        let costs = [4, 0, 0, 12];
        assert_eq!(crowds.gives_way(0, 1, costs), Some((3, 0)));
        assert_eq!(crowds.gives_way(3, 1, costs), Some((3, 0)), "within its own class");
        assert_eq!(crowds.gives_way(3, 0, costs), None);
        (0..40).for_each(|_| crowds.leave(3, 0));
        assert_eq!(crowds.gives_way(3, 0, costs), Some((0, 49)));
        assert_eq!(crowds.gives_way(0, 50, costs), None);
    }
}
