//! What an operator may choose about a session's life and its endings.

use std::time::Duration;

use tidegate_wire::{CloseCode, CloseFrame};

/// One route's choices. The defaults, with their reasons, are those of the configuration reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What a client hears when its upstream is lost: 1014 (default), 1011 or 1012.
    pub upstream_lost_code: CloseCode,
    /// What an upstream hears when its client is lost. Default: Close 1011.
    pub client_lost: Farewell,
    /// What an upstream hears when tidegate ends a healthy session. Default: Close 1001.
    pub detach: Farewell,
    /// What an end hears whose Close the other end never answered.
    pub late_reply: LateReply,
    /// What a client is told in place of a code of its upstream's own: from, to; the first that fits counts. Codes that
    /// may be sent, and never to 1000, which is not invented. Default: none.
    pub rewrite: Vec<(CloseCode, CloseCode)>,
    /// How long the answer to a Close may take. Default 5 s: a third of what the most patient common peer waits.
    pub close_timeout: Duration,
    /// No frame of an endpoint either way for so long ends the session. Default off.
    pub idle_timeout: Option<Duration>,
    /// A leg silent for so long is pinged. Default 30 s: below the idle timeouts of common middleboxes.
    pub keepalive_interval: Option<Duration>,
    /// A pinged leg that sends nothing for so long is lost. Default 10 s.
    pub keepalive_timeout: Duration,
    /// A leg that takes nothing for so long is a slow consumer. Default 10 s.
    pub write_timeout: Duration,
    /// The longest a session may live. Default off.
    pub max_lifetime: Option<Duration>,
    /// Share of `max_lifetime` by which it is shortened at random, 0 to 1. Default 0.1.
    pub max_lifetime_jitter: f64,
}

/// How tidegate leaves an upstream that did nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// A Close with this code.
    Close(CloseCode),
    /// No Close: the TCP connection ends, as it would have without a proxy.
    Abort,
}

/// What the end that closed first hears when the other never answers (close contract C3 to C7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateReply {
    /// The truth: 1014 to a client, 1011 to an upstream.
    Truthful,
    /// An echo of its own Close, as a server that answers at once would have sent.
    Echo,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            upstream_lost_code: CloseCode::BAD_GATEWAY,
            client_lost: Farewell::Close(CloseCode::INTERNAL_ERROR),
            detach: Farewell::Close(CloseCode::GOING_AWAY),
            late_reply: LateReply::Truthful,
            rewrite: Vec::new(),
            close_timeout: Duration::from_secs(5),
            idle_timeout: None,
            keepalive_interval: Some(Duration::from_secs(30)),
            keepalive_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            max_lifetime: None,
            max_lifetime_jitter: 0.1,
        }
    }
}

impl Policy {
    /// What the client is told in place of this Close of its upstream's own. `None`: the Close as it is.
    pub(crate) fn rewritten(&self, close: &CloseFrame) -> Option<CloseFrame> {
        let code = close.code()?;
        let (_, to) = self.rewrite.iter().find(|(from, _)| *from == code)?;
        Some(CloseFrame::with(*to, close.reason()))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use super::*;
    use crate::{End, Output, Pass, Session, Side, Verdict};

    fn policy() -> Policy {
        let rules = [(1001, 1012), (1000, 4000), (4000, 1012)];
        Policy { rewrite: rules.map(|(from, to)| (CloseCode(from), CloseCode(to))).into(), ..Policy::default() }
    }

    #[expect(clippy::disallowed_methods, reason = "an instant has no other source; only differences matter")]
    fn base() -> Instant {
        Instant::now()
    }

    fn close(code: u16) -> CloseFrame {
        CloseFrame::with(CloseCode(code), "its own words")
    }

    #[test]
    fn a_rule_changes_the_code_and_nothing_else_once() {
        for (from, to) in [(1001, Some(1012)), (1000, Some(4000)), (4000, Some(1012)), (1012, None), (4001, None)] {
            assert_eq!(policy().rewritten(&close(from)), to.map(close), "{from}");
            assert_eq!(Policy::default().rewritten(&close(from)), None, "{from}");
        }
        let empty = CloseFrame::parse(&[]).unwrap();
        assert_eq!(policy().rewritten(&empty), None);
    }

    /// Both close, `first` before the other; what each leg was sent, in a session that otherwise ends as any.
    fn sent(policy: Policy, first: Side, code: u16, answer: u16) -> [Option<CloseFrame>; 2] {
        let now = base();
        let mut session = Session::new(Arc::new(policy), 0, now);
        for (side, code) in [(first, code), (first.other(), answer)] {
            let consumed = session.handle_close(side, close(code), now) == Pass::Consume;
            let mut told = false;
            while let Some(output) = session.poll_output() {
                match output {
                    Output::Echo(Side::Client, frame) => {
                        assert!(!std::mem::replace(&mut told, true), "told twice");
                        session.note_sent(Side::Client, frame);
                    }
                    Output::Shutdown(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(consumed, told, "either it passes or another takes its place");
        }
        session.handle_gone(Side::Client);
        session.handle_gone(Side::Upstream);
        let record = session.take_record();
        assert_eq!((record.end, record.verdict), (End::Closed { by: first }, Verdict::Agreed));
        assert_eq!(record.leg(first).received, Some(close(code)));
        assert_eq!(record.leg(first.other()).received, Some(close(answer)));
        [record.client.sent, record.upstream.sent]
    }

    #[test]
    fn only_an_upstream_that_closes_first_is_rewritten() {
        use Side::{Client, Upstream};
        for (first, code, answer, client, upstream) in [
            (Upstream, 1001, 1012, 1012, 1012),
            (Upstream, 1001, 1001, 1012, 1001),
            (Upstream, 1011, 1011, 1011, 1011),
            (Client, 1001, 1001, 1001, 1001),
            (Client, 1000, 1001, 1001, 1000),
        ] {
            let told = sent(policy(), first, code, answer);
            assert_eq!(told, [Some(close(client)), Some(close(upstream))], "{first:?} {code} {answer}");
        }
    }

    #[test]
    fn a_rewritten_close_is_waited_for_as_any() {
        let now = base();
        let mut ends = [policy(), Policy::default()].map(|policy| {
            let mut session = Session::new(Arc::new(policy), 0, now);
            session.handle_close(Side::Upstream, close(1001), now);
            while session.poll_output().is_some() {}
            let due = session.poll_timeout().unwrap();
            session.handle_timeout(due);
            let outputs: Vec<_> = std::iter::from_fn(|| session.poll_output()).collect();
            (due - now, session.end(), outputs)
        });
        assert_eq!(ends[0].0, policy().close_timeout);
        let [rewritten, plain] = &mut ends;
        assert_eq!(rewritten, plain);
    }
}
