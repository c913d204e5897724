//! A small WebSocket server that misbehaves on request: it ticks, echoes, closes as it is told, crashes, freezes, and
//! refuses.

use std::{io, net::SocketAddr, ops::ControlFlow, sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use http::{StatusCode, header};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        self, Message,
        handshake::server::{ErrorResponse, Request, Response},
        protocol::CloseFrame,
    },
};

/// Most sessions it takes: as many as tidegate lets through, and the same again by the tunnel.
const SEATS: usize = 2 * super::MAX_SESSIONS;
/// Between two ticks of its clock.
const TICK: Duration = Duration::from_secs(1);
/// For a client's request head.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two attempts to have its port back.
const REBIND: Duration = Duration::from_millis(100);
/// What a refusal asks for, in seconds.
const RETRY_AFTER: &str = "5";

/// A running backend. Dropped, it is gone as a killed process is: its sockets end without a Close.
pub(crate) struct Backend {
    address: SocketAddr,
    mood: watch::Sender<Mood>,
    serving: JoinHandle<()>,
}

/// How it treats its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// As it should.
    Well,
    /// New handshakes get 503; sessions go on.
    Overloaded,
    /// Sessions neither read nor write; their connections stay.
    Frozen,
}

impl Backend {
    /// Starts one, on a port that the kernel chooses.
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, mood) = (listener.local_addr()?, watch::Sender::new(Mood::Well));
        let serving = tokio::spawn(serve(listener, mood.clone()));
        Ok(Self { address, mood, serving })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Dies: every session is cut, and nobody listens any more.
    pub(crate) async fn crash(&mut self) {
        self.serving.abort();
        // It is a cancelled task, as it should be.
        let _ = (&mut self.serving).await;
    }

    /// Comes back where it was.
    pub(crate) async fn recover(&mut self) {
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => sleep(REBIND).await,
            }
        };
        self.serving = tokio::spawn(serve(listener, self.mood.clone()));
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Its sessions belong to this task, and die with it.
async fn serve(listener: TcpListener, mood: watch::Sender<Mood>) {
    let seats = Arc::new(Semaphore::new(SEATS));
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => drop(sessions.spawn(session(socket, mood.subscribe(), seats.clone()))),
                Err(_) => sleep(REBIND).await,
            },
            Some(_) = sessions.join_next() => {}
        }
    }
}

async fn session(socket: TcpStream, mood: watch::Receiver<Mood>, seats: Arc<Semaphore>) {
    let seat = seats.try_acquire().ok();
    let admitted = seat.is_some() && *mood.borrow() != Mood::Overloaded;
    #[allow(clippy::result_large_err, reason = "tungstenite's callback is made so")]
    let answer = |_: &Request, response: Response| if admitted { Ok(response) } else { Err(busy()) };
    // Should it fail, an echo waits for the acknowledgement of a tick.
    let _ = socket.set_nodelay(true);
    let Ok(Ok(socket)) = timeout(HANDSHAKE_TIMEOUT, accept_hdr_async(socket, answer)).await else { return };
    // Whatever ends a session, it is over.
    let _ = converse(socket, mood).await;
}

/// 503: the only way to say it before a session begins, and one that no script in a browser can read.
fn busy() -> ErrorResponse {
    let mut response = ErrorResponse::new(Some("too busy\n".to_owned()));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(RETRY_AFTER));
    response
}

async fn converse(
    mut socket: WebSocketStream<TcpStream>,
    mut mood: watch::Receiver<Mood>,
) -> Result<(), tungstenite::Error> {
    let mut clock = interval(TICK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for tick in 0_u64.. {
        // Nobody but the demo's end takes the sender away.
        let _ = mood.wait_for(|mood| *mood != Mood::Frozen).await;
        tokio::select! {
            _ = clock.tick() => socket.send(Message::text(format!("tick {tick}"))).await?,
            _ = mood.changed() => {}
            message = socket.next() => match message {
                Some(message) => if answer(&mut socket, message?).await?.is_break() { break },
                None => return Ok(()),
            },
        }
    }
    // Nothing may be sent behind a Close, and reading is what sends the answer to one.
    while socket.next().await.transpose()?.is_some() {}
    Ok(())
}

/// Echoes, but for `close CODE REASON`, which it obeys. Breaks off once either side has said Close.
async fn answer(
    socket: &mut WebSocketStream<TcpStream>,
    message: Message,
) -> Result<ControlFlow<()>, tungstenite::Error> {
    match &message {
        Message::Text(text) => {
            if let Some((code, reason)) = close_command(text) {
                socket.close(Some(CloseFrame { code: code.into(), reason: reason.into() })).await?;
                return Ok(ControlFlow::Break(()));
            }
            socket.send(message).await?;
        }
        Message::Binary(_) => socket.send(message).await?,
        Message::Close(_) => return Ok(ControlFlow::Break(())),
        // Pings are answered below us.
        _ => {}
    }
    Ok(ControlFlow::Continue(()))
}

fn close_command(text: &str) -> Option<(u16, &str)> {
    let (code, reason) = text.strip_prefix("close ")?.split_once(' ')?;
    Some((code.parse().ok()?, reason))
}

#[cfg(test)]
mod tests {
    use super::close_command;

    #[test]
    fn only_a_whole_close_command_is_one() {
        assert_eq!(close_command("close 4001 signed out"), Some((4001, "signed out")));
        for echoed in ["hello", "close", "close 4001", "close x y", "close 99999 y"] {
            assert_eq!(close_command(echoed), None, "{echoed}");
        }
    }
}
