//! Which route serves a request.

use std::{fmt::Write, hint::black_box};

use tidegate_config::Config;

use crate::Operation;

/// As many routes, each for a host of its own.
fn config(routes: usize) -> Config {
    let mut text = String::from("[[listen]]\naddress = \"127.0.0.1:1\"\n\n[upstream.u]\nservers = [\"127.0.0.1:2\"]\n");
    for number in 0..routes {
        let _ =
            write!(text, "\n[[route]]\nhost = \"host{number:03}.example.com\"\npath = \"/chat\"\nupstream = \"u\"\n");
    }
    tidegate_config::parse("benchmark", &text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn lookup(routes: usize) -> impl FnMut() {
    let config = config(routes);
    let last = config.routes.last().map(|route| route.host.to_string()).unwrap_or_default();
    let host = format!("{last}:8080");
    move || {
        let route = black_box(&config).route(black_box(&host), "/chat/room", ["v1", "v2"].into_iter(), |_| false);
        assert!(black_box(route).is_some());
    }
}

pub(crate) fn only() -> Operation {
    Box::new(lookup(1))
}

pub(crate) fn last() -> Operation {
    Box::new(lookup(100))
}
