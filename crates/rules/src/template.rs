//! Templates of labels and annotations: Go's text/template with Prometheus' functions (upstream: template/template.go).
//!
//! The engine is `gotmpl`. What it lacks is put in its way before it runs: a missing label is the empty text, not
//! `<no value>`, so every look into a map becomes a call of [`GET`]; numbers look as Go prints them, so what an action
//! writes goes through [`ACTION`]; and unknown names are found when the template is read, as in Go, not when it runs.

mod functions;
mod humanize;
mod print;
mod rewrite;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gotmpl::Value;
use gotmpl::parse::Parser;
use query::promql::native::buckets;
use signal::{Histogram, Labels, Timestamp};

use crate::ask::{Ask, Element, Reading};
use crate::group::Surroundings;
use crate::question::{Language, Question};

/// How deep parentheses and blocks of a template may nest; its parser recurses without a limit of its own.
const MAX_DEPTH: usize = 100;
/// How long an expanded text may become, in bytes.
const MAX_OUTPUT: usize = 1 << 20;
/// Rounds of all loops of one template.
const MAX_ROUNDS: u64 = 100_000;
/// Different queries that the templates of one rule may ask at one evaluation.
const MAX_QUERIES: usize = 1000;
/// Names that people may use; upstream puts the same in front of every text.
const NAMES: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                     {{$externalURL := .ExternalURL}}{{$value := .Value}}";
/// The function that looks into maps.
const GET: &str = "__get";
/// The function that prints what an action gives.
const ACTION: &str = "__print";

/// A label's or annotation's text, ready to be filled in.
pub(crate) struct Template {
    name: String,
    body: Body,
}

enum Body {
    /// Without any action.
    Plain(String),
    Actions {
        engine: Box<gotmpl::Template>,
        shared: Arc<Mutex<Shared>>,
    },
    /// The error that the text gives every time.
    Broken(String),
}

/// What functions can reach while a template runs.
#[derive(Default)]
struct Shared {
    now: Timestamp,
    external_url: String,
    /// Answers so far, by text.
    answers: BTreeMap<String, Result<Value, String>>,
    /// The query that was missed.
    missed: Option<String>,
}

/// The queries asked by the templates of one rule at one evaluation: each is asked once.
pub(crate) struct Queries<'a> {
    now: Timestamp,
    language: Language,
    surroundings: &'a Surroundings,
    answers: BTreeMap<String, Result<Value, String>>,
}

impl<'a> Queries<'a> {
    pub(crate) fn new(now: Timestamp, language: Language, surroundings: &'a Surroundings) -> Self {
        Self { now, language, surroundings, answers: BTreeMap::new() }
    }

    fn ask(&mut self, text: String, ask: &mut dyn Ask) {
        let question = Question::parse(self.language, &text);
        let answer = question.and_then(|question| ask.vector(&question, self.now));
        self.answers.insert(text, answer.map(|found| Value::List(found.iter().map(sample).collect())));
    }
}

/// What a template is told of one element: the fields of upstream's `AlertTemplateData`.
pub(crate) fn data(element: &Element, surroundings: &Surroundings) -> Value {
    let external = surroundings.external_labels.iter();
    map([
        ("Labels", labels(&element.labels)),
        (
            "ExternalLabels",
            Value::Map(Arc::new(external.map(|(name, value)| (name.as_str().into(), text(value))).collect())),
        ),
        ("ExternalURL", text(&surroundings.external_url)),
        ("Value", reading(&element.reading)),
    ])
}

fn sample(element: &Element) -> Value {
    map([("Labels", labels(&element.labels)), ("Value", reading(&element.reading))])
}

fn labels(labels: &Labels) -> Value {
    Value::Map(Arc::new(labels.iter().map(|(name, value)| (Arc::from(name), text(value))).collect()))
}

fn reading(reading: &Reading) -> Value {
    match reading {
        Reading::Number(value) => Value::Float(*value),
        Reading::Histogram(histogram) => text(&histogram_text(histogram)),
    }
}

/// A native histogram as upstream prints it: `{count:3, sum:4, (0.5,1]:3}`.
fn histogram_text(histogram: &Histogram) -> String {
    let number = |value: f64| humanize::general(value, None);
    let mut out = format!("{{count:{}, sum:{}", number(histogram.count), number(histogram.sum));
    for bucket in buckets(histogram).into_iter().filter(|bucket| bucket.count != 0.0) {
        let (open, close) = (if bucket.has_lower { '[' } else { '(' }, if bucket.has_upper { ']' } else { ')' });
        let (lower, upper, count) = (number(bucket.lower), number(bucket.upper), number(bucket.count));
        out.push_str(&format!(", {open}{lower},{upper}{close}:{count}"));
    }
    out.push('}');
    out
}

fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(Arc::new(fields.into_iter().map(|(name, value)| (Arc::from(name), value)).collect()))
}

fn text(value: &str) -> Value {
    Value::String(Arc::from(value))
}

impl Template {
    /// A template of the alert called `alert`. A text that cannot be read expands to its error.
    pub(crate) fn new(alert: &str, text: &str) -> Self {
        let name = format!("__alert_{alert}");
        let body = if text.contains("{{") {
            compile(&name, text).unwrap_or_else(|error| Body::Broken(format!("error parsing template {name}: {error}")))
        } else {
            Body::Plain(text.to_owned())
        };
        Self { name, body }
    }

    /// Whether `text` can be read.
    pub(crate) fn check(alert: &str, text: &str) -> Result<(), String> {
        compile(&format!("__alert_{alert}"), text).map(|_| ())
    }

    /// The text with everything filled in, or upstream's remark that it could not be.
    pub(crate) fn expand(&self, data: &Value, queries: &mut Queries<'_>, ask: &mut dyn Ask) -> String {
        let failed = |error: &str| format!("<error expanding template: {error}>");
        match &self.body {
            Body::Plain(text) => text.clone(),
            Body::Broken(error) => failed(error),
            Body::Actions { engine, shared } => run(engine, shared, data, queries, ask)
                .unwrap_or_else(|error| failed(&format!("error executing template {}: {error}", self.name))),
        }
    }
}

/// Runs the template until no query is missed: functions of the engine cannot ask, so they note what they need.
fn run(
    engine: &gotmpl::Template,
    shared: &Mutex<Shared>,
    data: &Value,
    queries: &mut Queries<'_>,
    ask: &mut dyn Ask,
) -> Result<String, String> {
    loop {
        *lock(shared) = Shared {
            now: queries.now,
            external_url: queries.surroundings.external_url.clone(),
            answers: queries.answers.clone(),
            missed: None,
        };
        let mut output = Capped(String::new());
        let outcome = engine.execute_template_fmt(&mut output, engine.name(), data);
        match lock(shared).missed.take() {
            Some(_) if queries.answers.len() >= MAX_QUERIES => {
                return Err(format!("more than {MAX_QUERIES} different queries"));
            }
            Some(query) => queries.ask(query, ask),
            None => {
                return outcome.map(|()| output.0).map_err(|error| {
                    let text = error.to_string();
                    text.strip_prefix("execution error: ").unwrap_or(&text).to_owned()
                });
            }
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn compile(name: &str, text: &str) -> Result<Body, String> {
    check_blocks(text).map_err(|reason| format!("template: {name}: {reason}"))?;
    let source = format!("{NAMES}{text}");
    let parsed = Parser::with_name(Some(name), &source, "{{", "}}").and_then(Parser::parse);
    let (mut body, defines) = parsed.map_err(|error| error.to_string())?;
    let shared = Arc::new(Mutex::new(Shared::default()));
    let functions = functions::all(&shared);
    let mut rewriter = rewrite::Rewriter::new(functions.iter().map(|(name, _)| *name).collect());
    rewriter.body(&mut body);
    let mut engine = gotmpl::Template::new(name).max_range_iters(MAX_ROUNDS);
    for mut define in defines {
        rewriter.body(&mut define.body);
        engine = engine.add_parse_tree(&define.name, define.body);
    }
    if let Some((line, mistake)) = rewriter.mistake() {
        return Err(format!("template: {name}:{line}: {mistake}"));
    }
    engine = engine.add_parse_tree(name, body);
    for (name, function) in functions {
        engine = engine.func(name, move |given| function(given));
    }
    Ok(Body::Actions { engine: Box::new(engine), shared })
}

/// Refuses what the engine's parser would follow too deep, or forgive: a block without its end.
fn check_blocks(text: &str) -> Result<(), String> {
    let (mut blocks, mut elses) = (0_usize, 0_usize);
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("{{") {
        let action = after.trim_start_matches(['-', ' ', '\t', '\n', '\r']);
        let length = action.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(action.len());
        match action.get(..length).unwrap_or_default() {
            "if" | "with" | "range" | "block" | "define" => blocks += 1,
            "else" => elses += 1,
            "end" => blocks = blocks.checked_sub(1).ok_or("unexpected {{end}}")?,
            _ => {}
        }
        let (parentheses, tail) = skip_action(after);
        if blocks > MAX_DEPTH || elses > 2 * MAX_DEPTH || parentheses > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        rest = tail;
    }
    if blocks > 0 { Err("unexpected EOF: a block has no {{end}}".to_owned()) } else { Ok(()) }
}

/// How deep an action's parentheses nest, and what follows its end.
fn skip_action(text: &str) -> (usize, &str) {
    let (mut open, mut deepest) = (0_usize, 0);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(tail) = rest.strip_prefix("}}") {
            return (deepest, tail);
        }
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, tail)| tail);
            continue;
        }
        rest = rest.strip_prefix(c).unwrap_or_default();
        match c {
            '(' => open += 1,
            ')' => open = open.saturating_sub(1),
            '"' | '\'' | '`' => rest = skip_quoted(c, rest),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    (deepest, rest)
}

fn skip_quoted(quote: char, text: &str) -> &str {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return text.get(at + 1..).unwrap_or_default();
        }
        if c == '\\' && quote != '`' {
            chars.next();
        }
    }
    ""
}

/// Text that refuses to grow beyond all measure.
struct Capped(String);

impl fmt::Write for Capped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MAX_OUTPUT {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
