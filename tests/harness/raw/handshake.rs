//! A client's opening handshake.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::judge::Sender;
use super::peer::Peer;
use crate::certificate::Certificate;
use crate::clock::within;
use crate::http::{Response, read_response};

/// The key of RFC 6455 section 1.3 and what it must be answered with.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request for a WebSocket.
#[derive(Clone, Debug)]
pub struct Handshake {
    address: SocketAddr,
    method: String,
    path: String,
    version: String,
    headers: Vec<(String, String)>,
    after: Vec<u8>,
}

impl Handshake {
    /// A lawful request for `/`.
    pub fn to(address: SocketAddr) -> Self {
        let headers = [
            ("Host", address.to_string().as_str()),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            address,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers: headers.into(),
            after: Vec::new(),
        }
    }

    /// Another request target.
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Another method.
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// Another version of HTTP.
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// One field more, even when it stands already.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a field.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(key, _)| key != name);
        self
    }

    /// A field with another value.
    pub fn replace(self, name: &str, value: &str) -> Self {
        self.without(name).header(name, value)
    }

    /// Bytes right behind the head.
    pub fn followed_by(mut self, bytes: &[u8]) -> Self {
        self.after.extend_from_slice(bytes);
        self
    }

    /// The request's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let fields: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("{} {} {}\r\n{fields}\r\n", self.method, self.path, self.version);
        [head.as_bytes(), &self.after].concat()
    }

    /// Opens a connection and the WebSocket on it.
    ///
    /// # Panics
    /// When it is refused, or the 101 is not RFC 6455.
    pub async fn open(&self) -> Peer {
        self.open_with_response().await.0
    }

    /// As [`Self::open`], with the 101.
    ///
    /// # Panics
    /// As [`Self::open`].
    pub async fn open_with_response(&self) -> (Peer, Response) {
        match self.attempt().await {
            Ok(opened) => opened,
            Err(response) => panic!("wanted a 101, got {} {:?}", response.status, response.text()),
        }
    }

    /// The answer of a server that refuses.
    ///
    /// # Panics
    /// When it does not refuse.
    pub async fn refusal(&self) -> Response {
        match self.attempt().await {
            Ok((_, response)) => panic!("wanted a refusal, got {response:?}"),
            Err(response) => response,
        }
    }

    /// Opens, or is refused.
    ///
    /// # Errors
    /// The answer, when it is not a 101.
    ///
    /// # Panics
    /// When there is no answer, or the 101 is not RFC 6455.
    pub async fn attempt(&self) -> Result<(Peer, Response), Response> {
        self.upgrade(self.connect().await).await
    }

    /// As [`Self::open`] over a connection that is there.
    ///
    /// # Panics
    /// As [`Self::open`].
    pub async fn open_over<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Peer<S> {
        self.upgrade(stream).await.expect("a 101").0
    }

    /// As [`Self::open`], from one of the addresses that loopback has.
    ///
    /// # Panics
    /// As [`Self::open`], and when there is no such address.
    pub async fn open_from(&self, address: impl Into<IpAddr>) -> Peer {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(address.into(), 0)).expect("an address of loopback");
        let connected = within("a connection", socket.connect(self.address)).await.expect("a connection");
        self.open_over(connected).await
    }

    /// As [`Self::open`] over TLS.
    ///
    /// # Panics
    /// As [`Self::open`], and when the TLS handshake fails.
    pub async fn open_tls(&self, trusted: &Certificate) -> Peer<impl AsyncRead + AsyncWrite + Unpin + use<>> {
        let stream = trusted.connect(self.connect().await).await;
        self.upgrade(stream).await.expect("a 101").0
    }

    async fn connect(&self) -> TcpStream {
        let stream = within("a connection", TcpStream::connect(self.address)).await.expect("a connection");
        stream.set_nodelay(true).expect("an open socket");
        stream
    }

    async fn upgrade<S>(&self, mut stream: S) -> Result<(Peer<S>, Response), Response>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        stream.write_all(&self.encode()).await.expect("the server takes the request");
        let answer = within("the answer to a handshake", read_response(&mut stream)).await;
        let (response, rest) = answer.expect("an answer to the handshake");
        if response.status != 101 {
            return Err(response);
        }
        self.check(&response);
        let deflate = response.header("Sec-WebSocket-Extensions").is_some();
        Ok((Peer::new(stream, Sender::Server, deflate, rest), response))
    }

    /// RFC 6455 section 4.1, what a client must check.
    fn check(&self, response: &Response) {
        let is = |name, value: &str| response.header(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
        assert!(is("Upgrade", "websocket"), "{response:?}");
        assert!(is("Connection", "upgrade"), "{response:?}");
        assert_eq!(response.header("Sec-WebSocket-Accept"), Some(ACCEPT));
        let offers = |name: &str| {
            let fields = self.headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name));
            fields.flat_map(|(_, value)| value.split(',')).map(str::trim).collect::<Vec<_>>()
        };
        if let Some(chosen) = response.header("Sec-WebSocket-Protocol") {
            assert!(offers("Sec-WebSocket-Protocol").contains(&chosen), "{chosen} was not offered");
        }
        if let Some(chosen) = response.header("Sec-WebSocket-Extensions") {
            let name = chosen.split(';').next();
            let offered = offers("Sec-WebSocket-Extensions").iter().any(|offer| offer.split(';').next() == name);
            assert!(offered, "{chosen} was not offered");
        }
    }
}
