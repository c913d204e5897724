//! What a peer is going to do, drawn from the seed.

use std::time::Duration;

use tidegate_session::{CloseCode, Farewell, LateReply, Policy, Side};

use crate::rng::Rng;

/// The longest message the proxy lets pass, in bytes.
pub(crate) const MAX_MESSAGE: usize = 6000;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) messages: usize,
    /// Longest pause between two of them.
    pub(crate) gap_ms: usize,
    pub(crate) largest: usize,
    pub(crate) deflate: bool,
    pub(crate) ending: Ending,
    pub(crate) ending_at: Duration,
    pub(crate) answer: Answer,
    pub(crate) answer_after: Duration,
    /// Messages it still sends when it was told.
    pub(crate) last_words: usize,
    /// Bytes it sends behind its Close, though it must not.
    pub(crate) chatter: bool,
    pub(crate) answers_pings: bool,
    /// Ends its half when both Closes have passed, or its peer's half is over.
    pub(crate) ends_tcp: bool,
    /// Reads so many bytes, then rests.
    pub(crate) bite: usize,
    pub(crate) rest: Duration,
}

/// What it does of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Nothing,
    Close(Option<u16>, &'static str),
    /// A Close inside a fragmented message.
    CloseInMessage(u16),
    Fin,
    Reset,
    FinInFrame,
    ResetInFrame,
    /// Its network is gone.
    Dark,
    /// It reads no more.
    Freeze,
    Illegal(usize),
}

/// What it does when it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Echo,
    With(Option<u16>, &'static str),
    Nothing,
    Fin,
    Reset,
    Illegal(usize),
}

/// Ways to break the rules: see `Peer::illegal`.
pub(crate) const ILLEGAL: usize = 14;

const REASONS: [&str; 4] = ["", "bye", "{\"json\": true}", "ünï 漢"];
const CODES: [Option<u16>; 12] = [
    None,
    Some(1000),
    Some(1000),
    Some(1001),
    Some(1003),
    Some(1008),
    Some(1011),
    Some(1012),
    Some(1013),
    Some(1014),
    Some(3000),
    Some(4999),
];

impl Plan {
    pub(crate) fn draw(deflate: bool, rng: &mut Rng) -> Self {
        let (code, reason) = close(rng);
        let ending = match rng.below(100) {
            0..40 => Ending::Nothing,
            40..62 => Ending::Close(code, reason),
            62..66 => Ending::CloseInMessage(rng.pick(&[1000, 1001, 4000])),
            66..71 => Ending::Fin,
            71..76 => Ending::Reset,
            76..79 => Ending::FinInFrame,
            79..82 => Ending::ResetInFrame,
            82..86 => Ending::Dark,
            86..90 => Ending::Freeze,
            _ => Ending::Illegal(rng.below(ILLEGAL)),
        };
        let (code, reason) = close(rng);
        let answer = match rng.below(100) {
            0..55 => Answer::Echo,
            55..75 => Answer::With(code, reason),
            75..83 => Answer::Nothing,
            83..90 => Answer::Fin,
            90..95 => Answer::Reset,
            _ => Answer::Illegal(rng.below(ILLEGAL)),
        };
        let slow = rng.percent(20);
        Self {
            messages: rng.below(12),
            gap_ms: rng.pick(&[0, 10, 1000, 20_000]),
            largest: rng.pick(&[10, 200, 2000, MAX_MESSAGE]),
            deflate,
            ending,
            ending_at: rng.ms(0, 30_000) / if rng.percent(50) { 100 } else { 1 },
            answer,
            answer_after: rng.pick(&[0, 0, 1, 300, 3000, 20_000]).min(rng.between(0, 20_000)).into_ms(),
            last_words: if rng.percent(30) { rng.below(4) } else { 0 },
            chatter: rng.percent(5),
            answers_pings: rng.percent(85),
            ends_tcp: rng.percent(85),
            bite: if slow { rng.between(1, 200) } else { usize::MAX },
            rest: if slow { rng.ms(1, 3000) } else { Duration::ZERO },
        }
    }

    /// Whether it reads at once what reaches it, for as long as there is anything.
    pub(crate) fn is_reachable(&self) -> bool {
        let leaves = matches!(
            self.ending,
            Ending::Fin | Ending::Reset | Ending::FinInFrame | Ending::ResetInFrame | Ending::Dark | Ending::Freeze
        );
        !leaves && self.rest.is_zero()
    }
}

fn close(rng: &mut Rng) -> (Option<u16>, &'static str) {
    let code = rng.pick(&CODES);
    (code, if code.is_some() { rng.pick(&REASONS) } else { "" })
}

trait IntoMs {
    fn into_ms(self) -> Duration;
}

impl IntoMs for usize {
    fn into_ms(self) -> Duration {
        Duration::from_millis(self as u64)
    }
}

/// An operator's choices.
pub(crate) fn policy(rng: &mut Rng) -> Policy {
    let seconds = |rng: &mut Rng, low, high| Duration::from_secs(rng.between(low, high) as u64);
    let farewell = |rng: &mut Rng, code| {
        if rng.percent(85) { Farewell::Close(CloseCode(code)) } else { Farewell::Abort }
    };
    Policy {
        upstream_lost_code: CloseCode(rng.pick(&[1014, 1014, 1011, 1012])),
        client_lost: farewell(rng, 1011),
        detach: farewell(rng, 1001),
        late_reply: rng.pick(&[LateReply::Truthful, LateReply::Truthful, LateReply::Echo]),
        close_timeout: seconds(rng, 1, 5),
        idle_timeout: rng.percent(15).then(|| seconds(rng, 1, 30)),
        keepalive_interval: rng.percent(60).then(|| seconds(rng, 1, 30)),
        keepalive_timeout: seconds(rng, 1, 10),
        write_timeout: seconds(rng, 1, 10),
        max_lifetime: rng.percent(10).then(|| seconds(rng, 1, 40)),
        max_lifetime_jitter: 0.1,
        rewrite: Vec::new(),
    }
}

/// Which side a code may be said to by tidegate itself.
pub(crate) fn is_ours(side: Side, code: u16) -> bool {
    match side {
        Side::Client => matches!(code, 1001 | 1002 | 1007..=1009 | 1011..=1014),
        Side::Upstream => matches!(code, 1001 | 1002 | 1007..=1009 | 1011),
    }
}
