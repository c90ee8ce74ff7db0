//! Types of a parsed expression: what upstream's `checkAST` refuses, in its words.

use super::ast::{Binary, Call, Cardinality, Expr, Selector, ValueType};
use super::functions::Arity;
use super::parser::Mistake;

/// Checks an expression and everything in it.
pub(crate) fn check(expr: &Expr) -> Result<(), Mistake> {
    for child in expr.children() {
        check(child)?;
    }
    match expr {
        Expr::Number(_) | Expr::Text(_) | Expr::Paren(..) | Expr::Binary(_) => Ok(()),
        Expr::Selector(selector) => check_selector(selector),
        Expr::Range(range) => check_selector(&range.selector),
        Expr::Call(call) => check_call(call),
        Expr::Aggregate(aggregate) => {
            expect(&aggregate.expr, ValueType::Vector, "aggregation expression")?;
            match (aggregate.op.parameter(), &aggregate.param) {
                (Some(wanted), Some(param)) => expect(param, wanted, "aggregation parameter"),
                _ => Ok(()),
            }
        }
        Expr::Subquery(subquery) => match subquery.expr.value_type() {
            ValueType::Vector => Ok(()),
            found @ (ValueType::Scalar | ValueType::Matrix | ValueType::String) => Err(Mistake::new(
                subquery.place.start,
                format!("subquery is only allowed on instant vector, got {found} instead"),
            )),
        },
        Expr::Unary(unary) => match unary.expr.value_type() {
            ValueType::Scalar | ValueType::Vector => Ok(()),
            found @ (ValueType::Matrix | ValueType::String) => Err(Mistake::new(
                unary.place.start,
                format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got \"{found}\""
                ),
            )),
        },
    }
}

/// Checks the sides and modifiers of a binary expression, and drops a matching that has nothing to match.
pub(crate) fn binary(mut binary: Binary) -> Result<Binary, Mistake> {
    let (left, right) = (binary.left.value_type(), binary.right.value_type());
    let start = binary.place.start;
    let op = binary.op;
    let fail = |at: usize, message: String| Err(Mistake::new(at, message));
    if binary.returns_bool && !op.is_comparison() {
        return fail(start, "bool modifier can only be used on comparison operators".to_owned());
    }
    if op.is_comparison() && !binary.returns_bool && left == ValueType::Scalar && right == ValueType::Scalar {
        return fail(start, "comparisons between scalars must use BOOL modifier".to_owned());
    }
    if let Some(matching) = &binary.matching {
        let twice = matching.labels.iter().find(|label| matching.on && matching.include.contains(label));
        if let Some(label) = twice {
            return fail(start, format!("label {label:?} must not occur in ON and GROUP clause at once"));
        }
    }
    for side in [&binary.left, &binary.right] {
        if !matches!(side.value_type(), ValueType::Scalar | ValueType::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return fail(side.place().start, message.to_owned());
        }
    }
    if left == ValueType::Vector && right == ValueType::Vector {
        let grouped = binary
            .matching
            .as_ref()
            .is_some_and(|matching| matches!(matching.cardinality, Cardinality::ManyToOne | Cardinality::OneToMany));
        if op.is_set() && grouped {
            return fail(start, format!("no grouping allowed for {:?} operation", op.as_str()));
        }
        return Ok(binary);
    }
    if binary.matching.take().is_some_and(|matching| !matching.labels.is_empty()) {
        return fail(start, "vector matching only allowed between instant vectors".to_owned());
    }
    if op.is_set() {
        return fail(start, format!("set operator {:?} not allowed in binary scalar expression", op.as_str()));
    }
    Ok(binary)
}

fn check_selector(selector: &Selector) -> Result<(), Mistake> {
    let selects_all = selector.matchers.iter().all(signal::Matcher::matches_empty);
    if selector.name.is_none() && selects_all {
        let message = "vector selector must contain at least one non-empty matcher";
        return Err(Mistake::new(selector.place.start, message));
    }
    Ok(())
}

fn check_call(call: &Call) -> Result<(), Mistake> {
    let function = call.function;
    let (named, got) = (function.args.len(), call.args.len());
    let count = match function.arity {
        Arity::Exact if got != named => Some(format!("expected {named}")),
        Arity::LastOptional | Arity::LastRepeats if got + 1 < named => Some(format!("expected at least {}", named - 1)),
        Arity::LastOptional if got > named => Some(format!("expected at most {named}")),
        Arity::Exact | Arity::LastOptional | Arity::LastRepeats => None,
    };
    if let Some(count) = count {
        let message = format!("{count} argument(s) in call to {:?}, got {got}", function.name);
        return Err(Mistake::new(call.place.start, message));
    }
    let wanted = function.args.iter().chain(function.args.last().into_iter().cycle());
    for (arg, wanted) in call.args.iter().zip(wanted) {
        expect(arg, *wanted, &format!("call to function {:?}", function.name))?;
    }
    Ok(())
}

fn expect(expr: &Expr, wanted: ValueType, context: &str) -> Result<(), Mistake> {
    let found = expr.value_type();
    if found == wanted {
        return Ok(());
    }
    Err(Mistake::new(expr.place().start, format!("expected type {wanted} in {context}, got {found}")))
}
