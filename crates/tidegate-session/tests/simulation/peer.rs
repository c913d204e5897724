//! A client or an upstream: sends what its plan says, and judges all it is sent.

use std::time::{Duration, Instant};

use tidegate_session::Side;

use crate::{
    network::{Link, Read},
    plan::{Answer, Ending, MAX_MESSAGE, Plan},
    rng::Rng,
    strict::{Event, Message, Reader, close_payload, frame},
};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

pub(crate) struct Peer {
    pub(crate) side: Side,
    pub(crate) plan: Plan,
    rng: Rng,
    reader: Reader,
    /// Not yet taken by the network.
    out: Vec<u8>,
    /// It ends its half when `out` is empty.
    ending: bool,
    to_send: usize,
    send_at: Instant,
    /// When the plan's ending is due; taken then.
    ending_at: Option<Instant>,
    answer_at: Option<Instant>,
    read_at: Instant,
    /// It reads and writes no more.
    pub(crate) gone: bool,
    frozen: bool,
    /// Whole messages it sent before its Close, or before whatever else ended it.
    pub(crate) sent: Vec<Message>,
    /// A message of which the rest never comes.
    pub(crate) sent_unfinished: Option<Message>,
    pub(crate) received: Vec<Message>,
    pub(crate) sent_close: Option<(Option<u16>, String)>,
    /// It sent something that no endpoint may.
    pub(crate) broke_a_rule: bool,
    pub(crate) received_close: Option<(Option<u16>, String)>,
    pub(crate) pongs: Vec<Vec<u8>>,
    /// How the proxy's half ended: `None` not at all, else whether in order.
    pub(crate) other_half: Option<bool>,
}

impl Peer {
    pub(crate) fn new(side: Side, plan: Plan, mut rng: Rng, now: Instant) -> Self {
        Self {
            side,
            reader: Reader::new(side == Side::Upstream, plan.deflate),
            out: Vec::new(),
            ending: false,
            to_send: plan.messages,
            send_at: now + rng.ms(0, 20),
            ending_at: (plan.ending != Ending::Nothing).then(|| now + plan.ending_at),
            answer_at: None,
            read_at: now,
            gone: false,
            frozen: false,
            sent: Vec::new(),
            sent_unfinished: None,
            received: Vec::new(),
            sent_close: None,
            broke_a_rule: false,
            received_close: None,
            pongs: Vec::new(),
            other_half: None,
            plan,
            rng,
        }
    }

    /// Does what is due. Whether anything was.
    pub(crate) fn step(&mut self, link: &mut Link, now: Instant) -> bool {
        if self.gone {
            return false;
        }
        let mut any = self.read(link, now);
        if self.ending_at.is_some_and(|at| at <= now) {
            self.ending_at = None;
            self.end(link, now);
            any = true;
        }
        if self.answer_at.is_some_and(|at| at <= now) {
            self.answer_at = None;
            self.answer(link, now);
            any = true;
        }
        while self.may_send() && self.send_at <= now && self.out.len() < 2 * MAX_MESSAGE {
            self.send_message(None);
            self.to_send -= 1;
            self.send_at = now + self.rng.ms(0, self.plan.gap_ms);
            any = true;
        }
        any | self.write(link, now)
    }

    /// When it does something by itself.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        if self.gone {
            return None;
        }
        let send = self.may_send().then_some(self.send_at);
        let read = (!self.frozen).then_some(self.read_at);
        [self.ending_at, self.answer_at, send, read].into_iter().flatten().filter(|&at| at > now).min()
    }

    pub(crate) fn unfinished(&self) -> Option<&Message> {
        self.reader.unfinished()
    }

    /// It wants to say no more of its own accord.
    fn is_silent(&self) -> bool {
        self.sent_close.is_some() || self.ending || self.broke_a_rule
    }

    fn may_send(&self) -> bool {
        self.to_send > 0 && !self.is_silent() && self.sent_unfinished.is_none()
    }

    fn read(&mut self, link: &mut Link, now: Instant) -> bool {
        let mut any = false;
        while !self.frozen && self.read_at <= now && self.other_half.is_none() {
            match link.to_peer.read(self.plan.bite, now) {
                Read::Pending => return any,
                Read::Bytes(bytes) => {
                    self.read_at = now + self.plan.rest;
                    for event in self.reader.feed(&bytes) {
                        self.take(event, now);
                    }
                }
                Read::Fin => {
                    // One that has left without a Close may be left in the middle of a frame.
                    if self.sent_close.is_some() || !link.to_proxy.is_ended() {
                        self.reader.finish();
                    }
                    self.other_half = Some(true);
                    if self.plan.ends_tcp {
                        self.ending = true;
                    }
                }
                Read::Reset => {
                    self.other_half = Some(false);
                    self.gone = true;
                    link.to_proxy.end(now);
                }
            }
            any = true;
        }
        any
    }

    fn take(&mut self, event: Event, now: Instant) {
        match event {
            Event::Message(message) => self.received.push(message),
            Event::Pong(payload) => self.pongs.push(payload),
            Event::Ping(payload) => {
                if self.plan.answers_pings && !self.is_silent() {
                    self.put(true, PONG, &payload);
                }
            }
            Event::Close(code, reason) => {
                self.received_close = Some((code, reason));
                if self.sent_close.is_some() || self.broke_a_rule {
                    // RFC 6455 section 7.1.1: the server ends TCP first.
                    self.ending |= self.side == Side::Upstream && self.plan.ends_tcp;
                } else {
                    self.to_send = self.to_send.min(self.plan.last_words);
                    self.answer_at = Some(now + self.plan.answer_after);
                }
            }
        }
    }

    fn answer(&mut self, link: &mut Link, now: Instant) {
        if self.is_silent() {
            return;
        }
        match self.plan.answer {
            Answer::Echo => {
                let (code, reason) = self.received_close.clone().unwrap_or_default();
                self.close(code, &reason);
            }
            Answer::With(code, reason) => self.close(code, reason),
            Answer::Nothing => {}
            Answer::Fin => self.ending = true,
            Answer::Reset => self.reset(link, now),
            Answer::Illegal(how) => self.illegal(how),
        }
    }

    fn end(&mut self, link: &mut Link, now: Instant) {
        if self.is_silent() {
            return;
        }
        match self.plan.ending {
            Ending::Nothing => {}
            Ending::Close(code, reason) => self.close(code, reason),
            Ending::CloseInMessage(code) => {
                self.send_message(Some(1));
                self.close(Some(code), "");
            }
            Ending::Fin => self.ending = true,
            Ending::Reset => self.reset(link, now),
            Ending::FinInFrame => {
                self.half_a_frame();
                self.ending = true;
            }
            Ending::ResetInFrame => {
                self.half_a_frame();
                self.write(link, now);
                self.reset(link, now);
            }
            Ending::Dark => {
                link.go_dark();
                self.gone = true;
            }
            Ending::Freeze => self.frozen = true,
            Ending::Illegal(how) => self.illegal(how),
        }
    }

    fn close(&mut self, code: Option<u16>, reason: &str) {
        self.put(true, CLOSE, &close_payload(code, reason));
        self.sent_close = Some((code, reason.to_owned()));
        if self.plan.chatter {
            self.put(true, BINARY, b"behind my Close");
        }
        if self.received_close.is_some() && self.side == Side::Upstream {
            self.ending |= self.plan.ends_tcp;
        }
    }

    /// A message in any number of fragments, with pings between them; only the first `only` of them.
    fn send_message(&mut self, only: Option<usize>) {
        let message = self.draw_message();
        let len = message.payload.len();
        let mut cuts = vec![0];
        for _ in 0..self.rng.below(4) + only.unwrap_or(0) {
            cuts.push(self.rng.below(len + 1));
        }
        cuts.push(len);
        cuts.sort_unstable();
        let last = cuts.len() - 2;
        for (i, cut) in cuts.windows(2).enumerate().take(only.unwrap_or(usize::MAX)) {
            let opcode = match (i, message.text) {
                (0, true) => TEXT,
                (0, false) => BINARY,
                _ => CONTINUATION,
            };
            let bytes = &message.payload[cut[0]..cut[1]];
            self.put_frame(i == last, message.compressed && i == 0, opcode, bytes);
            if self.rng.percent(10) {
                let payload: [u8; 5] = self.rng.bytes();
                self.put(true, PING, &payload);
            }
        }
        match only {
            Some(_) => self.sent_unfinished = Some(message),
            None => self.sent.push(message),
        }
    }

    fn draw_message(&mut self) -> Message {
        let len = self.rng.between(0, self.plan.largest);
        let text = self.rng.percent(60);
        let compressed = self.plan.deflate && self.rng.percent(50);
        let payload = if text && !compressed {
            let mut payload = String::new();
            while payload.len() + 4 <= len {
                payload.push(self.rng.pick(&['a', ' ', 'é', '漢', '🦀', '\u{10ffff}']));
            }
            payload.into_bytes()
        } else {
            (0..len).map(|_| self.rng.next() as u8).collect()
        };
        Message { text, compressed, payload }
    }

    fn half_a_frame(&mut self) {
        let whole = frame(true, false, BINARY, self.mask(), &[7; 100]);
        let cut = self.rng.between(1, whole.len() - 1);
        self.out.extend(&whole[..cut]);
    }

    /// Something that no endpoint may send, and more of the same.
    fn illegal(&mut self, how: usize) {
        self.broke_a_rule = true;
        let key = self.mask();
        let bytes = match how {
            0 => frame(true, false, TEXT, if key.is_some() { None } else { Some([1, 2, 3, 4]) }, b"mask"),
            1 => frame(true, false, 0x20 | BINARY, key, b"RSV2"),
            2 => frame(true, false, 3, key, b"opcode"),
            3 => frame(true, false, CONTINUATION, key, b"of nothing"),
            4 => frame(false, false, PING, key, b"fragmented"),
            5 => frame(true, false, PING, key, &[0; 126]),
            6 => frame(true, false, CLOSE, key, b"\x03"),
            7 => frame(
                true,
                false,
                CLOSE,
                key,
                &self.rng.pick(&[0u16, 999, 1004, 1005, 1006, 1015, 2000, 5000]).to_be_bytes(),
            ),
            8 => frame(true, false, CLOSE, key, b"\x03\xe8\xff"),
            9 => frame(true, false, TEXT, key, b"\xc3\x28"),
            10 => frame(false, true, CLOSE, key, b""),
            11 => {
                let mask = u8::from(key.is_some()) << 7;
                [&[0x82, mask | 126, 0, 5][..], &key.unwrap_or_default()[..], &[0; 5]].concat()
            }
            12 => frame(true, false, BINARY, key, &vec![0; MAX_MESSAGE + 1]),
            _ => [frame(false, false, BINARY, key, b"a"), frame(true, false, TEXT, key, b"b")].concat(),
        };
        self.out.extend(&bytes);
        if how == 13 {
            // Its first fragment is legal and may pass.
            self.sent_unfinished = Some(Message { text: false, compressed: false, payload: b"a".to_vec() });
        }
        if self.plan.chatter {
            self.out.extend(bytes);
        }
    }

    fn reset(&mut self, link: &mut Link, now: Instant) {
        link.to_proxy.reset(now);
        self.gone = true;
    }

    fn write(&mut self, link: &mut Link, now: Instant) -> bool {
        if link.to_proxy.is_ended() {
            return false;
        }
        let len = if self.out.is_empty() { 0 } else { link.to_proxy.write(&self.out, now) };
        self.out.drain(..len);
        if self.out.is_empty() && self.ending {
            link.to_proxy.end(now);
            return true;
        }
        len > 0
    }

    fn put(&mut self, fin: bool, opcode: u8, payload: &[u8]) {
        self.put_frame(fin, false, opcode, payload);
    }

    fn put_frame(&mut self, fin: bool, rsv1: bool, opcode: u8, payload: &[u8]) {
        let bytes = frame(fin, rsv1, opcode, self.mask(), payload);
        self.out.extend(bytes);
    }

    fn mask(&mut self) -> Option<[u8; 4]> {
        (self.side == Side::Client).then(|| self.rng.bytes())
    }
}

/// The longest a peer's plan goes on.
pub(crate) const HORIZON: Duration = Duration::from_secs(120);
