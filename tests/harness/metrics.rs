//! The metrics page, read back; and the metric names that tests ask for, in one place.

use std::collections::BTreeMap;

/// Metric names as `docs/metrics.md` has them.
pub mod name {
    /// Sessions open now.
    pub const SESSIONS: &str = "tidegate_sessions";
    /// Requests that asked for a WebSocket, by result.
    pub const HANDSHAKES: &str = "tidegate_handshakes_total";
    /// Sessions ended, by who closed first, code and cause.
    pub const CLOSES: &str = "tidegate_session_closes_total";
    /// Reloads tried, by result.
    pub const RELOADS: &str = "tidegate_config_reloads_total";
    /// Whether the last reload was good.
    pub const LAST_RELOAD_SUCCESSFUL: &str = "tidegate_config_last_reload_successful";
    /// Whether a drain is under way.
    pub const DRAINING: &str = "tidegate_draining";
    /// Clients parked before their 101.
    pub const WAITING: &str = "tidegate_governor_waiting";
    /// Refusals of the governor.
    pub const SHED: &str = "tidegate_governor_shed_total";
    /// Frames relayed.
    pub const FRAMES: &str = "tidegate_frames_total";
    /// Payload relayed.
    pub const PAYLOAD_BYTES: &str = "tidegate_payload_bytes_total";
    /// Limits that were reached.
    pub const LIMIT_HITS: &str = "tidegate_limit_hits_total";
    /// Frames that broke the protocol.
    pub const PROTOCOL_ERRORS: &str = "tidegate_protocol_errors_total";
}

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
}

/// One line of the page.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads the Prometheus text format.
    ///
    /// # Panics
    /// At a line that is not of this format: the page is ours and must be valid.
    pub fn parse(page: &str) -> Self {
        let lines = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| parse_sample(line).unwrap_or_else(|| panic!("not a sample: {line:?}")));
        Self { samples: samples.collect() }
    }

    /// The sum of all series of `name` that carry `labels`; zero when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// The value of the only series of `name` that carries `labels`.
    ///
    /// # Panics
    /// When there is none, or more than one.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found: Vec<_> = self.matching(name, labels).collect();
        match found[..] {
            [sample] => sample.value,
            _ => panic!("wanted one series {name}{labels:?}, found {found:?}"),
        }
    }

    /// What this label of the series of `name` says.
    pub fn label_values(&self, name: &str, label: &str) -> Vec<String> {
        self.matching(name, &[]).filter_map(|sample| sample.labels.get(label).cloned()).collect()
    }

    /// How many series of `name` carry `labels`.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> usize {
        self.matching(name, labels).count()
    }

    /// Whether there is a series of `name`, whatever its labels.
    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }

    /// Sessions that reached an upstream: an overload told by 101 and Close is `rejected`, never `accepted`.
    pub fn accepted(&self) -> f64 {
        self.sum(name::HANDSHAKES, &[("result", "accepted")])
    }

    /// Sessions open now.
    pub fn open(&self) -> f64 {
        self.sum(name::SESSIONS, &[])
    }

    /// Clients that wait for room.
    pub fn waiting(&self) -> f64 {
        self.sum(name::WAITING, &[])
    }

    /// Sessions that have ended.
    pub fn ended(&self) -> f64 {
        self.sum(name::CLOSES, &[])
    }

    fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            let carries = |(key, value): &(&str, &str)| sample.labels.get(*key).is_some_and(|found| found == value);
            sample.name == name && labels.iter().all(carries)
        })
    }
}

/// `name{key="value",…} 1.5`
fn parse_sample(line: &str) -> Option<Sample> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    Some(Sample { name: name.to_owned(), labels, value: value.trim().parse().ok()? })
}

/// `key="value",…}`; gives also what follows.
fn parse_labels(mut text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (key, rest) = text.split_once("=\"")?;
        let (value, rest) = parse_value(rest)?;
        labels.insert(key.to_owned(), value);
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
}

/// A label value up to its closing quote, escapes undone.
fn parse_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next()? {
            (end, '"') => return Some((value, &text[end + 1..])),
            (_, '\\') => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            (_, other) => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn reads_the_text_format() {
        let page = "# HELP a Something.\n# TYPE a gauge\na{x=\"1\",y=\"q\\\"{,}\"} 2\na{x=\"2\"} 3.5\nb 1e3\n";
        let metrics = Metrics::parse(page);
        assert_eq!(metrics.sum("a", &[]), 5.5);
        assert_eq!(metrics.metric("a", &[("y", "q\"{,}")]), 2.0);
        assert_eq!(metrics.metric("b", &[]), 1000.0);
        assert!(!metrics.has("c"));
    }
}
