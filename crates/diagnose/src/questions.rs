//! What to ask when something is wrong with a service.

use std::time::Duration;

use signal::{Timestamp, format_duration};

use crate::Question;

/// How far back before the onset we look.
const BEFORE: Duration = Duration::from_secs(300);
/// A range query gives at most about this many points per series.
const POINTS: i64 = 240;

/// Names of questions: what `rank` finds the answers by, and what a reader sees above them.
pub(crate) mod name {
    pub(crate) const REQUESTS: &str = "request rate";
    pub(crate) const REQUESTS_BY_INSTANCE: &str = "request rate by instance";
    pub(crate) const REQUESTS_BY_REVISION: &str = "request rate by revision";
    pub(crate) const REQUESTS_BY_STATUS: &str = "request rate by status";
    pub(crate) const REQUESTS_BY_PATH: &str = "request rate by path";
    pub(crate) const ERRORS: &str = "share of failed requests";
    pub(crate) const ERRORS_BY_REVISION: &str = "share of failed requests by revision";
    pub(crate) const ERRORS_BY_INSTANCE: &str = "share of failed requests by instance";
    pub(crate) const LATENCY: &str = "latency p99";
    pub(crate) const LATENCY_BY_REVISION: &str = "latency p99 by revision";
    pub(crate) const QUERY_TIME: &str = "time a query holds its connection";
    pub(crate) const QUERY_RATE: &str = "query rate";
    pub(crate) const POOL_USED: &str = "pool connections in use by instance";
    pub(crate) const POOL_SIZE: &str = "pool size by instance";
    pub(crate) const POOL_PENDING: &str = "requests waiting for a connection";
    pub(crate) const POOL_TIMEOUTS: &str = "waits for a connection that timed out";
    pub(crate) const CPU: &str = "processor use by instance";
    pub(crate) const MEMORY: &str = "resident memory by instance";
    pub(crate) const STARTS: &str = "process start by instance";
    pub(crate) const LINES_BEFORE: &str = "warnings and errors before";
    pub(crate) const LINES_SINCE: &str = "warnings and errors since";
    pub(crate) const NOTICES: &str = "other lines since";
    pub(crate) const TRACES_BEFORE: &str = "traces before";
    pub(crate) const TRACES_SINCE: &str = "traces since";
    pub(crate) const TRACES_BAD: &str = "slow and failed traces since";
}

/// The questions about `service`, for the five minutes before `onset` and the time since.
///
/// Every rate is taken over `window`, which should span several scrapes. Metrics are asked once over both times; logs and traces once for each. An empty or missing answer to any of them only
/// lowers what can be said.
#[must_use]
pub fn questions(service: &str, onset: Timestamp, now: Timestamp, window: Duration) -> Vec<Question> {
    let service_text = quoted(service);
    let start = onset.minus(BEFORE);
    let end = now.max(onset);
    let length = end.0.saturating_sub(start.0);
    let step_ms = (length / POINTS / 5_000).max(0).saturating_add(1).saturating_mul(5_000);
    let mut asked: Vec<Question> = metrics(&format!("service={service_text}"), &format_duration(window))
        .into_iter()
        .map(|(name, query)| Question::Metric { name: name.to_owned(), query, start, end, step_ms })
        .collect();

    let lines = |name: &str, level: &str, start, end| Question::Templates {
        name: name.to_owned(),
        query: format!("{{service={service_text}}} | json | level{level}"),
        start,
        end,
        limit: 2_000,
    };
    asked.push(lines(name::LINES_BEFORE, "=~\"warn|error\"", start, onset));
    asked.push(lines(name::LINES_SINCE, "=~\"warn|error\"", onset, end));
    asked.push(lines(name::NOTICES, "=\"info\"", onset, end));

    let traces = |name: &str, query: String, start, end| Question::Operations {
        name: name.to_owned(),
        query,
        start,
        end,
        limit: 100,
    };
    let all = format!("{{ resource.service.name = {service_text} }}");
    asked.push(traces(name::TRACES_BEFORE, all.clone(), start, onset));
    asked.push(traces(name::TRACES_SINCE, all, onset, end));
    let bad = format!("{{ resource.service.name = {service_text} && (status = error || duration > 500ms) }}");
    asked.push(traces(name::TRACES_BAD, bad, onset, end));

    asked.push(Question::Workloads { service: service.to_owned() });
    asked
}

fn metrics(of: &str, window: &str) -> Vec<(&'static str, String)> {
    let requests = |by: &str| format!("sum{by}(rate(http_requests_total{{{of}}}[{window}]))");
    let failed = |by: &str| format!("sum{by}(rate(http_requests_total{{{of},status=~\"5..\"}}[{window}]))");
    // A service that never failed has no series for it: that is a share of zero, not a gap.
    let share = |by: &str| format!("({} or {} * 0) / {}", failed(by), requests(by), requests(by));
    let p99 = |by: &str| {
        format!(
            "histogram_quantile(0.99, sum by ({by}) (rate(http_request_duration_seconds_bucket{{{of}}}[{window}])))"
        )
    };
    let rate = |metric: &str| format!("sum(rate({metric}{{{of}}}[{window}]))");
    let gauge = |metric: &str, more: &str| format!("sum by (instance) ({metric}{{{of}{more}}})");
    vec![
        (name::REQUESTS, requests("")),
        (name::REQUESTS_BY_INSTANCE, requests(" by (instance) ")),
        (name::REQUESTS_BY_REVISION, requests(" by (revision) ")),
        (name::REQUESTS_BY_STATUS, requests(" by (status) ")),
        (name::REQUESTS_BY_PATH, requests(" by (method, path) ")),
        (name::ERRORS, share("")),
        (name::ERRORS_BY_REVISION, share(" by (revision) ")),
        (name::ERRORS_BY_INSTANCE, share(" by (instance) ")),
        (name::LATENCY, p99("le")),
        (name::LATENCY_BY_REVISION, p99("revision, le")),
        (
            name::QUERY_TIME,
            format!("{} / {}", rate("db_query_duration_seconds_sum"), rate("db_query_duration_seconds_count")),
        ),
        (name::QUERY_RATE, rate("db_query_duration_seconds_count")),
        (name::POOL_USED, gauge("db_pool_connections", ",state=\"used\"")),
        (name::POOL_SIZE, gauge("db_pool_connections_max", "")),
        (name::POOL_PENDING, gauge("db_pool_pending_requests", "")),
        (name::POOL_TIMEOUTS, rate("db_pool_acquire_timeouts_total")),
        (name::CPU, format!("sum by (instance) (rate(process_cpu_seconds_total{{{of}}}[{window}]))")),
        (name::MEMORY, gauge("process_resident_memory_bytes", "")),
        (name::STARTS, format!("max by (instance) (process_start_time_seconds{{{of}}})")),
    ]
}

/// A string literal of PromQL, LogQL and TraceQL alike.
fn quoted(text: &str) -> String {
    let mut literal = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => literal.push_str("\\\""),
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            other => literal.push(other),
        }
    }
    literal.push('"');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_about_the_time_before_and_since() {
        let asked = questions("backend", Timestamp(600_000), Timestamp(615_000), Duration::from_secs(30));
        let text: Vec<String> = asked
            .iter()
            .map(|question| match question {
                Question::Metric { query, .. }
                | Question::Templates { query, .. }
                | Question::Operations { query, .. } => query.clone(),
                Question::Workloads { service } => service.clone(),
            })
            .collect();
        insta::assert_snapshot!(text.join("\n"), @r#"
        sum(rate(http_requests_total{service="backend"}[30s]))
        sum by (instance) (rate(http_requests_total{service="backend"}[30s]))
        sum by (revision) (rate(http_requests_total{service="backend"}[30s]))
        sum by (status) (rate(http_requests_total{service="backend"}[30s]))
        sum by (method, path) (rate(http_requests_total{service="backend"}[30s]))
        (sum(rate(http_requests_total{service="backend",status=~"5.."}[30s])) or sum(rate(http_requests_total{service="backend"}[30s])) * 0) / sum(rate(http_requests_total{service="backend"}[30s]))
        (sum by (revision) (rate(http_requests_total{service="backend",status=~"5.."}[30s])) or sum by (revision) (rate(http_requests_total{service="backend"}[30s])) * 0) / sum by (revision) (rate(http_requests_total{service="backend"}[30s]))
        (sum by (instance) (rate(http_requests_total{service="backend",status=~"5.."}[30s])) or sum by (instance) (rate(http_requests_total{service="backend"}[30s])) * 0) / sum by (instance) (rate(http_requests_total{service="backend"}[30s]))
        histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{service="backend"}[30s])))
        histogram_quantile(0.99, sum by (revision, le) (rate(http_request_duration_seconds_bucket{service="backend"}[30s])))
        sum(rate(db_query_duration_seconds_sum{service="backend"}[30s])) / sum(rate(db_query_duration_seconds_count{service="backend"}[30s]))
        sum(rate(db_query_duration_seconds_count{service="backend"}[30s]))
        sum by (instance) (db_pool_connections{service="backend",state="used"})
        sum by (instance) (db_pool_connections_max{service="backend"})
        sum by (instance) (db_pool_pending_requests{service="backend"})
        sum(rate(db_pool_acquire_timeouts_total{service="backend"}[30s]))
        sum by (instance) (rate(process_cpu_seconds_total{service="backend"}[30s]))
        sum by (instance) (process_resident_memory_bytes{service="backend"})
        max by (instance) (process_start_time_seconds{service="backend"})
        {service="backend"} | json | level=~"warn|error"
        {service="backend"} | json | level=~"warn|error"
        {service="backend"} | json | level="info"
        { resource.service.name = "backend" }
        { resource.service.name = "backend" }
        { resource.service.name = "backend" && (status = error || duration > 500ms) }
        backend
        "#);
        let Some(Question::Metric { start, end, step_ms, .. }) = asked.first() else { panic!("no metric first") };
        assert_eq!((*start, *end, *step_ms), (Timestamp(300_000), Timestamp(615_000), 5_000));
    }

    #[test]
    fn names_are_unique_and_services_are_quoted() {
        let asked = questions("a\"} or vector(1) #", Timestamp(0), Timestamp(-5), Duration::from_secs(30));
        let names: std::collections::BTreeSet<_> = asked
            .iter()
            .map(|question| match question {
                Question::Metric { name, .. }
                | Question::Templates { name, .. }
                | Question::Operations { name, .. } => name.as_str(),
                Question::Workloads { .. } => "workloads",
            })
            .collect();
        assert_eq!(names.len(), asked.len());
        let Some(Question::Metric { query, start, end, .. }) = asked.first() else { panic!("no metric first") };
        assert!(query.contains(r#"service="a\"} or vector(1) #""#), "{query}");
        assert!(start <= end);
    }

    #[test]
    fn long_incidents_are_asked_in_larger_steps() {
        let day = Timestamp(86_400_000);
        let asked = questions("backend", Timestamp(0), day, Duration::from_secs(30));
        let Some(Question::Metric { start, end, step_ms, .. }) = asked.first() else { panic!("no metric first") };
        assert!((end.0 - start.0) / step_ms <= POINTS);
    }
}
