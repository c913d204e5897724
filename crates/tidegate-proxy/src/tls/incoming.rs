//! What a listener shows its clients, and of whom it wants certificates.

use std::{sync::Arc, time::SystemTime};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    server::{ClientHello, ProducesTickets, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tidegate_config::{ClientAuth, Fault, FilePath, Host, KeyPair, ListenTls, UnknownName};

use super::{
    names::{self, Names},
    pem::{self, Pair},
    stamp::Stamp,
};

/// A listener's TLS as last loaded.
pub(crate) struct Incoming {
    pub(super) config: Arc<ServerConfig>,
    names: Arc<Names>,
    unknown_name: UnknownName,
    /// Each certificate's file, and when the first certificate in it expires.
    pub(super) expiries: Vec<(FilePath, SystemTime)>,
    pub(super) stamp: Stamp,
    tickets: Tickets,
}

/// The keys of session tickets, and for whom they are good: a ticket stands for the client's certificate, so it must
/// not outlive a change of what certificates are accepted, and another listener must not take it.
#[derive(Clone)]
struct Tickets {
    /// Their keys change every six hours; a ticket is good for twelve.
    keys: Arc<dyn ProducesTickets>,
    /// The authorities' files as they were read, and whether a certificate is required.
    trust: (Vec<u8>, bool),
}

impl Incoming {
    /// Loads a listener's files. `None`: one is no good, which is then among the faults. Tickets of `before` stay good
    /// where the clients' authorities are the same.
    pub(crate) fn load(settings: &ListenTls, before: Option<&Self>, faults: &mut Vec<Fault>) -> Option<Self> {
        // Before the files are read: a change meanwhile shows.
        let stamp = Stamp::of(files(settings));
        let certificates = certificates(settings, faults);
        let (clients, trust) = clients(settings.clients.as_ref(), faults)?;
        let (names, expiries) = certificates?;
        let tickets = match before.map(|before| &before.tickets).filter(|tickets| tickets.trust == trust) {
            Some(tickets) => tickets.clone(),
            None => match Ticketer::new() {
                Ok(keys) => Tickets { keys, trust },
                Err(error) => {
                    faults.push(settings.default.key.fault(error));
                    return None;
                }
            },
        };
        let names = Arc::new(names);
        let config = ServerConfig::builder_with_provider(super::provider())
            .with_protocol_versions(super::versions(settings.min_version));
        let mut config = match config {
            Ok(config) => config.with_client_cert_verifier(clients).with_cert_resolver(names.clone()),
            Err(error) => {
                faults.push(settings.default.certificate.fault(error));
                return None;
            }
        };
        config.alpn_protocols = super::ALPN.iter().map(|protocol| protocol.to_vec()).collect();
        if !settings.http2 {
            config.alpn_protocols.remove(0);
        }
        config.ticketer = tickets.keys.clone();
        // A replayed handshake would open a session: no early data (RFC 8446 section 8).
        config.max_early_data_size = 0;
        let unknown_name = settings.unknown_name;
        Some(Self { config: Arc::new(config), names, unknown_name, expiries, stamp, tickets })
    }

    /// Whether a connection that a client has opened for this server name may carry its requests for this host: others
    /// are misdirected (RFC 9110 section 15.5.20).
    pub(crate) fn may_carry(&self, opened: Option<&str>, host: &str) -> bool {
        let unknown = (self.unknown_name == UnknownName::Default).then_some(&self.names.default);
        self.names.may_carry(opened, host, unknown)
    }

    /// Whether a client that asks for this is served.
    pub(super) fn serves(&self, hello: &ClientHello<'_>) -> bool {
        self.unknown_name == UnknownName::Default
            || hello.server_name().is_some_and(|name| self.names.find(name).is_some())
    }
}

/// Every file that a listener's TLS comes from.
pub(super) fn files(settings: &ListenTls) -> impl Iterator<Item = &FilePath> {
    let pairs = std::iter::once(&settings.default).chain(settings.sni.iter().map(|named| &named.pair));
    let clients = settings.clients.iter().flat_map(|clients| std::iter::once(&clients.ca).chain(&clients.crl));
    pairs.flat_map(|pair| [&pair.certificate, &pair.key]).chain(clients)
}

type Certificates = (Names, Vec<(FilePath, SystemTime)>);

fn certificates(settings: &ListenTls, faults: &mut Vec<Fault>) -> Option<Certificates> {
    let default = pem::pair(&settings.default, faults);
    let others = settings.sni.iter().map(|named| Some((named, pem::pair(&named.pair, faults)?))).collect::<Vec<_>>();
    let default = default?;
    let mut expiries = vec![(settings.default.certificate.clone(), default.not_after)];
    let mut names = Names::new(default.key.clone());
    let mut taken = Vec::new();
    let before = faults.len();
    claim(&mut names, &settings.default, &default, default.names.clone(), &mut taken, faults);
    for other in others {
        let (named, pair) = other?;
        expiries.push((named.pair.certificate.clone(), pair.not_after));
        let wanted = match named.names.as_slice() {
            [] if pair.names.is_empty() => {
                let fault = named.pair.certificate.fault("no DNS name in the certificate");
                faults.push(fault.help("say whom it is for: `names = [\"chat.example.com\"]`"));
                continue;
            }
            [] => pair.names.clone(),
            hosts => hosts.iter().map(Host::to_string).collect(),
        };
        for name in wanted.iter().filter(|name| !names::covers(&pair.names, name)) {
            let warning = named.pair.certificate.warning(format_args!("the certificate is not for `{name}`"));
            faults.push(warning.help("clients that ask for this name will refuse it"));
        }
        claim(&mut names, &named.pair, &pair, wanted, &mut taken, faults);
    }
    faults[before..].iter().all(Fault::is_warning).then_some((names, expiries))
}

/// Gives a certificate its names; no other has them.
fn claim<'s>(
    names: &mut Names,
    files: &'s KeyPair,
    pair: &Pair,
    wanted: Vec<String>,
    taken: &mut Vec<(String, &'s KeyPair)>,
    faults: &mut Vec<Fault>,
) {
    for name in wanted {
        if names.add(name.clone(), &pair.key) {
            taken.push((name, files));
        } else if let Some((_, first)) = taken.iter().find(|(other, first)| *other == name && *first != files) {
            let fault =
                files.certificate.fault(format_args!("another certificate of this listener is for `{name}`, too"));
            let help = "say with `names` which of the two is for which name";
            faults.push(fault.help(help).beside(&first.certificate, "the other"));
        }
    }
}

type Clients = (Arc<dyn ClientCertVerifier>, (Vec<u8>, bool));

fn clients(settings: Option<&ClientAuth>, faults: &mut Vec<Fault>) -> Option<Clients> {
    let Some(settings) = settings else { return Some((WebPkiClientVerifier::no_client_auth(), Default::default())) };
    let (roots, mut trust) = pem::roots(&settings.ca, faults)?;
    let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), super::provider());
    if let Some(file) = &settings.crl {
        let (lists, text) = pem::revocations(file, faults)?;
        verifier = verifier.with_crls(lists).only_check_end_entity_revocation();
        trust.extend(text);
    }
    if !settings.required {
        verifier = verifier.allow_unauthenticated();
    }
    match verifier.build() {
        Ok(verifier) => Some((verifier, (trust, settings.required))),
        Err(error) => {
            faults.push(settings.crl.as_ref().unwrap_or(&settings.ca).fault(error));
            None
        }
    }
}
