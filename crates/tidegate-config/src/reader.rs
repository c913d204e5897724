//! Reads typed values out of TOML tables by the keys' definitions, and goes on after every problem.

use std::{ops::Range, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    choices::Choices,
    convert,
    errors::{Complaint, Problems},
    keys::{Key, Presence, Section},
    suggest,
};

/// Longest array: every element is compared with those before it.
const MAX_ELEMENTS: usize = 10_000;

/// A table and what it may hold.
#[derive(Clone, Copy)]
pub(crate) struct Layer<'t>(pub(crate) &'t DeTable<'t>, pub(crate) &'static Section);

/// Reads one thing from the tables that may describe it: the first that has a key decides.
///
/// After a problem the key's default stands in, so that whatever follows is checked too; the problem itself keeps
/// the whole from being used.
pub(crate) struct Reader<'r, 't> {
    /// What a missing key is reported at; `None`: at the file as a whole.
    span: Option<Range<usize>>,
    layers: Vec<Layer<'t>>,
    pub(crate) problems: &'r mut Problems,
}

impl<'r, 't> Reader<'r, 't> {
    pub(crate) fn new(span: Option<Range<usize>>, layers: Vec<Layer<'t>>, problems: &'r mut Problems) -> Self {
        Self { span, layers, problems }
    }

    /// A reader of one table, which must hold nothing else than its section's keys.
    pub(crate) fn of(table: &Spanned<&'t DeTable<'t>>, section: &'static Section, problems: &'r mut Problems) -> Self {
        suggest::report_unknown(table.get_ref(), &[section], problems);
        Self::new(Some(table.span()), vec![Layer(table.get_ref(), section)], problems)
    }

    pub(crate) fn duration(&mut self, name: &str) -> Duration {
        self.duration_or_off(name).expect("only keys that can be off are")
    }

    pub(crate) fn duration_or_off(&mut self, name: &str) -> Option<Duration> {
        self.defaulted(name, convert::duration)
    }

    pub(crate) fn size(&mut self, name: &str) -> u64 {
        self.defaulted(name, convert::size)
    }

    pub(crate) fn count(&mut self, name: &str) -> u32 {
        self.defaulted(name, convert::count)
    }

    pub(crate) fn optional_count(&mut self, name: &str) -> Option<u32> {
        self.value(name, convert::count).map(Spanned::into_inner)
    }

    pub(crate) fn rate(&mut self, name: &str) -> Option<u32> {
        self.defaulted(name, convert::rate)
    }

    pub(crate) fn byte_rate(&mut self, name: &str) -> Option<u64> {
        self.defaulted(name, convert::byte_rate)
    }

    pub(crate) fn optional_size(&mut self, name: &str) -> Option<u64> {
        self.value(name, convert::size).map(Spanned::into_inner)
    }

    pub(crate) fn share(&mut self, name: &str) -> f64 {
        self.defaulted(name, convert::share)
    }

    pub(crate) fn optional_share(&mut self, name: &str) -> Option<f64> {
        self.value(name, convert::share).map(Spanned::into_inner)
    }

    pub(crate) fn flag(&mut self, name: &str) -> bool {
        self.defaulted(name, convert::flag)
    }

    pub(crate) fn choice<T: Copy>(&mut self, name: &str, choices: &Choices<T>) -> T {
        self.defaulted(name, |key, value| convert::choice(key, value, choices))
    }

    pub(crate) fn optional_choice<T: Copy>(&mut self, name: &str, choices: &Choices<T>) -> Option<T> {
        self.value(name, |key, value| convert::choice(key, value, choices)).map(Spanned::into_inner)
    }

    /// A string that `parse` understands. `None`: absent and without default, or wrong.
    pub(crate) fn text<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, Complaint>) -> Option<Spanned<T>> {
        self.value(name, |key, value| parse(convert::text(key, value)?))
    }

    /// The elements of an array; none if it is absent or wrong.
    pub(crate) fn list(&mut self, name: &str) -> &'t [Spanned<DeValue<'t>>] {
        match self.find(name) {
            None => &[],
            Some(found) => match found.get_ref() {
                DeValue::Array(elements) if elements.len() > MAX_ELEMENTS => {
                    let what = format!("`{name}` has more than {MAX_ELEMENTS} elements");
                    self.problems.at(found.span(), Complaint::new(what));
                    &[]
                }
                DeValue::Array(elements) => elements,
                other => {
                    let complaint = convert::mismatch(self.key(name), other);
                    self.problems.at(found.span(), complaint);
                    &[]
                }
            },
        }
    }

    /// An array of strings that `parse` understands, without those that it does not.
    pub(crate) fn texts<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, Complaint>) -> Vec<Spanned<T>> {
        let mut texts = Vec::new();
        for element in self.list(name) {
            match convert::element(self.key(name), element.get_ref()).and_then(&parse) {
                Ok(text) => texts.push(Spanned::new(element.span(), text)),
                Err(complaint) => self.problems.at(element.span(), complaint),
            }
        }
        texts
    }

    /// A table of this table. `None`: absent or something else.
    pub(crate) fn table(&mut self, name: &str) -> Option<Spanned<&'t DeTable<'t>>> {
        let found = self.find(name)?;
        match found.get_ref() {
            DeValue::Table(table) => Some(Spanned::new(found.span(), table)),
            other => {
                let complaint = convert::mismatch(self.key(name), other);
                self.problems.at(found.span(), complaint);
                None
            }
        }
    }

    /// The tables of an array of tables that is not empty.
    pub(crate) fn tables(&mut self, name: &str) -> Vec<Spanned<&'t DeTable<'t>>> {
        let mut tables = Vec::new();
        if let Some(span) = self.empty_list(name) {
            self.problems.at(span, none_of(self.key(name)));
        }
        if let Some(single) = self.find(name).filter(|found| found.get_ref().is_table()) {
            let complaint = convert::mismatch(self.key(name), single.get_ref());
            self.problems.at(single.span(), complaint.help(format!("several may stand: write `[[{name}]]`")));
            return tables;
        }
        for element in self.list(name) {
            match element.get_ref() {
                DeValue::Table(table) => tables.push(Spanned::new(element.span(), table)),
                other => {
                    let complaint = convert::mismatch(self.key(name), other);
                    self.problems.at(element.span(), complaint);
                }
            }
        }
        tables
    }

    /// Where a key's value stands, if it does.
    pub(crate) fn span(&self, name: &str) -> Option<Range<usize>> {
        self.find(name).map(Spanned::span)
    }

    /// Where an array stands that has no elements.
    pub(crate) fn empty_list(&self, name: &str) -> Option<Range<usize>> {
        let found = self.find(name)?;
        found.get_ref().as_array()?.is_empty().then(|| found.span())
    }

    /// Reports every required key that is absent.
    pub(crate) fn report_missing(&mut self) {
        let Layer(table, section) = self.layers[0];
        for key in section.keys.iter().filter(|key| matches!(key.presence, Presence::Required)) {
            if table.contains_key(key.name) {
                continue;
            }
            match &self.span {
                None => self.problems.of_file(none_of(key)),
                Some(span) => self.problems.at(
                    span.clone(),
                    Complaint::new(format!("missing key `{}` in {}", key.name, section.title)).help(format!(
                        "add `{} = ...`: {}",
                        key.name,
                        key.kind.expects()
                    )),
                ),
            }
        }
    }

    fn defaulted<T>(&mut self, name: &str, convert: impl Fn(&Key, &DeValue<'_>) -> Result<T, Complaint>) -> T {
        self.value(name, convert).expect("a key that is always answered has a default").into_inner()
    }

    fn value<T>(
        &mut self,
        name: &str,
        convert: impl Fn(&Key, &DeValue<'_>) -> Result<T, Complaint>,
    ) -> Option<Spanned<T>> {
        let key = self.key(name);
        if let Some(found) = self.find(name) {
            match convert(key, found.get_ref()) {
                Ok(value) => return Some(Spanned::new(found.span(), value)),
                Err(complaint) => self.problems.at(found.span(), complaint),
            }
        }
        let Presence::Default(default) = key.presence else { return None };
        let default = DeValue::parse(default).expect("defaults are TOML");
        let value = convert(key, default.get_ref()).unwrap_or_else(|wrong| panic!("default of {name}: {wrong:?}"));
        Some(Spanned::new(0..0, value))
    }

    fn find(&self, name: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.layers
            .iter()
            .filter(|Layer(_, section)| section.key(name).is_some())
            .find_map(|Layer(table, _)| table.get(name))
    }

    fn key(&self, name: &str) -> &'static Key {
        self.layers
            .iter()
            .find_map(|Layer(_, section)| section.key(name))
            .unwrap_or_else(|| panic!("`{name}` is no key of {}", self.layers[0].1.title))
    }
}

/// An array of tables that must not be empty is.
fn none_of(key: &Key) -> Complaint {
    Complaint::new(format!("no [[{}]]: at least one is needed", key.name)).help(key.doc)
}
