//! One direction of a connection, received and judged.

use tokio::io::{AsyncRead, AsyncReadExt};

use super::frame::{Frame, Header};
use super::judge::{Judge, Sender};

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A frame.
    Frame(Frame),
    /// The transport's end.
    End(Ending),
}

/// How a transport ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order.
    Fin,
    /// Torn down.
    Reset,
}

/// The receiving half of a peer.
#[derive(Debug)]
pub(super) struct Inbound {
    judge: Judge,
    /// Received and not yet looked at.
    bytes: Vec<u8>,
}

impl Inbound {
    pub(super) fn new(sender: Sender, deflate: bool, received: Vec<u8>) -> Self {
        Self { judge: Judge::new(sender, deflate), bytes: received }
    }

    /// The next frame, or the end.
    ///
    /// # Panics
    /// When the sender breaks RFC 6455, or the transport ends inside a frame.
    pub(super) async fn event(&mut self, io: &mut (impl AsyncRead + Unpin)) -> Event {
        loop {
            if let Some(frame) = self.take_frame() {
                return Event::Frame(frame);
            }
            match io.read_buf(&mut self.bytes).await {
                Ok(0) if self.bytes.is_empty() => return Event::End(Ending::Fin),
                Ok(0) => panic!("the transport ended inside a frame: {:02x?}", &self.bytes[..self.bytes.len().min(16)]),
                Ok(_) => {}
                Err(_) => return Event::End(Ending::Reset),
            }
        }
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let header = Header::decode(&self.bytes)?;
        self.judge.check(&header).unwrap_or_else(|breach| panic!("{breach}"));
        let (frame, length) = header.frame(&self.bytes)?;
        self.judge.admit(&frame).unwrap_or_else(|breach| panic!("{breach}"));
        self.bytes.drain(..length);
        Some(frame)
    }
}
