//! The proxies that are compared: how each is set up as its users would, with one worker, and run.

use std::{net::SocketAddr, time::Duration};

use bench_rig::{Contender, Process, Rig, clock};
use rustix::process::Signal;

use crate::{configs, cpu};

/// Which, and with which tuning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    Nginx,
    /// With 64 KiB buffers: dearer in memory, cheaper for bulk.
    NginxBulk,
    Haproxy,
    /// With `splice(2)`: cheaper for bulk, six more descriptors a session while it lasts.
    HaproxySplice,
    Tidegate,
}

/// What a configuration is filled with.
pub(crate) struct Stage<'a> {
    pub(crate) rig: &'a Rig,
    pub(crate) server: SocketAddr,
    /// Certificate and key (PEM), where clients speak TLS.
    pub(crate) tls: Option<(&'a str, &'a str)>,
    /// How long a session may be idle, in seconds. Long, unless that is what is looked at.
    pub(crate) idle_timeout: u32,
}

/// A running proxy; ended on drop.
pub(crate) struct Running {
    pub(crate) proxy: Proxy,
    pub(crate) address: SocketAddr,
    pub(crate) pids: Vec<u32>,
    process: Process,
}

impl Proxy {
    /// All; those that are tuned for bulk only where there is bulk.
    pub(crate) const ALL: [Self; 5] =
        [Self::Nginx, Self::NginxBulk, Self::Haproxy, Self::HaproxySplice, Self::Tidegate];
    /// One of each.
    pub(crate) const PLAIN: [Self; 3] = [Self::Nginx, Self::Haproxy, Self::Tidegate];

    const fn contender(self) -> Contender {
        match self {
            Self::Nginx | Self::NginxBulk => Contender::Nginx,
            Self::Haproxy | Self::HaproxySplice => Contender::Haproxy,
            Self::Tidegate => Contender::Tidegate,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NginxBulk => "nginx, 64 KiB buffers",
            Self::HaproxySplice => "HAProxy, splice",
            plain => plain.contender().name(),
        }
    }

    /// The signal that asks it to stop gracefully.
    pub(crate) const fn stop_signal(self) -> Signal {
        match self.contender() {
            Contender::Nginx => Signal::QUIT,
            Contender::Haproxy => Signal::USR1,
            Contender::Tidegate => Signal::TERM,
        }
    }

    /// Starts it on its processor and waits until it takes connections.
    pub(crate) fn start(self, stage: &Stage<'_>) -> Result<Running, String> {
        let place = stage.rig.place(&format!("{self:?}"))?;
        if let Some((certificate, key)) = stage.tls {
            place.write("certificate.pem", certificate)?;
            place.write("key.pem", key)?;
            place.write("both.pem", &format!("{certificate}{key}"))?;
        }
        let config = match self {
            Self::Nginx => configs::nginx(stage, &place, 16),
            Self::NginxBulk => configs::nginx(stage, &place, 64),
            Self::Haproxy => configs::haproxy(stage, &place, false),
            Self::HaproxySplice => configs::haproxy(stage, &place, true),
            Self::Tidegate => configs::tidegate(stage, &place),
        };
        let process = stage.rig.start(self.contender(), &place, &config)?;
        // nginx's worker comes a moment after the port.
        let wanted = if self.contender() == Contender::Nginx { 2 } else { 1 };
        let family = || Some(cpu::family(process.id())).filter(|all| all.len() >= wanted);
        let pids =
            clock::until(Duration::from_secs(5), family).ok_or_else(|| format!("{} has no worker", self.name()))?;
        Ok(Running { proxy: self, address: process.address, pids, process })
    }
}

impl Running {
    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }
}

/// A PEM certificate for `localhost` and its key, both text, and the certificate as DER.
pub(crate) fn certificate() -> Result<(String, String, Vec<u8>), String> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(|error| error.to_string())?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem(), made.cert.der().to_vec()))
}
