//! The questions, each in LogQL and LogsQL, and what the right answers are.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde_json::Value;

use super::super::asking::{RUNS, ask_repeatedly};
use super::super::http::escaped;
use super::super::servers::{Product, Server};
use super::lines::{RARE, REFUSED, SERVICES, TIMEOUTS};
use super::load::{Load, PODS, SECOND_NS, SPAN_S, Truth};

/// Seconds between two points of a metric query, and the window of each.
const STEP_S: i64 = 60;
/// Lines asked for when there is more.
const MANY: usize = 1000;
const LAST: usize = 100;
const QUANTILE: f64 = 0.99;

/// A question in two languages; run after run takes the next wording.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) title: &'static str,
    logql: Vec<String>,
    logsql: Vec<String>,
    kind: Kind,
    want: Want,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The newest lines, at most so many.
    Lines(usize),
    /// Points for each value of a label; none for a single series.
    Points(Option<&'static str>),
    /// The values of a label.
    Values(&'static str),
}

/// What is right.
#[derive(Clone, PartialEq, Debug)]
enum Want {
    /// So many lines; the oldest of them is of this time.
    Lines {
        count: usize,
        oldest: Option<i64>,
    },
    /// For each value of the label the sum of all points.
    Sums {
        sums: BTreeMap<String, f64>,
        logsql: Likeness,
    },
    Values(usize),
}

/// How near a sum in LogsQL comes to the one in LogQL.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Likeness {
    Equal,
    /// An estimate.
    Near,
    /// It means something else.
    Other,
}

/// A server's answer as far as it is compared.
#[derive(Clone, PartialEq, Default, Debug)]
struct Answer {
    /// Lines, points or values.
    count: usize,
    oldest: Option<i64>,
    sums: BTreeMap<String, f64>,
}

/// How fast a server answered, and what was wrong.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Timed {
    /// Median.
    pub(super) ms: f64,
    pub(super) difference: Option<String>,
}

/// Which of them the files of the floor are searched for too.
pub(super) const NEEDLE: usize = 0;
pub(super) const RARE_TEXT: usize = 2;

pub(super) fn questions(load: &Load) -> Vec<Question> {
    let truth = &load.truth;
    let needles = truth.looked_for();
    let each = |text: fn(&str) -> String| needles.iter().map(|needle| text(needle)).collect::<Vec<_>>();
    let one = |text: String| vec![text];
    let lines =
        |times: &[i64], limit: usize| Want::Lines { count: times.len().min(limit), oldest: newest(times, limit) };
    let found = |count: u64| Want::Lines { count: count as usize, oldest: None };
    let sums = |of: &BTreeMap<&str, u64>, divisor: f64| {
        of.iter().map(|(key, count)| ((*key).to_owned(), *count as f64 / divisor)).collect::<BTreeMap<_, _>>()
    };
    let equal = |sums| Want::Sums { sums, logsql: Likeness::Equal };
    let minute = STEP_S as f64;
    let service = SERVICES.first().map_or("", |service| service.name);
    vec![
        Question {
            title: "needle, a trace id: line filter over everything",
            logql: each(|needle| format!("{{job=\"bench\"}} |= \"{needle}\"")),
            logsql: each(|needle| format!("trace_id:=\"{needle}\"")),
            kind: Kind::Lines(LAST),
            want: found(1),
        },
        Question {
            title: "the same as a parsed field",
            logql: each(|needle| format!("{{format=\"json\"}} | json | trace_id=\"{needle}\"")),
            logsql: each(|needle| format!("{{format=\"json\"}} trace_id:=\"{needle}\"")),
            kind: Kind::Lines(LAST),
            want: found(1),
        },
        Question {
            title: "rare text within a word of access logs",
            logql: one(format!("{{job=\"bench\"}} |= \"{RARE}\"")),
            logsql: one(format!("_msg:~\"{RARE}\"")),
            kind: Kind::Lines(LAST),
            want: found(truth.rare.min(LAST as u64)),
        },
        Question {
            title: "JSON, level is error, newest 1,000",
            logql: one("{format=\"json\"} | json | level=\"error\"".to_owned()),
            logsql: one("{format=\"json\"} level:=\"error\"".to_owned()),
            kind: Kind::Lines(MANY),
            want: lines(&truth.errors, MANY),
        },
        Question {
            title: "JSON, a number is above 1,000, newest 1,000",
            logql: one("{format=\"json\"} | json | duration_ms > 1000".to_owned()),
            logsql: one("{format=\"json\"} duration_ms:>1000".to_owned()),
            kind: Kind::Lines(MANY),
            want: lines(&truth.slow, MANY),
        },
        Question {
            title: "logfmt, a level and a number, newest 1,000",
            logql: one("{format=\"logfmt\"} | logfmt | level=\"warn\" | took_ms > 500".to_owned()),
            logsql: one(
                "{format=\"logfmt\"} | unpack_logfmt fields (level, took_ms) | filter level:=\"warn\" took_ms:>500"
                    .to_owned(),
            ),
            kind: Kind::Lines(MANY),
            want: lines(&truth.slow_warnings, MANY),
        },
        Question {
            title: "regex on access logs, newest 1,000",
            logql: one(format!("{{format=\"plain\"}} |~ `{REFUSED}`")),
            logsql: one(format!("{{format=\"plain\"}} _msg:~`{REFUSED}`")),
            kind: Kind::Lines(MANY),
            want: lines(&truth.refused, MANY),
        },
        Question {
            title: "count by a JSON field per minute",
            logql: one("sum by (level) (count_over_time({format=\"json\"} | json [1m]))".to_owned()),
            logsql: one("{format=\"json\"} | stats by (_time:1m, level) count() as value".to_owned()),
            kind: Kind::Points(Some("level")),
            want: equal(sums(&truth.lines_of_level, 1.0)),
        },
        Question {
            title: "rate by stream label per minute",
            logql: one("sum by (service) (rate({job=\"bench\"}[1m]))".to_owned()),
            logsql: one("* | stats by (_time:1m, service) count() as lines | math lines / 60 as value".to_owned()),
            kind: Kind::Points(Some("service")),
            want: equal(sums(&truth.lines_of_service, minute)),
        },
        Question {
            title: "count of a regex per minute",
            logql: one(format!("sum(count_over_time({{format=\"json\"}} |~ \"{TIMEOUTS}\" [1m]))")),
            logsql: one(format!("{{format=\"json\"}} _msg:~\"{TIMEOUTS}\" | stats by (_time:1m) count() as value")),
            kind: Kind::Points(None),
            want: equal([(String::new(), truth.timeouts as f64)].into()),
        },
        Question {
            title: "0.99 quantile of a logfmt field by service per minute",
            logql: one(format!(
                "quantile_over_time({QUANTILE}, {{format=\"logfmt\"}} | logfmt | unwrap took_ms [1m]) by (service)"
            )),
            logsql: one(format!(
                "{{format=\"logfmt\"}} | unpack_logfmt fields (took_ms) \
                 | stats by (_time:1m, service) quantile({QUANTILE}, took_ms) as value"
            )),
            kind: Kind::Points(Some("service")),
            want: Want::Sums { sums: truth.quantiles(), logsql: Likeness::Near },
        },
        Question {
            title: "bytes per second by stream label per minute",
            logql: one("sum by (format) (bytes_rate({job=\"bench\"}[1m]))".to_owned()),
            logsql: one("* | stats by (_time:1m, format) sum_len(_msg) as bytes | math bytes / 60 as value".to_owned()),
            kind: Kind::Points(Some("format")),
            want: Want::Sums { sums: sums(&truth.bytes_of_format, minute), logsql: Likeness::Other },
        },
        Question {
            title: "last 100 lines of a service",
            logql: one(format!("{{service=\"{service}\"}}")),
            logsql: one(format!("{{service=\"{service}\"}}")),
            kind: Kind::Lines(LAST),
            want: lines(&truth.of_first, LAST),
        },
        Question {
            title: "values of a label",
            logql: Vec::new(),
            logsql: one("*".to_owned()),
            kind: Kind::Values("pod"),
            want: Want::Values(SERVICES.len() * PODS),
        },
    ]
}

/// The time of the oldest of the newest `limit`.
fn newest(times: &[i64], limit: usize) -> Option<i64> {
    let mut times = times.to_vec();
    times.sort_unstable_by_key(|time| std::cmp::Reverse(*time));
    times.truncate(limit);
    times.last().copied()
}

impl Truth {
    /// As many needles as there are runs, from all over the hour.
    pub(super) fn looked_for(&self) -> Vec<&str> {
        let runs = RUNS as usize + 1;
        let step = (self.needles.len() / runs).max(1);
        self.needles.iter().step_by(step).take(runs).map(String::as_str).collect()
    }

    /// By service, the sum of the quantiles of all minutes.
    fn quantiles(&self) -> BTreeMap<String, f64> {
        let of = |minutes: &Vec<Vec<f64>>| minutes.iter().filter_map(|values| quantile(values, QUANTILE)).sum();
        self.took_ms.iter().map(|(service, minutes)| ((*service).to_owned(), of(minutes))).collect()
    }
}

/// Between the two nearest values in proportion.
fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = share * (sorted.len().checked_sub(1)? as f64);
    let (lower, upper) = (sorted.get(rank.floor() as usize)?, sorted.get(rank.ceil() as usize)?);
    Some(lower + (upper - lower) * rank.fract())
}

impl Question {
    /// Asks again and again, each time with the next wording and from a second earlier, so that no memory of answers helps.
    pub(super) fn time(&self, server: &Server, load: &Load) -> anyhow::Result<Timed> {
        let product = server.contender.product;
        let asked = ask_repeatedly(server, self.title, |run| self.target(product, load, run))?;
        let answer = self.read(product, &asked.first).with_context(|| self.title)?;
        Ok(Timed { ms: asked.ms, difference: self.want.difference(product, &answer) })
    }

    fn target(&self, product: Product, load: &Load, run: i64) -> String {
        let (start, end) = (load.start - run, load.end);
        let of = |wordings: &[String]| escaped(wordings.iter().cycle().nth(run as usize).map_or("", String::as_str));
        if product == Product::VictoriaLogs {
            let query = of(&self.logsql);
            return match self.kind {
                Kind::Lines(limit) => logsql("query", &format!("query={query}&limit={limit}"), start, end),
                Kind::Points(_) => logsql("query", &format!("query={query}"), start, end - run),
                Kind::Values(name) => logsql("stream_field_values", &format!("query={query}&field={name}"), start, end),
            };
        }
        let query = of(&self.logql);
        let (start_ns, end_ns) = (start * SECOND_NS, end * SECOND_NS);
        let rest = match self.kind {
            Kind::Lines(limit) => {
                format!("query_range?query={query}&start={start_ns}&end={end_ns}&limit={limit}&direction=backward")
            }
            Kind::Points(_) => {
                let (first, last) = (start + STEP_S, end - run);
                format!("query_range?query={query}&start={first}&end={last}&step={STEP_S}")
            }
            Kind::Values(name) => format!("label/{name}/values?start={start_ns}&end={end_ns}"),
        };
        format!("/loki/api/v1/{rest}")
    }

    fn read(&self, product: Product, body: &[u8]) -> anyhow::Result<Answer> {
        match (product, self.kind) {
            (Product::VictoriaLogs, Kind::Values(_)) => {
                let answer: Value = serde_json::from_slice(body)?;
                Ok(Answer { count: list(answer.get("values")).len(), ..Answer::default() })
            }
            (Product::VictoriaLogs, Kind::Lines(_)) => read_rows(body, None),
            (Product::VictoriaLogs, Kind::Points(by)) => read_rows(body, Some(by.unwrap_or_default())),
            (_, Kind::Values(_)) => {
                let answer: Value = serde_json::from_slice(body)?;
                Ok(Answer { count: list(answer.get("data")).len(), ..Answer::default() })
            }
            (_, Kind::Lines(_)) => read_streams(body),
            (_, Kind::Points(by)) => read_matrix(body, by.unwrap_or_default()),
        }
    }
}

fn logsql(path: &str, rest: &str, start: i64, end: i64) -> String {
    format!("/select/logsql/{path}?{rest}&start={start}&end={end}")
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

fn read_streams(body: &[u8]) -> anyhow::Result<Answer> {
    let answer: Value = serde_json::from_slice(body)?;
    let lines = || list(answer.pointer("/data/result")).iter().flat_map(|stream| list(stream.get("values")));
    let oldest = lines().filter_map(|line| text(line.get(0)).parse().ok()).min();
    Ok(Answer { count: lines().count(), oldest, ..Answer::default() })
}

fn read_matrix(body: &[u8], by: &str) -> anyhow::Result<Answer> {
    let whole: Value = serde_json::from_slice(body)?;
    let mut answer = Answer::default();
    for series in list(whole.pointer("/data/result")) {
        let key = text(series.get("metric").and_then(|metric| metric.get(by)));
        let points = list(series.get("values"));
        answer.count += points.len();
        let sum = points.iter().filter_map(|point| text(point.get(1)).parse::<f64>().ok()).sum::<f64>();
        *answer.sums.entry(key.to_owned()).or_default() += sum;
    }
    Ok(answer)
}

/// A JSON object for each line; with `by` each has a value and perhaps that label.
fn read_rows(body: &[u8], by: Option<&str>) -> anyhow::Result<Answer> {
    let mut answer = Answer::default();
    for row in body.split(|byte| *byte == b'\n').filter(|row| !row.is_empty()) {
        answer.count += 1;
        if let Some(by) = by {
            let row: Value = serde_json::from_slice(row)?;
            let value: f64 = text(row.get("value")).parse().context("a row without a value")?;
            *answer.sums.entry(text(row.get(by)).to_owned()).or_default() += value;
        }
    }
    Ok(answer)
}

impl Want {
    /// What is wrong with an answer.
    fn difference(&self, product: Product, answer: &Answer) -> Option<String> {
        match self {
            Self::Lines { count, oldest } => {
                if answer.count != *count {
                    return Some(format!("{} lines instead of {count}", answer.count));
                }
                let (want, got) = oldest.zip(answer.oldest)?;
                (want != got).then(|| format!("the oldest line is of {got} instead of {want}"))
            }
            Self::Values(count) => {
                (answer.count != *count).then(|| format!("{} values instead of {count}", answer.count))
            }
            Self::Sums { sums, logsql } => {
                let share = match (product, logsql) {
                    (Product::VictoriaLogs, Likeness::Other) => return None,
                    (Product::VictoriaLogs, Likeness::Near) => 0.05,
                    _ => 1e-6,
                };
                let keys = |sums: &BTreeMap<String, f64>| sums.keys().cloned().collect::<Vec<_>>();
                if keys(sums) != keys(&answer.sums) {
                    return Some(format!("{:?} instead of {:?}", keys(&answer.sums), keys(sums)));
                }
                let pairs = sums.iter().zip(answer.sums.values());
                let wrong = pairs.map(|((key, want), got)| (key, *want, *got));
                let mut wrong = wrong.filter(|(_, want, got)| (want - got).abs() > share * want.abs().max(1e-9));
                wrong.next().map(|(key, want, got)| format!("`{key}`: the points add up to {got} instead of {want}"))
            }
        }
    }
}

/// Whether the first needle is found.
pub(super) fn finds_needle(server: &Server, load: &Load, question: &Question) -> anyhow::Result<bool> {
    let product = server.contender.product;
    let (status, body) = server.get(&question.target(product, load, 0))?;
    Ok(status == 200 && question.read(product, &body)?.count >= 1)
}

/// Every line of the load that the server has.
pub(super) fn count(server: &Server, load: &Load) -> anyhow::Result<f64> {
    if server.contender.product == Product::VictoriaLogs {
        let query = escaped("{job=\"bench\"} | stats count() as value");
        let (status, body) = server.get(&logsql("query", &format!("query={query}"), load.start, load.end))?;
        if status != 200 {
            bail!("the count was answered with {status}: {}", String::from_utf8_lossy(&body));
        }
        return Ok(read_rows(&body, Some(""))?.sums.values().sum());
    }
    let query = escaped(&format!("sum(count_over_time({{job=\"bench\"}}[{SPAN_S}s]))"));
    let (status, body) = server.get(&format!("/loki/api/v1/query?query={query}&time={}", load.end))?;
    if status != 200 {
        bail!("the count was answered with {status}: {}", String::from_utf8_lossy(&body));
    }
    let answer: Value = serde_json::from_slice(&body)?;
    Ok(text(answer.pointer("/data/result/0/value/1")).parse().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_the_nearest_values() {
        for (values, share, want) in [
            (&[][..], 0.5, None),
            (&[7.0], 0.99, Some(7.0)),
            (&[3.0, 1.0], 0.5, Some(2.0)),
            (&[4.0, 1.0, 3.0, 2.0, 5.0], 0.99, Some(4.96)),
        ] {
            assert_eq!(quantile(values, share), want, "{values:?}");
        }
    }

    #[test]
    fn the_oldest_of_the_newest_is_known() {
        assert_eq!(newest(&[5, 1, 4, 2], 3), Some(2));
        assert_eq!(newest(&[5, 1], 3), Some(1));
        assert_eq!(newest(&[], 3), None);
    }

    #[test]
    fn answers_are_read_and_compared() {
        let streams = br#"{"data":{"resultType":"streams","result":[
            {"stream":{},"values":[["30","c"],["20","b"]]},{"stream":{},"values":[["10","a"]]}]}}"#;
        let answer = read_streams(streams).unwrap();
        assert_eq!(answer, Answer { count: 3, oldest: Some(10), sums: BTreeMap::new() });
        let want = |count, oldest| Want::Lines { count, oldest };
        assert_eq!(want(3, Some(10)).difference(Product::Loki, &answer), None);
        assert_eq!(want(3, None).difference(Product::Loki, &answer), None);
        let short = want(4, None).difference(Product::Loki, &answer);
        assert_eq!(short.unwrap(), "3 lines instead of 4");
        let other = want(3, Some(11)).difference(Product::Loki, &answer);
        assert_eq!(other.unwrap(), "the oldest line is of 10 instead of 11");

        let matrix = br#"{"data":{"resultType":"matrix","result":[
            {"metric":{"level":"info"},"values":[[1,"2"],[61,"3.5"]]},{"metric":{"level":"warn"},"values":[[1,"1"]]}]}}"#;
        let rows = b"{\"_time\":\"x\",\"level\":\"info\",\"value\":\"2\"}\n{\"level\":\"info\",\"value\":\"3.5\"}\n\
                     {\"level\":\"warn\",\"value\":\"1\"}\n";
        let sums: BTreeMap<String, f64> = [("info".to_owned(), 5.5), ("warn".to_owned(), 1.0)].into();
        let answer = read_matrix(matrix, "level").unwrap();
        assert_eq!(answer, Answer { count: 3, oldest: None, sums });
        assert_eq!(read_rows(rows, Some("level")).unwrap(), answer);
        assert_eq!(read_rows(rows, None).unwrap().count, 3);
        let near = |info| Want::Sums {
            sums: [("info".to_owned(), info), ("warn".to_owned(), 1.0)].into(),
            logsql: Likeness::Near,
        };
        assert_eq!(near(5.5).difference(Product::Loki, &answer), None);
        assert_eq!(near(5.6).difference(Product::VictoriaLogs, &answer), None);
        let wrong = near(5.6).difference(Product::Loki, &answer);
        assert_eq!(wrong.unwrap(), "`info`: the points add up to 5.5 instead of 5.6");
        let fewer = Want::Sums { sums: [("info".to_owned(), 5.5)].into(), logsql: Likeness::Equal };
        assert!(fewer.difference(Product::Aegis, &answer).is_some());
    }
}
