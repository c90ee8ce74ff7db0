//! The questions, each of a kind that dashboards ask.

use anyhow::bail;
use serde_json::Value;

use super::super::asking::ask_repeatedly;
use super::super::http::escaped;
use super::super::servers::Server;

/// A question and its range.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) title: &'static str,
    ask: Ask,
}

#[derive(Clone, Copy, Debug)]
enum Ask {
    Instant(&'static str),
    /// Over so many seconds, every so many.
    Range(&'static str, i64, i64),
    LabelValues(&'static str),
    Series(&'static str),
}

pub(super) const QUESTIONS: [Question; 12] = [
    Question {
        title: "rate by service, 2,400 series, 1 h every 15 s",
        ask: Ask::Range("sum by (service) (rate(requests_total[5m]))", 3600, 15),
    },
    Question {
        title: "histogram_quantile, 200 groups of 3,600 series",
        ask: Ask::Instant(
            "histogram_quantile(0.95, sum by (le, instance, handler) (rate(request_seconds_bucket[5m])))",
        ),
    },
    Question {
        title: "topk(10, rate) of 6,400 series",
        ask: Ask::Instant("topk(10, rate(system_cpu_seconds_total[5m]))"),
    },
    Question { title: "sum by of 20,000 series", ask: Ask::Instant("sum by (service) ({env=\"prod\"})") },
    Question {
        title: "regex matchers, rate, 1 h every 60 s",
        ask: Ask::Range(
            "sum by (state) (rate(system_cpu_seconds_total{instance=~\"node-00[0-4].*\",state!~\"idle|iowait\"}[5m]))",
            3600,
            60,
        ),
    },
    Question {
        title: "one series, 2 h every 15 s",
        ask: Ask::Range("system_load1{instance=\"node-0007.us-west-2:9100\"}", 7080, 15),
    },
    Question {
        title: "binary operator, 100 pairs, 1 h every 60 s",
        ask: Ask::Range("memory_available_bytes / on (instance) memory_total_bytes", 3600, 60),
    },
    Question {
        title: "avg_over_time[30m], 100 series, 1 h every 60 s",
        ask: Ask::Range("avg_over_time(memory_free_bytes[30m])", 3600, 60),
    },
    Question {
        title: "subquery over a sum of rates, 30 min every 30 s",
        ask: Ask::Instant("max_over_time(sum by (service) (rate(requests_total[1m]))[30m:30s])"),
    },
    Question { title: "count by name of 20,000 series", ask: Ask::Instant("count by (__name__) ({__name__!=\"\"})") },
    Question { title: "values of a label", ask: Ask::LabelValues("instance") },
    Question { title: "2,400 label sets", ask: Ask::Series("requests_total") },
];

/// What a server answered, and how fast.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Timed {
    /// Median.
    pub(super) ms: f64,
    pub(super) rows: usize,
    pub(super) points: usize,
}

impl Question {
    fn target(&self, server: &Server, end: i64) -> String {
        server.target(&match self.ask {
            Ask::Instant(query) => format!("query?query={}&time={end}", escaped(query)),
            Ask::Range(query, span, step) => {
                format!("query_range?query={}&start={}&end={end}&step={step}", escaped(query), end - span)
            }
            Ask::LabelValues(name) => format!("label/{name}/values?start={}&end={end}", end - 3600),
            Ask::Series(name) => format!("series?match[]={name}&start={}&end={end}", end - 3600),
        })
    }

    pub(super) fn time(&self, server: &Server, end: i64) -> anyhow::Result<Timed> {
        let asked = ask_repeatedly(server, self.title, |run| self.target(server, end - run))?;
        let (rows, points) = shape(&asked.first)?;
        Ok(Timed { ms: asked.ms, rows, points })
    }
}

/// Rows and points of an answer.
fn shape(body: &[u8]) -> anyhow::Result<(usize, usize)> {
    let answer: Value = serde_json::from_slice(body)?;
    let data = answer.get("data").unwrap_or(&Value::Null);
    let rows = data.get("result").unwrap_or(data).as_array().map(Vec::as_slice).unwrap_or_default();
    let points = rows.iter().map(|row| row.get("values").and_then(Value::as_array).map_or(1, Vec::len)).sum();
    Ok((rows.len(), points))
}

/// The sum of all values of an instant query.
pub(super) fn total(server: &Server, query: &str, at: i64) -> anyhow::Result<f64> {
    let target = server.target(&format!("query?query={}&time={at}", escaped(query)));
    let (status, body) = server.get(&target)?;
    if status != 200 {
        bail!("{query}: answered {status}: {}", String::from_utf8_lossy(&body));
    }
    let answer: Value = serde_json::from_slice(&body)?;
    let rows = answer.pointer("/data/result").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let values = rows.iter().filter_map(|row| row.pointer("/value/1")?.as_str()?.parse::<f64>().ok());
    Ok(values.sum())
}

/// Every sample the server has of the three hours before `at`. Name by name, because two names may lead to one label set.
pub(super) fn samples(server: &Server, at: i64) -> anyhow::Result<f64> {
    let target = server.target(&format!("label/__name__/values?start={}&end={at}", at - 3 * 3600));
    let (_, body) = server.get(&target)?;
    let answer: Value = serde_json::from_slice(&body)?;
    let names = answer.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let counts = names
        .iter()
        .filter_map(Value::as_str)
        .map(|name| total(server, &format!("sum(count_over_time({name}[3h]))"), at));
    counts.sum()
}
