//! Answers questions: the text of a query in, an answer over a [`store::Snapshot`] out.
//!
//! Three languages, each a module with `parse` and evaluation: [`promql`] for metrics, [`logql`] for logs, [`traceql`] for
//! traces. This crate is *not* the place for JSON shapes or HTTP (`http` does those), and it never reads a clock: every
//! time comes in as an argument and a query that takes too long is stopped through its [`Cancel`] flag.
//!
//! ```
//! use aegis_query::{Cancel, promql};
//! use signal::{Labels, Sample, SeriesWrite, Timestamp, WriteBatch};
//!
//! let labels = Labels::from_pairs([("__name__", "up"), ("job", "backend")]);
//! let samples = vec![Sample { at: Timestamp(1_000), value: 1.0 }];
//! let series = vec![SeriesWrite::new(labels, samples)];
//! let store = store::Store::in_memory();
//! store.append(&[WriteBatch { series, ..WriteBatch::default() }]).unwrap();
//!
//! let expr = promql::parse("count(up == 1)").unwrap();
//! let settings = promql::Settings::default();
//! let answer = promql::instant(&expr, &store.snapshot(), Timestamp(2_000), &settings, &Cancel::default()).unwrap();
//! let promql::Value::Vector(found) = answer.value else { panic!("count gives a vector") };
//! assert_eq!(found[0].sample.value, 1.0);
//! ```

mod cancel;
pub mod lex;
pub mod logql;
mod parallel;
pub mod promql;
pub mod traceql;

pub use cancel::Cancel;
