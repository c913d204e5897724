//! What an endpoint says of its own capacity in the answer to an upgrade, and what no client is told.

use http::{HeaderMap, HeaderName};
use serde::Deserialize;

/// `sessions=N`: so many sessions it can hold.
const CAPACITY: &str = "tidegate-capacity";
/// ORCA (Open Request Cost Aggregation), as gRPC and Envoy read it.
const ORCA: [&str; 3] = ["endpoint-load-metrics", "endpoint-load-metrics-json", "endpoint-load-metrics-bin"];

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Announced {
    Nothing,
    /// The sessions it can hold.
    Sessions(u32),
    /// The part of its capacity that is used; more than 1 when it is overloaded.
    Used(f64),
    /// Something, but nothing that can be read.
    Malformed,
}

#[derive(Deserialize)]
struct Load {
    #[serde(alias = "applicationUtilization")]
    application_utilization: Option<f64>,
}

/// Takes what it says out of its answer. A number of sessions outranks the part that is used.
pub(crate) fn take(headers: &mut HeaderMap) -> Announced {
    if !headers.keys().any(|name| name == CAPACITY || ORCA.contains(&name.as_str())) {
        return Announced::Nothing;
    }
    let mut text = |name: &'static str| headers.remove(HeaderName::from_static(name));
    let capacity = text(CAPACITY);
    let [plain, json, _binary] = ORCA.map(text);
    let said = match (capacity, plain, json) {
        (Some(value), ..) => value.to_str().ok().map(sessions),
        (None, Some(value), _) => value.to_str().ok().map(load),
        (None, None, Some(value)) => value.to_str().ok().map(json_load),
        (None, None, None) => Some(Announced::Nothing),
    };
    said.unwrap_or(Announced::Malformed)
}

/// A list of `key=value`, of which only `sessions` is known.
fn sessions(text: &str) -> Announced {
    let mut pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    let sessions = pairs.find(|(key, _)| key.trim() == "sessions").and_then(|(_, value)| value.trim().parse().ok());
    sessions.filter(|sessions| *sessions > 0).map_or(Announced::Malformed, Announced::Sessions)
}

/// `TEXT name=value, name:value` or `JSON {...}`. `BIN` is not read.
fn load(text: &str) -> Announced {
    if let Some(json) = text.strip_prefix("JSON ") {
        return json_load(json);
    }
    if text.starts_with("BIN ") {
        return Announced::Nothing;
    }
    let mut found = Announced::Nothing;
    for pair in text.strip_prefix("TEXT ").unwrap_or(text).split(',') {
        let Some((name, value)) = pair.split_once([':', '=']) else { return Announced::Malformed };
        if name.trim() == "application_utilization" {
            found = value.trim().parse().map_or(Announced::Malformed, used);
        }
    }
    found
}

fn json_load(text: &str) -> Announced {
    match serde_json::from_str::<Load>(text) {
        Ok(load) => load.application_utilization.map_or(Announced::Nothing, used),
        Err(_) => Announced::Malformed,
    }
}

fn used(part: f64) -> Announced {
    if part.is_finite() && part >= 0.0 { Announced::Used(part) } else { Announced::Malformed }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(name: &'static str, value: &'static str, expected: Announced) {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        headers.insert("x-other", HeaderValue::from_static("stays"));
        assert_eq!(take(&mut headers), expected, "{name}: {value}");
        assert_eq!(headers.len(), 1, "no client is told");
    }

    #[test]
    fn a_number_of_sessions_is_read() {
        check(CAPACITY, "sessions=500", Announced::Sessions(500));
        check(CAPACITY, "handshakes=3, sessions = 7", Announced::Sessions(7));
        for wrong in ["", "500", "sessions=", "sessions=0", "sessions=-1", "sessions=9999999999", "sessions=many"] {
            check(CAPACITY, wrong, Announced::Malformed);
        }
    }

    #[test]
    fn the_part_that_is_used_is_read_in_text_and_in_json() {
        let [plain, json, binary] = ORCA;
        check(plain, "TEXT cpu_utilization=0.3, application_utilization=0.8", Announced::Used(0.8));
        check(plain, "cpu_utilization:0.3,application_utilization:1.25", Announced::Used(1.25));
        check(plain, r#"JSON {"application_utilization": 0.8}"#, Announced::Used(0.8));
        check(json, r#"{"cpuUtilization": 0.1, "applicationUtilization": 0.8}"#, Announced::Used(0.8));
        check(plain, "TEXT cpu_utilization=0.3", Announced::Nothing);
        check(binary, "CZqZmZmZmbk/", Announced::Nothing);
        for wrong in ["TEXT what", "TEXT application_utilization=NaN", "TEXT application_utilization=-1", "JSON {"] {
            check(plain, wrong, Announced::Malformed);
        }
    }
}
