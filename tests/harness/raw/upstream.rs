//! A backend whose every byte the test decides.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::frame::{Frame, opcode};
use super::handshake::Handshake;
use super::inbound::Event;
use super::judge::Sender;
use super::peer::Peer;
use crate::clock::within;
use crate::http::{only, read_head};

/// A listening backend. Connections are taken one by one, in the order in which they came.
#[derive(Debug)]
pub struct Upstream {
    listener: TcpListener,
    address: SocketAddr,
}

impl Upstream {
    /// Listens on a free port of loopback.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn bind() -> Self {
        Self::bind_to(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Listens where an upstream listened before.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn bind_to(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        Self { listener, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection, its request read and not yet answered.
    ///
    /// # Panics
    /// When none comes, or what it sends is no request.
    pub async fn arrival(&self) -> Arrival {
        let (stream, _) = within("a connection to the upstream", self.listener.accept()).await.expect("a connection");
        within("a request at the upstream", Arrival::read(stream)).await.expect("a request at the upstream")
    }

    /// The next connection, made a WebSocket.
    ///
    /// # Panics
    /// As [`Self::arrival`].
    pub async fn accept(&self) -> Peer {
        self.arrival().await.upgrade(&[]).await
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Arrival {
    stream: TcpStream,
    /// Method, target, version.
    pub start_line: String,
    /// Header fields, in order, with their spelling.
    pub headers: Vec<(String, String)>,
    rest: Vec<u8>,
}

impl Arrival {
    async fn read(mut stream: TcpStream) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        let mut rest = Vec::new();
        let (start_line, headers) = read_head(&mut stream, &mut rest).await?;
        Ok(Self { stream, start_line, headers, rest })
    }

    /// The request's target.
    pub fn path(&self) -> &str {
        self.start_line.split(' ').nth(1).unwrap_or_default()
    }

    /// The only value of a header field.
    ///
    /// # Panics
    /// When it stands twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        only(&self.headers, name)
    }

    /// Answers 101 with these header fields more.
    ///
    /// # Panics
    /// When the request has no key, or the connection is gone.
    pub async fn upgrade(mut self, extra: &[(&str, &str)]) -> Peer {
        let accept = derive_accept_key(self.header("Sec-WebSocket-Key").expect("a key").as_bytes());
        let fields: String = extra.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.answer(&format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{fields}\r\n"
        ))
        .await;
        let deflate = extra.iter().any(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Extensions"));
        Peer::new(self.stream, Sender::Client, deflate, self.rest)
    }

    /// Answers with these bytes.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn answer(&mut self, answer: &str) {
        self.try_answer(answer).await.expect("the proxy takes the answer");
    }

    /// As [`Self::answer`] to a proxy that may not take it all.
    ///
    /// # Errors
    /// When it does not.
    pub async fn try_answer(&mut self, answer: &str) -> std::io::Result<()> {
        self.stream.write_all(answer.as_bytes()).await
    }

    /// All that the proxy sends behind the request's head, to the end of its connection.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn rest_to_end(mut self) -> Vec<u8> {
        // A reset is an end, too.
        let _ = within("the end of a connection to the upstream", self.stream.read_to_end(&mut self.rest)).await;
        self.rest
    }
}

/// Opens one session and gives both ends of it: the client's and the upstream's.
///
/// # Panics
/// When the session cannot be opened.
pub async fn pair(proxy: SocketAddr, upstream: &Upstream) -> (Peer, Peer) {
    let handshake = Handshake::to(proxy);
    tokio::join!(handshake.open(), upstream.accept())
}

/// A backend that sends back what it gets, for tests that need many sessions.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    accepting: tokio::task::JoinHandle<()>,
}

impl Echo {
    /// Starts echoing on a free port of loopback.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// As [`Self::start`], there.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub async fn start_at(address: SocketAddr) -> Self {
        let Upstream { listener, address } = Upstream::bind_to(address).await;
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(echo(stream));
            }
        });
        Self { address, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn echo(stream: TcpStream) {
    // An error is a client that went away before its request was complete, or, below, before our answer.
    let Ok(arrival) = Arrival::read(stream).await else { return };
    let mut peer = arrival.upgrade(&[]).await;
    while let Event::Frame(frame) = peer.next_event().await {
        let answer = match frame.opcode {
            opcode::PING => Frame::new(opcode::PONG, frame.payload),
            opcode::PONG => continue,
            _ => frame,
        };
        if peer.try_send(&answer).await.is_err() {
            return;
        }
        if answer.opcode == opcode::CLOSE {
            // A server ends TCP first (RFC 6455 section 7.1.1), and reads on to the client's end.
            peer.shut_down().await;
        }
    }
}
