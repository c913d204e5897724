//! What can be said of a request before an upstream is asked.

use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode, Uri, header};
use tidegate_config::{Field, Route};

use super::Client;
use crate::{
    request::{self, Rejection, Upgrade},
    upload::Source,
    vitals,
};

pub(super) type Checked = (Arc<Route>, String, Asked);

/// What a client wants.
pub(super) enum Asked {
    WebSocket(Upgrade),
    /// Whatever else its route has.
    Plain,
}

/// Everything that can be said of a request before an upstream is asked.
pub(super) fn check(
    client: &Client,
    config: &tidegate_config::Config,
    request: &Request<Source>,
) -> Result<Checked, (Option<Arc<Route>>, Rejection)> {
    let unrouted = |rejection| (None, rejection);
    if client.worker.shared.draining().is_some() {
        return Err(unrouted(DRAINING));
    }
    if let Some(resource) = client.worker.shared.strain.refuses() {
        client.worker.shared.metrics.limit_hits.with_label_values(&[resource.word(), "reject"]).inc();
        let text = "this server is full; another, or it later, has room";
        let short = Rejection::new(StatusCode::SERVICE_UNAVAILABLE, vitals::reason(resource), text);
        return Err(unrouted(Rejection { limit: Some(resource.word()), ..short }));
    }
    request::check_method(request.method()).map_err(unrouted)?;
    let host = request::host(request).map_err(unrouted)?;
    request::check_path(request.uri().path()).map_err(unrouted)?;
    let offered = request::list(request.headers(), header::SEC_WEBSOCKET_PROTOCOL).collect::<Vec<_>>();
    let route =
        config.route(&host, request.uri().path(), offered.iter().copied(), |field| has(request.headers(), field));
    let route = route.ok_or(unrouted(NO_ROUTE))?;
    let routed = |rejection| (Some(route.clone()), rejection);
    let asked = if request::asks_for_websocket(request.headers()) {
        Asked::WebSocket(request::upgrade(request).map_err(routed)?)
    } else if route.websocket_only {
        return Err(routed(NOT_WEBSOCKET));
    } else {
        request::check_framing(request.headers()).map_err(routed)?;
        Asked::Plain
    };
    // A browser sends no Origin with a plain request to the page's own site.
    let needs_origin = matches!(asked, Asked::WebSocket(_)) || request.headers().contains_key(header::ORIGIN);
    if needs_origin && !origin_allowed(route, request.headers()) {
        return Err(routed(ORIGIN));
    }
    Ok((route.clone(), host, asked))
}

pub(super) const DRAINING: Rejection = Rejection::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "draining",
    "this server stops; another, or it again, will be there",
);
const NO_ROUTE: Rejection = Rejection::new(StatusCode::NOT_FOUND, "no_route", "no such route");
const NOT_WEBSOCKET: Rejection =
    Rejection::new(StatusCode::UPGRADE_REQUIRED, "upgrade_token", "this is a WebSocket endpoint");
const ORIGIN: Rejection = Rejection::new(StatusCode::FORBIDDEN, "origin", "origin not allowed");

/// Whether one of its lines is this.
fn has(headers: &HeaderMap, field: &Field) -> bool {
    let mut lines = headers.get_all(field.name.as_str()).iter();
    match &field.value {
        None => lines.next().is_some(),
        Some(value) => lines.any(|line| line.as_bytes() == value.as_bytes()),
    }
}

/// A field that stands twice is nobody's.
fn origin_allowed(route: &Route, headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => route.allows_origin(None),
        (Some(origin), None) => route.allows_origin(origin.to_str().ok()),
        _ => route.origins.is_empty(),
    }
}

/// The path as it is logged: values of the query are often secrets.
pub(super) fn redacted(uri: &Uri) -> String {
    let Some(query) = uri.query() else { return uri.path().to_owned() };
    let keys = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, _)) => format!("{key}=..."),
        None if pair.is_empty() => String::new(),
        None => "...".to_owned(),
    });
    format!("{}?{}", uri.path(), keys.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_of_a_query_is_logged_and_no_query_grows_much() {
        let logged = |uri: &str| redacted(&uri.parse().unwrap());
        assert_eq!(logged("/chat"), "/chat");
        assert_eq!(logged("/chat?token=secret&room=7&secret"), "/chat?token=...&room=...&...");
        assert_eq!(logged("/chat?&&&"), "/chat?&&&");
    }
}
