//! The stages of a pipeline.

use signal::MatchOp;

use super::{ParseError, Parser, matcher, meaning};
use crate::logql::ast::{Comparison, Extraction, LabelFilter, LabelSource, LineOp, LineTerm, Pick, Quantity, Stage};
use crate::logql::lexer::Token;
use crate::logql::pipeline::compile_stage;
use crate::logql::units::read_float;

impl Parser {
    /// Whether a stage begins here.
    pub(super) fn at_stage(&self) -> bool {
        matches!(self.peek(), Token::Op("|" | "|=" | "!=" | "|~" | "!~" | "|>" | "!>"))
    }

    pub(super) fn stage(&mut self) -> Result<Stage, ParseError> {
        let stage = if self.eat("|") { self.piped()? } else { self.line_filter()? };
        // What does not compile is refused here; the message names the stage, except where Loki's does not.
        if let Err(reason) = compile_stage(&stage) {
            return Err(match &stage {
                Stage::Regexp(_) => meaning(format!("invalid regexp parser: {reason}")),
                Stage::Pattern(_) => meaning(format!("invalid pattern parser: {reason}")),
                Stage::Line { .. }
                | Stage::Json(_)
                | Stage::Logfmt { .. }
                | Stage::Unpack
                | Stage::Filter(_)
                | Stage::LineFormat(_)
                | Stage::LabelFormat(_)
                | Stage::Drop(_)
                | Stage::Keep(_)
                | Stage::Decolorize => meaning(format!("stage '{stage}' : {reason}")),
            });
        }
        Ok(stage)
    }

    fn line_filter(&mut self) -> Result<Stage, ParseError> {
        let op = match self.peek() {
            Token::Op("|=") => LineOp::Contains,
            Token::Op("!=") => LineOp::NotContains,
            Token::Op("|~") => LineOp::Matches,
            Token::Op("!~") => LineOp::NotMatches,
            Token::Op("|>") => LineOp::Pattern,
            Token::Op("!>") => LineOp::NotPattern,
            _ => return Err(self.unexpected("")),
        };
        self.bump();
        let mut terms = vec![self.line_term()?];
        while self.eat_word("or") {
            terms.push(self.line_term()?);
        }
        Ok(Stage::Line { op, terms })
    }

    fn line_term(&mut self) -> Result<LineTerm, ParseError> {
        if self.is_word("ip") && matches!(self.peek_after(1), Token::Op("(")) {
            return self.ip().map(LineTerm::Ip);
        }
        self.string("STRING or ip").map(LineTerm::Text)
    }

    fn ip(&mut self) -> Result<String, ParseError> {
        self.bump();
        self.expect("(")?;
        let pattern = self.string("STRING")?;
        self.expect(")")?;
        Ok(pattern)
    }

    pub(super) fn piped(&mut self) -> Result<Stage, ParseError> {
        let word = match self.peek() {
            Token::Ident(word) => word.to_lowercase(),
            Token::Op("(") => return self.label_filter().map(Stage::Filter),
            _ => return Err(self.unexpected("")),
        };
        match word.as_str() {
            "json" => {
                self.bump();
                self.extractions().map(Stage::Json)
            }
            "logfmt" => {
                self.bump();
                let (mut strict, mut keep_empty) = (false, false);
                while let Token::Flag(flag) = self.peek() {
                    match flag.as_str() {
                        "strict" => strict = true,
                        "keep-empty" => keep_empty = true,
                        _ => return Err(self.unexpected("")),
                    }
                    self.bump();
                }
                let wanted = self.extractions()?;
                Ok(Stage::Logfmt { strict, keep_empty, wanted })
            }
            "regexp" => {
                self.bump();
                self.string("STRING").map(Stage::Regexp)
            }
            "pattern" => {
                self.bump();
                self.string("STRING").map(Stage::Pattern)
            }
            "unpack" => {
                self.bump();
                Ok(Stage::Unpack)
            }
            "line_format" => {
                self.bump();
                self.string("STRING").map(Stage::LineFormat)
            }
            "label_format" => {
                self.bump();
                self.label_formats().map(Stage::LabelFormat)
            }
            "drop" => {
                self.bump();
                self.picks().map(Stage::Drop)
            }
            "keep" => {
                self.bump();
                self.picks().map(Stage::Keep)
            }
            "decolorize" => {
                self.bump();
                Ok(Stage::Decolorize)
            }
            _ if self.is_label() => self.label_filter().map(Stage::Filter),
            _ => Err(self.unexpected("")),
        }
    }

    /// `a, b="path"`; may be absent altogether.
    fn extractions(&mut self) -> Result<Vec<Extraction>, ParseError> {
        let mut wanted = Vec::new();
        if !self.is_label() {
            return Ok(wanted);
        }
        loop {
            let label = self.label("IDENTIFIER")?;
            let path = if self.eat("=") { self.string("STRING")? } else { label.clone() };
            wanted.push(Extraction { label, path });
            if !self.eat(",") {
                return Ok(wanted);
            }
        }
    }

    fn label_formats(&mut self) -> Result<Vec<(String, LabelSource)>, ParseError> {
        let mut formats = Vec::new();
        loop {
            let label = self.label("IDENTIFIER")?;
            self.expect("=")?;
            let source = match self.peek() {
                Token::Str(template) => {
                    let template = template.clone();
                    self.bump();
                    LabelSource::Template(template)
                }
                _ => LabelSource::Label(self.label("STRING or IDENTIFIER")?),
            };
            formats.push((label, source));
            if !self.eat(",") {
                return Ok(formats);
            }
        }
    }

    fn picks(&mut self) -> Result<Vec<Pick>, ParseError> {
        let mut picks = Vec::new();
        loop {
            let name = self.label("IDENTIFIER")?;
            let op = match self.peek() {
                Token::Op("=") => Some(MatchOp::Equal),
                Token::Op("!=") => Some(MatchOp::NotEqual),
                Token::Op("=~") => Some(MatchOp::Regex),
                Token::Op("!~") => Some(MatchOp::NotRegex),
                _ => None,
            };
            // `drop a != "text"` is a label condition for Loki too, never a line filter.
            picks.push(match op {
                Some(op) => {
                    self.bump();
                    let value = self.string("STRING")?;
                    Pick::Match(matcher(&name, op, &value)?)
                }
                None => Pick::Name(name),
            });
            if !self.eat(",") {
                return Ok(picks);
            }
        }
    }

    /// Conditions joined by `or`, which binds weaker than `and`, the comma and mere neighbourhood.
    pub(super) fn label_filter(&mut self) -> Result<LabelFilter, ParseError> {
        self.nested(|parser| {
            let mut filters = Vec::new();
            loop {
                match parser.label_filter_all()? {
                    LabelFilter::Or(inner) => filters.extend(inner),
                    other => filters.push(other),
                }
                if !parser.eat_word("or") {
                    return Ok(one_or(filters, LabelFilter::Or));
                }
            }
        })
    }

    fn label_filter_all(&mut self) -> Result<LabelFilter, ParseError> {
        let mut filters = Vec::new();
        loop {
            match self.label_filter_one()? {
                LabelFilter::And(inner) => filters.extend(inner),
                other => filters.push(other),
            }
            let joined = self.eat_word("and") || self.eat(",");
            if !joined && !self.is_label() && !self.is_op("(") {
                return Ok(one_or(filters, LabelFilter::And));
            }
        }
    }

    fn label_filter_one(&mut self) -> Result<LabelFilter, ParseError> {
        if self.eat("(") {
            let filter = self.label_filter()?;
            self.expect(")")?;
            return Ok(filter);
        }
        let label = self.label("IDENTIFIER or (")?;
        let Token::Op(op) = *self.peek() else {
            return Err(self.unexpected(""));
        };
        let (text_op, comparison) = match op {
            "=" => (Some(MatchOp::Equal), Some(Comparison::Equal)),
            "!=" => (Some(MatchOp::NotEqual), Some(Comparison::NotEqual)),
            "=~" => (Some(MatchOp::Regex), None),
            "!~" => (Some(MatchOp::NotRegex), None),
            "==" => (None, Some(Comparison::Equal)),
            ">" => (None, Some(Comparison::Greater)),
            ">=" => (None, Some(Comparison::GreaterOrEqual)),
            "<" => (None, Some(Comparison::Less)),
            "<=" => (None, Some(Comparison::LessOrEqual)),
            _ => return Err(self.unexpected("")),
        };
        self.bump();
        if let Some(text_op) = text_op {
            if let Token::Str(value) = self.peek() {
                let value = value.clone();
                self.bump();
                return matcher(&label, text_op, &value).map(LabelFilter::Text);
            }
            let is_ip = self.is_word("ip") && matches!(self.peek_after(1), Token::Op("("));
            if comparison.is_some() && is_ip {
                let pattern = self.ip()?;
                return Ok(LabelFilter::Ip { label, equal: text_op == MatchOp::Equal, pattern });
            }
        }
        let Some(op) = comparison else {
            return Err(self.unexpected("STRING"));
        };
        let with = self.quantity()?;
        Ok(LabelFilter::Compare { label, op, with })
    }

    fn quantity(&mut self) -> Result<Quantity, ParseError> {
        let negative = self.eat("-");
        if !negative {
            self.eat("+");
        }
        let quantity = match self.peek() {
            Token::Number(text) => {
                float(text)?;
                Quantity::Number(format!("{}{text}", if negative { "-" } else { "" }))
            }
            Token::Duration(nanos) => Quantity::Duration(if negative { -*nanos } else { *nanos }),
            Token::Bytes(bytes) if !negative => Quantity::Bytes(*bytes),
            _ => return Err(self.unexpected("")),
        };
        self.bump();
        Ok(quantity)
    }
}

fn one_or(mut filters: Vec<LabelFilter>, join: fn(Vec<LabelFilter>) -> LabelFilter) -> LabelFilter {
    match (filters.len(), filters.pop()) {
        (1, Some(only)) => only,
        (_, Some(last)) => {
            filters.push(last);
            join(filters)
        }
        (_, None) => join(filters),
    }
}

/// A number literal as Go's `ParseFloat` takes it.
pub(super) fn float(text: &str) -> Result<f64, ParseError> {
    read_float(text).map_err(|reason| meaning(format!("unable to parse literal as a float: {reason}")))
}
