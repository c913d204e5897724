//! Listening sockets that were bound before this process began: by a service manager, or by the process that it
//! follows. Connections that wait in one are not lost when its process ends.

use std::{io, os::fd::OwnedFd};

use socket2::{Domain, SockRef, Type};
use tidegate_config::Address;

use crate::accept::{Access, Listening};

/// Those that no listener has claimed yet.
pub(crate) struct Inherited(Vec<(Address, OwnedFd)>);

impl Inherited {
    /// # Errors
    /// One of them is no listening stream socket.
    pub(crate) fn new(sockets: Vec<OwnedFd>) -> io::Result<Self> {
        let named = |socket: OwnedFd| Ok((address(&socket)?, socket));
        sockets.into_iter().map(named).collect::<io::Result<_>>().map(Self)
    }

    /// The socket of this address, or a new one.
    ///
    /// # Errors
    /// There is none, and it cannot be bound.
    pub(crate) fn listen(&mut self, address: &Address, access: Access) -> io::Result<Listening> {
        match self.0.iter().position(|(inherited, _)| inherited == address) {
            Some(found) => {
                let (address, socket) = self.0.swap_remove(found);
                Listening::adopt(address, socket)
            }
            None => Listening::bind(address, access),
        }
    }
}

/// What nobody claimed is closed: its clients shall be refused, not wait for ever.
impl Drop for Inherited {
    fn drop(&mut self) {
        for (address, _) in &self.0 {
            tracing::warn!(%address, "a listening socket was handed over that no [[listen]] names: closed");
        }
    }
}

fn address(socket: &OwnedFd) -> io::Result<Address> {
    let socket = SockRef::from(socket);
    let no = |what| io::Error::new(io::ErrorKind::InvalidInput, format!("a socket that was handed over {what}"));
    if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
        return Err(no("does not listen for streams"));
    }
    let local = socket.local_addr()?;
    if let Some(tcp) = local.as_socket() {
        return Ok(Address::Tcp(tcp));
    }
    let path = (socket.domain()? == Domain::UNIX).then(|| local.as_unix()).flatten();
    match path.as_ref().and_then(|path| path.as_pathname()) {
        Some(path) => Ok(Address::Unix(path.to_owned())),
        None => Err(no("has neither an IP address nor a path")),
    }
}
