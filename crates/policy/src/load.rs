//! Reading policy files: every problem at once, each with its place.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use cedar_policy::{Effect, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;
use serde::Serialize;

/// Annotations that mean something. Any other is refused: a misspelt `@ask` would permit without asking.
const ANNOTATIONS: [&str; 3] = ["id", "ask", "description"];

/// One thing wrong with one policy file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Problem {
    /// File name as given.
    pub file: String,
    /// Line, from 1; 0 when the place is not known.
    pub line: usize,
    /// Column in characters, from 1; 0 when the place is not known.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Why policies cannot be used. Nothing is loaded then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The policies are wrong.
    #[error("{}", lines(.0))]
    Policies(Vec<Problem>),
    /// The schema is wrong.
    #[error("policy schema: {0}")]
    Schema(String),
}

impl LoadError {
    /// Every problem found, in the order of files and places; empty for a wrong schema.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Policies(problems) => problems,
            Self::Schema(_) => &[],
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}:{}: {}", self.file, self.column, self.message),
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// What came out of policy files that are right.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) policies: PolicySet,
    /// Policy name to the group that must agree.
    pub(crate) asks: BTreeMap<String, String>,
    pub(crate) warnings: Vec<Problem>,
}

struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn problem(&self, error: &dyn Diagnostic, message: String) -> Problem {
        let offset = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
        let (line, column) = offset.and_then(|offset| self.text.get(..offset)).map_or((0, 0), |before| {
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            let column = before.get(line_start..).map_or(0, |text| text.chars().count());
            (before.matches('\n').count() + 1, column + 1)
        });
        Problem { file: self.file.to_owned(), line, column, message }
    }

    /// The place of the `nth` policy's text is not told by the parser; its name is enough there.
    fn unplaced(&self, message: String) -> Problem {
        Problem { file: self.file.to_owned(), line: 0, column: 0, message }
    }
}

/// Parses, names and validates all files against the schema.
pub(crate) fn load(schema: &Schema, sources: &[(&str, &str)]) -> Result<Loaded, LoadError> {
    let mut problems = Vec::new();
    let mut loaded = Loaded { policies: PolicySet::new(), asks: BTreeMap::new(), warnings: Vec::new() };
    let mut files: BTreeMap<String, Source<'_>> = BTreeMap::new();
    for &(file, text) in sources {
        let source = Source { file, text };
        match PolicySet::from_str(text) {
            Ok(set) => add(&set, &source, &mut loaded, &mut files, &mut problems),
            Err(errors) => problems.extend(errors.iter().map(|error| source.problem(error, told(error, true)))),
        }
    }
    let result = Validator::new(schema.clone()).validate(&loaded.policies, ValidationMode::Strict);
    let place = |id: &PolicyId, error: &dyn Diagnostic, message: String| match files.get(AsRef::<str>::as_ref(id)) {
        Some(source) => source.problem(error, message),
        None => Problem { file: String::new(), line: 0, column: 0, message },
    };
    problems.extend(result.validation_errors().map(|error| place(error.policy_id(), error, told(error, false))));
    loaded
        .warnings
        .extend(result.validation_warnings().map(|error| place(error.policy_id(), error, told(error, false))));
    if !problems.is_empty() {
        problems.sort();
        // The validator repeats a mistake for every action the policy is about; the first tells it all.
        problems.dedup_by(|next, kept| next == kept || (next.line > 0 && place_of(next) == place_of(kept)));
        return Err(LoadError::Policies(problems));
    }
    loaded.warnings.sort();
    Ok(loaded)
}

fn place_of(problem: &Problem) -> (&str, usize, usize) {
    (&problem.file, problem.line, problem.column)
}

fn add<'a>(
    set: &PolicySet,
    source: &Source<'a>,
    loaded: &mut Loaded,
    files: &mut BTreeMap<String, Source<'a>>,
    problems: &mut Vec<Problem>,
) {
    if set.templates().next().is_some() {
        problems.push(source.unplaced("templates with `?principal` or `?resource` are not supported".to_owned()));
    }
    // The parser numbers the policies of a text `policy0`, `policy1`, …
    let mut numbered: Vec<(usize, &cedar_policy::Policy)> = set
        .policies()
        .map(|policy| {
            (AsRef::<str>::as_ref(policy.id()).trim_start_matches("policy").parse().unwrap_or(usize::MAX), policy)
        })
        .collect();
    numbered.sort_by_key(|(number, _)| *number);
    for (at, (_, policy)) in numbered.into_iter().enumerate() {
        let name = policy.annotation("id").map_or_else(|| format!("{}#{}", source.file, at + 1), str::to_owned);
        for (key, _) in policy.annotations().filter(|(key, _)| !ANNOTATIONS.contains(key)) {
            let known = ANNOTATIONS.map(|name| format!("`@{name}`")).join(", ");
            problems.push(source.unplaced(format!("policy `{name}`: unknown annotation `@{key}`; known are {known}")));
        }
        if let Some(group) = policy.annotation("ask") {
            if policy.effect() == Effect::Forbid || group.is_empty() {
                problems
                    .push(source.unplaced(format!("policy `{name}`: `@ask` belongs on a permit and names who to ask")));
            }
            loaded.asks.insert(name.clone(), group.to_owned());
        }
        if loaded.policies.add(policy.new_id(PolicyId::new(&name))).is_err() {
            problems.push(source.unplaced(format!("policy `{name}`: another policy has the same `@id`")));
            continue;
        }
        files.insert(name, Source { ..*source });
    }
}

/// The error's sentence with what was expected and Cedar's advice.
fn told(error: &dyn Diagnostic, with_label: bool) -> String {
    let mut text = error.to_string();
    let label = error.labels().and_then(|mut labels| labels.next()).and_then(|label| label.label().map(str::to_owned));
    if let Some(label) = label.filter(|label| with_label && !text.contains(label.as_str())) {
        text.push_str(&format!(" ({label})"));
    }
    if let Some(help) = error.help() {
        text.push_str(&format!("; {help}"));
    }
    text
}
