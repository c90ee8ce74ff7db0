//! How a query is written.

use std::fmt::{self, Display, Formatter};

use super::ast::{Attribute, Expr, FieldExpr, Relation, Scope, SpansetExpr, SpansetOp, Stage, Static};
use crate::logql::units::{format_duration, quote};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_stages(f, &self.stages)
    }
}

fn write_stages(f: &mut Formatter<'_>, stages: &[Stage]) -> fmt::Result {
    for (at, stage) in stages.iter().enumerate() {
        write!(f, "{}{stage}", if at > 0 { " | " } else { "" })?;
    }
    Ok(())
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spans(spans) => spans.fmt(f),
            Self::Scalar { op, field, comparison, with } => {
                write!(f, "{}(", op.as_str())?;
                if let Some(field) = field {
                    field.fmt(f)?;
                }
                write!(f, ") {} {with}", comparison.as_str())
            }
            Self::By(field) => write!(f, "by({field})"),
            Self::Coalesce => f.write_str("coalesce()"),
            Self::Select(attributes) => {
                f.write_str("select(")?;
                for (at, attribute) in attributes.iter().enumerate() {
                    write!(f, "{}{attribute}", if at > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
        }
    }
}

impl Display for SpansetExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(None) => f.write_str("{ }"),
            Self::Filter(Some(field)) => write!(f, "{{ {field} }}"),
            Self::Pipeline(stages) => {
                f.write_str("(")?;
                write_stages(f, stages)?;
                f.write_str(")")
            }
            Self::Binary { op, left, right } => write!(f, "({left} {op} {right})"),
        }
    }
}

impl Display for SpansetOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::And => f.write_str("&&"),
            Self::Or => f.write_str("||"),
            Self::Related(relation) => f.write_str(relation.as_str()),
            Self::NotRelated(relation) => write!(f, "!{}", relation.as_str()),
            Self::Union(relation) => write!(f, "&{}", relation.as_str()),
        }
    }
}

impl Relation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Child => ">",
            Self::Descendant => ">>",
            Self::Parent => "<",
            Self::Ancestor => "<<",
            Self::Sibling => "~",
        }
    }
}

impl Display for FieldExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute(attribute) => attribute.fmt(f),
            Self::Static(value) => value.fmt(f),
            Self::Negate(inner) => write!(f, "-({inner})"),
            Self::Not(inner) => write!(f, "!({inner})"),
            Self::Binary { op, left, right } => write!(f, "({left} {} {right})", op.as_str()),
        }
    }
}

impl Display for Attribute {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self::Named { scope, name } = self else { return f.write_str(self.name()) };
        f.write_str(match scope {
            Scope::Any => ".",
            Scope::Span => "span.",
            Scope::Resource => "resource.",
            Scope::Event => "event.",
            Scope::Link => "link.",
            Scope::Instrumentation => "instrumentation.",
        })?;
        if name.chars().all(super::lexer::is_attribute_char) { f.write_str(name) } else { f.write_str(&quote(name)) }
    }
}

impl Display for Static {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            // The point tells a real number from a whole one.
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Duration(nanos) => f.write_str(&format_duration(*nanos)),
            Self::Text(text) => f.write_str(&quote(text)),
            Self::Status(status) => f.write_str(status.as_str()),
            Self::Kind(kind) => f.write_str(kind.as_str()),
        }
    }
}
