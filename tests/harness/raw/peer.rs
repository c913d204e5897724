//! One end of an open WebSocket connection.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::frame::{Frame, MASK, RSV1, opcode};
use super::inbound::{Ending, Event, Inbound};
use super::judge::Sender;
use super::pattern;
use crate::clock::within;

/// A peer that judges what it receives and sends what it is told to.
///
/// Every receiving method panics when the other side breaks RFC 6455 and when nothing comes in time.
#[derive(Debug)]
pub struct Peer<S = TcpStream> {
    io: S,
    inbound: Inbound,
    mask: Option<[u8; 4]>,
}

/// A message put together from its fragments.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// [`opcode::TEXT`] or [`opcode::BINARY`].
    pub opcode: u8,
    /// RSV1 stood on its first frame.
    pub compressed: bool,
    /// What it says.
    pub payload: Vec<u8>,
}

/// What a Close said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// `None`: an empty Close.
    pub code: Option<u16>,
    /// The reason.
    pub reason: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// A peer on a stream whose handshake is done. `received` came after the handshake already.
    pub fn new(io: S, other_side: Sender, deflate: bool, received: Vec<u8>) -> Self {
        let mask = (other_side == Sender::Server).then_some(MASK);
        Self { io, inbound: Inbound::new(other_side, deflate, received), mask }
    }

    /// Writes bytes as they are.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        within("room to send", self.io.write_all(bytes)).await.expect("the other side takes our bytes");
        self.io.flush().await.expect("the other side takes our bytes");
    }

    /// Sends one frame, masked if this side is a client.
    pub async fn send(&mut self, frame: Frame) {
        self.send_bytes(&frame.encode(self.mask)).await;
    }

    /// Sends only the first `length` bytes of a frame.
    pub async fn send_unfinished(&mut self, frame: Frame, length: usize) {
        self.send_bytes(&frame.encode(self.mask)[..length]).await;
    }

    /// Sends what [`Self::send_unfinished`] left of a frame.
    pub async fn send_rest(&mut self, frame: Frame, from: usize) {
        self.send_bytes(&frame.encode(self.mask)[from..]).await;
    }

    /// Sends a binary message as one frame of `length` bytes without ever holding it; see [`Self::expect_pattern`].
    pub async fn send_pattern(&mut self, length: u64) {
        pattern::send(&mut self.io, self.mask, length).await;
    }

    /// Receives what [`Self::send_pattern`] sent, however fragmented, without ever holding it.
    pub async fn expect_pattern(&mut self, length: u64) {
        pattern::expect(&mut self.io, &mut self.inbound, length).await;
    }

    /// Sends and receives such a message at once.
    pub async fn exchange_pattern(&mut self, length: u64) {
        let (mut reader, mut writer) = tokio::io::split(&mut self.io);
        let sending = pattern::send(&mut writer, self.mask, length);
        tokio::join!(sending, pattern::expect(&mut reader, &mut self.inbound, length));
    }

    /// The next frame or the end of the transport.
    pub async fn event(&mut self) -> Event {
        within("a frame or the end of the transport", self.next_event()).await
    }

    /// The next frame.
    pub async fn frame(&mut self) -> Frame {
        match self.event().await {
            Event::Frame(frame) => frame,
            Event::End(ending) => panic!("wanted a frame, the transport ended: {ending:?}"),
        }
    }

    /// The next message, pings and pongs between its fragments passed over.
    pub async fn message(&mut self) -> Message {
        let mut message = Message { opcode: 0, compressed: false, payload: Vec::new() };
        loop {
            let frame = self.frame().await;
            match frame.opcode {
                opcode::PING | opcode::PONG => continue,
                opcode::CLOSE => panic!("wanted a message, got {:?}", Close::from(&frame)),
                opcode::CONTINUATION => {}
                first => {
                    message.opcode = first;
                    message.compressed = frame.rsv == RSV1;
                }
            }
            message.payload.extend(&frame.payload);
            if frame.fin {
                let must_be_text = message.opcode == opcode::TEXT && !message.compressed;
                assert!(!must_be_text || std::str::from_utf8(&message.payload).is_ok(), "a text that is not UTF-8");
                return message;
            }
        }
    }

    /// The next message, which must be an uncompressed text.
    pub async fn text(&mut self) -> String {
        let message = self.message().await;
        assert_eq!((message.opcode, message.compressed), (opcode::TEXT, false), "{message:?}");
        String::from_utf8(message.payload).expect("checked in message()")
    }

    /// The Close, which must be next but for pings and pongs.
    pub async fn close(&mut self) -> Close {
        loop {
            let frame = self.frame().await;
            match frame.opcode {
                opcode::CLOSE => return Close::from(&frame),
                opcode::PING | opcode::PONG => {}
                _ => panic!("wanted a Close, got data: {frame:?}"),
            }
        }
    }

    /// The Close, whatever came before it.
    pub async fn close_after_data(&mut self) -> Close {
        loop {
            let frame = self.frame().await;
            if frame.opcode == opcode::CLOSE {
                return Close::from(&frame);
            }
        }
    }

    /// The end of the transport, which must be next.
    pub async fn end(&mut self) -> Ending {
        match self.event().await {
            Event::End(ending) => ending,
            Event::Frame(frame) => panic!("wanted the end of the transport, got {frame:?}"),
        }
    }

    /// Answers a Close with this one and sees the transport to its end.
    pub async fn answer_close(&mut self, answer: &Close) {
        self.send(answer.to_frame()).await;
        self.finish().await;
    }

    /// Sees the transport to its orderly end after a closing handshake: a server ends it first (RFC 6455 section 7.1.1).
    pub async fn finish(&mut self) {
        let client = self.mask.is_some();
        if !client {
            self.shut_down().await;
        }
        assert_eq!(self.end().await, Ending::Fin);
        if client {
            self.shut_down().await;
        }
    }

    /// Sends data until the other side takes no more.
    pub async fn flood(&mut self) {
        let frame = Frame::binary(vec![0; 64 * 1024]);
        while self.try_send(&frame).await.is_ok() {}
    }

    /// Whether nothing comes for `silence`.
    pub async fn is_silent_for(&mut self, silence: Duration) -> bool {
        tokio::time::timeout(silence, self.next_event()).await.is_err()
    }

    /// Ends the transport in order, without a Close.
    pub async fn hang_up(mut self) {
        self.shut_down().await;
    }

    /// Sends no more.
    pub async fn shut_down(&mut self) {
        // The other side may have gone first.
        let _ = self.io.shutdown().await;
    }

    /// As [`Self::send`] to a side that may be gone.
    pub(super) async fn try_send(&mut self, frame: &Frame) -> std::io::Result<()> {
        self.io.write_all(&frame.encode(self.mask)).await
    }

    /// As [`Self::event`], however long it takes.
    pub(super) async fn next_event(&mut self) -> Event {
        self.inbound.event(&mut self.io).await
    }
}

impl Peer<TcpStream> {
    /// Whether the other side has torn the connection down, also where it had ended its half in order before. Asked once.
    pub fn is_torn_down(&self) -> bool {
        self.io.take_error().expect("an open socket").is_some()
    }

    /// Tears the connection down.
    pub fn reset(self) {
        socket2::SockRef::from(&self.io).set_linger(Some(Duration::ZERO)).expect("an open socket");
    }
}

impl Close {
    /// A Close with a code and a reason.
    pub fn new(code: u16, reason: &str) -> Self {
        Self { code: Some(code), reason: reason.to_owned() }
    }

    /// A Close that says nothing.
    pub fn empty() -> Self {
        Self { code: None, reason: String::new() }
    }

    /// The frame that says it.
    pub fn to_frame(&self) -> Frame {
        self.code.map_or_else(Frame::empty_close, |code| Frame::close(code, &self.reason))
    }

    /// The word that starts a reason of tidegate's own.
    pub fn cause(&self) -> &str {
        self.reason.split(';').next().unwrap_or_default()
    }

    /// A parameter of a reason of tidegate's own.
    pub fn parameter(&self, key: &str) -> Option<&str> {
        self.reason.split("; ").skip(1).find_map(|parameter| parameter.strip_prefix(key)?.strip_prefix('='))
    }
}

impl From<&Frame> for Close {
    fn from(frame: &Frame) -> Self {
        match frame.payload.split_first_chunk() {
            None => Self::empty(),
            Some((code, reason)) => Self::new(u16::from_be_bytes(*code), &String::from_utf8_lossy(reason)),
        }
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = String::from_utf8_lossy(&self.payload[..self.payload.len().min(64)]);
        let Self { opcode, compressed, payload } = self;
        write!(formatter, "Message {{ opcode {opcode}, compressed {compressed}, {} bytes {start:?} }}", payload.len())
    }
}
