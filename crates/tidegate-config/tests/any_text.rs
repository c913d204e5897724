//! No text makes reading panic, and whatever is read is valid.

use proptest::prelude::*;
use tidegate_config::{example_toml, parse};

/// Reads, and shows what is wrong; both must end, and the places must lie in the text.
fn read(text: &str) {
    match parse("tidegate.toml", text) {
        Ok(config) => {
            assert!(!config.listeners.is_empty() && !config.routes.is_empty());
            assert!(config.routes.iter().all(|route| config.upstreams.contains_key(&route.upstream)));
            let _ = config.route("host:80", "/path", ["a"].into_iter(), |_| true);
        }
        Err(errors) => {
            assert!(!errors.render(false).is_empty() && !errors.render(true).is_empty());
            let lines = text.split('\n').count();
            assert!(errors.iter().all(|mistake| mistake.line <= lines && mistake.column >= 1));
        }
    }
}

/// The example, with its keys in force.
fn valid() -> String {
    example_toml()
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned() + "\n")
        .collect()
}

/// Something to put where something else stood.
fn fragment() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "\"\"",
        "\"off\"",
        "0",
        "-1",
        "1e400",
        "nan",
        "[]",
        "{}",
        "{ 1001 = 1012, 1005 = 1000 }",
        "true",
        "1979-05-27",
        "[[route]]\n",
        "=",
        "\"",
        "\r",
        "\t",
        "\u{feff}",
        "\u{0}",
        "ü",
        "\u{202e}",
        "\"9999999999h\"",
        "\"::\"",
        "\"ws://\"",
        "\"*.\"",
        "\"[\"",
    ];
    prop_oneof![proptest::sample::select(WORDS).prop_map(str::to_owned), any::<String>()]
}

proptest! {
    #[test]
    fn arbitrary(text in any::<String>()) {
        read(&text);
    }

    #[test]
    fn arbitrary_values(key in proptest::sample::select(KEYS.as_slice()), value in fragment()) {
        read(&format!("[[listen]]\naddress = \"a\"\n[[route]]\n{key} = {value}\n[upstream.u]\n{key} = {value}\n[defaults]\n{key} = {value}\n[admin]\n{key} = {value}\n[log]\n{key} = {value}"));
        read(&format!("{key} = {value}\n[[listen]]\n{key} = {value:?}\n[[route]]\n{key} = {value:?}\n[upstream.{value:?}]\n{key} = [{value:?}]"));
    }

    #[test]
    fn mutated(edits in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..12, fragment()), 1..4)) {
        let mut text = valid();
        for (at, cut, with) in edits {
            let boundary = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let start = boundary(at.index(text.len() + 1));
            let end = boundary(start + cut).max(start);
            text.replace_range(start..end, &with);
        }
        read(&text);
    }
}

const KEYS: [&str; 17] = [
    "address",
    "servers",
    "path",
    "host",
    "origins",
    "subprotocol",
    "upstream",
    "name",
    "spread",
    "max_message_size",
    "frame_rate",
    "on_overload",
    "rewrite",
    "listen",
    "route",
    "tls",
    "level",
];
