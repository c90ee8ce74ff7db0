//! What is too much.

use std::time::Duration;

/// Upper bounds for what a sender may hand over. Every refusal names the field it broke.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of a request body as received. Default 16 MiB.
    pub max_compressed_bytes: usize,
    /// Bytes of a request or scrape body after decompression. Default 64 MiB.
    pub max_decoded_bytes: usize,
    /// Samples, lines or spans of one request. Default 1,000,000.
    ///
    /// A few bytes on the wire can describe an item that takes a hundred in memory; this bounds that gain.
    pub max_items: usize,
    /// Labels of a series, its name included. Default 40.
    pub max_labels: usize,
    /// Labels of a log stream. Default 15, as Loki.
    pub max_stream_labels: usize,
    /// Bytes of a label name. Default 1024.
    pub max_label_name_bytes: usize,
    /// Bytes of a label value. Default 2048.
    pub max_label_value_bytes: usize,
    /// Bytes of a log line. Default 256 KiB.
    pub max_line_bytes: usize,
    /// What becomes of a longer line. Default: it is refused.
    pub long_lines: LongLines,
    /// Log streams that may be in use at once: those that received a line within the hour. Default 100,000.
    pub max_streams: u32,
    /// Lines a second over all senders. Default: no limit.
    pub max_lines_per_second: Option<u32>,
    /// Bytes of lines and structured metadata a second of one stream. Default: no limit.
    pub max_stream_bytes_per_second: Option<u64>,
    /// Bytes a stream may bring at once when it was quiet. Default: five seconds' worth of the limit above.
    pub max_stream_burst_bytes: Option<u64>,
    /// How old a line may be. Default: any age is taken.
    pub max_line_age: Option<Duration>,
    /// Attributes of a span, an event or a link, and structured metadata of a line. Default 128.
    pub max_attributes: usize,
    /// Characters of an exemplar's labels, names and values together. Default 128, as OpenMetrics.
    pub max_exemplar_chars: usize,
    /// Buckets, spans or custom bounds of a native histogram, both sides together. Default 10,000.
    pub max_histogram_buckets: usize,
    /// How far ahead of our clock a time may be. Default 10 minutes.
    pub max_future: Duration,
}

/// What becomes of a log line that is too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LongLines {
    /// It is refused, and its stream is named.
    #[default]
    Refuse,
    /// Its beginning is kept, and it is counted.
    Truncate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_compressed_bytes: 16 << 20,
            max_decoded_bytes: 64 << 20,
            max_items: 1_000_000,
            max_labels: 40,
            max_stream_labels: 15,
            max_label_name_bytes: 1024,
            max_label_value_bytes: 2048,
            max_line_bytes: 256 << 10,
            long_lines: LongLines::Refuse,
            max_streams: 100_000,
            max_lines_per_second: None,
            max_stream_bytes_per_second: None,
            max_stream_burst_bytes: None,
            max_line_age: None,
            max_attributes: 128,
            max_exemplar_chars: 128,
            max_histogram_buckets: 10_000,
            max_future: Duration::from_secs(600),
        }
    }
}
