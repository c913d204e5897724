//! Which route serves what.

use tidegate_config::{Config, Field, parse};

/// A configuration of these routes, each written as the keys of its table.
fn config(routes: &[&str]) -> Config {
    let mut text = "[[listen]]\naddress = \"127.0.0.1:1\"\n[upstream.u]\nservers = [\"a:1\"]\n".to_owned();
    for route in routes {
        text += &format!("[[route]]\nupstream = \"u\"\n{}\n", route.replace("; ", "\n"));
    }
    parse("tidegate.toml", &text).unwrap()
}

/// The name of the route that serves, or nothing.
#[track_caller]
fn check(config: &Config, host: &str, path: &str, offered: &[&str], expected: Option<&str>) {
    let route = config.route(host, path, offered.iter().copied(), |_| false);
    assert_eq!(route.map(|route| route.name.as_str()), expected, "{host} {path} {offered:?}");
}

#[test]
fn the_most_specific_first_whatever_the_order_of_the_file() {
    let mut routes = [
        "path = \"/\"",
        "path = \"/ws\"",
        "path = \"/ws\"; subprotocol = \"mqtt\"",
        "host = \"*.example.com\"",
        "host = \"*.eu.example.com\"",
        "host = \"chat.example.com\"",
        "host = \"chat.example.com\"; path = \"/ws\"",
    ];
    let expected =
        ["chat.example.com/ws", "chat.example.com/", "*.eu.example.com/", "*.example.com/", "/ws#mqtt", "/ws", "/"];
    for _ in 0..routes.len() {
        routes.rotate_left(1);
        let config = config(&routes);
        let order: Vec<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
        assert_eq!(order, expected);
    }
}

#[test]
fn hosts() {
    let config = config(&[
        "host = \"chat.example.com\"",
        "host = \"*.example.com\"",
        "host = \"*.eu.example.com\"",
        "host = \"192.0.2.1\"",
        "host = \"[2001:DB8::1]\"",
    ]);
    let check = |host, expected| check(&config, host, "/", &[], expected);
    check("chat.example.com", Some("chat.example.com/"));
    check("CHAT.Example.com:8080", Some("chat.example.com/"));
    check("chat.example.com.", Some("chat.example.com/"));
    check("a.example.com", Some("*.example.com/"));
    check("a.b.example.com", Some("*.example.com/"));
    check("a.EU.example.com:443", Some("*.eu.example.com/"));
    check("eu.example.com", Some("*.example.com/"));
    check("example.com", None);
    check(".example.com", None);
    check("evilexample.com", None);
    check("chat.example.com.evil.org", None);
    check("192.0.2.1:80", Some("192.0.2.1/"));
    check("[2001:db8::1]:80", Some("[2001:db8::1]/"));
    check("[2001:db8::1]", Some("[2001:db8::1]/"));
    check("", None);
    check("ü.example.com", Some("*.example.com/"));
    check("üüüüüü", None);
    check("]:", None);
}

#[test]
fn paths_are_prefixes_on_whole_segments() {
    let config = config(&["path = \"/ws\"", "path = \"/live/\"", "path = \"/ws/deep/er\""]);
    let check = |path, expected| check(&config, "h", path, &[], expected);
    check("/ws", Some("/ws"));
    check("/ws/", Some("/ws"));
    check("/ws/x", Some("/ws"));
    check("/wsx", None);
    check("/w", None);
    check("/WS", None);
    check("/ws/deep", Some("/ws"));
    check("/ws/deep/er", Some("/ws/deep/er"));
    check("/ws/deep/error", Some("/ws"));
    check("/live/", Some("/live/"));
    check("/live/x", Some("/live/"));
    check("/live", None);
    check("/", None);
    check("", None);
    check("*", None);
}

#[test]
fn a_slash_at_the_end_is_more_specific() {
    let config = config(&["path = \"/ws\"", "path = \"/ws/\"", "path = \"/\""]);
    check(&config, "h", "/ws", &[], Some("/ws"));
    check(&config, "h", "/ws/", &[], Some("/ws/"));
    check(&config, "h", "/ws/x", &[], Some("/ws/"));
    check(&config, "h", "/other", &[], Some("/"));
}

#[test]
fn subprotocols() {
    let config = config(&[
        "subprotocol = \"mqtt\"",
        "",
        "path = \"/only\"; subprotocol = \"v2\"",
        "path = \"/only\"; subprotocol = \"v1\"",
    ]);
    check(&config, "h", "/", &["mqtt"], Some("/#mqtt"));
    check(&config, "h", "/", &["soap", "mqtt"], Some("/#mqtt"));
    check(&config, "h", "/", &["MQTT"], Some("/"));
    check(&config, "h", "/", &[], Some("/"));
    check(&config, "h", "/only", &["v1"], Some("/only#v1"));
    check(&config, "h", "/only", &["v3"], Some("/"));
}

#[test]
fn header_fields() {
    let config = config(&[
        "name = \"two\"; headers = [\"X-Version: 2\"]",
        "name = \"both\"; headers = [\"X-Beta\", \"x-version:2\", \"X-Beta\"]",
        "name = \"beta\"; headers = [\"X-Beta\"]; subprotocol = \"v1\"",
        "name = \"below\"; path = \"/below\"",
        "",
    ]);
    assert_eq!(config.routes.iter().find(|route| route.name == "both").unwrap().headers.len(), 2);
    let check = |path, sent: &[(&str, &str)], expected| {
        let has = |field: &Field| {
            let value = sent.iter().find(|(name, _)| *name == field.name).map(|(_, value)| *value);
            value.is_some_and(|value| field.value.as_deref().is_none_or(|wanted| wanted == value))
        };
        let route = config.route("h", path, ["v1"].into_iter(), has);
        assert_eq!(route.map(|route| route.name.as_str()), expected, "{path} {sent:?}");
    };
    check("/", &[], Some("/"));
    check("/", &[("x-version", "2")], Some("two"));
    check("/", &[("x-version", "22")], Some("/"));
    check("/", &[("x-version", "2"), ("x-beta", "")], Some("beta"));
    check("/below", &[("x-version", "2")], Some("below"));
    let route = config.route("h", "/", [].into_iter(), |_| true);
    assert_eq!(route.map(|route| route.name.as_str()), Some("both"), "more of them first");
}

#[test]
fn a_host_without_the_path_leaves_it_to_others() {
    let config = config(&["host = \"a.example\"; path = \"/ws\"", "path = \"/api\""]);
    check(&config, "a.example", "/api", &[], Some("/api"));
    check(&config, "b.example", "/ws", &[], None);
}
