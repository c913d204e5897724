//! Turns: between classes by their share, within a class evenly between tenants.
//!
//! Start-time fair queueing on both levels. Who waits is served in order of the turn it is due; a turn costs a tenant 1
//! and a class `1 / share`. Who did not wait has no claim to the turns it did not take, nor does who leaves escape
//! the one it took. Nothing is idle while anybody waits: what a class does not use the others have.
//!
//! Tenants are kept as long as they have clients parked or a turn taken ahead of the others. Up to `max_tenants` of a
//! class are told apart; who comes then shares one of [`SHARED`] places. So a flood of tenants that nobody has heard of,
//! each of which is due before those that were served already, ends after a round of so many turns.

use std::collections::BTreeSet;

use crate::hash::{Numbered, mix};

/// Classes of clients; what is beyond counts as the last.
pub const CLASSES: usize = 4;
/// Turns are counted in parts of this, so that sums stay exact.
const TURN: u64 = 1 << 20;
/// Turns by which one tenant may be ahead of the others while nobody has to wait long.
const NEAR: u64 = 32;
/// Places of the tenants that are too many to be told apart.
const SHARED: u64 = 64;
/// A class that was given no share still gets every thousandth turn or so: nobody starves.
const LEAST_SHARE: f64 = 0.001;

/// `T` is what a tenant's clients wait in.
#[derive(Debug)]
pub(crate) struct Fair<T> {
    classes: [Class<T>; CLASSES],
    clock: u64,
    /// Tenants of a class that are told apart.
    max_tenants: usize,
}

#[derive(Debug)]
struct Class<T> {
    cost: u64,
    due: u64,
    clock: u64,
    tenants: Numbered<u64, Tenant<T>>,
    /// Tenants with clients parked, by the turn they are due.
    waiting: BTreeSet<(u64, u64)>,
    /// Those without, that are ahead.
    ahead: BTreeSet<(u64, u64)>,
}

#[derive(Debug, Default)]
struct Tenant<T> {
    due: u64,
    waits: bool,
    of: T,
}

impl<T: Default> Fair<T> {
    /// Shares of all; what they leave over is the last class's.
    pub(crate) fn set_shares(&mut self, shares: &[f64]) {
        let given: f64 = shares.iter().take(CLASSES).sum();
        for (i, class) in self.classes.iter_mut().enumerate() {
            let share = shares.get(i).copied().unwrap_or_default();
            let share = if i + 1 == CLASSES { share + (1.0 - given).max(0.0) } else { share };
            class.cost = (TURN as f64 / share.max(LEAST_SHARE)) as u64;
        }
    }

    pub(crate) fn set_max_tenants(&mut self, most: u32) {
        self.max_tenants = most as usize;
    }

    /// As whose a client of this tenant waits.
    pub(crate) fn known_as(&self, class: u8, tenant: u64) -> u64 {
        let tenants = &self.classes[index(class)].tenants;
        let is_known = tenants.contains_key(&tenant) || tenants.len() < self.max_tenants;
        if is_known { tenant } else { u64::MAX - mix(tenant) % SHARED }
    }

    /// What a turn costs each class.
    pub(crate) fn costs(&self) -> [u64; CLASSES] {
        std::array::from_fn(|class| self.classes[class].cost)
    }

    /// Where a client waits that is [`known_as`](Self::known_as) this tenant's.
    pub(crate) fn enter(&mut self, class: u8, tenant: u64) -> &mut T {
        let clock = self.clock;
        let class = &mut self.classes[index(class)];
        if class.waiting.is_empty() {
            class.due = class.due.max(clock);
        }
        let Class { tenants, waiting, ahead, clock, .. } = class;
        let entry = tenants.entry(tenant).or_default();
        if !entry.waits {
            entry.waits = true;
            ahead.remove(&(entry.due, tenant));
            entry.due = entry.due.max(*clock);
            waiting.insert((entry.due, tenant));
        }
        &mut entry.of
    }

    /// What the clients of this tenant wait in, as whose it is [`known_as`](Self::known_as).
    pub(crate) fn look(&self, class: u8, tenant: u64) -> Option<&T> {
        self.classes[index(class)].tenants.get(&self.known_as(class, tenant)).map(|tenant| &tenant.of)
    }

    pub(crate) fn get(&mut self, class: u8, tenant: u64) -> Option<&mut T> {
        self.classes[index(class)].tenants.get_mut(&tenant).map(|tenant| &mut tenant.of)
    }

    /// The classes with clients parked, in the order of their turns.
    pub(crate) fn by_turn(&self) -> impl Iterator<Item = u8> {
        let mut classes: [u8; CLASSES] = std::array::from_fn(|class| class as u8);
        classes.sort_by_key(|&class| self.classes[index(class)].due);
        classes.into_iter().filter(|&class| !self.classes[index(class)].waiting.is_empty())
    }

    /// The tenant of this class whose turn it is.
    pub(crate) fn next(&self, class: u8) -> Option<&T> {
        let class = &self.classes[index(class)];
        let (_, tenant) = class.waiting.first()?;
        class.tenants.get(tenant).map(|tenant| &tenant.of)
    }

    /// Whether this tenant is at most [`NEAR`] turns ahead of the one of its class whose turn it is.
    pub(crate) fn is_near(&self, class: u8, tenant: u64) -> bool {
        let class = &self.classes[index(class)];
        let first = class.waiting.first().map_or(0, |&(due, _)| due);
        class.tenants.get(&tenant).is_some_and(|tenant| tenant.due <= first + NEAR * TURN)
    }

    /// It took a turn.
    pub(crate) fn charge(&mut self, class: u8, tenant: u64) {
        let class = &mut self.classes[index(class)];
        let Some(entry) = class.tenants.get_mut(&tenant) else { return };
        self.clock = self.clock.max(class.due);
        class.due += class.cost;
        class.clock = class.clock.max(entry.due);
        let set = if entry.waits { &mut class.waiting } else { &mut class.ahead };
        set.remove(&(entry.due, tenant));
        entry.due += TURN;
        set.insert((entry.due, tenant));
        // Who was ahead and is no longer has nothing left to remember.
        while let Some(&(due, tenant)) = class.ahead.first()
            && due <= class.clock
        {
            class.ahead.pop_first();
            class.tenants.remove(&tenant);
        }
    }

    /// The last client of this tenant is gone.
    pub(crate) fn leave(&mut self, class: u8, tenant: u64) {
        let class = &mut self.classes[index(class)];
        let Some(entry) = class.tenants.get_mut(&tenant) else { return };
        class.waiting.remove(&(entry.due, tenant));
        entry.waits = false;
        if entry.due > class.clock && !class.waiting.is_empty() {
            class.ahead.insert((entry.due, tenant));
        } else {
            class.tenants.remove(&tenant);
        }
        if class.waiting.is_empty() {
            class.ahead.clear();
            class.tenants.clear();
        }
    }

    /// Tenants that are told apart now.
    pub(crate) fn len(&self) -> usize {
        self.classes.iter().map(|class| class.tenants.len()).sum()
    }
}

impl<T: Default> Default for Fair<T> {
    fn default() -> Self {
        let class = || Class {
            cost: TURN,
            due: 0,
            clock: 0,
            tenants: Numbered::default(),
            waiting: BTreeSet::new(),
            ahead: BTreeSet::new(),
        };
        let mut fair = Self { classes: std::array::from_fn(|_| class()), clock: 0, max_tenants: usize::MAX };
        fair.set_shares(&[]);
        fair
    }
}

/// Where a class is found.
pub(crate) fn index(class: u8) -> usize {
    usize::from(class).min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn turn(fair: &Fair<u64>) -> u64 {
        *fair.by_turn().next().and_then(|class| fair.next(class)).unwrap()
    }

    /// Serves so many turns; each tenant has so many clients parked, and again as many when it was served.
    fn serve(fair: &mut Fair<u64>, turns: usize) -> BTreeMap<u64, u64> {
        let mut served = BTreeMap::new();
        for _ in 0..turns {
            let who = turn(fair);
            let class = u8::try_from(who / 1000).unwrap();
            fair.charge(class, who);
            *served.entry(who).or_default() += 1;
        }
        served
    }

    fn park(fair: &mut Fair<u64>, class: u64, tenant: u64) {
        *fair.enter(class as u8, class * 1000 + tenant) = class * 1000 + tenant;
    }

    #[test]
    fn tenants_of_a_class_take_turns_whatever_they_bring() {
        let mut fair = Fair::default();
        (0..10).for_each(|tenant| park(&mut fair, 3, tenant));
        let served = serve(&mut fair, 1000);
        assert!(served.values().all(|&n| n == 100), "{served:?}");
    }

    #[test]
    fn classes_share_as_told_and_what_one_leaves_the_others_have() {
        let mut fair = Fair::default();
        fair.set_shares(&[0.6, 0.3]);
        [0, 1, 3].into_iter().for_each(|class| park(&mut fair, class, 1));
        let served = serve(&mut fair, 1000);
        assert!(served[&1].abs_diff(600) < 5 && served[&1001].abs_diff(300) < 5, "{served:?}");
        assert!(served[&3001].abs_diff(100) < 5, "{served:?}");
        fair.leave(0, 1);
        assert_eq!(serve(&mut fair, 400).values().sum::<u64>(), 400);
    }

    #[test]
    fn who_comes_late_has_no_claim_to_the_past_and_who_leaves_keeps_its_debt() {
        let mut fair = Fair::default();
        park(&mut fair, 3, 1);
        serve(&mut fair, 1000);
        park(&mut fair, 3, 2);
        let served = serve(&mut fair, 100);
        assert!(served[&3001] >= 49, "{served:?}");
        // Leaving and coming again after each turn brings nothing.
        let mut hopper = 0;
        for _ in 0..100 {
            let who = turn(&fair);
            fair.charge(3, who);
            if who == 3002 {
                hopper += 1;
                fair.leave(3, 3002);
                park(&mut fair, 3, 2);
            }
        }
        assert!(hopper <= 51, "{hopper}");
    }

    #[test]
    fn tenants_made_up_one_after_the_other_are_bounded_and_hold_up_nobody_for_ever() {
        let mut fair = Fair::default();
        fair.set_max_tenants(100);
        park(&mut fair, 3, 0);
        serve(&mut fair, 1);
        let mut turns = 0;
        for made_up in 1.. {
            let tenant = fair.known_as(3, 1_000_000 + made_up);
            *fair.enter(3, tenant) = tenant;
            let whose = turn(&fair);
            if whose == 3000 {
                break;
            }
            fair.charge(3, whose);
            fair.leave(3, whose);
            turns += 1;
            assert!(fair.len() <= 100 + SHARED as usize + 1, "{}", fair.len());
        }
        assert!((100..=100 + 2 * SHARED).contains(&turns), "{turns}");
    }

    #[test]
    fn nothing_is_kept_of_those_who_left() {
        let mut fair = Fair::default();
        for tenant in 0..100 {
            park(&mut fair, 2, tenant);
            serve(&mut fair, 1);
        }
        (0..100).for_each(|tenant| fair.leave(2, 2000 + tenant));
        assert_eq!(fair.len(), 0);
    }
}
