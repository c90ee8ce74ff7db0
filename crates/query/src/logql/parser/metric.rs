//! Functions, aggregations and operators.

use signal::go_regex;

use super::pipeline::float;
use super::{MAX_DEPTH, ParseError, Parser, meaning};
use crate::logql::ast::{
    AggregateOp, BinaryOp, Conversion, Expr, Group, Grouping, LabelFilter, LogExpr, Matching, MetricExpr, RangeExpr,
    RangeOp, Stage, Unwrap,
};
use crate::logql::lexer::Token;

/// What stands inside the parentheses of a range function, while it is being read.
struct Window {
    log: LogExpr,
    unwrap: Option<Unwrap>,
    range: Option<i64>,
    offset: Option<i64>,
}

impl Parser {
    /// An expression whose operators bind at least as tightly as `weakest`.
    pub(super) fn expr(&mut self, weakest: u8) -> Result<Expr, ParseError> {
        self.nested(|parser| {
            let mut left = parser.primary()?;
            let mut chained = 0;
            while let Some((op, strength)) = parser.binary_op() {
                if strength < weakest {
                    break;
                }
                chained += 1;
                if chained > MAX_DEPTH {
                    return Err(meaning(format!(
                        "more than {MAX_DEPTH} operators in a row; use parentheses or regular expressions"
                    )));
                }
                parser.bump();
                let (returns_bool, matching) = parser.modifiers()?;
                let right = parser.expr(if op == BinaryOp::Power { strength } else { strength + 1 })?;
                left = Expr::Metric(binary(op, returns_bool, matching, left, right)?);
            }
            Ok(left)
        })
    }

    fn binary_op(&self) -> Option<(BinaryOp, u8)> {
        let op = match self.peek() {
            Token::Ident(word) => BinaryOp::from_word(&word.to_lowercase())?,
            Token::Op(op) => BinaryOp::from_word(op)?,
            Token::Str(_)
            | Token::Number(_)
            | Token::Duration(_)
            | Token::Bytes(_)
            | Token::Range(_)
            | Token::Flag(_)
            | Token::Other
            | Token::Broken(_)
            | Token::End => return None,
        };
        let strength = match op {
            BinaryOp::Or => 1,
            BinaryOp::And | BinaryOp::Unless => 2,
            BinaryOp::Equal
            | BinaryOp::NotEqual
            | BinaryOp::Less
            | BinaryOp::LessOrEqual
            | BinaryOp::Greater
            | BinaryOp::GreaterOrEqual => 3,
            BinaryOp::Add | BinaryOp::Subtract => 4,
            BinaryOp::Multiply | BinaryOp::Divide | BinaryOp::Modulo => 5,
            BinaryOp::Power => 6,
        };
        Some((op, strength))
    }

    fn modifiers(&mut self) -> Result<(bool, Option<Matching>), ParseError> {
        let returns_bool = self.eat_word("bool");
        let on = self.eat_word("on");
        if !on && !self.eat_word("ignoring") {
            return Ok((returns_bool, None));
        }
        let labels = self.label_list()?;
        let left = self.eat_word("group_left");
        let group = if left || self.eat_word("group_right") {
            let include = if self.is_op("(") { self.label_list()? } else { Vec::new() };
            Some(Group { left, include })
        } else {
            None
        };
        Ok((returns_bool, Some(Matching { on, labels, group })))
    }

    fn label_list(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect("(")?;
        let mut labels = Vec::new();
        while !self.eat(")") {
            if !labels.is_empty() && !self.eat(",") {
                return Err(self.unexpected(") or ,"));
            }
            labels.push(self.label(if labels.is_empty() { "IDENTIFIER or )" } else { "IDENTIFIER" })?);
        }
        Ok(labels)
    }

    fn primary(&mut self) -> Result<Expr, ParseError> {
        match self.peek().clone() {
            Token::Op("{") => self.log().map(Expr::Log),
            Token::Op("(") => {
                self.bump();
                let inner = self.expr(0)?;
                if self.eat(")") { Ok(inner) } else { Err(self.unexpected("")) }
            }
            Token::Op("-" | "+") | Token::Number(_) => {
                self.number().map(|value| Expr::Metric(MetricExpr::Number(value)))
            }
            Token::Ident(word) => {
                let word = word.to_lowercase();
                let called = matches!(self.peek_after(1), Token::Op("("));
                let grouped = self.groups_next();
                if called && let Some(op) = RangeOp::from_word(&word) {
                    self.bump();
                    return self.range_function(op).map(|range| Expr::Metric(MetricExpr::Range(Box::new(range))));
                }
                if (called || grouped)
                    && let Some(op) = AggregateOp::from_word(&word)
                {
                    self.bump();
                    return self.aggregation(op).map(Expr::Metric);
                }
                match word.as_str() {
                    "vector" if called => {
                        self.bump();
                        self.bump();
                        if !matches!(self.peek(), Token::Number(_) | Token::Op("-" | "+")) {
                            return Err(self.unexpected("NUMBER"));
                        }
                        let value = self.number()?;
                        self.expect(")")?;
                        Ok(Expr::Metric(MetricExpr::Vector(value)))
                    }
                    "label_replace" if called => {
                        self.bump();
                        self.label_replace().map(Expr::Metric)
                    }
                    _ => Err(self.unexpected("")),
                }
            }
            Token::Str(_)
            | Token::Duration(_)
            | Token::Bytes(_)
            | Token::Range(_)
            | Token::Flag(_)
            | Token::Op(_)
            | Token::Other
            | Token::Broken(_)
            | Token::End => Err(self.unexpected("")),
        }
    }

    fn number(&mut self) -> Result<f64, ParseError> {
        let negative = self.eat("-");
        if !negative {
            self.eat("+");
        }
        let Token::Number(text) = self.peek() else {
            return Err(self.unexpected("NUMBER"));
        };
        let value = float(text)?;
        self.bump();
        Ok(if negative { -value } else { value })
    }

    /// A metric expression; a log expression where one is needed fails at the token after it, as in Loki.
    fn metric(&mut self) -> Result<MetricExpr, ParseError> {
        match self.expr(0)? {
            Expr::Metric(metric) => Ok(metric),
            Expr::Log(_) => Err(self.unexpected("")),
        }
    }

    fn label_replace(&mut self) -> Result<MetricExpr, ParseError> {
        self.expect("(")?;
        let inner = Box::new(self.metric()?);
        let mut argument = || {
            self.expect(",")?;
            self.string("STRING")
        };
        let (target, replacement, source, pattern) = (argument()?, argument()?, argument()?, argument()?);
        self.expect(")")?;
        go_regex::compile(&format!("^(?:{pattern})$"))
            .map_err(|reason| meaning(format!("invalid regex in label_replace: {reason}")))?;
        Ok(MetricExpr::LabelReplace { inner, target, replacement, source, pattern })
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = self.is_word("without");
        if !without && !self.is_word("by") {
            return Ok(None);
        }
        self.bump();
        let labels = self.label_list()?;
        Ok(Some(Grouping { without, labels }))
    }

    fn aggregation(&mut self, op: AggregateOp) -> Result<MetricExpr, ParseError> {
        let mut grouping = self.grouping()?;
        self.expect("(")?;
        let parameter = match (self.peek(), self.peek_after(1)) {
            (Token::Number(text), Token::Op(",")) => Some(text.clone()),
            _ => None,
        };
        if parameter.is_some() {
            self.bump();
            self.bump();
        }
        let inner = Box::new(self.metric()?);
        // An operator could follow as well, which Loki finds too much to list.
        if !self.eat(")") {
            return Err(self.unexpected(""));
        }
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let limit = match op {
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::ApproxTopk => {
                let text = parameter.ok_or_else(|| meaning(format!("parameter required for operation {op}")))?;
                let limit: i64 = text.parse().map_err(|_| meaning(format!("invalid parameter {op}({text},")))?;
                if limit <= 0 {
                    return Err(meaning(format!("invalid parameter (must be greater than 0) {op}({text}")));
                }
                Some(u32::try_from(limit).unwrap_or(u32::MAX))
            }
            AggregateOp::Sum
            | AggregateOp::Avg
            | AggregateOp::Min
            | AggregateOp::Max
            | AggregateOp::Count
            | AggregateOp::Stddev
            | AggregateOp::Stdvar
            | AggregateOp::Sort
            | AggregateOp::SortDesc => match parameter {
                Some(text) => return Err(meaning(format!("unsupported parameter for operation {op}({text},"))),
                None => None,
            },
        };
        match op {
            AggregateOp::Sort | AggregateOp::SortDesc if grouping.is_some() => {
                Err(meaning("sort and sort_desc doesn't allow grouping by"))
            }
            AggregateOp::ApproxTopk if grouping.is_some() => {
                Err(meaning("grouping not allowed for approx_topk aggregation"))
            }
            _ => Ok(MetricExpr::Aggregate { op, limit, grouping, inner }),
        }
    }

    fn range_function(&mut self, op: RangeOp) -> Result<RangeExpr, ParseError> {
        self.expect("(")?;
        let parameter = match self.peek() {
            Token::Number(text) => {
                let value = float(text)?;
                self.bump();
                self.expect(",")?;
                Some(value)
            }
            Token::Op("{" | "(") => None,
            _ => return Err(self.unexpected("NUMBER or { or (")),
        };
        let window = self.window()?;
        let Some(range) = window.range else {
            return Err(self.unexpected(if window.unwrap.is_some() { "RANGE or |" } else { "" }));
        };
        self.expect(")")?;
        let grouping = self.grouping()?;
        match (op, parameter) {
            (RangeOp::QuantileOverTime, None) => return Err(meaning(format!("parameter required for operation {op}"))),
            (RangeOp::QuantileOverTime, Some(_)) | (_, None) => {}
            (_, Some(value)) => return Err(meaning(format!("parameter {value} not supported for operation {op}"))),
        }
        let (with_unwrap, without_unwrap, groups) = abilities(op);
        if grouping.is_some() && !groups {
            return Err(meaning(format!("grouping not allowed for {op} aggregation")));
        }
        if window.unwrap.is_some() && !with_unwrap {
            return Err(meaning(format!("invalid aggregation {op} with unwrap")));
        }
        if window.unwrap.is_none() && !without_unwrap {
            return Err(meaning(format!("invalid aggregation {op} without unwrap")));
        }
        let offset = window.offset.unwrap_or(0);
        Ok(RangeExpr { op, parameter, log: window.log, unwrap: window.unwrap, range, offset, grouping })
    }

    /// The range may stand before or after the pipeline, inside or outside of parentheses.
    fn window(&mut self) -> Result<Window, ParseError> {
        let mut window = if self.eat("(") {
            let inner = self.nested(Self::window)?;
            self.expect(")")?;
            inner
        } else {
            let log = LogExpr { matchers: self.selector()?, stages: Vec::new() };
            Window { log, unwrap: None, range: None, offset: None }
        };
        loop {
            if let Token::Range(nanos) = self.peek()
                && window.range.is_none()
            {
                window.range = Some(*nanos);
                self.bump();
            } else if self.is_word("offset") && window.range.is_some() && window.offset.is_none() {
                self.bump();
                let negative = self.eat("-");
                let Token::Duration(nanos) = self.peek() else {
                    return Err(self.unexpected("DURATION"));
                };
                window.offset = Some(if negative { -*nanos } else { *nanos });
                self.bump();
            } else if self.is_op("|")
                && matches!(self.peek_after(1), Token::Ident(word) if word.eq_ignore_ascii_case("unwrap"))
                && window.unwrap.is_none()
            {
                self.bump();
                self.bump();
                window.unwrap = Some(self.unwrap()?);
            } else if self.at_stage() && (window.unwrap.is_none() || self.is_op("|")) {
                match &mut window.unwrap {
                    None => window.log.stages.push(self.stage()?),
                    Some(unwrap) => {
                        let at = self.at;
                        self.bump();
                        // Loki does not compile what follows `unwrap` until it runs.
                        let Stage::Filter(filter) = self.piped()? else {
                            self.at = at;
                            return Err(self.unexpected("RANGE or |"));
                        };
                        unwrap.filters.push(filter);
                    }
                }
            } else {
                return Ok(window);
            }
        }
    }

    fn unwrap(&mut self) -> Result<Unwrap, ParseError> {
        let conversion = match (self.peek(), self.peek_after(1)) {
            (Token::Ident(word), Token::Op("(")) => match word.as_str() {
                "duration" => Some(Conversion::Duration),
                "duration_seconds" => Some(Conversion::DurationSeconds),
                "bytes" => Some(Conversion::Bytes),
                _ => None,
            },
            _ => None,
        };
        let label = match conversion {
            Some(_) => {
                self.bump();
                self.bump();
                let label = self.label("IDENTIFIER")?;
                self.expect(")")?;
                label
            }
            None => self.label("IDENTIFIER")?,
        };
        if self.is_op("(") {
            return Err(self.unexpected("RANGE or |"));
        }
        let filters: Vec<LabelFilter> = Vec::new();
        Ok(Unwrap { label, conversion: conversion.unwrap_or(Conversion::Number), filters })
    }
}

/// Whether a function works with `unwrap`, without it, and with grouping.
fn abilities(op: RangeOp) -> (bool, bool, bool) {
    match op {
        RangeOp::Rate | RangeOp::AbsentOverTime => (true, true, false),
        RangeOp::RateCounter | RangeOp::SumOverTime => (true, false, false),
        RangeOp::CountOverTime | RangeOp::BytesRate | RangeOp::BytesOverTime => (false, true, false),
        RangeOp::AvgOverTime
        | RangeOp::MinOverTime
        | RangeOp::MaxOverTime
        | RangeOp::StddevOverTime
        | RangeOp::StdvarOverTime
        | RangeOp::QuantileOverTime
        | RangeOp::FirstOverTime
        | RangeOp::LastOverTime => (true, false, true),
    }
}

fn binary(
    op: BinaryOp,
    returns_bool: bool,
    matching: Option<Matching>,
    left: Expr,
    right: Expr,
) -> Result<MetricExpr, ParseError> {
    let left = leg(op, "left", left)?;
    let right = leg(op, "right", right)?;
    Ok(MetricExpr::Binary { op, returns_bool, matching, left: Box::new(left), right: Box::new(right) })
}

fn leg(op: BinaryOp, side: &str, expr: Expr) -> Result<MetricExpr, ParseError> {
    let metric = match expr {
        Expr::Metric(metric) => metric,
        Expr::Log(log) => {
            let kind = if log.stages.is_empty() { "*syntax.MatchersExpr" } else { "*syntax.PipelineExpr" };
            return Err(meaning(format!("unexpected type for {side} leg of binary operation ({op}): {kind}")));
        }
    };
    match &metric {
        MetricExpr::Number(value) if op.is_set() => Err(meaning(format!(
            "unexpected literal for {side} leg of logical/set binary operation ({op}): {value:.6}"
        ))),
        _ => Ok(metric),
    }
}
