//! The page of a scrape: the text formats Prometheus 0.0.4 and OpenMetrics 1.0, and protobuf.
//!
//! Follows Prometheus' own parsers (`model/textparse`), including UTF-8 names in quotes and the spelling of `le` and
//! `quantile` as floats (`le="1"` becomes `le="1.0"`).

mod cursor;
mod number;
mod protobuf;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use signal::{
    Exemplar, Histogram, HistogramSample, Labels, MetricKind, MetricMetadata, Sample, SeriesWrite, Timestamp,
};
use smallvec::{SmallVec, smallvec};

use crate::Limits;
use cursor::Cursor;

/// A page of metrics.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Exposition {
    /// One sample each, in the order of the page.
    pub series: Vec<SeriesWrite>,
    /// One entry per family that says anything about itself.
    pub metadata: Vec<MetricMetadata>,
}

/// Where and why a page cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", place(*line, *column))]
pub struct ParseError {
    /// From 1; 0 when the page as a whole is refused.
    pub line: usize,
    /// In bytes, from 1.
    pub column: usize,
    /// What is wrong there.
    pub reason: String,
}

fn place(line: usize, column: usize) -> String {
    if line == 0 { String::new() } else { format!("line {line}, column {column}: ") }
}

/// The formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    Classic,
    OpenMetrics,
    Protobuf,
}

/// Which form of a histogram is kept when the page has both. Only protobuf does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HistogramForm {
    /// Classic buckets, also when there are none but native ones.
    Classic,
    /// The native histogram where there is one.
    #[default]
    Native,
    /// The native histogram, and the classic buckets too.
    Both,
}

/// A page with the knowledge which times it states itself.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) points: Vec<Point>,
    pub(crate) metadata: Vec<MetricMetadata>,
    /// Names of labels that lines state without a value, by their other labels. Few pages have any.
    pub(crate) blank: HashMap<Labels, Vec<String>>,
}

/// One line of a page.
#[derive(Debug)]
pub(crate) struct Point {
    pub(crate) labels: Labels,
    pub(crate) value: Value,
    /// Only when the line says so.
    pub(crate) at: Option<Timestamp>,
    pub(crate) exemplars: Vec<Seen>,
}

/// What a line states.
#[derive(Debug)]
pub(crate) enum Value {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// An exemplar of a line, with its time when it says so.
pub(crate) type Seen = (Labels, f64, Option<Timestamp>);

impl Point {
    /// As something to write; what states no time happened at `default_at`.
    pub(crate) fn into_write(self, default_at: Timestamp) -> SeriesWrite {
        let at = self.at.unwrap_or(default_at);
        let exemplars = self.exemplars.into_iter();
        let exemplars = exemplars.map(|(labels, value, seen)| Exemplar { labels, value, at: seen.unwrap_or(at) });
        let exemplars = exemplars.collect();
        match self.value {
            Value::Float(value) => SeriesWrite {
                labels: self.labels,
                samples: smallvec![Sample { at, value }],
                histograms: Vec::new(),
                exemplars,
            },
            Value::Histogram(histogram) => SeriesWrite {
                labels: self.labels,
                samples: smallvec![],
                histograms: vec![HistogramSample { at, histogram }],
                exemplars,
            },
        }
    }
}

/// Reads a page. `content_type` chooses the format: OpenMetrics or protobuf when it says so, else the classic one.
///
/// Of histograms in both forms, the native one is kept.
///
/// # Errors
/// `ParseError` at the first line that cannot be read, for an unknown content type, and for a page over the limits.
pub fn parse(
    page: &[u8],
    content_type: Option<&str>,
    default_at: Timestamp,
    limits: &Limits,
) -> Result<Exposition, ParseError> {
    let page = read(page, content_type, limits)?;
    let series = page.points.into_iter().map(|point| point.into_write(default_at)).collect();
    Ok(Exposition { series, metadata: page.metadata })
}

pub(crate) fn read(page: &[u8], content_type: Option<&str>, limits: &Limits) -> Result<Page, ParseError> {
    read_as(page, content_type, HistogramForm::default(), limits)
}

/// Like [`parse`] with a choice, and without giving every line a time.
pub(crate) fn read_as(
    page: &[u8],
    content_type: Option<&str>,
    form: HistogramForm,
    limits: &Limits,
) -> Result<Page, ParseError> {
    let whole = |reason: String| ParseError { line: 0, column: 0, reason };
    if page.len() > limits.max_decoded_bytes {
        let (found, limit) = (page.len(), limits.max_decoded_bytes);
        return Err(whole(format!("page has {found} bytes, more than the limit of {limit} (max_decoded_bytes)")));
    }
    match format_of(content_type).map_err(whole)? {
        Format::Protobuf => protobuf::read(page, form, limits).map_err(whole),
        format @ (Format::Classic | Format::OpenMetrics) => read_text(page, format, limits),
    }
}

fn read_text(page: &[u8], format: Format, limits: &Limits) -> Result<Page, ParseError> {
    let text = std::str::from_utf8(page).map_err(|error| {
        let before = page.get(..error.valid_up_to()).unwrap_or(page);
        ParseError {
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            column: 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count(),
            reason: "not UTF-8".to_owned(),
        }
    })?;
    let mut reader = Reader { format, limits, page: Page::default(), family: Family::default(), ended: false };
    let mut last = 0;
    for (at, line) in text.split_terminator('\n').enumerate() {
        last = at + 1;
        let mut cursor = Cursor::new(line);
        reader.line(&mut cursor).map_err(|reason| ParseError { line: last, column: cursor.column(), reason })?;
    }
    if format == Format::OpenMetrics && !reader.ended {
        return Err(ParseError { line: last + 1, column: 1, reason: "page does not end with `# EOF`".to_owned() });
    }
    reader.close_family();
    Ok(reader.page)
}

fn format_of(content_type: Option<&str>) -> Result<Format, String> {
    let mut parts = content_type.unwrap_or("").split(';').map(|part| part.trim().to_ascii_lowercase());
    let media = parts.next().unwrap_or_default();
    match &*media {
        "application/openmetrics-text" => Ok(Format::OpenMetrics),
        "" | "text/plain" => Ok(Format::Classic),
        "application/vnd.google.protobuf" => {
            let value = |name: &str| parts.clone().find_map(|part| part.strip_prefix(name).map(str::to_owned));
            let is_family = value("proto=").is_none_or(|proto| proto == "io.prometheus.client.metricfamily");
            if is_family && value("encoding=").is_none_or(|encoding| encoding == "delimited") {
                return Ok(Format::Protobuf);
            }
            let shown = crate::rejection::excerpt(content_type.unwrap_or(""));
            Err(format!("content type `{shown}` is not delimited metric families"))
        }
        _ => Err(format!("content type `{}` is not a format of metrics", crate::rejection::excerpt(&media))),
    }
}

/// What `# TYPE`, `# HELP` and `# UNIT` said last; samples after them belong to it.
#[derive(Debug, Default)]
struct Family(MetricMetadata);

struct Reader<'l> {
    format: Format,
    limits: &'l Limits,
    page: Page,
    family: Family,
    ended: bool,
}

/// Most series have fewer labels than are kept without an allocation.
type Pairs<'a> = SmallVec<[(Cow<'a, str>, Cow<'a, str>); 16]>;

impl Reader<'_> {
    fn line(&mut self, cursor: &mut Cursor<'_>) -> Result<(), String> {
        if self.ended {
            return Err("text after `# EOF`".to_owned());
        }
        cursor.blanks();
        match cursor.peek() {
            None => Ok(()),
            Some(b'#') => self.comment(cursor),
            Some(_) => self.sample(cursor),
        }
    }

    fn comment(&mut self, cursor: &mut Cursor<'_>) -> Result<(), String> {
        cursor.bump();
        let is_spaced = matches!(cursor.peek(), Some(b' ' | b'\t'));
        cursor.blanks();
        let word = cursor.word();
        let rest = cursor.rest();
        if self.format == Format::OpenMetrics && word == "EOF" && rest.is_empty() {
            self.ended = true;
            return Ok(());
        }
        let is_known = matches!(word, "HELP" | "TYPE") || word == "UNIT" && self.format == Format::OpenMetrics;
        if !is_spaced || !is_known || rest.is_empty() {
            return Ok(());
        }
        cursor.blanks();
        let name = cursor.name_or_quoted(|byte| byte == b':')?.into_owned();
        if self.family.0.name != name {
            self.close_family();
            self.family.0.name = name;
        }
        cursor.blanks();
        match word {
            "HELP" => self.family.0.help = unescaped_help(cursor.rest(), self.format),
            "UNIT" => cursor.rest().clone_into(&mut self.family.0.unit),
            _ => {
                let kind = cursor.rest().trim_end();
                self.family.0.kind = kind_of(kind, self.format)
                    .ok_or_else(|| format!("unknown metric type `{}`", crate::rejection::excerpt(kind)))?;
            }
        }
        Ok(())
    }

    fn close_family(&mut self) {
        let family = std::mem::take(&mut self.family.0);
        if !family.name.is_empty() {
            self.page.metadata.push(family);
        }
    }

    fn sample(&mut self, cursor: &mut Cursor<'_>) -> Result<(), String> {
        if self.page.points.len() >= self.limits.max_items {
            return Err(format!("page has more than {} samples (max_items)", self.limits.max_items));
        }
        let mut pairs = Pairs::new();
        if cursor.peek() != Some(b'{') {
            pairs.push((Labels::NAME.into(), cursor.name(|byte| byte == b':')?.into()));
            cursor.blanks();
        }
        if cursor.peek() == Some(b'{') {
            let named = !pairs.is_empty();
            label_set(cursor, &mut pairs, if named { NameInside::Never } else { NameInside::First })?;
        }
        if !pairs.iter().any(|(name, value)| name == Labels::NAME && !value.is_empty()) {
            return Err("sample has no metric name".to_owned());
        }
        self.spell_bounds(&mut pairs);
        cursor.blanks();
        let value = value(cursor)?;
        cursor.blanks();
        let at = match cursor.peek() {
            None | Some(b'#') => None,
            Some(_) => Some(self.time(cursor)?),
        };
        cursor.blanks();
        let exemplars = match cursor.peek() {
            Some(b'#') if self.format == Format::OpenMetrics => vec![exemplar(cursor)?],
            _ => Vec::new(),
        };
        if !cursor.rest().is_empty() {
            return Err("unexpected text after the sample".to_owned());
        }
        if !pairs.is_sorted_by(|(a, _), (b, _)| a < b) {
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        let labels = Labels::from_pairs(pairs.iter().map(|(name, value)| (&**name, &**value)));
        let blank = pairs.iter().filter(|(_, value)| value.is_empty());
        for (name, _) in blank {
            self.page.blank.entry(labels.clone()).or_default().push(name.to_string());
        }
        let value = Value::Float(value);
        self.page.points.push(Point { labels, value, at, exemplars });
        Ok(())
    }

    /// Milliseconds in the classic format, seconds with fraction in OpenMetrics.
    fn time(&self, cursor: &mut Cursor<'_>) -> Result<Timestamp, String> {
        let before = cursor.clone();
        let word = cursor.word();
        let at = match self.format {
            Format::Classic => word.parse().ok().map(Timestamp),
            Format::OpenMetrics | Format::Protobuf => number::float(word).and_then(Timestamp::from_secs_f64),
        };
        at.ok_or_else(|| {
            *cursor = before;
            format!("`{}` is not a timestamp", crate::rejection::excerpt(word))
        })
    }

    fn spell_bounds(&self, pairs: &mut Pairs<'_>) {
        let bound = match self.family.0.kind {
            MetricKind::Histogram | MetricKind::GaugeHistogram => "le",
            MetricKind::Summary => "quantile",
            MetricKind::Counter | MetricKind::Gauge | MetricKind::Info | MetricKind::StateSet | MetricKind::Unknown => {
                return;
            }
        };
        if let Some((_, value)) = pairs.iter_mut().find(|(name, _)| name == bound)
            && let Some(float) = number::float(value)
        {
            let spelled = number::openmetrics_float(float);
            if *value != spelled {
                *value = Cow::Owned(spelled);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NameInside {
    /// `{"my.metric", a="b"}`
    First,
    Never,
}

fn label_set<'a>(cursor: &mut Cursor<'a>, pairs: &mut Pairs<'a>, mut metric: NameInside) -> Result<(), String> {
    cursor.bump();
    // As long as names ascend, which most pages see to, none can be there twice.
    let mut is_ascending = true;
    while let Some((name, value)) = cursor.plain_label(pairs.last().map_or("", |(last, _)| last)) {
        pairs.push((Cow::Borrowed(name), Cow::Borrowed(value)));
    }
    loop {
        cursor.blanks();
        match cursor.peek() {
            Some(b'}') => {
                cursor.bump();
                return Ok(());
            }
            None => return Err("label set does not end".to_owned()),
            Some(_) => {}
        }
        let before = cursor.clone();
        let is_quoted = cursor.peek() == Some(b'"');
        let name = cursor.name_or_quoted(|_| false)?;
        cursor.blanks();
        if is_quoted && metric == NameInside::First && matches!(cursor.peek(), Some(b',' | b'}')) {
            is_ascending = is_ascending && pairs.is_empty();
            pairs.push((Labels::NAME.into(), name));
            metric = NameInside::Never;
        } else {
            is_ascending = is_ascending && pairs.last().is_none_or(|(last, _)| *last < name);
            if !is_ascending && pairs.iter().any(|(other, _)| *other == name) {
                *cursor = before;
                return Err(format!("label `{}` occurs twice", crate::rejection::excerpt(&name)));
            }
            cursor.expect(b'=')?;
            cursor.blanks();
            let value = cursor.quoted()?;
            pairs.push((name, value));
            cursor.blanks();
        }
        match cursor.peek() {
            Some(b',') => cursor.bump(),
            Some(b'}') => {}
            _ => return Err("expected `,` or `}`".to_owned()),
        }
    }
}

fn value(cursor: &mut Cursor<'_>) -> Result<f64, String> {
    let before = cursor.clone();
    let word = cursor.word();
    number::float(word).ok_or_else(|| {
        *cursor = before;
        if word.is_empty() {
            return "sample has no value".to_owned();
        }
        format!("`{}` is not a number", crate::rejection::excerpt(word))
    })
}

/// `# {trace_id="…"} 0.5 1.6e9`; the time is optional.
fn exemplar(cursor: &mut Cursor<'_>) -> Result<Seen, String> {
    cursor.bump();
    cursor.blanks();
    if cursor.peek() != Some(b'{') {
        return Err("exemplar has no label set".to_owned());
    }
    let mut pairs = Pairs::new();
    label_set(cursor, &mut pairs, NameInside::Never)?;
    cursor.blanks();
    let seen = value(cursor)?;
    cursor.blanks();
    let before = cursor.clone();
    let word = cursor.word();
    if word.is_empty() {
        return Ok((Labels::from_pairs(pairs), seen, None));
    }
    let Some(at) = number::float(word).and_then(Timestamp::from_secs_f64) else {
        *cursor = before;
        return Err(format!("`{}` is not a timestamp", crate::rejection::excerpt(word)));
    };
    Ok((Labels::from_pairs(pairs), seen, Some(at)))
}

fn kind_of(word: &str, format: Format) -> Option<MetricKind> {
    Some(match (word, format) {
        ("counter", _) => MetricKind::Counter,
        ("gauge", _) => MetricKind::Gauge,
        ("histogram", _) => MetricKind::Histogram,
        ("summary", _) => MetricKind::Summary,
        ("untyped", Format::Classic) | ("unknown", _) => MetricKind::Unknown,
        ("gaugehistogram", _) => MetricKind::GaugeHistogram,
        ("info", _) => MetricKind::Info,
        ("stateset", _) => MetricKind::StateSet,
        _ => return None,
    })
}

/// `\\` and `\n`; OpenMetrics also `\"`. Anything else stays as it is.
fn unescaped_help(text: &str, format: Format) -> String {
    let mut help = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(character) = chars.next() {
        if character != '\\' {
            help.push(character);
            continue;
        }
        match chars.next() {
            Some('n') => help.push('\n'),
            Some('\\') => help.push('\\'),
            Some('"') if format == Format::OpenMetrics => help.push('"'),
            Some(other) => help.extend(['\\', other]),
            None => help.push('\\'),
        }
    }
    help
}

#[cfg(test)]
mod tests;
