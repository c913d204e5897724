//! The caller of a [`Session`], as `splice.rs` of the proxy is one, with buffers small enough to overflow.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_session::{CloseFrame, Hold, Input, Loss, Order, Output, Parting, Pass, Policy, Session, Side, Violation};
use tidegate_wire::{Limits, Mask, Opcode, Scanner, Sender, Step, encode_control};

use crate::{
    network::{Link, Read},
    plan::MAX_MESSAGE,
    rng::Rng,
};

/// Reads of one direction before the other gets its turn.
const TURN: usize = 3;
/// Bytes that a leg may send after its part is over.
const MAX_DISCARDED: usize = 4 * MAX_MESSAGE;

pub(crate) struct Proxy {
    pub(crate) session: Session,
    rng: Rng,
    client: Leg,
    upstream: Leg,
    up: Pipe,
    down: Pipe,
    armed: Option<Instant>,
    /// Longest time a client is held, in ms.
    hold_ms: usize,
    /// Control frames of one direction that are a flood.
    flood: u64,
    pub(crate) ended_at: Option<Instant>,
    pub(crate) over: bool,
    /// What happened, and when, for traces.
    pub(crate) log: Vec<String>,
    logging: bool,
}

struct Leg {
    side: Side,
    gone: bool,
    own: Vec<u8>,
    broken: bool,
    half_closing: bool,
    half_closed: bool,
    said: bool,
}

struct Pipe {
    scanner: Scanner,
    /// May leave.
    released: Vec<u8>,
    /// Not judged yet.
    pending: Vec<u8>,
    /// The most that `pending` holds.
    capacity: usize,
    controls: u64,
    discarded: usize,
}

impl Proxy {
    pub(crate) fn new(policy: Policy, deflate: bool, mut rng: Rng, logging: bool, now: Instant) -> Self {
        let limits = Limits { max_message_size: MAX_MESSAGE as u64, ..Limits::default() };
        Self {
            session: Session::new(Arc::new(policy), NONCE, now),
            client: Leg::new(Side::Client),
            upstream: Leg::new(Side::Upstream),
            up: Pipe::new(Sender::Client, deflate, limits, &mut rng),
            down: Pipe::new(Sender::Server, deflate, limits, &mut rng),
            armed: None,
            hold_ms: rng.pick(&[0, 0, 1000, 5000]),
            flood: rng.pick(&[10, 1000, 1000, 1000]),
            ended_at: None,
            over: false,
            log: Vec::new(),
            logging,
            rng,
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.armed
    }

    pub(crate) fn order(&mut self, order: Order, now: Instant) {
        self.note(now, || format!("{order:?}"));
        self.session.handle_order(order, now);
    }

    /// One poll of the splice's future. Whether it did anything.
    pub(crate) fn poll(&mut self, links: &mut [Link; 2], now: Instant) -> bool {
        if self.over {
            return false;
        }
        let mut any = false;
        let mut due = self.armed.is_some_and(|at| at <= now);
        for _ in 0..1000 {
            if std::mem::take(&mut due) {
                self.armed = None;
                self.session.handle_timeout(now);
                any = true;
            }
            for side in Side::BOTH {
                any |= self.pump(side, links, now);
            }
            let mut again = self.carry_out(links, now);
            if self.session.end().is_some() {
                self.ended_at.get_or_insert(now);
                for side in Side::BOTH {
                    again |= self.part(side, links, now);
                }
                if self.session.is_over() {
                    self.over = true;
                    return true;
                }
            }
            if self.arm(now) {
                due = true;
            } else if !again {
                return any;
            }
            any = true;
        }
        panic!("the proxy never rests: {:?}", self.session);
    }

    fn pump(&mut self, from: Side, links: &mut [Link; 2], now: Instant) -> bool {
        let mut any = false;
        for _ in 0..TURN {
            loop {
                let flushed = self.flush(from.other(), links, now);
                if self.session.input(from) == Input::Discard {
                    self.pipe(from).pending.clear();
                    break;
                }
                if !flushed {
                    self.count(from, now);
                    return any;
                }
                if !self.judge(from, now) {
                    break;
                }
                any = true;
            }
            if !self.read(from, links, now) {
                self.count(from, now);
                return any;
            }
            any = true;
        }
        self.count(from, now);
        any
    }

    /// Whether everything for this side was written, or lost with it.
    fn flush(&mut self, to: Side, links: &mut [Link; 2], now: Instant) -> bool {
        let link = &mut links[to as usize];
        let (pipe, leg) = match to {
            Side::Upstream => (&mut self.up, &mut self.upstream),
            Side::Client => (&mut self.down, &mut self.client),
        };
        while !pipe.released.is_empty() {
            if leg.gone || leg.broken {
                pipe.released.clear();
                break;
            }
            match leg.write(&pipe.released, link, now) {
                Ok(0) => {
                    self.session.handle_blocked(to, now);
                    return false;
                }
                Ok(len) => {
                    pipe.released.drain(..len);
                    self.session.handle_progress(to, !pipe.released.is_empty(), now);
                }
                Err(Broken) => {
                    pipe.released.clear();
                    self.session.handle_write_error(to, now);
                    return true;
                }
            }
        }
        while !leg.own.is_empty() && !leg.gone {
            let own = std::mem::take(&mut leg.own);
            match leg.write(&own, link, now) {
                Ok(len) => leg.own = own[len..].to_vec(),
                Err(Broken) => {
                    self.session.handle_write_error(to, now);
                    return true;
                }
            }
            if leg.own.len() == own.len() {
                self.session.handle_blocked(to, now);
                return false;
            }
        }
        self.session.handle_progress(to, false, now);
        true
    }

    fn judge(&mut self, from: Side, now: Instant) -> bool {
        let (pipe, leg) = match from {
            Side::Client => (&mut self.up, &mut self.client),
            Side::Upstream => (&mut self.down, &mut self.upstream),
        };
        assert!(pipe.released.is_empty());
        if pipe.pending.is_empty() {
            return false;
        }
        let relay = self.session.input(from) == Input::Relay;
        let full = pipe.pending.len() == pipe.capacity;
        let (pass, header, skip, len) = match pipe.scanner.advance(&pipe.pending, pipe.capacity, full) {
            Ok(Step::Forward(len)) => (self.data(from, relay, now), Vec::new(), 0, len),
            Ok(Step::Fragment(part)) => (self.data(from, relay, now), part.header().to_vec(), part.skip, part.payload),
            Ok(Step::Control(frame)) => {
                let pass = self.session.handle_control(from, &frame, now);
                if pass == Pass::Answer {
                    leg.put(Opcode::Pong, frame.payload(), &mut self.rng);
                }
                (pass == Pass::Relay, Vec::new(), 0, frame.len)
            }
            Ok(Step::Close(frame, len)) => {
                self.note(now, || format!("{from:?} closes: {frame:?}"));
                (self.session.handle_close(from, frame, now) == Pass::Relay, Vec::new(), 0, len)
            }
            Ok(Step::Need(missing)) => {
                assert!(missing > 0 && !full, "more is asked for than can be");
                return false;
            }
            Err(what) => {
                self.violation(from, what, now);
                return true;
            }
        };
        let pipe = self.pipe(from);
        let rest = pipe.pending.split_off(skip + len);
        let gone = std::mem::replace(&mut pipe.pending, rest);
        if pass {
            pipe.released.extend(header);
            pipe.released.extend(&gone[skip..]);
        }
        true
    }

    fn data(&mut self, from: Side, relay: bool, now: Instant) -> bool {
        if relay {
            self.session.active(now);
        } else {
            self.session.handle_stray_data(from, now);
        }
        relay
    }

    /// Whether there may be more.
    fn read(&mut self, from: Side, links: &mut [Link; 2], now: Instant) -> bool {
        let (pipe, leg) = match from {
            Side::Client => (&mut self.up, &mut self.client),
            Side::Upstream => (&mut self.down, &mut self.upstream),
        };
        let input = self.session.input(from);
        if matches!(input, Input::Ended | Input::Paused) || leg.gone {
            return false;
        }
        let discard = input == Input::Discard;
        let space = if discard { pipe.capacity } else { pipe.capacity - pipe.pending.len() };
        assert!(space > 0, "a read into no space");
        match links[from as usize].to_proxy.read(self.rng.between(1, space), now) {
            Read::Pending => return false,
            Read::Bytes(bytes) if discard => {
                pipe.discarded += bytes.len();
                if pipe.discarded > MAX_DISCARDED {
                    self.note(now, || format!("{from:?} sends on and on"));
                    self.leg(from).let_go(Parting::Reset, &mut links[from as usize], now);
                    self.session.handle_gone(from);
                }
            }
            Read::Bytes(bytes) => {
                pipe.pending.extend(bytes);
                self.session.heard(from, now);
            }
            Read::Fin => {
                let how = if pipe.pending.is_empty() { Loss::Fin } else { Loss::MidFrame };
                pipe.pending.clear();
                self.note(now, || format!("{from:?} ends: {how:?}"));
                self.session.handle_eof(from, how, now);
            }
            Read::Reset => {
                pipe.pending.clear();
                self.note(now, || format!("{from:?} is reset"));
                self.session.handle_eof(from, Loss::Reset, now);
            }
        }
        true
    }

    fn count(&mut self, from: Side, now: Instant) {
        let flood = self.flood;
        let pipe = self.pipe(from);
        let before = pipe.controls;
        pipe.controls += pipe.scanner.take_tally().control_frames();
        if pipe.controls > flood && pipe.controls > before {
            self.violation(from, Violation::ControlFlood, now);
        }
    }

    fn violation(&mut self, by: Side, what: Violation, now: Instant) {
        self.pipe(by).pending.clear();
        self.note(now, || format!("{by:?} breaks a rule: {what:?}"));
        self.session.handle_violation(by, what, now);
    }

    fn carry_out(&mut self, links: &mut [Link; 2], now: Instant) -> bool {
        let mut any = false;
        while let Some(output) = self.session.poll_output() {
            any = true;
            self.note(now, || format!("{output:?}"));
            match output {
                Output::Say(side, words) => {
                    let hint = self.session.retry_after().or(Some(9));
                    self.say(side, words.frame(hint, 0x7f3a_9c21));
                }
                Output::Echo(side, frame) => self.say(side, frame),
                Output::Ping(side, payload) => self.put(side, Opcode::Ping, &payload),
                Output::Pace => {
                    let delay = if self.hold_ms == 0 { Duration::ZERO } else { self.rng.ms(0, self.hold_ms) };
                    self.session.handle_hold(Hold { delay, retry_after: 7 }, now);
                }
                Output::Shutdown(side) => self.leg(side).half_closing = true,
                Output::Drop(side, how) => self.let_go(side, how, links, now),
            }
        }
        any
    }

    fn say(&mut self, side: Side, frame: CloseFrame) {
        assert!(!std::mem::replace(&mut self.leg(side).said, true), "{side:?} is told twice");
        let mut payload = [0; 125];
        let len = frame.write(&mut payload);
        self.put(side, Opcode::Close, &payload[..len]);
        self.session.note_sent(side, frame);
    }

    fn put(&mut self, side: Side, opcode: Opcode, payload: &[u8]) {
        let leg = match side {
            Side::Client => &mut self.client,
            Side::Upstream => &mut self.upstream,
        };
        leg.put(opcode, payload, &mut self.rng);
    }

    fn part(&mut self, side: Side, links: &mut [Link; 2], now: Instant) -> bool {
        if self.leg(side).gone || !self.flush(side, links, now) {
            return false;
        }
        let leg = self.leg(side);
        if leg.half_closing && !leg.half_closed {
            leg.half_closed = true;
            links[side as usize].to_peer.end(now);
        }
        if leg.half_closed && self.session.input(side) == Input::Ended {
            self.let_go(side, Parting::Close, links, now);
            self.session.handle_gone(side);
            return true;
        }
        false
    }

    fn let_go(&mut self, side: Side, how: Parting, links: &mut [Link; 2], now: Instant) {
        self.leg(side).let_go(how, &mut links[side as usize], now);
        // What is not judged yet is: the scanner goes on from there.
        self.pipe(side.other()).released.clear();
    }

    /// As the proxy: a timer that moved back is looked at when the earlier one comes.
    fn arm(&mut self, now: Instant) -> bool {
        let Some(at) = self.session.poll_timeout() else { return false };
        if self.armed.is_none_or(|armed| at < armed) {
            self.armed = Some(at);
            return at <= now;
        }
        false
    }

    fn note(&mut self, now: Instant, what: impl FnOnce() -> String) {
        if self.logging {
            let line = format!("{} {}", crate::world::since_start(now), what());
            self.log.push(line);
        }
    }

    fn leg(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Client => &mut self.client,
            Side::Upstream => &mut self.upstream,
        }
    }

    fn pipe(&mut self, from: Side) -> &mut Pipe {
        match from {
            Side::Client => &mut self.up,
            Side::Upstream => &mut self.down,
        }
    }
}

/// The session's seed, which is what its pings carry.
pub(crate) const NONCE: u64 = 0x7469_6465_6761_7465;

struct Broken;

impl Leg {
    fn new(side: Side) -> Self {
        let own = Vec::new();
        Self { side, gone: false, own, broken: false, half_closing: false, half_closed: false, said: false }
    }

    fn write(&mut self, bytes: &[u8], link: &mut Link, now: Instant) -> Result<usize, Broken> {
        assert!(!self.half_closed, "a write behind the end of the stream");
        if link.to_proxy.is_reset(now) {
            self.broken = true;
            self.own.clear();
            return Err(Broken);
        }
        Ok(link.to_peer.write(bytes, now))
    }

    fn put(&mut self, opcode: Opcode, payload: &[u8], rng: &mut Rng) {
        let mask = (self.side == Side::Upstream).then(|| Mask::new(rng.bytes()));
        encode_control(opcode, mask, payload, &mut self.own);
    }

    fn let_go(&mut self, how: Parting, link: &mut Link, now: Instant) {
        self.own.clear();
        if std::mem::replace(&mut self.gone, true) {
            return;
        }
        match how {
            Parting::Close => link.proxy_closes(now),
            Parting::Reset => link.proxy_resets(now),
        }
    }
}

impl Pipe {
    fn new(sender: Sender, deflate: bool, limits: Limits, rng: &mut Rng) -> Self {
        Self {
            scanner: Scanner::new(sender, deflate, limits),
            released: Vec::new(),
            pending: Vec::new(),
            // The longest control frame must fit.
            capacity: rng.between(131, 600),
            controls: 0,
            discarded: 0,
        }
    }

    pub(crate) fn has_discarded_too_much(&self) -> bool {
        self.discarded > MAX_DISCARDED
    }
}

impl Proxy {
    /// This side was let go of because it never stopped sending.
    pub(crate) fn lost_patience_with(&self, side: Side) -> bool {
        let pipe = if side == Side::Client { &self.up } else { &self.down };
        pipe.has_discarded_too_much()
    }
}
