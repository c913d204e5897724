//! Which certificate a client gets, by the server name that it asks for (SNI, RFC 6066 section 3).

use std::{collections::HashMap, sync::Arc};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// The certificates of one listener.
#[derive(Debug)]
pub(super) struct Names {
    /// For clients that name nothing that is known.
    pub(super) default: Arc<CertifiedKey>,
    /// By name in lower case, `*.example.com` among them.
    known: HashMap<String, Arc<CertifiedKey>>,
}

impl Names {
    pub(super) fn new(default: Arc<CertifiedKey>) -> Self {
        Self { default, known: HashMap::new() }
    }

    /// Gives a name its certificate; `false`: it has one.
    pub(super) fn add(&mut self, name: String, key: &Arc<CertifiedKey>) -> bool {
        let mut is_new = false;
        self.known.entry(name).or_insert_with(|| {
            is_new = true;
            key.clone()
        });
        is_new
    }

    /// The certificate for this name itself, else for `*.` and the name without its first label: a wildcard stands
    /// for one label (RFC 9525 section 6.3). A dot at the end, which clients should leave out, is none of the name's.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let [exact, wildcard] = self.candidates(name);
        exact.or(wildcard)
    }

    /// Whether a connection that was opened for `opened` may carry requests for `host`: its certificate is for that
    /// host, too, or a connection of the host's own would have got the same one, `unknown` for a host without any.
    pub(super) fn may_carry(&self, opened: Option<&str>, host: &str, unknown: Option<&Arc<CertifiedKey>>) -> bool {
        let shown = opened.and_then(|name| self.find(name)).unwrap_or(&self.default);
        let is_shown = |certificate: &Arc<CertifiedKey>| Arc::ptr_eq(certificate, shown);
        match self.candidates(host) {
            [None, None] => unknown.is_some_and(is_shown),
            candidates => candidates.into_iter().flatten().any(is_shown),
        }
    }

    /// The certificate for this very name, and the one for its parent's wildcard.
    fn candidates(&self, name: &str) -> [Option<&Arc<CertifiedKey>>; 2] {
        let lower = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let wildcard = lower.split_once('.').and_then(|(_, parent)| self.known.get(&format!("*.{parent}")));
        [self.known.get(&lower), wildcard]
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let known = hello.server_name().and_then(|name| self.find(name));
        Some(known.unwrap_or(&self.default).clone())
    }
}

/// Whether a certificate with these names is for this one.
pub(super) fn covers(names: &[String], name: &str) -> bool {
    let parent = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
    names.iter().any(|covered| covered == name || parent.as_ref() == Some(covered))
}
