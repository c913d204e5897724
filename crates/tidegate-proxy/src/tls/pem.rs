//! PEM files: read, and what is wrong with them told where the configuration names them.

use std::{sync::Arc, time::SystemTime};

use rustls::{
    InconsistentKeys, RootCertStore,
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use tidegate_config::{Fault, FilePath, KeyPair};
use x509_cert::{
    Certificate,
    der::Decode as _,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use crate::files;

/// A certificate chain and its key, which belong together.
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    /// The DNS names that the leaf is for, in lower case; `*.` before those that stand for many.
    pub(super) names: Vec<String>,
    /// When the first certificate of the chain expires.
    pub(super) not_after: SystemTime,
}

/// A chain and its key. `None`: one of them is no good, which is then among the faults. An expired one is good.
pub(super) fn pair(files: &KeyPair, faults: &mut Vec<Fault>) -> Option<Pair> {
    let chain = certificates(&files.certificate, faults);
    let key = key(&files.key, faults);
    let (chain, key) = (chain?, key?);
    let parsed = chain.iter().map(|certificate| Certificate::from_der(certificate)).collect::<Result<Vec<_>, _>>();
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return give_up(faults, files.certificate.fault(format_args!("not a certificate: {error}"))),
    };
    let key = match CertifiedKey::from_der(chain, key, &super::provider()) {
        Ok(key) => key,
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let fault = files.key.fault("this is not the key of the certificate");
            let help = "the chain's first certificate is the one that the key belongs to: the leaf, not its authority";
            return give_up(faults, fault.help(help).beside(&files.certificate, "the certificate"));
        }
        Err(error) => return give_up(faults, files.key.fault(format_args!("no key that can be used: {error}"))),
    };
    let ends = parsed.iter().map(|certificate| certificate.tbs_certificate().validity().not_after.to_system_time());
    let not_after = ends.min().unwrap_or(SystemTime::UNIX_EPOCH);
    let not_before = parsed.first().map(|leaf| leaf.tbs_certificate().validity().not_before.to_system_time());
    let now = SystemTime::now();
    let day = |time| humantime::format_rfc3339_seconds(time);
    if not_after <= now {
        let warning = files.certificate.warning(format_args!("the certificate has expired at {}", day(not_after)));
        faults.push(warning.help("clients will refuse it: renew it"));
    }
    if let Some(begin) = not_before.filter(|begin| *begin > now) {
        let warning = files.certificate.warning(format_args!("the certificate is not valid before {}", day(begin)));
        faults.push(warning.help("clients will refuse it until then; is this machine's clock right?"));
    }
    let names = parsed.first().map(dns_names).unwrap_or_default();
    Some(Pair { key: Arc::new(key), names, not_after })
}

fn key(file: &FilePath, faults: &mut Vec<Fault>) -> Option<PrivateKeyDer<'static>> {
    let text = read(file, faults)?;
    let encrypted = b"ENCRYPTED";
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Some(key),
        Err(_) if text.windows(encrypted.len()).any(|part| part == encrypted) => {
            let fault = file.fault("the private key has a passphrase");
            give_up(faults, fault.help("nobody can type it at a reload: store it without, readable by tidegate alone"))
        }
        Err(pem::Error::NoItemsFound) => {
            let fault = file.fault("no private key in it");
            give_up(faults, fault.help("it should hold a `-----BEGIN PRIVATE KEY-----`"))
        }
        Err(error) => give_up(faults, file.fault(format_args!("not PEM: {error}"))),
    }
}

/// All certificates of a file; at least one.
fn certificates(file: &FilePath, faults: &mut Vec<Fault>) -> Option<Vec<CertificateDer<'static>>> {
    items(file, &read(file, faults)?, "certificate", "-----BEGIN CERTIFICATE-----", faults)
}

/// The authorities of a file, and its text.
pub(super) fn roots(file: &FilePath, faults: &mut Vec<Fault>) -> Option<(RootCertStore, Vec<u8>)> {
    let text = read(file, faults)?;
    let mut roots = RootCertStore::empty();
    for root in items::<CertificateDer<'_>>(file, &text, "certificate", "-----BEGIN CERTIFICATE-----", faults)? {
        if let Err(error) = roots.add(root) {
            return give_up(faults, file.fault(format_args!("not a certificate of an authority: {error}")));
        }
    }
    Some((roots, text))
}

/// The revocation lists of a file, and its text.
pub(super) fn revocations(
    file: &FilePath,
    faults: &mut Vec<Fault>,
) -> Option<(Vec<CertificateRevocationListDer<'static>>, Vec<u8>)> {
    let text = read(file, faults)?;
    Some((items(file, &text, "revocation list", "-----BEGIN X509 CRL-----", faults)?, text))
}

fn items<T: PemObject>(
    file: &FilePath,
    text: &[u8],
    what: &str,
    begin: &str,
    faults: &mut Vec<Fault>,
) -> Option<Vec<T>> {
    match T::pem_slice_iter(text).collect::<Result<Vec<_>, _>>() {
        Ok(found) if found.is_empty() => {
            let fault = file.fault(format_args!("no {what} in it"));
            give_up(faults, fault.help(format!("it should hold a `{begin}`")))
        }
        Ok(found) => Some(found),
        Err(error) => give_up(faults, file.fault(format_args!("not PEM: {error}"))),
    }
}

fn read(file: &FilePath, faults: &mut Vec<Fault>) -> Option<Vec<u8>> {
    files::read(file).map_err(|fault| faults.push(fault)).ok()
}

fn dns_names(certificate: &Certificate) -> Vec<String> {
    let found = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let Ok(Some((_, names))) = found else { return Vec::new() };
    let names = names.0.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
        _ => None,
    });
    names.collect()
}

fn give_up<T>(faults: &mut Vec<Fault>, fault: Fault) -> Option<T> {
    faults.push(fault);
    None
}
