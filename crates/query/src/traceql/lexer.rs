//! TraceQL text to tokens.

use super::ast::{Attribute, Scope};
use crate::logql::units::{parse_duration, unescape};

/// One token.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token {
    Op(&'static str),
    Attribute(Attribute),
    /// `parent.…`, which no store of ours can answer.
    Parent,
    Word(String),
    Text(String),
    Int(i64),
    Float(f64),
    Duration(i64),
    /// What cannot be read, with the reason; always last.
    Broken(String),
    End,
}

/// A token and the byte it begins at.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) at: usize,
}

const OPERATORS: [&str; 35] = [
    "&>>", "&<<", "!>>", "!<<", ">>", "<<", ">=", "<=", "!=", "=~", "!~", "&&", "||", "&>", "&<", "&~", "!>", "!<",
    "{", "}", "(", ")", ",", "|", "=", ">", "<", "~", "!", "+", "-", "*", "/", "%", "^",
];

const SCOPES: [(&str, Scope); 6] = [
    ("span.", Scope::Span),
    ("resource.", Scope::Resource),
    ("event.", Scope::Event),
    ("link.", Scope::Link),
    ("instrumentation.", Scope::Instrumentation),
    (".", Scope::Any),
];

/// Whether an attribute's name may hold the character without quotes.
pub(super) fn is_attribute_char(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !"{}()[]\"`?=~!<>&|^,\\".contains(c)
}

/// Splits a query; the last token is `End` or `Broken`.
pub(super) fn lex(text: &str) -> Vec<Placed> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let at = text.len() - rest.len();
        if rest.is_empty() {
            tokens.push(Placed { token: Token::End, at });
            return tokens;
        }
        if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.find('\n').and_then(|end| comment.get(end..)).unwrap_or_default();
            continue;
        }
        let (token, tail) = next(rest);
        let broken = matches!(token, Token::Broken(_));
        tokens.push(Placed { token, at });
        if broken {
            return tokens;
        }
        rest = tail;
    }
}

fn next(rest: &str) -> (Token, &str) {
    let broken = |reason: &str| (Token::Broken(reason.to_owned()), "");
    let first = rest.chars().next().unwrap_or_default();
    if first == '"' || first == '`' {
        return match text(rest) {
            Ok((value, tail)) => (Token::Text(value), tail),
            Err(reason) => broken(&reason),
        };
    }
    let starts_fraction = rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    if first.is_ascii_digit() || (first == '.' && starts_fraction) {
        return number(rest);
    }
    if rest.starts_with("parent.") {
        let end = rest.find(|c| !is_attribute_char(c)).unwrap_or(rest.len());
        return (Token::Parent, rest.get(end..).unwrap_or_default());
    }
    for (prefix, scope) in SCOPES {
        if let Some(name) = rest.strip_prefix(prefix) {
            return match attribute(name) {
                Ok((name, tail)) => (Token::Attribute(Attribute::Named { scope, name }), tail),
                Err(reason) => broken(&reason),
            };
        }
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        let (word, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let token = match word {
            "parent" => Token::Parent,
            _ => Attribute::intrinsic(word).map_or_else(|| Token::Word(word.to_owned()), Token::Attribute),
        };
        return (token, tail);
    }
    match OPERATORS.iter().find(|operator| rest.starts_with(**operator)) {
        Some(operator) => (Token::Op(operator), rest.get(operator.len()..).unwrap_or_default()),
        None => broken(&format!("unexpected character {first:?}")),
    }
}

/// A quoted text and what follows.
fn text(rest: &str) -> Result<(String, &str), String> {
    let unclosed = || "literal not terminated".to_owned();
    if let Some(body) = rest.strip_prefix('`') {
        return body.split_once('`').map(|(value, tail)| (value.to_owned(), tail)).ok_or_else(unclosed);
    }
    let body = rest.get(1..).unwrap_or_default();
    let mut escaped = false;
    for (at, byte) in body.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => {
                let (value, tail) = body.split_at_checked(at).ok_or_else(unclosed)?;
                let value = unescape(value).ok_or_else(|| "invalid char escape".to_owned())?;
                return Ok((value, tail.get(1..).unwrap_or_default()));
            }
            _ => {}
        }
    }
    Err(unclosed())
}

/// The name of an attribute, parts of which may be quoted.
fn attribute(text_after_scope: &str) -> Result<(String, &str), String> {
    let mut name = String::new();
    let mut rest = text_after_scope;
    while let Some(c) = rest.chars().next() {
        if c == '"' {
            let (part, tail) = text(rest)?;
            name.push_str(&part);
            rest = tail;
        } else if is_attribute_char(c) {
            name.push(c);
            rest = rest.strip_prefix(c).unwrap_or_default();
        } else {
            break;
        }
    }
    if name.is_empty() { Err("expected the name of an attribute after the point".to_owned()) } else { Ok((name, rest)) }
}

fn number(rest: &str) -> (Token, &str) {
    let run = rest.find(|c: char| !(c.is_alphanumeric() || c == '.')).unwrap_or(rest.len());
    let (whole, tail) = rest.split_at_checked(run).unwrap_or((rest, ""));
    if whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return match whole.parse() {
            Ok(value) => (Token::Int(value), tail),
            Err(_) => (Token::Broken(format!("number out of range: {whole}")), ""),
        };
    }
    if let Ok(nanos) = parse_duration(whole) {
        return (Token::Duration(nanos), tail);
    }
    // An exponent may carry a sign, which ended the run.
    let signed = whole.ends_with(['e', 'E']) && tail.starts_with(['+', '-']);
    let digits = tail.bytes().skip(1).take_while(u8::is_ascii_digit).count();
    let length = if signed { run + 1 + digits } else { run };
    let (whole, tail) = rest.split_at_checked(length).unwrap_or((rest, ""));
    match whole.parse::<f64>() {
        Ok(value) if value.is_finite() => (Token::Float(value), tail),
        _ => (Token::Broken(format!("not a number: {whole}")), ""),
    }
}
