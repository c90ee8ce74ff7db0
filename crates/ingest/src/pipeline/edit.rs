//! Stages that change a line or drop it, one at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use regex::Regex;
use signal::{Labels, Nanos};

use super::fields::{JsonPath, json_text, logfmt};
use super::go_time::Format;
use super::template::Template;
use super::{Entry, Extracted};

/// Streams of one file of which the last time is remembered.
const MAX_LAST_TIMES: usize = 10_000;

type Name = Arc<str>;

/// A stage that gives back one line for each.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    Json {
        paths: Arc<[(Name, JsonPath)]>,
        source: Option<Name>,
        drop_malformed: bool,
    },
    /// Names of fields, and what they are called afterwards.
    Logfmt {
        names: Arc<[(Name, Name)]>,
        source: Option<Name>,
    },
    Regex {
        expression: Regex,
        names: Arc<[Option<Name>]>,
        source: Option<Name>,
    },
    Replace {
        expression: Regex,
        names: Arc<[Option<Name>]>,
        source: Option<Name>,
        with: Arc<Template>,
    },
    Template {
        source: Name,
        template: Arc<Template>,
    },
    /// Labels, and what they are called where they come from.
    Labels(Arc<[(Name, Name)]>),
    StaticLabels(Arc<[(Name, String)]>),
    Metadata(Arc<[(Name, Name)]>),
    LabelDrop(Arc<[String]>),
    LabelAllow(Arc<[String]>),
    Timestamp(Box<Timestamp>),
    Output(Name),
    /// The last line break of what Docker writes.
    TrimEnd,
}

/// Reads the time of a line.
#[derive(Clone, Debug)]
pub(super) struct Timestamp {
    pub(super) source: Name,
    /// The first that fits counts.
    pub(super) formats: Vec<Format>,
    pub(super) zone: Option<TimeZone>,
    pub(super) on_failure: Failure,
}

/// What becomes of a line whose time cannot be read.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// It keeps the time it has.
    Skip,
    /// It comes a nanosecond after the last line of its stream.
    Fudge(BTreeMap<Labels, Nanos>),
}

impl Failure {
    pub(super) fn fudge() -> Self {
        Self::Fudge(BTreeMap::new())
    }
}

impl Edit {
    /// Whether the line goes on.
    pub(super) fn apply(&mut self, entry: &mut Entry, now: Nanos) -> bool {
        match self {
            Self::Json { paths, source, drop_malformed } => {
                let Some(text) = entry.input(source.as_deref()) else { return true };
                let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text) else {
                    return !*drop_malformed;
                };
                let object = serde_json::Value::Object(object);
                for (name, path) in paths.iter() {
                    let found = path.find(&object).and_then(json_text);
                    entry.set(name, found.map_or(Extracted::Null, Extracted::Text));
                }
            }
            Self::Logfmt { names, source } => {
                let Some(text) = entry.input(source.as_deref()) else { return true };
                let mut found = Vec::new();
                logfmt(text, |key, value| {
                    let wanted = names.iter().find(|(field, _)| **field == *key);
                    found.extend(wanted.map(|(_, name)| (Arc::clone(name), value.to_owned())));
                });
                found.into_iter().for_each(|(name, value)| entry.set(&name, Extracted::Text(value)));
            }
            Self::Regex { expression, names, source } => {
                let Some(text) = entry.input(source.as_deref()) else { return true };
                let Some(found) = expression.captures(text) else { return true };
                let groups = names.iter().zip(found.iter());
                let groups = groups.filter_map(|(name, group)| {
                    Some((name.clone()?, group.map_or_else(String::new, |group| group.as_str().to_owned())))
                });
                let groups: Vec<_> = groups.collect();
                groups.into_iter().for_each(|(name, value)| entry.set(&name, Extracted::Text(value)));
            }
            Self::Replace { expression, names, source, with } => {
                replace(entry, expression, names, source.as_deref(), with);
            }
            Self::Template { source, template } => {
                let value = entry.get(source).map(str::to_owned);
                if let Some(text) = template.render(entry, value.as_deref(), true) {
                    entry.set(source, if text.is_empty() { Extracted::Gone } else { Extracted::Text(text) });
                }
            }
            Self::Labels(names) => {
                for (name, source) in names.iter() {
                    if let Some(value) = entry.get(source) {
                        entry.labels = entry.labels.with(name, value);
                    }
                }
            }
            Self::StaticLabels(labels) => {
                for (name, value) in labels.iter() {
                    entry.labels = entry.labels.with(name, value);
                }
            }
            Self::Metadata(names) => {
                for (name, source) in names.iter() {
                    if let Some(value) = entry.get(source) {
                        let value = value.to_owned();
                        entry.metadata.push((Arc::clone(name), value));
                    }
                }
            }
            Self::LabelDrop(names) => entry.labels = entry.labels.without(|name| names.iter().any(|drop| drop == name)),
            Self::LabelAllow(names) => {
                entry.labels = entry.labels.without(|name| !names.iter().any(|kept| kept == name));
            }
            Self::Timestamp(stage) => stage.apply(entry, now),
            Self::Output(source) => {
                if let Some(text) = entry.get(source) {
                    entry.line = text.to_owned();
                }
            }
            Self::TrimEnd => {
                if entry.line.ends_with('\n') {
                    entry.line.pop();
                }
            }
        }
        true
    }
}

impl Timestamp {
    fn apply(&mut self, entry: &mut Entry, now: Nanos) {
        let zone = self.zone.as_ref();
        let read = entry
            .get(&self.source)
            .and_then(|text| self.formats.iter().find_map(|format| format.read(text, zone, now)));
        if let Some(at) = read {
            entry.at = at;
        }
        let Failure::Fudge(last) = &mut self.on_failure else { return };
        if read.is_none() {
            let Some(before) = last.get(&entry.labels) else { return };
            entry.at = Nanos(before.0.saturating_add(1));
        }
        if last.len() >= MAX_LAST_TIMES && !last.contains_key(&entry.labels) {
            last.clear();
        }
        last.insert(entry.labels.clone(), entry.at);
    }
}

/// Replaces what the groups of the expression match, by the template's text for each.
fn replace(entry: &mut Entry, expression: &Regex, names: &[Option<Name>], source: Option<&str>, with: &Template) {
    let Some(input) = entry.input(source).map(str::to_owned) else { return };
    let mut result = String::new();
    let mut behind = 0;
    let mut replaced: BTreeMap<&str, String> = BTreeMap::new();
    let mut first = None;
    for found in expression.captures_iter(&input) {
        for group in found.iter().skip(1).flatten() {
            let Some(text) = with.render(entry, Some(group.as_str()), false) else { return };
            if behind == 0 || behind < group.start() {
                result.push_str(input.get(behind..group.start()).unwrap_or_default());
                result.push_str(&text);
                behind = group.end();
            }
            replaced.insert(group.as_str(), text);
        }
        first.get_or_insert(found);
    }
    let Some(first) = first else { return };
    result.push_str(input.get(behind..).unwrap_or_default());
    for (name, group) in names.iter().zip(first.iter()) {
        let text = group.map_or("", |group| group.as_str());
        if let (Some(name), Some(text)) = (name, replaced.get(text)) {
            entry.set(name, Extracted::Text(text.clone()));
        }
    }
    match source {
        Some(name) => entry.set(&Arc::from(name), Extracted::Text(result)),
        None => entry.line = result,
    }
}

/// Drops lines for which all of its conditions hold.
#[derive(Clone, Debug)]
pub(super) struct Drop {
    pub(super) reason: Name,
    pub(super) sources: Arc<[Name]>,
    pub(super) separator: Arc<str>,
    pub(super) value: Option<Arc<str>>,
    pub(super) expression: Option<Regex>,
    pub(super) older_than: Option<Duration>,
    pub(super) longer_than: Option<usize>,
}

impl Drop {
    /// `None` for a line that goes on.
    pub(super) fn reason_to_drop(&self, entry: &Entry, now: Nanos) -> Option<&Name> {
        if self.longer_than.is_some_and(|most| entry.line.len() <= most) {
            return None;
        }
        if self.older_than.is_some_and(|most| entry.at >= now.minus(most)) {
            return None;
        }
        if self.sources.is_empty() {
            let is_match = self.expression.as_ref().is_none_or(|expression| expression.is_match(&entry.line));
            return is_match.then_some(&self.reason);
        }
        if self.expression.is_none() && self.value.is_none() {
            return self.sources.iter().all(|name| entry.has(name)).then_some(&self.reason);
        }
        let values: Option<Vec<&str>> = self.sources.iter().map(|name| entry.get(name)).collect();
        let text = values?.join(&self.separator);
        let is_match = self.value.as_ref().is_none_or(|value| **value == *text)
            && self.expression.as_ref().is_none_or(|expression| expression.is_match(&text));
        is_match.then_some(&self.reason)
    }
}
