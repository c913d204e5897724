//! What a new configuration touches.

use std::sync::Arc;

use tidegate_config::{Change, Config, Fate, Live, ServerAddress, parse};

const OLD: &str = r#"
[[listen]]
address = "127.0.0.1:1"
[[listen]]
address = "127.0.0.1:2"
[[route]]
name = "chat"
path = "/chat"
upstream = "chat"
[[route]]
path = "/live"
upstream = "live"
[upstream.chat]
servers = ["a:1", "b:1"]
[upstream.live]
servers = ["b:1", "c:1"]
"#;

fn config(text: &str) -> Config {
    parse("tidegate.toml", text).unwrap()
}

/// From [`OLD`] to [`OLD`] with replacements.
#[track_caller]
fn change(replacements: &[(&str, &str)]) -> Change {
    let new = replacements.iter().fold(OLD.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    Change::between(&config(OLD), &config(&new))
}

fn server(host: &str) -> ServerAddress {
    ServerAddress::Tcp { host: host.to_owned(), port: 1 }
}

/// The fates of all sessions there can be: chat on a and b, live on b and c.
#[track_caller]
fn check(change: &Change, expected: [Fate; 4]) {
    let sessions = [("chat", "a"), ("chat", "b"), ("/live", "b"), ("/live", "c")];
    assert_eq!(sessions.map(|(route, host)| change.fate(route, &server(host))), expected, "{change:#?}");
}

use Fate::{EndpointRemoved, Keep, RouteRemoved};

#[test]
fn the_same_in_other_words_is_nothing() {
    let change = change(&[
        ("[[route]]\nname", "# a comment\n[[route]]\npath = \"/live\"\nupstream = \"live\"\n[[route]]\nname"),
        ("[[route]]\npath = \"/live\"\nupstream = \"live\"\n[upstream.chat]", "[upstream.chat]"),
    ]);
    assert!(change.is_noop());
    assert!(change.needs_restart.is_empty());
    check(&change, [Keep; 4]);
    assert_eq!(change.fate("unheard of", &server("z")), Keep, "a no-op touches no session");
}

#[test]
fn a_removed_server_ends_its_sessions() {
    let change = change(&[(r#"["a:1", "b:1"]"#, r#"["b:1", "d:1"]"#)]);
    assert!(!change.is_noop());
    assert_eq!(change.endpoints_removed.into_iter().collect::<Vec<_>>(), [("chat".to_owned(), vec![server("a")])]);
    assert_eq!(change.endpoints_added.into_iter().collect::<Vec<_>>(), [("chat".to_owned(), vec![server("d")])]);
}

#[test]
fn fates_of_a_removed_server() {
    check(&change(&[(r#"["a:1", "b:1"]"#, r#"["b:1"]"#)]), [EndpointRemoved, Keep, Keep, Keep]);
    check(&change(&[(r#"["a:1", "b:1"]"#, "[]")]), [EndpointRemoved, EndpointRemoved, Keep, Keep]);
}

#[test]
fn on_remove_keep_keeps() {
    let keep = ("path = \"/chat\"", "path = \"/chat\"\non_remove = \"keep\"");
    check(&change(&[(r#"["a:1", "b:1"]"#, "[]"), keep]), [Keep; 4]);
}

#[test]
fn a_removed_route_ends_its_sessions() {
    let change = change(&[("[[route]]\npath = \"/live\"\nupstream = \"live\"\n", "")]);
    assert_eq!(change.routes_removed, ["/live"]);
    check(&change, [Keep, Keep, RouteRemoved, RouteRemoved]);
}

#[test]
fn a_renamed_route_is_the_same_route() {
    let change = change(&[("name = \"chat\"", "name = \"talk\"")]);
    assert!(change.routes_removed.is_empty());
    assert_eq!(change.routes_added, ["talk"]);
    check(&change, [Keep; 4]);
}

#[test]
fn a_route_that_leads_elsewhere_keeps_whom_it_finds_there() {
    check(&change(&[("upstream = \"chat\"", "upstream = \"live\"")]), [EndpointRemoved, Keep, Keep, Keep]);
}

#[test]
fn a_named_route_may_change_its_path() {
    check(&change(&[("path = \"/chat\"", "path = \"/talk\"")]), [Keep; 4]);
}

#[test]
fn limits_touch_nobody() {
    let change = change(&[("[upstream.chat]", "[upstream.chat]\nmax_sessions = 1")]);
    assert!(!change.is_noop());
    check(&change, [Keep; 4]);
}

#[test]
fn listeners() {
    let tls = "address = \"127.0.0.1:2\"\ntls = { certificate = \"c\", key = \"k\" }";
    let change = change(&[("127.0.0.1:1", "127.0.0.1:3"), ("address = \"127.0.0.1:2\"", tls)]);
    let addresses = |listeners: &[tidegate_config::Listener]| -> Vec<String> {
        listeners.iter().map(|listener| listener.address.to_string()).collect()
    };
    assert_eq!(addresses(&change.listeners_added), ["127.0.0.1:3"]);
    assert_eq!(addresses(&change.listeners_changed), ["127.0.0.1:2"]);
    assert_eq!(change.listeners_removed.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.1:1"]);
    check(&change, [Keep; 4]);
}

#[test]
fn what_needs_a_restart() {
    let change = change(&[(
        "\n[[listen]]\naddress = \"127.0.0.1:1\"",
        "workers = 3\nadmin.address = \"off\"\nlog.format = \"json\"\n[[listen]]\naddress = \"127.0.0.1:1\"",
    )]);
    assert_eq!(change.needs_restart, ["workers", "admin.address", "log.format"]);
}

#[test]
fn generations_count_changes_only() {
    let live = Live::new(config(OLD));
    let first = live.load();
    assert_eq!(first.number, 1);

    assert!(live.swap(config(&format!("# the same\n{OLD}"))).is_noop());
    assert!(Arc::ptr_eq(&first, &live.load()));

    assert!(!live.swap(config(&format!("workers = 2\n{OLD}"))).is_noop());
    assert_eq!(live.load().number, 2);
    assert_eq!(live.load().config.workers, 2);
    assert_eq!(first.config.workers, 0, "who holds the old one keeps it");
}
