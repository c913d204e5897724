//! What a client is to the governor: of which class, and whose.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, request::Parts};
use tidegate_config::{Rule, Sharing, TenantBy, covers, without_port};
use tidegate_governor::{Ask, CLASSES, ClassUse, Wish, hash};

use crate::{affinity::cookie, http::Client};

/// How this client asks the governor, as its upstream shares its turns.
pub(crate) fn ask(sharing: &Sharing, parts: &Parts, host: &str, client: &Client, wish: Wish) -> Ask<'static> {
    let address = client.address();
    let ip = client.peer.map(|peer| peer.ip().to_canonical());
    let class = class(sharing, parts, ip).unwrap_or(CLASSES - 1) as u8;
    let tenant = sharing.tenant.as_ref().and_then(|by| tenant(by, parts, host, address));
    Ask { wish, class, tenant: tenant.unwrap_or_default(), address, ..Ask::default() }
}

/// What the class of this number is called.
pub(crate) fn class_name(sharing: &Sharing, class: u8) -> &str {
    sharing.classes.get(usize::from(class)).map_or(Sharing::REST, |class| &class.name)
}

/// What each class has that is configured, by its name. Of one that is no longer, the sessions are those of `default`.
pub(crate) fn by_name<'s>(
    sharing: &'s Sharing,
    classes: &[ClassUse; CLASSES],
) -> impl Iterator<Item = (&'s str, ClassUse)> {
    let (named, rest) = classes.split_at(sharing.classes.len());
    let rest = rest
        .iter()
        .fold(ClassUse::default(), |sum, of| ClassUse { live: sum.live + of.live, waiting: sum.waiting + of.waiting });
    sharing.classes.iter().map(|class| class.name.as_str()).zip(named.to_vec()).chain([(Sharing::REST, rest)])
}

fn class(sharing: &Sharing, parts: &Parts, ip: Option<IpAddr>) -> Option<usize> {
    let matches = |rule: &Rule| match rule {
        Rule::ClientIp(network) => ip.is_some_and(|ip| network.contains(&ip)),
        Rule::Path(prefix) => covers(prefix, parts.uri.path()),
        Rule::Header(name, value) => is(value.as_deref(), header(&parts.headers, name)),
        Rule::Cookie(name, value) => is(value.as_deref(), cookie(&parts.headers, name).map(str::as_bytes)),
    };
    sharing.classes.iter().position(|class| class.clients.iter().any(matches))
}

fn is(wanted: Option<&str>, found: Option<&[u8]>) -> bool {
    found.is_some_and(|found| wanted.is_none_or(|wanted| wanted.as_bytes() == found))
}

fn tenant(by: &TenantBy, parts: &Parts, host: &str, address: Option<u64>) -> Option<u64> {
    match by {
        TenantBy::ClientIp => address,
        TenantBy::Host => Some(hash(without_port(host).to_ascii_lowercase().as_bytes())),
        // Before the first `/` there is nothing.
        TenantBy::Path(segment) => {
            let segment = parts.uri.path().split('/').nth(usize::from(*segment));
            segment.filter(|segment| !segment.is_empty()).map(|segment| hash(segment.as_bytes()))
        }
        TenantBy::Header(name) => header(&parts.headers, name).map(hash),
        TenantBy::Cookie(name) => cookie(&parts.headers, name).map(|value| hash(value.as_bytes())),
    }
}

/// A field that stands twice is nobody's: whoever stands between may have added one of them.
fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let mut values = headers.get_all(HeaderName::try_from(name).ok()?).iter();
    values.next().filter(|_| values.next().is_none()).map(http::HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use tidegate_config::Class;

    use super::*;

    fn parts(path: &str, headers: &[(&str, &str)]) -> Parts {
        let request = Request::builder().uri(path);
        headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value))
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    fn sharing(rules: [Rule; 4]) -> Sharing {
        // Two of two rules.
        let [a, b, c, d] = rules;
        let class = |name: &str, clients| Class { name: name.into(), share: 0.1, clients };
        Sharing { classes: vec![class("one", vec![a, b]), class("two", vec![c, d])], tenant: None }
    }

    #[test]
    fn a_client_is_of_the_first_class_that_has_a_rule_for_it() {
        let sharing = sharing([
            Rule::Header("x-plan".into(), Some("gold".into())),
            Rule::ClientIp("10.0.0.0/8".parse().unwrap()),
            Rule::Cookie("staff".into(), None),
            Rule::Path("/vip".into()),
        ]);
        let of = |path, headers: &[_], ip: &str| class(&sharing, &parts(path, headers), ip.parse().ok());
        assert_eq!(of("/", &[], "192.0.2.1"), None);
        assert_eq!(of("/", &[("X-Plan", "gold")], ""), Some(0));
        assert_eq!(of("/vip/x", &[("X-Plan", "gold")], ""), Some(0), "the first");
        for other in [&[("x-plan", "golden")][..], &[("x-plan", "Gold")], &[("x-plan", "gold"), ("x-plan", "gold")]] {
            assert_eq!(of("/", other, ""), None, "{other:?}");
        }
        assert_eq!(of("/vip", &[], "10.1.2.3"), Some(0));
        assert_eq!(of("/vip", &[], "2001:db8::1"), Some(1));
        assert_eq!(of("/vipers", &[], ""), None);
        assert_eq!(of("/", &[("cookie", "a=b; staff=")], ""), Some(1));
        let names: Vec<&str> = (0..4).map(|class| class_name(&sharing, class)).collect();
        assert_eq!(names, ["one", "two", "default", "default"]);
    }

    #[test]
    fn a_tenant_is_told_by_what_is_configured() {
        let request = parts("/acme//chat?x=/y", &[("X-Tenant", "a"), ("Cookie", "team=a")]);
        let of = |by| tenant(&by, &request, "Acme.example:8443", Some(7));
        let a = Some(hash(b"a"));
        assert_eq!([of(TenantBy::Header("x-tenant".into())), of(TenantBy::Cookie("team".into()))], [a, a]);
        assert_eq!(of(TenantBy::Header("x-other".into())), None);
        assert_eq!(of(TenantBy::Path(1)), Some(hash(b"acme")));
        assert_eq!([of(TenantBy::Path(2)), of(TenantBy::Path(9))], [None, None]);
        assert_eq!(of(TenantBy::Path(3)), Some(hash(b"chat")));
        assert_eq!(of(TenantBy::Host), Some(hash(b"acme.example")));
        assert_eq!(of(TenantBy::ClientIp), Some(7));
    }
}
