//! TLS, by rustls: what listeners show, what upstreams are trusted by, and the files that both come from.

mod handshake;
mod incoming;
mod names;
mod outgoing;
mod pem;
mod stamp;
mod watch;

use std::{
    io,
    sync::{Arc, OnceLock},
};

use rustls::{SupportedProtocolVersion, crypto::CryptoProvider};
use tidegate_config::{Config, Fault, ListenTls, TlsVersion, UpstreamTls};

pub(crate) use handshake::Handshakes;
pub(crate) use incoming::Incoming;
pub(crate) use outgoing::Outgoing;
pub(crate) use watch::{publish, watch};

/// What is spoken inside TLS, best first (RFC 7301).
const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];

/// Everything that is wrong with the files of TLS, as far as opening them shows it.
pub(crate) fn check(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    for tls in config.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        Incoming::load(tls, None, &mut faults);
    }
    let of_upstreams = config.upstreams.values().filter_map(|upstream| upstream.tls.as_ref());
    let of_auth_servers = config.routes.iter().filter_map(|route| route.forward_auth.as_ref()?.tls.as_ref());
    for tls in of_upstreams.chain(of_auth_servers) {
        Outgoing::load(tls, &mut faults);
    }
    faults
}

/// A listener's TLS; tickets of `before` stay good where they may.
///
/// # Errors
/// The first file that is no good.
pub(crate) fn incoming(settings: &ListenTls, before: Option<&Incoming>) -> io::Result<Incoming> {
    in_force(|faults| Incoming::load(settings, before, faults))
}

/// An upstream's TLS.
///
/// # Errors
/// The first file that is no good.
pub(crate) fn outgoing(settings: &UpstreamTls) -> io::Result<Outgoing> {
    in_force(|faults| Outgoing::load(settings, faults))
}

fn in_force<T>(load: impl FnOnce(&mut Vec<Fault>) -> Option<T>) -> io::Result<T> {
    let mut faults = Vec::new();
    load(&mut faults).ok_or_else(|| {
        let error = faults.iter().find(|fault| !fault.is_warning()).map(Fault::message);
        io::Error::other(error.unwrap_or("TLS cannot be set up").to_owned())
    })
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())).clone()
}

/// Best first.
static VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

fn versions(least: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match least {
        TlsVersion::V1_2 => &VERSIONS,
        TlsVersion::V1_3 => &VERSIONS[..1],
    }
}
