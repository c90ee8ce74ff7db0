//! PromQL as Prometheus 3 speaks it: [`parse`] a query, then ask for its value at one time ([`instant`]) or over a range
//! of times ([`range`]).
//!
//! ```
//! let expr = aegis_query::promql::parse("sum by (job) (rate(http_requests_total[5m]))").unwrap();
//! assert_eq!(expr.to_string(), "sum by (job) (rate(http_requests_total[5m]))");
//! let error = aegis_query::promql::parse("up(").unwrap_err();
//! assert_eq!(error.to_string(), "1:4: parse error: unclosed left parenthesis");
//! ```

pub mod annotations;
mod ast;
mod check;
mod eval;
mod features;
mod functions;
mod length;
pub mod native;
mod parser;
mod print;
mod token;

pub use ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Cardinality, Expr, Fill, Matching, Number, Place,
    RangeSelector, Reach, Selector, Subquery, Text, TimeShift, Unary, ValueType,
};
pub use eval::{Answer, EvalError, Settings, Steps, Value, VectorSample, instant, range};
pub use features::{Features, is_experimental};
pub use functions::{Arity, Function};
pub use length::{Length, LengthError};
pub use parser::{ParseError, parse, parse_selector, parse_with};
