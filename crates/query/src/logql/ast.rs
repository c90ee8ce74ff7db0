//! What a LogQL query is made of, and how it is written.

use std::fmt::{self, Display, Formatter};

use signal::Matcher;

use super::units::{format_duration, quote};

/// A parsed query.
#[derive(Clone, PartialEq, Debug)]
pub enum Expr {
    /// Asks for lines.
    Log(LogExpr),
    /// Asks for numbers made from lines.
    Metric(MetricExpr),
}

/// Streams and what is done with their lines.
#[derive(Clone, PartialEq, Debug)]
pub struct LogExpr {
    /// Which streams; at least one does not match the empty string.
    pub matchers: Vec<Matcher>,
    /// What is done with each line, in order.
    pub stages: Vec<Stage>,
}

/// One step of a pipeline.
#[derive(Clone, PartialEq, Debug)]
pub enum Stage {
    /// `|= "text"` and its kin; several terms are joined by `or`.
    Line {
        /// How to compare.
        op: LineOp,
        /// With what; never empty.
        terms: Vec<LineTerm>,
    },
    /// `| json`, with the wanted paths or none for all.
    Json(Vec<Extraction>),
    /// `| logfmt`.
    Logfmt {
        /// Stop at the first malformed pair.
        strict: bool,
        /// Keep keys without value.
        keep_empty: bool,
        /// Wanted keys, or none for all.
        wanted: Vec<Extraction>,
    },
    /// `| regexp "(?P<name>…)"`.
    Regexp(String),
    /// `| pattern "<name> …"`.
    Pattern(String),
    /// `| unpack`.
    Unpack,
    /// `| label > 5`.
    Filter(LabelFilter),
    /// `| line_format "{{.a}}"`.
    LineFormat(String),
    /// `| label_format a=b, c="{{.d}}"`.
    LabelFormat(Vec<(String, LabelSource)>),
    /// `| drop a, b="c"`.
    Drop(Vec<Pick>),
    /// `| keep a, b="c"`.
    Keep(Vec<Pick>),
    /// `| decolorize`.
    Decolorize,
}

/// How a line filter compares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineOp {
    /// `|=`
    Contains,
    /// `!=`
    NotContains,
    /// `|~`
    Matches,
    /// `!~`
    NotMatches,
    /// `|>`
    Pattern,
    /// `!>`
    NotPattern,
}

/// What a line is compared with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LineTerm {
    /// A text, regular expression or pattern.
    Text(String),
    /// `ip("10.0.0.0/8")`.
    Ip(String),
}

/// A label and where its value lies in the line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extraction {
    /// Label to set.
    pub label: String,
    /// Path or key.
    pub path: String,
}

/// Where `label_format` takes a value from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LabelSource {
    /// Renames a label.
    Label(String),
    /// Renders a template.
    Template(String),
}

/// A label, or a label with a certain value.
#[derive(Clone, PartialEq, Debug)]
pub enum Pick {
    /// By name.
    Name(String),
    /// By name and value.
    Match(Matcher),
}

/// A condition on labels.
#[derive(Clone, PartialEq, Debug)]
pub enum LabelFilter {
    /// All hold; two or more.
    And(Vec<LabelFilter>),
    /// One holds; two or more.
    Or(Vec<LabelFilter>),
    /// Compared as text.
    Text(Matcher),
    /// Compared as number, duration or size.
    Compare {
        /// Label name.
        label: String,
        /// How.
        op: Comparison,
        /// With what.
        with: Quantity,
    },
    /// Compared as IP address.
    Ip {
        /// Label name.
        label: String,
        /// `=` rather than `!=`.
        equal: bool,
        /// Address, network or range.
        pattern: String,
    },
}

/// How two numbers compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
}

/// A number with its kind.
#[derive(Clone, PartialEq, Debug)]
pub enum Quantity {
    /// Plain; as written, because a timestamp of 19 digits does not fit a float.
    Number(String),
    /// Nanoseconds.
    Duration(i64),
    /// Bytes.
    Bytes(u64),
}

/// A query that yields numbers.
#[derive(Clone, PartialEq, Debug)]
pub enum MetricExpr {
    /// A literal.
    Number(f64),
    /// `vector(1)`.
    Vector(f64),
    /// `rate({…}[5m])`.
    Range(Box<RangeExpr>),
    /// `sum by (a) (…)`.
    Aggregate {
        /// Which.
        op: AggregateOp,
        /// `k`.
        limit: Option<u32>,
        /// By what.
        grouping: Option<Grouping>,
        /// Over what.
        inner: Box<MetricExpr>,
    },
    /// `a + b`.
    Binary {
        /// Which.
        op: BinaryOp,
        /// `bool`.
        returns_bool: bool,
        /// `on`, `ignoring`, `group_left`, `group_right`.
        matching: Option<Matching>,
        /// Left leg.
        left: Box<MetricExpr>,
        /// Right leg.
        right: Box<MetricExpr>,
    },
    /// `label_replace(…)`.
    LabelReplace {
        /// Over what.
        inner: Box<MetricExpr>,
        /// Label to set.
        target: String,
        /// What to, with `$1`.
        replacement: String,
        /// Label to read.
        source: String,
        /// What it must match.
        pattern: String,
    },
}

/// A function over the lines of a moving window.
#[derive(Clone, PartialEq, Debug)]
pub struct RangeExpr {
    /// Which.
    pub op: RangeOp,
    /// The quantile.
    pub parameter: Option<f64>,
    /// Which lines.
    pub log: LogExpr,
    /// Which label is the value, when lines are not merely counted.
    pub unwrap: Option<Unwrap>,
    /// Window length in nanoseconds.
    pub range: i64,
    /// How far back the window lies, in nanoseconds.
    pub offset: i64,
    /// By what.
    pub grouping: Option<Grouping>,
}

/// `| unwrap duration(label) | filter`.
#[derive(Clone, PartialEq, Debug)]
pub struct Unwrap {
    /// Label that holds the value.
    pub label: String,
    /// How to read it.
    pub conversion: Conversion,
    /// Conditions checked afterwards.
    pub filters: Vec<LabelFilter>,
}

/// How an unwrapped label is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conversion {
    /// As a number.
    Number,
    /// `duration()`: as seconds.
    Duration,
    /// `duration_seconds()`: the same.
    DurationSeconds,
    /// `bytes()`.
    Bytes,
}

/// `by (…)` or `without (…)`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grouping {
    /// `without` rather than `by`.
    pub without: bool,
    /// Which labels.
    pub labels: Vec<String>,
}

/// How the series of two legs find each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Matching {
    /// `on` rather than `ignoring`.
    pub on: bool,
    /// Which labels.
    pub labels: Vec<String>,
    /// Which side may have several, and labels taken from the other.
    pub group: Option<Group>,
}

/// The many side of a match.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// `group_left` rather than `group_right`.
    pub left: bool,
    /// Labels copied from the one side.
    pub include: Vec<String>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[expect(missing_docs, reason = "each name is the word of the language it stands for")]
        pub enum $name { $($variant),+ }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As written.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            pub(super) fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|op| op.as_str() == word)
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Functions over a window of lines; their names say what they do.
    RangeOp {
        Rate = "rate", RateCounter = "rate_counter", CountOverTime = "count_over_time", BytesRate = "bytes_rate",
        BytesOverTime = "bytes_over_time", AbsentOverTime = "absent_over_time", SumOverTime = "sum_over_time",
        AvgOverTime = "avg_over_time", MinOverTime = "min_over_time", MaxOverTime = "max_over_time",
        StddevOverTime = "stddev_over_time", StdvarOverTime = "stdvar_over_time",
        QuantileOverTime = "quantile_over_time", FirstOverTime = "first_over_time", LastOverTime = "last_over_time",
    }
}

impl RangeOp {
    /// Whether a line counts as many as it has bytes, and not one.
    pub(crate) fn counts_bytes(self) -> bool {
        matches!(self, Self::BytesRate | Self::BytesOverTime)
    }
}

words! {
    /// Functions over the series of one instant; their names say what they do.
    AggregateOp {
        Sum = "sum", Avg = "avg", Min = "min", Max = "max", Count = "count", Stddev = "stddev", Stdvar = "stdvar",
        Topk = "topk", Bottomk = "bottomk", ApproxTopk = "approx_topk", Sort = "sort", SortDesc = "sort_desc",
    }
}

words! {
    /// Binary operators, named after what they compute.
    BinaryOp {
        Or = "or", And = "and", Unless = "unless", Equal = "==", NotEqual = "!=", Less = "<", LessOrEqual = "<=",
        Greater = ">", GreaterOrEqual = ">=", Add = "+", Subtract = "-", Multiply = "*", Divide = "/", Modulo = "%",
        Power = "^",
    }
}

impl BinaryOp {
    pub(super) fn is_set(self) -> bool {
        matches!(self, Self::Or | Self::And | Self::Unless)
    }

    pub(super) fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal | Self::NotEqual | Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual
        )
    }
}

impl Comparison {
    fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(log) => log.fmt(f),
            Self::Metric(metric) => metric.fmt(f),
        }
    }
}

impl Display for LogExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        joined(f, &self.matchers, ", ", write_matcher)?;
        f.write_str("}")?;
        for stage in &self.stages {
            write!(f, " {stage}")?;
        }
        Ok(())
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { op, terms } => {
                let sign = match op {
                    LineOp::Contains => "|=",
                    LineOp::NotContains => "!=",
                    LineOp::Matches => "|~",
                    LineOp::NotMatches => "!~",
                    LineOp::Pattern => "|>",
                    LineOp::NotPattern => "!>",
                };
                write!(f, "{sign} ")?;
                joined(f, terms, " or ", |f, term| match term {
                    LineTerm::Text(text) => f.write_str(&quote(text)),
                    LineTerm::Ip(pattern) => write!(f, "ip({})", quote(pattern)),
                })
            }
            Self::Json(wanted) => {
                f.write_str("| json")?;
                write_extractions(f, wanted)
            }
            Self::Logfmt { strict, keep_empty, wanted } => {
                f.write_str("| logfmt")?;
                f.write_str(if *strict { " --strict" } else { "" })?;
                f.write_str(if *keep_empty { " --keep-empty" } else { "" })?;
                write_extractions(f, wanted)
            }
            Self::Regexp(pattern) => write!(f, "| regexp {}", quote(pattern)),
            Self::Pattern(pattern) => write!(f, "| pattern {}", quote(pattern)),
            Self::Unpack => f.write_str("| unpack"),
            Self::Filter(filter) => write!(f, "| {filter}"),
            Self::LineFormat(template) => write!(f, "| line_format {}", quote(template)),
            Self::LabelFormat(formats) => {
                f.write_str("| label_format ")?;
                joined(f, formats, ",", |f, (label, source)| match source {
                    LabelSource::Label(from) => write!(f, "{label}={from}"),
                    LabelSource::Template(template) => write!(f, "{label}={}", quote(template)),
                })
            }
            Self::Drop(picks) => {
                f.write_str("| drop ")?;
                joined(f, picks, ",", |f, pick| pick.fmt(f))
            }
            Self::Keep(picks) => {
                f.write_str("| keep ")?;
                joined(f, picks, ",", |f, pick| pick.fmt(f))
            }
            Self::Decolorize => f.write_str("| decolorize"),
        }
    }
}

impl Display for Pick {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Match(matcher) => write_matcher(f, matcher),
        }
    }
}

impl Display for LabelFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let nested = |f: &mut Formatter<'_>, filter: &Self| match filter {
            Self::And(_) | Self::Or(_) => write!(f, "({filter})"),
            Self::Text(_) | Self::Compare { .. } | Self::Ip { .. } => filter.fmt(f),
        };
        match self {
            Self::And(filters) => joined(f, filters, " and ", nested),
            Self::Or(filters) => joined(f, filters, " or ", nested),
            Self::Text(matcher) => write_matcher(f, matcher),
            Self::Compare { label, op, with } => write!(f, "{label}{}{with}", op.as_str()),
            Self::Ip { label, equal, pattern } => {
                write!(f, "{label}{}ip({})", if *equal { "=" } else { "!=" }, quote(pattern))
            }
        }
    }
}

impl Display for Quantity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(text) => f.write_str(text),
            Self::Duration(nanos) => f.write_str(&format_duration(*nanos)),
            Self::Bytes(bytes) => write!(f, "{bytes}B"),
        }
    }
}

impl Display for MetricExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(value) => write!(f, "{value}"),
            Self::Vector(value) => write!(f, "vector({value})"),
            Self::Range(range) => range.fmt(f),
            Self::Aggregate { op, limit, grouping, inner } => {
                write!(f, "{op}")?;
                if let Some(grouping) = grouping {
                    write!(f, " {grouping} ")?;
                }
                match limit {
                    Some(limit) => write!(f, "({limit}, {inner})"),
                    None => write!(f, "({inner})"),
                }
            }
            Self::Binary { op, returns_bool, matching, left, right } => {
                write!(f, "({left} {op} ")?;
                if *returns_bool {
                    f.write_str("bool ")?;
                }
                if let Some(matching) = matching {
                    write!(f, "{matching} ")?;
                }
                write!(f, "{right})")
            }
            Self::LabelReplace { inner, target, replacement, source, pattern } => {
                let (target, replacement) = (quote(target), quote(replacement));
                let (source, pattern) = (quote(source), quote(pattern));
                write!(f, "label_replace({inner}, {target}, {replacement}, {source}, {pattern})")
            }
        }
    }
}

impl Display for RangeExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.op)?;
        if let Some(parameter) = self.parameter {
            write!(f, "{parameter}, ")?;
        }
        write!(f, "{}", self.log)?;
        if let Some(unwrap) = &self.unwrap {
            match unwrap.conversion {
                Conversion::Number => write!(f, " | unwrap {}", unwrap.label)?,
                Conversion::Duration => write!(f, " | unwrap duration({})", unwrap.label)?,
                Conversion::DurationSeconds => write!(f, " | unwrap duration_seconds({})", unwrap.label)?,
                Conversion::Bytes => write!(f, " | unwrap bytes({})", unwrap.label)?,
            }
            for filter in &unwrap.filters {
                write!(f, " | {filter}")?;
            }
        }
        write!(f, " [{}]", format_duration(self.range))?;
        if self.offset != 0 {
            write!(f, " offset {}", format_duration(self.offset))?;
        }
        f.write_str(")")?;
        match &self.grouping {
            Some(grouping) => write!(f, " {grouping}"),
            None => Ok(()),
        }
    }
}

impl Display for Grouping {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", if self.without { "without" } else { "by" }, self.labels.join(", "))
    }
}

impl Display for Matching {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", if self.on { "on" } else { "ignoring" }, self.labels.join(", "))?;
        if let Some(group) = &self.group {
            write!(f, " {} ({})", if group.left { "group_left" } else { "group_right" }, group.include.join(", "))?;
        }
        Ok(())
    }
}

fn joined<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    between: &str,
    write: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            f.write_str(between)?;
        }
        write(f, item)?;
    }
    Ok(())
}

fn write_matcher(f: &mut Formatter<'_>, matcher: &Matcher) -> fmt::Result {
    write!(f, "{}{}{}", matcher.name, matcher.op, quote(&matcher.value))
}

fn write_extractions(f: &mut Formatter<'_>, wanted: &[Extraction]) -> fmt::Result {
    if wanted.is_empty() {
        return Ok(());
    }
    f.write_str(" ")?;
    joined(f, wanted, ",", |f, one| write!(f, "{}={}", one.label, quote(&one.path)))
}
