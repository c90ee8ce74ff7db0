//! A line on its way through a pipeline.

use std::borrow::Cow;
use std::collections::HashMap;

use signal::{Labels, Nanos};
use store::Line;

use super::hints::TAKEN;

/// Why a line could not be read, for `__error_details__`.
pub(super) type Reason = Cow<'static, str>;

/// What becomes of a value that a parser found when there is a label of that name already. A name that a stored label
/// has gets `_extracted` appended first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Take {
    /// What was parsed first stays, also by an earlier stage.
    First,
    /// The new value counts.
    Last,
    /// There is no value: the label becomes empty unless one is there.
    Missing,
    /// There is no value: the label becomes empty unless a stored one has the name.
    Blank,
}

/// Where a parser tells of what it finds: names and values in order.
pub(super) type Tell<'t, 'x> = dyn FnMut(Take, Cow<'x, str>, Cow<'x, str>) + 't;

/// What went wrong with a line; the line is kept and says so in `__error__`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Error {
    Json,
    Logfmt,
    LabelFilter,
    Template,
    SampleExtraction,
}

impl Error {
    pub(crate) const LABEL: &'static str = "__error__";
    pub(crate) const DETAILS: &'static str = "__error_details__";

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Json => "JSONParserErr",
            Self::Logfmt => "LogfmtParserErr",
            Self::LabelFilter => "LabelFilterErr",
            Self::Template => "TemplateFormatErr",
            Self::SampleExtraction => "SampleExtractionErr",
        }
    }
}

/// Up to how many changes a search from the front is the quickest.
const FEW: usize = 32;

/// Where a label comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
    Stream,
    Structured,
    Parsed,
}

/// A label that differs from what was stored; without value when removed.
struct Change<'a> {
    name: Cow<'a, str>,
    value: Option<Cow<'a, str>>,
    origin: Origin,
}

/// A line, its labels, and what stages made of them.
pub(crate) struct Entry<'a> {
    /// When, unchangeable.
    pub(crate) at: Nanos,
    /// The text so far.
    pub(crate) line: Cow<'a, str>,
    stream: &'a Labels,
    structured: &'a Labels,
    changes: Vec<Change<'a>>,
    /// Place of each change by name, kept only when there are many.
    places: Option<HashMap<String, usize>>,
    error: Option<Error>,
    details: Reason,
}

/// The labels of a line, apart and together.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Sorted {
    pub(crate) all: Labels,
    pub(crate) stream: Labels,
    pub(crate) structured: Labels,
    pub(crate) parsed: Labels,
}

impl<'a> Entry<'a> {
    pub(super) fn new(stream: &'a Labels, line: Line<'a>) -> Self {
        let mut entry = Self {
            at: line.at,
            line: Cow::Borrowed(line.line),
            stream,
            structured: line.metadata,
            changes: Vec::new(),
            places: None,
            error: None,
            details: Cow::Borrowed(""),
        };
        for (name, value) in line.metadata {
            if stream.get(name).is_some() {
                entry.set(Cow::Owned(format!("{name}{TAKEN}")), Some(Cow::Borrowed(value)), Origin::Structured);
            }
        }
        entry
    }

    /// The value of a label, also of `__error__` and its details.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        match name {
            Error::LABEL if self.error.is_some() => self.error.map(Error::as_str),
            Error::DETAILS if !self.details.is_empty() && !self.is_as_stored() => Some(&self.details),
            _ => self.label(name),
        }
    }

    /// The value of a label. What an error says is none, unlike a label somebody gave its name.
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        match self.change(name) {
            Some(change) => change.value.as_deref(),
            None => self.stream.get(name).or_else(|| self.structured.get(name)),
        }
    }

    /// Whether the labels are those of the stream alone; details that are left of a dropped error do not show then.
    fn is_as_stored(&self) -> bool {
        self.changes.is_empty() && self.error.is_none() && self.structured.is_empty()
    }

    fn place(&self, name: &str) -> Option<usize> {
        match &self.places {
            None => self.changes.iter().position(|change| change.name == name),
            Some(places) => places.get(name).copied(),
        }
    }

    fn change(&self, name: &str) -> Option<&Change<'a>> {
        self.place(name).and_then(|at| self.changes.get(at))
    }

    fn set(&mut self, name: Cow<'a, str>, value: Option<Cow<'a, str>>, origin: Origin) {
        if let Some(change) = self.place(&name).and_then(|at| self.changes.get_mut(at)) {
            change.value = value;
            change.origin = origin;
            return;
        }
        self.push(Change { name, value, origin });
    }

    fn push(&mut self, change: Change<'a>) {
        if self.changes.is_empty() {
            self.changes.reserve(8);
        }
        self.changes.push(change);
        // A line may hold tens of thousands of names; each is then found without looking at all others.
        if self.changes.len() > FEW {
            let places = self.places.get_or_insert_default();
            for (at, change) in self.changes.iter().enumerate().skip(places.len()) {
                places.insert(change.name.to_string(), at);
            }
        }
    }

    /// A parser's finding.
    fn set_parsed(&mut self, take: Take, name: Cow<'a, str>, value: Cow<'a, str>) {
        let taken = self.stream.get(&name).is_some() || self.is_structured(&name);
        let absent = match take {
            Take::First | Take::Last => false,
            Take::Missing => self.get(&name).is_some(),
            Take::Blank => taken,
        };
        if absent {
            return;
        }
        let name =
            if taken && matches!(take, Take::First | Take::Last) { Cow::Owned(format!("{name}{TAKEN}")) } else { name };
        let change = Change { name, value: Some(value), origin: Origin::Parsed };
        match self.place(&change.name).and_then(|at| self.changes.get_mut(at)) {
            None => self.push(change),
            Some(_) if take == Take::First => {}
            Some(known) => *known = change,
        }
    }

    /// Whether the label comes from structured metadata and is still there.
    fn is_structured(&self, name: &str) -> bool {
        match self.change(name) {
            Some(change) => change.origin == Origin::Structured && change.value.is_some(),
            None => self.structured.get(name).is_some(),
        }
    }

    /// Sets a label to a rendered template.
    pub(super) fn format(&mut self, name: &str, value: String) {
        self.set(Cow::Owned(name.to_owned()), Some(Cow::Owned(value)), Origin::Parsed);
    }

    /// Sets a label to what a parser is known to find, under the name that it gets.
    pub(in crate::logql) fn learn(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        self.set(name, Some(value), Origin::Parsed);
    }

    /// Moves a label; nothing happens when there is none.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        let Some(value) = self.label(from) else { return };
        let value = value.to_owned();
        self.set(Cow::Owned(to.to_owned()), Some(Cow::Owned(value)), Origin::Parsed);
        self.remove(from);
    }

    /// Removes a label, or forgets an error.
    pub(crate) fn remove(&mut self, name: &str) {
        match name {
            Error::LABEL => self.error = None,
            Error::DETAILS => self.details = Cow::Borrowed(""),
            _ => {
                if self.get(name).is_some() {
                    self.set(Cow::Owned(name.to_owned()), None, Origin::Parsed);
                }
            }
        }
    }

    /// Notes that something went wrong; the last failure counts.
    pub(crate) fn fail(&mut self, error: Error, details: impl Into<Reason>) {
        self.error = Some(error);
        self.details = details.into();
    }

    /// Whether something went wrong.
    pub(crate) fn failed(&self) -> Option<Error> {
        self.error
    }

    /// Runs a parser over the line and takes over what it finds, also before an error.
    pub(super) fn parse(
        &mut self,
        error: Error,
        parse: impl for<'x> FnOnce(&'x str, &mut Tell<'_, 'x>) -> Result<(), Reason>,
    ) {
        let parsed = match std::mem::take(&mut self.line) {
            Cow::Borrowed(line) => {
                self.line = Cow::Borrowed(line);
                parse(line, &mut |take, name, value| self.set_parsed(take, name, value))
            }
            Cow::Owned(line) => {
                let parsed = parse(&line, &mut |take, name, value| {
                    self.set_parsed(take, Cow::Owned(name.into_owned()), Cow::Owned(value.into_owned()));
                });
                self.line = Cow::Owned(line);
                parsed
            }
        };
        if let Err(details) = parsed {
            self.fail(error, details);
        }
    }

    /// Whether there is no label at all.
    pub(super) fn is_bare(&self) -> bool {
        self.pairs().next().is_none() && self.errors().next().is_none()
    }

    /// Names of all labels, without those of errors.
    pub(super) fn names(&self) -> Vec<String> {
        self.pairs().map(|(name, _, _)| name.to_owned()).collect()
    }

    /// All labels with their origin, without those of errors, in no particular order.
    fn pairs(&self) -> impl Iterator<Item = (&str, &str, Origin)> {
        let unchanged = |name: &str| self.place(name).is_none();
        let stored = self
            .stream
            .iter()
            .filter(move |(name, _)| unchanged(name))
            .map(|(name, value)| (name, value, Origin::Stream));
        let unchanged = |name: &str| self.place(name).is_none();
        let structured = self
            .structured
            .iter()
            .filter(move |(name, _)| unchanged(name) && self.stream.get(name).is_none())
            .map(|(name, value)| (name, value, Origin::Structured));
        let changed =
            self.changes.iter().filter_map(|change| Some((&*change.name, change.value.as_deref()?, change.origin)));
        stored.chain(structured).chain(changed)
    }

    /// Calls `with` for each label a template can see.
    pub(super) fn for_each(&self, mut with: impl FnMut(&str, &str)) {
        for (name, value, _) in self.pairs() {
            with(name, value);
        }
        for (name, value) in self.errors() {
            with(name, value);
        }
    }

    /// The labels of an error. Details may be left of one that was dropped.
    fn errors(&self) -> impl Iterator<Item = (&str, &str)> {
        let error = self.error.map(|error| (Error::LABEL, error.as_str()));
        let shown = !self.details.is_empty() && !self.is_as_stored();
        let details = shown.then_some((Error::DETAILS, &*self.details));
        error.into_iter().chain(details)
    }

    /// The finished labels, those of an error among the parsed ones.
    pub(crate) fn sorted(&self) -> Sorted {
        if self.is_as_stored() {
            return Sorted {
                all: self.stream.clone(),
                stream: self.stream.clone(),
                structured: Labels::empty(),
                parsed: Labels::empty(),
            };
        }
        let of = |wanted: Origin| {
            let found = self.pairs().filter(|(_, _, origin)| *origin == wanted);
            let errors = self.errors().filter(|_| wanted == Origin::Parsed);
            Labels::from_pairs(found.map(|(name, value, _)| (name, value)).chain(errors))
        };
        let (stream, structured, parsed) = (of(Origin::Stream), of(Origin::Structured), of(Origin::Parsed));
        let all: Vec<(&str, &str)> = [&stream, &structured, &parsed].into_iter().flat_map(Labels::iter).collect();
        Sorted { all: Labels::from_pairs(all), stream, structured, parsed }
    }

    /// All labels together.
    pub(crate) fn labels(&self) -> Labels {
        if self.is_as_stored() {
            return self.stream.clone();
        }
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        pairs.extend(self.pairs().map(|(name, value, _)| (name, value)));
        pairs.extend(self.errors());
        Labels::from_pairs(pairs)
    }
}
