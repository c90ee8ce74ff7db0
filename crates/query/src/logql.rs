//! LogQL: lines of streams, and numbers made from them.
//!
//! The language is Loki's, checked and refused in Loki's words. Beyond it, label filters can read the virtual label
//! `__timestamp__`: a line's own time as unix seconds; a literal of 13, 16 or 19 digits is milli-, micro- or nanoseconds.
//!
//! ```
//! use aegis_query::{Cancel, logql};
//! use signal::{Labels, LogLine, Nanos, StreamWrite, WriteBatch};
//! use store::Store;
//!
//! let store = Store::in_memory();
//! let line = LogLine { at: Nanos(5), line: r#"{"level":"error"}"#.to_owned(), metadata: Labels::empty() };
//! let stream = StreamWrite { labels: Labels::from_pairs([("job", "api")]), lines: vec![line] };
//! store.append(&[WriteBatch { streams: vec![stream], ..WriteBatch::default() }])?;
//!
//! let query = logql::parse(r#"{job="api"} | json | level="error""#)?;
//! let lines = logql::RangeQuery::lines(Nanos(0), Nanos(10), 100);
//! let logql::Answer::Streams(streams) = logql::range(&query, &store.snapshot(), lines, &Cancel::default())? else {
//!     panic!("a log query answers with streams");
//! };
//! assert_eq!(streams[0].labels.get("level"), Some("error"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ast;
mod eval;
mod lexer;
mod parser;
mod pipeline;
mod tail;
pub(crate) mod units;

pub use ast::{
    AggregateOp, BinaryOp, Comparison, Conversion, Expr, Extraction, Group, Grouping, LabelFilter, LabelSource, LineOp,
    LineTerm, LogExpr, Matching, MetricExpr, Pick, Quantity, RangeExpr, RangeOp, Stage, Unwrap,
};
pub use eval::{Answer, Direction, EvalError, Point, RangeQuery, RangeSeries, StreamAnswer, instant, range};
pub use parser::{ParseError, parse, parse_selector};
pub use tail::{KeptLine, LineRunner, LineRunnerError};
