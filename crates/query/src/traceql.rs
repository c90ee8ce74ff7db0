//! TraceQL: traces picked by what their spans say and how they lie to each other.
//!
//! The language is Tempo's, without its metrics functions. A condition on an attribute that a span lacks does not hold,
//! `!=` included; only `= nil` asks for absence.
//!
//! ```
//! use aegis_query::{Cancel, traceql};
//! use signal::TimeRange;
//! use store::Store;
//!
//! let query = traceql::parse(r#"{ resource.service.name = "api" && status = error } | count() > 2"#)?;
//! let hits = traceql::search(&query, &Store::in_memory().snapshot(), TimeRange::all(), 20, &Cancel::default())?;
//! assert!(hits.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ast;
mod check;
mod eval;
mod lexer;
mod parser;
mod print;
mod relations;
mod tags;
mod value;

pub use ast::{
    AggregateOp, Attribute, BinaryOp, Expr, FieldExpr, Relation, Scope, SpansetExpr, SpansetOp, Stage, Static,
};
pub use eval::{EvalError, ServiceStats, SpanHit, SpanSet, TraceHit, search};
pub use parser::{ParseError, parse, parse_unfinished};
pub use tags::{TagValue, from_tags, tag_names, tag_values};
