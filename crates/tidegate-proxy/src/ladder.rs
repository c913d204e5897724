//! Turns those away unheard who come too often while their like is refused.

use std::{
    net::SocketAddr,
    os::fd::AsFd,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tidegate_config::Trust;
use tidegate_governor::Rung;

use crate::{
    accept::{reset, turn_away},
    addresses::network,
    clock,
    shared::Shared,
};

/// The governor's ladder behind a lock, which is taken for connections, refusals and ends of sessions, if at all.
#[derive(Default)]
pub(crate) struct Ladder(Mutex<tidegate_governor::Ladder>);

impl Shared {
    /// A client of this address has a session. Who comes over a unix socket has none, and is always heard.
    pub(crate) fn entered(&self, address: Option<u64>) {
        if let Some((address, (mut ladder, _))) = address.zip(self.ladder()) {
            ladder.entered(address);
        }
    }

    /// Its session is over.
    pub(crate) fn left(&self, address: Option<u64>) {
        if let Some((address, (mut ladder, _))) = address.zip(self.ladder()) {
            ladder.left(address);
        }
    }

    /// It was refused for want of capacity.
    pub(crate) fn refused(&self, address: Option<u64>) {
        if let Some((address, (mut ladder, _))) = address.zip(self.ladder()) {
            ladder.refused(address, clock::now());
        }
    }

    /// Whether this connection is heard; else it is answered, or prepared to be reset, and only has to be dropped. A
    /// trusted proxy speaks for many, and is always heard.
    pub(crate) fn hears(&self, peer: Option<SocketAddr>, trust: &Trust, socket: &impl AsFd, tls: bool) -> bool {
        let Some((mut ladder, most)) = self.ladder() else { return true };
        let Some(ip) = peer.map(|peer| peer.ip()).filter(|ip| !trust.trusts(Some(*ip))) else { return true };
        let rung = ladder.comes(network(ip), most, clock::now());
        drop(ladder);
        let action = match rung {
            Rung::Heard => return true,
            Rung::TurnedAway => {
                turn_away(socket, tls);
                "drop"
            }
            Rung::Reset => {
                reset(socket);
                "reset"
            }
        };
        self.metrics.limit_hits.with_label_values(&["early_returns", action]).inc();
        false
    }

    /// It, and how many connections of an address are heard in a second. `None`: all are.
    fn ladder(&self) -> Option<(MutexGuard<'_, tidegate_governor::Ladder>, u32)> {
        let most = self.live.load().config.early_returns?;
        Some((self.ladder.0.lock().unwrap_or_else(PoisonError::into_inner), most))
    }
}
