//! Who waits, and who goes next.
//!
//! Between classes and between tenants service is fair ([`fair`]). In peace it is first come, first
//! served: between tenants too, as long as none is far ahead of another. A queue that *stands* (its head never younger
//! than [`TARGET`] for a whole [`INTERVAL`]) and that is longer than can be served before a newcomer's wait ends is not
//! a burst but more demand than capacity. Then in-order service makes everybody wait almost their whole time and lose
//! it; newest first admits clients while they are surely still there, and who has waited twice the target is shed: it
//! loses its place, not its answer. A shed client is told only when its wait ends (the wait is the pace), and is still
//! let in when nobody else is parked, the oldest first since its wait ends first: room is never left empty beside a
//! waiting client. It ends when the queue no longer stands.
//!
//! In overload, too, who stayed away longer since it was last refused goes before who came back at once
//! ([`returns`](crate::returns)).
//!
//! The delay measured is the age of the oldest client with a place, in both orders. The age of the one that is served
//! would say "no delay" as soon as service is newest first, and the two orders would take turns.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    EndpointId, Ticket, Wish,
    crowd::Crowds,
    fair::{self, CLASSES, Fair},
    holders::HolderId,
    list::{Links, List},
    returns::LANES,
};

/// Standing delay above which the queue is in overload.
const TARGET: Duration = Duration::from_millis(250);
/// Time over which the lowest delay counts.
const INTERVAL: Duration = Duration::from_millis(2500);
/// Part of the longest wait after which the first give up: their waits are spread over the rest.
const SHORTEST_WAIT: f64 = 0.8;

#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Who is parked, and in places that are free again who was.
    clients: Vec<Client>,
    free: Vec<u32>,
    /// Those that have not been shed, the oldest first.
    placed: List,
    deadlines: BTreeSet<(Instant, Ticket)>,
    fair: Fair<Lanes>,
    crowds: Crowds,
    /// What is held for all that are parked.
    bytes: u64,
    parked_total: u64,
    shed_total: u64,
    delay: Delay,
}

/// What the queue has to know of a client that parks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newcomer<'a> {
    pub(crate) class: u8,
    pub(crate) tenant: u64,
    pub(crate) holder: HolderId,
    /// 0 goes first.
    pub(crate) lane: usize,
    pub(crate) address: Option<u64>,
    /// Endpoints that have refused it already.
    pub(crate) tried: &'a [EndpointId],
    pub(crate) wish: Wish,
    /// Held for it by whoever asks for it.
    pub(crate) bytes: u32,
    pub(crate) deadline: Instant,
}

/// Whose client of a class may go next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whose {
    /// Of the tenant whose turn it is.
    Turn,
    /// Of this one alone.
    Tenant(u64),
    Nobody,
}

#[derive(Debug)]
struct Client {
    ticket: Ticket,
    stage: Stage,
    by_age: Links,
    in_lane: Links,
    class: u8,
    tenant: u64,
    holder: HolderId,
    lane: u8,
    address: Option<u64>,
    tried: Vec<EndpointId>,
    wish: Wish,
    bytes: u32,
    parked_at: Instant,
    deadline: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Placed,
    Shed,
    Gone,
}

/// The clients of one tenant.
#[derive(Debug, Default)]
struct Lanes([Lane; LANES]);

/// The oldest first.
#[derive(Debug, Default)]
struct Lane {
    placed: List,
    shed: List,
}

#[derive(Debug, Default)]
struct Delay {
    overloaded: bool,
    interval_end: Option<Instant>,
    lowest: Duration,
    /// Clients let in since the interval began.
    served: u32,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.clients.len() - self.free.len()
    }

    /// What is held for those that are parked.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn overloaded(&self) -> bool {
        self.delay.overloaded
    }

    pub(crate) fn shed_total(&self) -> u64 {
        self.shed_total
    }

    /// Whether a newcomer would overtake somebody who goes before it.
    pub(crate) fn goes_before_newcomers(&self) -> bool {
        !self.delay.overloaded && !self.placed.is_empty()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// `shares`: what is set aside for each class.
    pub(crate) fn set_shares(&mut self, shares: &[f64]) {
        self.fair.set_shares(shares);
    }

    /// Tenants of a class that are told apart.
    pub(crate) fn set_max_tenants(&mut self, most: u32) {
        self.fair.set_max_tenants(most);
    }

    /// Tenants that are told apart now.
    pub(crate) fn tenants(&self) -> usize {
        self.fair.len()
    }

    /// How many clients of each class are parked.
    pub(crate) fn by_class(&self) -> [u32; CLASSES] {
        self.crowds.waiting()
    }

    /// Who gives way to a newcomer of this class and tenant when no more may wait: the one of the most that would be
    /// served last.
    pub(crate) fn gives_way(&mut self, class: u8, tenant: u64) -> Option<Ticket> {
        let tenant = self.fair.known_as(class, tenant);
        let (class, tenant) = self.crowds.gives_way(fair::index(class), tenant, self.fair.costs())?;
        let place = self.fair.get(class as u8, tenant)?.last(&self.clients, self.delay.overloaded)?;
        Some(self.clients[place as usize].ticket)
    }

    pub(crate) fn park(&mut self, client: Newcomer<'_>, now: Instant) -> Ticket {
        let place = self.free.pop().unwrap_or(self.clients.len() as u32);
        let ticket = Ticket { serial: self.parked_total, place };
        self.parked_total += 1;
        let Newcomer { class, tenant, holder, lane, address, tried, wish, bytes, deadline } = client;
        let tenant = self.fair.known_as(class, tenant);
        let client = Client {
            ticket,
            stage: Stage::Placed,
            by_age: Links::default(),
            in_lane: Links::default(),
            class,
            tenant,
            holder,
            lane: lane as u8,
            address,
            tried: tried.to_vec(),
            wish,
            bytes,
            parked_at: now,
            deadline,
        };
        match self.clients.get_mut(place as usize) {
            Some(free) => *free = client,
            None => self.clients.push(client),
        }
        self.placed.push(place, &mut self.clients, by_age);
        self.fair.enter(class, tenant).0[lane].placed.push(place, &mut self.clients, in_lane);
        self.crowds.join(fair::index(class), tenant);
        self.bytes += u64::from(bytes);
        self.deadlines.insert((deadline, ticket));
        ticket
    }

    /// Takes in how long the queue stands; to be called before each use of it.
    pub(crate) fn measure(&mut self, now: Instant) {
        let oldest = self.placed.first().map(|place| self.clients[place as usize].age(now));
        let (waiting, deadlines) = (self.len(), &self.deadlines);
        self.delay.measure(oldest.unwrap_or_default(), now, |served| {
            let longest = deadlines.last().map_or(Duration::ZERO, |&(end, _)| end.saturating_duration_since(now));
            waiting as f64 > f64::from(served) * longest.div_duration_f64(INTERVAL) * SHORTEST_WAIT
        });
        if !self.delay.overloaded {
            return;
        }
        while let Some(place) = self.placed.first()
            && let client = &mut self.clients[place as usize]
            && client.age(now) > 2 * TARGET
        {
            client.stage = Stage::Shed;
            let (class, tenant, lane) = (client.class, client.tenant, usize::from(client.lane));
            self.placed.remove(place, &mut self.clients, by_age);
            if let Some(lanes) = self.fair.get(class, tenant) {
                lanes.0[lane].placed.remove(place, &mut self.clients, in_lane);
                lanes.0[lane].shed.push(place, &mut self.clients, in_lane);
            }
            self.shed_total += 1;
        }
    }

    /// Who goes next, the endpoints that have refused it, and the one it wants; `whose` says of each class whose client
    /// that may be.
    pub(crate) fn head(&self, whose: impl Fn(u8) -> Whose) -> Option<(Ticket, &[EndpointId], Wish)> {
        let overloaded = self.delay.overloaded;
        let in_turn = |class| {
            let turn = self.fair.next(class)?.head(&self.clients, overloaded)?;
            Some(self.placed.first().filter(|&oldest| self.may_go(oldest, turn)).unwrap_or(turn))
        };
        let place = self.fair.by_turn().find_map(|class| match whose(class) {
            Whose::Turn => in_turn(class),
            Whose::Tenant(tenant) => {
                let own = self.fair.look(class, tenant).and_then(|lanes| lanes.head(&self.clients, overloaded));
                // Where it is one of too many its clients may wait under another name.
                own.or_else(|| in_turn(class))
            }
            Whose::Nobody => None,
        })?;
        let client = &self.clients[place as usize];
        Some((client.ticket, &client.tried[..], client.wish))
    }

    /// In peace first come, first served, also between tenants: turns would only delay who came first. But not so far
    /// that one of them takes what is the others'.
    fn may_go(&self, oldest: u32, turn: u32) -> bool {
        let [oldest, turn] = [oldest, turn].map(|place| &self.clients[place as usize]);
        !self.delay.overloaded && oldest.class == turn.class && self.fair.is_near(oldest.class, oldest.tenant)
    }

    /// Whose wait has ended.
    pub(crate) fn expired(&self, now: Instant) -> Option<Ticket> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|&(_, ticket)| ticket)
    }

    /// Of a client that is parked.
    pub(crate) fn class(&self, ticket: Ticket) -> u8 {
        self.get(ticket).map_or(0, |client| client.class)
    }

    /// As which it wants a place. The default: it is not parked.
    pub(crate) fn holder(&self, ticket: Ticket) -> HolderId {
        self.get(ticket).map(|client| client.holder).unwrap_or_default()
    }

    pub(crate) fn address(&self, ticket: Ticket) -> Option<u64> {
        self.get(ticket)?.address
    }

    /// It is let in: its class and tenant have had their turn.
    pub(crate) fn serve(&mut self, ticket: Ticket) {
        if let Some(&Client { class, tenant, .. }) = self.get(ticket) {
            self.fair.charge(class, tenant);
        }
        self.delay.served += 1;
        self.remove(ticket);
    }

    /// Whether it was parked.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> bool {
        let Some(&Client { class, tenant, lane, stage, bytes, deadline, .. }) = self.get(ticket) else { return false };
        self.crowds.leave(fair::index(class), tenant);
        self.bytes -= u64::from(bytes);
        let place = ticket.place;
        if stage == Stage::Placed {
            self.placed.remove(place, &mut self.clients, by_age);
        }
        if let Some(lanes) = self.fair.get(class, tenant) {
            let lane = &mut lanes.0[usize::from(lane)];
            let list = if stage == Stage::Placed { &mut lane.placed } else { &mut lane.shed };
            list.remove(place, &mut self.clients, in_lane);
            if lanes.is_empty() {
                self.fair.leave(class, tenant);
            }
        }
        let client = &mut self.clients[place as usize];
        (client.stage, client.tried) = (Stage::Gone, Vec::new());
        self.free.push(place);
        self.deadlines.remove(&(deadline, ticket))
    }

    fn get(&self, ticket: Ticket) -> Option<&Client> {
        let client = self.clients.get(ticket.place as usize)?;
        (client.ticket == ticket && client.stage != Stage::Gone).then_some(client)
    }
}

fn by_age(client: &mut Client) -> &mut Links {
    &mut client.by_age
}

fn in_lane(client: &mut Client) -> &mut Links {
    &mut client.in_lane
}

impl Lanes {
    fn is_empty(&self) -> bool {
        self.0.iter().all(|lane| lane.placed.is_empty() && lane.shed.is_empty())
    }

    fn head(&self, clients: &[Client], overloaded: bool) -> Option<u32> {
        if overloaded {
            return self.0.iter().find_map(|lane| lane.placed.last().or_else(|| lane.shed.first()));
        }
        let oldest = |of: fn(&Lane) -> &List| {
            self.0.iter().filter_map(|lane| of(lane).first()).min_by_key(|&place| clients[place as usize].ticket)
        };
        oldest(|lane| &lane.placed).or_else(|| oldest(|lane| &lane.shed))
    }

    /// Who would be served after all others.
    fn last(&self, clients: &[Client], overloaded: bool) -> Option<u32> {
        if overloaded {
            return self.0.iter().rev().find_map(|lane| lane.shed.last().or_else(|| lane.placed.first()));
        }
        let newest = |of: fn(&Lane) -> &List| {
            self.0.iter().filter_map(|lane| of(lane).last()).max_by_key(|&place| clients[place as usize].ticket)
        };
        newest(|lane| &lane.shed).or_else(|| newest(|lane| &lane.placed))
    }
}

impl Client {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.parked_at)
    }
}

impl Delay {
    /// `hopeless`: with so many let in an interval, who waits now is not served in time.
    fn measure(&mut self, delay: Duration, now: Instant, hopeless: impl FnOnce(u32) -> bool) {
        match self.interval_end {
            Some(end) if now < end => self.lowest = self.lowest.min(delay),
            end => {
                // A gap of a whole interval means that nobody waited: a parked client is answered sooner than that.
                let idle = end.is_none_or(|end| now.saturating_duration_since(end) > INTERVAL && delay <= TARGET);
                let stands = !idle && self.lowest > TARGET;
                self.overloaded = stands && (self.overloaded || hopeless(self.served));
                self.interval_end = Some(now + INTERVAL);
                (self.lowest, self.served) = (delay, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::base;

    fn client(deadline: Instant) -> Newcomer<'static> {
        Newcomer {
            class: 0,
            tenant: 0,
            holder: HolderId::default(),
            lane: 0,
            address: None,
            tried: &[],
            wish: Wish::Any,
            bytes: 1,
            deadline,
        }
    }

    /// One client every 10 ms and one served every `served_ms`; returns the queue and the time.
    fn load(seconds: u64, served_ms: u64) -> (Queue, Instant) {
        let (mut queue, t0) = (Queue::default(), base());
        for ms in (0..seconds * 1000).step_by(10) {
            let now = t0 + Duration::from_millis(ms);
            queue.measure(now);
            queue.park(client(now + INTERVAL), now);
            while let Some(ticket) = queue.expired(now) {
                queue.remove(ticket);
            }
            if ms.is_multiple_of(served_ms) {
                queue.measure(now);
                let (head, ..) = queue.head(|_| Whose::Turn).unwrap();
                queue.serve(head);
            }
        }
        (queue, t0 + Duration::from_secs(seconds))
    }

    /// The tickets of those that wait at this stage, the oldest first.
    fn at(queue: &Queue, stage: Stage) -> Vec<Ticket> {
        let mut tickets: Vec<_> = queue.clients.iter().filter(|c| c.stage == stage).map(|c| c.ticket).collect();
        tickets.sort_unstable();
        tickets
    }

    #[test]
    fn a_queue_that_is_served_in_time_stays_in_order() {
        let (mut queue, now) = load(20, 10);
        assert!(!queue.overloaded());
        let first = queue.park(client(now), now);
        queue.park(client(now), now);
        assert_eq!(queue.head(|_| Whose::Turn).unwrap().0, first);
    }

    #[test]
    fn in_peace_who_came_first_goes_first_until_its_tenant_is_far_ahead() {
        let (mut queue, now) = (Queue::default(), base());
        let many: Vec<_> = (0..100).map(|_| queue.park(client(now + INTERVAL), now)).collect();
        let other = queue.park(Newcomer { tenant: 1, ..client(now + INTERVAL) }, now);
        let order: Vec<Ticket> = std::iter::from_fn(|| {
            let (head, ..) = queue.head(|_| Whose::Turn)?;
            queue.serve(head);
            Some(head)
        })
        .collect();
        let place = order.iter().position(|&ticket| ticket == other).unwrap();
        assert!((30..40).contains(&place), "{place}");
        assert!(order.iter().filter(|&&ticket| ticket != other).eq(&many));
    }

    #[test]
    fn a_standing_queue_turns_round_and_stays_turned_while_it_stands() {
        for seconds in 6..30 {
            let (queue, _) = load(seconds, 20);
            assert!(queue.overloaded(), "{seconds} s");
            assert_eq!(queue.head(|_| Whose::Turn).unwrap().0.serial, queue.parked_total - 1, "newest first");
            assert!(at(&queue, Stage::Placed).len() <= 52 && queue.shed_total() > 0);
        }
    }

    #[test]
    fn a_queue_that_stands_but_is_served_before_anybody_gives_up_stays_in_order() {
        let (mut queue, t0) = (Queue::default(), base());
        (0..100).for_each(|_| _ = queue.park(client(t0 + INTERVAL), t0));
        for ms in (0..20_000).step_by(10) {
            let now = t0 + Duration::from_millis(ms);
            queue.measure(now);
            queue.park(client(now + INTERVAL), now);
            let (head, ..) = queue.head(|_| Whose::Turn).unwrap();
            assert_eq!(head.serial, ms / 10, "the oldest");
            queue.serve(head);
        }
        assert!(queue.delay.lowest > 3 * TARGET && !queue.overloaded());
    }

    #[test]
    fn a_shed_client_goes_last_but_goes() {
        let (mut queue, now) = load(10, 20);
        let shed = at(&queue, Stage::Shed)[0];
        at(&queue, Stage::Placed).into_iter().for_each(|ticket| assert!(queue.remove(ticket)));
        assert_eq!(queue.head(|_| Whose::Turn).unwrap().0, shed);
        queue.measure(now);
        queue.measure(now + INTERVAL);
        queue.measure(now + 2 * INTERVAL);
        assert!(!queue.overloaded());
        let fresh = queue.park(client(now + 3 * INTERVAL), now + 2 * INTERVAL);
        assert_eq!(queue.head(|_| Whose::Turn).unwrap().0, fresh, "in peace too");
    }

    #[test]
    fn overload_is_forgotten_after_an_idle_gap() {
        let (mut queue, now) = load(10, 20);
        while let Some((ticket, ..)) = queue.head(|_| Whose::Turn) {
            queue.remove(ticket);
        }
        queue.measure(now + Duration::from_secs(60));
        assert!(!queue.overloaded());
    }

    #[test]
    fn ten_thousand_parked_leave_no_trace() {
        let (mut queue, now) = (Queue::default(), base());
        let tickets: Vec<Ticket> = (0..10_000).map(|_| queue.park(client(now + INTERVAL), now)).collect();
        assert!(tickets.iter().rev().all(|&ticket| queue.remove(ticket) && !queue.remove(ticket)));
        assert_eq!((queue.len(), queue.bytes(), queue.deadlines.len(), queue.fair.len()), (0, 0, 0, 0));
        assert!(queue.placed.is_empty());
    }

    #[test]
    fn in_overload_who_stayed_away_goes_first_and_in_peace_who_came_first() {
        let (mut queue, now) = load(10, 20);
        let late = now + 4 * INTERVAL;
        let hasty = queue.park(Newcomer { lane: 3, ..client(late) }, now);
        let patient = queue.park(Newcomer { lane: 0, ..client(late) }, now);
        let newest = queue.park(Newcomer { lane: 3, ..client(late) }, now);
        assert_eq!(queue.head(|_| Whose::Turn).unwrap().0, patient);
        for stage in [Stage::Placed, Stage::Shed] {
            at(&queue, stage)
                .into_iter()
                .filter(|&ticket| ticket < hasty)
                .for_each(|ticket| assert!(queue.remove(ticket)));
        }
        queue.remove(patient);
        assert_eq!(queue.head(|_| Whose::Turn).unwrap().0, newest);
        queue.delay = Delay::default();
        assert_eq!(queue.head(|_| Whose::Turn).unwrap().0, hasty);
    }
}
