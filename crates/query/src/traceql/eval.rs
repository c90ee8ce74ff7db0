//! A parsed query to the traces it finds.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use signal::{AttributeValue, Nanos, Span, TimeRange, TraceId};
use store::{Snapshot, Trace};

use super::ast::{AggregateOp, Attribute, BinaryOp, Expr, FieldExpr, Scope, SpansetExpr, SpansetOp, Stage, Static};
use super::relations::Tree;
use super::value::{Pattern, Value, compares, compute, matches};
use crate::Cancel;

/// A trace that a query found.
#[derive(Clone, PartialEq, Debug)]
pub struct TraceHit {
    /// Its identity.
    pub id: TraceId,
    /// Service of its root span; `<root span not yet received>` when there is none.
    pub root_service: String,
    /// Name of its root span; may be empty.
    pub root_name: String,
    /// First start of its spans.
    pub start: Nanos,
    /// From the first start to the last end, in whole milliseconds.
    pub duration_ms: u64,
    /// Sets of matched spans; one unless the query splits with `by`.
    pub sets: Vec<SpanSet>,
    /// By service: how many spans it has, and how many failed.
    pub services: BTreeMap<String, ServiceStats>,
}

/// Matched spans of one trace.
#[derive(Clone, PartialEq, Debug)]
pub struct SpanSet {
    /// The values by which `by` split, as written in the query.
    pub by: Vec<(String, AttributeValue)>,
    /// By start time; never empty.
    pub spans: Vec<SpanHit>,
}

/// A matched span.
#[derive(Clone, PartialEq, Debug)]
pub struct SpanHit {
    /// The whole span.
    pub span: Arc<Span>,
    /// The attributes the query mentions and this span has, without those every answer has anyway.
    pub attributes: Vec<(String, AttributeValue)>,
}

/// What a trace holds of one service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServiceStats {
    /// Spans.
    pub spans: usize,
    /// Spans with status error.
    pub errors: usize,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A pattern that does not compile; impossible for what [`parse`](super::parse) accepted.
    #[error("{reason}")]
    Pattern {
        /// Why.
        reason: String,
    },
    /// Stopped from outside.
    #[error("the query was canceled")]
    Canceled,
}

/// Traces with a span in `range` that the query finds, newest start first, at most `limit`.
///
/// # Errors
/// [`EvalError::Canceled`] when `cancel` was asked.
pub fn search(
    expr: &Expr,
    snapshot: &Snapshot,
    range: TimeRange,
    limit: usize,
    cancel: &Cancel,
) -> Result<Vec<TraceHit>, EvalError> {
    let search = Search::new(expr)?;
    let mut hits = Vec::new();
    for trace in snapshot.traces(range) {
        if hits.len() >= limit {
            break;
        }
        if cancel.is_canceled() {
            return Err(EvalError::Canceled);
        }
        hits.extend(search.find(&trace));
    }
    Ok(hits)
}

/// A query ready to be asked of traces.
pub(super) struct Search<'a> {
    expr: &'a Expr,
    patterns: HashMap<&'a str, Pattern>,
    shown: Vec<Attribute>,
}

/// Spans of one trace by their place, with the values that set them apart.
#[derive(Clone, Default)]
pub(super) struct Set {
    by: Vec<(String, AttributeValue)>,
    pub(super) spans: Vec<usize>,
}

impl<'a> Search<'a> {
    pub(super) fn new(expr: &'a Expr) -> Result<Self, EvalError> {
        let mut patterns = HashMap::new();
        collect_stages(&expr.stages, &mut patterns).map_err(|reason| EvalError::Pattern { reason })?;
        let mut shown = expr.attributes();
        shown.retain(|attribute| {
            !matches!(
                attribute,
                Attribute::Name
                    | Attribute::Duration
                    | Attribute::RootName
                    | Attribute::RootServiceName
                    | Attribute::TraceDuration
                    | Attribute::TraceId
                    | Attribute::SpanId
            )
        });
        Ok(Self { expr, patterns, shown })
    }

    /// The sets of spans the query leaves of a trace.
    pub(super) fn sets(&self, view: &View<'_>) -> Vec<Set> {
        let all = Set { by: Vec::new(), spans: (0..view.spans.len()).collect() };
        self.stages(&self.expr.stages, vec![all], view)
    }

    fn find(&self, trace: &Trace) -> Option<TraceHit> {
        let view = View::new(trace);
        let sets = self.sets(&view);
        if sets.is_empty() {
            return None;
        }
        let sets = sets.into_iter().map(|set| self.show(set, &view)).collect();
        let mut services: BTreeMap<String, ServiceStats> = BTreeMap::new();
        for span in view.spans {
            let stats = services.entry(span.service().to_owned()).or_default();
            stats.spans += 1;
            stats.errors += usize::from(span.status == signal::SpanStatus::Error);
        }
        let (start, end) = view.bounds;
        let root = view.root();
        Some(TraceHit {
            id: trace.id,
            root_service: root.map_or("<root span not yet received>", |root| root.service()).to_owned(),
            root_name: root.map_or("", |root| &root.name).to_owned(),
            start,
            duration_ms: u64::try_from(end.since(start).as_millis()).unwrap_or(u64::MAX),
            sets,
            services,
        })
    }

    fn show(&self, set: Set, view: &View<'_>) -> SpanSet {
        let spans = set.spans.iter().filter_map(|at| {
            let span = view.spans.get(*at)?.clone();
            let value = |attribute: &Attribute| {
                Some((attribute.name().to_owned(), view.attribute(attribute, *at).to_attribute()?))
            };
            Some(SpanHit { span, attributes: self.shown.iter().filter_map(value).collect() })
        });
        SpanSet { spans: spans.collect(), by: set.by }
    }

    fn stages(&self, stages: &[Stage], mut sets: Vec<Set>, view: &View<'_>) -> Vec<Set> {
        for stage in stages {
            sets = match stage {
                Stage::Spans(spans) => {
                    sets.into_iter().map(|set| Set { spans: self.spanset(spans, &set.spans, view), ..set }).collect()
                }
                Stage::Scalar { op, field, comparison, with } => {
                    let with = self.field(with, 0, view);
                    let holds = |set: &Set| {
                        self.aggregate(*op, field.as_ref(), &set.spans, view)
                            .is_some_and(|value| compares(*comparison, &value, &with))
                    };
                    sets.into_iter().filter(holds).collect()
                }
                Stage::By(field) => sets.into_iter().flat_map(|set| self.split(field, &set, view)).collect(),
                Stage::Coalesce => {
                    let mut spans: Vec<usize> = sets.into_iter().flat_map(|set| set.spans).collect();
                    spans.sort_unstable();
                    spans.dedup();
                    vec![Set { by: Vec::new(), spans }]
                }
                Stage::Select(_) => sets,
            };
            sets.retain(|set| !set.spans.is_empty());
        }
        sets
    }

    /// The spans of `input` that an expression keeps, ascending.
    fn spanset(&self, expr: &SpansetExpr, input: &[usize], view: &View<'_>) -> Vec<usize> {
        match expr {
            SpansetExpr::Filter(None) => input.to_vec(),
            SpansetExpr::Filter(Some(field)) => {
                input.iter().copied().filter(|at| self.field(field, *at, view).is_true()).collect()
            }
            SpansetExpr::Pipeline(stages) => {
                let input = Set { by: Vec::new(), spans: input.to_vec() };
                let mut spans: Vec<usize> =
                    self.stages(stages, vec![input], view).into_iter().flat_map(|set| set.spans).collect();
                spans.sort_unstable();
                spans.dedup();
                spans
            }
            SpansetExpr::Binary { op, left, right } => {
                let (left, right) = (self.spanset(left, input, view), self.spanset(right, input, view));
                combine(*op, &left, &right, view)
            }
        }
    }

    fn split(&self, field: &FieldExpr, set: &Set, view: &View<'_>) -> Vec<Set> {
        let mut groups: Vec<Set> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for at in &set.spans {
            let value = self.field(field, *at, view);
            // Values have no order and no hash of their own; how they print tells them apart, type included.
            let place = *places.entry(format!("{value:?}")).or_insert_with(|| {
                let mut by = set.by.clone();
                by.extend(value.to_attribute().map(|shown| (format!("by({field})"), shown)));
                groups.push(Set { by, spans: Vec::new() });
                groups.len() - 1
            });
            if let Some(group) = groups.get_mut(place) {
                group.spans.push(*at);
            }
        }
        groups
    }

    fn aggregate<'v>(
        &self,
        op: AggregateOp,
        field: Option<&FieldExpr>,
        spans: &[usize],
        view: &View<'_>,
    ) -> Option<Value<'v>> {
        let Some(field) = field else {
            return Some(Value::Int(i64::try_from(spans.len()).unwrap_or(i64::MAX)));
        };
        let values: Vec<f64> = spans.iter().filter_map(|at| self.field(field, *at, view).number()).collect();
        if values.is_empty() {
            return None;
        }
        let sum: f64 = values.iter().sum();
        Some(Value::Float(match op {
            AggregateOp::Count => values.len() as f64,
            AggregateOp::Sum => sum,
            AggregateOp::Avg => sum / values.len() as f64,
            AggregateOp::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
            AggregateOp::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }))
    }

    fn field<'v>(&self, field: &'v FieldExpr, at: usize, view: &View<'v>) -> Value<'v> {
        match field {
            FieldExpr::Attribute(attribute) => view.attribute(attribute, at),
            FieldExpr::Static(value) => Value::from(value),
            FieldExpr::Negate(inner) => compute(BinaryOp::Subtract, &Value::Int(0), &self.field(inner, at, view)),
            FieldExpr::Not(inner) => match self.field(inner, at, view) {
                Value::Bool(value) => Value::Bool(!value),
                _ => Value::Nil,
            },
            FieldExpr::Binary { op, left, right } => {
                let nil = FieldExpr::Static(Static::Nil);
                match op {
                    BinaryOp::And => {
                        Value::Bool(self.field(left, at, view).is_true() && self.field(right, at, view).is_true())
                    }
                    BinaryOp::Or => {
                        Value::Bool(self.field(left, at, view).is_true() || self.field(right, at, view).is_true())
                    }
                    BinaryOp::Equal | BinaryOp::NotEqual if **left == nil || **right == nil => {
                        let other = if **left == nil { right } else { left };
                        let absent = self.field(other, at, view) == Value::Nil;
                        Value::Bool(absent == (*op == BinaryOp::Equal))
                    }
                    BinaryOp::Regex | BinaryOp::NotRegex => {
                        let pattern = match &**right {
                            FieldExpr::Static(Static::Text(text)) => self.patterns.get(text.as_str()),
                            _ => None,
                        };
                        let value = self.field(left, at, view);
                        Value::Bool(pattern.is_some_and(|pattern| matches(pattern, *op == BinaryOp::NotRegex, &value)))
                    }
                    op if op.is_arithmetic() => compute(*op, &self.field(left, at, view), &self.field(right, at, view)),
                    op => Value::Bool(compares(*op, &self.field(left, at, view), &self.field(right, at, view))),
                }
            }
        }
    }
}

fn combine(op: SpansetOp, left: &[usize], right: &[usize], view: &View<'_>) -> Vec<usize> {
    let flags = |spans: &[usize]| {
        let mut flags = vec![false; view.spans.len()];
        for at in spans {
            if let Some(flag) = flags.get_mut(*at) {
                *flag = true;
            }
        }
        flags
    };
    let union = |a: &[usize], b: &[usize]| {
        let mut spans = [a, b].concat();
        spans.sort_unstable();
        spans.dedup();
        spans
    };
    let keep = |spans: &[usize], related: &[bool], wanted: bool| -> Vec<usize> {
        spans.iter().copied().filter(|at| related.get(*at).copied().unwrap_or(false) == wanted).collect()
    };
    match op {
        SpansetOp::And if left.is_empty() || right.is_empty() => Vec::new(),
        SpansetOp::And | SpansetOp::Or => union(left, right),
        SpansetOp::Related(relation) => keep(right, &view.tree().related(relation, &flags(left)), true),
        SpansetOp::NotRelated(relation) => keep(right, &view.tree().related(relation, &flags(left)), false),
        SpansetOp::Union(relation) => {
            let below = keep(right, &view.tree().related(relation, &flags(left)), true);
            let above = keep(left, &view.tree().related(relation.reversed(), &flags(right)), true);
            union(&below, &above)
        }
    }
}

fn collect_stages<'a>(stages: &'a [Stage], patterns: &mut HashMap<&'a str, Pattern>) -> Result<(), String> {
    for stage in stages {
        match stage {
            Stage::Spans(spans) => collect_spanset(spans, patterns)?,
            Stage::Scalar { field, .. } => field.iter().try_for_each(|field| collect_field(field, patterns))?,
            Stage::By(field) => collect_field(field, patterns)?,
            Stage::Coalesce | Stage::Select(_) => {}
        }
    }
    Ok(())
}

fn collect_spanset<'a>(spans: &'a SpansetExpr, patterns: &mut HashMap<&'a str, Pattern>) -> Result<(), String> {
    match spans {
        SpansetExpr::Filter(field) => field.iter().try_for_each(|field| collect_field(field, patterns)),
        SpansetExpr::Pipeline(stages) => collect_stages(stages, patterns),
        SpansetExpr::Binary { left, right, .. } => {
            collect_spanset(left, patterns)?;
            collect_spanset(right, patterns)
        }
    }
}

fn collect_field<'a>(field: &'a FieldExpr, patterns: &mut HashMap<&'a str, Pattern>) -> Result<(), String> {
    match field {
        FieldExpr::Attribute(_) | FieldExpr::Static(_) => Ok(()),
        FieldExpr::Negate(inner) | FieldExpr::Not(inner) => collect_field(inner, patterns),
        FieldExpr::Binary { op, left, right } => {
            if let (BinaryOp::Regex | BinaryOp::NotRegex, FieldExpr::Static(Static::Text(text))) = (op, &**right) {
                patterns.insert(text, Pattern::new(text)?);
            }
            collect_field(left, patterns)?;
            collect_field(right, patterns)
        }
    }
}

/// A trace with what is computed about it once.
pub(super) struct View<'a> {
    spans: &'a [Arc<Span>],
    id: TraceId,
    bounds: (Nanos, Nanos),
    tree: OnceCell<Tree>,
}

impl<'a> View<'a> {
    pub(super) fn new(trace: &'a Trace) -> Self {
        let start = trace.spans.iter().map(|span| span.start).min().unwrap_or_default();
        let end = trace.spans.iter().map(|span| span.end).max().unwrap_or_default();
        Self { spans: &trace.spans, id: trace.id, bounds: (start, end), tree: OnceCell::new() }
    }

    fn tree(&self) -> &Tree {
        self.tree.get_or_init(|| Tree::new(self.spans))
    }

    /// The first span without a parent; failing that none, even if the trace has spans.
    fn root(&self) -> Option<&'a Span> {
        let named = self.spans.iter().find(|span| span.parent.is_none_or(|parent| parent.is_zero()));
        named.map(|span| &**span)
    }

    /// Value of an attribute for the span at a place.
    pub(super) fn attribute(&self, attribute: &Attribute, at: usize) -> Value<'a> {
        let Some(span) = self.spans.get(at).map(|span| &**span) else { return Value::Nil };
        let text = |text: &'a str| Value::Text(text.into());
        let count = |number: usize| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let nanos = |from: Nanos, to: Nanos| Value::Duration(to.0.saturating_sub(from.0));
        match attribute {
            Attribute::Named { scope, name } => named(*scope, name, span),
            Attribute::Name => text(&span.name),
            Attribute::Status => Value::Status(span.status),
            Attribute::StatusMessage => text(&span.status_message),
            Attribute::Kind => Value::Kind(span.kind),
            Attribute::Duration => nanos(span.start, span.end),
            Attribute::ChildCount => count(self.tree().child_count(at)),
            Attribute::RootName => self.root().map_or(Value::Nil, |root| text(&root.name)),
            Attribute::RootServiceName => self.root().map_or(Value::Nil, |root| text(root.service())),
            Attribute::TraceDuration => nanos(self.bounds.0, self.bounds.1),
            Attribute::TraceId => Value::Text(self.id.to_string().into()),
            Attribute::SpanId => Value::Text(span.id.to_string().into()),
            Attribute::ParentId => span.parent.map_or(Value::Nil, |parent| Value::Text(parent.to_string().into())),
            Attribute::NestedSetLeft => Value::Int(self.tree().nested(at).0),
            Attribute::NestedSetRight => Value::Int(self.tree().nested(at).1),
            Attribute::NestedSetParent => {
                Value::Int(self.tree().parent(at).map_or(-1, |parent| self.tree().nested(parent).0))
            }
            Attribute::EventName => many(span.events.iter().map(|event| text(&event.name))),
            Attribute::EventTimeSinceStart => many(span.events.iter().map(|event| nanos(span.start, event.at))),
            Attribute::LinkTraceId => many(span.links.iter().map(|link| Value::Text(link.trace.to_string().into()))),
            Attribute::LinkSpanId => many(span.links.iter().map(|link| Value::Text(link.span.to_string().into()))),
            Attribute::InstrumentationName => text(&span.scope_name),
            Attribute::InstrumentationVersion => text(&span.scope_version),
        }
    }
}

fn many<'a>(values: impl Iterator<Item = Value<'a>>) -> Value<'a> {
    let values: Vec<_> = values.collect();
    if values.is_empty() { Value::Nil } else { Value::Many(values) }
}

fn named<'a>(scope: Scope, name: &str, span: &'a Span) -> Value<'a> {
    let of = |attributes: &'a [(String, AttributeValue)]| {
        attributes.iter().filter(|(key, _)| key == name).map(|(_, value)| Value::from(value))
    };
    let one = |value: Option<&'a AttributeValue>| value.map_or(Value::Nil, Value::from);
    match scope {
        Scope::Span => one(span.attribute(name)),
        Scope::Resource => one(span.resource_attribute(name)),
        Scope::Any => one(span.attribute(name).or_else(|| span.resource_attribute(name))),
        Scope::Event => many(span.events.iter().flat_map(|event| of(&event.attributes))),
        Scope::Link => many(span.links.iter().flat_map(|link| of(&link.attributes))),
        // The library's own attributes are not kept; its name and version are.
        Scope::Instrumentation => Value::Nil,
    }
}
