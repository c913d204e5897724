//! Where things listen and where servers are, as the file writes it.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;

use crate::{
    config::{AccessLog, Address, Proxy, ServerAddress},
    convert::shorten,
    errors::Complaint,
    names,
};

/// Longest path of a unix socket, in bytes: `sun_path` is 108 with its end.
const MAX_SOCKET_PATH: usize = 107;

/// `127.0.0.1:8080`, `[::]:8080` or `unix:PATH`.
pub(crate) fn listen(text: &str) -> Result<Address, Complaint> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path).map(Address::Unix);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Address::Tcp(address));
    }
    let complaint = Complaint::new(format!("`{}` is not an IP address and port, nor `unix:PATH`", shorten(text)));
    let help = match text.rsplit_once(':') {
        Some(("", port)) if is_port(port) => format!("for every interface write \"0.0.0.0:{port}\" or \"[::]:{port}\""),
        Some(("localhost", port)) if is_port(port) => format!("write \"127.0.0.1:{port}\""),
        Some((host, port)) if is_port(port) && !host.contains(':') => {
            "names are not looked up here: write the IP address of an interface, or 0.0.0.0 for all".to_owned()
        }
        _ if text.starts_with('/') => format!("for a unix socket write \"unix:{}\"", shorten(text)),
        _ if text.parse::<Ipv6Addr>().is_ok() => format!("write \"[{text}]:8080\""),
        _ => "write \"0.0.0.0:8080\", \"[::]:8080\" or \"unix:/run/tidegate.sock\"".to_owned(),
    };
    Err(complaint.help(help))
}

/// As [`listen`], or `off`.
pub(crate) fn admin(text: &str) -> Result<Option<Address>, Complaint> {
    if text == "off" { Ok(None) } else { listen(text).map(Some) }
}

/// The path of a unix socket, with or without `unix:`, or `off`.
pub(crate) fn admin_socket(text: &str) -> Result<Option<PathBuf>, Complaint> {
    if text == "off" {
        return Ok(None);
    }
    if text.parse::<SocketAddr>().is_ok() {
        return Err(Complaint::new("commands are taken on a unix socket only")
            .help("write a path such as \"/run/tidegate/admin.sock\"; who may open it may command"));
    }
    unix(text.strip_prefix("unix:").unwrap_or(text)).map(Some)
}

/// `host:port`, `ws://host:port`, `unix:PATH` or `srv:NAME`.
pub(crate) fn server(text: &str) -> Result<ServerAddress, Complaint> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path).map(ServerAddress::Unix);
    }
    if let Some(name) = text.strip_prefix("srv:") {
        return service(name).map(ServerAddress::Srv);
    }
    if text.starts_with('_') && !text.contains(':') {
        let complaint = Complaint::new(format!("`{}` has no port", shorten(text)));
        return Err(complaint.help(format!("for the SRV records of a service write \"srv:{}\"", shorten(text))));
    }
    let bare = match text.split_once("://") {
        None => text,
        Some(("ws", bare)) => bare,
        Some(("wss" | "https", bare)) => {
            return Err(Complaint::new("TLS to servers is not switched on by a scheme")
                .help(format!("write \"{}\" and add `tls = {{}}` to this [upstream.NAME]", shorten(bare))));
        }
        Some((scheme, bare)) => {
            return Err(Complaint::new(format!("a server has no scheme `{}`", shorten(scheme)))
                .help(format!("write \"{}\"", shorten(bare))));
        }
    };
    if bare.contains('/') {
        return Err(Complaint::new(format!("`{}` is not a server: it has a path", shorten(text)))
            .help("write \"host:port\"; each request's own path is passed on. A unix socket is \"unix:PATH\""));
    }
    let (host, port) = split_port(bare).ok_or_else(|| {
        Complaint::new(format!("`{}` has no port", shorten(text))).help(format!("write \"{}:3000\"", shorten(bare)))
    })?;
    let port = port
        .parse::<u16>()
        .ok()
        .filter(|number| *number != 0 && is_port(port))
        .ok_or_else(|| Complaint::new(format!("`{}` is not a port: 1 to 65535", shorten(port))))?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner
            .parse::<Ipv6Addr>()
            .map_err(|_| Complaint::new(format!("`{}` is not an IPv6 address", shorten(inner))))?
            .to_string(),
        None => names::domain(host)?,
    };
    Ok(ServerAddress::Tcp { host, port })
}

/// The name of SRV records.
fn service(name: &str) -> Result<String, Complaint> {
    let wrong = |why: &str| Complaint::new(format!("`{}` is not the name of a service: {why}", shorten(name)));
    if name.contains(':') {
        return Err(wrong("it has a port").help("its SRV records have the ports: leave it out"));
    }
    if name.parse::<IpAddr>().is_ok() || !name.contains('.') {
        return Err(wrong("it is no name in DNS").help("write it whole: \"srv:_ws._tcp.chat.example.com\""));
    }
    names::domain(name)
}

/// `10.0.0.0/8`, `192.0.2.7`, `2001:db8::/32` or `unix:`.
pub(crate) fn proxy(text: &str) -> Result<Proxy, Complaint> {
    if text == "unix:" {
        return Ok(Proxy::Unix);
    }
    network(text, "write an IP address, a network such as \"10.0.0.0/8\", or \"unix:\"").map(Proxy::Net)
}

/// `10.0.0.0/8`, `192.0.2.7` or `2001:db8::/32`; `help` for what is neither.
pub(crate) fn network(text: &str, help: &str) -> Result<IpNet, Complaint> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    let wrong = |why: &str| Complaint::new(format!("`{}` is not a network: {why}", shorten(text)));
    let Some((address, length)) = text.split_once('/') else {
        return Err(match text.parse::<SocketAddr>() {
            Ok(address) => wrong("it has a port").help(format!("write \"{}\"", address.ip())),
            Err(_) => wrong("names are not looked up here").help(help),
        });
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(wrong("no IP address stands before the `/`"));
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let network = length.parse().ok().and_then(|length| IpNet::new(address, length).ok());
    let Some(network) = network else {
        return Err(wrong(&format!("behind the `/` stands a number of bits, 0 to {most}")));
    };
    if network.trunc() != network {
        return Err(wrong("bits are set behind its prefix").help(format!("write \"{}\"", network.trunc())));
    }
    Ok(network)
}

/// `stdout`, `off` or a path.
pub(crate) fn access_log(text: &str) -> Result<AccessLog, Complaint> {
    match text {
        "stdout" => Ok(AccessLog::Stdout),
        "off" => Ok(AccessLog::Off),
        // So that a mistyped word does not become a file.
        word if !word.contains('/') => {
            Err(Complaint::new(format!("`{}` is neither \"stdout\" nor \"off\" nor the path of a file", shorten(word)))
                .help(format!("a file here is \"./{}\"", shorten(word))))
        }
        path => file(path).map(AccessLog::File),
    }
}

/// The path of a file: anything but nothing and control characters.
pub(crate) fn file(text: &str) -> Result<PathBuf, Complaint> {
    if text.is_empty() {
        return Err(Complaint::new("the path is empty"));
    }
    if text.contains(char::is_control) {
        return Err(Complaint::new("a path holds no control characters"));
    }
    Ok(PathBuf::from(text))
}

fn unix(path: &str) -> Result<PathBuf, Complaint> {
    if path.len() > MAX_SOCKET_PATH {
        return Err(Complaint::new(format!("the path of a unix socket has at most {MAX_SOCKET_PATH} bytes")));
    }
    if !path.contains('/') {
        return Err(Complaint::new(format!("`{path}` is not the path of a unix socket"))
            .help("write a path with a `/`: \"/run/tidegate.sock\" or \"./tidegate.sock\""));
    }
    file(path)
}

/// `host:port`, or `[v6]:port`; `None` without a port. An IPv6 address without brackets has none.
fn split_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    if host.starts_with('[') != host.ends_with(']') {
        return None;
    }
    Some((host, port))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}
