//! What takes a client to the endpoint that its earlier requests went to: a hash of something it sends, or a cookie.

use std::{fmt::Write as _, sync::OnceLock};

use base64::Engine as _;
use http::{HeaderMap, HeaderValue, header};
use sha1::{Digest, Sha1};
use tidegate_config::{Affinity, HashOn, SameSite, Sticky};
use tidegate_governor::{Wish, hash};

use crate::{capacity::Capacity, endpoint::Endpoint, http::Client};

/// Bytes of the hash that a cookie carries: two endpoints with the same would be an accident in a thousand years.
const TAG: usize = 9;

/// Where a request wants to go.
pub(crate) fn wish(affinity: &Affinity, headers: &HeaderMap, client: &Client, capacity: &Capacity) -> Wish {
    let hashed = |value: &[u8]| Wish::Hash(hash(value));
    let wish = match affinity {
        Affinity::None => None,
        // A unix socket tells no address.
        Affinity::Hash(HashOn::ClientIp) => client.ip().map(|ip| hashed(ip.to_string().as_bytes())),
        Affinity::Hash(HashOn::Header(name)) => headers.get(name).map(|value| hashed(value.as_bytes())),
        Affinity::Hash(HashOn::Cookie(name)) => cookie(headers, name).map(|value| hashed(value.as_bytes())),
        Affinity::Sticky(sticky) => {
            cookie(headers, &sticky.cookie).and_then(|tag| capacity.tagged(tag)).map(Wish::Endpoint)
        }
    };
    wish.unwrap_or_default()
}

/// What an answer has to say so that the client's next request comes to this endpoint too.
pub(crate) fn set_cookie(affinity: &Affinity, endpoint: &Endpoint, returned: bool, tls: bool) -> Option<HeaderValue> {
    let Affinity::Sticky(sticky) = affinity else { return None };
    // A cookie that ends is given longer with each answer.
    if returned && sticky.max_age.is_none() {
        return None;
    }
    let mut text = format!("{}={}; Path={}; HttpOnly", sticky.cookie, endpoint.tag, sticky.path);
    let _ = write!(text, "; SameSite={}", sticky.same_site.word());
    if let Some(age) = sticky.max_age {
        let _ = write!(text, "; Max-Age={}", age.as_secs());
    }
    if tls || sticky.always_secure || sticky.same_site == SameSite::None {
        text.push_str("; Secure");
    }
    HeaderValue::try_from(text).ok()
}

/// What the cookie calls the endpoint of this key. Without the secret nobody finds the key by trying them all.
pub(crate) fn tag(sticky: &Sticky, key: &str) -> Box<str> {
    static DRAWN: OnceLock<String> = OnceLock::new();
    let secret = sticky.secret.as_ref().unwrap_or_else(|| {
        DRAWN.get_or_init(|| (0..4).fold(String::new(), |secret, _| format!("{secret}{:08x}", crate::random())))
    });
    // The hash is cut: what is left of it cannot be extended to that of a longer key.
    let mut hash = Sha1::new();
    for part in [secret.as_bytes(), b"\n", key.as_bytes()] {
        hash.update(part);
    }
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(&hash.finalize()[..TAG]).into()
}

/// The value of a cookie (RFC 6265 section 4.2.1).
pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sticky() -> Sticky {
        Sticky {
            cookie: "srv".into(),
            secret: Some("0123456789abcdef".into()),
            path: "/".into(),
            same_site: SameSite::Lax,
            always_secure: false,
            max_age: None,
        }
    }

    fn said(sticky: Sticky, returned: bool, tls: bool) -> Option<String> {
        let server = tidegate_config::ServerAddress::Tcp { host: "10.0.0.1".into(), port: 80 };
        let endpoint = Endpoint { server, at: None, tag: "x".into() };
        let value = set_cookie(&Affinity::Sticky(sticky), &endpoint, returned, tls)?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_cookie_is_as_its_table_says() {
        let check = |sticky: Sticky, tls, expected: &str| assert_eq!(said(sticky, false, tls).unwrap(), expected);
        check(sticky(), false, "srv=x; Path=/; HttpOnly; SameSite=Lax");
        check(sticky(), true, "srv=x; Path=/; HttpOnly; SameSite=Lax; Secure");
        let lasting = Sticky { max_age: Some(Duration::from_secs(90)), always_secure: true, ..sticky() };
        check(lasting.clone(), false, "srv=x; Path=/; HttpOnly; SameSite=Lax; Max-Age=90; Secure");
        let foreign = Sticky { same_site: SameSite::None, path: "/a".into(), ..sticky() };
        check(foreign, false, "srv=x; Path=/a; HttpOnly; SameSite=None; Secure");
        assert_eq!(said(sticky(), true, false), None, "who has it is not told again");
        assert!(said(lasting, true, false).is_some(), "but for its age");
    }

    #[test]
    fn a_tag_depends_on_the_secret_and_shows_nothing_of_the_key() {
        let (ours, other) = (sticky(), Sticky { secret: Some("fedcba9876543210".into()), ..sticky() });
        assert_eq!(tag(&ours, "10.0.0.1:80"), tag(&ours, "10.0.0.1:80"));
        assert_ne!(tag(&ours, "10.0.0.1:80"), tag(&ours, "10.0.0.2:80"));
        assert_ne!(tag(&ours, "10.0.0.1:80"), tag(&other, "10.0.0.1:80"));
        let drawn = Sticky { secret: None, ..sticky() };
        assert_eq!(tag(&drawn, "a"), tag(&drawn, "a"), "drawn once");
        assert_eq!(tag(&ours, "10.0.0.1:80").len(), 12);
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", HeaderValue::from_static("a=1; srvx=2;srv=three=3"));
        headers.append("cookie", HeaderValue::from_static("srv=4; b=5"));
        let find = |name| cookie(&headers, name);
        assert_eq!([find("srv"), find("b"), find("sr")], [Some("three=3"), Some("5"), None]);
    }
}
