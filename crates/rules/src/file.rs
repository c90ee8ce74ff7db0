//! Rule files as written, and as rules that can only be valid. Checks what upstream checks (model/rulefmt).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use signal::{Labels, parse_duration};

use crate::question::{Language, Question};
use crate::template::Template;

/// A file of rule groups.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RuleFile {
    /// In order of the file; names are unique.
    pub groups: Vec<GroupSpec>,
}

/// Rules evaluated together, one after the other.
#[derive(Clone, PartialEq, Debug)]
pub struct GroupSpec {
    /// Unique in its file, never empty.
    pub name: String,
    /// How often; `None` or zero means the default.
    pub interval: Option<Duration>,
    /// How far back the rules look; `None` means the default.
    pub query_offset: Option<Duration>,
    /// Most series or alerts one rule may give; 0 = no limit.
    pub limit: usize,
    /// In order of evaluation.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, PartialEq, Debug)]
pub struct Rule {
    /// Recorded metric, or the alert's name.
    pub name: String,
    /// What is asked.
    pub expr: Question,
    /// Set on every result, the group's labels included; templates for alerts.
    pub labels: BTreeMap<String, String>,
    /// What becomes of the answer.
    pub kind: Kind,
}

/// What a rule is for.
#[derive(Clone, PartialEq, Debug)]
pub enum Kind {
    /// Every element becomes a sample of the recorded metric.
    Recording,
    /// Every element is an alert.
    Alerting {
        /// How long it must hold before it fires (`for`).
        hold: Duration,
        /// How long it goes on firing after it stopped to hold (`keep_firing_for`).
        keep_firing: Duration,
        /// Texts for people; templates.
        annotations: BTreeMap<String, String>,
    },
}

/// Everything that is wrong with a file, in its order.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", lines(.problems))]
pub struct RuleFileError {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong, with its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Name of the file.
    pub file: String,
    /// From 1.
    pub line: u64,
    /// From 1.
    pub column: u64,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileShape {
    #[serde(default)]
    groups: Option<Vec<Spanned<GroupShape>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupShape {
    name: Option<String>,
    interval: Option<Spanned<String>>,
    query_offset: Option<Spanned<String>>,
    limit: Option<i64>,
    labels: Option<BTreeMap<String, Option<Spanned<String>>>>,
    rules: Option<Vec<Spanned<RuleShape>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleShape {
    record: Option<Spanned<String>>,
    alert: Option<Spanned<String>>,
    expr: Option<Spanned<String>>,
    #[serde(rename = "for")]
    hold: Option<Spanned<String>>,
    keep_firing_for: Option<Spanned<String>>,
    labels: Option<BTreeMap<String, Option<Spanned<String>>>>,
    annotations: Option<BTreeMap<String, Option<Spanned<String>>>>,
}

impl RuleFile {
    /// Reads the text of a file called `name`. An empty text is a file without groups; unknown keys are errors.
    ///
    /// # Errors
    /// Every problem at once, except that text of the wrong shape ends the reading.
    pub fn parse(name: &str, text: &str) -> Result<Self, RuleFileError> {
        let shape: FileShape = read_yaml(name, text)?;
        let mut problems = Problems::new(name);
        let mut seen = BTreeSet::new();
        let mut groups = Vec::new();
        for group in shape.groups.unwrap_or_default() {
            let place = group.referenced;
            let group_name = group.value.name.clone().unwrap_or_default();
            if group_name.is_empty() {
                problems.add(place, "the name of a group must not be empty");
            }
            if !seen.insert(group_name.clone()) {
                problems.add(place, format!("group name {group_name:?} is repeated in the same file"));
            }
            groups.push(problems.group(group_name, place, group.value));
        }
        problems.finish(Self { groups })
    }

    /// Number of rules in all groups.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.groups.iter().map(|group| group.rules.len()).sum()
    }

    /// Recording rules that share name and labels with an earlier one: they write the same series.
    #[must_use]
    pub fn duplicates(&self) -> Vec<&Rule> {
        let mut seen = BTreeSet::new();
        let rules = self.groups.iter().flat_map(|group| &group.rules).filter(|rule| rule.kind == Kind::Recording);
        rules.filter(|rule| !seen.insert((&rule.name, &rule.labels))).collect()
    }
}

impl GroupSpec {
    /// Reads the text of one group of rules over logs, as Loki's rule API takes it. `name` stands for the file.
    ///
    /// # Errors
    /// Every problem at once, except that text of the wrong shape ends the reading.
    pub fn parse_logs(name: &str, text: &str) -> Result<Self, RuleFileError> {
        let mut problems = Problems { language: Language::Logs, ..Problems::new(name) };
        let Some(shape) = read_yaml::<Option<Spanned<GroupShape>>>(name, text)? else {
            let message = "there is no group".to_owned();
            return Err(RuleFileError {
                problems: vec![Problem { file: name.to_owned(), line: 1, column: 1, message }],
            });
        };
        let place = shape.referenced;
        let group = shape.value.name.clone().unwrap_or_default();
        if group.is_empty() {
            problems.add(place, "the name of a group must not be empty");
        }
        let spec = problems.group(group, place, shape.value);
        problems.finish(spec)
    }
}

/// Reads YAML into a shape; text that is blank or only comments gives the default.
pub(crate) fn read_yaml<T: Default + for<'de> Deserialize<'de>>(name: &str, text: &str) -> Result<T, RuleFileError> {
    if text.lines().all(|line| matches!(line.trim_start().chars().next(), None | Some('#')) || line == "---") {
        return Ok(T::default());
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location();
        let rendered = error.without_snippet().to_string();
        // The place stands in front already.
        let message = rendered.split(" at line ").next().unwrap_or(&rendered).to_owned();
        let (line, column) = place.map_or((1, 1), |place| (place.line(), place.column()));
        RuleFileError { problems: vec![Problem { file: name.to_owned(), line, column, message }] }
    })
}

/// Collects problems while values are checked.
pub(crate) struct Problems {
    file: String,
    language: Language,
    found: Vec<Problem>,
}

impl Problems {
    pub(crate) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), language: Language::Metrics, found: Vec::new() }
    }

    pub(crate) fn add(&mut self, place: Location, message: impl Into<String>) {
        let (file, message) = (self.file.clone(), message.into());
        self.found.push(Problem { file, line: place.line(), column: place.column(), message });
    }

    pub(crate) fn finish<T>(self, value: T) -> Result<T, RuleFileError> {
        let mut problems = self.found;
        // As somebody reads the file.
        problems.sort_by_key(|problem| (problem.line, problem.column));
        if problems.is_empty() { Ok(value) } else { Err(RuleFileError { problems }) }
    }

    pub(crate) fn duration(&mut self, text: Option<&Spanned<String>>) -> Option<Duration> {
        let text = text?;
        match parse_duration(&text.value) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.add(text.referenced, error.to_string());
                None
            }
        }
    }

    fn group(&mut self, name: String, place: Location, shape: GroupShape) -> GroupSpec {
        let interval = self.duration(shape.interval.as_ref());
        let query_offset = self.duration(shape.query_offset.as_ref());
        let group_labels = plain(shape.labels.unwrap_or_default());
        let mut rules = Vec::new();
        for (at, rule) in shape.rules.unwrap_or_default().into_iter().enumerate() {
            let said = [&rule.value.alert, &rule.value.record].into_iter().flatten().map(|name| name.value.as_str());
            let rule_name = said.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
            let context = format!("group {name:?}, rule {}, {rule_name:?}", at + 1);
            let checked = Checked { context, place: rule.referenced, problems: self };
            rules.extend(checked.rule(rule.value, &group_labels));
        }
        for label in group_labels.keys().filter(|label| !is_label_name(label)) {
            self.add(place, format!("group {name:?}: invalid label name {label:?}"));
        }
        let limit = usize::try_from(shape.limit.unwrap_or(0)).unwrap_or(0);
        GroupSpec { name, interval, query_offset, limit, rules }
    }
}

/// One rule while it is checked.
struct Checked<'a> {
    context: String,
    place: Location,
    problems: &'a mut Problems,
}

impl Checked<'_> {
    fn fail(&mut self, place: Location, message: impl fmt::Display) {
        let message = format!("{}: {message}", self.context);
        self.problems.add(place, message);
    }

    fn rule(mut self, shape: RuleShape, group_labels: &BTreeMap<String, String>) -> Option<Rule> {
        let record = shape.record.as_ref().filter(|name| !name.value.is_empty());
        let alert = shape.alert.as_ref().filter(|name| !name.value.is_empty());
        match (record, alert) {
            (Some(record), Some(_)) => self.fail(record.referenced, "only one of `record` and `alert` must be set"),
            (None, None) => self.fail(self.place, "one of `record` or `alert` must be set"),
            (Some(_), None) | (None, Some(_)) => {}
        }
        let expr = self.expr(shape.expr.as_ref());
        let hold = self.duration(shape.hold.as_ref());
        let keep_firing = self.duration(shape.keep_firing_for.as_ref());
        let annotations = shape.annotations.unwrap_or_default();
        if let Some(record) = record {
            let place = record.referenced;
            for (is_set, key) in [
                (!annotations.is_empty(), "annotations"),
                (!hold.is_zero(), "for"),
                (!keep_firing.is_zero(), "keep_firing_for"),
            ] {
                if is_set {
                    self.fail(place, format_args!("invalid field `{key}` in recording rule"));
                }
            }
            if record.value.contains(['{', '}']) {
                let name = &record.value;
                self.fail(
                    place,
                    format_args!("braces present in the recording rule name; should it be in expr?: {name}"),
                );
            }
        }
        for (what, texts) in [("label", shape.labels.as_ref()), ("annotation", Some(&annotations))] {
            for (name, text) in texts.into_iter().flatten() {
                let place = text.as_ref().map_or(self.place, |text| text.referenced);
                if !is_label_name(name) {
                    self.fail(place, format_args!("invalid {what} name {name:?}"));
                }
                if let (Some(alert), Some(text)) = (alert, text)
                    && let Err(error) = Template::check(&alert.value, &text.value)
                {
                    self.fail(place, format_args!("{what} {name:?}: {error}"));
                }
            }
        }
        let mut labels = group_labels.clone();
        labels.extend(plain(shape.labels.unwrap_or_default()));
        let kind = match alert {
            Some(_) => Kind::Alerting { hold, keep_firing, annotations: plain(annotations) },
            None => Kind::Recording,
        };
        let name = alert.or(record)?.value.clone();
        Some(Rule { name, expr: expr?, labels, kind })
    }

    fn expr(&mut self, text: Option<&Spanned<String>>) -> Option<Question> {
        let Some(text) = text.filter(|text| !text.value.is_empty()) else {
            self.fail(self.place, "field `expr` must be set in rule");
            return None;
        };
        match Question::parse(self.problems.language, &text.value) {
            Ok(question) => Some(question),
            Err(error) => {
                self.fail(text.referenced, format_args!("could not parse expression: {error}"));
                None
            }
        }
    }

    fn duration(&mut self, text: Option<&Spanned<String>>) -> Duration {
        let Some(text) = text else { return Duration::ZERO };
        parse_duration(&text.value).unwrap_or_else(|error| {
            self.fail(text.referenced, error);
            Duration::ZERO
        })
    }
}

/// The UTF-8 scheme, upstream's default: any name that is not empty, but a metric's name is not for labels.
fn is_label_name(name: &str) -> bool {
    !name.is_empty() && name != Labels::NAME
}

fn plain(texts: BTreeMap<String, Option<Spanned<String>>>) -> BTreeMap<String, String> {
    texts.into_iter().map(|(name, text)| (name, text.map(|text| text.value).unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests;
