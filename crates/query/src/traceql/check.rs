//! Whether the types of a query fit.

use super::ast::{Attribute, BinaryOp, FieldExpr, Scope, SpansetExpr, Stage, Static};
use super::value::Pattern;

/// What is known about a value before any span is seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    /// An attribute may be anything.
    Unknown,
    Nil,
    Bool,
    Number,
    Text,
    Status,
    Kind,
}

pub(super) fn stages(stages: &[Stage]) -> Result<(), String> {
    for stage in stages {
        match stage {
            Stage::Spans(spans) => spanset(spans)?,
            Stage::Scalar { op, field, with, .. } => {
                if let Some(field) = field {
                    if !matches!(type_of(field)?, Type::Number | Type::Unknown) {
                        return Err(format!("{}() needs numbers: {field}", op.as_str()));
                    }
                    if !field.reads_span() {
                        return Err(format!("{}() must refer to the span: {field}", op.as_str()));
                    }
                }
                if type_of(with)? != Type::Number || with.reads_span() {
                    return Err(format!("{}() can only be compared with a number: {with}", op.as_str()));
                }
            }
            Stage::By(field) => {
                type_of(field)?;
                if !field.reads_span() {
                    return Err(format!("by() must refer to the span: {field}"));
                }
            }
            Stage::Coalesce | Stage::Select(_) => {}
        }
    }
    Ok(())
}

fn spanset(spans: &SpansetExpr) -> Result<(), String> {
    match spans {
        SpansetExpr::Filter(None) => Ok(()),
        SpansetExpr::Filter(Some(field)) => match type_of(field)? {
            Type::Bool | Type::Unknown => Ok(()),
            Type::Nil | Type::Number | Type::Text | Type::Status | Type::Kind => {
                Err(format!("a span filter must be a condition: {field}"))
            }
        },
        SpansetExpr::Pipeline(inner) => stages(inner),
        SpansetExpr::Binary { left, right, .. } => {
            spanset(left)?;
            spanset(right)
        }
    }
}

fn type_of(field: &FieldExpr) -> Result<Type, String> {
    match field {
        FieldExpr::Attribute(attribute) => Ok(type_of_attribute(attribute)),
        FieldExpr::Static(value) => Ok(match value {
            Static::Nil => Type::Nil,
            Static::Bool(_) => Type::Bool,
            Static::Int(_) | Static::Float(_) | Static::Duration(_) => Type::Number,
            Static::Text(_) => Type::Text,
            Static::Status(_) => Type::Status,
            Static::Kind(_) => Type::Kind,
        }),
        FieldExpr::Negate(inner) => match type_of(inner)? {
            Type::Number | Type::Unknown => Ok(Type::Number),
            Type::Nil | Type::Bool | Type::Text | Type::Status | Type::Kind => {
                Err(format!("only a number can be negated: {inner}"))
            }
        },
        FieldExpr::Not(inner) => match type_of(inner)? {
            Type::Bool | Type::Unknown => Ok(Type::Bool),
            Type::Nil | Type::Number | Type::Text | Type::Status | Type::Kind => {
                Err(format!("only a condition can be inverted: {inner}"))
            }
        },
        FieldExpr::Binary { op, left, right } => binary(*op, left, right),
    }
}

fn binary(op: BinaryOp, left: &FieldExpr, right: &FieldExpr) -> Result<Type, String> {
    let (a, b) = (type_of(left)?, type_of(right)?);
    let mismatch = || format!("the types of `{left}` and `{right}` do not fit `{}`", op.as_str());
    let both = |wanted: Type| [a, b].into_iter().all(|found| found == wanted || found == Type::Unknown);
    match op {
        BinaryOp::And | BinaryOp::Or => {
            if both(Type::Bool) {
                Ok(Type::Bool)
            } else {
                Err(mismatch())
            }
        }
        BinaryOp::Regex | BinaryOp::NotRegex => {
            let FieldExpr::Static(Static::Text(pattern)) = right else {
                return Err(format!("the right side of `{}` must be a text: {right}", op.as_str()));
            };
            Pattern::new(pattern)?;
            if both(Type::Text) { Ok(Type::Bool) } else { Err(mismatch()) }
        }
        BinaryOp::Equal | BinaryOp::NotEqual => {
            if a == Type::Nil || b == Type::Nil {
                let always_there = |field: &FieldExpr| match field {
                    FieldExpr::Attribute(Attribute::Named { scope, name }) => {
                        *scope == Scope::Resource && name == "service.name"
                    }
                    FieldExpr::Attribute(_) => true,
                    FieldExpr::Static(_) | FieldExpr::Negate(_) | FieldExpr::Not(_) | FieldExpr::Binary { .. } => false,
                };
                if op == BinaryOp::Equal && (always_there(left) || always_there(right)) {
                    return Err(format!("every span has it, it is never nil: {left} = {right}"));
                }
                return Ok(Type::Bool);
            }
            if a == b || a == Type::Unknown || b == Type::Unknown { Ok(Type::Bool) } else { Err(mismatch()) }
        }
        BinaryOp::Less | BinaryOp::LessOrEqual | BinaryOp::Greater | BinaryOp::GreaterOrEqual => {
            if both(Type::Number) || both(Type::Text) { Ok(Type::Bool) } else { Err(mismatch()) }
        }
        BinaryOp::Add
        | BinaryOp::Subtract
        | BinaryOp::Multiply
        | BinaryOp::Divide
        | BinaryOp::Modulo
        | BinaryOp::Power => {
            if both(Type::Number) {
                Ok(Type::Number)
            } else {
                Err(mismatch())
            }
        }
    }
}

fn type_of_attribute(attribute: &Attribute) -> Type {
    match attribute {
        Attribute::Named { .. } => Type::Unknown,
        Attribute::Status => Type::Status,
        Attribute::Kind => Type::Kind,
        Attribute::Duration
        | Attribute::ChildCount
        | Attribute::TraceDuration
        | Attribute::NestedSetLeft
        | Attribute::NestedSetRight
        | Attribute::NestedSetParent
        | Attribute::EventTimeSinceStart => Type::Number,
        Attribute::Name
        | Attribute::StatusMessage
        | Attribute::RootName
        | Attribute::RootServiceName
        | Attribute::TraceId
        | Attribute::SpanId
        | Attribute::ParentId
        | Attribute::EventName
        | Attribute::LinkTraceId
        | Attribute::LinkSpanId
        | Attribute::InstrumentationName
        | Attribute::InstrumentationVersion => Type::Text,
    }
}
