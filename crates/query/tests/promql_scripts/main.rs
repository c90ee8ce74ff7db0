//! Runs the PromQL scripts in `tests/scripts`, in the syntax of Prometheus' own promqltest scripts:
//!
//! ```text
//! load 30s
//!   requests{job="a"} 0+10x20 stale
//!   sizes {{schema:0 count:3 sum:4 buckets:[1 2]}}x10
//!
//! eval instant at 5m rate(requests[1m])
//!   expect no_warn
//!   {job="a"} 0.333333
//!
//! eval range from 0 to 1m step 30s requests
//!   requests{job="a"} 0 10 20
//!
//! eval instant at 0 sum(
//!   expect fail msg: 1:5: parse error: unclosed left parenthesis
//! ```
//!
//! `PROMQL_SCRIPTS=folder cargo test -p aegis-query --test promql_scripts` runs the scripts of another folder instead,
//! with all that Prometheus keeps behind flags, as its own scripts expect it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aegis_query::Cancel;
use aegis_query::promql::{self, Answer, Settings, Steps, Value};
use signal::{HistogramSample, Labels, Sample, SeriesWrite, Timestamp, WriteBatch};
use store::{Series, Store};

mod classic;
mod compare;
mod notation;

use compare::Point;
use notation::{expected, millis, sequence, series, when};

#[test]
fn every_script_holds() {
    let foreign = std::env::var("PROMQL_SCRIPTS").ok();
    let settings = Settings {
        delayed_name_removal: foreign.is_some(),
        type_and_unit_labels: foreign.is_some(),
        ..Settings::default()
    };
    let folder = foreign.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts"), PathBuf::from);
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    paths.sort();
    assert!(!paths.is_empty());
    let (mut failures, mut cases) = (String::new(), 0);
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut runner = Runner { store: Store::in_memory(), settings, cases: 0, failures: String::new() };
        runner.run(&std::fs::read_to_string(&path).unwrap());
        cases += runner.cases;
        let failed = runner.failures.matches("\nline ").count();
        if failed > 0 {
            write!(failures, "\n{name}: {failed} of {} cases failed{}\n", runner.cases, runner.failures).unwrap();
        }
    }
    let failed = failures.matches("\nline ").count();
    assert!(failures.is_empty(), "{failed} of {cases} cases failed\n{failures}");
}

struct Runner {
    store: Store,
    settings: Settings,
    cases: usize,
    failures: String,
}

/// What an `eval` says about its answer.
#[derive(Default)]
pub(crate) struct Expected {
    series: Vec<(Labels, Vec<Option<Point>>)>,
    scalar: Option<f64>,
    text: Option<String>,
    ordered: bool,
    fails: bool,
    /// Start and step of a range vector.
    grid: Option<(i64, i64)>,
    message: Vec<Wanted>,
    warnings: Vec<Wanted>,
    infos: Vec<Wanted>,
    no_warnings: bool,
    no_infos: bool,
}

/// A text that has to come.
#[derive(Debug)]
pub(crate) enum Wanted {
    Any,
    Text(String),
    /// A pattern for Go's engine; ours reads it as well.
    Pattern(String),
}

pub(crate) enum When {
    At(Timestamp),
    Over(Steps),
}

impl Runner {
    fn run(&mut self, script: &str) {
        let lines: Vec<(usize, &str)> = script
            .lines()
            .map(|line| if line.trim().starts_with('#') { "" } else { line.trim() })
            .enumerate()
            .map(|(index, line)| (index + 1, line))
            .collect();
        for block in lines.split(|(_, line)| line.is_empty()).filter(|block| !block.is_empty()) {
            // A block may hold several commands; what belongs to one follows it.
            let mut rest = block;
            while let [(number, first), tail @ ..] = rest {
                let length = tail.iter().take_while(|(_, line)| !is_command(line)).count();
                let (body, next) = tail.split_at(length);
                let body: Vec<&str> = body.iter().map(|(_, line)| *line).collect();
                self.command(*number, first, &body);
                rest = next;
            }
        }
    }

    fn command(&mut self, number: usize, line: &str, body: &[&str]) {
        if line.starts_with("clear") {
            self.store = Store::in_memory();
        } else if let Some(step) = line.strip_prefix("load_with_nhcb ") {
            self.load(step, body, true);
        } else if let Some(step) = line.strip_prefix("load ") {
            self.load(step, body, false);
        } else {
            self.cases += 1;
            if let Err(message) = self.eval(line, body) {
                write!(self.failures, "\nline {number}: {line}\n    {}", message.replace('\n', "\n    ")).unwrap();
            }
        }
    }

    fn load(&mut self, step: &str, body: &[&str], with_native: bool) {
        let step = millis(step.trim());
        let mut loaded: Vec<(Labels, Vec<Option<Point>>)> = Vec::new();
        for line in body {
            let (labels, values) = series(line);
            // Written twice, the last one counts.
            loaded.retain(|(other, _)| *other != labels);
            loaded.push((labels, sequence(values)));
        }
        if with_native {
            loaded.extend(classic::to_native(&loaded));
        }
        let mut batch = WriteBatch::default();
        for (labels, points) in loaded {
            let (mut samples, mut histograms) = (Vec::new(), Vec::new());
            for (index, point) in points.into_iter().enumerate() {
                let at = Timestamp(step * i64::try_from(index).unwrap());
                match point {
                    Some(Point::Float(value)) => samples.push(Sample { at, value }),
                    Some(Point::Histogram(histogram)) => histograms.push(HistogramSample { at, histogram }),
                    None => {}
                }
            }
            batch.series.push(SeriesWrite {
                labels,
                samples: samples.into_iter().collect(),
                histograms,
                ..SeriesWrite::default()
            });
        }
        self.store.append(&[batch]).unwrap();
    }

    fn eval(&self, line: &str, body: &[&str]) -> Result<(), String> {
        let (command, rest) = line.split_once(char::is_whitespace).unwrap();
        let (when, query) = when(rest.trim());
        let mut expected = expected(body);
        match command.strip_prefix("eval_") {
            Some("fail") => expected.fails = true,
            Some("ordered") => expected.ordered = true,
            Some("warn") => expected.warnings.push(Wanted::Any),
            Some("info") => expected.infos.push(Wanted::Any),
            _ => {}
        }
        if let (When::Over(steps), None) = (&when, expected.grid) {
            expected.grid = Some((steps.start.0, i64::try_from(steps.step.as_millis()).unwrap()));
        }
        match self.ask(query, &when) {
            Err(error) if expected.fails => compare::texts("failure", &expected.message, &[error]),
            Err(error) => Err(error),
            Ok(answer) if expected.fails => Err(format!("should fail, gave {:?}", answer.value)),
            Ok(answer) => {
                compare::answer(&expected, &answer)?;
                match when {
                    When::At(at) if !expected.ordered && !query.contains("start()") && !query.contains("end()") => {
                        self.check_as_range(query, at, &answer)
                    }
                    When::At(_) | When::Over(_) => Ok(()),
                }
            }
        }
    }

    fn ask(&self, query: &str, when: &When) -> Result<Answer, String> {
        let expr = promql::parse(query).map_err(|error| error.to_string())?;
        let printed = expr.to_string();
        let again = promql::parse(&printed).map_err(|error| format!("printed as {printed}: {error}"))?;
        assert_eq!(again.to_string(), printed, "{query}");
        let (snapshot, cancel) = (self.store.snapshot(), Cancel::default());
        match when {
            When::At(at) => promql::instant(&expr, &snapshot, *at, &self.settings, &cancel),
            When::Over(steps) => promql::range(&expr, &snapshot, *steps, &self.settings, &cancel),
        }
        .map_err(|error| error.to_string())
    }

    /// A vector at one time must come back as the middle step of a range query.
    fn check_as_range(&self, query: &str, at: Timestamp, answer: &Answer) -> Result<(), String> {
        let Value::Vector(want) = &answer.value else {
            return Ok(());
        };
        let step = Duration::from_secs(60);
        let steps = Steps { start: at.minus(step), end: at.plus(step), step };
        // At another step the data may not fit the query.
        let Ok(Answer { value: Value::Matrix(got), .. }) = self.ask(query, &When::Over(steps)) else {
            return Ok(());
        };
        let middle = |series: Series| {
            let point = compare::points(&series).into_iter().find(|(time, _)| *time == at.0)?;
            Some((series.labels, vec![Some(point.1)]))
        };
        let got = got.into_iter().filter_map(middle).collect();
        let want = want.iter().map(|sample| (sample.labels.clone(), vec![Some(Point::of(sample))])).collect();
        compare::rows(want, got, false).map_err(|error| format!("as middle of a range: {error}"))
    }
}

fn is_command(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or("");
    word == "clear" || word == "load" || word == "load_with_nhcb" || word == "eval" || word.starts_with("eval_")
}

impl Point {
    fn of(sample: &promql::VectorSample) -> Self {
        match &sample.histogram {
            Some(histogram) => Self::Histogram(Arc::clone(histogram)),
            None => Self::Float(sample.sample.value),
        }
    }
}
