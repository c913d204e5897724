//! One end of a session, and what it has to write.

use std::{
    io::{self, Write},
    net::TcpStream,
    rc::Rc,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use sha1::{Digest, Sha1};

use crate::frames::Walker;

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// What one connection may read or write before the others get their turn, in bytes.
pub(crate) const SCRATCH: usize = 64 << 10;

/// One end of a session.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) role: Role,
    /// The head of the request or of the answer, while it is not whole.
    pub(crate) head: Option<Vec<u8>>,
    pub(crate) frames: Walker,
    /// What the socket has not taken yet.
    pub(crate) out: Vec<u8>,
    written: usize,
    /// What it sends over and over, and how far that has left.
    pub(crate) source: Option<(Rc<[u8]>, usize)>,
    /// The other side sends no more: the next read that is short is not the last.
    pub(crate) hung_up: bool,
    /// To be closed once everything is written.
    pub(crate) leaving: bool,
}

/// Whose end it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
    /// A server's connection that waits for [`World::broadcast`](crate::world::World::broadcast).
    Member,
}

impl Connection {
    /// At the first byte.
    pub(crate) fn new(stream: TcpStream, role: Role) -> Self {
        Self {
            stream,
            role,
            head: Some(Vec::new()),
            frames: Walker::default(),
            out: Vec::new(),
            written: 0,
            source: None,
            hung_up: false,
            leaving: false,
        }
    }

    /// Answers a request. Whether it was one.
    pub(crate) fn serve(&mut self, head: &str, bulk: &Rc<[u8]>) -> bool {
        let mut key = None;
        for line in head.lines() {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("Sec-WebSocket-Key")
            {
                key = Some(value.trim());
            }
        }
        let (Some(key), Some(path)) = (key, head.split(' ').nth(1)) else { return false };
        let accept = BASE64_STANDARD.encode(Sha1::digest(format!("{key}{GUID}")));
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        match path {
            "/fan" => self.role = Role::Member,
            "/source" => self.source = Some((bulk.clone(), 0)),
            "/echo" => self.frames.keep = true,
            _ => {}
        }
        self.put(answer.as_bytes()).is_ok()
    }

    /// Writes now as much as the socket takes, the rest later.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        if self.out.is_empty() {
            match self.stream.write(bytes) {
                Ok(len) => written = len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.out.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Writes what waits, then what the source has. Whether it stopped only to let others have their turn.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(len) => self.written += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        let Some((source, at)) = self.source.as_mut() else { return Ok(false) };
        let end = source.len().min(*at + SCRATCH);
        match self.stream.write(&source[*at..end]) {
            Ok(len) => *at = (*at + len) % source.len(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}
