//! What an operator may choose about a session's life and its endings.

use std::time::Duration;

use tidegate_wire::CloseCode;

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
