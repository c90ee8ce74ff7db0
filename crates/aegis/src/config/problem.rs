//! What is wrong with a configuration, and where.

use std::fmt;

use serde_saphyr::Spanned;

/// One thing that is wrong, with its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Problem {
    file: String,
    line: u64,
    column: u64,
    message: String,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read {file}")]
    Unreadable {
        file: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{}", join(.0))]
    Problems(Vec<Problem>),
}

/// Collects problems while values are checked.
#[derive(Debug)]
pub(super) struct Problems {
    file: String,
    found: Vec<Problem>,
}

impl Problem {
    pub(super) fn of_yaml(file: &str, error: &serde_saphyr::Error) -> Self {
        let place = error.location();
        let rendered = error.without_snippet().to_string();
        // The place stands in front already.
        let message = rendered.split(" at line ").next().unwrap_or(&rendered).to_owned();
        Self {
            file: file.to_owned(),
            line: place.map_or(1, |place| place.line()),
            column: place.map_or(1, |place| place.column()),
            message,
        }
    }
}

impl Problems {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), found: Vec::new() }
    }

    /// Notes that the value at this place is not allowed.
    pub(super) fn add<T>(&mut self, at: &Spanned<T>, message: impl Into<String>) {
        let place = at.referenced;
        self.found.push(Problem {
            file: self.file.clone(),
            line: place.line(),
            column: place.column(),
            message: message.into(),
        });
    }

    /// Notes what is wrong in another file: all that `check` finds.
    pub(super) fn in_file<T>(&mut self, file: &str, check: impl FnOnce(&mut Self) -> T) -> T {
        let own = std::mem::replace(&mut self.file, file.to_owned());
        let checked = check(self);
        self.file = own;
        checked
    }

    /// Notes that the file of now is not YAML of the right shape.
    pub(super) fn add_yaml(&mut self, error: &serde_saphyr::Error) {
        let problem = Problem::of_yaml(&self.file, error);
        self.found.push(problem);
    }

    /// Takes over what is wrong with a rule file; its problems have places of their own.
    pub(super) fn of_rules(&mut self, error: rules::RuleFileError) {
        self.found.extend(error.problems.into_iter().map(|problem| Problem {
            file: problem.file,
            line: problem.line,
            column: problem.column,
            message: problem.message,
        }));
    }

    pub(super) fn finish<T>(self, value: T) -> Result<T, ConfigError> {
        let mut found = self.found;
        // As somebody reads the file.
        let own = &self.file;
        found.sort_by(|a, b| {
            let place = |problem: &Problem| (problem.file != *own, problem.file.clone(), problem.line, problem.column);
            place(a).cmp(&place(b))
        });
        if found.is_empty() { Ok(value) } else { Err(ConfigError::Problems(found)) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

fn join(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
