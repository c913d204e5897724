//! Why a session ends, and the only map from that to what each side is told.

use tidegate_wire::{CloseCode, Violation};

use crate::{Detail, Farewell, LateReply, Policy, Verdict, Words};

/// One of the two ends of a session, as seen from tidegate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client, towards which tidegate is the server.
    Client,
    /// The upstream, towards which tidegate is the client.
    Upstream,
}

impl Side {
    /// Both, client first.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Upstream];

    /// The end opposite.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }

    /// `client` or `upstream`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
        }
    }
}

/// How a transport ended without a Close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// An orderly end of TCP or TLS, but no Close before it.
    Fin,
    /// A reset, or any other error of the transport.
    Reset,
    /// An end of either kind inside a frame.
    MidFrame,
    /// No sign of life after a ping.
    PingTimeout,
}

/// How an end failed to answer the Close of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It ended its transport in order instead.
    NoClose,
    /// It said nothing for `close_timeout`.
    Silent,
    /// It was reset.
    Lost,
}

/// Why a client got no upstream. It is told after a 101, or as an HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A limit of the operator's, or tidegate's own.
    Overloaded,
    /// Every endpoint is at its cap.
    UpstreamFull,
    /// No endpoint, or none that can be reached.
    NoUpstream,
    /// The upstream said so: 503 or 429.
    UpstreamOverloaded,
    /// Its address asks too often.
    RateLimited,
    /// Its address has as many sessions as it may.
    TooManySessions,
}

impl Refused {
    /// Each, in the order of the reference.
    pub const ALL: [Self; 6] = [
        Self::Overloaded,
        Self::UpstreamFull,
        Self::NoUpstream,
        Self::UpstreamOverloaded,
        Self::RateLimited,
        Self::TooManySessions,
    ];
}

/// Why a session ended, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// An end closed; its words go to the other, and the answer back.
    Closed {
        /// Who closed first.
        by: Side,
    },
    /// An end closed and the other never answered.
    Unanswered {
        /// Who closed.
        by: Side,
        /// What the other did instead.
        how: Silence,
    },
    /// An end is gone without a Close.
    Lost {
        /// Which.
        side: Side,
        /// How.
        how: Loss,
    },
    /// An end broke the rules.
    Violation {
        /// Who.
        by: Side,
        /// Which rule.
        what: Violation,
    },
    /// An end takes no bytes for `write_timeout`.
    Stalled {
        /// Which.
        side: Side,
    },
    /// No frame of an endpoint for `idle_timeout`.
    Idle,
    /// `max_lifetime` is over.
    MaxAge,
    /// tidegate stops and will be back.
    Drain,
    /// The session's route is no longer configured.
    RouteRemoved,
    /// The session's endpoint is no longer configured.
    EndpointRemoved,
    /// A health check finds the session's endpoint down, and its sessions are to go elsewhere then.
    EndpointDown,
    /// What its client was let in by has run out.
    AuthExpired,
    /// No upstream was ever reached.
    Refused(Refused),
    /// The client was gone before the answer to its request reached it.
    ClientGone,
    /// A bug of tidegate's own.
    Internal,
}

/// What one side is told at an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing: its transport is gone.
    Nothing,
    /// The other end's own words, verbatim.
    Relay,
    /// Its own words back ([`LateReply::Echo`]).
    Echo,
    /// A Close of tidegate's.
    Close(Words),
    /// No Close: the transport ends ([`Farewell::Abort`]).
    Abort,
}

impl End {
    /// One of each, in the order of the reference.
    #[must_use]
    pub fn examples() -> Vec<Self> {
        let mut all = Vec::new();
        for by in Side::BOTH {
            all.push(Self::Closed { by });
            all.extend([Silence::NoClose, Silence::Silent, Silence::Lost].map(|how| Self::Unanswered { by, how }));
        }
        for side in Side::BOTH {
            all.extend([Loss::Fin, Loss::Reset, Loss::MidFrame, Loss::PingTimeout].map(|how| Self::Lost { side, how }));
        }
        for by in Side::BOTH {
            let wrong_mask = if by == Side::Client { Violation::Masked } else { Violation::Unmasked };
            let possible = Violation::EXAMPLES.into_iter().filter(|what| *what != wrong_mask);
            all.extend(possible.map(|what| Self::Violation { by, what }));
        }
        all.extend(Side::BOTH.map(|side| Self::Stalled { side }));
        all.extend([Self::Idle, Self::MaxAge, Self::Drain]);
        all.extend([Self::RouteRemoved, Self::EndpointRemoved, Self::EndpointDown]);
        all.push(Self::AuthExpired);
        all.extend(Refused::ALL.map(Self::Refused));
        all.extend([Self::ClientGone, Self::Internal]);
        all
    }

    /// What `side` is told. The one place where a reason becomes a code.
    ///
    /// Towards a client tidegate originates 1001, 1002, 1007, 1008, 1009, 1011, 1012, 1013 and 1014; towards an
    /// upstream never 1012 to 1014, which several server libraries refuse. Never 1000: that is the endpoints'.
    #[must_use]
    pub fn close_for(&self, side: Side, policy: &Policy) -> Told {
        use Side::{Client, Upstream};
        match (*self, side) {
            (Self::Closed { .. }, _) => Told::Relay,

            (Self::Unanswered { by, .. }, _) if by != side => Told::Relay,
            (Self::Unanswered { .. }, _) if policy.late_reply == LateReply::Echo => Told::Echo,
            (Self::Unanswered { .. }, Client) => Told::Close(Words::new(CloseCode::BAD_GATEWAY, self.cause())),
            (Self::Unanswered { .. }, Upstream) => Told::Close(Words::new(CloseCode::INTERNAL_ERROR, self.cause())),

            // An end that only fell silent may still hear why it is left.
            (Self::Lost { side: lost, how: Loss::PingTimeout }, _) if lost == side => {
                Told::Close(Words::new(CloseCode::INTERNAL_ERROR, "ping-timeout"))
            }
            (Self::Lost { side: lost, .. }, _) if lost == side => Told::Nothing,
            (Self::Lost { .. }, Client) => Told::Close(Words::new(policy.upstream_lost_code, self.cause()).hinted()),
            (Self::Lost { .. }, Upstream) => policy.client_lost.told("client-lost"),

            (Self::Violation { by, what }, _) if by == side => Told::Close(offence(what)),
            (Self::Violation { .. }, Client) => Told::Close(Words::new(CloseCode::BAD_GATEWAY, self.cause())),
            (Self::Violation { .. }, Upstream) => Told::Close(Words::new(CloseCode::GOING_AWAY, self.cause())),

            (Self::Stalled { .. }, Client) => {
                Told::Close(Words::new(CloseCode::TRY_AGAIN_LATER, self.cause()).hinted())
            }
            (Self::Stalled { side: Upstream }, Upstream) => {
                Told::Close(Words::new(CloseCode::INTERNAL_ERROR, "slow-consumer"))
            }

            (Self::Idle | Self::RouteRemoved, Client) => Told::Close(Words::new(CloseCode::GOING_AWAY, self.cause())),
            (Self::MaxAge | Self::Drain | Self::EndpointRemoved | Self::EndpointDown, Client) => {
                Told::Close(Words::new(CloseCode::SERVICE_RESTART, self.cause()).hinted())
            }
            (Self::AuthExpired, Client) => Told::Close(Words::new(CloseCode::POLICY_VIOLATION, self.cause())),
            (Self::AuthExpired, Upstream) => Told::Close(Words::new(CloseCode::GOING_AWAY, "client-evicted")),
            (Self::Refused(_), Client) => Told::Close(Words::new(CloseCode::TRY_AGAIN_LATER, self.cause()).hinted()),
            (Self::Internal, _) => Told::Close(Words::new(CloseCode::INTERNAL_ERROR, self.cause())),

            (Self::Refused(_), Upstream) | (Self::ClientGone, Client) => Told::Nothing,
            (Self::ClientGone, Upstream) => Told::Close(Words::new(CloseCode::GOING_AWAY, self.cause())),
            (
                Self::Stalled { .. }
                | Self::Idle
                | Self::MaxAge
                | Self::Drain
                | Self::RouteRemoved
                | Self::EndpointRemoved
                | Self::EndpointDown,
                Upstream,
            ) => policy.detach.told(self.cause()),
        }
    }

    /// The one word for it: in close reasons, in the log, and as the metric label `cause`.
    #[must_use]
    pub const fn cause(&self) -> &'static str {
        use Side::{Client, Upstream};
        match self {
            Self::Closed { by: Client } => "client-close",
            Self::Closed { by: Upstream } => "upstream-close",
            Self::Unanswered { by: Client, how: Silence::NoClose } => "upstream-no-close",
            Self::Unanswered { by: Client, how: Silence::Silent } => "upstream-silent",
            Self::Unanswered { by: Upstream, how: Silence::NoClose } => "client-no-close",
            Self::Unanswered { by: Upstream, how: Silence::Silent } => "client-silent",
            Self::Lost { side: Upstream, how: Loss::PingTimeout } => "upstream-timeout",
            Self::Lost { side: Client, how: Loss::PingTimeout } => "client-timeout",
            Self::Unanswered { by: Client, how: Silence::Lost } | Self::Lost { side: Upstream, .. } => "upstream-lost",
            Self::Unanswered { by: Upstream, how: Silence::Lost } | Self::Lost { side: Client, .. } => "client-lost",
            Self::Violation { by: Client, what } => match what {
                Violation::MessageTooBig { .. } => "client-message-too-big",
                Violation::TooManyFragments { .. } | Violation::ControlFlood | Violation::FrameFlood => {
                    "client-rate-limited"
                }
                _ => "client-protocol-error",
            },
            Self::Violation { by: Upstream, what } => match what {
                Violation::MessageTooBig { .. } => "upstream-message-too-big",
                Violation::TooManyFragments { .. } | Violation::ControlFlood | Violation::FrameFlood => {
                    "upstream-rate-limited"
                }
                _ => "upstream-protocol-error",
            },
            Self::Stalled { side: Client } => "slow-consumer",
            Self::Stalled { side: Upstream } => "upstream-slow",
            Self::Idle => "idle-timeout",
            Self::MaxAge => "max-age",
            Self::Drain => "restarting",
            Self::RouteRemoved => "route-removed",
            Self::EndpointRemoved => "rebalance",
            Self::EndpointDown => "upstream-unhealthy",
            Self::Refused(Refused::Overloaded) => "overloaded",
            Self::Refused(Refused::UpstreamFull) => "upstream-full",
            Self::Refused(Refused::NoUpstream) => "no-upstream",
            Self::Refused(Refused::UpstreamOverloaded) => "upstream-overloaded",
            Self::Refused(Refused::RateLimited) => "rate-limited",
            Self::Refused(Refused::TooManySessions) => "too-many-sessions",
            Self::AuthExpired => "auth-expired",
            Self::ClientGone => "client-gone",
            Self::Internal => "internal-error",
        }
    }

    /// The word for how it went, where every side that was there did its part.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::Closed { .. } => Verdict::Agreed,
            Self::Unanswered { .. } => Verdict::Relayed,
            Self::Lost { side: Side::Client, .. } | Self::ClientGone => Verdict::ClientLost,
            Self::Lost { side: Side::Upstream, .. } => Verdict::UpstreamLost,
            _ => Verdict::Enforced,
        }
    }

    /// Who ended it; `None`: tidegate.
    #[must_use]
    pub const fn initiator(&self) -> Option<Side> {
        match self {
            Self::Closed { by } | Self::Unanswered { by, .. } | Self::Violation { by, .. } => Some(*by),
            Self::Lost { side, .. } => Some(*side),
            Self::ClientGone => Some(Side::Client),
            _ => None,
        }
    }

    /// Whether the session was healthy and only tidegate wanted it over. Then the client hears first, and what it
    /// had sent by then is still delivered (close contract R10).
    pub(crate) const fn is_orderly(&self) -> bool {
        matches!(
            self,
            Self::Idle | Self::MaxAge | Self::Drain | Self::RouteRemoved | Self::EndpointRemoved | Self::EndpointDown
        )
    }
}

/// What the end that broke a rule is told.
const fn offence(what: Violation) -> Words {
    match what {
        Violation::MessageTooBig { limit } => Words::new(what.code(), "message-too-big").detailed(Detail::Limit(limit)),
        Violation::TooManyFragments { limit } => {
            Words::new(what.code(), "too-many-fragments").detailed(Detail::Limit(limit as u64))
        }
        Violation::ControlFlood => Words::new(what.code(), "control-flood"),
        Violation::FrameFlood => Words::new(what.code(), "rate-limited").hinted(),
        Violation::Utf8 => Words::new(what.code(), "invalid-utf8"),
        _ => Words::new(what.code(), "protocol-error").detailed(Detail::Word(what.word())),
    }
}

impl Farewell {
    fn told(self, cause: &'static str) -> Told {
        match self {
            Self::Close(code) => Told::Close(Words::new(code, cause)),
            Self::Abort => Told::Abort,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_a_side_can_take_are_said_to_it() {
        for end in End::examples() {
            for late_reply in [LateReply::Truthful, LateReply::Echo] {
                let policy = Policy { late_reply, ..Policy::default() };
                if let Told::Close(words) = end.close_for(Side::Client, &policy) {
                    let ours = [1001, 1002, 1007, 1008, 1009, 1011, 1012, 1013, 1014];
                    assert!(ours.contains(&words.code.0), "{end:?} {words:?}");
                }
                if let Told::Close(words) = end.close_for(Side::Upstream, &policy) {
                    assert!([1001, 1002, 1007, 1008, 1009, 1011].contains(&words.code.0), "{end:?} {words:?}");
                }
            }
        }
    }

    #[test]
    fn every_reason_fits_starts_with_a_letter_and_is_no_json() {
        let policy = Policy::default();
        for end in End::examples() {
            for side in Side::BOTH {
                let Told::Close(words) = end.close_for(side, &policy) else { continue };
                let frame = words.frame(Some(99_999), u32::MAX);
                assert!(frame.reason().starts_with(|c: char| c.is_ascii_lowercase()), "{frame:?}");
                assert!(!["true", "false", "null"].contains(&words.cause));
                assert!(frame.reason().ends_with("; id=ffffffff"));
                assert_eq!(frame.reason().contains("retry-after="), words.hint);
            }
        }
    }

    #[test]
    fn a_client_is_told_1000_only_by_its_upstream() {
        for end in End::examples() {
            let told = end.close_for(Side::Client, &Policy::default());
            assert_eq!(
                told == Told::Relay,
                end.initiator().is_some_and(|side| matches!(
                    (end, side),
                    (End::Closed { .. }, _) | (End::Unanswered { .. }, Side::Upstream)
                ))
            );
        }
    }
}
