//! What a TraceQL query is made of.

use signal::{SpanKind, SpanStatus};

/// A parsed query: stages that each turn sets of spans into sets of spans.
#[derive(Clone, PartialEq, Debug)]
pub struct Expr {
    /// In order; never empty.
    pub stages: Vec<Stage>,
}

/// One step of a pipeline.
#[derive(Clone, PartialEq, Debug)]
pub enum Stage {
    /// Keeps the spans that satisfy conditions.
    Spans(SpansetExpr),
    /// Keeps the sets whose aggregate compares well: `count() > 2`.
    Scalar {
        /// What is computed.
        op: AggregateOp,
        /// Over what; `None` for `count`.
        field: Option<FieldExpr>,
        /// How it is compared.
        comparison: BinaryOp,
        /// With what: a literal, or arithmetic on literals.
        with: FieldExpr,
    },
    /// Splits sets by a value.
    By(FieldExpr),
    /// Joins all sets to one.
    Coalesce,
    /// Names attributes to answer with.
    Select(Vec<Attribute>),
}

/// Conditions on spans and on how they lie to each other.
#[derive(Clone, PartialEq, Debug)]
pub enum SpansetExpr {
    /// `{ … }`; `None` for `{}`.
    Filter(Option<FieldExpr>),
    /// A pipeline in parentheses.
    Pipeline(Vec<Stage>),
    /// Two of them together.
    Binary {
        /// How.
        op: SpansetOp,
        /// Left leg.
        left: Box<SpansetExpr>,
        /// Right leg.
        right: Box<SpansetExpr>,
    },
}

/// How two sets of spans are put together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpansetOp {
    /// Both are found in a trace.
    And,
    /// One is found in a trace.
    Or,
    /// Right spans that stand in a relation to a left one.
    Related(Relation),
    /// Right spans that do not.
    NotRelated(Relation),
    /// Right and left spans of such pairs.
    Union(Relation),
}

/// Where the right span lies, seen from the left one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// `>`: directly below.
    Child,
    /// `>>`: below.
    Descendant,
    /// `<`: directly above.
    Parent,
    /// `<<`: above.
    Ancestor,
    /// `~`: below the same parent.
    Sibling,
}

/// A value computed from a span.
#[derive(Clone, PartialEq, Debug)]
pub enum FieldExpr {
    /// Read from the span.
    Attribute(Attribute),
    /// A literal.
    Static(Static),
    /// `-a`.
    Negate(Box<FieldExpr>),
    /// `!a`.
    Not(Box<FieldExpr>),
    /// `a op b`.
    Binary {
        /// Which.
        op: BinaryOp,
        /// Left leg.
        left: Box<FieldExpr>,
        /// Right leg.
        right: Box<FieldExpr>,
    },
}

/// Where an attribute is looked up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// `.a`: on the span, then on its resource.
    Any,
    /// `span.a`
    Span,
    /// `resource.a`
    Resource,
    /// `event.a`: on any event.
    Event,
    /// `link.a`: on any link.
    Link,
    /// `instrumentation.a`
    Instrumentation,
}

macro_rules! attributes {
    ($($variant:ident = $first:literal $(| $other:literal)* : $doc:literal),+ $(,)?) => {
        /// Something that can be read from a span.
        #[derive(Clone, PartialEq, Eq, Hash, Debug)]
        pub enum Attribute {
            /// An attribute somebody set.
            Named {
                /// Where.
                scope: Scope,
                /// Under which name.
                name: String,
            },
            $(#[doc = $doc] $variant),+
        }

        impl Attribute {
            /// The attributes every span has.
            pub const INTRINSICS: &'static [Self] = &[$(Self::$variant),+];

            /// The intrinsic of that name, in either spelling.
            pub(super) fn intrinsic(word: &str) -> Option<Self> {
                match word {
                    $($first $(| $other)* => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The name, without the scope that a named one has.
            #[must_use]
            pub fn name(&self) -> &str {
                match self {
                    Self::Named { name, .. } => name,
                    $(Self::$variant => $first),+
                }
            }
        }
    };
}

attributes! {
    Name = "name" | "span:name": "The span's name.",
    Status = "status" | "span:status": "How the span ended.",
    StatusMessage = "statusMessage" | "span:statusMessage": "Why it failed.",
    Kind = "kind" | "span:kind": "Which side of a call it describes.",
    Duration = "duration" | "span:duration": "How long it took.",
    ChildCount = "childCount" | "span:childCount": "How many spans lie directly below.",
    RootName = "rootName" | "trace:rootName": "Name of the trace's root span.",
    RootServiceName = "rootServiceName" | "trace:rootService": "Service of the trace's root span.",
    TraceDuration = "traceDuration" | "trace:duration": "From the trace's first start to its last end.",
    TraceId = "trace:id": "The trace's identity.",
    SpanId = "span:id": "The span's identity.",
    ParentId = "span:parentID": "Identity of the span above.",
    NestedSetLeft = "nestedSetLeft": "Number on the way down the tree.",
    NestedSetRight = "nestedSetRight": "Number on the way up the tree.",
    NestedSetParent = "nestedSetParent": "`nestedSetLeft` of the span above, -1 for a root.",
    EventName = "event:name": "Names of the span's events.",
    EventTimeSinceStart = "event:timeSinceStart": "When the span's events happened, from its start.",
    LinkTraceId = "link:traceID": "Traces the span links to.",
    LinkSpanId = "link:spanID": "Spans the span links to.",
    InstrumentationName = "instrumentation:name": "Library that made the span.",
    InstrumentationVersion = "instrumentation:version": "Its version.",
}

/// A literal.
#[derive(Clone, PartialEq, Debug)]
pub enum Static {
    /// Absence.
    Nil,
    /// Truth.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Real number.
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    /// Text.
    Text(String),
    /// `ok`, `error`, `unset`.
    Status(SpanStatus),
    /// `server`, `client`, …
    Kind(SpanKind),
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[expect(missing_docs, reason = "each name is the word of the language it stands for")]
        pub enum $name { $($variant),+ }

        impl $name {
            /// As written.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            pub(super) fn from_word(word: &str) -> Option<Self> {
                [$(Self::$variant),+].into_iter().find(|op| op.as_str() == word)
            }
        }
    };
}

words! {
    /// What is computed over a set of spans.
    AggregateOp { Count = "count", Avg = "avg", Min = "min", Max = "max", Sum = "sum" }
}

words! {
    /// Operators between values.
    BinaryOp {
        Or = "||", And = "&&", Equal = "=", NotEqual = "!=", Regex = "=~", NotRegex = "!~", Less = "<",
        LessOrEqual = "<=", Greater = ">", GreaterOrEqual = ">=", Add = "+", Subtract = "-", Multiply = "*",
        Divide = "/", Modulo = "%", Power = "^",
    }
}

impl BinaryOp {
    /// How tightly it binds. `&&` and `||` bind alike, from left to right, as in Tempo.
    pub(super) fn strength(self) -> u8 {
        match self {
            Self::Or | Self::And => 1,
            Self::Equal
            | Self::NotEqual
            | Self::Regex
            | Self::NotRegex
            | Self::Less
            | Self::LessOrEqual
            | Self::Greater
            | Self::GreaterOrEqual => 2,
            Self::Add | Self::Subtract => 3,
            Self::Multiply | Self::Divide | Self::Modulo => 4,
            Self::Power => 5,
        }
    }

    /// Whether it yields a number from numbers.
    pub(super) fn is_arithmetic(self) -> bool {
        self.strength() > 2
    }

    /// Whether it compares by size or equality.
    pub(super) fn is_comparison(self) -> bool {
        self.strength() == 2 && !matches!(self, Self::Regex | Self::NotRegex)
    }
}

impl FieldExpr {
    /// Calls `with` for every attribute the value depends on.
    pub fn for_each_attribute(&self, with: &mut impl FnMut(&Attribute)) {
        match self {
            Self::Attribute(attribute) => with(attribute),
            Self::Static(_) => {}
            Self::Negate(inner) | Self::Not(inner) => inner.for_each_attribute(with),
            Self::Binary { left, right, .. } => {
                left.for_each_attribute(with);
                right.for_each_attribute(with);
            }
        }
    }

    /// Whether the value differs between spans.
    pub(super) fn reads_span(&self) -> bool {
        let mut reads = false;
        self.for_each_attribute(&mut |_| reads = true);
        reads
    }
}

impl Expr {
    /// Every attribute the query mentions, each once.
    #[must_use]
    pub fn attributes(&self) -> Vec<Attribute> {
        let mut found: Vec<Attribute> = Vec::new();
        in_stages(&self.stages, &mut |attribute| {
            if !found.contains(attribute) {
                found.push(attribute.clone());
            }
        });
        found
    }
}

fn in_stages(stages: &[Stage], with: &mut impl FnMut(&Attribute)) {
    for stage in stages {
        match stage {
            Stage::Spans(spans) => in_spanset(spans, with),
            Stage::Scalar { field, .. } => field.iter().for_each(|field| field.for_each_attribute(with)),
            Stage::By(field) => field.for_each_attribute(with),
            Stage::Coalesce => {}
            Stage::Select(attributes) => attributes.iter().for_each(&mut *with),
        }
    }
}

fn in_spanset(spans: &SpansetExpr, with: &mut impl FnMut(&Attribute)) {
    match spans {
        SpansetExpr::Filter(field) => field.iter().for_each(|field| field.for_each_attribute(with)),
        SpansetExpr::Pipeline(stages) => in_stages(stages, with),
        SpansetExpr::Binary { left, right, .. } => {
            in_spanset(left, with);
            in_spanset(right, with);
        }
    }
}
