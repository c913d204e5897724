//! A session whose endpoints do what a test says. Time passes only when the test says so.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_session::{
    CloseCode, CloseFrame, End, Hold, Input, Loss, Order, Output, Parting, Pass, Policy, Premature, Record, Refused,
    Session, Side, Violation, Words,
};
use tidegate_wire::{Control, Limits, Mask, Opcode, Scanner, Sender, Step, encode_control};

pub(crate) use Side::{Client, Upstream};

/// What the hint is in every Close that has one.
pub(crate) const RETRY_AFTER: u32 = 17;

pub(crate) struct Case {
    session: Session,
    start: Instant,
    now: Instant,
    client: Peer,
    upstream: Peer,
    /// Who was told, in order.
    order: Vec<Side>,
    hold: Duration,
    pings: Vec<(Side, [u8; 8])>,
}

#[derive(Default)]
struct Peer {
    /// The Closes that were put on its leg.
    told: Vec<String>,
    /// When the first was, since the start.
    told_at: Duration,
    closed: bool,
    ended: bool,
    /// It never ends its transport.
    clings: bool,
    half_closed: bool,
    parting: Option<Parting>,
}

impl Case {
    pub(crate) fn new() -> Self {
        Self::with(Policy::default())
    }

    pub(crate) fn with(policy: Policy) -> Self {
        Self::seeded(policy, 0x5eed)
    }

    pub(crate) fn seeded(policy: Policy, seed: u64) -> Self {
        let now = base();
        Self::of(Session::new(Arc::new(policy), seed, now), now)
    }

    pub(crate) fn refused(why: Refused) -> Self {
        let now = base();
        let mut case = Self::of(Session::refused(Arc::default(), why, RETRY_AFTER, now), now);
        case.upstream.ended = true;
        case.settle()
    }

    pub(crate) fn abandoned() -> Self {
        let now = base();
        let mut case = Self::of(Session::abandoned(Arc::default(), now), now);
        case.client.ended = true;
        case.settle()
    }

    fn of(session: Session, now: Instant) -> Self {
        let (client, upstream) = Default::default();
        Self { session, start: now, now, client, upstream, order: Vec::new(), hold: Duration::ZERO, pings: Vec::new() }
    }

    /// How long a client is held whose upstream is lost.
    pub(crate) fn holding(mut self, delay: Duration) -> Self {
        self.hold = delay;
        self
    }

    /// This peer never ends its transport.
    pub(crate) fn clings(mut self, side: Side) -> Self {
        self.peer(side).clings = true;
        self
    }

    // ---- Events.

    /// A peer sends a Close: `"1000 bye"`, `"4000"`, or `"empty"`.
    pub(crate) fn closes(mut self, side: Side, close: &str) -> Self {
        let frame = parse(close);
        self.peer(side).closed = true;
        if self.session.handle_close(side, frame, self.now) == Pass::Relay {
            self.record(side.other(), close.to_owned());
        }
        self.settle()
    }

    /// A peer sends a Close in the same moment in which a timer is due, before anything is done about that.
    pub(crate) fn closes_when_due(mut self, side: Side, at: Duration, close: &str) -> Self {
        self.now += at;
        self.session.handle_timeout(self.now);
        self.closes(side, close)
    }

    pub(crate) fn ends_tcp(mut self, side: Side) -> Self {
        self.eof(side, Loss::Fin);
        self.settle()
    }

    pub(crate) fn vanishes(mut self, side: Side, how: Loss) -> Self {
        self.eof(side, how);
        self.settle()
    }

    /// Both are gone before anything can be done about either.
    pub(crate) fn both_vanish(mut self, first: Side, how: Loss) -> Self {
        self.eof(first, how);
        self.eof(first.other(), how);
        self.settle()
    }

    pub(crate) fn violates(mut self, side: Side, what: Violation) -> Self {
        self.session.handle_violation(side, what, self.now);
        self.settle()
    }

    pub(crate) fn write_fails(mut self, side: Side) -> Self {
        self.session.handle_write_error(side, self.now);
        self.settle()
    }

    pub(crate) fn blocked(mut self, side: Side) -> Self {
        self.session.handle_blocked(side, self.now);
        self.settle()
    }

    pub(crate) fn takes_bytes(mut self, side: Side, more: bool) -> Self {
        self.session.handle_progress(side, more, self.now);
        self.settle()
    }

    /// A data frame comes, as the caller of a session handles one.
    pub(crate) fn sends_data(mut self, side: Side) -> Self {
        self.session.heard(side, self.now);
        match self.session.input(side) {
            Input::Relay => self.session.active(self.now),
            Input::Held | Input::Await => self.session.handle_stray_data(side, self.now),
            Input::Paused | Input::Discard | Input::Ended => {}
        }
        self.settle()
    }

    pub(crate) fn sends_ping(self, side: Side, expected: Pass) -> Self {
        self.control(side, Opcode::Ping, b"there?", expected)
    }

    pub(crate) fn sends_pong(self, side: Side, payload: &[u8], expected: Pass) -> Self {
        self.control(side, Opcode::Pong, payload, expected)
    }

    fn control(mut self, side: Side, opcode: Opcode, payload: &[u8], expected: Pass) -> Self {
        self.session.heard(side, self.now);
        let pass = self.session.handle_control(side, &control(opcode, payload), self.now);
        assert_eq!(pass, expected, "{opcode:?} from {side:?}");
        self.settle()
    }

    pub(crate) fn ordered(mut self, end: End, within: Duration) -> Self {
        let order = Order { end, at: self.now + within, retry_after: Some(RETRY_AFTER) };
        self.session.handle_order(order, self.now);
        self.settle()
    }

    /// The process ends.
    pub(crate) fn hurried(mut self) -> Self {
        self.session.handle_hurry(self.now);
        self.settle()
    }

    pub(crate) fn premature(mut self, what: Premature) -> Self {
        self.session.note_premature(what);
        self
    }

    /// Time passes; timers fire on the way.
    pub(crate) fn after(mut self, span: Duration) -> Self {
        let end = self.now + span;
        while let Some(at) = self.session.poll_timeout().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self = self.settle();
            let next = self.session.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "what is due was not done");
        }
        self.now = end;
        self
    }

    // ---- What came of it.

    /// What this side was told so far; `-` for nothing.
    pub(crate) fn has_told(self, side: Side, expected: &str) -> Self {
        assert_eq!(self.told(side), expected, "{side:?}");
        self
    }

    pub(crate) fn relays_from(self, side: Side, expected: bool) -> Self {
        assert_eq!(self.session.input(side) == Input::Relay, expected, "{side:?}");
        self
    }

    pub(crate) fn pinged(&self, side: Side) -> Vec<[u8; 8]> {
        self.pings.iter().filter(|(to, _)| *to == side).map(|(_, payload)| *payload).collect()
    }

    pub(crate) fn told_at(&self, side: Side) -> Duration {
        match side {
            Client => self.client.told_at,
            Upstream => self.upstream.told_at,
        }
    }

    pub(crate) fn order(&self) -> &[Side] {
        &self.order
    }

    /// Runs it to its end: what each side was told, `verdict cause`, and how the legs ended.
    #[track_caller]
    pub(crate) fn ends(self, client: &str, upstream: &str, verdict: &str, legs: &str) -> Record {
        let mut case = self.after(Duration::from_secs(60));
        assert!(case.session.is_over(), "still there after a minute: {:?}", case.session);
        let told = (case.told(Client), case.told(Upstream));
        assert_eq!((told.0.as_str(), told.1.as_str()), (client, upstream), "what the client, the upstream was told");
        let record = case.session.take_record();
        assert_eq!(format!("{} {}", record.verdict.word(), record.end.cause()), verdict);
        assert_eq!(format!("{} {}", record.client.end.word(), record.upstream.end.word()), legs);
        record
    }

    /// [`ends`](Self::ends), and how this side's transport was let go of.
    #[track_caller]
    pub(crate) fn lets_go(self, side: Side, how: Parting) -> Self {
        let mut case = self.after(Duration::from_secs(60));
        assert_eq!(case.peer(side).parting, Some(how));
        case
    }

    fn told(&self, side: Side) -> String {
        let peer = if side == Client { &self.client } else { &self.upstream };
        match peer.told.as_slice() {
            [] => "-".to_owned(),
            told => told.join(" + "),
        }
    }

    // ---- What the caller of a session does.

    fn settle(mut self) -> Self {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Say(side, words) => self.say(side, words.frame(self.hint(), 0), text(&words)),
                Output::Echo(side, frame) => {
                    let text = shown(&frame);
                    self.say(side, frame, text);
                }
                Output::Ping(side, payload) => self.pings.push((side, payload)),
                Output::Pace => {
                    let hold = Hold { delay: self.hold, retry_after: RETRY_AFTER };
                    self.session.handle_hold(hold, self.now);
                }
                Output::Shutdown(side) => self.shutdown(side),
                Output::Drop(side, how) => self.let_go(side, how),
            }
        }
        // A server ends TCP first when both Closes have passed (RFC 6455 section 7.1.1).
        if self.upstream.closed && !self.upstream.told.is_empty() && !self.upstream.clings && !self.upstream.ended {
            self.eof(Upstream, Loss::Fin);
            return self.settle();
        }
        self
    }

    fn hint(&self) -> Option<u32> {
        self.session.retry_after().or(Some(RETRY_AFTER))
    }

    fn say(&mut self, side: Side, frame: CloseFrame, text: String) {
        self.session.note_sent(side, frame);
        self.record(side, text);
    }

    fn record(&mut self, side: Side, text: String) {
        let at = self.now - self.start;
        let peer = self.peer(side);
        assert!(peer.parting.is_none() && !peer.half_closed, "{side:?} is told {text} too late");
        if peer.told.is_empty() {
            peer.told_at = at;
        }
        peer.told.push(text);
        self.order.push(side);
    }

    fn shutdown(&mut self, side: Side) {
        let peer = self.peer(side);
        assert!(!peer.half_closed && peer.parting.is_none());
        peer.half_closed = true;
        if !peer.clings && !peer.ended {
            self.eof(side, Loss::Fin);
        }
        if self.session.input(side) == Input::Ended {
            self.peer(side).parting = Some(Parting::Close);
            self.session.handle_gone(side);
        }
    }

    fn let_go(&mut self, side: Side, how: Parting) {
        let peer = self.peer(side);
        assert!(peer.parting.is_none(), "{side:?} was let go of before");
        peer.parting = Some(how);
    }

    fn eof(&mut self, side: Side, how: Loss) {
        self.peer(side).ended = true;
        self.session.handle_eof(side, how, self.now);
    }

    fn peer(&mut self, side: Side) -> &mut Peer {
        match side {
            Client => &mut self.client,
            Upstream => &mut self.upstream,
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "some instant to count from; it never advances by itself")]
fn base() -> Instant {
    Instant::now()
}

/// Seconds.
pub(crate) const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn parse(close: &str) -> CloseFrame {
    if close == "empty" {
        return CloseFrame::parse(&[]).expect("an empty Close");
    }
    let (code, reason) = close.split_once(' ').unwrap_or((close, ""));
    CloseFrame::with(CloseCode(code.parse().expect("a code")), reason)
}

fn shown(frame: &CloseFrame) -> String {
    match frame.code() {
        None => "empty".to_owned(),
        Some(code) => format!("{code} {}", frame.reason()).trim_end().to_owned(),
    }
}

/// A Close of tidegate's own as the contract writes it: without its id.
fn text(words: &Words) -> String {
    let shown = shown(&words.frame(Some(RETRY_AFTER), 0));
    shown.strip_suffix("; id=00000000").expect("every reason carries an id").to_owned()
}

/// A control frame, as a scanner gives it.
fn control(opcode: Opcode, payload: &[u8]) -> Control {
    let mut bytes = Vec::new();
    encode_control(opcode, Some(Mask::new([1, 2, 3, 4])), payload, &mut bytes);
    match Scanner::new(Sender::Client, false, Limits::default()).advance(&bytes, 1 << 10, false) {
        Ok(Step::Control(control)) => control,
        other => panic!("{other:?} of a control frame"),
    }
}
