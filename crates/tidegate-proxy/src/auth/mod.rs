//! Who a request's sender is: by a token of its own, by the word of an auth server, or by both.
//!
//! What cannot be decided is refused.

mod forward;
#[cfg(feature = "jwt")]
mod jwt;
#[cfg(not(feature = "jwt"))]
#[path = "no_jwt.rs"]
mod jwt;

use std::{collections::HashMap, io, sync::Arc};

use arc_swap::ArcSwapOption;
use http::{HeaderName, HeaderValue, StatusCode, header, request::Parts};
use tidegate_config::{Config, Fault, Route};

use jwt::Verifier;

use crate::{
    gate::Denied,
    http::{Reply, own_reply},
    session::Facts,
    tls::{self, Outgoing},
};

/// By route.
pub(crate) type Means = HashMap<String, Arc<RouteMeans>>;

/// What requests of a route are checked with, beside its configuration.
pub(crate) struct RouteMeans {
    verifier: Option<Verifier>,
    /// TLS with its auth server, as last loaded; empty: it speaks none.
    pub(crate) tls: Arc<ArcSwapOption<Outgoing>>,
}

const AUTH: &str = "auth";
const UNAVAILABLE: &str = "auth_unavailable";

/// Everything that is wrong with the keys that a configuration names.
pub(crate) fn check_keys(config: &Config) -> Vec<Fault> {
    config.routes.iter().filter_map(|route| Verifier::load(route.jwt.as_ref()?).err()).collect()
}

/// Reads the keys, and the files of TLS with auth servers.
///
/// # Errors
/// A file that cannot be read, or is not what it should be; the error names it.
pub(crate) fn load(config: &Config) -> io::Result<Means> {
    let guarded = config.routes.iter().filter(|route| route.jwt.is_some() || route.forward_auth.is_some());
    guarded.map(|route| Ok((route.name.clone(), Arc::new(RouteMeans::load(route)?)))).collect()
}

impl RouteMeans {
    fn load(route: &Route) -> io::Result<Self> {
        let verifier = route.jwt.as_ref().map(|jwt| Verifier::load(jwt)).transpose();
        let verifier = verifier.map_err(|fault| io::Error::other(fault.message().to_owned()))?;
        let tls = route.forward_auth.as_ref().and_then(|server| server.tls.as_ref());
        let tls = tls.map(tls::outgoing).transpose()?;
        Ok(Self { verifier, tls: Arc::new(ArcSwapOption::new(tls.map(Arc::new))) })
    }
}

/// Lets a request pass, its header fields as its upstream is to see them.
///
/// # Errors
/// It must not.
pub(crate) async fn check(facts: &mut Facts, parts: &mut Parts) -> Result<(), Denied> {
    let route = facts.route.clone();
    let shared = facts.client.worker.shared.clone();
    let count = |by: &str, denied: Option<&Denied>| {
        let result = match denied.map(Denied::reason) {
            None => "allowed",
            Some(UNAVAILABLE) => "failed",
            Some(_) => "denied",
        };
        shared.metrics.auth.with_label_values(&[route.name.as_str(), by, result]).inc();
    };
    // They are there before the route's configuration is; if ever they were not, nobody comes in.
    let means = shared.auth.load().get(&route.name).cloned();
    if let Some(jwt) = &route.jwt {
        let checked = match means.as_ref().and_then(|means| means.verifier.as_ref()) {
            Some(verifier) => verifier.check(jwt, parts).map_err(|fault| unauthorized(fault.as_deref())),
            None => Err(unavailable()),
        };
        count("jwt", checked.as_ref().err());
        let expires = checked?;
        if jwt.close_at_expiry {
            facts.expire(expires);
        }
    }
    if let Some(forward) = &route.forward_auth {
        let tls = means.and_then(|means| means.tls.load_full());
        // In a box: few have it, and every request would carry its size.
        let asked = Box::pin(forward::ask(forward, tls.as_deref(), parts)).await;
        count("forward", asked.as_ref().err());
        asked?;
    }
    Ok(())
}

/// RFC 6750 section 3. `None`: there was no token at all.
fn unauthorized(fault: Option<&str>) -> Denied {
    let mut reply = own_reply(StatusCode::UNAUTHORIZED, "a good token is needed");
    let challenge = match fault {
        None => "Bearer".to_owned(),
        Some(fault) => format!("Bearer error=\"invalid_token\", error_description=\"{fault}\""),
    };
    // Faults are constants of ours.
    if let Ok(challenge) = HeaderValue::try_from(challenge) {
        reply.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    Denied::Answer { reply, reason: AUTH }
}

fn unavailable() -> Denied {
    let mut reply = own_reply(StatusCode::SERVICE_UNAVAILABLE, "who you are cannot be found out now; come back later");
    reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    Denied::Answer { reply, reason: UNAVAILABLE }
}

fn denied(reply: Reply) -> Denied {
    Denied::Answer { reply, reason: AUTH }
}

/// A name from the configuration, which has checked it.
fn field(name: &str) -> Option<HeaderName> {
    HeaderName::try_from(name).ok()
}
