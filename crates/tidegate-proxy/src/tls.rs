//! TLS, by rustls: certificates for listeners, trust for upstreams.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tidegate_config::{Certificate, UpstreamTls};

/// How an upstream is spoken to, and by which name it is verified; `None`: by its host.
pub(crate) type Outgoing = (Arc<ClientConfig>, Option<ServerName<'static>>);

/// A listener's certificate and key, checked to belong together.
///
/// # Errors
/// A file that cannot be read, holds no PEM, or a key of another certificate; the error names the file.
pub(crate) fn listener(files: &Certificate) -> io::Result<Arc<ServerConfig>> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| in_file(&files.key, error))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| in_file(&files.certificate, error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A replayed handshake would open a session: no early data (RFC 8446 section 8).
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// Trust and name for an upstream.
///
/// # Errors
/// A file that cannot be read, no root to trust, or a name that is none.
pub(crate) fn upstream(tls: &UpstreamTls) -> io::Result<Outgoing> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(path) => {
            for root in certificates(path)? {
                roots.add(root).map_err(|error| in_file(path, error))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    if roots.is_empty() {
        return Err(io::Error::other("no root certificate to trust an upstream by; name one with `ca`"));
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = tls.server_name.clone().map(ServerName::try_from).transpose().map_err(io::Error::other)?;
    Ok((Arc::new(config), name))
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())).clone()
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let pem = read(path)?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| in_file(path, error))?;
    if found.is_empty() {
        return Err(in_file(path, "no certificate in it"));
    }
    Ok(found)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path).map_err(|error| in_file(path, error))
}

fn in_file(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}
