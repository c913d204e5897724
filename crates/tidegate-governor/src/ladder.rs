//! Who is not even heard: addresses whose clients are refused and come back at once, again and again.
//!
//! To refuse a client costs a TLS handshake and a head to read, a thousand times what the refusal is worth to one that
//! does not heed it. So an address that lately was refused is given a number of connections a second. What comes beyond
//! is turned away unheard, and ten times as many without a word. Those within the number are heard as ever: as soon as
//! one of them is let in, all the others are heard again. Nobody pays for haste while there is room.
//!
//! Behind one address there may be thousands. It may come as often a second as it has lately had sessions at once, so
//! those behind it can all come back within a second. Sessions are counted by a hash of the address, in 128 KiB however
//! many there are; two addresses that share a place share their sum, which makes both of them welcome. Who was refused
//! is a table with one place per address, the newer one winning it: 1 MiB, and none at all until somebody is refused.

use std::time::Instant;

use crate::hash::mix;

/// Connections beyond the number, over it, from which on there is no answer any more.
const WORDLESS: u32 = 10;
/// So long an address counts as refused.
const REFUSED_S: u32 = 5;
/// The most sessions lately fades by half in so long.
const HALVED_S: u32 = 60;
const FORGOTTEN_S: u32 = 60;
const CROWDS: usize = 1 << 14;
const PLACES: usize = 1 << 16;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// It is heard.
    Heard,
    /// It is told, before it is heard, that it came too often.
    TurnedAway,
    /// It is told nothing.
    Reset,
}

/// One for a process. Addresses as in [`Ask::address`](crate::Ask::address).
#[derive(Debug, Default)]
pub struct Ladder {
    start: Option<Instant>,
    crowds: Vec<Crowd>,
    halved: u32,
    places: Vec<Place>,
    last_refusal: u32,
}

/// Sessions of an address.
#[derive(Clone, Copy, Debug, Default)]
struct Crowd {
    held: u32,
    /// At once, lately.
    most: u32,
}

/// Second 0: never.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    tag: u32,
    refused: u32,
    second: u32,
    /// Connections in that second.
    came: u32,
}

impl Ladder {
    /// A client of this address has a session: there is room.
    pub fn entered(&mut self, address: u64) {
        self.crowds.resize(CROWDS, Crowd::default());
        let crowd = &mut self.crowds[crowd(address)];
        crowd.held += 1;
        crowd.most = crowd.most.max(crowd.held);
        if let Some(place) = self.place(address) {
            place.refused = 0;
        }
    }

    /// A session of this address is over.
    pub fn left(&mut self, address: u64) {
        if let Some(crowd) = self.crowds.get_mut(crowd(address)) {
            crowd.held = crowd.held.saturating_sub(1);
        }
    }

    /// A client of this address was refused for want of capacity.
    pub fn refused(&mut self, address: u64, now: Instant) {
        let second = self.second(now);
        self.last_refusal = second;
        if second - self.halved >= HALVED_S {
            self.halved = second;
            self.crowds.iter_mut().for_each(|crowd| crowd.most = crowd.held.max(crowd.most / 2));
        }
        self.places.resize(PLACES, Place::default());
        let (at, tag) = locate(address);
        let place = &mut self.places[at];
        if place.tag != tag {
            *place = Place { tag, ..Place::default() };
        }
        place.refused = second;
    }

    /// A connection from this address, which may open `most` a second while its clients are refused.
    pub fn comes(&mut self, address: u64, most: u32, now: Instant) -> Rung {
        if self.places.is_empty() {
            return Rung::Heard;
        }
        let second = self.second(now);
        if second - self.last_refusal > FORGOTTEN_S {
            self.places = Vec::new();
            return Rung::Heard;
        }
        let most = self.crowds.get(crowd(address)).map_or(0, |crowd| crowd.most).max(most);
        let Some(place) = self.place(address).filter(|place| place.refused > 0) else { return Rung::Heard };
        if second - place.refused > REFUSED_S {
            return Rung::Heard;
        }
        if place.second != second {
            (place.second, place.came) = (second, 0);
        }
        place.came = place.came.saturating_add(1);
        match place.came {
            came if came <= most => Rung::Heard,
            came if came <= most.saturating_mul(WORDLESS) => Rung::TurnedAway,
            _ => Rung::Reset,
        }
    }

    fn place(&mut self, address: u64) -> Option<&mut Place> {
        let (at, tag) = locate(address);
        self.places.get_mut(at).filter(|place| place.tag == tag)
    }

    /// The first is 1. Never before one that was.
    fn second(&mut self, now: Instant) -> u32 {
        let start = *self.start.get_or_insert(now);
        let second = now.saturating_duration_since(start).as_secs() + 1;
        u32::try_from(second).unwrap_or(u32::MAX).max(self.last_refusal)
    }
}

fn locate(address: u64) -> (usize, u32) {
    let hash = mix(address);
    (hash as usize % PLACES, (hash >> 32) as u32)
}

fn crowd(address: u64) -> usize {
    mix(address) as usize % CROWDS
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tests::base;

    const A: u64 = 0xc000_0201;
    const B: u64 = 0xc000_0202;

    /// How many of so many connections at once are heard, turned away and reset.
    fn come(ladder: &mut Ladder, address: u64, times: u32, now: Instant) -> [usize; 3] {
        let rungs: Vec<Rung> = (0..times).map(|_| ladder.comes(address, 4, now)).collect();
        [Rung::Heard, Rung::TurnedAway, Rung::Reset].map(|rung| rungs.iter().filter(|&&it| it == rung).count())
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_more_often_it_comes_the_less_it_is_told_and_each_second_some_are_heard() {
        let (mut ladder, t0) = (Ladder::default(), base());
        assert_eq!(come(&mut ladder, A, 100, t0), [100, 0, 0], "nobody was refused");
        ladder.refused(A, t0);
        assert_eq!(come(&mut ladder, A, 100, t0), [4, 36, 60]);
        assert_eq!(come(&mut ladder, B, 100, t0), [100, 0, 0], "another address");
        assert_eq!(come(&mut ladder, A, 10, t0 + seconds(1)), [4, 6, 0]);
        assert_eq!(come(&mut ladder, A, 100, t0 + seconds(6)), [100, 0, 0], "not refused for so long");
    }

    #[test]
    fn nobody_pays_while_there_is_room() {
        let (mut ladder, t0) = (Ladder::default(), base());
        ladder.refused(A, t0);
        assert_eq!(come(&mut ladder, A, 10, t0), [4, 6, 0]);
        ladder.entered(A);
        assert_eq!(come(&mut ladder, A, 1000, t0), [1000, 0, 0]);
        ladder.refused(A, t0);
        assert_eq!(come(&mut ladder, A, 1000, t0)[0], 0, "those came, too");
    }

    #[test]
    fn all_behind_one_address_may_come_back_at_once() {
        let (mut ladder, t0) = (Ladder::default(), base());
        (0..1000).for_each(|_| ladder.entered(A));
        (0..1000).for_each(|_| ladder.left(A));
        ladder.refused(A, t0);
        ladder.refused(B, t0);
        assert_eq!(come(&mut ladder, A, 1100, t0), [1000, 100, 0]);
        assert_eq!(come(&mut ladder, B, 50, t0), [4, 36, 10]);
        // It had them lately: what it has no longer fades.
        for minute in 1..=8 {
            ladder.refused(A, t0 + seconds(60 * minute));
        }
        assert_eq!(come(&mut ladder, A, 5, t0 + seconds(480)), [4, 1, 0]);
    }

    #[test]
    fn it_takes_no_more_memory_than_it_may_and_gives_it_back() {
        let (mut ladder, t0) = (Ladder::default(), base());
        for address in 0..3 * PLACES as u64 {
            ladder.entered(address);
            ladder.refused(address, t0);
        }
        assert_eq!((ladder.places.len() * size_of::<Place>(), ladder.crowds.len() * 8), (1 << 20, 1 << 17));
        // Whoever has its place to itself stays known.
        let heard = come(&mut ladder, 3 * PLACES as u64 - 1, 100, t0)[0];
        assert!((4..40).contains(&heard), "{heard}: as many as share its place have sessions");
        assert_eq!(come(&mut ladder, A, 10, t0 + seconds(61)), [10, 0, 0]);
        assert!(ladder.places.is_empty());
    }
}
