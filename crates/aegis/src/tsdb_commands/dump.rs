//! `aegis tsdb dump`.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use query::promql::native;
use signal::{Histogram, Labels, Sample, TimeRange, is_stale};
use store::SeriesReader;

use super::{DumpArgs, DumpFormat, find};
use crate::query_commands::numbers::general;
use crate::query_commands::{note, unless_closed};

pub(super) fn run(args: &DumpArgs) -> anyhow::Result<ExitCode> {
    let store = args.which.open()?;
    let selectors = args.which.matchers()?;
    let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let (snapshot, range) = (store.snapshot(), args.which.range());
    let written = write(&mut out, &find(&snapshot, &selectors, range), range, args.format);
    unless_closed(written.and_then(|left_out| {
        out.flush()?;
        let LeftOut { markers, histograms } = left_out;
        if markers + histograms > 0 {
            note(&format!("left out: {markers} staleness markers, {histograms} native histograms"));
        }
        Ok(())
    }))
}

/// What OpenMetrics has no text for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct LeftOut {
    pub(super) markers: u64,
    pub(super) histograms: u64,
}

pub(super) fn write(
    out: &mut impl Write,
    found: &[SeriesReader<'_>],
    range: TimeRange,
    format: DumpFormat,
) -> io::Result<LeftOut> {
    let mut left_out = LeftOut::default();
    let (mut samples, mut histograms) = (Vec::new(), Vec::new());
    for reader in found {
        samples.clear();
        histograms.clear();
        reader.read(range, &mut samples, &mut histograms);
        match format {
            DumpFormat::Promtool => {
                let name = promtool_name(reader.labels());
                for Sample { at, value } in &samples {
                    writeln!(out, "{name} {} {}", general(*value), at.0)?;
                }
                for sample in &histograms {
                    writeln!(out, "{name} {} {}", shown(&sample.histogram), sample.at.0)?;
                }
            }
            DumpFormat::Openmetrics => {
                let name = openmetrics_name(reader.labels());
                for Sample { at, value } in &samples {
                    if is_stale(*value) {
                        left_out.markers += 1;
                        continue;
                    }
                    let (sign, ms) = (if at.0 < 0 { "-" } else { "" }, at.0.unsigned_abs());
                    writeln!(out, "{name} {} {sign}{}.{:03}", general(*value), ms / 1000, ms % 1000)?;
                }
                left_out.histograms += histograms.len() as u64;
            }
        }
    }
    if format == DumpFormat::Openmetrics {
        writeln!(out, "# EOF")?;
    }
    Ok(left_out)
}

/// `{__name__="up", job="api"}`
fn promtool_name(labels: &Labels) -> String {
    let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={}", quoted(value, Quoting::Go))).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// `up{job="api"}`; names that are not of the classic alphabet go into the braces, in quotes.
fn openmetrics_name(labels: &Labels) -> String {
    let metric = labels.get_or_empty(Labels::NAME);
    let is_classic = is_classic(metric, true);
    let mut pairs = Vec::new();
    if !is_classic && !metric.is_empty() {
        pairs.push(quoted(metric, Quoting::OpenMetrics));
    }
    for (name, value) in labels.iter().filter(|(name, _)| *name != Labels::NAME) {
        let name = if self::is_classic(name, false) { name.to_owned() } else { quoted(name, Quoting::OpenMetrics) };
        pairs.push(format!("{name}={}", quoted(value, Quoting::OpenMetrics)));
    }
    let metric = if is_classic { metric } else { "" };
    if pairs.is_empty() { metric.to_owned() } else { format!("{metric}{{{}}}", pairs.join(",")) }
}

fn is_classic(name: &str, has_colons: bool) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (has_colons && byte == b':');
    name.bytes().all(is_part) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoting {
    Go,
    OpenMetrics,
}

fn quoted(text: &str, quoting: Quoting) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' if quoting == Quoting::Go => quoted.push_str("\\t"),
            '\r' if quoting == Quoting::Go => quoted.push_str("\\r"),
            other if quoting == Quoting::Go && other.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(other));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// `{count:42, sum:3.5, [-0.5,-0.25):1, (0.25,0.5]:3}`
fn shown(histogram: &Histogram) -> String {
    let mut text = format!("{{count:{}, sum:{}", general(histogram.count), general(histogram.sum));
    for bucket in native::buckets(histogram).iter().filter(|bucket| bucket.count != 0.0) {
        let open = if bucket.has_lower { '[' } else { '(' };
        let close = if bucket.has_upper { ']' } else { ')' };
        let (lower, upper) = (general(bucket.lower), general(bucket.upper));
        let _ = write!(text, ", {open}{lower},{upper}{close}:{}", general(bucket.count));
    }
    text.push('}');
    text
}
