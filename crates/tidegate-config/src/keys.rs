//! What a key of the file is. The keys themselves stand in [`crate::sections`].

use std::time::Duration;

use crate::units::{write_duration, write_size};

/// One table of the file and the keys that may stand in it.
#[derive(Debug)]
pub(crate) struct Section {
    /// As the file writes it: `[drain]`, `[[route]]`.
    pub(crate) title: &'static str,
    /// What the table is for, in a sentence or two.
    pub(crate) doc: &'static str,
    /// In the order of the reference.
    pub(crate) keys: &'static [Key],
}

impl Section {
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// The one definition of a key: parsing, its default, suggestions and the reference all come from it.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) presence: Presence,
    /// What it does.
    pub(crate) doc: &'static str,
    /// Why its default is what it is.
    pub(crate) reason: &'static str,
}

/// What a file that lacks the key says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Presence {
    /// It is wrong.
    Required,
    /// Nothing; which means this.
    Unset(&'static str),
    /// The same as if this TOML value stood there.
    Default(&'static str),
}

/// What values a key takes. Bounds are inclusive.
#[derive(Debug)]
pub(crate) enum Kind {
    /// `"5s"`; with `off`, also `"off"`.
    Duration { least: Duration, most: Duration, off: bool },
    /// Bytes, or `"64KiB"`.
    Size { least: u64, most: u64 },
    /// A whole number.
    Count { least: u64, most: u64 },
    /// `"100/s"` or `"off"`.
    Rate { most: u64 },
    /// `"64MiB/s"` or `"off"`.
    ByteRate { most: u64 },
    /// A number from 0 to 1.
    Share,
    /// `true` or `false`.
    Flag,
    /// One of these, each as TOML writes it.
    Choice(fn() -> Vec<&'static str>),
    /// A string: a noun that says which.
    Text(&'static str),
    /// An array: a noun that says of what.
    List(&'static str),
    /// A table of close codes.
    Codes,
    /// A table; its keys are a [`Section`] of their own.
    Table,
    /// An array of tables; their keys are a [`Section`] of their own.
    Tables,
}

impl Kind {
    /// With an article, to follow "must be": `a duration such as "5s"`.
    pub(crate) fn expects(&self) -> String {
        match self {
            Self::Duration { off: false, .. } => r#"a duration such as "5s""#.to_owned(),
            Self::Duration { off: true, .. } => r#"a duration such as "5s", or "off""#.to_owned(),
            Self::Size { .. } => r#"a size such as "64KiB" or a number of bytes"#.to_owned(),
            Self::Count { .. } => "a whole number".to_owned(),
            Self::Rate { .. } => r#"a rate such as "100/s", or "off""#.to_owned(),
            Self::ByteRate { .. } => r#"a rate such as "64MiB/s", or "off""#.to_owned(),
            Self::Share => "a number from 0 to 1".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Choice(choices) => either(&choices()),
            Self::Text(what) => (*what).to_owned(),
            Self::List(what) => format!("an array of {what}"),
            Self::Codes => "a table such as { 1001 = 1012 }".to_owned(),
            Self::Table => "a table".to_owned(),
            Self::Tables => "an array of tables".to_owned(),
        }
    }

    /// The values allowed, where the type alone does not say it.
    pub(crate) fn bounds(&self) -> Option<String> {
        match self {
            Self::Duration { least, most, .. } => {
                Some(format!("{} to {}", write_duration(*least), write_duration(*most)))
            }
            Self::Size { least, most } => Some(format!("{} to {}", write_size(*least), write_size(*most))),
            Self::Count { least, most } => Some(format!("{least} to {most}")),
            Self::Rate { most } => Some(format!("1/s to {most}/s")),
            Self::ByteRate { most } => Some(format!("1B/s to {}/s", write_size(*most))),
            _ => None,
        }
    }
}

/// `a`, `a or b`, `a, b or c`.
pub(crate) fn either(choices: &[&str]) -> String {
    match choices {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}
