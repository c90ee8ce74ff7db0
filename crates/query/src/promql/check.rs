//! Types of a parsed expression: what upstream's `checkAST` refuses, in its words and its order.

use super::ast::{Binary, Call, Cardinality, Expr, Fill, Selector, ValueType};
use super::functions::Arity;
use super::parser::Mistake;

/// Checks an expression and everything in it, and drops matchings that have nothing to match.
pub(crate) fn check(expr: &mut Expr) -> Result<(), Mistake> {
    match expr {
        Expr::Number(_) | Expr::Text(_) => Ok(()),
        Expr::Paren(inner, _) => check(inner),
        Expr::Selector(selector) => self::selector(selector),
        Expr::Range(range) => self::selector(&range.selector),
        Expr::Call(call) => check_call(call),
        Expr::Aggregate(aggregate) => {
            check(&mut aggregate.expr)?;
            expect(&aggregate.expr, ValueType::Vector, "aggregation expression")?;
            match (aggregate.op.parameter(), &mut aggregate.param) {
                (Some(wanted), Some(param)) => {
                    check(param)?;
                    expect(param, wanted, "aggregation parameter")
                }
                _ => Ok(()),
            }
        }
        Expr::Binary(binary) => {
            check(&mut binary.left)?;
            check(&mut binary.right)?;
            check_binary(binary)
        }
        Expr::Subquery(subquery) => {
            check(&mut subquery.expr)?;
            let found = match subquery.expr.value_type() {
                ValueType::Vector => return Ok(()),
                ValueType::Scalar => "scalar",
                ValueType::Matrix => "matrix",
                ValueType::String => "string",
            };
            let message = format!("subquery is only allowed on instant vector, got {found} instead");
            Err(Mistake::new(subquery.place.start, message))
        }
        Expr::Unary(unary) => {
            check(&mut unary.expr)?;
            match unary.expr.value_type() {
                ValueType::Scalar | ValueType::Vector => Ok(()),
                found @ (ValueType::Matrix | ValueType::String) => {
                    let what = "unary expression only allowed on expressions of type scalar or instant vector";
                    Err(Mistake::new(unary.place.start, format!("{what}, got \"{found}\"")))
                }
            }
        }
    }
}

/// Checks the sides and modifiers of a binary expression whose sides are in order.
fn check_binary(binary: &mut Binary) -> Result<(), Mistake> {
    let (left, right) = (binary.left.value_type(), binary.right.value_type());
    let (start, at, op) = (binary.place.start, binary.at.start, binary.op);
    let fail = |at: usize, message: String| Err(Mistake::new(at, message));
    if binary.returns_bool && !op.is_comparison() {
        return fail(at, "bool modifier can only be used on comparison operators".to_owned());
    }
    if op.is_comparison() && !binary.returns_bool && left == ValueType::Scalar && right == ValueType::Scalar {
        return fail(at, "comparisons between scalars must use BOOL modifier".to_owned());
    }
    if let Some(matching) = binary.matching.as_ref().filter(|matching| matching.on)
        && let Some(label) = matching.labels.iter().find(|label| matching.include.contains(label))
    {
        return fail(at, format!("label {label:?} must not occur in ON and GROUP clause at once"));
    }
    for side in [&binary.left, &binary.right] {
        if !matches!(side.value_type(), ValueType::Scalar | ValueType::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return fail(side.place().start, message.to_owned());
        }
    }
    if left == ValueType::Vector && right == ValueType::Vector {
        let Some(matching) = binary.matching.as_ref().filter(|_| op.is_set()) else {
            return Ok(());
        };
        if matches!(matching.cardinality, Cardinality::ManyToOne | Cardinality::OneToMany) {
            return fail(start, format!("no grouping allowed for {:?} operation", op.as_str()));
        }
        if matching.fill != Fill::default() {
            return fail(start, "filling in missing series not allowed for set operators".to_owned());
        }
        return Ok(());
    }
    if let Some(matching) = binary.matching.take() {
        if !matching.labels.is_empty() {
            return fail(start, "vector matching only allowed between instant vectors".to_owned());
        }
        if matching.fill != Fill::default() {
            return fail(start, "filling in missing series only allowed between instant vectors".to_owned());
        }
    }
    if op.is_set() {
        return fail(start, format!("set operator {:?} not allowed in binary scalar expression", op.as_str()));
    }
    Ok(())
}

/// Checks that a metric name outside the braces is the only one.
fn metric_name(selector: &Selector) -> Result<(), Mistake> {
    let Some(name) = &selector.name else {
        return Ok(());
    };
    let mut named = selector.matchers.iter().filter(|matcher| super::parser::is_name(matcher));
    // The first is the one outside.
    named.next();
    match named.next() {
        Some(other) => {
            let message = format!("metric name must not be set twice: {name:?} or {:?}", other.value);
            Err(Mistake::new(selector.place.start, message))
        }
        None => Ok(()),
    }
}

/// Checks that a selector names its metric once and does not pick every series there is.
pub(crate) fn selector(selector: &Selector) -> Result<(), Mistake> {
    metric_name(selector)?;
    let selects_all = selector.matchers.iter().all(signal::Matcher::matches_empty);
    if selector.name.is_none() && selects_all {
        let message = "vector selector must contain at least one non-empty matcher";
        return Err(Mistake::new(selector.place.start, message));
    }
    Ok(())
}

fn check_call(call: &mut Call) -> Result<(), Mistake> {
    let (function, start) = (call.function, call.place.start);
    let (named, got) = (function.args.len(), call.args.len());
    let count = match function.arity {
        Arity::Exact if got != named => Some(format!("expected {named}")),
        Arity::LastOptional | Arity::LastRepeats if got + 1 < named => Some(format!("expected at least {}", named - 1)),
        Arity::LastOptional if got > named => Some(format!("expected at most {named}")),
        Arity::Exact | Arity::LastOptional | Arity::LastRepeats => None,
    };
    if let Some(count) = count {
        let message = format!("{count} argument(s) in call to {:?}, got {got}", function.name);
        return Err(Mistake::new(start, message));
    }
    let is_info = function.name == "info";
    if let Some(second) = call.args.get(1).filter(|_| is_info) {
        check_info(second, start)?;
    }
    let wanted = function.args.iter().chain(function.args.last().into_iter().cycle());
    for (index, (arg, wanted)) in call.args.iter_mut().zip(wanted).enumerate() {
        // Which labels to add may be any; the series are found by the first argument.
        if !(is_info && index == 1) {
            check(arg)?;
        }
        expect(arg, *wanted, &format!("call to function {:?}", function.name))?;
    }
    Ok(())
}

/// The second argument of `info` has the form of a selector, but says which labels to add.
fn check_info(labels: &Expr, start: usize) -> Result<(), Mistake> {
    let found = labels.value_type();
    if found != ValueType::Vector {
        let message = format!("expected type {} in call to function \"info\", got {found}", ValueType::Vector);
        return Err(Mistake::new(start, message));
    }
    match labels {
        Expr::Selector(selector) if selector.name.is_none() => Ok(()),
        Expr::Selector(selector) => {
            let message = "expected label selectors only, got vector selector instead";
            Err(Mistake::new(selector.place.start, message))
        }
        other => Err(Mistake::new(other.place().start, "expected label selectors only")),
    }
}

fn expect(expr: &Expr, wanted: ValueType, context: &str) -> Result<(), Mistake> {
    let found = expr.value_type();
    if found == wanted {
        return Ok(());
    }
    Err(Mistake::new(expr.place().start, format!("expected type {wanted} in {context}, got {found}")))
}
