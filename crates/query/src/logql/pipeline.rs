//! Runs the stages of a query over one line after the other.

mod bytes;
mod entry;
mod filter;
mod hints;
mod ip;
mod json;
mod line;
mod logfmt;
mod pattern;
mod template;

use std::borrow::Cow;
use std::collections::VecDeque;

use regex::Regex;
use signal::{Labels, Matcher, Nanos, go_regex};
use store::Line;

pub(super) use entry::{Entry, Error, Sorted};
pub(super) use filter::{Filter, TimeBound, compares};
pub(super) use hints::{Hints, required_labels, sanitize, stage_labels};

use super::ast::{Extraction, LabelFilter, LabelSource, Pick, Stage};
use entry::{Reason, Take, Tell};
use ip::IpMatcher;
use line::LineFilter;
use logfmt::Manner;
use pattern::Pattern;
use template::Template;

/// A pipeline ready to run; one per query and thread.
pub(super) struct Pipeline {
    steps: Vec<Step>,
    now: Nanos,
    hints: Option<Hints>,
}

/// A stage with everything compiled that can be.
pub(super) enum Step {
    Line(LineFilter),
    Json,
    JsonPaths(Vec<(String, Vec<json::Part>)>),
    Logfmt(Manner),
    LogfmtKeys(Manner, Vec<Extraction>),
    Regexp(Regex),
    Pattern(Pattern),
    Unpack,
    Filter(Filter),
    LineFormat(Template),
    LabelFormat(Vec<(String, Source)>),
    Drop(Vec<Pick>),
    Keep(Vec<Pick>),
    Decolorize(Regex),
}

pub(super) enum Source {
    Label(String),
    Template(Template),
}

impl Pipeline {
    /// Compiles the stages. `now` is what the template function of that name answers.
    ///
    /// # Errors
    /// The reason, for a stage that did not come through the parser and does not compile.
    pub(super) fn new(stages: &[Stage], now: Nanos) -> Result<Self, String> {
        Self::with_hints(stages, now, None)
    }

    /// The same for somebody who will only look at some labels: those that parsers find are told apart by name and the
    /// unwanted ones passed over. Lines, errors and wanted labels are what they are without hints, except that hints
    /// without any name parse nothing and find nothing malformed.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn with_hints(stages: &[Stage], now: Nanos, hints: Option<Hints>) -> Result<Self, String> {
        let steps = stages.iter().map(compile_stage).collect::<Result<_, _>>()?;
        Ok(Self { steps, now, hints })
    }

    /// What is left of a line; `None` when a filter refuses it.
    pub(super) fn run<'a>(&self, stream: &'a Labels, line: Line<'a>) -> Option<Entry<'a>> {
        let mut entry = Entry::new(stream, line);
        for step in &self.steps {
            if !step.run(&mut entry, self.now, self.hints.as_ref()) {
                return None;
            }
        }
        Some(entry)
    }

    /// A line before any stage.
    pub(super) fn begin<'a>(&self, stream: &'a Labels, line: Line<'a>) -> Entry<'a> {
        Entry::new(stream, line)
    }

    /// Some of the stages, for whoever does what others do in another way; false when the line is refused.
    pub(super) fn run_steps(&self, entry: &mut Entry<'_>, steps: std::ops::Range<usize>) -> bool {
        let steps = self.steps.get(steps).unwrap_or_default();
        steps.iter().all(|step| step.run(entry, self.now, self.hints.as_ref()))
    }

    /// The time bounds that every line kept by this pipeline satisfies, unless its own text sets `__timestamp__`;
    /// the flag says whether a stage before a bound might do that.
    pub(super) fn time_bounds(&self) -> (Vec<TimeBound>, bool) {
        let mut bounds = Vec::new();
        let mut may_be_shadowed = false;
        let mut shadowable = false;
        for step in &self.steps {
            match step {
                Step::Filter(filter) => {
                    let before = bounds.len();
                    filter.collect_time_bounds(&mut bounds);
                    may_be_shadowed |= shadowable && bounds.len() > before;
                }
                Step::Json | Step::Logfmt(_) | Step::Unpack => shadowable = true,
                // These name what they set; a bound on a name set here is not about the line's own time.
                Step::JsonPaths(paths) if paths.iter().any(|(name, _)| is_timestamp(name)) => {
                    return (bounds, may_be_shadowed);
                }
                Step::LogfmtKeys(_, wanted) if wanted.iter().any(|one| is_timestamp(&one.label)) => {
                    return (bounds, may_be_shadowed);
                }
                Step::Regexp(regex) if regex.capture_names().flatten().any(is_timestamp) => {
                    return (bounds, may_be_shadowed);
                }
                Step::Pattern(pattern) if pattern.names().any(is_timestamp) => return (bounds, may_be_shadowed),
                Step::LabelFormat(formats) if formats.iter().any(|(name, _)| is_timestamp(name)) => {
                    return (bounds, may_be_shadowed);
                }
                Step::Line(_)
                | Step::JsonPaths(_)
                | Step::LogfmtKeys(..)
                | Step::Regexp(_)
                | Step::Pattern(_)
                | Step::LineFormat(_)
                | Step::LabelFormat(_)
                | Step::Drop(_)
                | Step::Keep(_)
                | Step::Decolorize(_) => {}
            }
        }
        (bounds, may_be_shadowed)
    }
}

/// Escape sequences of terminals: those that end with a bell, and those that end with a letter or sign.
const ESCAPES: &str = concat!(
    r"[\x1b\x{9b}][\[\]()#;?]*",
    r"(?:(?:[a-zA-Z\d]*(?:;[a-zA-Z\d]*)*)?\x07|(?:\d{1,4}(?:;\d{0,4})*)?[\dA-PRZcf-ntqry=><~])"
);

/// The virtual label that holds a line's own time, for label filters only.
pub(super) const TIMESTAMP: &str = "__timestamp__";

fn is_timestamp(name: &str) -> bool {
    name == TIMESTAMP
}

/// Compiles one stage; the parser uses this to refuse what does not compile.
///
/// # Errors
/// The reason in Loki's words.
pub(super) fn compile_stage(stage: &Stage) -> Result<Step, String> {
    Ok(match stage {
        Stage::Line { op, terms } => Step::Line(LineFilter::new(*op, terms)?),
        Stage::Json(wanted) if wanted.is_empty() => Step::Json,
        Stage::Json(wanted) => Step::JsonPaths(
            wanted
                .iter()
                .map(|one| Ok((one.label.clone(), json::parse_path(&one.path)?)))
                .collect::<Result<_, String>>()?,
        ),
        Stage::Logfmt { strict, keep_empty, wanted } => {
            let manner = Manner { strict: *strict, keep_empty: *keep_empty };
            if wanted.is_empty() { Step::Logfmt(manner) } else { Step::LogfmtKeys(manner, logfmt::keys(wanted)?) }
        }
        Stage::Regexp(pattern) => {
            let regex = go_regex::compile(pattern).map_err(|reason| duplicate_capture(pattern).unwrap_or(reason))?;
            if regex.capture_names().flatten().next().is_none() {
                return Err("at least one named capture must be supplied".to_owned());
            }
            Step::Regexp(regex)
        }
        Stage::Pattern(pattern) => Step::Pattern(Pattern::for_captures(pattern)?),
        Stage::Unpack => Step::Unpack,
        Stage::Filter(filter) => {
            if let LabelFilter::Ip { pattern, .. } = filter {
                IpMatcher::new(pattern)?;
            }
            Step::Filter(Filter::new(filter)?)
        }
        Stage::LineFormat(template) => Step::LineFormat(
            Template::new("line", template).map_err(|reason| format!("invalid line template: {reason}"))?,
        ),
        Stage::LabelFormat(formats) => Step::LabelFormat(label_formats(formats)?),
        Stage::Drop(picks) => Step::Drop(picks.clone()),
        Stage::Keep(picks) => Step::Keep(picks.clone()),
        Stage::Decolorize => Step::Decolorize(go_regex::compile(ESCAPES)?),
    })
}

/// The sentence for a name given to two captures, if that is the mistake.
fn duplicate_capture(pattern: &str) -> Option<String> {
    let names = Regex::new("\\(\\?P?<([A-Za-z0-9_]+)>").ok()?;
    let mut seen: Vec<&str> = Vec::new();
    for captures in names.captures_iter(pattern) {
        let name = captures.get(1)?.as_str();
        if seen.contains(&name) {
            return Some(format!("duplicate extracted label name '{name}'"));
        }
        seen.push(name);
    }
    None
}

fn label_formats(formats: &[(String, LabelSource)]) -> Result<Vec<(String, Source)>, String> {
    let mut compiled: Vec<(String, Source)> = Vec::new();
    for (name, source) in formats {
        if name == Error::LABEL {
            return Err(format!("{} cannot be formatted", Error::LABEL));
        }
        if compiled.iter().any(|(earlier, _)| earlier == name) {
            return Err(format!("multiple label name '{name}' not allowed in a single format operation"));
        }
        let source = match source {
            LabelSource::Label(from) => Source::Label(from.clone()),
            LabelSource::Template(text) => Source::Template(
                Template::new("label", text)
                    .map_err(|reason| format!("invalid template for label '{name}': {reason}"))?,
            ),
        };
        compiled.push((name.clone(), source));
    }
    Ok(compiled)
}

impl Step {
    /// Applies itself; false when the line is refused.
    fn run(&self, entry: &mut Entry<'_>, now: Nanos, hints: Option<&Hints>) -> bool {
        let parses = matches!(
            self,
            Self::Json
                | Self::JsonPaths(_)
                | Self::Logfmt(_)
                | Self::LogfmtKeys(..)
                | Self::Regexp(_)
                | Self::Pattern(_)
        );
        if parses && hints.is_some_and(Hints::is_empty) {
            return true;
        }
        match self {
            Self::Line(filter) => return filter.holds(&entry.line),
            Self::Filter(filter) => return filter.holds(entry),
            Self::Json => entry.parse(Error::Json, |line, tell| json::flatten(line, hints, tell)),
            Self::JsonPaths(paths) => entry.parse(Error::Json, |line, tell| json::pick(line, paths, hints, tell)),
            Self::Logfmt(manner) => {
                entry.parse(Error::Logfmt, |line, tell| logfmt::decode(line, *manner, hints, tell));
            }
            Self::LogfmtKeys(manner, wanted) => {
                entry.parse(Error::Logfmt, |line, tell| logfmt::pick(line, *manner, wanted, hints, tell));
            }
            Self::Regexp(regex) => entry.parse(Error::Json, |line, tell| match_groups(regex, line, hints, tell)),
            Self::Pattern(pattern) => entry.parse(Error::Json, |line, tell| {
                pattern.capture(line, |name, value| {
                    if hints.is_none_or(|hints| hints.wants(name)) {
                        tell(Take::First, Cow::Owned(name.to_owned()), Cow::Borrowed(value));
                    }
                });
                Ok(())
            }),
            Self::Unpack => {
                let mut packed = None;
                entry.parse(Error::Json, |line, tell| {
                    packed = json::unpack(line, hints, tell)?;
                    Ok(())
                });
                if let Some(line) = packed {
                    entry.line = Cow::Owned(line);
                }
            }
            Self::LineFormat(template) => match template.render(entry, now) {
                Ok(text) => entry.line = Cow::Owned(text),
                Err(reason) => entry.fail(Error::Template, reason),
            },
            Self::LabelFormat(formats) => Self::format_labels(formats, entry, now),
            Self::Drop(picks) => {
                for pick in picks {
                    match pick {
                        Pick::Name(name) => entry.remove(name),
                        Pick::Match(matcher) if picked(matcher, entry) => entry.remove(&matcher.name),
                        Pick::Match(_) => {}
                    }
                }
            }
            Self::Keep(picks) => {
                for name in entry.names() {
                    let kept = picks.iter().any(|pick| match pick {
                        Pick::Name(wanted) => *wanted == name,
                        Pick::Match(matcher) => matcher.name == name && picked(matcher, entry),
                    });
                    if !kept {
                        entry.remove(&name);
                    }
                }
            }
            Self::Decolorize(escape) => {
                if entry.line.contains(['\u{1b}', '\u{9b}']) {
                    entry.line = Cow::Owned(escape.replace_all(&entry.line, "").into_owned());
                }
            }
        }
        true
    }

    /// Templates see the labels as they are before any of them sets one; only where there is no label at all, those that
    /// follow see what was set.
    fn format_labels(formats: &[(String, Source)], entry: &mut Entry<'_>, now: Nanos) {
        let mut rendered: VecDeque<Result<String, String>> = VecDeque::new();
        for (at, (name, source)) in formats.iter().enumerate() {
            let template = match source {
                Source::Label(from) => {
                    entry.rename(from, name);
                    continue;
                }
                Source::Template(template) => template,
            };
            let text = rendered.pop_front().unwrap_or_else(|| {
                if !entry.is_bare() {
                    let later = formats.iter().skip(at + 1).filter_map(|(_, source)| match source {
                        Source::Template(template) => Some(template.render(entry, now)),
                        Source::Label(_) => None,
                    });
                    rendered.extend(later);
                }
                template.render(entry, now)
            });
            match text {
                Ok(text) => entry.format(name, text),
                Err(reason) => entry.fail(Error::Template, reason),
            }
        }
    }
}

/// The named groups of the first match; one that took no part is empty.
fn match_groups<'x>(
    regex: &Regex,
    line: &'x str,
    hints: Option<&Hints>,
    tell: &mut Tell<'_, 'x>,
) -> Result<(), Reason> {
    if let Some(captures) = regex.captures(line) {
        for name in regex.capture_names().flatten() {
            if hints.is_none_or(|hints| hints.wants(name)) {
                let value = captures.name(name).map_or("", |group| group.as_str());
                tell(Take::First, Cow::Owned(name.to_owned()), Cow::Borrowed(value));
            }
        }
    }
    Ok(())
}

fn picked(matcher: &Matcher, entry: &Entry<'_>) -> bool {
    matcher.matches(entry.get(&matcher.name).unwrap_or_default())
}

#[cfg(test)]
mod tests;
