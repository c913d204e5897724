//! How an upstream is spoken to, and by whom it is trusted.

use std::{io, sync::Arc, time::SystemTime};

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tidegate_config::{Fault, FilePath, UpstreamTls};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{pem, stamp::Stamp};

/// An upstream's TLS as last loaded.
pub(crate) struct Outgoing {
    config: Arc<ClientConfig>,
    /// The name that it is verified by; `None`: its host.
    name: Option<ServerName<'static>>,
    /// The file of the certificate that it is shown, and when the first certificate in it expires.
    pub(super) expiry: Option<(FilePath, SystemTime)>,
    pub(super) stamp: Stamp,
}

impl Outgoing {
    /// Loads an upstream's files. `None`: one is no good, which is then among the faults.
    pub(crate) fn load(settings: &UpstreamTls, faults: &mut Vec<Fault>) -> Option<Self> {
        // Before the files are read: a change meanwhile shows.
        let stamp = Stamp::of(files(settings));
        let roots = match &settings.ca {
            Some(file) => pem::roots(file, faults).map(|(roots, _)| roots),
            None => system_roots(faults),
        };
        let identity = settings.identity.as_ref().map(|files| pem::pair(files, faults).map(|pair| (files, pair)));
        let config = ClientConfig::builder_with_provider(super::provider())
            .with_protocol_versions(super::versions(settings.min_version))
            .ok()?
            .with_root_certificates(roots?);
        let (config, expiry) = match identity {
            None => (config.with_no_client_auth(), None),
            Some(identity) => {
                let (files, pair) = identity?;
                let expiry = (files.certificate.clone(), pair.not_after);
                let shown = Arc::new(rustls::sign::SingleCertAndKey::from(pair.key));
                (config.with_client_cert_resolver(shown), Some(expiry))
            }
        };
        // It was checked to be a host name.
        let name = settings.server_name.clone().and_then(|name| ServerName::try_from(name).ok());
        Some(Self { config: Arc::new(config), name, expiry, stamp })
    }

    /// Speaks TLS with an endpoint of this host.
    ///
    /// # Errors
    /// It is not who it should be, or does not speak TLS.
    pub(crate) async fn connect(&self, host: &str, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(io::Error::other)?,
        };
        TlsConnector::from(self.config.clone()).connect(name, tcp).await
    }
}

/// Every file that an upstream's TLS comes from.
pub(super) fn files(settings: &UpstreamTls) -> impl Iterator<Item = &FilePath> {
    let identity = settings.identity.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
    settings.ca.iter().chain(identity)
}

fn system_roots(faults: &mut Vec<Fault>) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let fault = Fault::new("the system has no root certificate to trust an upstream by");
        faults.push(fault.help("install the package `ca-certificates`, or name an authority with `ca`"));
        return None;
    }
    Some(roots)
}
