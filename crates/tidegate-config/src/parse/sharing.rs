//! `classes` and `tenant` of an upstream: whose turn it is when its clients have to wait.

use toml::{Spanned, de::DeTable};

use super::pools::{cookie_name, is_token};
use crate::{
    addresses,
    convert::shorten,
    errors::{Complaint, Problems},
    names,
    reader::Reader,
    route::is_hop_by_hop,
    sections,
    sharing::{Class, Rule, Sharing, TenantBy},
    suggest,
};

/// Shares are told to be too many only from here on: 0.1 three times is no more than 0.3.
const ROUNDING: f64 = 1e-9;

/// What the upstream says of it.
pub(super) fn read(reader: &mut Reader<'_, '_>) -> Sharing {
    let tenant = reader.text("tenant", tenant).map(Spanned::into_inner);
    if let Some(span) = reader.span("max_tenants").filter(|_| reader.span("tenant").is_none()) {
        let complaint = Complaint::new("`max_tenants` does nothing without `tenant`");
        reader.problems.at(span, complaint.help("all clients are of one tenant: say what tells them apart"));
    }
    if reader.span("classes").is_none() {
        return Sharing { classes: Vec::new(), tenant };
    }
    let tables = reader.tables("classes");
    Sharing { classes: classes(&tables, reader.problems), tenant }
}

fn classes(tables: &[Spanned<&DeTable<'_>>], problems: &mut Problems) -> Vec<Class> {
    let mut classes: Vec<Spanned<Class>> = Vec::new();
    let mut rules: Vec<Spanned<Rule>> = Vec::new();
    let mut given = 0.0;
    if let Some(one_more) = tables.get(Sharing::MOST_CLASSES) {
        let complaint = Complaint::new(format!("more than {} classes", Sharing::MOST_CLASSES));
        problems.at(one_more.span(), complaint.help("those of no class are one more, `default`"));
    }
    for table in tables {
        let Some(class) = class(table, &mut rules, problems) else { continue };
        if let Some(first) = classes.iter().find(|other| other.get_ref().name == class.get_ref().name) {
            let complaint = Complaint::new(format!("two classes have the name `{}`", class.get_ref().name));
            problems.at(class.span(), complaint.context(first.span(), "first used here"));
        }
        let before = given;
        given += class.get_ref().share;
        if given > 1.0 + ROUNDING && before <= 1.0 + ROUNDING {
            let span = table.get_ref().get("share").map_or(table.span(), Spanned::span);
            let complaint = Complaint::new(format!("the shares of the classes add up to {given:.2}, more than all"));
            problems.at(span, complaint.help("what they leave of 1 is for clients of no class"));
        }
        classes.push(class);
    }
    classes.into_iter().map(Spanned::into_inner).collect()
}

/// With the place of its name.
fn class(
    table: &Spanned<&DeTable<'_>>,
    earlier: &mut Vec<Spanned<Rule>>,
    problems: &mut Problems,
) -> Option<Spanned<Class>> {
    let mut reader = Reader::of(table, &sections::CLASS, problems);
    reader.report_missing();
    let name = reader.text("name", class_name);
    let share = reader.optional_share("share");
    if let (Some(_), Some(span)) = (share.filter(|share| *share <= 0.0), reader.span("share")) {
        let complaint = Complaint::new("`share` must be above 0");
        reader.problems.at(span, complaint.help("a class without a share waits behind all others: leave it out"));
    }
    let listed = reader.texts("clients", rule);
    if let Some(span) = reader.empty_list("clients") {
        let complaint = Complaint::new("`clients` is empty: nobody is of this class");
        reader.problems.at(span, complaint.help("clients of no class are of the class `default`"));
    }
    let mut clients = Vec::new();
    for rule in listed {
        match earlier.iter().find(|other| other.get_ref() == rule.get_ref()) {
            None => earlier.push(rule.clone()),
            Some(first) => {
                let complaint = Complaint::new("this rule stands twice; the second would never be asked");
                reader.problems.at(rule.span(), complaint.context(first.span(), "the first"));
            }
        }
        clients.push(rule.into_inner());
    }
    let name = name?;
    Some(Spanned::new(name.span(), Class { name: name.into_inner(), share: share?, clients }))
}

fn class_name(text: &str) -> Result<String, Complaint> {
    if text == Sharing::REST {
        return Err(Complaint::new(format!("the class `{text}` is there already: the clients of no other class"))
            .help("give this one another name"));
    }
    names::label(text)
}

fn tenant(text: &str) -> Result<TenantBy, Complaint> {
    match text.split_once(':') {
        None if text == "client_ip" => Ok(TenantBy::ClientIp),
        None if text == "host" => Ok(TenantBy::Host),
        Some(("path", number)) => {
            let segment = number.parse::<u8>().ok().filter(|segment| *segment > 0);
            segment.map(TenantBy::Path).ok_or_else(|| {
                Complaint::new(format!("`{}` is not the number of a segment", shorten(number)))
                    .help("\"path:1\" is the first segment of the path: `acme` of `/acme/chat`")
            })
        }
        Some(("header", name)) => header(name).map(TenantBy::Header),
        Some(("cookie", name)) => cookie_name(name).map(TenantBy::Cookie),
        _ => Err(unknown(text, "tells tenants apart", &["client_ip", "host", "path:N", "header:NAME", "cookie:NAME"])),
    }
}

fn rule(text: &str) -> Result<Rule, Complaint> {
    match text.split_once(':') {
        Some(("client_ip", network)) => {
            addresses::network(network, "write an IP address, or a network such as \"10.0.0.0/8\"").map(Rule::ClientIp)
        }
        Some(("path", path)) => names::path(path).map(Rule::Path),
        Some(("header", pair)) => {
            let (name, value) = valued(pair)?;
            Ok(Rule::Header(header(name)?, value))
        }
        Some(("cookie", pair)) => {
            let (name, value) = valued(pair)?;
            Ok(Rule::Cookie(cookie_name(name)?, value))
        }
        _ => {
            let known = ["client_ip:NETWORK", "path:PREFIX", "header:NAME=VALUE", "cookie:NAME=VALUE"];
            Err(unknown(text, "tells classes apart", &known))
        }
    }
}

/// `NAME` or `NAME=VALUE`.
fn valued(pair: &str) -> Result<(&str, Option<String>), Complaint> {
    match pair.split_once('=') {
        None => Ok((pair, None)),
        Some((name, "")) => Err(Complaint::new(format!("no value stands behind `{}=`", shorten(name)))
            .help("without `=` any value will do")),
        Some((name, value)) => Ok((name, Some(value.to_owned()))),
    }
}

fn unknown(text: &str, does: &str, known: &[&str]) -> Complaint {
    let complaint = Complaint::new(format!("`{}` is nothing that {does}", shorten(text)));
    let source = text.split(':').next().unwrap_or_default();
    let near = suggest::nearest(source, known.iter().map(|known| known.split(':').next().unwrap_or_default()));
    match near.and_then(|near| known.iter().find(|known| known.split(':').next() == Some(near))) {
        Some(near) => complaint.help(format!("did you mean \"{near}\"?")),
        None => complaint.help(format!("write one of {}", known.join(", "))),
    }
}

/// A header that is there when the upstream is chosen, in lower case.
fn header(name: &str) -> Result<String, Complaint> {
    if !is_token(name) {
        return Err(Complaint::new(format!("`{}` is not the name of a header", shorten(name))));
    }
    let lower = name.to_ascii_lowercase();
    let removed = |why: &str| Complaint::new(format!("`{}` cannot be read here: {why}", shorten(name)));
    match lower.as_str() {
        name if is_hop_by_hop(name) => {
            Err(removed("it speaks of one connection only and is removed").help("name a header of the application's"))
        }
        "forwarded" | "x-forwarded-for" | "x-real-ip" => Err(removed("tidegate writes it itself")
            .help("use `client_ip`, and `trusted_proxies` of the listener for what proxies in front say")),
        "x-forwarded-proto" | "x-forwarded-port" | "x-forwarded-host" | "x-request-id" => {
            Err(removed("tidegate writes it itself").help("name a header of the application's"))
        }
        "host" => Err(removed("not every request has it").help("`tenant = \"host\"` tells tenants by it")),
        "cookie" => Err(removed("it holds all cookies").help("name the cookie: \"cookie:NAME\"")),
        _ if lower.contains('_') => Err(removed("a header with `_` in its name is removed")
            .help(format!("write \"{}\"", shorten(&lower.replace('_', "-"))))),
        _ => Ok(lower),
    }
}
