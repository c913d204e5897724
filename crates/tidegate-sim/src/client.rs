//! The clients, as their libraries were measured: when each comes back, and how long it waits for an answer.

use crate::draw::Draw;

/// A client library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// phoenix.js: steps without jitter, begun anew whenever a socket opens, also one that is closed at once.
    Phoenix,
    /// socket.io: a socket closed before its first packet is noticed only at the connect timeout.
    SocketIo,
    /// reconnecting-websocket, partysocket: the jitter is drawn once for each page.
    Reconnecting,
    /// SignalR with automatic reconnect: 0, 2, 10, 30 s, then it gives up.
    SignalR,
    /// graphql-ws: five retries; an HTTP refusal is fatal at once.
    GraphQl,
    /// Python websockets: `async for`, no delay after a socket that opened.
    Python,
    /// mqtt.js, sockette: every second.
    Fixed,
    /// y-websocket: 100 ms doubled to 2.5 s, begun anew on the first message.
    Yjs,
    /// centrifuge-js: full jitter between 0.5 and 20 s.
    Centrifuge,
    /// Written after RFC 6455 section 7.2.3: 0 to 5 s, then doubled to 60 s, full jitter.
    Rfc,
    /// Asks again every 100 ms whatever it is told.
    Hammer,
    /// 1 s doubled to 5 s, give or take half: socket.io as the herd on real sockets has it, which notices a Close.
    Exponential,
    /// Every 3 s.
    Steady,
    /// Waits as long as a Close says; else full jitter over 1 s doubled to 30 s.
    Hinted,
    /// 1 s doubled, five times, and then never again; nor after a status.
    Quitter,
}

/// How an attempt ended without a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// An established session was lost.
    Lost,
    /// Opened and closed at once with 1013 and this hint, in seconds.
    Closed(u32),
    /// An HTTP status, with this hint.
    Http(u32),
    /// The client's own patience ended, or the connection broke.
    Timeout,
}

/// Kinds and how many of a hundred clients they are.
pub(crate) const MIX: [(Kind, u64); 10] = [
    (Kind::Phoenix, 20),
    (Kind::SocketIo, 25),
    (Kind::Reconnecting, 15),
    (Kind::SignalR, 10),
    (Kind::GraphQl, 5),
    (Kind::Python, 5),
    (Kind::Fixed, 5),
    (Kind::Yjs, 5),
    (Kind::Centrifuge, 5),
    (Kind::Rfc, 5),
];

impl Kind {
    /// The kind of this client.
    pub(crate) fn of(draw: Draw) -> Self {
        let mut at = draw.below(MIX.iter().map(|&(_, share)| share).sum());
        for (kind, share) in MIX {
            if at < share {
                return kind;
            }
            at -= share;
        }
        MIX[0].0
    }

    /// Whether what it does when its session is closed depends on the hint.
    pub(crate) fn heeds_a_close(self) -> bool {
        self == Self::Hinted
    }

    /// How long it waits for an answer to its handshake, in seconds.
    pub(crate) fn patience(self) -> f64 {
        match self {
            Self::Reconnecting | Self::Steady => 4.0,
            Self::Hinted | Self::Phoenix | Self::Rfc | Self::Fixed | Self::Yjs | Self::Hammer => 10.0,
            Self::GraphQl | Self::Quitter => 5.0,
            Self::Python => 10.0,
            Self::SignalR => 15.0,
            Self::SocketIo | Self::Centrifuge | Self::Exponential => 20.0,
        }
    }

    /// How long until it tries again, in seconds; `step` counts its attempts since it last began anew and is moved on.
    /// `page` is drawn once for each client. Who gives up for good is reloaded by its user, but for [`Kind::Quitter`]:
    /// infinite.
    pub(crate) fn delay(self, end: End, step: &mut u8, page: f64, draw: Draw) -> f64 {
        let opened = matches!(end, End::Lost | End::Closed(_));
        let anew = match self {
            Self::Phoenix | Self::Python => opened,
            Self::Fixed | Self::Hammer => true,
            _ => end == End::Lost,
        };
        if anew {
            *step = 0;
        }
        let n = *step;
        *step = n.saturating_add(1);
        let doubled = |first: f64, most: f64| (first * f64::from(1_u32 << n.min(20))).min(most);
        match self {
            Self::Phoenix => {
                let steps = [10, 50, 100, 150, 200, 250, 500, 1000, 2000, 5000];
                f64::from(steps[usize::from(n).min(steps.len() - 1)]) / 1000.0
            }
            Self::SocketIo => {
                let unnoticed = if matches!(end, End::Closed(_)) { 17.5 } else { 0.0 };
                unnoticed + (doubled(1.0, 5.0) * draw.between(0.5, 1.5)).min(5.0)
            }
            Self::Reconnecting => ((1.0 + 4.0 * page) * 1.3_f64.powi(i32::from(n))).min(10.0),
            Self::SignalR => match [0.0, 2.0, 10.0, 30.0].get(usize::from(n)) {
                Some(&delay) => delay + 0.03 * draw.unit(),
                None => reload(step, draw),
            },
            Self::GraphQl if n >= 5 || matches!(end, End::Http(_)) => reload(step, draw),
            Self::GraphQl => doubled(1.0, 32.0) + draw.between(0.3, 3.0),
            Self::Python if opened => 0.02 * draw.unit(),
            Self::Python if n == 0 => 5.0 * draw.unit(),
            Self::Python => (5.0 * 1.618_f64.powi(i32::from(n) - 1)).min(90.0),
            Self::Fixed => 1.0,
            Self::Hammer => 0.1,
            Self::Yjs => doubled(0.1, 2.5),
            Self::Centrifuge => draw.between(0.5, doubled(1.0, 20.0)),
            Self::Rfc => doubled(5.0, 60.0) * draw.unit(),
            Self::Exponential => (doubled(1.0, 5.0) * draw.between(0.5, 1.5)).min(5.0),
            Self::Steady => 3.0,
            Self::Hinted => match end {
                End::Closed(hint) => f64::from(hint) + draw.unit(),
                _ => doubled(1.0, 30.0) * draw.unit(),
            },
            Self::Quitter if n >= 5 || matches!(end, End::Http(_)) => f64::INFINITY,
            Self::Quitter => doubled(1.0, 16.0) + draw.between(0.3, 3.0),
        }
    }
}

/// It stopped for ever: its user notices and loads the page again.
fn reload(step: &mut u8, draw: Draw) -> f64 {
    *step = 0;
    draw.between(5.0, 20.0)
}
