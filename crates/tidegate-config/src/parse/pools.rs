//! The tables inside `[upstream.NAME]` that say how its servers are chosen and watched.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use toml::{Spanned, de::DeTable};

use crate::{
    choices::{self, CheckKind},
    config::{Balance, Server, ServerAddress},
    convert::shorten,
    errors::{Complaint, Problems},
    names,
    pools::{Affinity, Check, HashOn, Health, NameServer, SameSite, Sticky, Target},
    reader::Reader,
    sections,
};

/// What `balance`, `hash_on` and `sticky` say together.
pub(super) fn affinity(reader: &mut Reader<'_, '_>, balance: Balance) -> Affinity {
    let hash_on = reader.text("hash_on", hash_on);
    let sticky = reader.table("sticky");
    let hashes = balance == Balance::Hash;
    if hashes && reader.span("hash_on").is_none() {
        let span = reader.span("balance").unwrap_or_default();
        reader.problems.at(
            span,
            Complaint::new("`balance = \"hash\"` needs `hash_on`")
                .help("add `hash_on = \"client_ip\"`, \"header:NAME\" or \"cookie:NAME\""),
        );
    }
    if let Some(span) = reader.span("hash_on").filter(|_| !hashes) {
        reader.problems.at(span, Complaint::new("`hash_on` does nothing without `balance = \"hash\"`"));
    }
    if let Some(table) = &sticky
        && hashes
    {
        let span = reader.span("balance").unwrap_or_default();
        reader.problems.at(
            table.span(),
            Complaint::new("`sticky` and `balance = \"hash\"` both say where a client goes")
                .help("with a cookie, balance by \"least_sessions\"")
                .context(span, "the other one"),
        );
    }
    match (sticky, hash_on) {
        (Some(table), _) => self::sticky(&table, reader.problems).map_or(Affinity::None, Affinity::Sticky),
        (None, Some(hash_on)) => Affinity::Hash(hash_on.into_inner()),
        (None, None) => Affinity::None,
    }
}

fn sticky(table: &Spanned<&DeTable<'_>>, problems: &mut Problems) -> Option<Sticky> {
    let mut reader = Reader::of(table, &sections::STICKY, problems);
    reader.report_missing();
    let cookie = reader.text("cookie", cookie_name);
    let path = reader.text("path", names::path)?;
    let same_site = reader.choice("same_site", choices::SAME_SITE);
    let always_secure = reader.choice("secure", choices::SECURE);
    let sticky = Sticky {
        secret: reader.text("secret", secret).map(Spanned::into_inner),
        max_age: reader.duration_or_off("max_age"),
        path: path.get_ref().clone(),
        same_site,
        always_secure,
        cookie: cookie.as_ref()?.get_ref().clone(),
    };
    if same_site == SameSite::None && !always_secure {
        let span = reader.span("same_site").unwrap_or_default();
        let complaint = Complaint::new("browsers drop a cookie with `same_site = \"none\"` that is not secure");
        reader.problems.at(span, complaint.help("add `secure = \"always\"`; its clients must come over TLS"));
    }
    let span = cookie.as_ref().map(Spanned::span).unwrap_or_default();
    check_prefix(&sticky, span, reader.problems);
    Some(sticky)
}

/// What browsers hold such names to (RFC 6265bis section 4.1.3).
fn check_prefix(sticky: &Sticky, span: Range<usize>, problems: &mut Problems) {
    let name = sticky.cookie.to_ascii_lowercase();
    let to_host = name.starts_with("__host-");
    if (to_host || name.starts_with("__secure-")) && !sticky.always_secure {
        let complaint = Complaint::new(format!("browsers drop a cookie `{}` that is not secure", sticky.cookie));
        problems.at(span, complaint.help("add `secure = \"always\"`"));
    } else if to_host && sticky.path != "/" {
        let complaint = Complaint::new(format!("browsers drop a cookie `{}` with a path", sticky.cookie));
        problems.at(span, complaint.help("leave `path` out"));
    }
}

/// Which name server `resolver` names.
pub(super) fn resolver(reader: &mut Reader<'_, '_>, servers: &[Spanned<Server>]) -> Option<NameServer> {
    let service = servers.iter().find(|server| matches!(server.get_ref().address, ServerAddress::Srv(_)));
    if let (Some(service), None) = (service, reader.span("resolver")) {
        let complaint = Complaint::new("a service needs `resolver`: the system's resolver looks up hosts only");
        let help = "name the name server to ask: `resolver = \"10.0.0.2\"`; /etc/resolv.conf has the system's";
        reader.problems.at(service.span(), complaint.help(help));
    }
    let resolver = reader.text("resolver", name_server)?;
    if reader.duration_or_off("resolve_interval").is_none() {
        let span = reader.span("resolve_interval").unwrap_or_default();
        reader.problems.at(
            resolver.span(),
            Complaint::new("`resolver` does nothing with `resolve_interval = \"off\"`")
                .context(span, "names are looked up by the system, at each dial"),
        );
    }
    Some(NameServer { place: resolver.span().into(), address: resolver.into_inner() })
}

/// `10.0.0.2` or `10.0.0.2:5353`.
fn name_server(text: &str) -> Result<SocketAddr, Complaint> {
    let alone = || text.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|ip| SocketAddr::from((ip, 53)));
    text.parse().ok().or_else(alone).ok_or_else(|| {
        Complaint::new(format!("`{}` is not the address of a name server", shorten(text)))
            .help("write an IP address, with a port if it is not 53: \"10.0.0.2\" or \"127.0.0.1:5353\"")
    })
}

/// What `health` says.
pub(super) fn health(reader: &mut Reader<'_, '_>) -> Option<Health> {
    let table = reader.table("health")?;
    let mut reader = Reader::of(&table, &sections::HEALTH, reader.problems);
    reader.report_missing();
    let target = Target {
        path: reader.text("path", request_target)?.into_inner(),
        host: reader.text("host", authority).map(Spanned::into_inner),
    };
    let status = reader.text("status", statuses)?.into_inner();
    let subprotocol = reader.text("subprotocol", names::subprotocol).map(Spanned::into_inner);
    let (interval, timeout) = (reader.duration("interval"), reader.duration("timeout"));
    let (rise, fall) = (reader.count("rise"), reader.count("fall"));
    let close_when_down = reader.choice("on_down", choices::ON_DOWN);
    let kind = reader.optional_choice("kind", choices::CHECK)?;
    let idle: &[&str] = match kind {
        CheckKind::Tcp => &["path", "host", "status", "subprotocol"],
        CheckKind::Http => &["subprotocol"],
        CheckKind::WebSocket => &["status"],
    };
    for key in idle {
        if let Some(span) = reader.span(key) {
            let spelling = choices::CHECK.iter().find(|(_, it)| *it == kind).map_or("", |(spelling, _)| spelling);
            let complaint = Complaint::new(format!("`{key}` does nothing with `kind = {spelling}`"));
            let help = match *key {
                "status" if kind == CheckKind::WebSocket => "a WebSocket is good when it gets 101 and answers a ping",
                "subprotocol" => "it goes with `kind = \"websocket\"`",
                _ => "it goes with `kind = \"http\"`",
            };
            reader.problems.at(span, complaint.help(help));
        }
    }
    let check = match kind {
        CheckKind::Tcp => Check::Tcp,
        CheckKind::Http => Check::Http { target, status },
        CheckKind::WebSocket => Check::WebSocket { target, subprotocol },
    };
    Some(Health { check, interval, timeout, rise, fall, close_when_down })
}

/// The target of a request, with its query (RFC 9112 section 3.2.1).
fn request_target(text: &str) -> Result<String, Complaint> {
    if !text.starts_with('/') {
        return Err(Complaint::new("a path starts with `/`").help(format!("write \"/{}\"", shorten(text))));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('#') {
        return Err(Complaint::new("a path has only visible ASCII characters, and no `#`"));
    }
    Ok(text.to_owned())
}

/// A host with or without port.
fn authority(text: &str) -> Result<String, Complaint> {
    let host = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => match port.parse::<u16>() {
            Ok(_) => host,
            Err(_) => return Err(Complaint::new(format!("`{}` is not a port: 1 to 65535", shorten(port)))),
        },
        _ => text,
    };
    names::host(host)?;
    Ok(text.to_ascii_lowercase())
}

/// `200` or `200-299`.
fn statuses(text: &str) -> Result<(u16, u16), Complaint> {
    let number = |text: &str| text.trim().parse::<u16>().ok().filter(|status| (100..=599).contains(status));
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (number(low), number(high)) {
        (Some(low), Some(high)) if low <= high => Ok((low, high)),
        _ => Err(Complaint::new(format!("`{}` is neither a status nor a range of them", shorten(text)))
            .help("write \"200\" or \"200-399\"")),
    }
}

fn hash_on(text: &str) -> Result<HashOn, Complaint> {
    match text.split_once(':') {
        None if text == "client_ip" => Ok(HashOn::ClientIp),
        Some(("header", name)) if is_token(name) => Ok(HashOn::Header(name.to_ascii_lowercase())),
        Some(("cookie", name)) => cookie_name(name).map(HashOn::Cookie),
        Some(("header", name)) => Err(Complaint::new(format!("`{}` is not the name of a header", shorten(name)))),
        _ => Err(Complaint::new(format!("`{}` is nothing that can be hashed", shorten(text)))
            .help("write \"client_ip\", \"header:NAME\" or \"cookie:NAME\"")),
    }
}

/// RFC 6265 section 4.1.1.
pub(super) fn cookie_name(text: &str) -> Result<String, Complaint> {
    if !is_token(text) || text.len() > 64 {
        return Err(Complaint::new(format!("`{}` is not the name of a cookie", shorten(text)))
            .help("1 to 64 letters, digits and !#$%&'*+-.^_`|~"));
    }
    Ok(text.to_owned())
}

fn secret(text: &str) -> Result<String, Complaint> {
    if !(16..=128).contains(&text.len()) {
        return Err(Complaint::new("a secret has 16 to 128 characters").help("`openssl rand -hex 16` makes one"));
    }
    Ok(text.to_owned())
}

pub(super) fn is_token(text: &str) -> bool {
    names::subprotocol(text).is_ok()
}
