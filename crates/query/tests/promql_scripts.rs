//! Runs the PromQL scripts in `tests/scripts`, in the syntax of Prometheus' own promqltest scripts:
//!
//! ```text
//! load 30s
//!   requests{job="a"} 0+10x20 stale
//!
//! eval instant at 5m rate(requests[1m])
//!   {job="a"} 0.333333
//!
//! eval range from 0 to 1m step 30s requests
//!   requests{job="a"} 0 10 20
//!
//! eval_fail instant at 0 sum(
//!   expected_fail_message 1:5: parse error: unclosed left parenthesis
//! ```
//!
//! `PROMQL_SCRIPTS=folder cargo test -p aegis-query --test promql_scripts` runs the scripts of another folder instead;
//! what needs native histograms is passed over.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aegis_query::Cancel;
use aegis_query::lex::{Cursor, parse_number};
use aegis_query::promql::{self, Answer, Settings, Steps, Value};
use signal::{Labels, Sample, SeriesWrite, Timestamp, WriteBatch, is_stale, stale_marker};
use store::Store;

#[test]
fn every_script_holds() {
    let folder = std::env::var("PROMQL_SCRIPTS")
        .map_or_else(|_| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts"), PathBuf::from);
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    paths.sort();
    assert!(!paths.is_empty());
    let mut failures = String::new();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut runner =
            Runner { store: Store::in_memory(), native: false, nhcb: false, cases: 0, failures: String::new() };
        runner.run(&std::fs::read_to_string(&path).unwrap());
        let failed = runner.failures.matches("\nline ").count();
        if failed > 0 {
            write!(failures, "\n{name}: {failed} of {} cases failed{}\n", runner.cases, runner.failures).unwrap();
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

struct Runner {
    store: Store,
    /// Whether native histograms were loaded, which would have to be in the answers.
    native: bool,
    /// Whether classic histograms were to be loaded as native ones too; those go without `_bucket`.
    nhcb: bool,
    cases: usize,
    failures: String,
}

#[derive(Default)]
struct Expected {
    series: Vec<(Labels, Vec<Option<f64>>)>,
    scalar: Option<f64>,
    text: Option<String>,
    ordered: bool,
    fails: bool,
    message: Option<String>,
    warns: Option<bool>,
    informs: Option<bool>,
    native: bool,
}

enum When {
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
            (self.native, self.nhcb) = (false, false);
        } else if let Some(step) = line.strip_prefix("load_with_nhcb ") {
            self.nhcb = true;
            self.load(step, body);
        } else if let Some(step) = line.strip_prefix("load ") {
            self.load(step, body);
        } else {
            self.cases += 1;
            if let Err(message) = self.eval(line, body) {
                write!(self.failures, "\nline {number}: {line}\n    {}", message.replace('\n', "\n    ")).unwrap();
            }
        }
    }

    fn load(&mut self, step: &str, body: &[&str]) {
        let step = millis(step.trim());
        let mut batch = WriteBatch::default();
        for line in body {
            let (labels, values) = series(line);
            if values.contains("{{") {
                self.native = true;
                continue;
            }
            let samples = sequence(values).into_iter().enumerate().filter_map(|(index, value)| {
                Some(Sample { at: Timestamp(step * i64::try_from(index).unwrap()), value: value? })
            });
            let write = SeriesWrite::new(labels, samples);
            // Written twice, the last one counts.
            batch.series.retain(|other| other.labels != write.labels);
            batch.series.push(write);
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
            Some("warn") => expected.warns = Some(true),
            Some("info") => expected.informs = Some(true),
            _ => {}
        }
        let converted = self.nhcb && !query.contains("_bucket");
        if expected.native || self.native || converted || query.contains("histogram_quantiles") {
            return Ok(());
        }
        let answer = self.ask(query, &when);
        match answer {
            Err(error) if expected.fails => match &expected.message {
                Some(want) if !error.contains(want.as_str()) => Err(format!("failed with {error:?}, not {want:?}")),
                _ => Ok(()),
            },
            Err(error) => Err(error),
            Ok(answer) if expected.fails => Err(format!("should fail, gave {}", text(&answer.value))),
            Ok(answer) => {
                compare(&expected, &answer)?;
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
        let again = promql::parse(&expr.to_string()).map_err(|error| format!("printed as {expr}: {error}"))?;
        assert_eq!(again, expr, "{query} printed as {expr}");
        let (snapshot, settings, cancel) = (self.store.snapshot(), Settings::default(), Cancel::default());
        match when {
            When::At(at) => promql::instant(&expr, &snapshot, *at, &settings, &cancel),
            When::Over(steps) => promql::range(&expr, &snapshot, *steps, &settings, &cancel),
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
        let middle: Vec<(Labels, Vec<Option<f64>>)> = got
            .into_iter()
            .filter_map(|series| {
                let sample = series.samples.iter().find(|sample| sample.at == at)?;
                Some((series.labels, vec![Some(sample.value)]))
            })
            .collect();
        let want = want.iter().map(|sample| (sample.labels.clone(), vec![Some(sample.sample.value)])).collect();
        compare_series(want, middle, false).map_err(|error| format!("as middle of a range: {error}"))
    }
}

fn is_command(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or("");
    word == "clear" || word == "load" || word == "load_with_nhcb" || word == "eval" || word.starts_with("eval_")
}

fn millis(text: &str) -> i64 {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let ms = match text.parse::<f64>() {
        Ok(seconds) => (seconds * 1000.0) as i64,
        Err(_) => i64::try_from(signal::parse_duration(text).unwrap().as_millis()).unwrap(),
    };
    if negative { -ms } else { ms }
}

fn when(text: &str) -> (When, &str) {
    if let Some(rest) = text.strip_prefix("instant ") {
        let rest = rest.trim_start();
        let Some(rest) = rest.strip_prefix("at ") else {
            return (When::At(Timestamp(0)), rest);
        };
        let (at, query) = rest.trim_start().split_once(char::is_whitespace).unwrap();
        return (When::At(Timestamp(millis(at))), query.trim());
    }
    let rest = text.strip_prefix("range from ").unwrap();
    let (start, rest) = rest.split_once(" to ").unwrap();
    let (end, rest) = rest.split_once(" step ").unwrap();
    let (step, query) = rest.trim().split_once(char::is_whitespace).unwrap();
    let steps = Steps {
        start: Timestamp(millis(start.trim())),
        end: Timestamp(millis(end.trim())),
        step: Duration::from_millis(u64::try_from(millis(step)).unwrap()),
    };
    (When::Over(steps), query.trim())
}

fn expected(body: &[&str]) -> Expected {
    let mut expected = Expected::default();
    for line in body {
        if let Some(message) = line.strip_prefix("expected_fail_message") {
            expected.message = Some(message.trim().to_owned());
        } else if line.starts_with("expected_fail_regexp") || line.starts_with("expect range vector") {
            // Patterns are written for other regex engines; that it fails is enough.
            expected.native |= line.starts_with("expect range");
        } else if let Some(literal) = line.strip_prefix("expect string ") {
            expected.text = Some(Cursor::new(literal).string().unwrap());
        } else if let Some(what) = line.strip_prefix("expect ") {
            match what.split_whitespace().next().unwrap() {
                "fail" => {
                    expected.fails = true;
                    expected.message = what.split_once("msg:").map(|(_, message)| message.trim().to_owned());
                }
                "ordered" => expected.ordered = true,
                "warn" => expected.warns = Some(true),
                "no_warn" => expected.warns = Some(false),
                "info" => expected.informs = Some(true),
                "no_info" => expected.informs = Some(false),
                other => panic!("what is `expect {other}`?"),
            }
        } else if line.contains("{{") {
            expected.native = true;
        } else if let Some(value) = parse_number(line) {
            expected.scalar = Some(value);
        } else {
            let (labels, values) = series(line);
            expected.series.push((labels, sequence(values)));
        }
    }
    expected
}

/// Splits `name{label="value"} 1 2 3` into labels and values.
fn series(line: &str) -> (Labels, &str) {
    let mut cursor = Cursor::new(line);
    let mut pairs = Vec::new();
    let name = cursor.take_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
    if !name.is_empty() {
        pairs.push((Labels::NAME.to_owned(), name.to_owned()));
    }
    let before = cursor.clone();
    cursor.take_while(char::is_whitespace);
    if cursor.rest().starts_with("{{") || !cursor.eat("{") {
        return (Labels::from_pairs(pairs), before.rest());
    }
    loop {
        cursor.take_while(|c| c.is_whitespace() || c == ',');
        if cursor.eat("}") {
            return (Labels::from_pairs(pairs), cursor.rest());
        }
        let quoted = matches!(cursor.peek(), Some('"' | '\'' | '`'));
        let name = if quoted {
            cursor.string().unwrap()
        } else {
            cursor.take_while(|c| c.is_ascii_alphanumeric() || c == '_').to_owned()
        };
        cursor.take_while(char::is_whitespace);
        if cursor.eat("=") {
            cursor.take_while(char::is_whitespace);
            pairs.push((name, cursor.string().unwrap()));
        } else {
            assert!(quoted, "cannot read {line}");
            pairs.push((Labels::NAME.to_owned(), name));
        }
    }
}

/// Reads `1 2 3`, `0+10x5`, `7x3`, `_`, `_x4`, `stale`.
fn sequence(text: &str) -> Vec<Option<f64>> {
    let mut values = Vec::new();
    for word in text.split_whitespace() {
        let (item, times) = match word.rsplit_once('x') {
            Some((item, times)) => (item, Some(times.parse::<usize>().unwrap())),
            None => (word, None),
        };
        if item == "_" {
            values.extend(vec![None; times.unwrap_or(1)]);
            continue;
        }
        if item == "stale" {
            values.extend(vec![Some(stale_marker()); times.unwrap_or(0) + 1]);
            continue;
        }
        let sign =
            item.char_indices().skip(1).find(|(at, c)| matches!(c, '+' | '-') && !item[..*at].ends_with(['e', 'E']));
        let (start, step) = match sign {
            Some((at, _)) if times.is_some() => item.split_at(at),
            _ => (item, "0"),
        };
        let (start, step) =
            (parse_number(start).unwrap_or_else(|| panic!("number {start}")), parse_number(step).unwrap());
        let mut value = start;
        for _ in 0..=times.unwrap_or(0) {
            values.push(Some(value));
            if step != 0.0 {
                value += step;
            }
        }
    }
    values
}

fn compare(expected: &Expected, answer: &Answer) -> Result<(), String> {
    for (what, want, got) in [("warning", expected.warns, &answer.warnings), ("info", expected.informs, &answer.infos)]
    {
        if want.is_some_and(|want| want == got.is_empty()) {
            return Err(format!("{what}s are {got:?}"));
        }
    }
    match &answer.value {
        Value::Scalar(sample) => match expected.scalar {
            Some(want) if close(want, sample.value) => Ok(()),
            other => Err(format!("scalar {} instead of {other:?}", sample.value)),
        },
        Value::String(_, text) => match &expected.text {
            Some(want) if want == text => Ok(()),
            other => Err(format!("string {text:?} instead of {other:?}")),
        },
        Value::Vector(samples) => {
            let got = samples.iter().map(|one| (one.labels.clone(), vec![Some(one.sample.value)])).collect();
            compare_series(expected.series.clone(), got, expected.ordered)
        }
        Value::Matrix(series) => {
            let values = |samples: &[Sample]| samples.iter().map(|sample| Some(sample.value)).collect::<Vec<_>>();
            let got = series.iter().map(|one| (one.labels.clone(), values(&one.samples))).collect();
            // Steps without a value are not in the answer.
            let mut want = expected.series.clone();
            want.iter_mut().for_each(|(_, values)| values.retain(Option::is_some));
            compare_series(want, got, false)
        }
    }
}

type Rows = Vec<(Labels, Vec<Option<f64>>)>;

fn compare_series(mut want: Rows, mut got: Rows, ordered: bool) -> Result<(), String> {
    if !ordered {
        want.sort_by(|a, b| a.0.cmp(&b.0));
        got.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let same = want.len() == got.len()
        && want.iter().zip(&got).all(|(want, got)| {
            want.0 == got.0
                && want.1.len() == got.1.len()
                && want.1.iter().zip(&got.1).all(|(want, got)| match (want, got) {
                    (Some(want), Some(got)) => close(*want, *got),
                    (want, got) => want.is_none() && got.is_none(),
                })
        });
    if same {
        return Ok(());
    }
    let rows = |rows: &Rows| rows.iter().map(|(labels, values)| format!("  {labels} {values:?}\n")).collect::<String>();
    Err(format!("wanted\n{}got\n{}", rows(&want), rows(&got)))
}

fn close(want: f64, got: f64) -> bool {
    if want == got || (want.is_nan() && got.is_nan() && is_stale(want) == is_stale(got)) {
        return true;
    }
    (want - got).abs() <= 1e-6 * (want.abs() + got.abs()).min(f64::MAX)
}

fn text(value: &Value) -> String {
    format!("{value:?}")
}
