//! Who holds the sessions, and who is to have those that become free.
//!
//! Sessions last for hours: whoever was there first could hold all there may be, and take each place again that one of
//! its own leaves. So where fewer can enter than want to, a place is for the tenant of its class that holds the fewest:
//! all rise evenly until each has what it wants, which is the max-min fair share. No session is ended for that.
//!
//! Who was refused wants in as well, though it is away. Else a tenant whose clients wait at the door would take each
//! place before those of another are back. It is counted until it comes again, but for [`AWAY`] at most.
//!
//! Where more tenants hold sessions than are told apart nobody can say who holds few: then all of a class are one.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    fair::{self, CLASSES},
    hash::Numbered,
};

/// How long a tenant's refused clients count after the last of them was.
const AWAY: Duration = Duration::from_secs(30);
/// Most that an index tells apart.
const MOST: usize = u16::MAX as usize - CLASSES;
/// The tenants that are too many to be told apart.
const REST: u64 = u64::MAX;

/// A tenant of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HolderId(u16);

#[derive(Debug)]
pub(crate) struct Holders {
    names: Numbered<(u8, u64), HolderId>,
    table: Vec<Holder>,
    free: Vec<HolderId>,
    /// Those of a class that want more, those first that hold the fewest.
    hungry: [BTreeSet<(u32, HolderId)>; CLASSES],
    /// How many clients that are.
    wants: [u64; CLASSES],
    returns: BTreeSet<(Instant, HolderId)>,
    max_tenants: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Holder {
    name: (u8, u64),
    /// Permits out.
    held: u32,
    waiting: u32,
    /// Refused, and not back yet.
    away: u32,
    away_until: Option<Instant>,
}

impl Default for Holders {
    fn default() -> Self {
        Self {
            names: Numbered::default(),
            table: Vec::new(),
            free: Vec::new(),
            hungry: Default::default(),
            wants: [0; CLASSES],
            returns: BTreeSet::new(),
            max_tenants: MOST,
        }
    }
}

impl Holders {
    /// Tenants that are told apart, of all classes together.
    pub(crate) fn set_max_tenants(&mut self, most: u32) {
        self.max_tenants = (most as usize).min(MOST);
    }

    /// As which a client counts that is about to hold a place, to wait, or to be refused.
    pub(crate) fn known_as(&mut self, class: u8, tenant: u64) -> HolderId {
        let class = fair::index(class) as u8;
        let own = self.names.get(&(class, tenant));
        let name = (class, if own.is_some() || self.names.len() < self.max_tenants { tenant } else { REST });
        if let Some(&id) = own.or_else(|| self.names.get(&name)) {
            return id;
        }
        let id = self.free.pop().unwrap_or(HolderId(self.table.len() as u16));
        self.table.resize(self.table.len().max(usize::from(id.0) + 1), Holder::default());
        self.table[usize::from(id.0)] = Holder { name, ..Holder::default() };
        self.names.insert(name, id);
        id
    }

    /// A client comes, perhaps one that was refused.
    pub(crate) fn comes(&mut self, id: HolderId) {
        self.change(id, |holder| holder.away = holder.away.saturating_sub(1));
    }

    pub(crate) fn waits(&mut self, id: HolderId) {
        self.change(id, |holder| holder.waiting += 1);
    }

    /// It has a place, was refused, or is gone.
    pub(crate) fn waits_no_more(&mut self, id: HolderId) {
        self.change(id, |holder| holder.waiting = holder.waiting.saturating_sub(1));
        self.forget_if_spent(id);
    }

    pub(crate) fn takes(&mut self, id: HolderId) {
        self.change(id, |holder| holder.held += 1);
    }

    pub(crate) fn gives_back(&mut self, id: HolderId) {
        self.change(id, |holder| holder.held = holder.held.saturating_sub(1));
        self.forget_if_spent(id);
    }

    /// A client is sent away, to come back.
    pub(crate) fn refused(&mut self, id: HolderId, now: Instant) {
        self.change(id, |holder| {
            holder.away = holder.away.saturating_add(1);
            // Not moved for less than a second: its place among the others would change with each refusal.
            let moved = holder.away_until.is_none_or(|until| until + Duration::from_secs(1) <= now + AWAY);
            holder.away_until = if moved { Some(now + AWAY) } else { holder.away_until };
        });
    }

    /// Forgets those who have not come back.
    pub(crate) fn measure(&mut self, now: Instant) {
        while let Some(&(until, id)) = self.returns.first()
            && until <= now
        {
            self.change(id, |holder| holder.away = 0);
            self.forget_if_spent(id);
        }
    }

    /// Whether tenants of one class both want more.
    pub(crate) fn has_rivals(&self) -> bool {
        self.hungry.iter().any(|class| class.len() > 1)
    }

    /// Whether no tenant of its class that holds fewer wants more.
    pub(crate) fn is_first(&self, id: HolderId) -> bool {
        let own = &self.table[usize::from(id.0)];
        self.hungry[usize::from(own.name.0)].first().is_none_or(|&(held, _)| held >= own.held)
    }

    /// Whether so much room is less than what this class wants.
    pub(crate) fn is_contested(&self, class: u8, room: u32) -> bool {
        self.tells_apart(class) && self.wants[fair::index(class)] > u64::from(room)
    }

    /// The tenant's number, by which its clients wait.
    pub(crate) fn tenant(&self, id: HolderId) -> u64 {
        self.table[usize::from(id.0)].name.1
    }

    /// Whether a client of this tenant may enter: room is left for all that those of its class want who hold fewer, till
    /// they hold as many.
    pub(crate) fn may_enter(&self, id: HolderId, room: u32) -> bool {
        let own = &self.table[usize::from(id.0)];
        if !self.tells_apart(own.name.0) {
            return true;
        }
        let mut kept = 0;
        for &(held, other) in &self.hungry[usize::from(own.name.0)] {
            if held >= own.held || kept >= room {
                break;
            }
            kept += self.table[usize::from(other.0)].wants().min(own.held - held);
        }
        kept < room
    }

    /// Of the tenants of this class with clients that wait, the one that holds the fewest, if it may enter.
    pub(crate) fn first(&self, class: u8, room: u32) -> Option<HolderId> {
        let mut hungry = self.hungry[fair::index(class)].iter().map(|&(_, id)| id);
        let first = hungry.find(|id| self.table[usize::from(id.0)].waiting > 0)?;
        self.may_enter(first, room).then_some(first)
    }

    fn tells_apart(&self, class: u8) -> bool {
        !self.names.contains_key(&(fair::index(class) as u8, REST))
    }

    fn change(&mut self, id: HolderId, change: impl FnOnce(&mut Holder)) {
        let holder = &mut self.table[usize::from(id.0)];
        let before = *holder;
        change(holder);
        if holder.away == 0 {
            holder.away_until = None;
        }
        let after = *holder;
        let class = usize::from(after.name.0);
        self.wants[class] = self.wants[class] + u64::from(after.wants()) - u64::from(before.wants());
        let key = |holder: Holder| (holder.wants() > 0).then_some((holder.held, id));
        if key(before) != key(after) {
            key(before).map(|key| self.hungry[class].remove(&key));
            key(after).map(|key| self.hungry[class].insert(key));
        }
        if before.away_until != after.away_until {
            before.away_until.map(|until| self.returns.remove(&(until, id)));
            after.away_until.map(|until| self.returns.insert((until, id)));
        }
    }

    fn forget_if_spent(&mut self, id: HolderId) {
        let holder = &self.table[usize::from(id.0)];
        if holder.held == 0 && holder.wants() == 0 && self.names.remove(&holder.name).is_some() {
            self.free.push(id);
        }
    }
}

impl Holder {
    fn wants(&self) -> u32 {
        self.waiting.saturating_add(self.away)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        Ask, Balance, Event, Governor, Limits, Outcome, Parked, Permit, Ticket, Verdict, rng::Rng, tests::base,
    };

    const STEP: Duration = Duration::from_millis(100);

    /// A client that wants a session again and again.
    struct Client {
        tenant: usize,
        /// When its session ends, or when it asks again. `None`: it waits.
        due: Option<Instant>,
        permit: Option<Permit>,
    }

    /// Tenants with so many clients each before an upstream of so many sessions: how many each of them held on average in
    /// the last ten minutes of twenty. The first is there a minute before the others, and its sessions last five times as
    /// long: turns alone would give it five times as many.
    fn held_by(clients: &[usize], sessions: u32, seed: u64) -> Vec<f64> {
        let (mut now, mut rng) = (base(), Rng::new(seed));
        let limits = Limits { max_sessions: Some(sessions), ..Limits::default() };
        let mut governor = Governor::new(limits, seed);
        let id = governor.set_endpoints(&[("e", 1)], Balance::LeastSessions, now)[0];
        let mut all: Vec<Client> = Vec::new();
        for (tenant, &count) in clients.iter().enumerate() {
            let from = now + Duration::from_secs(if tenant == 0 { 0 } else { 60 });
            all.extend((0..count).map(|_| {
                let due = Some(from + rng.scale(Duration::from_secs(5), 0.0, 1.0));
                Client { tenant, due, permit: None }
            }));
        }
        let (mut waiting, mut sum) = (BTreeMap::<Ticket, usize>::new(), vec![0.0; clients.len()]);
        for step in 0..12_000 {
            now += STEP;
            let enter = |client: &mut Client, mut permit: Permit, governor: &mut Governor, rng: &mut Rng| {
                governor.observe(&mut permit, Outcome::Established { latency: STEP / 10 }, now);
                let stay = Duration::from_secs(if client.tenant == 0 { 200 } else { 40 });
                (client.permit, client.due) = (Some(permit), Some(now + rng.scale(stay, 0.2, 1.8)));
            };
            for i in 0..all.len() {
                let client = &mut all[i];
                if client.due.is_none_or(|due| due > now) {
                    continue;
                }
                if let Some(permit) = client.permit.take() {
                    governor.release(permit, now);
                    client.due = Some(now + rng.scale(Duration::from_secs(1), 0.0, 1.0));
                } else {
                    match governor.admit(Ask { tenant: client.tenant as u64, ..Ask::default() }, now) {
                        Verdict::Admit(permit) => enter(client, permit, &mut governor, &mut rng),
                        Verdict::Refuse(refusal) => {
                            client.due = Some(now + Duration::from_secs(refusal.retry_after.into()));
                        }
                        Verdict::Wait(ticket, _) => {
                            client.due = None;
                            waiting.insert(ticket, i);
                        }
                    }
                }
                while let Some(Event { ticket, verdict }) = governor.poll_event(now) {
                    let client = &mut all[waiting.remove(&ticket).unwrap()];
                    match verdict {
                        Parked::Admit(permit) => enter(client, permit, &mut governor, &mut rng),
                        Parked::Refuse(refusal) => {
                            client.due = Some(now + Duration::from_secs(refusal.retry_after.into()));
                        }
                    }
                }
            }
            if step >= 6_000 {
                all.iter().filter(|client| client.permit.is_some()).for_each(|client| sum[client.tenant] += 1.0);
            }
        }
        assert!(governor.snapshot(now).endpoints.iter().any(|endpoint| endpoint.id == id));
        sum.iter().map(|sum| sum / 6_000.0).collect()
    }

    fn jain(of: &[f64]) -> f64 {
        let (sum, squares) = (of.iter().sum::<f64>(), of.iter().map(|x| x * x).sum::<f64>());
        sum * sum / (of.len() as f64 * squares)
    }

    #[test]
    fn who_was_there_first_with_many_keeps_no_more_than_the_others_have() {
        for seed in 0..20 {
            let held = held_by(&[400, 20, 20, 20, 20], 50, seed);
            assert!(jain(&held) >= 0.98, "{seed}: {held:?}");
            assert!(held.iter().sum::<f64>() > 0.95 * 50.0, "{seed}: nothing is left empty: {held:?}");
        }
    }

    #[test]
    fn who_wants_little_has_it_and_the_others_share_the_rest() {
        for seed in 0..5 {
            let held = held_by(&[400, 3, 100, 100], 63, seed);
            assert!(held[1] > 2.5, "{seed}: {held:?}");
            assert!(jain(&[held[0], held[2], held[3]]) >= 0.98, "{seed}: {held:?}");
        }
    }

    #[test]
    fn what_nobody_else_wants_one_may_have() {
        let held = held_by(&[400, 2], 50, 1);
        assert!(held[0] + held[1] > 0.95 * 50.0, "{held:?}");
    }

    #[test]
    fn nothing_is_kept_of_those_who_hold_and_want_nothing() {
        let (mut holders, now) = (Holders::default(), base());
        for tenant in 0..100 {
            let id = holders.known_as(3, tenant);
            holders.waits(id);
            holders.takes(id);
            holders.waits_no_more(id);
            if tenant % 2 == 0 {
                holders.refused(id, now);
            }
            holders.gives_back(id);
        }
        assert_eq!(holders.names.len(), 50);
        assert!(holders.table.len() <= 51);
        holders.measure(now + AWAY);
        assert_eq!((holders.names.len(), holders.returns.len(), holders.wants), (0, 0, [0; CLASSES]));
        assert!(holders.hungry.iter().all(BTreeSet::is_empty));
    }

    #[test]
    fn where_tenants_are_too_many_nobody_is_kept_out_for_another() {
        let (mut holders, now) = (Holders::default(), base());
        holders.set_max_tenants(10);
        let ids: Vec<HolderId> = (0..10_000).map(|tenant| holders.known_as(0, tenant % 10)).collect();
        ids.iter().for_each(|&id| holders.takes(id));
        let other = holders.known_as(1, 0);
        holders.takes(other);
        holders.refused(ids[0], now);
        let rest = holders.known_as(0, 11);
        holders.takes(rest);
        assert!(holders.table.len() <= 12);
        assert!(holders.may_enter(ids[1], 1) && holders.may_enter(rest, 1) && !holders.is_contested(0, 0));
        holders.gives_back(rest);
        assert!(holders.is_contested(0, 0));
    }
}
