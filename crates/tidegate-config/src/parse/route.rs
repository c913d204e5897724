//! `[[route]]`.

use std::{cmp::Reverse, ops::Range, sync::Arc};

use toml::{Spanned, de::DeTable};

use super::{auth, settings};
use crate::{
    config::{Field, Host, Route},
    convert::shorten,
    errors::{Complaint, Problems},
    names,
    reader::{Layer, Reader},
    sections::{DEFAULTS, ROUTE},
    suggest,
};

/// A route, and where the problems that it has with others are shown.
struct Placed {
    route: Route,
    /// Whether what identifies it could be read; if not, its clashes are accidents.
    is_identified: bool,
    /// Its name, if it says one; else its header.
    name: Range<usize>,
    is_named: bool,
    header: Range<usize>,
}

/// Every route, most specific first.
pub(super) fn read_all(
    tables: &[Spanned<&DeTable<'_>>],
    defaults: &DeTable<'_>,
    upstreams: &[&str],
    problems: &mut Problems,
) -> Vec<Arc<Route>> {
    let mut placed: Vec<Placed> = Vec::new();
    for table in tables {
        let next = route(table, defaults, upstreams, problems);
        report_clash(&next, &placed, problems);
        placed.push(next);
    }
    let mut routes: Vec<Arc<Route>> = placed.into_iter().map(|placed| Arc::new(placed.route)).collect();
    routes.sort_by_cached_key(|route| specificity(route));
    routes
}

fn route(table: &Spanned<&DeTable<'_>>, defaults: &DeTable<'_>, upstreams: &[&str], problems: &mut Problems) -> Placed {
    let own = *table.get_ref();
    suggest::report_unknown(own, &[&ROUTE, &DEFAULTS], problems);
    let layers = vec![Layer(own, &ROUTE), Layer(own, &DEFAULTS), Layer(defaults, &DEFAULTS)];
    let mut reader = Reader::new(Some(table.span()), layers, problems);
    reader.report_missing();

    let problems_before = reader.problems.len();
    let name = reader.text("name", names::label);
    let host = reader.text("host", names::host).map_or(Host::Any, Spanned::into_inner);
    let path = reader.text("path", names::path).expect("it has a default").into_inner();
    let subprotocol = reader.text("subprotocol", names::subprotocol).map(Spanned::into_inner);
    let headers = headers(&mut reader);
    let is_identified = reader.problems.len() == problems_before;
    let origins = origins(&mut reader);
    let upstream = reader.text("upstream", |name| known(name, upstreams)).map(Spanned::into_inner).unwrap_or_default();
    let (jwt, forward_auth) = (auth::jwt(&mut reader), auth::forward_auth(&mut reader));
    let settings = settings::read(&mut reader);

    let is_named = own.contains_key("name");
    if let Some(span) = reader.span("headers").filter(|_| !is_named) {
        let complaint = Complaint::new("a route with `headers` needs a `name`");
        reader.problems.at(span, complaint.help("add `name = ...`: what a header says is no label for metrics"));
    }
    let name_span = name.as_ref().map_or(table.span(), Spanned::span);
    let name = name.map_or_else(|| default_name(&host, &path, subprotocol.as_deref()), Spanned::into_inner);
    let route = Route {
        name,
        host,
        path,
        subprotocol,
        headers,
        origins,
        upstream,
        policy: settings.policy,
        frames: settings.frames,
        connect_timeout: settings.connect_timeout,
        handshake_timeout: settings.handshake_timeout,
        on_overload: settings.on_overload,
        max_waiting: settings.max_waiting,
        max_waiting_bytes: settings.max_waiting_bytes,
        queue_timeout: settings.queue_timeout,
        retry_after: settings.retry_after,
        on_remove: settings.on_remove,
        websocket_only: settings.websocket_only,
        forward_as: settings.forward_as,
        per_ip: settings.per_ip,
        jwt,
        forward_auth,
        spread: settings.spread,
    };
    Placed { route, is_identified, name: name_span, is_named, header: table.span() }
}

/// Each once, in one order.
fn headers(reader: &mut Reader<'_, '_>) -> Vec<Field> {
    let mut fields: Vec<Field> = reader.texts("headers", names::field).into_iter().map(Spanned::into_inner).collect();
    if let Some(span) = reader.empty_list("headers") {
        reader.problems.at(span, Complaint::new("`headers` is empty").help("leave it out for requests with any"));
    }
    fields.sort();
    fields.dedup();
    fields
}

fn origins(reader: &mut Reader<'_, '_>) -> Vec<String> {
    let origins = reader.texts("origins", names::origin);
    if let Some(span) = reader.empty_list("origins") {
        // "None allowed" is what it looks like, "any" is what the field means.
        reader.problems.at(
            span,
            Complaint::new("`origins` is empty").help("leave it out to allow every origin, or list those allowed"),
        );
    }
    origins.into_iter().map(Spanned::into_inner).collect()
}

fn known(name: &str, upstreams: &[&str]) -> Result<String, Complaint> {
    if upstreams.contains(&name) {
        return Ok(name.to_owned());
    }
    let complaint = Complaint::new(format!("there is no upstream `{}`", shorten(name)));
    Err(match suggest::nearest(name, upstreams.iter().copied()) {
        Some(near) => complaint.help(format!("did you mean `{near}`?")),
        None => complaint.help(format!("define it: `[upstream.{}]`", shorten(name))),
    })
}

/// What a route matches names it as long as nobody else does. No path holds a `#`.
fn default_name(host: &Host, path: &str, subprotocol: Option<&str>) -> String {
    let host = if *host == Host::Any { String::new() } else { host.to_string() };
    match subprotocol {
        None => format!("{host}{path}"),
        Some(subprotocol) => format!("{host}{path}#{subprotocol}"),
    }
}

fn report_clash(next: &Placed, earlier: &[Placed], problems: &mut Problems) {
    if !next.is_identified {
        return;
    }
    let earlier = || earlier.iter().filter(|other| other.is_identified);
    if let Some(first) = earlier().find(|other| other.route.matches_same(&next.route)) {
        problems.at(
            next.header.clone(),
            Complaint::new(
                "two routes match the same host, path, subprotocol and headers; the second would never serve",
            )
            .context(first.header.clone(), "the other one"),
        );
        // Their default names are the same, too; that says nothing more.
        if !next.is_named && !first.is_named {
            return;
        }
    }
    if let Some(first) = earlier().find(|other| other.route.name == next.route.name) {
        problems.at(
            next.name.clone(),
            Complaint::new(format!("two routes have the name `{}`", next.route.name))
                .context(first.name.clone(), "first used here"),
        );
    }
}

/// Orders routes so that the first that matches is the most specific: an exact host, then the longer wildcard, then
/// any host; then the longer path; then with a subprotocol; then with more header fields. The rest only makes the order one and the same for every
/// order of the file.
fn specificity(route: &Route) -> impl Ord + use<> {
    let host = match &route.host {
        Host::Exact(_) => (0, Reverse(0)),
        Host::Below(suffix) => (1, Reverse(suffix.len())),
        Host::Any => (2, Reverse(0)),
    };
    let headers = Reverse(route.headers.len());
    (host, Reverse(route.path.len()), route.subprotocol.is_none(), headers, route.name.clone())
}
