//! A TCP connection between a peer and the proxy: delay, room, half-closes, resets, silence.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Room enough that a peer that reads at once never keeps its sender waiting.
pub(crate) const WIDE: usize = 20_000;

/// One direction.
#[derive(Debug)]
pub(crate) struct Wire {
    delay: Duration,
    /// Bytes it takes before they are read at the other end.
    room: usize,
    held: usize,
    items: VecDeque<(Instant, Item)>,
    /// Nothing arrives any more, and nobody is told.
    dark: bool,
    /// The writer has ended its half.
    ended: bool,
    /// When a reset reaches the reader.
    reset: Option<Instant>,
    /// Whether a reset destroys what its reader had not read, as on some systems.
    reset_destroys: bool,
}

#[derive(Debug)]
enum Item {
    Bytes(Vec<u8>),
    Fin,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Pending,
    Bytes(Vec<u8>),
    Fin,
    Reset,
}

impl Wire {
    pub(crate) fn new(delay: Duration, room: usize, reset_destroys: bool) -> Self {
        Self { delay, room, held: 0, items: VecDeque::new(), dark: false, ended: false, reset: None, reset_destroys }
    }

    /// Takes as much as there is room for; gives how much.
    pub(crate) fn write(&mut self, bytes: &[u8], now: Instant) -> usize {
        assert!(!self.ended, "a write behind the end of the stream");
        let len = bytes.len().min(self.room - self.held);
        if len > 0 {
            self.held += len;
            self.items.push_back((now + self.delay, Item::Bytes(bytes[..len].to_vec())));
        }
        len
    }

    pub(crate) fn end(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.ended, true) {
            self.items.push_back((now + self.delay, Item::Fin));
        }
    }

    pub(crate) fn reset(&mut self, now: Instant) {
        self.ended = true;
        self.reset.get_or_insert(now + self.delay);
    }

    pub(crate) fn go_dark(&mut self) {
        self.dark = true;
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether a reset has reached the reader.
    pub(crate) fn is_reset(&self, now: Instant) -> bool {
        !self.dark && self.reset.is_some_and(|at| at <= now)
    }

    pub(crate) fn read(&mut self, max: usize, now: Instant) -> Read {
        let reset = self.is_reset(now);
        if reset && self.reset_destroys {
            self.items.clear();
            return Read::Reset;
        }
        match self.items.front_mut() {
            _ if self.dark => Read::Pending,
            Some((at, _)) if *at > now => Read::Pending,
            Some((_, Item::Fin)) => Read::Fin,
            Some((_, Item::Bytes(bytes))) => {
                let rest = bytes.split_off(max.min(bytes.len()));
                let read = std::mem::replace(bytes, rest);
                if bytes.is_empty() {
                    self.items.pop_front();
                }
                self.held -= read.len();
                Read::Bytes(read)
            }
            None if reset => Read::Reset,
            None => Read::Pending,
        }
    }

    /// Whether it takes a whole ending at once.
    pub(crate) fn is_wide(&self) -> bool {
        self.room >= WIDE
    }

    /// Whether bytes are here that nobody has read.
    pub(crate) fn has_unread(&self, now: Instant) -> bool {
        !self.dark && matches!(self.items.front(), Some((at, Item::Bytes(_))) if *at <= now)
    }

    /// When something arrives that is not here yet.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        let items = self.items.iter().map(|(at, _)| *at).find(|&at| at > now);
        let reset = self.reset.filter(|&at| at > now);
        items.into_iter().chain(reset).min().filter(|_| !self.dark)
    }
}

/// Both directions.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) to_proxy: Wire,
    pub(crate) to_peer: Wire,
    /// The proxy has let go of its socket.
    pub(crate) proxy_gone: bool,
}

impl Link {
    /// The proxy closes its socket: with unread bytes that is a reset, as of any kernel.
    pub(crate) fn proxy_closes(&mut self, now: Instant) {
        self.proxy_gone = true;
        if self.to_proxy.has_unread(now) {
            self.to_peer.reset(now);
        } else {
            self.to_peer.end(now);
        }
    }

    pub(crate) fn proxy_resets(&mut self, now: Instant) {
        self.proxy_gone = true;
        self.to_peer.reset(now);
    }

    /// Bytes that reach a closed socket are answered by a reset. Whether any did.
    pub(crate) fn refuse_late_bytes(&mut self, now: Instant) -> bool {
        let mut any = false;
        while self.proxy_gone && matches!(self.to_proxy.read(usize::MAX, now), Read::Bytes(_)) {
            self.to_peer.reset(now);
            any = true;
        }
        any
    }

    pub(crate) fn go_dark(&mut self) {
        self.to_proxy.go_dark();
        self.to_peer.go_dark();
    }

    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        self.to_proxy.next(now).into_iter().chain(self.to_peer.next(now)).min()
    }
}
