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
        let lower = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        self.known.get(&lower).or_else(|| {
            let (_, parent) = lower.split_once('.')?;
            self.known.get(&format!("*.{parent}"))
        })
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
