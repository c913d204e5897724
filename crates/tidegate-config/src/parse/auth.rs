//! `jwt` and `forward_auth` of a route.

use std::sync::Arc;

use toml::{Spanned, de::DeTable};

use super::tls;
use crate::{
    addresses, choices,
    config::{ForwardAuth, Jwt, ServerAddress},
    convert::shorten,
    errors::Complaint,
    file::FilePath,
    names,
    reader::Reader,
    sections::{FORWARD_AUTH, FORWARD_AUTH_TLS, JWT},
};

pub(super) fn jwt(reader: &mut Reader<'_, '_>) -> Option<Arc<Jwt>> {
    let table = reader.table("jwt")?;
    let mut reader = Reader::of(&table, &JWT, reader.problems);
    reader.report_missing();
    let key = reader.text("key", addresses::file).map(FilePath::from);
    let algorithm = reader.optional_choice("algorithm", choices::JWT_ALGORITHM);
    let issuer = reader.text("issuer", text).map(Spanned::into_inner);
    let audience = reader.text("audience", text).map(Spanned::into_inner);
    let leeway = reader.duration("leeway");
    let cookie = reader.text("cookie", |name| token(name, "cookie")).map(Spanned::into_inner);
    let query = reader.text("query", |name| token(name, "query parameter")).map(Spanned::into_inner);
    let close_at_expiry = reader.flag("close_at_expiry");
    let (key, algorithm) = (key?, algorithm?);
    Some(Arc::new(Jwt { key, algorithm, issuer, audience, leeway, cookie, query, close_at_expiry }))
}

pub(super) fn forward_auth(reader: &mut Reader<'_, '_>) -> Option<Arc<ForwardAuth>> {
    let table = reader.table("forward_auth")?;
    let mut reader = Reader::of(&table, &FORWARD_AUTH, reader.problems);
    reader.report_missing();
    let url = reader.text("url", url);
    let nothing = DeTable::new();
    let table = reader.table("tls");
    let tls = table.clone().unwrap_or_else(|| Spanned::new(0..0, &nothing));
    let tls = tls::client(&tls, &FORWARD_AUTH_TLS, reader.problems);
    if let (Some(url), Some(table)) = (&url, &table)
        && !url.get_ref().tls
    {
        let complaint = Complaint::new("`tls` says nothing to a server at `http://`");
        reader.problems.at(table.span(), complaint.help("write `https://`").context(url.span(), "this one"));
    }
    let timeout = reader.duration("timeout");
    let response_headers = reader.texts("response_headers", header).into_iter().map(Spanned::into_inner).collect();
    let Url { address, host, target, tls: is_tls } = url?.into_inner();
    let tls = is_tls.then_some(tls);
    Some(Arc::new(ForwardAuth { address, host, tls, target, timeout, response_headers }))
}

fn text(text: &str) -> Result<String, Complaint> {
    if text.is_empty() {
        Err(Complaint::new("it is empty").help("leave the key out to allow any"))
    } else {
        Ok(text.to_owned())
    }
}

fn token(name: &str, what: &str) -> Result<String, Complaint> {
    names::subprotocol(name).map_err(|_| Complaint::new(format!("`{}` is not the name of a {what}", shorten(name))))
}

struct Url {
    address: ServerAddress,
    /// As it is written, for `Host`.
    host: String,
    target: String,
    tls: bool,
}

/// `http://HOST[:PORT]/PATH[?QUERY]`, or `https://`.
fn url(text: &str) -> Result<Url, Complaint> {
    let wrong = |why: &str| Complaint::new(format!("`{}` is not the URL of an auth server: {why}", shorten(text)));
    let (rest, tls) = match text.split_once("://") {
        Some(("http", rest)) => (rest, false),
        Some(("https", rest)) => (rest, true),
        Some(_) => return Err(wrong("it is neither http nor https")),
        None => return Err(wrong("it has no scheme").help(format!("write \"http://{}\"", shorten(text)))),
    };
    let (authority, target) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let port = if tls { 443 } else { 80 };
    let address =
        if has_port { addresses::server(authority) } else { addresses::server(&format!("{authority}:{port}")) }?;
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte)) {
        return Err(wrong("its path holds characters that must be percent-encoded"));
    }
    Ok(Url { address, host: authority.to_owned(), target: target.to_owned(), tls })
}

/// A field that an upstream may be told by an auth server.
fn header(name: &str) -> Result<String, Complaint> {
    let lower = token(name, "header field")?.to_ascii_lowercase();
    let is_ours = matches!(
        lower.as_str(),
        "host"
            | "connection"
            | "upgrade"
            | "content-length"
            | "transfer-encoding"
            | "te"
            | "trailer"
            | "keep-alive"
            | "forwarded"
            | "x-real-ip"
            | "x-request-id"
    ) || lower.starts_with("sec-websocket-")
        || lower.starts_with("x-forwarded-");
    if is_ours || lower.contains('_') {
        return Err(Complaint::new(format!("`{}` cannot be an auth server's to say", shorten(name)))
            .help("name fields of the application, such as \"X-User\""));
    }
    Ok(lower)
}
