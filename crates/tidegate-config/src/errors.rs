//! What is wrong with a configuration: every problem at once, each where it stands.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// Most problems that are shown; a file with more has one cause, and the first ones tell it.
const MAX_SHOWN: usize = 50;
/// Longest lines that are drawn, in bytes: nobody reads longer ones, and the renderer lays them out cell by cell, which
/// took it a second for a megabyte.
const MAX_DRAWN: usize = 4 << 10;

/// Every problem found in one configuration file, in the order of the text. Never empty.
///
/// [`Display`](fmt::Display) is [`render`](Errors::render) without colour.
#[derive(Clone, PartialEq, Eq)]
pub struct Errors {
    file: String,
    text: String,
    problems: Vec<Problem>,
}

/// One problem, as tests and machines read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mistake<'a> {
    /// Line, from 1. A problem of the file as a whole (no `[[listen]]`) stands at 1:1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, without a full stop.
    pub message: &'a str,
    /// What to write instead, where that is known.
    pub help: Option<&'a str>,
    /// The configuration can be used all the same.
    pub is_warning: bool,
}

impl Errors {
    pub(crate) fn new(file: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        assert!(!problems.is_empty(), "an error has a cause");
        // A mistake in [defaults] is met once by every route that inherits it.
        problems.sort();
        problems.dedup();
        Self { file: file.to_owned(), text: text.to_owned(), problems }
    }

    /// How many problems there are; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// Each problem with its line and column, in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = Mistake<'_>> {
        let mut line = 1;
        let mut line_start = 0;
        let mut scanned = 0;
        // The problems are sorted: one walk over the text serves them all.
        self.problems.iter().map(move |problem| {
            let at = floor_boundary(&self.text, problem.start());
            for (offset, _) in self.text[scanned..at].match_indices('\n') {
                line += 1;
                line_start = scanned + offset + 1;
            }
            scanned = at;
            let column = self.text[line_start..at].chars().count() + 1;
            let Complaint { message, help, is_warning, .. } = &problem.complaint;
            Mistake { line, column, message, help: help.as_deref(), is_warning: *is_warning }
        })
    }

    /// Whether none of it is more than a warning.
    #[must_use]
    pub fn are_warnings(&self) -> bool {
        self.problems.iter().all(|problem| problem.complaint.is_warning)
    }

    /// All problems as rustc would show them: file, line, column, the text with a caret, and help.
    ///
    /// With `color` the answer holds ANSI escapes. At most 50 problems are shown, the rest is counted.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut shown: Vec<String> =
            self.problems.iter().take(MAX_SHOWN).map(|problem| renderer.render(&[self.group(problem)])).collect();
        if let Some(more) = self.problems.len().checked_sub(MAX_SHOWN).filter(|more| *more > 0) {
            shown.push(format!("... and {more} more"));
        }
        shown.join("\n\n")
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let Complaint { message, help, context, is_warning } = &problem.complaint;
        let level = if *is_warning { Level::WARNING } else { Level::ERROR };
        let group = Group::with_title(level.primary_title(message.as_str()));
        let group = match &problem.span {
            None => group.element(Origin::path(self.file.as_str())),
            Some(span) => self.place(group, span, context.as_ref()),
        };
        match help {
            None => group,
            Some(help) => group.element(Level::HELP.message(help.as_str())),
        }
    }

    /// Only the lines at hand are given to the renderer, for it walks all that it is given, for every problem.
    fn place<'a>(&'a self, group: Group<'a>, span: &Span, context: Option<&(Range<usize>, &'static str)>) -> Group<'a> {
        let text = self.text.as_str();
        let main = lines(text, span.start, span.end);
        let other = context.map_or(main.clone(), |(range, _)| lines(text, range.start, range.end));
        let line_number = |at: usize| text[..at].matches('\n').count() + 1;
        if main.len() > MAX_DRAWN || other.len() > MAX_DRAWN {
            let start = floor_boundary(text, span.start);
            let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
            let column = text[line_start..start].chars().count() + 1;
            let line = line_number(start);
            return group.element(Origin::path(self.file.as_str()).line(line).char_column(column));
        }
        let drawn = main.start.min(other.start)..main.end.max(other.end);
        let within = |start, end| floor_boundary(text, start) - drawn.start..floor_boundary(text, end) - drawn.start;
        let other =
            context.map(|(range, label)| AnnotationKind::Context.span(within(range.start, range.end)).label(*label));
        let snippet = Snippet::source(&text[drawn.clone()])
            .line_start(line_number(drawn.start))
            .path(self.file.as_str())
            .annotation(AnnotationKind::Primary.span(within(span.start, span.end)))
            .annotations(other);
        group.element(snippet)
    }
}

/// The whole lines that a span touches.
fn lines(text: &str, start: usize, end: usize) -> Range<usize> {
    let (start, end) = (floor_boundary(text, start), floor_boundary(text, end));
    let first = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    first..text[end..].find('\n').map_or(text.len(), |newline| end + newline)
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Errors {
    /// As people read it: this is what a failed `unwrap` in a test shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}\n")
    }
}

impl std::error::Error for Errors {}

/// A complaint and where it belongs; `None`: the file as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    span: Option<Span>,
    complaint: Complaint,
}

impl Problem {
    fn start(&self) -> usize {
        self.span.as_ref().map_or(0, |span| span.start)
    }
}

/// A byte range of the text that can be sorted, which `Range` cannot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    start: usize,
    end: usize,
}

/// What is wrong with one value, without where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) message: String,
    help: Option<String>,
    context: Option<(Range<usize>, &'static str)>,
    pub(crate) is_warning: bool,
}

impl Complaint {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, context: None, is_warning: false }
    }

    /// Said, but nothing is refused for it.
    pub(crate) fn warning(self) -> Self {
        Self { is_warning: true, ..self }
    }

    /// What to write instead.
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Another place that the reader must see to understand.
    pub(crate) fn context(self, span: Range<usize>, label: &'static str) -> Self {
        Self { context: Some((span, label)), ..self }
    }
}

impl PartialOrd for Complaint {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Complaint {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let order =
            |complaint: &Self| complaint.context.as_ref().map(|(range, label)| (range.start, range.end, *label));
        (&self.message, &self.help).cmp(&(&other.message, &other.help)).then_with(|| order(self).cmp(&order(other)))
    }
}

/// Where problems are gathered while reading goes on.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    /// A problem at a place in the text.
    pub(crate) fn at(&mut self, span: Range<usize>, complaint: Complaint) {
        self.0.push(Problem { span: Some(Span { start: span.start, end: span.end.max(span.start) }), complaint });
    }

    /// A problem of the file as a whole.
    pub(crate) fn of_file(&mut self, complaint: Complaint) {
        self.0.push(Problem { span: None, complaint });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}

/// The last character boundary at or before `at`: a span may point past the end or into a broken character.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
