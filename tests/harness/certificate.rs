//! Certificates made for one test, and the authority of them.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::scratch::Scratch;

/// Whom test servers are reached by.
const LOOPBACK: [&str; 2] = ["localhost", "127.0.0.1"];

/// A certificate and its key, in files of their own.
#[derive(Debug)]
pub struct Certificate {
    certificate: CertificateDer<'static>,
    /// Whoever trusts this, trusts it.
    root: CertificateDer<'static>,
    serial: u64,
    directory: Scratch,
}

/// An authority of certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    issued: Cell<u64>,
    directory: Scratch,
}

impl Authority {
    /// A new one, known to nobody yet.
    ///
    /// # Panics
    /// When it cannot be made or written.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority's certificate");
        let this = Self { issuer, issued: Cell::new(0), directory: Scratch::new("authority") };
        fs::write(this.file(), this.issuer.pem()).expect("the authority is written");
        this
    }

    /// Its PEM file.
    pub fn file(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// A certificate for these names; the first is its subject, too.
    pub fn issue(&self, names: &[&str]) -> Certificate {
        self.issue_until(names, 4096)
    }

    /// As [`Self::issue`], for loopback.
    pub fn issue_for_loopback(&self) -> Certificate {
        self.issue(&LOOPBACK)
    }

    /// As [`Self::issue`], good until this year begins.
    ///
    /// # Panics
    /// When it cannot be made or written.
    pub fn issue_until(&self, names: &[&str], year: i32) -> Certificate {
        let serial = self.issued.get() + 1;
        self.issued.set(serial);
        let mut params = params(names);
        params.not_after = date_time_ymd(year, 1, 1);
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().expect("a key");
        let made = params.signed_by(&key, &self.issuer).expect("a certificate");
        Certificate::write(&made, &key, self.issuer.der().clone(), serial)
    }

    /// Writes a list that revokes these certificates; gives its PEM file.
    ///
    /// # Panics
    /// When it cannot be made or written.
    pub fn revoke(&self, certificates: &[&Certificate]) -> PathBuf {
        let revoked = |certificate: &&Certificate| RevokedCertParams {
            serial_number: SerialNumber::from(certificate.serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(4096, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: certificates.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).and_then(|list| list.pem()).expect("a revocation list");
        let file = self.directory.join("crl.pem");
        fs::write(&file, list).expect("the list is written");
        file
    }
}

impl Certificate {
    /// A self-signed one for `localhost` and 127.0.0.1, which is its own authority.
    ///
    /// # Panics
    /// When it cannot be made or written.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let made = params(&LOOPBACK).self_signed(&key).expect("a self-signed certificate");
        let root = made.der().clone();
        Self::write(&made, &key, root, 0)
    }

    fn write(made: &rcgen::Certificate, key: &KeyPair, root: CertificateDer<'static>, serial: u64) -> Self {
        let this = Self { certificate: made.der().clone(), root, serial, directory: Scratch::new("certificate") };
        fs::write(this.certificate_file(), made.pem()).expect("the certificate is written");
        fs::write(this.key_file(), key.serialize_pem()).expect("the key is written");
        this
    }

    /// The certificate's PEM file; also the authority to trust, where it is its own.
    pub fn certificate_file(&self) -> PathBuf {
        self.directory.join("cert.pem")
    }

    /// The key's PEM file.
    pub fn key_file(&self) -> PathBuf {
        self.directory.join("key.pem")
    }

    /// Writes what is in the other's files over its own, one file after the other.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn become_like(&self, other: &Self) {
        fs::copy(other.certificate_file(), self.certificate_file()).expect("the certificate is copied");
        fs::copy(other.key_file(), self.key_file()).expect("the key is copied");
    }

    /// The certificate itself.
    pub fn der(&self) -> &[u8] {
        &self.certificate
    }

    /// The keys of a configuration that name both files.
    pub fn keys(&self) -> String {
        format!("certificate = \"{}\", key = \"{}\"", self.certificate_file().display(), self.key_file().display())
    }

    /// Speaks TLS to whoever is at the other end of `stream` and trusts only this certificate's authority.
    ///
    /// # Panics
    /// When the TLS handshake fails.
    pub async fn connect(&self, stream: TcpStream) -> TlsStream<TcpStream> {
        let name = ServerName::try_from("localhost").expect("a server name");
        TlsConnector::from(self.trust()).connect(name, stream).await.expect("a TLS handshake")
    }

    /// The first flight of such a client.
    ///
    /// # Panics
    /// When there is none.
    pub fn hello(&self) -> Vec<u8> {
        let name = ServerName::try_from("localhost").expect("a server name");
        let mut client = ClientConnection::new(self.trust(), name).expect("a client");
        let mut hello = Vec::new();
        client.write_tls(&mut hello).expect("room in a vector");
        hello
    }

    fn trust(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("our own certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

/// A public key in PEM, of P-256.
///
/// # Panics
/// When none can be made.
pub fn public_key() -> String {
    KeyPair::generate().expect("a key").public_key_pem()
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let subject = names.first().cloned().unwrap_or_else(|| "nobody".to_owned());
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, subject);
    params
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
