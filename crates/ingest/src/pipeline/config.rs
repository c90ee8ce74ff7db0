//! Stages as written, with promtail's keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use regex::Regex;
use serde::Deserialize;
use signal::{go_regex, parse_duration};

use super::edit::{self, Edit, Failure};
use super::fields::JsonPath;
use super::go_time::Format;
use super::hold::{Cri, Multiline};
use super::selector::Selector;
use super::template::Template;
use super::{Action, Match, Pipeline, Stage};

/// Stages of a pipeline, inner ones included.
const MAX_STAGES: usize = 200;
/// How deep `match` stages may stand in each other.
const MAX_DEPTH: usize = 8;
/// Partial lines that `cri` holds unless told otherwise.
const PARTIAL_LINES: usize = 100;

/// Why a pipeline cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stage {stage} (`{kind}`): {reason}")]
pub struct PipelineError {
    /// Which stage, from 1; of stages in a `match`, their number within.
    pub stage: usize,
    /// Its key.
    pub kind: &'static str,
    /// What is wrong.
    pub reason: String,
}

/// What a pipeline needs from outside.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The time zone file of a name such as `Europe/Berlin`; `None` when there is none.
    pub zone: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    /// Bytes of a line; what stages put together does not grow beyond.
    pub max_line_bytes: usize,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("max_line_bytes", &self.max_line_bytes).finish_non_exhaustive()
    }
}

/// One stage as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageFile {
    /// Takes fields out of JSON.
    Json(JsonFile),
    /// Takes fields out of logfmt.
    Logfmt(LogfmtFile),
    /// Takes the named groups of an expression.
    Regex(RegexFile),
    /// Replaces what groups of an expression match.
    Replace(ReplaceFile),
    /// Makes a text of what was extracted.
    Template(TemplateFile),
    /// Makes labels of what was extracted: label to source, the same name when that is left out.
    Labels(BTreeMap<String, Option<String>>),
    /// Sets labels.
    StaticLabels(BTreeMap<String, Option<String>>),
    /// Makes structured metadata of what was extracted.
    #[serde(alias = "non_indexed_labels")]
    StructuredMetadata(BTreeMap<String, Option<String>>),
    /// Removes labels.
    Labeldrop(Vec<String>),
    /// Removes all other labels.
    Labelallow(Vec<String>),
    /// Reads the time.
    Timestamp(TimestampFile),
    /// Makes something extracted the line.
    Output(OutputFile),
    /// Puts lines together.
    Multiline(MultilineFile),
    /// Drops lines.
    Drop(DropFile),
    /// Runs stages for some lines, or drops them.
    Match(MatchFile),
    /// Reads the lines of container runtimes.
    Cri(Option<CriFile>),
    /// Reads the lines of Docker.
    Docker(Option<EmptyFile>),
    /// Accepted and without effect: there are no tenants.
    Tenant(BTreeMap<String, Option<String>>),
}

/// Nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmptyFile {}

/// The stage `json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonFile {
    /// Name to path; the name is the path when that is left out.
    pub expressions: BTreeMap<String, Option<String>>,
    /// What to read. Default: the line.
    pub source: Option<String>,
    /// Whether lines that are no JSON objects are dropped. Default false.
    #[serde(default)]
    pub drop_malformed: bool,
}

/// The stage `logfmt`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogfmtFile {
    /// Name to field; the name is the field when that is left out.
    pub mapping: BTreeMap<String, Option<String>>,
    /// What to read. Default: the line.
    pub source: Option<String>,
}

/// The stage `regex`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegexFile {
    /// With named groups, in Go's syntax.
    pub expression: String,
    /// What to read. Default: the line.
    pub source: Option<String>,
}

/// The stage `replace`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplaceFile {
    /// With groups, in Go's syntax.
    pub expression: String,
    /// What to read and change. Default: the line.
    pub source: Option<String>,
    /// A template; `.Value` is what a group matched. Default: nothing.
    #[serde(default)]
    pub replace: String,
}

/// The stage `template`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateFile {
    /// What to set; `.Value` is what it was.
    pub source: String,
    /// The template.
    pub template: String,
}

/// The stage `timestamp`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimestampFile {
    /// What to read.
    pub source: String,
    /// `RFC3339`, `Unix`, `UnixMs` and so on, or a layout of Go.
    pub format: String,
    /// Formats to try after that.
    #[serde(default)]
    pub fallback_formats: Vec<String>,
    /// Time zone of texts that name none. Default UTC.
    pub location: Option<String>,
    /// `fudge` (default) or `skip`.
    pub action_on_failure: Option<String>,
}

/// The stage `output`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputFile {
    /// What becomes the line.
    pub source: String,
}

/// The stage `multiline`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MultilineFile {
    /// What the first line of a block matches.
    pub firstline: String,
    /// How long a block waits for further lines. Default `3s`.
    pub max_wait_time: Option<String>,
    /// Lines of a block. Default 128.
    pub max_lines: Option<u64>,
}

/// One name or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Names {
    /// Names with commas between them.
    One(String),
    /// Names.
    Many(Vec<String>),
}

/// The stage `drop`: lines for which all of these hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DropFile {
    /// What is looked at; alone: drops lines for which it was extracted.
    pub source: Option<Names>,
    /// Between several sources. Default `;`.
    pub separator: Option<String>,
    /// What the source is equal to.
    pub value: Option<String>,
    /// What the source, or the line, matches.
    pub expression: Option<String>,
    /// How old the line is.
    pub older_than: Option<String>,
    /// How long the line is.
    pub longer_than: Option<String>,
    /// What is counted. Default `drop_stage`.
    pub drop_counter_reason: Option<String>,
}

/// The stage `match`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchFile {
    /// Which lines: matchers of labels and filters of lines.
    pub selector: String,
    /// What is done with them, unless they are dropped.
    #[serde(default)]
    pub stages: Vec<StageFile>,
    /// `keep` (default) or `drop`.
    pub action: Option<String>,
    /// Accepted: names promtail's metrics.
    pub pipeline_name: Option<String>,
    /// What is counted. Default `match_stage`.
    pub drop_counter_reason: Option<String>,
}

/// The stage `cri`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CriFile {
    /// Streams of which a beginning is held. Default 100.
    pub max_partial_lines: Option<usize>,
    /// Bytes of a joined line.
    pub max_partial_line_size: Option<String>,
    /// Whether longer ones are cut. Default false.
    pub max_partial_line_size_truncate: bool,
}

impl Pipeline {
    /// Builds the stages in their order.
    ///
    /// # Errors
    /// `PipelineError` names the first stage that is wrong.
    pub fn new(stages: &[StageFile], around: Surroundings<'_>) -> Result<Self, PipelineError> {
        let mut left = MAX_STAGES;
        Ok(Self { stages: build(stages, around, &mut left, 0)?, dropped: BTreeMap::new() })
    }
}

fn build(
    files: &[StageFile],
    around: Surroundings<'_>,
    left: &mut usize,
    depth: usize,
) -> Result<Vec<Stage>, PipelineError> {
    let mut stages = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let failed = |reason| PipelineError { stage: at + 1, kind: file.kind(), reason };
        *left = left.checked_sub(1).ok_or_else(|| failed(format!("a pipeline has at most {MAX_STAGES} stages")))?;
        match file {
            StageFile::Match(inner) => {
                if depth >= MAX_DEPTH {
                    return Err(failed(format!("`match` stages stand in each other at most {MAX_DEPTH} deep")));
                }
                let inner_stages = build(&inner.stages, around, left, depth + 1)?;
                stages.push(inner.check(inner_stages).map_err(failed)?);
            }
            other => other.check(around, &mut stages).map_err(failed)?,
        }
    }
    Ok(stages)
}

impl StageFile {
    fn kind(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::Logfmt(_) => "logfmt",
            Self::Regex(_) => "regex",
            Self::Replace(_) => "replace",
            Self::Template(_) => "template",
            Self::Labels(_) => "labels",
            Self::StaticLabels(_) => "static_labels",
            Self::StructuredMetadata(_) => "structured_metadata",
            Self::Labeldrop(_) => "labeldrop",
            Self::Labelallow(_) => "labelallow",
            Self::Timestamp(_) => "timestamp",
            Self::Output(_) => "output",
            Self::Multiline(_) => "multiline",
            Self::Drop(_) => "drop",
            Self::Match(_) => "match",
            Self::Cri(_) => "cri",
            Self::Docker(_) => "docker",
            Self::Tenant(_) => "tenant",
        }
    }

    fn check(&self, around: Surroundings<'_>, stages: &mut Vec<Stage>) -> Result<(), String> {
        let edit = match self {
            Self::Json(file) => {
                let expressions = file.expressions.iter();
                let paths = expressions.map(|(name, path)| {
                    let path = path.as_deref().filter(|path| !path.is_empty());
                    // A name without a path is one field, whatever it looks like.
                    let path = path.map_or_else(|| JsonPath::parse(&format!("{name:?}")), JsonPath::parse)?;
                    Ok((Arc::from(name.as_str()), path))
                });
                let paths: Arc<[_]> = paths.collect::<Result<_, String>>()?;
                if paths.is_empty() {
                    return Err("`expressions` is empty".to_owned());
                }
                Edit::Json { paths, source: source(file.source.as_deref())?, drop_malformed: file.drop_malformed }
            }
            Self::Logfmt(file) => {
                let names: Arc<[_]> =
                    file.mapping.iter().map(|(name, field)| (or_name(field, name), name.as_str().into())).collect();
                if names.is_empty() {
                    return Err("`mapping` is empty".to_owned());
                }
                Edit::Logfmt { names, source: source(file.source.as_deref())? }
            }
            Self::Regex(file) => {
                let expression = compiled(&file.expression)?;
                Edit::Regex { names: groups(&expression), expression, source: source(file.source.as_deref())? }
            }
            Self::Replace(file) => {
                let expression = compiled(&file.expression)?;
                let with = Arc::new(Template::parse(&file.replace)?);
                Edit::Replace { names: groups(&expression), expression, source: source(file.source.as_deref())?, with }
            }
            Self::Template(file) => {
                let template = Arc::new(Template::parse(&file.template)?);
                Edit::Template { source: needed("source", &file.source)?, template }
            }
            Self::Labels(names) => Edit::Labels(labels(names)?),
            Self::StructuredMetadata(names) => Edit::Metadata(labels(names)?),
            Self::StaticLabels(labels) => {
                labels.keys().try_for_each(|name| label_name(name))?;
                let labels = labels.iter().filter_map(|(name, value)| Some((name.as_str().into(), value.clone()?)));
                Edit::StaticLabels(labels.collect())
            }
            Self::Labeldrop(names) => Edit::LabelDrop(names.clone().into()),
            Self::Labelallow(names) if names.is_empty() => return Err("names no label".to_owned()),
            Self::Labelallow(names) => Edit::LabelAllow(names.clone().into()),
            Self::Timestamp(file) => Edit::Timestamp(Box::new(file.check(around)?)),
            Self::Output(file) => Edit::Output(needed("source", &file.source)?),
            Self::Multiline(file) => {
                stages.push(Stage::Multiline(Box::new(file.check(around)?)));
                return Ok(());
            }
            Self::Drop(file) => {
                stages.push(Stage::Drop(file.check()?));
                return Ok(());
            }
            Self::Cri(file) => {
                let file = file.clone().unwrap_or_default();
                let size = file.max_partial_line_size.as_deref().map(bytes).transpose()?;
                let size = size.filter(|size| file.max_partial_line_size_truncate && *size > 0);
                let most = file.max_partial_lines.filter(|most| *most > 0).unwrap_or(PARTIAL_LINES);
                let size = size.unwrap_or(around.max_line_bytes).min(around.max_line_bytes);
                stages.push(Stage::Cri(Box::new(Cri::new(most, Some(size)))));
                return Ok(());
            }
            Self::Docker(_) => {
                stages.extend(docker()?.into_iter().map(Stage::Edit));
                return Ok(());
            }
            Self::Match(_) | Self::Tenant(_) => return Ok(()),
        };
        stages.push(Stage::Edit(edit));
        Ok(())
    }
}

fn docker() -> Result<[Edit; 5], String> {
    let paths = [("output", "log"), ("stream", "stream"), ("timestamp", "time")];
    let paths = paths.map(|(name, path)| Ok((Arc::from(name), JsonPath::parse(path)?)));
    let paths = paths.into_iter().collect::<Result<_, String>>()?;
    let time = edit::Timestamp {
        source: "timestamp".into(),
        formats: vec![Format::named("RFC3339Nano")],
        zone: None,
        on_failure: Failure::fudge(),
    };
    Ok([
        Edit::Json { paths, source: None, drop_malformed: false },
        Edit::Labels([("stream".into(), "stream".into())].into()),
        Edit::Timestamp(Box::new(time)),
        Edit::Output("output".into()),
        Edit::TrimEnd,
    ])
}

impl TimestampFile {
    fn check(&self, around: Surroundings<'_>) -> Result<edit::Timestamp, String> {
        if self.format.is_empty() {
            return Err("`format` is empty".to_owned());
        }
        let zone = match self.location.as_deref() {
            None | Some("" | "UTC") => None,
            Some(name) => {
                let file = (around.zone)(name).ok_or_else(|| format!("there is no time zone `{name}`"))?;
                let zone = TimeZone::tzif(name, &file);
                Some(zone.map_err(|error| format!("cannot read the time zone `{name}`: {error}"))?)
            }
        };
        let on_failure = match self.action_on_failure.as_deref() {
            None | Some("fudge") => Failure::fudge(),
            Some("skip") => Failure::Skip,
            Some(other) => return Err(format!("`action_on_failure` is `{other}`; expected `fudge` or `skip`")),
        };
        let formats = std::iter::once(&self.format).chain(&self.fallback_formats);
        let formats = formats.map(|format| Format::named(format)).collect();
        Ok(edit::Timestamp { source: needed("source", &self.source)?, formats, zone, on_failure })
    }
}

impl MultilineFile {
    fn check(&self, around: Surroundings<'_>) -> Result<Multiline, String> {
        let max_wait = self.max_wait_time.as_deref().map_or(Ok(Duration::from_secs(3)), duration)?;
        let max_lines = self.max_lines.filter(|lines| *lines > 0).unwrap_or(128);
        let first_line = compiled(&self.firstline)?;
        Ok(Multiline { first_line, max_lines, max_wait, max_bytes: around.max_line_bytes, blocks: BTreeMap::new() })
    }
}

impl DropFile {
    fn check(&self) -> Result<edit::Drop, String> {
        let sources: Arc<[Arc<str>]> = match &self.source {
            None => Arc::default(),
            Some(Names::One(name)) => name.split(',').map(|name| Arc::from(name.trim())).collect(),
            Some(Names::Many(names)) => names.iter().map(|name| Arc::from(name.as_str())).collect(),
        };
        let has_condition =
            !sources.is_empty() || self.expression.is_some() || self.older_than.is_some() || self.longer_than.is_some();
        if !has_condition {
            return Err("needs `source`, `expression`, `older_than` or `longer_than`".to_owned());
        }
        if self.value.is_some() && self.expression.is_some() {
            return Err("has `value` and `expression`; only one of them may be there".to_owned());
        }
        if self.value.is_some() && sources.is_empty() {
            return Err("has `value` and no `source`".to_owned());
        }
        Ok(edit::Drop {
            reason: reason(self.drop_counter_reason.as_deref(), "drop_stage"),
            sources,
            separator: self.separator.as_deref().unwrap_or(";").into(),
            value: self.value.as_deref().map(Arc::from),
            expression: self.expression.as_deref().map(compiled).transpose()?,
            older_than: self.older_than.as_deref().map(duration).transpose()?,
            longer_than: self.longer_than.as_deref().map(bytes).transpose()?,
        })
    }
}

impl MatchFile {
    fn check(&self, stages: Vec<Stage>) -> Result<Stage, String> {
        let selector = Arc::new(Selector::parse(&self.selector)?);
        let action = match self.action.as_deref() {
            None | Some("" | "keep") if self.stages.is_empty() => {
                return Err("needs `stages`, or `action: drop`".to_owned());
            }
            None | Some("" | "keep") => Action::Keep(stages),
            Some("drop") if !self.stages.is_empty() => {
                return Err("drops lines, so that its `stages` have nothing to do".to_owned());
            }
            Some("drop") => Action::Drop(reason(self.drop_counter_reason.as_deref(), "match_stage")),
            Some(other) => return Err(format!("`action` is `{other}`; expected `keep` or `drop`")),
        };
        Ok(Stage::Match(Box::new(Match { selector, action })))
    }
}

/// Names, and what they are called where they come from.
type Renamed = Arc<[(Arc<str>, Arc<str>)]>;

fn reason(text: Option<&str>, other: &str) -> Arc<str> {
    text.filter(|text| !text.is_empty()).unwrap_or(other).into()
}

fn source(text: Option<&str>) -> Result<Option<Arc<str>>, String> {
    text.map(|text| needed("source", text)).transpose()
}

fn needed(key: &str, text: &str) -> Result<Arc<str>, String> {
    if text.is_empty() { Err(format!("`{key}` is empty")) } else { Ok(text.into()) }
}

fn or_name(text: &Option<String>, name: &str) -> Arc<str> {
    text.as_deref().filter(|text| !text.is_empty()).unwrap_or(name).into()
}

fn labels(names: &BTreeMap<String, Option<String>>) -> Result<Renamed, String> {
    names.keys().try_for_each(|name| label_name(name))?;
    Ok(names.iter().map(|(name, source)| (name.as_str().into(), or_name(source, name))).collect())
}

fn label_name(name: &str) -> Result<(), String> {
    let is_good = !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_good { Ok(()) } else { Err(format!("`{name}` is not a label name")) }
}

fn compiled(expression: &str) -> Result<Regex, String> {
    if expression.is_empty() {
        return Err("the expression is empty".to_owned());
    }
    go_regex::compile(expression)
}

fn groups(expression: &Regex) -> Arc<[Option<Arc<str>>]> {
    expression.capture_names().map(|name| name.map(Arc::from)).collect()
}

/// A duration of Prometheus or of Go: `1d`, `1h30m`, `1.5s`.
fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(duration) = parse_duration(text) {
        return Ok(duration);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    let fail = || format!("`{text}` is not a duration: write something like `3s`, `1h30m` or `24h`");
    while !rest.is_empty() {
        let number = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, after) = rest.split_at_checked(number).ok_or_else(fail)?;
        let unit = after.chars().take_while(|c| c.is_alphabetic()).map(char::len_utf8).sum();
        let (unit, after) = after.split_at_checked(unit).ok_or_else(fail)?;
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(fail()),
        };
        let number: f64 = number.parse().map_err(|_| fail())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| fail())?;
        total = total.checked_add(part).ok_or_else(fail)?;
        rest = after;
    }
    if text.is_empty() { Err(fail()) } else { Ok(total) }
}

/// Bytes, in powers of 1,024: `8kb`, `1MiB`, `512`.
fn bytes(text: &str) -> Result<usize, String> {
    let fail = || format!("`{text}` is not a size: write something like `512B`, `8KB` or `1MB`");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(fail)?;
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return Err(fail()),
    };
    number.parse::<usize>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(fail)
}
