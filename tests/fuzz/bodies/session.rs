//! Any events in any order that sockets can give: a session tells each side once and comes to an end.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tidegate_session::{
    CloseCode, CloseFrame, End, Farewell, Hold, Input, LateReply, Loss, Order, Output, Pass, Policy, Premature,
    Refused, Session, Side, Violation,
};
use tidegate_wire::{Control, Limits, Opcode, Scanner, Sender, Step, encode_control};

const NONCE: u64 = 0x7469_6465_6761_7465;

pub(crate) fn run(data: &[u8]) {
    let [choices, start, events @ ..] = data else { return };
    let mut caller = Caller::new(*choices, *start);
    for event in events.iter().take(200) {
        caller.event(*event);
    }
    caller.finish();
}

/// The owner of the sockets, as it should be.
struct Caller {
    session: Session,
    now: Instant,
    legs: [Leg; 2],
}

#[derive(Default)]
struct Leg {
    told: bool,
    half_closed: bool,
    gone: bool,
}

impl Caller {
    fn new(choices: u8, start: u8) -> Self {
        let now = base();
        let seconds = Duration::from_secs;
        let farewell = |abort: bool, code| if abort { Farewell::Abort } else { Farewell::Close(CloseCode(code)) };
        let policy = Arc::new(Policy {
            client_lost: farewell(choices & 1 != 0, 1011),
            detach: farewell(choices & 2 != 0, 1001),
            late_reply: if choices & 4 != 0 { LateReply::Echo } else { LateReply::Truthful },
            idle_timeout: (choices & 8 != 0).then_some(seconds(20)),
            keepalive_interval: (choices & 16 != 0).then_some(seconds(5)),
            max_lifetime: (choices & 32 != 0).then_some(seconds(30)),
            ..Policy::default()
        });
        let (session, there) = match start % 8 {
            0 => (Session::refused(policy, Refused::Overloaded, 9, now), [true, false]),
            1 => (Session::abandoned(policy, now), [false, true]),
            _ => (Session::new(policy, NONCE, now), [true, true]),
        };
        let legs = there.map(|there| Leg { gone: !there, ..Leg::default() });
        let mut caller = Self { session, now, legs };
        caller.carry_out();
        caller
    }

    fn event(&mut self, event: u8) {
        let side = if event & 1 == 0 { Side::Client } else { Side::Upstream };
        let variant = event >> 5;
        let (input, gone) = (self.session.input(side), self.leg(side).gone);
        let reads = !matches!(input, Input::Paused | Input::Discard | Input::Ended) && !gone;
        match (event >> 1) & 15 {
            0 if reads => self.close(side, variant),
            1 if reads => {
                let what = Violation::EXAMPLES[usize::from(variant) * 2 % Violation::EXAMPLES.len()];
                self.session.handle_violation(side, what, self.now);
            }
            2 if !matches!(input, Input::Paused | Input::Ended) && !gone => {
                let how = [Loss::Fin, Loss::Reset, Loss::MidFrame][usize::from(variant) % 3];
                self.session.handle_eof(side, how, self.now);
            }
            3 if !gone => self.session.handle_write_error(side, self.now),
            4 if !gone => self.session.handle_blocked(side, self.now),
            5 => self.session.handle_progress(side, variant & 1 != 0, self.now),
            6 | 7 if reads => self.data(side),
            8 | 9 if reads => self.control(side, variant),
            10 => self.order(variant),
            11 if side == Side::Upstream => self.session.note_premature(Premature::Untaken),
            12..=15 => self.pass(Duration::from_millis(100 << (variant * 2))),
            _ => {}
        }
        // Sometimes several things happen before anything is done about them.
        if !event.is_multiple_of(5) {
            self.carry_out();
        }
    }

    fn close(&mut self, side: Side, variant: u8) {
        let frame = match variant {
            0 => CloseFrame::parse(&[]).expect("an empty Close"),
            variant => CloseFrame::with(CloseCode(1000 + u16::from(variant % 4)), "bye"),
        };
        if self.session.handle_close(side, frame, self.now) == Pass::Relay {
            self.tell(side.other());
        }
    }

    fn data(&mut self, side: Side) {
        self.session.heard(side, self.now);
        if self.session.input(side) == Input::Relay {
            let to = self.leg(side.other());
            assert!(!to.told && !to.half_closed, "data would follow a Close");
            self.session.active(self.now);
        } else {
            self.session.handle_stray_data(side, self.now);
        }
    }

    fn control(&mut self, side: Side, variant: u8) {
        self.session.heard(side, self.now);
        let nonce = NONCE.to_be_bytes();
        let frame = match variant % 3 {
            0 => control(Opcode::Ping, b"?"),
            1 => control(Opcode::Pong, b"!"),
            _ => control(Opcode::Pong, &nonce),
        };
        match self.session.handle_control(side, &frame, self.now) {
            Pass::Relay => assert!(!self.leg(side.other()).told && frame.payload() != nonce),
            Pass::Answer => assert!(!self.leg(side).told && frame.opcode == Opcode::Ping),
            Pass::Consume => {}
        }
    }

    fn order(&mut self, variant: u8) {
        let end = [End::Drain, End::RouteRemoved, End::EndpointRemoved, End::Internal][usize::from(variant) % 4];
        let at = self.now + Duration::from_secs(u64::from(variant / 4) * 3);
        self.session.handle_order(Order { end, at, retry_after: None }, self.now);
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.session.poll_timeout().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.carry_out();
            let next = self.session.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "what is due was not done");
        }
        self.now = end;
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Say(side, words) => {
                    self.session.note_sent(side, words.frame(Some(9), 0));
                    self.tell(side);
                }
                Output::Echo(side, frame) => {
                    self.session.note_sent(side, frame);
                    self.tell(side);
                }
                Output::Ping(side, payload) => {
                    assert!(!self.leg(side).told && payload == NONCE.to_be_bytes());
                }
                Output::Pace => {
                    self.session.handle_hold(Hold { delay: Duration::from_secs(2), retry_after: 3 }, self.now);
                }
                Output::Shutdown(side) => {
                    assert!(!std::mem::replace(&mut self.leg(side).half_closed, true));
                }
                Output::Drop(side, _) => assert!(!std::mem::replace(&mut self.leg(side).gone, true)),
            }
        }
        for side in Side::BOTH {
            if self.leg(side).half_closed && !self.leg(side).gone && self.session.input(side) == Input::Ended {
                self.leg(side).gone = true;
                self.session.handle_gone(side);
            }
        }
    }

    fn tell(&mut self, side: Side) {
        let leg = self.leg(side);
        assert!(!leg.half_closed, "{side:?} is told behind the end of its transport");
        assert!(!std::mem::replace(&mut leg.told, true), "{side:?} is told twice");
    }

    /// Nobody says anything any more.
    fn finish(mut self) {
        self.session.handle_order(Order { end: End::Drain, at: self.now, retry_after: None }, self.now);
        self.carry_out();
        self.pass(Duration::from_secs(60));
        assert!(self.session.is_over() && self.session.end().is_some(), "{:?}", self.session);
        let _ = self.session.take_record();
    }

    fn leg(&mut self, side: Side) -> &mut Leg {
        &mut self.legs[side as usize]
    }
}

fn control(opcode: Opcode, payload: &[u8]) -> Control {
    let mut bytes = Vec::new();
    encode_control(opcode, None, payload, &mut bytes);
    match Scanner::new(Sender::Server, false, Limits::default()).advance(&bytes, 1 << 10, false) {
        Ok(Step::Control(control)) => control,
        other => panic!("{other:?} of a control frame"),
    }
}

#[allow(clippy::disallowed_methods, reason = "some instant to count from; it never advances by itself")]
fn base() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}
