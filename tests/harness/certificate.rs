//! A certificate for loopback, made for one test.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::scratch::Scratch;

/// A self-signed certificate for `localhost` and 127.0.0.1, which is its own authority.
#[derive(Debug)]
pub struct Certificate {
    certificate: CertificateDer<'static>,
    directory: Scratch,
}

impl Certificate {
    /// Makes one and writes it and its key as PEM files.
    ///
    /// # Panics
    /// When it cannot be made or written.
    pub fn new() -> Self {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a self-signed certificate");
        let this = Self { certificate: made.cert.der().clone(), directory: Scratch::new("certificate") };
        fs::write(this.certificate_file(), made.cert.pem()).expect("the certificate is written");
        fs::write(this.key_file(), made.signing_key.serialize_pem()).expect("the key is written");
        this
    }

    /// The certificate's PEM file; also the authority to trust.
    pub fn certificate_file(&self) -> PathBuf {
        self.directory.join("cert.pem")
    }

    /// The key's PEM file.
    pub fn key_file(&self) -> PathBuf {
        self.directory.join("key.pem")
    }

    /// Speaks TLS to whoever is at the other end of `stream` and trusts only this certificate.
    ///
    /// # Panics
    /// When the TLS handshake fails.
    pub async fn connect(&self, stream: TcpStream) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("our own certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a server name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a TLS handshake")
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}
