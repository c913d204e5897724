//! A blind proxy: bytes in, bytes out. What a browser sees through it is what any proxy gives that knows no frames
//! after the 101.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

/// Rest after an accept that failed.
const REST: Duration = Duration::from_millis(100);

/// A running tunnel. Its connections end when it is dropped.
pub(crate) struct Tunnel {
    address: SocketAddr,
    target: watch::Sender<SocketAddr>,
    // Held for its drop.
    _serving: JoinSet<()>,
}

impl Tunnel {
    /// Starts one on a port of `ip` that the kernel chooses.
    pub(crate) async fn start(ip: std::net::IpAddr, target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((ip, 0)).await?;
        let (address, target) = (listener.local_addr()?, watch::Sender::new(target));
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, target.subscribe()));
        Ok(Self { address, target, _serving: serving })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends new connections elsewhere.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }
}

async fn serve(listener: TcpListener, target: watch::Receiver<SocketAddr>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => drop(connections.spawn(tunnel(client, *target.borrow()))),
                Err(_) => sleep(REST).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn tunnel(mut client: TcpStream, target: SocketAddr) {
    // A backend that cannot be reached, or is lost: all that a tunnel can say is nothing.
    if let Ok(mut backend) = TcpStream::connect(target).await {
        let _ = copy_bidirectional(&mut client, &mut backend).await;
    }
}
