//! Answers questions: the text of a query in, an answer over a [`store::Snapshot`] out.
//!
//! Three languages, each a module with `parse` and evaluation: [`promql`] for metrics, [`logql`] for logs, [`traceql`] for
//! traces. This crate is *not* the place for JSON shapes or HTTP (`http` does those), and it never reads a clock: every
//! time comes in as an argument and a query that takes too long is stopped through its [`Cancel`] flag.

mod cancel;
pub mod lex;
pub mod logql;
pub mod promql;
pub mod traceql;

pub use cancel::Cancel;
