//! Unit tests of rules, as `promtool test rules` reads and runs them (cmd/promtool/unittest.go): input series in the
//! notation of Prometheus' own tests, the rules evaluated over them in a store in memory, and what is expected of
//! alerts and queries at given times.

pub(crate) mod bench;
mod report;
pub(crate) mod series;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use signal::{Histogram, Timestamp, format_duration};

use crate::alerting::{ALERT_NAME, Alert, AlertState};
use crate::ask::{Ask, Element, Reading};
use crate::file::{Problems, RuleFile, RuleFileError, read_yaml};
use crate::group::{Group, Surroundings};
use crate::question::{Language, Question};
use bench::Bench;
use report::Said;

/// Evaluations one test may ask for; more is a mistake in its times.
const MAX_ROUNDS: u128 = 1_000_000;

/// A file of unit tests.
#[derive(Clone, Debug)]
pub struct TestFile {
    /// Patterns of the rule files under test, as written.
    pub rule_files: Vec<String>,
    interval: Duration,
    /// Position of the groups that have to come in order.
    order: BTreeMap<String, usize>,
    is_fuzzy: bool,
    tests: Vec<Test>,
}

#[derive(Clone, Debug)]
struct Test {
    name: String,
    start: Timestamp,
    series: Vec<series::InputSeries>,
    alerts: Vec<AlertTest>,
    queries: Vec<QueryTest>,
    external_labels: BTreeMap<String, String>,
    external_url: String,
}

#[derive(Clone, Debug)]
struct AlertTest {
    at: Duration,
    name: String,
    expected: Vec<Said>,
}

#[derive(Clone, Debug)]
struct QueryTest {
    at: Duration,
    text: String,
    expr: Result<Question, String>,
    expected: Result<Vec<Element>, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileShape {
    rule_files: Option<Vec<String>>,
    evaluation_interval: Option<Spanned<String>>,
    group_eval_order: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    fuzzy_compare: bool,
    tests: Option<Vec<TestShape>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestShape {
    name: Option<String>,
    interval: Option<Spanned<String>>,
    input_series: Option<Vec<SeriesShape>>,
    alert_rule_test: Option<Vec<Spanned<AlertShape>>>,
    promql_expr_test: Option<Vec<Spanned<QueryShape>>>,
    external_labels: Option<BTreeMap<String, Option<String>>>,
    external_url: Option<String>,
    start_timestamp: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeriesShape {
    series: Spanned<String>,
    values: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AlertShape {
    eval_time: Option<Spanned<String>>,
    alertname: Option<String>,
    exp_alerts: Option<Vec<ExpectedAlert>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedAlert {
    exp_labels: Option<BTreeMap<String, Option<String>>>,
    exp_annotations: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryShape {
    expr: Option<String>,
    eval_time: Option<Spanned<String>>,
    exp_samples: Option<Vec<ExpectedSample>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedSample {
    labels: Option<String>,
    value: Option<String>,
    histogram: Option<String>,
}

impl TestFile {
    /// Reads the text of a test file called `name`; unknown keys are errors.
    ///
    /// # Errors
    /// Every problem at once, except that text of the wrong shape ends the reading.
    pub fn parse(name: &str, text: &str) -> Result<Self, RuleFileError> {
        let shape: FileShape = read_yaml(name, text)?;
        let mut problems = Problems::new(name);
        let interval = problems.duration(shape.evaluation_interval.as_ref()).filter(|interval| !interval.is_zero());
        let interval = interval.unwrap_or(Duration::from_secs(60));
        let mut order = BTreeMap::new();
        for (at, group) in shape.group_eval_order.unwrap_or_default().into_iter().enumerate() {
            if order.insert(group.value.clone(), at).is_some() {
                problems.add(group.referenced, format!("group name repeated in evaluation order: {}", group.value));
            }
        }
        let tests = shape.tests.unwrap_or_default().into_iter();
        let tests = tests.map(|test| test.check(interval, &mut problems)).collect();
        let rule_files = shape.rule_files.unwrap_or_default();
        problems.finish(Self { rule_files, interval, order, is_fuzzy: shape.fuzzy_compare, tests })
    }

    /// Runs the tests whose name is wanted over the given rule files (name and content) and tells what failed, in the
    /// words of promtool.
    pub fn run(&self, files: &[(String, RuleFile)], wanted: impl Fn(&str) -> bool) -> Vec<String> {
        self.tests.iter().filter(|test| wanted(&test.name)).flat_map(|test| test.run(self, files)).collect()
    }
}

impl TestShape {
    fn check(self, evaluation_interval: Duration, problems: &mut Problems) -> Test {
        let interval = problems.duration(self.interval.as_ref()).filter(|interval| !interval.is_zero());
        let interval = interval.unwrap_or(evaluation_interval);
        let mut start = Timestamp(0);
        if let Some(text) = &self.start_timestamp {
            match Timestamp::parse(&text.value) {
                Ok(at) => start = at,
                Err(error) => problems.add(text.referenced, error.to_string()),
            }
        }
        let mut series = Vec::new();
        for input in self.input_series.unwrap_or_default() {
            match series::InputSeries::parse(&input.series.value, &input.values.value, start, interval) {
                Ok(input) => series.push(input),
                Err(series::Mistake::Name(error)) => problems.add(input.series.referenced, error),
                Err(series::Mistake::Values(error)) => problems.add(input.values.referenced, error),
            }
        }
        let alerts = self.alert_rule_test.unwrap_or_default().into_iter();
        let queries = self.promql_expr_test.unwrap_or_default().into_iter();
        Test {
            name: self.name.unwrap_or_default(),
            start,
            series,
            alerts: alerts.map(|test| test.value.check(test.referenced, problems)).collect(),
            queries: queries.map(|test| test.value.check(problems)).collect(),
            external_labels: plain(self.external_labels),
            external_url: self.external_url.unwrap_or_default(),
        }
    }
}

impl AlertShape {
    fn check(self, place: Location, problems: &mut Problems) -> AlertTest {
        let at = problems.duration(self.eval_time.as_ref()).unwrap_or(Duration::ZERO);
        let name = self.alertname.unwrap_or_default();
        if name.is_empty() {
            let at = format_duration(at);
            problems.add(
                place,
                format!("an item under alert_rule_test misses required attribute alertname at eval_time {at}"),
            );
        }
        let expected = self.exp_alerts.unwrap_or_default().into_iter().map(|alert| {
            let mut labels = plain(alert.exp_labels);
            // Added by the rule; nobody writes it down.
            labels.insert(ALERT_NAME.to_owned(), name.clone());
            Said { labels, annotations: plain(alert.exp_annotations) }
        });
        AlertTest { at, expected: expected.collect(), name }
    }
}

impl QueryShape {
    fn check(self, problems: &mut Problems) -> QueryTest {
        let text = self.expr.unwrap_or_default();
        let expected = self.exp_samples.unwrap_or_default().into_iter().map(ExpectedSample::check);
        QueryTest {
            at: problems.duration(self.eval_time.as_ref()).unwrap_or(Duration::ZERO),
            expr: Question::parse(Language::Metrics, &text),
            expected: expected.collect(),
            text,
        }
    }
}

impl ExpectedSample {
    fn check(self) -> Result<Element, String> {
        let text = self.labels.unwrap_or_default();
        let wrong = |error: String| format!("labels {text:?}: {error}");
        let labels = series::parse_metric(&text).map_err(wrong)?;
        let reading = match self.histogram.filter(|histogram| !histogram.is_empty()) {
            Some(histogram) => Reading::Histogram(Arc::new(series::one_histogram(&histogram).map_err(wrong)?)),
            None => {
                let value = self.value.unwrap_or_else(|| "0".to_owned());
                let number = series::parse_number(&value).or_else(|| yaml_number(&value));
                Reading::Number(number.ok_or_else(|| wrong(format!("{value:?} is not a number")))?)
            }
        };
        Ok(Element { labels, reading })
    }
}

/// The numbers of YAML that PromQL writes otherwise.
fn yaml_number(text: &str) -> Option<f64> {
    match text {
        ".nan" | ".NaN" | ".NAN" => Some(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Some(f64::NEG_INFINITY),
        _ => {
            let digits = text.replace('_', "");
            let whole = |prefix: &str, radix: u32| u64::from_str_radix(digits.strip_prefix(prefix)?, radix).ok();
            let whole = whole("0x", 16).or_else(|| whole("0o", 8)).or_else(|| whole("0b", 2));
            whole.map(|number| number as f64).or_else(|| digits.parse().ok())
        }
    }
}

fn plain(texts: Option<BTreeMap<String, Option<String>>>) -> BTreeMap<String, String> {
    texts.unwrap_or_default().into_iter().map(|(name, text)| (name, text.unwrap_or_default())).collect()
}

impl Test {
    fn run(&self, file: &TestFile, rule_files: &[(String, RuleFile)]) -> Vec<String> {
        let length = self.length();
        if length.as_millis() / file.interval.as_millis().max(1) > MAX_ROUNDS {
            return vec![format!(
                "{}    more than {MAX_ROUNDS} evaluations until {}",
                self.heading(),
                format_duration(length)
            )];
        }
        let mut bench = Bench::new(file.interval);
        let mut groups = self.groups(file, rule_files);
        let mut failures = Vec::new();
        let end = self.start.plus(length);
        let mut now = self.start;
        while now <= end {
            if let Err(error) = bench.load(&self.series, now) {
                failures.push(format!("{}    {error}", self.heading()));
                return failures;
            }
            let mut broken = Vec::new();
            for group in &mut groups {
                group.evaluate(now, &mut bench);
                for state in group.rules().iter().filter(|state| !state.last_error.is_empty()) {
                    let time = format_duration(now.since(self.start));
                    broken.push(format!("    rule: {}, time: {time}, err: {}", state.rule.name, state.last_error));
                }
            }
            if !broken.is_empty() {
                failures.extend(broken);
                return failures;
            }
            let next = now.plus(file.interval);
            // What is expected between two evaluations is held against the first.
            let due = |test: &&AlertTest| (now..next).contains(&self.start.plus(test.at));
            failures.extend(self.alerts.iter().filter(due).filter_map(|test| self.alert_failure(test, &groups)));
            now = next;
        }
        failures.extend(self.queries.iter().filter_map(|test| self.query_failure(test, file.is_fuzzy, &mut bench)));
        failures
    }

    /// The groups of all files in the order asked for; the others first, by file and name.
    fn groups(&self, file: &TestFile, rule_files: &[(String, RuleFile)]) -> Vec<Group> {
        let surroundings = Surroundings {
            interval: file.interval,
            external_labels: self.external_labels.clone(),
            external_url: self.external_url.clone(),
            ..Surroundings::default()
        };
        let mut groups = Vec::new();
        for (name, content) in rule_files {
            groups.extend(content.groups.iter().map(|spec| Group::new(spec, name, &surroundings)));
        }
        groups.iter_mut().for_each(Group::begin_afresh);
        groups.sort_by_key(|group| file.order.get(group.name()).copied().unwrap_or(0));
        groups
    }

    fn length(&self) -> Duration {
        let times = self.alerts.iter().map(|test| test.at).chain(self.queries.iter().map(|test| test.at));
        times.max().unwrap_or_default()
    }

    fn heading(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!("    name: {},\n", self.name) }
    }

    fn alert_failure(&self, test: &AlertTest, groups: &[Group]) -> Option<String> {
        let states = groups.iter().flat_map(Group::rules).filter(|state| state.rule.name == test.name);
        let firing = states.flat_map(|state| state.alerts()).filter(|alert| alert.state == AlertState::Firing);
        let said = |alert: &Alert| Said {
            labels: alert.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            annotations: alert.annotations.clone(),
        };
        let mut got: Vec<Said> = firing.map(said).collect();
        let mut expected = test.expected.clone();
        got.sort();
        expected.sort();
        (got != expected).then(|| {
            let heading = self.heading();
            let (name, time) = (&test.name, format_duration(test.at));
            let (expected, got) = (report::list(&expected), report::list(&got));
            format!("{heading}    alertname: {name}, time: {time}, \n        exp:{expected}, \n        got:{got}")
        })
    }

    fn query_failure(&self, test: &QueryTest, is_fuzzy: bool, bench: &mut Bench) -> Option<String> {
        let head = format!("    expr: {:?}, time: {},", test.text, format_duration(test.at));
        let at = self.start.plus(test.at);
        let asked = test.expr.as_ref().map_err(Clone::clone).and_then(|expr| bench.vector(expr, at));
        let (mut got, mut expected) = match (asked, test.expected.clone()) {
            (Ok(got), Ok(expected)) => (got, expected),
            (Err(error), _) | (_, Err(error)) => return Some(format!("{head} err: {error}")),
        };
        got.sort_by(|a, b| a.labels.cmp(&b.labels));
        expected.sort_by(|a, b| a.labels.cmp(&b.labels));
        let same = |(a, b): (&Element, &Element)| a.labels == b.labels && is_same(&a.reading, &b.reading, is_fuzzy);
        let holds = got.len() == expected.len() && got.iter().zip(&expected).all(same);
        (!holds).then(|| {
            let (expected, got) = (report::elements(&expected), report::elements(&got));
            format!("{head}\n        exp: {expected}\n        got: {got}")
        })
    }
}

fn is_same(a: &Reading, b: &Reading, is_fuzzy: bool) -> bool {
    match (a, b) {
        (Reading::Number(a), Reading::Number(b)) => a == b || (is_fuzzy && (a.next_up() == *b || a.next_down() == *b)),
        (Reading::Histogram(a), Reading::Histogram(b)) => is_same_histogram(a, b),
        (Reading::Number(_), Reading::Histogram(_)) | (Reading::Histogram(_), Reading::Number(_)) => false,
    }
}

/// As text, because that is what a test file can say.
fn is_same_histogram(a: &Histogram, b: &Histogram) -> bool {
    query::promql::native::to_notation(a) == query::promql::native::to_notation(b)
}

#[cfg(test)]
mod tests;
