//! The nouns of telemetry and time, shared by every stage of Aegis.
//!
//! This crate holds vocabulary only: values without behaviour that reaches outside themselves. It is *not* the place for
//! helpers; a type that one stage makes lives with that stage.
//!
//! ```
//! use aegis_signal::{Labels, Sample, Timestamp};
//!
//! let series = Labels::from_pairs([("__name__", "up"), ("job", "backend")]);
//! let sample = Sample { at: Timestamp(1_706_189_400_000), value: 1.0 };
//! assert_eq!(series.metric_name(), Some("up"));
//! assert_eq!(sample.at.to_string(), "2024-01-25T13:30:00Z");
//! ```

mod batch;
mod duration;
pub mod go_regex;
mod histogram;
mod labels;
mod logs;
mod matcher;
mod metrics;
mod severity;
mod time;
mod traces;

pub use batch::WriteBatch;
pub use duration::{DurationError, format_duration, parse_duration};
pub use histogram::{BucketSpan, Buckets, Histogram, HistogramSample, ResetHint};
pub use labels::{LabelPairs, Labels, LabelsBuilder};
pub use logs::{LogLine, StreamWrite};
pub use matcher::{MatchOp, Matcher, MatcherError, all_match};
pub use metrics::{Exemplar, MetricKind, MetricMetadata, STALE_NAN, Sample, SeriesWrite, is_stale, stale_marker};
pub use severity::Severity;
pub use time::{Nanos, TimeRange, Timestamp, TimestampError};
pub use traces::{AttributeValue, IdError, Span, SpanEvent, SpanId, SpanKind, SpanLink, SpanStatus, TraceId};
