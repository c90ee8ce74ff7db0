//! `limits`: how much log senders may bring.

use std::time::Duration;

use ingest::{Limits, LongLines};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::file::{at_least, span};
use super::problem::Problems;
use super::size::parse_size;

/// The `limits:` section.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct IngestLimitsFile {
    /// Bytes of a log line. Between 1 KiB and 16 MiB. Default `256KiB`.
    max_line_size: Option<Spanned<String>>,
    /// Whether longer lines are cut instead of refused. Default false.
    truncate_lines: bool,
    /// Labels of a log stream. At least 1. Default 15.
    max_stream_labels: Option<Spanned<u32>>,
    /// Bytes of a label's name, of streams and series. At least 1. Default 1024.
    max_label_name_length: Option<Spanned<u32>>,
    /// Bytes of a label's value, of streams, series and structured metadata. At least 1. Default 2048.
    max_label_value_length: Option<Spanned<u32>>,
    /// Pairs of structured metadata of a line, and attributes of a span. At least 1. Default 128.
    max_structured_metadata: Option<Spanned<u32>>,
    /// Log streams that may be in use at once. At least 1. Default 100,000.
    max_streams: Option<Spanned<u32>>,
    /// Lines a second over all senders. At least 1. Default: no limit.
    max_lines_per_second: Option<Spanned<u32>>,
    /// Bytes a second of one stream. At least `1KiB`. Default: no limit.
    max_stream_bytes_per_second: Option<Spanned<String>>,
    /// Bytes a quiet stream may bring at once. At least `1KiB`. Default: five seconds' worth.
    max_stream_burst: Option<Spanned<String>>,
    /// How old a line may be. At least `1m`. Default: any age is taken.
    max_line_age: Option<Spanned<String>>,
    /// How far ahead of our clock a time may be. At least `1s`. Default `10m`.
    max_future: Option<Spanned<String>>,
}

impl IngestLimitsFile {
    pub(super) fn check(&self, problems: &mut Problems) -> Limits {
        let normal = Limits::default();
        let minute = Duration::from_secs(60);
        let mut count = |value: Option<&Spanned<u32>>, default: usize| {
            let default = u32::try_from(default).unwrap_or(u32::MAX);
            usize::try_from(at_least(value, default, 1, problems)).unwrap_or(usize::MAX)
        };
        let max_stream_labels = count(self.max_stream_labels.as_ref(), normal.max_stream_labels);
        let max_label_name_bytes = count(self.max_label_name_length.as_ref(), normal.max_label_name_bytes);
        let max_label_value_bytes = count(self.max_label_value_length.as_ref(), normal.max_label_value_bytes);
        let max_attributes = count(self.max_structured_metadata.as_ref(), normal.max_attributes);
        let lines = self.max_lines_per_second.as_ref();
        let age = self.max_line_age.as_ref();
        let line = size(self.max_line_size.as_ref(), 1 << 10..=16 << 20, problems);
        Limits {
            max_line_bytes: line.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(normal.max_line_bytes),
            long_lines: if self.truncate_lines { LongLines::Truncate } else { LongLines::Refuse },
            max_stream_labels,
            max_label_name_bytes,
            max_label_value_bytes,
            max_attributes,
            max_streams: at_least(self.max_streams.as_ref(), normal.max_streams, 1, problems),
            max_lines_per_second: lines.map(|limit| at_least(Some(limit), limit.value, 1, problems)),
            max_stream_bytes_per_second: size(self.max_stream_bytes_per_second.as_ref(), 1 << 10..=u64::MAX, problems),
            max_stream_burst_bytes: size(self.max_stream_burst.as_ref(), 1 << 10..=u64::MAX, problems),
            max_line_age: age.map(|_| span(age, minute, minute, problems)),
            max_future: span(self.max_future.as_ref(), normal.max_future, Duration::from_secs(1), problems),
            ..normal
        }
    }
}

fn size(
    text: Option<&Spanned<String>>,
    allowed: std::ops::RangeInclusive<u64>,
    problems: &mut Problems,
) -> Option<u64> {
    let text = text?;
    let found = parse_size(&text.value).filter(|bytes| allowed.contains(bytes));
    if found.is_none() {
        let most = if *allowed.end() == u64::MAX { String::new() } else { format!(" and at most {}", allowed.end()) };
        let least = allowed.start();
        problems.add(text, format!("`{}` is not a size of at least {least}{most} bytes, such as 256KiB", text.value));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use ingest::{Limits, LongLines};

    use super::super::{ConfigError, parse};

    #[test]
    fn limits_are_those_of_the_intake() {
        let config = parse("a.yaml", "", Path::new("/")).unwrap();
        assert_eq!(config.ingest_limits, Limits::default());
        let text = "limits:\n  max_line_size: 1MiB\n  truncate_lines: true\n  max_streams: 7\n  max_lines_per_second: 1000\n  \
                    max_stream_bytes_per_second: 3MiB\n  max_stream_burst: 15MiB\n  max_line_age: 7d\n  max_future: 1h\n  \
                    max_stream_labels: 30\n  max_label_name_length: 100\n  max_label_value_length: 200\n  \
                    max_structured_metadata: 64\n";
        let config = parse("a.yaml", text, Path::new("/")).map_err(|error| error.to_string()).unwrap();
        let wanted = Limits {
            max_line_bytes: 1 << 20,
            long_lines: LongLines::Truncate,
            max_streams: 7,
            max_lines_per_second: Some(1000),
            max_stream_bytes_per_second: Some(3 << 20),
            max_stream_burst_bytes: Some(15 << 20),
            max_line_age: Some(Duration::from_secs(7 * 86_400)),
            max_future: Duration::from_secs(3600),
            max_stream_labels: 30,
            max_label_name_bytes: 100,
            max_label_value_bytes: 200,
            max_attributes: 64,
            ..Limits::default()
        };
        assert_eq!(config.ingest_limits, wanted);
        let text = "limits: {max_line_size: 1GiB, max_streams: 0, max_stream_burst: much, max_line_age: 1s}\n";
        let Err(ConfigError::Problems(found)) = parse("a.yaml", text, Path::new("/")) else { panic!("fine") };
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "a.yaml:1:25: `1GiB` is not a size of at least 1024 and at most 16777216 bytes, such as 256KiB",
                "a.yaml:1:44: 0 is too small: at least 1",
                "a.yaml:1:65: `much` is not a size of at least 1024 bytes, such as 256KiB",
                "a.yaml:1:85: `1s` is too short: at least 1m",
            ]
        );
    }
}
