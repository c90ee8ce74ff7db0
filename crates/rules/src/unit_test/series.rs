//! Input series in the notation of Prometheus' tests: `up{job="a"}` and `1 2+3x4 _ stale {{count:3}}`.

use std::sync::Arc;
use std::time::Duration;

use query::promql::{self, native};
use signal::{Histogram, HistogramSample, Labels, MatchOp, Sample, SeriesWrite, Timestamp, stale_marker};

/// Samples that one series of a test may have.
const MAX_SAMPLES: usize = 1_000_000;

/// What is wrong with an input series.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Mistake {
    Name(String),
    Values(String),
}

/// One series and its samples, in order of time.
#[derive(Clone, Debug)]
pub(crate) struct InputSeries {
    labels: Labels,
    samples: Vec<Sample>,
    histograms: Vec<HistogramSample>,
}

/// One position of a series.
#[derive(Clone, Debug)]
enum Value {
    Missing,
    Number(f64),
    Histogram(Arc<Histogram>),
}

impl InputSeries {
    /// Reads a series whose first sample is at `start` and whose others follow at `interval`.
    pub(crate) fn parse(name: &str, values: &str, start: Timestamp, interval: Duration) -> Result<Self, Mistake> {
        let labels = parse_metric(name).map_err(|error| Mistake::Name(format!("series {name:?}: {error}")))?;
        let values = parse_values(values).map_err(Mistake::Values)?;
        let mut series = Self { labels, samples: Vec::new(), histograms: Vec::new() };
        let mut at = start;
        for value in values {
            match value {
                Value::Missing => {}
                Value::Number(value) => series.samples.push(Sample { at, value }),
                Value::Histogram(histogram) => series.histograms.push(HistogramSample { at, histogram }),
            }
            at = at.plus(interval);
        }
        Ok(series)
    }

    /// The samples later than `after` and no later than `until`; `None` when there are none.
    pub(crate) fn between(&self, after: Option<Timestamp>, until: Timestamp) -> Option<SeriesWrite> {
        let is_new = |at: Timestamp| after.is_none_or(|after| at > after) && at <= until;
        let from = self.samples.partition_point(|sample| after.is_some_and(|after| sample.at <= after));
        let samples = self.samples.iter().skip(from).take_while(|sample| is_new(sample.at)).copied().collect();
        let from = self.histograms.partition_point(|sample| after.is_some_and(|after| sample.at <= after));
        let histograms = self.histograms.iter().skip(from).take_while(|sample| is_new(sample.at)).cloned().collect();
        let write = SeriesWrite { labels: self.labels.clone(), samples, histograms, ..SeriesWrite::default() };
        (!write.samples.is_empty() || !write.histograms.is_empty()).then_some(write)
    }
}

/// A metric with its labels; nothing and `{}` are the empty set.
pub(super) fn parse_metric(text: &str) -> Result<Labels, String> {
    let inside = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    if inside.unwrap_or(text).trim().is_empty() {
        return Ok(Labels::empty());
    }
    let matchers = promql::parse_selector(text).map_err(|error| error.to_string())?;
    if let Some(other) = matchers.iter().find(|matcher| matcher.op != MatchOp::Equal) {
        return Err(format!("`{other}` is not a label: only `=` sets one"));
    }
    Ok(Labels::from_pairs(matchers.iter().map(|matcher| (matcher.name.as_str(), matcher.value.as_str()))))
}

/// One histogram and nothing else.
pub(super) fn one_histogram(text: &str) -> Result<Histogram, String> {
    match parse_values(text)?.as_slice() {
        [Value::Histogram(histogram)] => Ok(Histogram::clone(histogram)),
        [other] => Err(format!("expected histogram, got {other:?}")),
        more => Err(format!("expected 1 value, got {}", more.len())),
    }
}

/// A number as PromQL writes it, with a sign.
pub(super) fn parse_number(text: &str) -> Option<f64> {
    let (number, rest) = number(text)?;
    rest.is_empty().then_some(number)
}

fn parse_values(text: &str) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        rest = item(rest, &mut values)?;
        if !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
            return Err(format!("values {text:?}: unexpected {:?}", word(rest)));
        }
        if values.len() > MAX_SAMPLES {
            return Err(format!("values {:?}: more than {MAX_SAMPLES} samples", word(text)));
        }
        rest = rest.trim_start();
    }
    Ok(values)
}

/// Reads one item from the front and gives what is left.
fn item<'a>(text: &'a str, values: &mut Vec<Value>) -> Result<&'a str, String> {
    let wrong = || format!("{:?} is no value of a series", word(text));
    if let Some(rest) = text.strip_prefix("{{") {
        let (_, rest) = rest.split_once("}}").ok_or_else(wrong)?;
        return histograms(text.strip_suffix(rest).unwrap_or(text), rest, values);
    }
    if let Some(rest) = text.strip_prefix('_') {
        let (times, rest) = repetition(rest)?;
        values.extend(std::iter::repeat_n(Value::Missing, times.unwrap_or(1)));
        return Ok(rest);
    }
    if let Some(rest) = text.strip_prefix("stale") {
        values.push(Value::Number(stale_marker()));
        return Ok(rest);
    }
    let (mut value, rest) = number(text).ok_or_else(wrong)?;
    let (step, rest) = if rest.starts_with(['+', '-']) { number(rest).ok_or_else(wrong)? } else { (0.0, rest) };
    let (times, rest) = repetition(rest)?;
    values.push(Value::Number(value));
    for _ in 0..times.unwrap_or(0) {
        value += step;
        values.push(Value::Number(value));
    }
    Ok(rest)
}

fn histograms<'a>(first: &str, rest: &'a str, values: &mut Vec<Value>) -> Result<&'a str, String> {
    let read = |text: &str| native::from_notation(text).map_err(|error| error.to_string());
    let mut value = read(first)?;
    let (step, rest) = match rest.strip_prefix(['+', '-']) {
        Some(after) if after.starts_with("{{") => {
            let (_, tail) = after.split_once("}}").ok_or_else(|| format!("{:?} does not end", word(after)))?;
            let step = read(after.strip_suffix(tail).unwrap_or(after))?;
            (Some((step, rest.starts_with('-'))), tail)
        }
        Some(_) | None => (None, rest),
    };
    let (times, rest) = repetition(rest)?;
    values.push(Value::Histogram(Arc::new(value.clone())));
    for _ in 0..times.unwrap_or(0) {
        if let Some((step, is_minus)) = &step {
            let outcome = if *is_minus { native::subtract(&mut value, step) } else { native::add(&mut value, step) };
            outcome.map_err(|error| error.to_string())?;
        }
        values.push(Value::Histogram(Arc::new(value.clone())));
    }
    Ok(rest)
}

/// `x12`, if there is one.
fn repetition(text: &str) -> Result<(Option<usize>, &str), String> {
    let Some(rest) = text.strip_prefix('x') else { return Ok((None, text)) };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (count, rest) = rest.split_at_checked(digits).unwrap_or((rest, ""));
    match count.parse() {
        Ok(times) if times <= MAX_SAMPLES => Ok((Some(times), rest)),
        Ok(_) => Err(format!("`x{count}`: more than {MAX_SAMPLES} samples")),
        Err(_) => Err(format!("`x{count}` does not say how often")),
    }
}

/// A signed number from the front of a text. Never hexadecimal: `0x3` is a zero and three more.
fn number(text: &str) -> Option<(f64, &str)> {
    let (factor, body) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    for (word, value) in [("inf", f64::INFINITY), ("nan", f64::NAN)] {
        if let Some((start, rest)) = body.split_at_checked(word.len())
            && start.eq_ignore_ascii_case(word)
        {
            return Some((factor * value, rest));
        }
    }
    let mut length = body.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let exponent = body.get(length..).and_then(|rest| rest.strip_prefix(['e', 'E']));
    if let Some(exponent) = exponent {
        let sign = usize::from(exponent.starts_with(['+', '-']));
        let digits = exponent.bytes().skip(sign).take_while(u8::is_ascii_digit).count();
        length += if digits > 0 { 1 + sign + digits } else { 0 };
    }
    let (digits, rest) = body.split_at_checked(length)?;
    Some((factor * digits.parse::<f64>().ok()?, rest))
}

fn word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().chars().take(60).collect()
}
