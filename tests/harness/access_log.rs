//! The access log, read back. Field names are in this file only.

use std::fmt::Write;

use serde_json::Value;

/// One line: one session, or one refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct Record(Value);

impl Record {
    /// Reads one line.
    ///
    /// # Panics
    /// When it is no JSON object.
    pub fn parse(line: &str) -> Self {
        let value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in log line {line:?}"));
        assert!(matches!(value, Value::Object(_)), "a log line is an object: {line:?}");
        Self(value)
    }

    /// A text field, `""` when it is not there.
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// A flag of the line; false if it has none.
    pub fn flag(&self, field: &str) -> bool {
        self.0[field].as_bool().unwrap_or_default()
    }

    /// A number field.
    ///
    /// # Panics
    /// When it is not there.
    pub fn number(&self, field: &str) -> f64 {
        self.0[field].as_f64().unwrap_or_else(|| panic!("no number {field} in {}", self.0))
    }

    /// How the session ended, in one word: `agreed`, `relayed`, `enforced`, `client-lost`, …
    pub fn verdict(&self) -> &str {
        self.text("verdict")
    }

    /// Why it ended.
    pub fn cause(&self) -> &str {
        self.text("cause")
    }

    /// `session`, or `refused` for a request that never became one.
    pub fn event(&self) -> &str {
        self.text("event")
    }

    /// Who ended it: `client`, `upstream` or `proxy`.
    pub fn closed_by(&self) -> &str {
        self.text("closed_by")
    }

    /// The request's path, query values redacted.
    pub fn path(&self) -> &str {
        self.text("path")
    }

    /// What one leg (`client`, `upstream`) was sent and what came from it: `"sent 1014, received none, lost"`.
    pub fn leg(&self, side: &str) -> String {
        let leg = &self.0["legs"][side];
        let mut summary = String::new();
        for way in ["sent", "received"] {
            let _ = match &leg[way] {
                Value::Null => write!(summary, "{way} none, "),
                said => match said["code"].as_u64() {
                    Some(code) => write!(summary, "{way} {code}, "),
                    None => write!(summary, "{way} empty, "),
                },
            };
        }
        summary + leg["end"].as_str().unwrap_or("no end")
    }

    /// The line itself.
    pub fn line(&self) -> String {
        self.0.to_string()
    }
}
