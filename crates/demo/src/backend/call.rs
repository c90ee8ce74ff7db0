//! One request from arrival to answer, and the telemetry it leaves behind.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use signal::{AttributeValue, Nanos, Span, SpanId, SpanKind, SpanStatus, Timestamp};

use super::App;
use crate::clock::{self, Stopwatch};
use crate::tracecontext::TraceContext;

/// How bad a log line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Info,
    Warn,
    Error,
}

/// A line of the application's log, in the order of its published format.
#[derive(Debug, Serialize)]
struct Line<'a> {
    timestamp: String,
    level: Level,
    service: &'a str,
    message: &'a str,
    trace_id: String,
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    version: &'a str,
}

/// What is sent back, and what is written to the log about it.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: serde_json::Value,
    pub(crate) level: Level,
    pub(crate) message: String,
}

impl Reply {
    pub(crate) fn done(status: StatusCode, body: serde_json::Value, message: &str) -> Self {
        Self { status, body, level: Level::Info, message: message.to_owned() }
    }

    /// The caller did something wrong.
    pub(crate) fn refused(status: StatusCode, code: &str, why: &str) -> Self {
        Self { status, body: problem(code, why), level: Level::Warn, message: format!("Request refused: {code}") }
    }

    /// The service did something wrong; `told` goes to the caller, `message` to the log.
    pub(crate) fn failed(status: StatusCode, code: &str, told: &str, message: String) -> Self {
        Self { status, body: problem(code, told), level: Level::Error, message }
    }
}

fn problem(code: &str, message: &str) -> serde_json::Value {
    serde_json::json!({ "error": { "code": code, "message": message } })
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Call {
    method: &'static str,
    path: &'static str,
    context: TraceContext,
    root: SpanId,
    start: Nanos,
    watch: Stopwatch,
    spans: Vec<Span>,
    pub(crate) user: Option<&'static str>,
}

/// A step of a request that is under way.
#[derive(Debug)]
pub(crate) struct Step {
    name: &'static str,
    id: SpanId,
    start: Nanos,
    watch: Stopwatch,
}

impl Call {
    pub(crate) fn begin(app: &App, method: &'static str, path: &'static str, headers: &HeaderMap) -> Self {
        let given = headers.get("traceparent").and_then(|value| value.to_str().ok()).and_then(TraceContext::parse);
        let context = given.unwrap_or_else(|| TraceContext { trace: app.ids.trace(), parent: None });
        let call = Self {
            method,
            path,
            context,
            root: app.ids.span(),
            start: clock::now_nanos(),
            watch: Stopwatch::start(),
            spans: Vec::with_capacity(4),
            user: None,
        };
        if app.traffic_spike(call.start.to_timestamp()).is_some() {
            call.log(app, Level::Warn, "Traffic spike detected", None, Duration::ZERO);
        }
        call
    }

    pub(crate) fn step(&self, app: &App, name: &'static str) -> Step {
        Step { name, id: app.ids.span(), start: clock::now_nanos(), watch: Stopwatch::start() }
    }

    /// Ends `step`; `error` says why it failed.
    pub(crate) fn end(
        &mut self,
        app: &App,
        step: &Step,
        attributes: Vec<(String, AttributeValue)>,
        error: Option<String>,
    ) {
        let kind = if step.name.starts_with("db.") { SpanKind::Client } else { SpanKind::Internal };
        let end = step.start.plus(step.watch.elapsed());
        let mut span = self.span(app, (step.id, Some(self.root)), step.name, kind);
        (span.start, span.end, span.attributes) = (step.start, end, attributes);
        if let Some(error) = error {
            (span.status, span.status_message) = (SpanStatus::Error, error);
        }
        self.spans.push(span);
    }

    /// Writes a line about this request.
    pub(crate) fn log(&self, app: &App, level: Level, message: &str, status: Option<StatusCode>, took: Duration) {
        let at = clock::now_nanos();
        let line = Line {
            timestamp: stamp(at.to_timestamp()),
            level,
            service: &app.log_name,
            message,
            trace_id: self.context.trace.to_string(),
            method: self.method,
            path: self.path,
            status_code: status.map(|status| status.as_u16()),
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            user_id: self.user,
            version: &app.settings.release.text,
        };
        if let Ok(line) = serde_json::to_string(&line) {
            app.telemetry.line(at, line);
        }
    }

    /// Counts, logs and traces the request, and makes the answer.
    pub(crate) fn finish(mut self, app: &App, reply: Reply) -> Response {
        let took = self.watch.elapsed();
        app.metrics.answered(self.method, self.path, reply.status.as_u16(), took);
        self.log(app, reply.level, &reply.message, Some(reply.status), took);

        let mut root = self.span(app, (self.root, self.context.parent), "http.request", SpanKind::Server);
        (root.start, root.end) = (self.start, self.start.plus(took));
        root.attributes = vec![
            text("http.request.method", self.method),
            text("http.route", self.path),
            ("http.response.status_code".to_owned(), AttributeValue::Int(reply.status.as_u16().into())),
        ];
        if reply.status.is_server_error() {
            (root.status, root.status_message) = (SpanStatus::Error, reply.message);
        }
        let mut spans = std::mem::take(&mut self.spans);
        spans.push(root);
        app.telemetry.spans(spans);

        let trace = self.context.trace.to_string();
        let mut response = (reply.status, [("x-trace-id", trace)], axum::Json(reply.body)).into_response();
        let headers = response.headers_mut();
        if matches!(reply.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(header::RETRY_AFTER, axum::http::HeaderValue::from_static("1"));
        }
        if app.is_draining() {
            headers.insert(header::CONNECTION, axum::http::HeaderValue::from_static("close"));
        }
        response
    }

    fn span(&self, app: &App, (id, parent): (SpanId, Option<SpanId>), name: &str, kind: SpanKind) -> Span {
        Span {
            trace: self.context.trace,
            id,
            parent,
            trace_state: String::new(),
            name: name.to_owned(),
            kind,
            start: self.start,
            end: self.start,
            status: SpanStatus::Unset,
            status_message: String::new(),
            attributes: Vec::new(),
            resource: app.resource.clone(),
            scope_name: String::new(),
            scope_version: String::new(),
            events: Vec::new(),
            links: Vec::new(),
        }
    }
}

/// RFC 3339 with milliseconds, always three digits of them.
pub(crate) fn stamp(at: Timestamp) -> String {
    let second = Timestamp(at.0.div_euclid(1000) * 1000).to_string();
    format!("{}.{:03}Z", second.trim_end_matches('Z'), at.0.rem_euclid(1000))
}

/// A text attribute.
pub(crate) fn text(name: &str, value: &str) -> (String, AttributeValue) {
    (name.to_owned(), AttributeValue::String(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_of_milliseconds() {
        for (at, text) in
            [(1_706_189_445_120, "2024-01-25T13:30:45.120Z"), (1_706_189_445_000, "2024-01-25T13:30:45.000Z")]
        {
            assert_eq!(stamp(Timestamp(at)), text);
        }
    }
}
