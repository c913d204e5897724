//! `[[listen]] tls`, `[upstream.NAME] tls` and `[tls]`.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    addresses, choices,
    config::{ClientAuth, KeyPair, ListenTls, NamedPair, Tls, UpstreamTls},
    errors::{Complaint, Problems},
    file::FilePath,
    keys::Section,
    names,
    reader::Reader,
    sections,
};

pub(super) fn listen(table: &Spanned<&DeTable<'_>>, http2: bool, problems: &mut Problems) -> Option<ListenTls> {
    let mut reader = Reader::of(table, &sections::LISTEN_TLS, problems);
    reader.report_missing();
    let default = key_pair(&mut reader);
    let sni = match reader.empty_list("sni") {
        Some(_) => Vec::new(),
        None => reader.tables("sni"),
    };
    let sni = sni.iter().map(|table| named_pair(table, reader.problems)).collect::<Vec<_>>();
    let ca = file(&mut reader, "client_ca");
    let crl = file(&mut reader, "client_crl");
    let required = reader.choice("client_auth", choices::CLIENT_AUTH);
    if ca.is_none() {
        for name in ["client_auth", "client_crl"] {
            needs(&mut reader, table, name, "client_ca", "of which authority are the clients' certificates?");
        }
    }
    Some(ListenTls {
        http2,
        unknown_name: reader.choice("unknown_name", choices::UNKNOWN_NAME),
        min_version: reader.choice("min_version", choices::MIN_VERSION),
        clients: ca.map(|ca| ClientAuth { ca, crl, required }),
        default: default?,
        sni: sni.into_iter().collect::<Option<_>>()?,
    })
}

fn named_pair(table: &Spanned<&DeTable<'_>>, problems: &mut Problems) -> Option<NamedPair> {
    let mut reader = Reader::of(table, &sections::SNI, problems);
    reader.report_missing();
    let pair = key_pair(&mut reader);
    let names = reader.texts("names", names::host).into_iter().map(Spanned::into_inner).collect();
    if let Some(span) = reader.empty_list("names") {
        let complaint = Complaint::new("a certificate for no name is never used");
        reader.problems.at(span, complaint.help("leave `names` out to use those in the certificate"));
    }
    Some(NamedPair { pair: pair?, names })
}

/// As whoever connects, with the keys of this section.
pub(super) fn client(table: &Spanned<&DeTable<'_>>, section: &'static Section, problems: &mut Problems) -> UpstreamTls {
    let mut reader = Reader::of(table, section, problems);
    for (one, other) in [("certificate", "key"), ("key", "certificate")] {
        needs(&mut reader, table, one, other, "a certificate and its private key go together");
    }
    UpstreamTls {
        ca: file(&mut reader, "ca"),
        server_name: reader.text("server_name", names::domain).map(Spanned::into_inner),
        identity: key_pair(&mut reader),
        min_version: reader.choice("min_version", choices::MIN_VERSION),
    }
}

pub(super) fn read(table: &Spanned<&DeTable<'_>>, problems: &mut Problems) -> Tls {
    let mut reader = Reader::of(table, &sections::TLS, problems);
    Tls {
        handshake_timeout: reader.duration("handshake_timeout"),
        max_handshakes: reader.count("max_handshakes"),
        reload_interval: reader.duration_or_off("reload_interval"),
    }
}

fn key_pair(reader: &mut Reader<'_, '_>) -> Option<KeyPair> {
    let (certificate, key) = (file(reader, "certificate"), file(reader, "key"));
    Some(KeyPair { certificate: certificate?, key: key? })
}

fn file(reader: &mut Reader<'_, '_>, name: &str) -> Option<FilePath> {
    reader.text(name, addresses::file).map(FilePath::from)
}

/// Reports a key that says nothing without another.
fn needs(reader: &mut Reader<'_, '_>, table: &Spanned<&DeTable<'_>>, name: &str, other: &str, why: &str) {
    let table: &DeTable<'_> = table.get_ref();
    let there = |name: &str| table.get(name).map(Spanned::<DeValue<'_>>::span);
    if let (Some(span), None) = (there(name), there(other)) {
        let complaint = Complaint::new(format!("`{name}` says nothing without `{other}`"));
        reader.problems.at(span, complaint.help(format!("add `{other} = ...`: {why}")));
    }
}
