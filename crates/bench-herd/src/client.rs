//! One client: when it comes back, how long it waits for an answer, and what it takes for an answer.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error, Message, protocol::WebSocketConfig},
};

use crate::server::GREETING;

/// How a library comes back, as such libraries were measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// phoenix.js: 10 ms to 5 s in steps without jitter, begun anew whenever a socket opens, also one that is closed at
    /// once.
    Immediate,
    /// socket.io: 1 s doubled to 5 s, give or take half; begun anew after a session.
    Exponential,
    /// Every 3 s, without jitter.
    Fixed,
    /// graphql-ws: 1 s doubled and up to 3 s more, five times, then it stops for ever, as it does at an HTTP status.
    GivesUp,
    /// Comes back when it was told to; where nothing was said, after full jitter over 1 s doubled to 30 s.
    Hinted,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    /// A session of so many seconds, lost or closed by the other side.
    Lost { lasted: f64, hint: Option<u32> },
    /// The client had what it wanted.
    Left,
    /// Opened, and closed before the greeting.
    Closed { hint: Option<u32> },
    /// An HTTP status.
    Status,
    /// No connection, or no answer in the client's time.
    Nothing,
}

/// What a client remembers from one attempt to the next.
#[derive(Debug)]
pub(crate) struct Manner {
    pub(crate) kind: Kind,
    step: u8,
    seed: u64,
}

impl Manner {
    pub(crate) fn new(kind: Kind, seed: u64) -> Self {
        Self { kind, step: 0, seed }
    }

    /// How long it waits for the greeting.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(match self.kind {
            Kind::Immediate | Kind::Hinted => 10,
            Kind::Exponential => 20,
            Kind::Fixed => 4,
            Kind::GivesUp => 5,
        })
    }

    /// How long until it tries again; `None`: never.
    pub(crate) fn delay(&mut self, end: End) -> Option<Duration> {
        let anew = match (self.kind, end) {
            (_, End::Left) => true,
            (Kind::Immediate, End::Closed { .. }) => true,
            (Kind::Hinted, End::Lost { lasted, .. }) => lasted > 5.0,
            (_, End::Lost { .. }) => true,
            _ => false,
        };
        if anew {
            self.step = 0;
        }
        let step = usize::from(self.step);
        self.step = self.step.saturating_add(1);
        let steps: &[f64] = match self.kind {
            Kind::Immediate => &[0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0],
            Kind::Fixed => &[3.0],
            Kind::Exponential => &[1.0, 2.0, 4.0, 5.0],
            Kind::GivesUp => &[1.0, 2.0, 4.0, 8.0, 16.0],
            Kind::Hinted => &[1.0, 2.0, 4.0, 8.0, 16.0, 30.0],
        };
        let wait = steps[step.min(steps.len() - 1)];
        let seconds = match (self.kind, end) {
            (Kind::GivesUp, End::Status) => return None,
            (Kind::GivesUp, _) if step >= steps.len() => return None,
            (Kind::GivesUp, _) => wait + 0.3 + 2.7 * self.unit(),
            (Kind::Hinted, End::Lost { hint: Some(hint), .. } | End::Closed { hint: Some(hint) }) => {
                f64::from(hint) + self.unit()
            }
            (Kind::Hinted, _) => wait * self.unit(),
            (Kind::Exponential, _) => (wait * (0.5 + self.unit())).min(5.0),
            (Kind::Immediate | Kind::Fixed, _) => wait,
        };
        Some(Duration::from_secs_f64(seconds))
    }

    /// Uniform from 0 to 1 (splitmix64).
    pub(crate) fn unit(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Small buffers: there are thousands.
pub(crate) fn small() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(0)
}

/// A session that was greeted.
pub(crate) struct Session {
    socket: WebSocketStream<TcpStream>,
    /// Who greeted.
    pub(crate) server: u64,
}

impl Session {
    /// From an address of loopback's own for every so many clients, since ports are few.
    pub(crate) async fn open(to: SocketAddr, path: &str, client: usize) -> Result<Self, End> {
        let stream = connect(to, client).await.map_err(|_| End::Nothing)?;
        let request = format!("ws://{to}{path}");
        let socket = match client_async_with_config(request, stream, Some(small())).await {
            Ok((socket, _)) => socket,
            Err(Error::Http(_)) => return Err(End::Status),
            Err(_) => return Err(End::Nothing),
        };
        let mut session = Self { socket, server: 0 };
        loop {
            match session.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let number = text.strip_prefix(GREETING).and_then(|number| number.parse().ok());
                    session.server = number.ok_or(End::Nothing)?;
                    return Ok(session);
                }
                Some(Ok(Message::Close(close))) => {
                    let hint = close.and_then(|close| hint(&close.reason));
                    session.leave().await;
                    return Err(End::Closed { hint });
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(End::Closed { hint: None }),
            }
        }
    }

    /// Until the other side ends it; the hint it gave.
    pub(crate) async fn ended(&mut self) -> Option<u32> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Close(close))) => {
                    let hint = close.and_then(|close| hint(&close.reason));
                    self.leave().await;
                    return hint;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// A text there and back. Whether it came.
    pub(crate) async fn echo(&mut self, text: &str) -> bool {
        self.socket.send(Message::text(text)).await.is_ok() && matches!(self.socket.next().await, Some(Ok(_)))
    }

    /// Says goodbye, or answers it, and waits for the other side, but not long.
    pub(crate) async fn leave(&mut self) {
        let goodbye = async {
            // It may be answered already.
            let _ = self.socket.close(None).await;
            while let Some(Ok(_)) = self.socket.next().await {}
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
    }
}

async fn connect(to: SocketAddr, client: usize) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if to.ip().is_loopback() {
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from(([127, 0, 1, 1 + (client % 32) as u8], 0)))?;
    }
    socket.connect(to).await
}

/// Whole seconds of `retry-after` in a reason.
fn hint(reason: &str) -> Option<u32> {
    reason.split(';').find_map(|part| part.trim().strip_prefix("retry-after=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_comes_back_in_its_way() {
        let delays = |kind, end, times: usize| {
            let mut manner = Manner::new(kind, 1);
            (0..times).map(|_| manner.delay(end).map(|delay| delay.as_millis())).collect::<Vec<_>>()
        };
        let closed = End::Closed { hint: Some(7) };
        assert_eq!(delays(Kind::Immediate, closed, 3), [Some(10); 3]);
        assert_eq!(delays(Kind::Immediate, End::Nothing, 11)[8..], [Some(2000), Some(5000), Some(5000)]);
        assert_eq!(delays(Kind::GivesUp, End::Status, 1), [None]);
        assert_eq!(delays(Kind::GivesUp, closed, 7).iter().flatten().count(), 5);
        assert_eq!(delays(Kind::Fixed, End::Status, 2), [Some(3000); 2]);
        assert!(delays(Kind::Hinted, closed, 9).iter().all(|ms| (7000..8000).contains(&ms.unwrap())));
        assert!(delays(Kind::Exponential, closed, 9).iter().all(|ms| (500..=5000).contains(&ms.unwrap())));
    }

    #[test]
    fn a_hint_is_found_among_other_parameters() {
        assert_eq!(hint("overloaded; retry-after=17; id=x"), Some(17));
        assert_eq!(hint("overloaded"), None);
    }
}
