//! Which route serves a request.

use std::sync::Arc;

use crate::config::{Config, Field, Host, Route};

impl Config {
    /// The route that serves a request, or `None`: nothing does.
    ///
    /// `host` is the request's authority: any case, with or without port. `path` is the request's, as the client
    /// wrote it, without query; percent-encoding is not undone. `offered_subprotocols` are the elements of
    /// `Sec-WebSocket-Protocol`; `has` says whether the request has a header field. Does not allocate.
    ///
    /// A route's path is a prefix on whole segments: `/ws` matches `/ws`, `/ws/` and `/ws/x`, but not `/wsx`. A path
    /// that ends with `/` matches only what is below it: `/ws/` matches `/ws/` and `/ws/x`, but not `/ws`.
    #[must_use]
    pub fn route<'a, 'o>(
        &'a self,
        host: &str,
        path: &str,
        offered_subprotocols: impl Iterator<Item = &'o str> + Clone,
        has: impl Fn(&Field) -> bool,
    ) -> Option<&'a Arc<Route>> {
        let host = without_port(host);
        self.routes.iter().find(|route| {
            route.host.matches(host)
                && covers(&route.path, path)
                && route.subprotocol.as_deref().is_none_or(|wanted| offered_subprotocols.clone().any(|it| it == wanted))
                && route.headers.iter().all(&has)
        })
    }
}

impl Route {
    /// Whether a request with this `Origin` may come in; `None`: without one, which is no browser's.
    #[must_use]
    pub fn allows_origin(&self, origin: Option<&str>) -> bool {
        self.origins.is_empty()
            || origin.is_some_and(|origin| self.origins.iter().any(|allowed| is_origin(allowed, origin)))
    }

    /// Whether both serve exactly the same requests.
    pub(crate) fn matches_same(&self, other: &Self) -> bool {
        (&self.host, &self.path, &self.subprotocol, &self.headers)
            == (&other.host, &other.path, &other.subprotocol, &other.headers)
    }
}

impl Host {
    /// Whether a request's host, without port, is one of these.
    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => name.eq_ignore_ascii_case(host),
            // As bytes: a foreign host may have a character across the cut.
            Self::Below(suffix) => {
                host.len() > suffix.len() && {
                    let end = &host.as_bytes()[host.len() - suffix.len()..];
                    end.eq_ignore_ascii_case(suffix.as_bytes())
                }
            }
        }
    }
}

/// Compares scheme, host and port exactly, never only an end of them; `*.` covers names below a host, not the host.
fn is_origin(allowed: &str, origin: &str) -> bool {
    let Some((scheme, below)) = allowed.split_once("*.") else { return allowed.eq_ignore_ascii_case(origin) };
    let Some(end) = origin.len().checked_sub(below.len() + 1) else { return false };
    if end <= scheme.len() || !origin.is_char_boundary(end) || !origin.is_char_boundary(scheme.len()) {
        return false;
    }
    let (start, rest) = origin.split_at(end);
    let (start, name) = start.split_at(scheme.len());
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    let ends_below = rest.strip_prefix('.').is_some_and(|rest| rest.eq_ignore_ascii_case(below));
    start.eq_ignore_ascii_case(scheme) && is_name && ends_below
}

/// Without port and without the dot of a fully qualified name.
#[must_use]
pub fn without_port(authority: &str) -> &str {
    // The colons of an IPv6 address stand in brackets.
    let after_address = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let host = match authority[after_address..].find(':') {
        Some(colon) => &authority[..after_address + colon],
        None => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

/// Whether a header field speaks of one connection only (RFC 9110 section 7.6.1), and so is never passed on; its name in
/// lower case.
#[must_use]
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether `prefix` covers `path` on whole segments.
#[must_use]
pub fn covers(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::is_origin;

    #[test]
    fn a_wildcard_covers_names_below_and_nothing_that_only_looks_alike() {
        let below = |origin| is_origin("https://*.example.com", origin);
        assert!(below("https://a.example.com") && below("https://a.b.example.com") && below("HTTPS://A.Example.COM"));
        for other in [
            "https://example.com",
            "https://.example.com",
            "https://aexample.com",
            "http://a.example.com",
            "https://a.example.com:8443",
            "https://evil.com/.example.com",
            "https://evil@a.example.com",
            "https://é.example.com",
            "é",
            "",
            "null",
        ] {
            assert!(!below(other), "{other}");
        }
        assert!(is_origin("https://*.example.com:8443", "https://a.example.com:8443"));
        assert!(!is_origin("https://*.example.com:8443", "https://a.example.com"));
        assert!(is_origin("https://a.example.com", "https://A.example.com"));
        assert!(is_origin("null", "null"));
    }
}
