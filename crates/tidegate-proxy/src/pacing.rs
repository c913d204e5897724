//! No pacing between sockets of one machine.
//!
//! Where the kernel's default is BBR, each socket sends by a timer, one packet at a time: over the loopback interface
//! that is a third of the processor time of bulk, and there is no queue that it could keep short. A connection whose
//! other end is on this machine is given Reno, which every kernel has and every user may choose, and which opens its
//! window for as long as nothing is lost. With any other default, and any other connection, the kernel's choice stands.

use std::{io, net::SocketAddr, os::fd::AsFd, sync::OnceLock};

use rustix::net::sockopt::{set_tcp_congestion, tcp_congestion};
use socket2::{Domain, Socket, Type};

/// Turns pacing off for a socket that is to listen or to connect there. Before it does: BBR that has begun leaves its
/// timers behind.
pub(crate) fn unpaced(socket: impl AsFd, address: SocketAddr) {
    if address.ip().to_canonical().is_loopback() && default_is_paced() {
        // Where it cannot be had, nothing is lost.
        let _ = set_tcp_congestion(socket, "reno");
    }
}

/// Asked once, of a socket that nobody has set anything of.
fn default_is_paced() -> bool {
    static PACED: OnceLock<bool> = OnceLock::new();
    let ask = || -> io::Result<bool> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.cloexec(), None)?;
        Ok(tcp_congestion(socket)?.starts_with("bbr"))
    };
    *PACED.get_or_init(|| ask().unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn choice(prepare: impl FnOnce(&Socket)) -> String {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.cloexec(), None).unwrap();
        prepare(&socket);
        tcp_congestion(socket).unwrap()
    }

    #[test]
    fn a_socket_of_this_machine_is_not_paced_and_any_other_is_as_the_kernel_has_it() {
        let default = choice(|_| {});
        let local = choice(|socket| unpaced(socket, "127.0.0.1:80".parse().unwrap()));
        assert_eq!(local, if default.starts_with("bbr") { "reno" } else { &default });
        for far in ["192.0.2.1:80", "0.0.0.0:80", "[::]:80", "[2001:db8::1]:80"] {
            assert_eq!(choice(|socket| unpaced(socket, far.parse().unwrap())), default, "{far}");
        }
    }

    #[test]
    fn what_a_listener_accepts_is_as_it_is() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.cloexec(), None).unwrap();
        let address = "127.0.0.1:0".parse::<SocketAddr>().unwrap();
        unpaced(&socket, address);
        socket.bind(&address.into()).unwrap();
        socket.listen(1).unwrap();
        let listener = TcpListener::from(socket);
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let default = tcp_congestion(client).unwrap();
        assert_eq!(tcp_congestion(accepted).unwrap(), if default.starts_with("bbr") { "reno" } else { &default });
    }
}
