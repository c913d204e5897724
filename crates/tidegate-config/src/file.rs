//! Files that a configuration names, and other places in its text: nothing here opens a file, but whoever does can say
//! where in the text it is wrong.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use toml::Spanned;

use crate::errors::{Complaint, Errors, Problems};

/// Where in the text something stands. All places are equal: what a configuration says does not depend on them.
#[derive(Clone, Debug, Default)]
pub struct Place(Range<usize>);

/// A file that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath {
    path: PathBuf,
    place: Place,
}

/// What is wrong with a file, or between files, as whoever opened them found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `None`: no file in particular.
    span: Option<Range<usize>>,
    complaint: Complaint,
}

impl Place {
    /// What stands there cannot be used.
    #[must_use]
    pub fn fault(&self, what: impl Into<String>) -> Fault {
        Fault { span: Some(self.0.clone()), complaint: Complaint::new(what) }
    }
}

impl FilePath {
    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The file cannot be used.
    #[must_use]
    pub fn fault(&self, what: impl std::fmt::Display) -> Fault {
        self.place.fault(format!("{}: {what}", self.path.display()))
    }

    /// The file can be used, but hardly as it is meant.
    #[must_use]
    pub fn warning(&self, what: impl std::fmt::Display) -> Fault {
        self.fault(what).warning()
    }
}

impl Fault {
    /// What is wrong, with no file in particular.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self { span: None, complaint: Complaint::new(what) }
    }

    /// The configuration can be used all the same.
    #[must_use]
    pub fn warning(self) -> Self {
        Self { complaint: self.complaint.warning(), ..self }
    }

    /// What to do about it.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { complaint: self.complaint.help(help), ..self }
    }

    /// Another file that is part of it.
    #[must_use]
    pub fn beside(self, other: &FilePath, label: &'static str) -> Self {
        Self { complaint: self.complaint.context(other.place.0.clone(), label), ..self }
    }

    /// Whether it is only a warning.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        self.complaint.is_warning
    }

    /// What is wrong, with the file's name.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.complaint.message
    }
}

impl Errors {
    /// What is wrong with the files of a configuration that itself is right; `None`: nothing, not even a warning.
    ///
    /// `file_name` and `text` are those that were parsed.
    #[must_use]
    pub fn of_files(file_name: &str, text: &str, faults: Vec<Fault>) -> Option<Self> {
        let mut problems = Problems::default();
        for Fault { span, complaint } in faults {
            match span {
                Some(span) => problems.at(span, complaint),
                None => problems.of_file(complaint),
            }
        }
        (!problems.is_empty()).then(|| Self::new(file_name, text, problems.into_vec()))
    }
}

impl From<Spanned<PathBuf>> for FilePath {
    fn from(path: Spanned<PathBuf>) -> Self {
        Self { place: path.span().into(), path: path.into_inner() }
    }
}

impl From<Range<usize>> for Place {
    fn from(span: Range<usize>) -> Self {
        Self(span)
    }
}

/// A file that stands in no text.
impl From<&str> for FilePath {
    fn from(path: &str) -> Self {
        Self { path: path.into(), place: Place::default() }
    }
}

impl AsRef<Path> for FilePath {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}
