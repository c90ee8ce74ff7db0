//! What a rule asks, in one of two languages.

use std::fmt;
use std::sync::Arc;

use query::{logql, promql};

/// The language of a rule's expression and of its templates' queries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Language {
    /// PromQL, about metrics.
    #[default]
    Metrics,
    /// LogQL, about logs; only what gives numbers.
    Logs,
}

/// A question that can be asked.
#[derive(Clone, PartialEq, Debug)]
pub enum Question {
    /// PromQL.
    Metrics(Arc<promql::Expr>),
    /// LogQL that gives numbers.
    Logs(Arc<logql::Expr>),
}

impl Question {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with it, in the words of its language.
    pub fn parse(language: Language, text: &str) -> Result<Self, String> {
        match language {
            Language::Metrics => {
                promql::parse(text).map(|expr| Self::Metrics(Arc::new(expr))).map_err(|error| error.to_string())
            }
            Language::Logs => match logql::parse(text).map_err(|error| error.to_string())? {
                logql::Expr::Log(_) => Err("a rule needs numbers, and a log query gives lines".to_owned()),
                expr @ logql::Expr::Metric(_) => Ok(Self::Logs(Arc::new(expr))),
            },
        }
    }

    pub(crate) fn language(&self) -> Language {
        match self {
            Self::Metrics(_) => Language::Metrics,
            Self::Logs(_) => Language::Logs,
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metrics(expr) => expr.fmt(f),
            Self::Logs(expr) => expr.fmt(f),
        }
    }
}
