//! Names, hosts, paths, origins and log levels, as the file writes them.

use std::net::Ipv6Addr;

use crate::{
    config::{Field, Host},
    convert::shorten,
    errors::Complaint,
};

/// Longest name of a route or upstream, in bytes.
const MAX_NAME: usize = 128;

/// Longest path of a route, in bytes.
const MAX_PATH: usize = 1024;

/// The name of a route or an upstream, safe as a metric label.
pub(crate) fn label(text: &str) -> Result<String, Complaint> {
    let complaint = if text.is_empty() || text.len() > MAX_NAME {
        Complaint::new(format!("a name has 1 to {MAX_NAME} characters"))
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
        Complaint::new("a name has only visible ASCII characters, without `\"` and `\\`")
            .help("it is a metric label: letters, digits, `-` and `/` serve best")
    } else if text.starts_with('_') {
        Complaint::new("a name does not start with `_`").help("those are tidegate's own, such as `_none`")
    } else {
        return Ok(text.to_owned());
    };
    Err(complaint)
}

/// `chat.example.com`, `*.example.com`, `192.0.2.1` or `[2001:db8::1]`.
pub(crate) fn host(text: &str) -> Result<Host, Complaint> {
    if text == "*" {
        return Err(Complaint::new("`*` alone is not a host").help("leave `host` out to serve every host"));
    }
    if let Some((_, rest)) = text.split_once("://") {
        return Err(Complaint::new("a host has no scheme").help(format!("write \"{}\"", shorten(rest))));
    }
    if let Some(below) = text.strip_prefix("*.") {
        return Ok(Host::Below(format!(".{}", domain(below)?)));
    }
    authority_host(text).map(Host::Exact)
}

/// A DNS name or an IPv4 address, in lower case.
pub(crate) fn domain(text: &str) -> Result<String, Complaint> {
    let wrong = |why: &str| Complaint::new(format!("`{}` is not a host name: {why}", shorten(text)));
    if text.is_empty() || text.len() > 253 {
        return Err(wrong("it has 1 to 253 characters"));
    }
    if !text.is_ascii() {
        return Err(wrong("it is not ASCII").help("write the name as browsers send it, in punycode: `xn--...`"));
    }
    if text.contains('*') {
        return Err(wrong("`*` stands only at the beginning of a route's `host`, as `*.example.com`"));
    }
    if text.contains(':') {
        return Err(wrong("it holds a `:`").help("leave out the port; an IPv6 address stands in brackets: `[::1]`"));
    }
    if let Some(bare) = text.strip_suffix('.') {
        return Err(wrong("it ends with a dot").help(format!("write \"{}\"", shorten(bare))));
    }
    // The underscore is no host name's, but container networks use it.
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if !text.split('.').all(is_label) {
        return Err(wrong("each part between dots has 1 to 63 letters, digits and hyphens"));
    }
    Ok(text.to_ascii_lowercase())
}

/// `NAME: VALUE`, or `NAME` for one with any value.
pub(crate) fn field(text: &str) -> Result<Field, Complaint> {
    let (name, value) = match text.split_once(':') {
        Some((name, value)) => (name, Some(value.trim())),
        None => (text, None),
    };
    let wrong = |why: &str| Complaint::new(format!("`{}` is not a header field: {why}", shorten(text)));
    if subprotocol(name).is_err() {
        let why = format!("`{}` is not the name of one", shorten(name));
        return Err(wrong(&why).help("write \"X-Version: 2\", or \"X-Version\" for one with any value"));
    }
    let key = match name.to_ascii_lowercase().as_str() {
        "host" => Some("host"),
        "sec-websocket-protocol" => Some("subprotocol"),
        _ => None,
    };
    if let Some(key) = key {
        return Err(wrong("a route has a key for it").help(format!("write `{key} = ...`")));
    }
    match value {
        Some("") => Err(wrong("it has no value").help(format!("for one with any value write \"{}\"", shorten(name)))),
        Some(value) if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) => {
            Err(wrong("a value has visible ASCII characters and spaces"))
        }
        value => Ok(Field { name: name.to_ascii_lowercase(), value: value.map(str::to_owned) }),
    }
}

/// A prefix of whole segments, made of what RFC 3986 section 3.3 allows in a path, less `%`.
pub(crate) fn path(text: &str) -> Result<String, Complaint> {
    if !text.starts_with('/') {
        return Err(Complaint::new("a path starts with `/`").help(format!("write \"/{}\"", shorten(text))));
    }
    if text.len() > MAX_PATH {
        return Err(Complaint::new(format!("a path has at most {MAX_PATH} bytes")));
    }
    if text.contains("//") {
        return Err(Complaint::new("a path holds no `//`").help("write each `/` once"));
    }
    if text.split('/').any(|segment| segment == ".." || segment == ".") {
        return Err(Complaint::new("a path holds no `.` and `..` segments").help("write the path they lead to"));
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "/-._~!$&'()*+,;=:@".contains(c);
    match text.chars().find(|c| !is_allowed(*c)) {
        None => Ok(text.to_owned()),
        Some(c @ ('?' | '#')) => {
            Err(Complaint::new(format!("a path holds no `{c}`")).help("only the path is matched, not the query"))
        }
        Some('%') => Err(Complaint::new("a path holds no `%`")
            .help("paths are compared as clients write them, and they may encode any character or none")),
        Some(c) => Err(Complaint::new(format!("a path holds no {c:?}"))),
    }
}

/// A token of RFC 9110 section 5.6.2, as RFC 6455 section 4.1 has it.
pub(crate) fn subprotocol(text: &str) -> Result<String, Complaint> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err(Complaint::new(format!("`{}` is not a subprotocol: it is one token", shorten(text)))
            .help("letters, digits and !#$%&'*+-.^_`|~; no spaces, commas or slashes"));
    }
    Ok(text.to_owned())
}

/// `scheme://host[:port]` as browsers send it (RFC 6454 section 6.2), or `null`; `*.` may stand before the host.
pub(crate) fn origin(text: &str) -> Result<String, Complaint> {
    let wrong = |why: &str| Complaint::new(format!("`{}` is not an origin: {why}", shorten(text)));
    if text == "null" {
        return Ok(text.to_owned());
    }
    if text == "*" {
        return Err(wrong("it is a wildcard").help("leave `origins` out to allow every origin"));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(wrong("it has no scheme").help(format!("write \"https://{}\"", shorten(text))));
    };
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(is_scheme) {
        return Err(wrong("its scheme is none"));
    }
    if let Some(slash) = rest.find(['/', '?', '#']) {
        return Err(wrong("it has a path").help(format!("write \"{}\"", shorten(&text[..scheme.len() + 3 + slash]))));
    }
    let scheme = scheme.to_ascii_lowercase();
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let host = match host.strip_prefix("*.") {
        Some(below) if below.contains('.') => format!("*.{}", domain(below)?),
        Some(_) => return Err(wrong("its wildcard covers more than one site").help("write \"https://*.example.com\"")),
        None => authority_host(host)?,
    };
    let Some(port) = port else { return Ok(format!("{scheme}://{host}")) };
    if port.starts_with('0') || !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().is_err() {
        return Err(wrong("its port is not 1 to 65535"));
    }
    if matches!((scheme.as_str(), port), ("http", "80") | ("https", "443")) {
        return Err(wrong("browsers leave out the default port").help(format!("write \"{scheme}://{host}\"")));
    }
    Ok(format!("{scheme}://{host}:{port}"))
}

/// What `RUST_LOG` takes, less what would hide a typing mistake: a word alone is a level, never a target.
pub(crate) fn log_level(text: &str) -> Result<String, Complaint> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in text.split(',') {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let complaint = Complaint::new(format!("`{}` is not a log level", shorten(level)));
            let help = match crate::suggest::nearest(level, LEVELS.into_iter()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("levels are {}", crate::keys::either(&LEVELS)),
            };
            return Err(complaint.help(help));
        }
    }
    Ok(text.to_owned())
}

/// A host as it stands in an authority: IPv6 in brackets.
fn authority_host(text: &str) -> Result<String, Complaint> {
    match text.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => match inner.parse::<Ipv6Addr>() {
            Ok(address) => Ok(format!("[{address}]")),
            Err(_) => Err(Complaint::new(format!("`{}` is not an IPv6 address", shorten(inner)))),
        },
        None => domain(text),
    }
}
