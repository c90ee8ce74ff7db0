//! A log query over lines as they come, one by one.

use signal::{Labels, LogLine, Matcher, Nanos, all_match};

use super::ast::Expr;
use super::pipeline::Pipeline;

/// A log query that is ready to look at lines one after the other; share it behind a reference.
pub struct LineRunner {
    matchers: Vec<Matcher>,
    pipeline: Pipeline,
}

/// Why a query cannot look at lines.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineRunnerError {
    /// A metric query.
    #[error("a metric query has no lines; ask for a log query")]
    NoLines,
    /// A stage that does not compile; impossible for what [`parse`](super::parse) accepted.
    #[error("{reason}")]
    Stage {
        /// Why.
        reason: String,
    },
}

/// What the stages left of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptLine {
    /// When.
    pub at: Nanos,
    /// The text as the stages left it.
    pub line: String,
    /// All labels together.
    pub labels: Labels,
    /// Those of the stored stream that are left.
    pub stream: Labels,
    /// Those from structured metadata.
    pub structured: Labels,
    /// Those the pipeline made, `__error__` among them.
    pub parsed: Labels,
}

impl LineRunner {
    /// Prepares a log query. `now` is what the template function of that name answers.
    ///
    /// # Errors
    /// [`LineRunnerError`].
    pub fn new(expr: &Expr, now: Nanos) -> Result<Self, LineRunnerError> {
        let Expr::Log(log) = expr else { return Err(LineRunnerError::NoLines) };
        let pipeline = Pipeline::new(&log.stages, now).map_err(|reason| LineRunnerError::Stage { reason })?;
        Ok(Self { matchers: log.matchers.clone(), pipeline })
    }

    /// Whether the query asks for lines of this stream at all.
    #[must_use]
    pub fn wants(&self, stream: &Labels) -> bool {
        all_match(&self.matchers, stream)
    }

    /// What is left of a line of a wanted stream; `None` when a filter refuses it.
    #[must_use]
    pub fn run(&self, stream: &Labels, line: &LogLine) -> Option<KeptLine> {
        let entry = self.pipeline.run(stream, line.into())?;
        let labels = entry.sorted();
        Some(KeptLine {
            at: entry.at,
            line: entry.line.into_owned(),
            labels: labels.all,
            stream: labels.stream,
            structured: labels.structured,
            parsed: labels.parsed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logql::parse;

    fn line(text: &str) -> LogLine {
        LogLine { at: Nanos(7), line: text.to_owned(), metadata: Labels::from_pairs([("pod", "a")]) }
    }

    #[test]
    fn lines_pass_as_in_a_query() {
        let stream = Labels::from_pairs([("job", "api")]);
        for (query, text, want) in [
            (r#"{job="api"}"#, "x", Some(("x", r#"job="api" pod="a""#))),
            (r#"{job="api"} |= "y""#, "x", None),
            (
                r#"{job="api"} | json | level="error" | line_format "{{.level}}!""#,
                r#"{"level":"error"}"#,
                Some(("error!", r#"job="api" level="error" pod="a""#)),
            ),
            (r#"{job="api"} | json | level="error""#, r#"{"level":"info"}"#, None),
        ] {
            let runner = LineRunner::new(&parse(query).unwrap(), Nanos(0)).unwrap();
            assert!(runner.wants(&stream), "{query}");
            let kept = runner.run(&stream, &line(text)).map(|kept| {
                let labels: Vec<String> = kept.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
                (kept.line, labels.join(" "))
            });
            assert_eq!(kept, want.map(|(line, labels)| (line.to_owned(), labels.to_owned())), "{query}");
        }
        let other = LineRunner::new(&parse(r#"{job="web"}"#).unwrap(), Nanos(0)).unwrap();
        assert!(!other.wants(&stream));
        let metric = parse(r#"rate({job="api"}[1m])"#).unwrap();
        assert_eq!(LineRunner::new(&metric, Nanos(0)).err(), Some(LineRunnerError::NoLines));
    }
}
