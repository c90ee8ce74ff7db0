//! Go templates of `line_format` and `label_format`.

mod functions;
mod names;
mod time;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use gotmpl::Value;
use signal::Nanos;

use super::Entry;

/// How deep parentheses and blocks of a template may nest; its parser recurses without a limit of its own.
const MAX_DEPTH: usize = 100;
/// How long a rendered line may become, in bytes.
const MAX_OUTPUT: usize = 4 << 20;

/// A compiled template.
pub(crate) enum Template {
    /// Nothing but text and plain `{{.label}}`: rendered without the engine.
    Plain(Vec<Piece>),
    /// Everything else.
    Full(Box<Full>),
}

pub(crate) enum Piece {
    Text(String),
    Label(String),
}

pub(crate) struct Full {
    template: gotmpl::Template,
    /// Labels the text mentions: a missing one prints as nothing, not as `<no value>`.
    mentioned: Vec<Arc<str>>,
    /// Whether the text uses all labels at once.
    whole: bool,
    current: Arc<Mutex<Current>>,
}

/// What the functions `__line__`, `__timestamp__` and `now` answer.
#[derive(Clone, Default)]
struct Current {
    line: Arc<str>,
    at: Nanos,
    now: Nanos,
}

impl Template {
    pub(super) fn new(name: &str, text: &str) -> Result<Self, String> {
        if let Some(pieces) = plain(text) {
            return Ok(Self::Plain(pieces));
        }
        check_depth(text)?;
        let current = Arc::new(Mutex::new(Current::default()));
        let functions = functions::all(&current);
        let names = names::Names::of(text).map_err(|error| without_column(name, &error.to_string()))?;
        let known: Vec<&str> = functions.iter().map(|(name, _)| *name).collect();
        if let Some(unknown) = names.unknown_function(&known) {
            return Err(format!("template: {name}:1: function \"{unknown}\" not defined"));
        }
        let template = functions
            .into_iter()
            .fold(gotmpl::Template::new(name).max_range_iters(100_000), |template, (name, function)| {
                template.func(name, move |arguments| function(arguments))
            });
        let template = template.parse(text).map_err(|error| without_column(name, &error.to_string()))?;
        Ok(Self::Full(Box::new(Full { template, mentioned: names.labels, whole: names.whole, current })))
    }

    /// The labels a template reads; `None` when it may read any, also when it does not compile.
    pub(super) fn labels_read(text: &str) -> Option<Vec<String>> {
        let names = names::Names::of(text).ok()?;
        (!names.whole).then(|| names.labels.iter().map(|label| label.to_string()).collect())
    }

    /// Fills in the labels of a line.
    pub(super) fn render(&self, entry: &Entry<'_>, now: Nanos) -> Result<String, String> {
        match self {
            Self::Plain(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    text.push_str(match piece {
                        Piece::Text(text) => text,
                        Piece::Label(name) => entry.get(name).unwrap_or_default(),
                    });
                }
                Ok(text)
            }
            Self::Full(full) => full.render(entry, now),
        }
    }
}

impl Full {
    fn render(&self, entry: &Entry<'_>, now: Nanos) -> Result<String, String> {
        let current = Current { line: Arc::from(&*entry.line), at: entry.at, now };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
        let mut fields: BTreeMap<Arc<str>, Value> = BTreeMap::new();
        if self.whole {
            entry.for_each(|name, value| {
                fields.insert(Arc::from(name), Value::String(Arc::from(value)));
            });
        }
        for name in &self.mentioned {
            fields.insert(name.clone(), Value::String(Arc::from(entry.get(name).unwrap_or_default())));
        }
        let mut output = Capped(String::new());
        self.template.execute_fmt(&mut output, &Value::Map(Arc::new(fields))).map_err(|error| error.to_string())?;
        Ok(output.0)
    }
}

/// Text that refuses to grow beyond all measure.
struct Capped(String);

impl std::fmt::Write for Capped {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if self.0.len() + text.len() > MAX_OUTPUT {
            return Err(std::fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

fn plain(text: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (action, tail) = after.split_once("}}")?;
        let label = action.trim_matches(' ').strip_prefix('.')?;
        let starts = label.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts || !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return None;
        }
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(Piece::Label(label.to_owned()));
        rest = tail;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Some(pieces)
}

fn check_depth(text: &str) -> Result<(), String> {
    let (mut parentheses, mut blocks) = (0_usize, 0_usize);
    for (at, c) in text.char_indices() {
        match c {
            '(' => parentheses += 1,
            ')' => parentheses = parentheses.saturating_sub(1),
            '{' => {
                let word = text
                    .get(at..)
                    .and_then(|rest| rest.strip_prefix("{{"))
                    .map(|rest| rest.trim_start_matches(['-', ' ', '\t', '\n', '\r']));
                let Some(word) = word else { continue };
                if ["if", "with", "range", "block", "define", "else"].iter().any(|open| word.starts_with(open)) {
                    blocks += 1;
                } else if word.starts_with("end") {
                    blocks = blocks.saturating_sub(1);
                }
            }
            _ => {}
        }
        if parentheses > MAX_DEPTH || blocks > MAX_DEPTH {
            return Err(format!("template: nested deeper than {MAX_DEPTH} levels"));
        }
    }
    Ok(())
}

/// `template: 1:7: …` to `template: line:1: …`, as Go writes errors of parsing.
fn without_column(name: &str, message: &str) -> String {
    let rest = message.strip_prefix("template: ").unwrap_or(message);
    let rest = rest.strip_prefix(name).and_then(|rest| rest.strip_prefix(':')).unwrap_or(rest);
    match rest.splitn(3, ':').collect::<Vec<_>>().as_slice() {
        [line, column, rest] if line.parse::<usize>().is_ok() && column.parse::<usize>().is_ok() => {
            format!("template: {name}:{line}:{rest}")
        }
        _ => format!("template: {name}: {rest}"),
    }
}
