//! `/parse_query`: the tree of a query, in the words and the order of keys that Prometheus' own page reads.
//!
//! What experimental syntax adds to a node is shown only where it was written.

use std::fmt::Write as _;

use query::promql::{
    Aggregate, Arity, At, Binary, Call, Cardinality, Expr, Fill, Matching, Reach, Selector, Subquery, TimeShift,
    ValueType,
};
use signal::Matcher;

use crate::json;

/// Appends `expr` as JSON. The parser bounds how deep it is nested.
pub(super) fn node(out: &mut String, expr: &Expr) {
    match expr {
        Expr::Number(number) => {
            let _ = write!(out, r#"{{"type":"numberLiteral","val":{}}}"#, json::quoted(&plain(number.value)));
        }
        Expr::Text(text) => {
            let _ = write!(out, r#"{{"type":"stringLiteral","val":{}}}"#, json::quoted(&text.value));
        }
        Expr::Selector(selector) => {
            series(out, selector, "");
            out.push_str(r#","type":"vectorSelector"}"#);
        }
        Expr::Range(range) => {
            series(out, &range.selector, &format!(r#","range":{}"#, range.range.as_millis()));
            out.push_str(r#","type":"matrixSelector"}"#);
        }
        Expr::Subquery(one) => subquery(out, one),
        Expr::Call(one) => call(out, one),
        Expr::Aggregate(one) => aggregate(out, one),
        Expr::Binary(one) => binary(out, one),
        Expr::Unary(unary) => {
            out.push_str(r#"{"expr":"#);
            node(out, &unary.expr);
            let _ = write!(out, r#","op":"{}","type":"unaryExpr"}}"#, if unary.negative { '-' } else { '+' });
        }
        Expr::Paren(inner, _) => {
            out.push_str(r#"{"expr":"#);
            node(out, inner);
            out.push_str(r#","type":"parenExpr"}"#);
        }
    }
}

/// Never an exponent: this is a literal, not a sample.
fn plain(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { json::number(value) }
}

/// `{"matchers":…,"name":…,"offset":…,"range":…,"startOrEnd":…,"timestamp":…`
fn series(out: &mut String, selector: &Selector, range: &str) {
    out.push_str(match selector.reach {
        Reach::Anchored => r#"{"anchored":true,"matchers":"#,
        Reach::Window | Reach::Smoothed => r#"{"matchers":"#,
    });
    // Upstream puts the condition that a name in front of the braces stands for after those inside.
    let (name, rest) = match (&selector.name, selector.matchers.split_first()) {
        (Some(_), Some((name, rest))) => (Some(name), rest),
        _ => (None, selector.matchers.as_slice()),
    };
    json::array(out, rest.iter().chain(name), matcher);
    let name = json::quoted(selector.name.as_deref().unwrap_or_default());
    let _ = write!(out, r#","name":{name},"offset":{}{range}"#, selector.shift.offset_ms.unwrap_or(0));
    if selector.reach == Reach::Smoothed {
        out.push_str(r#","smoothed":true"#);
    }
    shift(out, selector.shift);
}

fn matcher(out: &mut String, matcher: &Matcher) {
    let (name, value) = (json::quoted(&matcher.name), json::quoted(&matcher.value));
    let _ = write!(out, r#"{{"name":{name},"type":"{}","value":{value}}}"#, matcher.op);
}

/// `,"startOrEnd":…,"timestamp":…`
fn shift(out: &mut String, shift: TimeShift) {
    let (edge, at) = match shift.at {
        None => ("null", None),
        Some(At::Start) => (r#""start""#, None),
        Some(At::End) => (r#""end""#, None),
        Some(At::Time(at)) => ("null", Some(at)),
    };
    let at = at.map_or_else(|| "null".to_owned(), |at| at.0.to_string());
    let _ = write!(out, r#","startOrEnd":{edge},"timestamp":{at}"#);
}

fn subquery(out: &mut String, subquery: &Subquery) {
    out.push_str(r#"{"expr":"#);
    node(out, &subquery.expr);
    let _ =
        write!(out, r#","offset":{},"range":{}"#, subquery.shift.offset_ms.unwrap_or(0), subquery.range.as_millis());
    let edge_and_time = {
        let mut text = String::new();
        shift(&mut text, subquery.shift);
        text
    };
    // `step` stands between `startOrEnd` and `timestamp`.
    let step = subquery.step.unwrap_or_default().as_millis();
    match edge_and_time.split_once(r#","timestamp""#) {
        Some((edge, at)) => {
            let _ = write!(out, r#"{edge},"step":{step},"timestamp"{at}"#);
        }
        None => out.push_str(&edge_and_time),
    }
    out.push_str(r#","type":"subquery"}"#);
}

fn call(out: &mut String, call: &Call) {
    out.push_str(r#"{"args":"#);
    json::array(out, &call.args, node);
    out.push_str(r#","func":{"argTypes":"#);
    let function = call.function;
    json::array(out, function.args, |out, kind| json::string(out, type_word(*kind)));
    let variadic = match function.arity {
        Arity::Exact => 0,
        Arity::LastOptional => 1,
        Arity::LastRepeats => -1,
    };
    let _ = write!(
        out,
        r#","name":"{}","returnType":"{}","variadic":{variadic}}},"type":"call"}}"#,
        function.name,
        type_word(function.returns)
    );
}

/// The words of the API; messages say `instant vector`.
fn type_word(kind: ValueType) -> &'static str {
    match kind {
        ValueType::Scalar => "scalar",
        ValueType::Vector => "vector",
        ValueType::Matrix => "matrix",
        ValueType::String => "string",
    }
}

fn aggregate(out: &mut String, aggregate: &Aggregate) {
    out.push_str(r#"{"expr":"#);
    node(out, &aggregate.expr);
    out.push_str(r#","grouping":"#);
    names(out, &aggregate.grouping);
    let _ = write!(out, r#","op":"{}","param":"#, aggregate.op.as_str());
    match &aggregate.param {
        Some(param) => node(out, param),
        None => out.push_str("null"),
    }
    let _ = write!(out, r#","type":"aggregation","without":{}}}"#, aggregate.without);
}

fn binary(out: &mut String, binary: &Binary) {
    let _ = write!(out, r#"{{"bool":{},"lhs":"#, binary.returns_bool);
    node(out, &binary.left);
    out.push_str(r#","matching":"#);
    match &binary.matching {
        Some(one) => matching(out, one),
        None => out.push_str("null"),
    }
    let _ = write!(out, r#","op":{},"rhs":"#, json::quoted(binary.op.as_str()));
    node(out, &binary.right);
    out.push_str(r#","type":"binaryExpr"}"#);
}

fn matching(out: &mut String, matching: &Matching) {
    let card = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    let _ = write!(out, r#"{{"card":"{card}""#);
    if matching.fill != Fill::default() {
        let side = |value: Option<f64>| value.map_or_else(|| "null".to_owned(), |value| value.to_string());
        let _ =
            write!(out, r#","fillValues":{{"lhs":{},"rhs":{}}}"#, side(matching.fill.left), side(matching.fill.right));
    }
    out.push_str(r#","include":"#);
    names(out, &matching.include);
    out.push_str(r#","labels":"#);
    names(out, &matching.labels);
    let _ = write!(out, r#","on":{}}}"#, matching.on);
}

fn names(out: &mut String, names: &[String]) {
    json::array(out, names, |out, name| json::string(out, name));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> String {
        let mut out = String::new();
        node(&mut out, &query::promql::parse(text).unwrap());
        serde_json::from_str::<serde_json::Value>(&out).unwrap();
        out
    }

    #[test]
    fn every_node_looks_as_upstream_writes_it() {
        for (query, want) in [
            ("1.5e3", r#"{"type":"numberLiteral","val":"1500"}"#),
            ("-Inf", r#"{"type":"numberLiteral","val":"-Inf"}"#),
            (r#""a\"b""#, r#"{"type":"stringLiteral","val":"a\"b"}"#),
            (
                r#"up{job!="a"} offset -5m"#,
                r#"{"matchers":[{"name":"job","type":"!=","value":"a"},{"name":"__name__","type":"=","value":"up"}],"name":"up","offset":-300000,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"}"#,
            ),
            (
                r#"{__name__=~"u.*"} @ 1.5"#,
                r#"{"matchers":[{"name":"__name__","type":"=~","value":"u.*"}],"name":"","offset":0,"startOrEnd":null,"timestamp":1500,"type":"vectorSelector"}"#,
            ),
            (
                "rate(a[5m] @ end())",
                r#"{"args":[{"matchers":[{"name":"__name__","type":"=","value":"a"}],"name":"a","offset":0,"range":300000,"startOrEnd":"end","timestamp":null,"type":"matrixSelector"}],"func":{"argTypes":["matrix"],"name":"rate","returnType":"vector","variadic":0},"type":"call"}"#,
            ),
            (
                "a[1h:5m] offset 1m",
                r#"{"expr":{"matchers":[{"name":"__name__","type":"=","value":"a"}],"name":"a","offset":0,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"offset":60000,"range":3600000,"startOrEnd":null,"step":300000,"timestamp":null,"type":"subquery"}"#,
            ),
            (
                "topk by (x) (3, a)",
                r#"{"expr":{"matchers":[{"name":"__name__","type":"=","value":"a"}],"name":"a","offset":0,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"grouping":["x"],"op":"topk","param":{"type":"numberLiteral","val":"3"},"type":"aggregation","without":false}"#,
            ),
            (
                "-(1 > bool 2)",
                r#"{"expr":{"expr":{"bool":true,"lhs":{"type":"numberLiteral","val":"1"},"matching":null,"op":">","rhs":{"type":"numberLiteral","val":"2"},"type":"binaryExpr"},"type":"parenExpr"},"op":"-","type":"unaryExpr"}"#,
            ),
            (
                r#"{__name__="a"} * on (x) group_left (y) {__name__="b"}"#,
                r#"{"bool":false,"lhs":{"matchers":[{"name":"__name__","type":"=","value":"a"}],"name":"","offset":0,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"matching":{"card":"many-to-one","include":["y"],"labels":["x"],"on":true},"op":"*","rhs":{"matchers":[{"name":"__name__","type":"=","value":"b"}],"name":"","offset":0,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"type":"binaryExpr"}"#,
            ),
            (
                "rate(a[5m] smoothed)",
                r#"{"args":[{"matchers":[{"name":"__name__","type":"=","value":"a"}],"name":"a","offset":0,"range":300000,"smoothed":true,"startOrEnd":null,"timestamp":null,"type":"matrixSelector"}],"func":{"argTypes":["matrix"],"name":"rate","returnType":"vector","variadic":0},"type":"call"}"#,
            ),
            (
                r#"{x="1"} + fill_left (0.5) {x="2"}"#,
                r#"{"bool":false,"lhs":{"matchers":[{"name":"x","type":"=","value":"1"}],"name":"","offset":0,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"matching":{"card":"one-to-one","fillValues":{"lhs":0.5,"rhs":null},"include":[],"labels":[],"on":false},"op":"+","rhs":{"matchers":[{"name":"x","type":"=","value":"2"}],"name":"","offset":0,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"type":"binaryExpr"}"#,
            ),
            (
                "round(vector(1))",
                r#"{"args":[{"args":[{"type":"numberLiteral","val":"1"}],"func":{"argTypes":["scalar"],"name":"vector","returnType":"vector","variadic":0},"type":"call"}],"func":{"argTypes":["vector","scalar"],"name":"round","returnType":"vector","variadic":1},"type":"call"}"#,
            ),
        ] {
            assert_eq!(tree(query), want, "{query}");
        }
    }
}
