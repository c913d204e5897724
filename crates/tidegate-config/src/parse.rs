//! The text of a file to a valid [`Config`].

mod auth;
mod pools;
mod rewrite;
mod route;
mod settings;
mod sharing;
mod tls;
mod trust;
mod upstream;

use std::{collections::BTreeMap, sync::Arc};

use tidegate_governor::Bounds;
use toml::{Spanned, de::DeTable};

use crate::{
    addresses, choices,
    config::{Address, Admin, Config, Drain, Listener, Log, Upstream},
    errors::{Complaint, Errors, Problems},
    names,
    reader::{Layer, Reader},
    sections, suggest,
};

/// Longest file that is read, in bytes.
pub const MAX_FILE_SIZE: usize = 10_000_000;

/// Reads a configuration file.
///
/// `file_name` is only shown in errors.
///
/// # Errors
///
/// All that is wrong with it, at once. Only where the text is not TOML do other problems stay unsaid: what was meant
/// there is a guess.
pub fn parse(file_name: &str, text: &str) -> Result<Config, Errors> {
    let mut problems = Problems::default();
    if text.len() > MAX_FILE_SIZE {
        problems.of_file(Complaint::new(format!("the file has more than {MAX_FILE_SIZE} bytes")));
        return Err(Errors::new(file_name, "", problems.into_vec()));
    }
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    for error in syntax_errors {
        let complaint = Complaint::new(error.message());
        problems.at(error.span().unwrap_or(0..0), complaint);
    }
    if problems.is_empty() {
        let config = config(document.get_ref(), &mut problems);
        if problems.is_empty() {
            return Ok(config);
        }
    }
    Err(Errors::new(file_name, text, problems.into_vec()))
}

fn config(document: &DeTable<'_>, problems: &mut Problems) -> Config {
    suggest::report_unknown(document, &[&sections::ROOT], problems);
    let mut root = Reader::new(None, vec![Layer(document, &sections::ROOT)], problems);
    root.report_missing();
    let workers = root.count("workers") as usize;
    let listen = root.tables("listen");
    let route = root.tables("route");
    let upstream = root.table("upstream");
    // An absent table is an empty one.
    let nothing = Spanned::new(0..0, DeTable::new());
    let nothing = || Spanned::new(0..0, nothing.get_ref());
    let [tls, defaults, drain, governor, protection, admin, log] =
        ["tls", "defaults", "drain", "governor", "protection", "admin", "log"]
            .map(|name| root.table(name).unwrap_or_else(nothing));

    let listeners = listeners(&listen, problems);
    let mut defaults_reader = Reader::of(&defaults, &sections::DEFAULTS, problems);
    let settings = settings::read(&mut defaults_reader);
    let mode = Reader::of(&governor, &sections::GOVERNOR, problems).choice("mode", choices::MODE);
    let upstreams: BTreeMap<String, Arc<Upstream>> =
        upstream.map(|table| upstream::read_all(&table, &settings, mode, problems)).unwrap_or_default();
    let names: Vec<&str> = upstream_names(document);
    let routes = route::read_all(&route, defaults.get_ref(), &names, problems);
    let tls = tls::read(&tls, problems);
    let drain = Drain { window: Reader::of(&drain, &sections::DRAIN, problems).duration("window") };
    let mut reader = Reader::of(&protection, &sections::PROTECTION, problems);
    let protection =
        Bounds { files: reader.share("files"), memory: reader.share("memory"), lag: reader.duration_or_off("lag") };
    let early_returns = reader.rate("early_returns");
    let admin = read_admin(&admin, &listeners, problems);
    let log = read_log(&log, problems);
    let listeners = listeners.into_iter().map(Spanned::into_inner).collect();
    Config { workers, listeners, routes, upstreams, tls, drain, protection, early_returns, admin, log }
}

/// Every name that stands in the file: a route to an upstream that is itself wrong is not wrong, too.
fn upstream_names<'t>(document: &'t DeTable<'_>) -> Vec<&'t str> {
    let table = document.get("upstream").and_then(|upstream| upstream.get_ref().as_table());
    table.into_iter().flat_map(|table| table.keys()).map(|name| name.get_ref().as_ref()).collect()
}

/// Each with the place of its address.
fn listeners(tables: &[Spanned<&DeTable<'_>>], problems: &mut Problems) -> Vec<Spanned<Listener>> {
    let mut listeners: Vec<Spanned<Listener>> = Vec::new();
    for table in tables {
        let mut reader = Reader::of(table, &sections::LISTEN, problems);
        reader.report_missing();
        let address = reader.text("address", addresses::listen);
        let (http2, http2_max_streams) = (reader.flag("http2"), reader.count("http2_max_streams"));
        let asked = table.get_ref().get("http2");
        let table = reader.table("tls");
        let tls = table.as_ref().and_then(|table| tls::listen(table, http2, reader.problems));
        if let (Some(asked), true, None) = (asked, http2, &table) {
            let complaint = Complaint::new("HTTP/2 is spoken over TLS only");
            reader.problems.at(asked.span(), complaint.help("give this [[listen]] a `tls`, or leave `http2` out"));
        }
        let trust = trust::read(&mut reader, address.as_ref().map(Spanned::get_ref));
        let Some(address) = address else { continue };
        if let (Address::Unix(_), Some(table)) = (address.get_ref(), table) {
            let complaint = Complaint::new("no TLS on a unix socket").context(address.span(), "a unix socket");
            problems.at(table.span(), complaint.help("who can open a socket file reads no wire: leave `tls` out"));
        }
        let span = address.span();
        let address = address.into_inner();
        match listeners.iter().find(|other| other.get_ref().address == address) {
            None => {
                let (place, trust) = (span.clone().into(), Arc::new(trust));
                let listener = Listener { address, place, tls, http2_max_streams, trust };
                listeners.push(Spanned::new(span, listener));
            }
            Some(first) => problems.at(
                span,
                Complaint::new(format!("two [[listen]] have the address `{address}`"))
                    .context(first.span(), "first used here"),
            ),
        }
    }
    listeners
}

fn read_admin(table: &Spanned<&DeTable<'_>>, listeners: &[Spanned<Listener>], problems: &mut Problems) -> Admin {
    let mut reader = Reader::of(table, &sections::ADMIN, problems);
    let address = reader.text("address", addresses::admin);
    let socket = reader.text("socket", addresses::admin_socket).and_then(|place| {
        let span = place.span();
        place.into_inner().map(|path| Spanned::new(span, path))
    });
    let taken = |address: &Address| listeners.iter().find(|listener| listener.get_ref().address == *address);
    if let Some(place) = &address
        && let Some(address) = place.get_ref()
        && !address.is_any_port()
        && let Some(listener) = taken(address)
    {
        let complaint = Complaint::new(format!("[admin] and a [[listen]] have the address `{address}`"));
        // The default stands nowhere in the file.
        if place.span().is_empty() {
            let help = "[admin] is there by default: give it another `address`, or \"off\"";
            problems.at(listener.span(), complaint.help(help));
        } else {
            problems.at(place.span(), complaint.context(listener.span(), "clients connect here"));
        }
    }
    let at = address.as_ref().map(Spanned::span).unwrap_or_default();
    let address = address.and_then(Spanned::into_inner);
    if let Some(place) = &socket {
        let unix = Address::Unix(place.get_ref().clone());
        if let Some(listener) = taken(&unix) {
            let complaint = Complaint::new(format!("[admin] socket and a [[listen]] have the address `{unix}`"));
            problems.at(place.span(), complaint.context(listener.span(), "clients connect here"));
        } else if address.as_ref() == Some(&unix) {
            let complaint = Complaint::new("`socket` and `address` of [admin] are the same");
            problems
                .at(place.span(), complaint.help("`socket` serves all that `address` does: set `address = \"off\"`"));
        }
    }
    Admin { address, place: at.into(), socket: socket.map(Into::into) }
}

fn read_log(table: &Spanned<&DeTable<'_>>, problems: &mut Problems) -> Log {
    let mut reader = Reader::of(table, &sections::LOG, problems);
    let access = reader.text("access", addresses::access_log).expect("it has a default");
    let level = reader.text("level", names::log_level).expect("it has a default").into_inner();
    Log {
        place: access.span().into(),
        access: access.into_inner(),
        level,
        json: reader.choice("format", choices::FORMAT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key that is defined and documented but never read would be accepted in silence.
    #[test]
    fn every_key_is_read() {
        for section in sections::SECTIONS {
            let header = match section.title {
                "top level" => "",
                "[[listen]] tls sni" => "[[listen]]\n[[listen.tls.sni]]",
                "[[listen]] tls" => "[[listen]]\n[listen.tls]",
                "[[route]] jwt" => "[[route]]\n[route.jwt]",
                "[[route]] forward_auth" => "[[route]]\n[route.forward_auth]",
                "[[route]] forward_auth tls" => "[[route]]\n[route.forward_auth.tls]",
                "[upstream.NAME] servers" => "[upstream.u]\n[[upstream.u.servers]]",
                "[upstream.NAME] classes" => "[upstream.u]\n[[upstream.u.classes]]",
                title => match title.strip_prefix("[upstream.NAME] ") {
                    Some(inner) => &format!("[upstream.u]\n[upstream.u.{inner}]"),
                    None => title,
                },
            };
            for key in section.keys {
                // No key takes a date.
                let errors = parse("", &format!("{header}\n{} = 1979-05-27\n", key.name)).unwrap_err();
                let expected = format!("`{}` must be", key.name);
                assert!(errors.iter().any(|it| it.message.starts_with(&expected)), "{}: {errors}", section.title);
            }
        }
    }
}
