//! A client's TLS handshake: in time, in its turn, and if it comes to nothing, why.

use std::{cell::Cell, io};

use base64::Engine as _;
use http::HeaderValue;
use rustls::{Error, HandshakeKind, pki_types::CertificateDer, server::Acceptor};
use tidegate_config::Tls;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::Incoming;
use crate::{metrics::Metrics, patient, stream::Stream};

/// A fatal alert, `unrecognized_name` (RFC 8446 section 6, RFC 6066 section 3), which rustls has no call for.
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];

/// A client whose handshake is done.
pub(crate) struct Secured {
    pub(crate) stream: TlsStream<TcpStream>,
    /// The certificate that it has shown, as `Client-Cert` has it.
    pub(crate) certificate: Option<HeaderValue>,
}

/// The handshakes of one worker: no more at once than may be.
pub(crate) struct Handshakes {
    turns: Semaphore,
    /// How many turns there are, taken ones included.
    size: Cell<usize>,
}

/// Why a handshake came to nothing, as the metric `reason` has it.
enum Failed {
    /// It took longer than it may.
    Timeout,
    /// It did not get its turn in that time.
    Busy,
    /// The client asks for a server that there is no certificate for.
    UnknownName,
    Tls(io::Error),
}

impl Handshakes {
    pub(crate) fn new() -> Self {
        Self { turns: Semaphore::new(0), size: Cell::new(0) }
    }

    /// A client's handshake, counted.
    pub(crate) async fn next(
        &self,
        tcp: TcpStream,
        tls: &Incoming,
        settings: Tls,
        listener: &str,
        metrics: &Metrics,
    ) -> Option<Secured> {
        let waits = Cell::new(false);
        let turn = async {
            self.resize(settings.max_handshakes as usize);
            if let Ok(turn) = self.turns.try_acquire() {
                return Some(turn);
            }
            metrics.limit_hits.with_label_values(&["max_handshakes", "wait"]).inc();
            waits.set(true);
            let turn = self.turns.acquire().await;
            waits.set(false);
            turn.ok()
        };
        let done = match timeout(settings.handshake_timeout, shake(tcp, tls, turn)).await {
            Ok(done) => done,
            Err(_) if waits.get() => Err((Failed::Busy, None)),
            Err(_) => Err((Failed::Timeout, None)),
        };
        let (result, reason, version) = match &done {
            Ok(stream) => {
                let connection = stream.get_ref().1;
                let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
                let version = connection.protocol_version().and_then(|version| version.as_str()).unwrap_or_default();
                ("ok", if resumed { "resumed" } else { "full" }, version)
            }
            Err((failed, _)) => (failed.result(), failed.reason(), ""),
        };
        metrics.tls_handshakes.with_label_values(&[listener, result, reason, version]).inc();
        match done {
            Ok(stream) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                Some(Secured { certificate: shown.and_then(header), stream })
            }
            Err((failed, alerted)) => {
                let detail = if let Failed::Tls(error) = &failed { error.to_string() } else { String::new() };
                tracing::debug!(listener, reason = failed.reason(), detail, "TLS handshake failed");
                if let Some(tcp) = alerted {
                    // A client of TLS 1.3 has sent its request by then: a reset would destroy the alert.
                    patient::end(Stream::Tcp(tcp)).await;
                }
                None
            }
        }
    }

    /// Makes the turns as many as the configuration now says, as soon as enough of them are free.
    fn resize(&self, size: usize) {
        let now = self.size.get();
        if now < size {
            self.turns.add_permits(size - now);
            self.size.set(size);
        } else {
            self.size.set(now - self.turns.forget_permits(now - size));
        }
    }
}

/// The turn is only asked for once the client has said hello: whoever connects and is silent holds none.
///
/// # Errors
/// Why it came to nothing, and the connection if the client has been told so by an alert.
async fn shake(
    tcp: TcpStream,
    tls: &Incoming,
    turn: impl Future<Output = Option<SemaphorePermit<'_>>>,
) -> Result<TlsStream<TcpStream>, (Failed, Option<TcpStream>)> {
    let mut hello = LazyConfigAcceptor::new(Acceptor::default(), tcp);
    let mut start = match (&mut hello).await {
        Ok(start) => start,
        Err(error) => return Err((Failed::Tls(error), hello.take_io())),
    };
    if !tls.serves(&start.client_hello()) {
        // The handshake has failed already: so may this.
        let _ = start.io.write_all(UNRECOGNIZED_NAME).await;
        return Err((Failed::UnknownName, Some(start.io)));
    }
    let _turn = turn.await;
    let shaken = start.into_stream(tls.config.clone()).into_fallible().await;
    shaken.map_err(|(error, tcp)| (Failed::Tls(error), Some(tcp)))
}

impl Failed {
    const fn result(&self) -> &'static str {
        match self {
            Self::Timeout | Self::Busy => "timeout",
            Self::UnknownName | Self::Tls(_) => "failed",
        }
    }

    fn reason(&self) -> &'static str {
        let error = match self {
            Self::Timeout => return "handshake_timeout",
            Self::Busy => return "max_handshakes",
            Self::UnknownName => return "unknown_name",
            Self::Tls(error) => error,
        };
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            None => "client_gone",
            Some(Error::InvalidMessage(_)) => "not_tls",
            Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => "incompatible",
            Some(Error::NoCertificatesPresented) => "no_client_certificate",
            Some(Error::InvalidCertificate(_)) => "client_certificate",
            Some(Error::AlertReceived(_)) => "alert",
            Some(_) => "other",
        }
    }
}

/// A certificate as RFC 9440 section 2.1 has it: DER in Base64 between colons.
fn header(certificate: &CertificateDer<'_>) -> Option<HeaderValue> {
    HeaderValue::try_from(format!(":{}:", base64::engine::general_purpose::STANDARD.encode(certificate))).ok()
}
