//! The load generator: clients and the server behind the proxies, on one thread and one epoll instance, so that on a
//! machine of two processors the proxy has one to itself.

use std::{
    collections::VecDeque,
    io::{self, Read},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    rc::Rc,
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
};
use socket2::{Domain, Socket, Type};

use crate::{
    connection::{Connection, Role, SCRATCH},
    frames::{self, CLOSE, PING, PONG, TEXT},
};

/// The key of every client: what is measured is no randomness.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// Connections with more to do that get a turn before the next look at what has come.
const AT_A_TIME: usize = 4;
/// The listener's place among the tokens.
const LISTENER: u64 = u64::MAX;

/// Which connection.
pub(crate) type Id = usize;

/// What happened to a client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The 101 came.
    Opened,
    /// A message ended; with the bytes of its last frame.
    Message(u64),
    /// A Close, with code and reason.
    Close(Option<u16>, String),
    /// The transport is over.
    Ended,
}

/// Both ends of all sessions.
pub(crate) struct World {
    epoll: OwnedFd,
    events: Vec<Event>,
    listener: TcpListener,
    address: SocketAddr,
    connections: Vec<Option<Connection>>,
    free: Vec<Id>,
    /// Those that have had their turn and have more to do.
    unfinished: VecDeque<Id>,
    scratch: Box<[u8]>,
    /// What the clients have seen since it was taken last.
    pub(crate) seen: Vec<(Id, Seen)>,
    /// Bytes of payload that have come to clients and to the server.
    pub(crate) received: u64,
    /// What a server's `/source` sends over and over.
    bulk: Rc<[u8]>,
    /// Connections to the server that are open.
    pub(crate) served: usize,
}

impl World {
    /// With the server on a free port of loopback.
    pub(crate) fn new() -> io::Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        // Whole crowds come at once.
        listener.listen(4096)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from(listener);
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Self {
            epoll,
            events: Vec::with_capacity(512),
            address: listener.local_addr()?,
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            unfinished: VecDeque::new(),
            scratch: vec![0; SCRATCH].into(),
            seen: Vec::new(),
            received: 0,
            bulk: frames::frame(frames::BINARY, &vec![b'x'; 1 << 20], false).into(),
            served: 0,
        })
    }

    /// Where the server is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins a session; [`Seen::Opened`] says that it is open. The path says what the server does: `/echo`, `/sink`,
    /// `/source` (1 MiB messages without end) or `/fan` (see [`World::broadcast`]).
    pub(crate) fn connect(&mut self, to: SocketAddr, path: &str) -> io::Result<Id> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        let id = self.add(socket.into(), Role::Client)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        // Leaves when the socket says that it is connected.
        self.connection(id).out.extend_from_slice(request.as_bytes());
        Ok(id)
    }

    /// Sends bytes on a connection: now as much as it takes, the rest later.
    pub(crate) fn send(&mut self, id: Id, bytes: &[u8]) {
        let Some(connection) = self.connections[id].as_mut() else { return };
        if connection.put(bytes).is_err() {
            self.end(id);
        }
    }

    /// Makes a client send this without end.
    pub(crate) fn pour(&mut self, id: Id, message: &Rc<[u8]>) {
        self.connection(id).source = Some((message.clone(), 0));
        self.write(id);
    }

    /// Sends bytes on every connection that asked for `/fan`; to how many.
    pub(crate) fn broadcast(&mut self, bytes: &[u8]) -> usize {
        let is_member = |connection: &Option<Connection>| connection.as_ref().is_some_and(|c| c.role == Role::Member);
        let members: Vec<Id> = (0..self.connections.len()).filter(|&id| is_member(&self.connections[id])).collect();
        for &id in &members {
            self.send(id, bytes);
        }
        members.len()
    }

    /// Ends a transport without another word.
    pub(crate) fn drop_client(&mut self, id: Id) {
        self.end(id);
    }

    /// Ends all connections of the server's, as a crash does.
    pub(crate) fn crash(&mut self) {
        for id in 0..self.connections.len() {
            if self.connections[id].as_ref().is_some_and(|connection| connection.role != Role::Client) {
                self.end(id);
            }
        }
    }

    /// Waits for something to happen, at most so long, and does what the server and the sockets have to do.
    pub(crate) fn turn(&mut self, patience: Duration) -> io::Result<()> {
        let patience = if self.unfinished.is_empty() { patience } else { Duration::ZERO };
        let patience =
            rustix::event::Timespec { tv_sec: patience.as_secs() as _, tv_nsec: patience.subsec_nanos().into() };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let events = std::mem::take(&mut self.events);
        for event in &events {
            let (token, flags) = (event.data.u64(), event.flags);
            if token == LISTENER {
                self.accept()?;
                continue;
            }
            let id = token as Id;
            if let Some(connection) = self.connections[id].as_mut() {
                connection.hung_up |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            }
            if flags.intersects(EventFlags::OUT) {
                self.write(id);
            }
            if flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
                self.read(id);
            }
        }
        self.events = events;
        // A few at a time: a message that comes in between is not to wait for all of them.
        for id in self.unfinished.drain(..self.unfinished.len().min(AT_A_TIME)).collect::<Vec<_>>() {
            self.write(id);
            self.read(id);
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    let id = self.add(stream, Role::Server)?;
                    self.served += 1;
                    self.read(id);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn add(&mut self, stream: TcpStream, role: Role) -> io::Result<Id> {
        stream.set_nodelay(true)?;
        let id = self.free.pop().unwrap_or(self.connections.len());
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &stream, EventData::new_u64(id as u64), flags)?;
        let connection = Connection::new(stream, role);
        match self.connections.get_mut(id) {
            Some(place) => *place = Some(connection),
            None => self.connections.push(Some(connection)),
        }
        Ok(id)
    }

    fn connection(&mut self, id: Id) -> &mut Connection {
        self.connections[id].as_mut().expect("a connection that has not ended")
    }

    fn end(&mut self, id: Id) {
        let Some(connection) = self.connections[id].take() else { return };
        self.free.push(id);
        if connection.role == Role::Client {
            self.seen.push((id, Seen::Ended));
        } else {
            self.served -= 1;
        }
    }

    fn write(&mut self, id: Id) {
        let Some(connection) = self.connections[id].as_mut() else { return };
        match connection.flush() {
            Ok(true) => self.unfinished.push_back(id),
            Ok(false) if connection.leaving && connection.out.is_empty() => self.end(id),
            Ok(false) => {}
            Err(_) => self.end(id),
        }
    }

    fn read(&mut self, id: Id) {
        let Some(connection) = self.connections[id].as_mut() else { return };
        match connection.stream.read(&mut self.scratch) {
            Ok(0) => self.end(id),
            Ok(len) => {
                let more = len == SCRATCH || connection.hung_up;
                self.take(id, len);
                if more {
                    self.unfinished.push_back(id);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.end(id),
        }
    }

    /// Takes what was read.
    fn take(&mut self, id: Id, len: usize) {
        let Some(connection) = self.connections[id].as_mut() else { return };
        let mut start = 0;
        if let Some(head) = connection.head.as_mut() {
            let before = head.len();
            head.extend_from_slice(&self.scratch[..len]);
            let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return };
            start = end + 4 - before;
            let head = String::from_utf8_lossy(&head[..end]).into_owned();
            connection.head = None;
            if connection.role == Role::Client {
                if !head.starts_with("HTTP/1.1 101") {
                    return self.end(id);
                }
                self.seen.push((id, Seen::Opened));
            } else if !connection.serve(&head, &self.bulk) {
                return self.end(id);
            }
        }
        let (seen, received) = (&mut self.seen, &mut self.received);
        let Connection { frames, out, role, leaving, .. } = connection;
        let (client, echo) = (*role == Role::Client, frames.keep);
        frames.feed(&self.scratch[start..len], |frame| {
            *received += frame.len;
            match frame.opcode() {
                CLOSE if client => {
                    let reason = String::from_utf8_lossy(frame.payload.get(2..).unwrap_or_default());
                    seen.push((id, Seen::Close(frames::code(frame.payload), reason.into_owned())));
                }
                CLOSE => {
                    frames::put(out, frame.first, frame.payload, false);
                    *leaving = true;
                }
                PING => frames::put(out, 0x80 | PONG, frame.payload, client),
                PONG => {}
                _ if client && frame.fin() => seen.push((id, Seen::Message(frame.len))),
                _ if echo => frames::put(out, frame.first, frame.payload, false),
                _ => {}
            }
        });
        self.write(id);
    }

    /// As [`TEXT`], with a payload of so many bytes: what clients send.
    pub(crate) fn message(opcode: u8, size: usize) -> Rc<[u8]> {
        debug_assert!(opcode == TEXT || opcode == frames::BINARY);
        let payload: Vec<u8> = (0..size).map(|n| b'a' + (n % 26) as u8).collect();
        frames::frame(opcode, &payload, true).into()
    }
}
